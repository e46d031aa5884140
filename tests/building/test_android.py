"""Android archives: what is in them; and the class and its JNI layer in the Java machine of this one.

No phone, Gradle or loader of Android is there: docs/what-was-run.md.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

import tvm_shufflenet
from tvm_shufflenet.architectures import NetworkBuilder
from tvm_shufflenet.building.android import CALLED, HEADER, JNI, SDK, classes, write_layer
from tvm_shufflenet.building.build_library import BuildOptions, build_library
from tvm_shufflenet.cli import build as build_command
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library import FORMAT
from tvm_shufflenet.library.elf import read_elf
from tvm_shufflenet.zig import zig

MODEL, PACKAGE = "shufflenet-v1-0.25x-g3", "com.example.my_app"
NATIVES = re.findall(r"native \w+ (\w+)\(", JNI.with_name("Network.java").read_text())
JAVA_NAMES = {f"Java_com_example_my_1app_Network_{name}" for name in NATIVES}

# Writes the outputs for the input and the picture, and says what is refused.
PROGRAM = """
import com.example.my_app.Network;
import java.nio.*;
import java.nio.file.*;

class Program {
  static ByteBuffer read(String file) throws Exception {
    byte[] bytes = Files.readAllBytes(Paths.get(file));
    ByteBuffer whole = ByteBuffer.allocateDirect(bytes.length + 8).order(ByteOrder.nativeOrder());
    whole.position(4);
    whole.put(bytes).limit(bytes.length + 4).position(4);  // in the middle of a buffer
    return whole;
  }
  static void write(String file, ByteBuffer buffer) throws Exception {
    byte[] bytes = new byte[buffer.remaining()];
    buffer.duplicate().get(bytes);
    Files.write(Paths.get(file), bytes);
  }
  static void refused(Runnable call) {
    try {
      call.run();
      System.out.println("nothing");
    } catch (IllegalArgumentException error) {
      System.out.println(error.getMessage());
    }
  }
  public static void main(String[] names) throws Exception {
    Network network = new Network();
    ByteBuffer input = read("input"), first = Network.buffer(Network.outputShape(0));
    ByteBuffer[] outputs = new ByteBuffer[Network.outputs()];
    for (int i = 0; i < outputs.length; ++i) outputs[i] = Network.buffer(Network.outputShape(i));
    network.run(input, outputs);
    for (int i = 0; i < outputs.length; ++i) write("output" + i, outputs[i]);
    Files.write(Paths.get("described"), Network.describe().getBytes("UTF-8"));
    if (names.length == 0) return;
    ByteBuffer pixels = read("pixels");
    network.runImage(pixels, Network.NV21, 70, 90, 0, 90, first);
    write("picture", first);
    ByteBuffer nan = Network.buffer(Network.inputShape());
    nan.putFloat(40, Float.NaN);
    refused(() -> network.run(nan, first));
    refused(() -> network.run(ByteBuffer.allocate(49152).order(ByteOrder.nativeOrder()), first));
    refused(() -> network.run(null, first));
    refused(() -> network.run(input));
    refused(() -> network.run(pixels, first));
    refused(() -> network.run(input.duplicate(), first));
    refused(() -> network.run(input, first.asReadOnlyBuffer().order(ByteOrder.nativeOrder())));
    ByteBuffer odd = ByteBuffer.allocateDirect(49153);
    odd.position(1);
    refused(() -> network.run(odd.order(ByteOrder.nativeOrder()), first));
    refused(() -> network.runImage(pixels, Network.NV21, 70, 91, 0, 90, first));
    refused(() -> network.runImage(pixels, Network.NV21, 70, 90, -1, 90, first));
    System.out.println(Network.label(0));
  }
}
"""
REFUSED = """\
the input holds NaN or infinity, expected finite numbers
input: expected a direct ByteBuffer
input: expected a direct ByteBuffer
0 outputs, expected 1
input: 9450 bytes, expected 49152 of [1, 3, 64, 64]
input: expected order(ByteOrder.nativeOrder())
output 0: it can only be read
a buffer does not begin at a multiple of 4 bytes
no such picture: format, size, stride, rotation or bytes contradict
a stride of -1, expected 0 or more
null
"""


@pytest.fixture
def javac():
    return shutil.which("javac") or pytest.skip("there is no javac")


def write_classes(built, package: str, folder: Path) -> None:
    """Puts the class of a library lib{NAME}.so of this machine into a folder, and its layer beside the library."""
    name = built.path.stem.removeprefix("lib")
    write_layer(built, package, name)
    for place, data in classes(built, package, name).items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(data)


def java_prints(built, folder: Path, main: str, *arguments, path: str = ".") -> str:
    """What the class `main` of a folder prints, with the library and checks of what the layer calls."""
    place = str(built.path.parent)
    argv = ["java", "-Xcheck:jni", "-Xint", f"-Djava.library.path={place}", "-cp", path, main, *arguments]
    environment = {**os.environ, "LD_LIBRARY_PATH": place, "JAVA_TOOL_OPTIONS": "-Dfile.encoding=UTF-8"}
    done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "FATAL" not in done.stdout, done.stdout + done.stderr
    assert "WARNING in native" not in done.stdout, done.stdout
    return done.stdout


def run_java(javac, built, folder, *arguments) -> str:
    """What `PROGRAM` prints, run in a folder with a library lib{NAME}.so of this machine."""
    write_classes(built, PACKAGE, folder)
    (folder / "Program.java").write_text(PROGRAM)
    subprocess.run([javac, "-cp", folder, "-d", folder, folder / "Program.java"], check=True)
    said = java_prints(built, folder, "Program", *arguments)
    assert json.loads((folder / "described").read_text()) == built.manifest
    return said


def test_java_gives_what_python_gives(javac, build, tmp_path):
    built = build(MODEL, size=(64, 64), name="libnetwork")
    random = np.random.default_rng(1)
    image = random.standard_normal((1, 3, 64, 64)).astype(np.float32)
    pixels = random.integers(0, 256, (135, 70), np.uint8)
    (tmp_path / "input").write_bytes(image.tobytes())
    (tmp_path / "pixels").write_bytes(pixels.tobytes())
    said = run_java(javac, built, tmp_path, "errors")
    library = tvm_shufflenet.load(built.path)
    assert (tmp_path / "output0").read_bytes() == library(image).tobytes()
    assert (tmp_path / "picture").read_bytes() == library.run_image(pixels, "NV21", rotation=90).tobytes()
    assert said == REFUSED


def test_several_outputs_and_a_prefix(javac, tmp_path):
    net = NetworkBuilder((8, 8))
    x = net.conv("conv", 0, 5, 3, pad=1)
    outputs = [x, net.dense("fc", net.global_avg_pool("pool", x), 7)]
    options = BuildOptions(target="native", network=net.network("two", outputs=outputs), output=tmp_path,
                           prefix="dogs", name="libtwo")  # fmt: skip
    built = build_library(options)
    image = np.random.default_rng(2).standard_normal((1, 3, 8, 8)).astype(np.float32)
    (tmp_path / "input").write_bytes(image.tobytes())
    run_java(javac, built, tmp_path)
    for number, expected in enumerate(tvm_shufflenet.load(built.path)(image)):
        assert (tmp_path / f"output{number}").read_bytes() == expected.tobytes()


def test_the_archive(javac, tmp_path):
    argv = [MODEL, "--size", "64", "--one-thread", "--default-schedules", "--android", PACKAGE, "--name", "dogs"]
    build_command.main([*argv, "-o", str(tmp_path)])
    with zipfile.ZipFile(tmp_path / "dogs.aar") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    assert f'package="{PACKAGE}"' in files["AndroidManifest.xml"].decode() and files["R.txt"] == b""
    assert f"{PACKAGE}.Network" in files["proguard.txt"].decode()
    assert "-dontwarn androidx.annotation." in files["proguard.txt"].decode()
    with zipfile.ZipFile(io.BytesIO(files["classes.jar"])) as jar:
        names = ["com/example/my_app/Network$Guess.class", "com/example/my_app/Network.class"]
        assert jar.namelist() == names  # and no stub of Android's classes
        assert all(jar.read(name)[:8].hex() == "cafebabe00000034" for name in names)  # of Java 8
        assert b"Landroidx/annotation/NonNull;" in jar.read(names[1])  # for Kotlin
    prefab = json.loads(files["prefab/prefab.json"])
    assert prefab == {"schema_version": 2, "name": "dogs", "version": str(FORMAT), "dependencies": []}
    module = "prefab/modules/dogs"
    assert json.loads(files[f"{module}/module.json"])["library_name"] == "libdogs"
    assert files[f"{module}/include/tvm_shufflenet.h"] == HEADER.read_bytes()
    for abi, arch in (("arm64-v8a", "aarch64"), ("armeabi-v7a", "arm")):
        network = files[f"jni/{abi}/libdogs.so"]
        assert network == files[f"{module}/libs/android.{abi}/libdogs.so"]
        about = json.loads(files[f"{module}/libs/android.{abi}/abi.json"])
        assert (about["abi"], about["api"], about["stl"]) == (abi, SDK, "none")
        (tmp_path / "libdogs.so").write_bytes(network)
        (tmp_path / "layer.so").write_bytes(files[f"jni/{abi}/libdogs_jni.so"])
        library, layer = read_elf(tmp_path / "libdogs.so"), read_elf(tmp_path / "layer.so")
        assert library.arch == layer.arch == arch and library.needed == ()
        assert layer.needed == ("libdogs.so",) and set(layer.exported) == JAVA_NAMES
        assert set(layer.undefined) == set(CALLED) <= set(library.exported)
        for segment in (*library.segments, *layer.segments):
            assert segment.alignment == 16384 and (segment.offset - segment.address) % 16384 == 0
            assert "w" not in segment.protection or "x" not in segment.protection


def both_conventions(source: Path, folder: Path) -> list[str]:
    """The assembler of a C file for 32-bit Arm, as armeabi-v7a passes floats and as the target armv7 does."""
    code = []
    for floats in ("softfp", "hard"):
        argv = [zig(), "clang", "-target", "armv7-linux-gnueabihf", f"-mfloat-abi={floats}", "-mfpu=neon", "-O2"]
        argv += ["-ffreestanding", f"-I{HEADER.parent}", f"-I{Path(zig()).parent / 'lib' / 'include'}"]
        argv += ["-DTSN_JNI(name)=name", "-DTSN_JNI_OUTPUTS=2", "-S", source, "-o", folder / floats]
        subprocess.run(argv, check=True)
        code.append(re.sub(r"^.*Tag_ABI_VFP_args\n", "", (folder / floats).read_text(), flags=re.M))
    return code


def test_both_calling_conventions_of_armv7_are_one(tmp_path):
    """The layer is the same code for both, and the header passes no floats."""
    (tmp_path / "floats.c").write_text("float twice(float x) { return 2 * x; }")
    first, second = both_conventions(tmp_path / "floats.c", tmp_path)
    assert first != second
    first, second = both_conventions(JNI, tmp_path)
    assert first == second and "nativeRun:" in first
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)
    prototypes = re.findall(r"^[a-z][^;{}#]*?\btsn_\w+\([^;{}]*\);", text, re.M)
    assert len(prototypes) > 15
    assert not [each for each in prototypes if re.search(r"\b(float|double)\b(?! *(\*|const))", each)]


@pytest.mark.parametrize("argv, message", [
    (["--android", "dogs"], "expected a Java package of two names or more"),
    (["--android", PACKAGE, "--target", "armv7"], "arm, expected a 64-bit Arm"),
    (["--android", PACKAGE, "--target", "apple-ios"], "ios, expected a 64-bit Arm"),
    (["--android", PACKAGE, "--size", "64", "--size", "96"], "the class of an AAR runs one size, give one"),
    (["--android", PACKAGE, "--emit", "static"], "an AAR has shared libraries"),
    (["--android", PACKAGE, "--package"], "an AAR has files for CMake of its own"),
    (["--android", PACKAGE, "--cc", "cc"], "--cc is of one target"),
    (["--android", PACKAGE, "--name", "two-dogs"], "letters, digits and _"),
    (["alexnet", "--android", PACKAGE], "is of one network, but 2 are named"),
])  # fmt: skip
def test_refused(javac, tmp_path, argv, message):
    with pytest.raises(UserError, match=message):
        build_command.main([MODEL, *argv, "-o", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_no_compiler_of_java_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="there is no javac: install a JDK"):
        build_command.main([MODEL, "--android", PACKAGE, "-o", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
