"""A library asks the processor: one that lacks its instructions gets a status, and no program ends in SIGILL."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tvm_shufflenet.library import instructions, link
from tvm_shufflenet.library.instructions import ARM, X86, macros
from tvm_shufflenet.library.symbols import HEADER
from tvm_shufflenet.measure import packing
from tvm_shufflenet.measure.packing import PackOptions, numbers, pack
from tvm_shufflenet.targets import resolve

from .. import emulator
from ..conftest import ROOT
from .test_library import IMAGE, NATIVE, SPECS, ZIG, toy  # noqa: F401

CPU, X86_HOST = -9, NATIVE.arch == "x86_64"
SMALL, SIZE = "shufflenet-v1-0.25x-g3", (64, 64)
# tsn_supported(), then what all functions that touch the processor's vectors return.
ASK = """\
#include <stdio.h>
#include "tvm_shufflenet.h"
static _Alignas(64) float input[60], output[7], shares[7], workspace[320];
int main(void) {
  static unsigned char pixels[4 * 5 * 3];
  tsn_image image = {.pixels = pixels, .bytes = sizeof pixels, .format = TSN_RGB, .width = 5, .height = 4};
  int32_t best[1];
  printf("%d", tsn_supported());
  printf(" %d", tsn_run(input, output, workspace));
  printf(" %d", tsn_softmax(output, shares)), printf(" %d", tsn_top_k(output, 1, best));
  printf(" %d", tsn_image_workspace_bytes(&image) > 0);
  printf(" %d %d\\n", tsn_run(NULL, output, workspace), tsn_supported());
  return 0;
}
"""
YES, NO = "1 0 0 1 0 -1 1", f"0 {CPU} {CPU} {CPU} 0 -1 0"


def asking(toy, spec, needs, folder: Path, target: str | None, source: str = ASK, options=()) -> Path:  # noqa: F811
    """A program of this C source, linked with a network that needs such a processor.  No target: here."""
    library = toy(spec, manifest={"needs": needs}, emit="static")
    (folder / "ask.c").write_text(source)
    compiler = [*ZIG, "cc", "-target", target] if target else [shutil.which("cc") or pytest.skip("there is no cc")]
    argv = [*compiler, *options, f"-I{HEADER.parent}", folder / "ask.c", library]
    subprocess.run([*argv, "-o", folder / "ask"], check=True)
    return folder / "ask"


def told(command, **environment) -> str:
    done = subprocess.run(list(map(str, command)), env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout.strip()


# ------------------------------------------------------------------------------------ the table


def test_the_macros():
    assert macros("aarch64", []) == [] and macros("aarch64", ["i8mm"]) == ['-DTSN_NEEDS={"i8mm",26,13}']
    assert macros("x86_64", ["abm"]) == ["-DTSN_NEEDS={0x80000001,0,2,5}", "-DTSN_STATES=0x0"]
    assert macros("x86_64", ["avx", "fma"])[1] == "-DTSN_STATES=0x6"
    assert macros("x86_64", ["avx", "avx512f"])[1] == "-DTSN_STATES=0xe6"
    with pytest.raises(ValueError, match="'sve' is no instruction of aarch64"):
        macros("aarch64", ["sve"])


@pytest.mark.parametrize("target", ["native", "cortex-a76", "armv7"])
def test_llvm_knows_the_names(target):
    """A name that LLVM does not know would never be needed."""
    from tvm_shufflenet.targets.detect import known_features

    spec = resolve(target)
    names = {llvm for llvm in instructions.known(spec.arch).values()}
    assert known_features({**spec.tvm, "mattr": [f"+{name}" for name in names]}) >= names


def test_the_names_fit_into_cpu_c():
    assert max(len(name) for rows in ARM.values() for name in rows) < 8  # Need.name


# ------------------------------------------------------------------------------- this processor


@pytest.mark.skipif(not X86_HOST, reason="cpuid is of x86-64")
def test_cpuid_says_what_linux_says(tmp_path):
    compiler = shutil.which("cc") or pytest.skip("there is no C compiler")
    (tmp_path / "all.c").write_text(
        "#include <stdint.h>\n#include <stdio.h>\n#define LENGTH(array) (int32_t)(sizeof(array) / sizeof *(array))\n"
        f'#include "{ROOT}/tvm_shufflenet/library/cpu.c"\n'
        "int main(void) {\n  static const Need all[] = {TSN_NEEDS};\n"
        '  for (int i = 0; i < LENGTH(all); ++i) printf("%d", has(&all[i]));\n  return 0;\n}\n'
    )
    subprocess.run([compiler, *macros("x86_64", list(X86)), tmp_path / "all.c", "-o", tmp_path / "all"], check=True)
    there = instructions._features()
    expected = {name: name in there for name in X86}
    assert dict(zip(X86, (bit == "1" for bit in told([tmp_path / "all"])))) == expected


@pytest.mark.skipif(not X86_HOST, reason="cpuid is of x86-64")
@pytest.mark.parametrize("missing", [False, True])
def test_here(toy, tmp_path, missing):  # noqa: F811
    needs = [name for name in X86 if name not in instructions._features()][:1] if missing else ["pni"]
    if not needs:
        pytest.skip("this processor has all that is known")
    program = asking(toy, NATIVE, needs, tmp_path, None)
    assert told([program]) == (NO if missing else YES)


@pytest.mark.emulator
@pytest.mark.skipif(not X86_HOST, reason="the kernels are this machine's")
@pytest.mark.parametrize("processor,expected", [("Nehalem", NO), ("qemu64,+avx,-xsave", NO)])
def test_an_emulated_x86(toy, tmp_path, processor, expected):  # noqa: F811
    """The very code of this machine: nothing before the question needs a vector that the processor lacks."""
    from tvm_shufflenet.building.needs import needed
    from tvm_shufflenet.targets.precision import FP32

    qemu = shutil.which("qemu-x86_64") or pytest.skip("there is no qemu-x86_64")
    needs = needed(NATIVE, FP32)
    if "avx" not in needs:
        pytest.skip("the code of this machine runs on every x86-64")
    program = asking(toy, NATIVE, needs, tmp_path, None)
    assert told([qemu, "-cpu", processor, program]) == expected


# ---------------------------------------------------------------------------- emulated processors

ARMS = [
    ("aarch64", ["asimddp"], "cortex-a53", NO), ("aarch64", ["asimddp"], "max", YES),
    ("aarch64", ["asimdhp"], "cortex-a72", NO), ("aarch64", ["asimdhp", "asimddp", "i8mm"], "max", YES),
    ("aarch64", ["i8mm"], "a64fx", NO), ("arm", ["neon", "vfpv4"], "cortex-a8", NO),
    ("arm", ["neon", "vfpv4"], "cortex-a15", YES), ("arm", ["neon"], "cortex-a8", YES),
]  # fmt: skip


@pytest.mark.emulator
@pytest.mark.parametrize("libc", [pytest.param("static", marks=pytest.mark.slow), "dynamic"])
@pytest.mark.parametrize("arch,needs,processor,expected", ARMS)
def test_emulated_arms(toy, tmp_path, arch, needs, processor, expected, libc):  # noqa: F811
    """With the C library's getauxval, and where the program has none."""
    static = libc == "static"
    target = (packing.ZIG_TARGETS if static else link.ZIG_TARGETS)[arch]
    program = asking(toy, SPECS[arch], needs, tmp_path, target, options=["-static"] if static else [])
    command = emulator.command(program, arch={"arm": "armhf"}.get(arch, arch))
    assert told(command, QEMU_CPU=processor) == expected


@pytest.mark.slow
@pytest.mark.emulator
@pytest.mark.parametrize("text,expected", [
    ("processor\t: 0\nBogoMIPS\t: 50\nFeatures\t: fp asimd asimdhp asimddp lrcpc\nCPU part\t: x\n", YES),
    ("processor\t: 0\nFeatures\t: fp asimd asimdhp\nCPU\t: asimddp\n", NO),
    ("processor\t: 0\nFeatures\t: fp asimddpx xasimddp", NO), ("Features\t: asimddp", YES), ("model name\t: x\n", YES),
])  # fmt: skip
def test_without_an_auxiliary_vector(toy, tmp_path, text, expected):  # noqa: F811
    """As in an app of Android; QEMU takes files that it finds below -L for the guest's."""
    source = ASK + "unsigned long getauxval(unsigned long entry) { return entry & 0; }\n"
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(text)
    target = packing.ZIG_TARGETS["aarch64"]
    program = asking(toy, SPECS["aarch64"], ["asimddp"], tmp_path, target, source, ["-static"])
    command = [word if word != str(emulator.ROOT / "aarch64") else tmp_path for word in emulator.command(program)]
    assert told(command, QEMU_CPU="max") == expected


@pytest.mark.slow
@pytest.mark.emulator
@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_networks_on_a_processor_that_lacks_them(tmp_path, precision, build):
    """The C example with a shared library, and the program of `bench`, on a Cortex-A53."""
    from tvm_shufflenet.architectures import network
    from tvm_shufflenet.bridge import random_parameters
    from tvm_shufflenet.training.calibration import calibrate

    net, more = network(SMALL, SIZE, 10), {}
    if precision == "int8":
        more["calibration"] = calibrate(net, random_parameters(net), [numbers((1, 3, *SIZE))], "minmax")
    given = {"size": SIZE, "classes": 10, "precision": precision, **more}
    shared = build(SMALL, "cortex-a76", **given).path
    zeros = tmp_path / "zeros.raw"
    zeros.write_bytes(bytes(4 * 3 * 64 * 64))
    program = tmp_path / "classify"
    argv = [*ZIG, "cc", "-target", link.ZIG_TARGETS["aarch64"], "-O2", f"-I{HEADER.parent}"]
    subprocess.run([*argv, ROOT / "examples/c/classify.c", "-o", program, "-ldl", "-lpthread"], check=True)
    archive = build(SMALL, "cortex-a76", emit="static", prefix="network", **given).path
    made = pack(PackOptions((str(archive),), "cortex-a76", output=tmp_path / "bench")).path
    commands = [[program, shared, zeros], [made, "--rounds", "1"]]
    for processor, status in (("cortex-a53", (1, 2)), ("max", (0, 0))):
        for command, expected in zip(commands, status):
            done = subprocess.run(
                emulator.command(*command), env={**os.environ, "QEMU_CPU": processor}, capture_output=True, text=True
            )
            assert done.returncode == expected, done.stderr
            if expected:
                assert "this processor lacks instructions of the library" in done.stderr and not done.stdout


def test_the_answer_is_kept(toy, tmp_path):  # noqa: F811
    """Asking takes microseconds under a hypervisor; a kept answer takes a load."""
    if not X86_HOST:
        pytest.skip("cpuid is of x86-64")
    source = """
#include <stdio.h>
#include "tvm_shufflenet.h"
int main(void) {
  long sum = 0;
  for (long i = 0; i < 20000000; ++i) sum += tsn_supported();
  printf("%ld", sum);
  return 0;
}
"""
    program = asking(toy, NATIVE, ["pni"], tmp_path, None, source)
    done = subprocess.run([program], capture_output=True, text=True, timeout=60)  # of cpuid: minutes
    assert done.stdout == "20000000"
