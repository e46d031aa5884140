"""Libraries: how they are linked, what is in them, and every way to call one.

A toy network stands for all: it copies its input to the workspace and multiplies it by a matrix.
"""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm.script import ir as I
from tvm.script import tirx as T
from tvm.target import Target

import tvm_shufflenet
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library import FORMAT, link
from tvm_shufflenet.library.elf import read_elf
from tvm_shufflenet.library.interface import Port
from tvm_shufflenet.library.loading import read_manifest
from tvm_shufflenet.targets import resolve

from .. import emulator
from ..conftest import ROOT

LIBRARY = ROOT / "tvm_shufflenet" / "library"
FUNCTIONS = {
    "tsn_describe", "tsn_workspace_bytes", "tsn_run", "tsn_run_outputs", "tsn_check_input", "tsn_prepare_image",
    "tsn_run_image", "tsn_image_workspace_bytes", "tsn_softmax", "tsn_top_k", "tsn_label", "tsn_abi",
    "tsn_supported",
}  # fmt: skip
EXPORTED = FUNCTIONS | {"tsn_manifest", "__tvm_ffi_main"}
OPTIONAL = {"TVMFFIErrorSetRaisedFromCStr", "dlsym"}  # undefined, but not missed
EMULATED = {"aarch64": "aarch64", "arm": "armhf"}  # names of the emulator
ZIG = [sys.executable, "-m", "ziglang"]

NATIVE = resolve("native")
SPECS = {"aarch64": resolve("arm"), "arm": resolve("armv7"), NATIVE.arch: NATIVE}
RNG = np.random.default_rng(0)
WEIGHTS = RNG.standard_normal((7, 60), dtype=np.float32)
IMAGE = RNG.standard_normal((1, 3, 4, 5), dtype=np.float32)
INPUT = Port("picture", (1, 3, 4, 5), "float32", "NCHW")
OUTPUT = Port("fc", (1, 7), "float32", "NC")


@I.ir_module
class Toy:
    @T.prim_func(s_tir=True)
    def main(
        x: T.Buffer((1, 3, 4, 5), "float32", align=4),
        y: T.Buffer((1, 7), "float32", align=4),
        workspace: T.Buffer((80,), "float32"),
    ):
        T.func_attr({"global_symbol": "main", "tirx.noalias": True})
        data: T.let[T.handle] = T.call_extern("handle", "tsn_weights")
        weights = T.decl_buffer((7, 60), "float32", data=data)
        for i in range(80):
            workspace[i] = T.float32(0)
        for i in range(60):
            workspace[i] = x[0, i // 20, i // 5 % 4, i % 5]
        for k in range(7):
            y[0, k] = T.float32(0)
            for i in range(60):
                y[0, k] = y[0, k] + weights[k, i] * workspace[i]


def assert_right(logits, image=IMAGE, weights=WEIGHTS):
    np.testing.assert_allclose(np.ravel(logits), weights @ image.ravel(), rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """toy(spec, ...) makes a library and gives its path."""
    folder = tmp_path_factory.mktemp("toy")

    def make(spec=NATIVE, output=None, weights=WEIGHTS, manifest=None, cc=None, made=None, emit="so", **more):
        if not made:
            made = folder / f"{spec.name}.o"
            if not made.exists():
                tvm.tirx.build(Toy, target=Target(spec.tvm), pipeline="s_tir").write_to_file(str(made), "o")
        output = output or folder / f"{spec.name}-{len(os.listdir(folder))}{link.SUFFIXES[emit]}"
        embedded = link.link(
            made, [weights], manifest or {}, inputs=[INPUT], outputs=[OUTPUT], workspace_bytes=320, spec=spec,
            output=output, cc=cc, emit=emit, **more,
        )  # fmt: skip
        if emit == "so":
            assert embedded == read_manifest(output)
        return output

    return make


@pytest.fixture(scope="module")
def libraries(toy):
    return {arch: toy(spec, manifest={"name": 'toy é\n"quoted"'}) for arch, spec in SPECS.items()}


@pytest.fixture(scope="module")
def native(libraries):
    return libraries[NATIVE.arch]


# ------------------------------------------------------------------------------ what is in them


@pytest.mark.parametrize("arch", SPECS)
def test_contents(libraries, arch):
    library = read_elf(libraries[arch])
    assert library.shared and library.arch == arch and library.bits == (32 if arch == "arm" else 64)
    assert library.needed == ()
    assert set(library.exported) == EXPORTED
    assert set(library.undefined) == OPTIONAL and all(symbol.weak for symbol in library.undefined.values())
    assert {segment.alignment for segment in library.segments} == {16384}
    assert "rwx" not in {segment.protection for segment in library.segments}
    offset = libraries[arch].read_bytes().index(WEIGHTS.tobytes())
    (home,) = [s for s in library.segments if s.offset <= offset < s.offset + s.size]
    assert home.protection == "r" and (offset - home.offset + home.address) % 64 == 0


@pytest.mark.parametrize("arch", SPECS)
def test_manifest(libraries, arch):
    manifest = read_manifest(libraries[arch])
    assert manifest == {
        "format": FORMAT,
        "inputs": [{"name": "picture", "shape": [1, 3, 4, 5], "dtype": "float32", "layout": "NCHW"}],
        "outputs": [{"name": "fc", "shape": [1, 7], "dtype": "float32", "layout": "NC"}],
        "workspace_bytes": 320, "arch": arch, "name": "toy é\n\"quoted\"",
    }  # fmt: skip


def test_linking_again_gives_the_same_bytes(toy, native, tmp_path):
    again = toy(output=tmp_path / native.name, manifest={"name": 'toy é\n"quoted"'})
    assert again.read_bytes() == native.read_bytes()


def test_damaged_files(native, tmp_path):
    whole, path = native.read_bytes(), tmp_path / "damaged.so"
    for size in [5, 20, 63, 100, 1000, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match="is damaged"):
            read_elf(path)
    for _ in range(500):  # whatever it holds, nothing else is raised
        damaged = bytearray(whole)
        table = RNG.choice([0, len(whole) - 1500])
        for _ in range(3):
            damaged[int(table + RNG.integers(1500))] = int(RNG.integers(256))
        path.write_bytes(damaged)
        try:
            read_manifest(path)
        except UserError as error:
            assert str(path) in str(error)


# --------------------------------------------------------------------------------- from Python


def test_load(native):
    network = tvm_shufflenet.load(native)
    assert network.manifest == read_manifest(native) and network.workspace_bytes == 320
    logits = network(IMAGE)
    assert logits.shape == (1, 7) and logits.dtype == np.float32
    assert_right(logits)
    fortran = np.asfortranarray(IMAGE)
    unaligned = np.concatenate([[np.float32(0)], IMAGE.ravel()])[1:].reshape(IMAGE.shape)
    for image in (fortran, unaligned, IMAGE[:, ::-1]):
        assert_right(network(image), image)
    read_only = IMAGE.copy()
    read_only.flags.writeable = False
    assert_right(network(read_only))


def test_threads_have_workspaces_of_their_own(native):
    network, failures = tvm_shufflenet.load(native), []

    def work(seed):
        image = np.random.default_rng(seed).standard_normal((1, 3, 4, 5), dtype=np.float32)
        try:
            for _ in range(2000):
                assert_right(network(image), image)
        except AssertionError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.parametrize(
    "image, found",
    [
        (IMAGE.astype(np.float64), "float64 of shape (1, 3, 4, 5)"),
        (IMAGE.astype(">f4"), ">f4 of shape"),
        (IMAGE[0], "float32 of shape (3, 4, 5)"),
        (np.zeros((2, 3, 4, 5), np.float32), "float32 of shape (2, 3, 4, 5)"),
        (IMAGE.tolist(), "got list"),
    ],
)
def test_wrong_images(native, image, found):
    with pytest.raises(UserError) as caught:
        tvm_shufflenet.load(native)(image)
    assert "expected a numpy array, float32 of shape (1, 3, 4, 5) (NCHW), got" in str(caught.value)
    assert found in str(caught.value)


def test_what_cannot_be_loaded(libraries, toy, tmp_path):
    def error(path):
        with pytest.raises(UserError) as caught:
            tvm_shufflenet.load(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        return str(caught.value)

    assert "No such file" in error(tmp_path / "missing.so")
    assert "Is a directory" in error(tmp_path)
    assert "is not an ELF library" in error(Path(__file__))
    assert f"is for arm, this machine is {NATIVE.arch}" in error(libraries["arm"])
    libc = next(word for word in Path("/proc/self/maps").read_text().split() if "/libc" in word)
    assert "is not a library of tvm_shufflenet" in error(Path(libc))
    future = tmp_path / "future.so"
    future.write_bytes(libraries[NATIVE.arch].read_bytes().replace(b'{"format":%d,' % FORMAT, b'{"format":9,'))
    assert f"has format 9, expected {FORMAT} or less" in error(future)


def test_a_library_compiled_anew_is_loaded_anew(toy, tmp_path):
    path = toy(output=tmp_path / "same.so")
    first = tvm_shufflenet.load(path)
    second = tvm_shufflenet.load(toy(output=path, weights=2 * WEIGHTS))
    assert_right(first(IMAGE))
    assert_right(second(IMAGE), weights=2 * WEIGHTS)


def test_importing_the_package_is_cheap():
    code = "import sys, tvm_shufflenet as t; t.__version__; sys.exit(not {'numpy', 'tvm'}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    with pytest.raises(AttributeError):
        tvm_shufflenet.nonsense  # noqa: B018


# --------------------------------------------------------------------------------------- from C


def aligned(floats):
    memory = np.zeros(floats + 16, np.float32)
    start = -memory.ctypes.data % 64 // 4
    return memory[start : start + floats]


def test_the_functions(native):
    library = ctypes.CDLL(str(native))
    library.tsn_run.argtypes = [ctypes.c_void_p] * 3
    library.tsn_describe.restype = ctypes.c_char_p
    assert json.loads(library.tsn_describe())["outputs"][0]["shape"] == [1, 7]
    assert library.tsn_workspace_bytes() == 320
    buffers = [aligned(60), aligned(7), aligned(80)]
    buffers[0][:] = IMAGE.ravel()
    buffers[2][:] = np.nan  # what it held does not matter
    pointers = [buffer.ctypes.data for buffer in buffers]
    assert library.tsn_run(*pointers) == 0
    assert_right(buffers[1])
    for i in range(3):
        assert library.tsn_run(*pointers[:i], None, *pointers[i + 1 :]) == -1
    for i, step in enumerate((2, 2, 16)):  # the images are floats, the workspace lines of the cache
        assert library.tsn_run(*pointers[:i], pointers[i] + step, *pointers[i + 1 :]) == -2


def test_networks_loaded_globally_keep_apart(toy, native):
    twice = toy(weights=2 * WEIGHTS, manifest={"name": "twice"})
    libraries = [ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL) for path in (native, twice)]
    buffers = [aligned(60), aligned(7), aligned(80)]
    buffers[0][:] = IMAGE.ravel()
    for library, weights in zip(libraries, (WEIGHTS, 2 * WEIGHTS)):
        library.tsn_describe.restype = ctypes.c_char_p
        assert (b"twice" in library.tsn_describe()) == (weights is not WEIGHTS)
        assert library.tsn_run(*(ctypes.c_void_p(buffer.ctypes.data) for buffer in buffers)) == 0
        assert_right(buffers[1], weights=weights)


def compile_example(output, *compiler):
    source = ROOT / "examples/c/classify.c"
    argv = [*compiler, "-O2", "-Wall", "-Werror", f"-I{LIBRARY}", str(source), "-o", str(output), "-ldl", "-lpthread"]
    subprocess.run(argv, check=True)


def classify(*argv):
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def assert_top5(rows):
    logits = WEIGHTS @ IMAGE.ravel()
    best = np.argsort(-logits)[:5]
    assert [int(row[0]) for row in rows] == best.tolist()
    np.testing.assert_allclose([float(row[1]) for row in rows], logits[best], atol=1e-4)


def test_c_example(native, tmp_path):
    program, image = tmp_path / "classify", tmp_path / "image.raw"
    compile_example(program, shutil.which("cc") or pytest.skip("there is no C compiler"))
    IMAGE.tofile(image)
    assert_top5(classify(program, native, image))
    for argv, message in [
        ([], "usage"),
        ([tmp_path / "missing.so", image], "no such library"),
        ([native, tmp_path / "missing.raw"], "cannot be read"),
        ([native, native], "expected 240 bytes"),
        ([program, image], "cannot load"),
    ]:
        done = subprocess.run([program, *argv], capture_output=True, text=True)
        assert done.returncode == 1 and message in done.stderr and not done.stdout


@pytest.mark.emulator
@pytest.mark.parametrize("arch", EMULATED)
def test_c_example_in_the_emulator(libraries, arch, tmp_path):
    program, image = tmp_path / "classify", tmp_path / "image.raw"
    argv = emulator.command(program, libraries[arch], image, arch=EMULATED[arch])
    compile_example(program, *ZIG, "cc", "-target", link.ZIG_TARGETS[arch])
    IMAGE.tofile(image)
    assert_top5(classify(*argv))


def test_header_in_cpp(tmp_path):
    source = tmp_path / "user.cpp"
    source.write_text('#include "tvm_shufflenet.h"\nint f() { return tsn_run(nullptr, nullptr, nullptr); }\n')
    subprocess.run([*ZIG, "c++", "-Wall", f"-I{LIBRARY}", "-c", source, "-o", tmp_path / "user.o"], check=True)


@pytest.fixture(scope="module")
def memory(tmp_path_factory):
    """runtime.c and what it calls of extras.c, their hidden functions exported."""
    folder = tmp_path_factory.mktemp("memory")
    (folder / "all.c").write_text(
        f'#include "{LIBRARY / "runtime.c"}"\n#define TSN_PICTURES 0\n#include "{LIBRARY / "extras.c"}"\n'
        "const char tsn_manifest_text[1], tsn_labels_data[1]; const float tsn_weights_data[1];\n"
        "int __tvm_ffi_main(void *s, const Any *a, int32_t n, Any *r) { return !s + !a + !r + n; }\n"
    )
    flags = [flag for flag in link.COMPILE if flag != "-fvisibility=hidden"]
    macros = ["-DTSN_INPUT={1,{1}}", "-DTSN_OUTPUTS={1,{1}}", "-DTSN_WORKSPACE_FLOATS=1", "-DTSN_NETWORK={0}"]
    library = folder / "all.so"
    linked = ["-shared", "-nostdlib", "-Wl,-Bsymbolic", str(folder / "all.c"), "-o", str(library)]
    subprocess.run([*ZIG, "cc", *flags, *macros, *linked], check=True)
    return ctypes.CDLL(str(library))


def test_memory_functions(memory):
    for function in (memory.memcpy, memory.memmove):
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    memory.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    for size in range(70):
        for start in (20, 23, 40):
            original = RNG.integers(0, 255, 200, dtype=np.uint8)
            moves = [(memory.memmove, start + step) for step in (-17, -1, 0, 1, 17)]
            for function, to in [(memory.memcpy, 111), *moves]:
                data, wanted = original.copy(), original.copy()
                wanted[to : to + size] = original[start : start + size]
                function(data.ctypes.data + to, data.ctypes.data + start, size)
                np.testing.assert_array_equal(data, wanted)
            data, wanted = original.copy(), original.copy()
            wanted[start : start + size] = 0xAB
            memory.memset(data.ctypes.data + start, 0x1AB, size)
            np.testing.assert_array_equal(data, wanted)


# ------------------------------------------------------------------------------------- from TVM

FROM_TVM = """
import sys, numpy, tvm_shufflenet
if "first" in sys.argv:
    tvm_shufflenet.load(sys.argv[1])
import tvm
main = tvm.runtime.load_module(sys.argv[1])["main"]
tensors = [tvm.runtime.tensor(numpy.ones(shape, "float32")) for shape in ((1, 3, 4, 5), (1, 7), (80,), (1, 8))]
main(*tensors[:3])
assert abs(tensors[1].numpy().sum() - float(sys.argv[2])) < 1e-3
try:
    main(tensors[0], tensors[3], tensors[2])
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize("order", ["tvm", "first"])  # the library may come before TVM
def test_from_tvm(native, order):
    argv = [sys.executable, "-c", FROM_TVM, str(native), str(WEIGHTS.sum()), order]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Invalid y.shape[1] on argument #1" in done.stdout and done.stdout.endswith("expected 7\n")


# -------------------------------------------------------------------------------------- linking


def test_other_compilers(toy):
    compiler = shutil.which("cc") or pytest.skip("there is no C compiler")
    path = toy(cc=f"{compiler} -O1")
    assert set(read_elf(path).exported) == EXPORTED and read_elf(path).needed == ()
    assert_right(tvm_shufflenet.load(path)(IMAGE))
    with pytest.raises(UserError, match=f"cc compiles for {NATIVE.arch}, but target armv7 is arm"):
        toy(SPECS["arm"], cc=compiler)


@pytest.mark.parametrize(
    "cc, message",
    [
        ("no-such-compiler -O2", "cannot run no-such-compiler: No such file"),
        ("cc 'x", "No closing quotation"),
        (" ", "expected the command of a C compiler"),
        (f"{sys.executable} -m ziglang cc --nonsense", "compiling runtime.c failed: "),
    ],
)
def test_compilers_that_fail(toy, cc, message):
    with pytest.raises(UserError) as caught:
        toy(cc=cc)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_what_the_runtime_lacks_is_named(toy, tmp_path):
    source, made = tmp_path / "main.c", tmp_path / "main.o"
    source.write_text("float powf(float, float); int __tvm_ffi_main(void) { return powf(2, 3); }\n")
    subprocess.run([*ZIG, "cc", "-fPIC", "-fno-builtin", "-c", source, "-o", made], check=True)
    with pytest.raises(UserError, match="linking failed: .*undefined symbol: powf"):
        toy(made=made)


def test_a_failure_leaves_the_old_library(toy, tmp_path):
    output = tmp_path / "model.so"
    output.write_text("old")
    with pytest.raises(UserError):
        toy(output=output, made=tmp_path / "missing.o")
    assert [path.name for path in tmp_path.iterdir()] == ["model.so"] and output.read_text() == "old"
    for wrong, why in [(tmp_path, "it is not a file"), (tmp_path / "no" / "model.so", "No such file")]:
        with pytest.raises(UserError, match=f"cannot write {wrong}: {why}"):
            toy(output=wrong)


def test_an_odd_path_and_a_link(toy, tmp_path):
    folder = tmp_path / 'a "strange" \\ café {folder}'
    folder.mkdir()
    (tmp_path / "model.so").symlink_to(folder / "real.so")
    toy(output=tmp_path / "model.so")
    assert (tmp_path / "model.so").is_symlink() and [path.name for path in folder.iterdir()] == ["real.so"]
    assert_right(tvm_shufflenet.load(tmp_path / "model.so")(IMAGE))
