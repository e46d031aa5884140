"""An Android archive (AAR): a network for both Arm ABIs of Android, a class for Kotlin and Java, a Prefab package.

    built = {abi: build_library(options) for abi, options in android_options(options, "com.example.dogs").items()}
    write_aar(built, "com.example.dogs", Path("build/dogs.aar"))

Each ABI has libNAME.so, the network with the interface of `tvm_shufflenet.h`, and libNAME_jni.so, a thin layer between
it and the class PACKAGE.Network.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re
import shutil
import tempfile
import zipfile
from pathlib import Path
from string import Template

from ..architectures import DEFAULT_MODEL
from ..errors import UserError
from ..files import write_bytes
from ..library import FORMAT
from ..library.link import COMPILE, LINK, ZIG_TARGETS, memory_functions
from ..library.symbols import HEADER, prefix_in, renamed
from ..targets import resolve
from ..zig import call, zig
from .build_library import BuildOptions, Built
from .manifest import plain_name

JNI, JAVA = (Path(__file__).with_name(name) for name in ("jni.c", "Network.java"))
# What Network.java names of others, for the compiler alone: no file of the archive has them.
STUBS = {
    "android/graphics/Bitmap.java": """\
package android.graphics;
public final class Bitmap {
  public enum Config { ARGB_8888 }
  public native Config getConfig();
  public native Bitmap copy(Config config, boolean mutable);
  public native int getWidth();
  public native int getHeight();
  public native int getRowBytes();
  public native void copyPixelsToBuffer(java.nio.Buffer buffer);
  public native void recycle();
}
"""
} | {
    f"androidx/annotation/{name}.java": f"package androidx.annotation;\npublic @interface {name} {{}}\n"
    for name in ("NonNull", "Nullable")
}
PACKAGE = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)+")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
CALLED = (
    "tsn_describe", "tsn_workspace_bytes", "tsn_check_input", "tsn_run_outputs", "tsn_image_workspace_bytes",
    "tsn_run_image", "tsn_label", "tsn_softmax", "tsn_top_k",
)  # fmt: skip
LARGEST = (1 << 31) - 1  # bytes of a ByteBuffer
SDK = 21  # Android 5, the first of arm64-v8a
MANIFEST = f"""\
<?xml version="1.0" encoding="utf-8"?>
<manifest xmlns:android="http://schemas.android.com/apk/res/android" package="{{}}">
    <uses-sdk android:minSdkVersion="{SDK}" />
</manifest>
"""
# The Java machine finds functions by the names of classes and methods, which R8 would shorten.
# No class of androidx.annotation is needed at run time: only Kotlin and Android Studio read the annotations.
PROGUARD = """\
-keepclasseswithmembernames,includedescriptorclasses class {}.Network {{ native <methods>; }}
-dontwarn androidx.annotation.**
"""


def android_options(options: BuildOptions, package: str) -> dict[str, BuildOptions]:
    """What to build for each ABI: --target for arm64-v8a, and armv7.  `UserError` for what no AAR has."""
    if not PACKAGE.fullmatch(package):
        raise UserError(f"--android {package}: expected a Java package of two names or more, such as com.example.dogs")
    if options.further:
        raise UserError("--size: the class of an AAR runs one size, give one")
    if options.emit != "so":
        raise UserError(f"--emit {options.emit}: an AAR has shared libraries, leave it out")
    for option, value in (("--cc", options.cc), ("--debug-dump", options.debug_dump)):
        if value is not None:
            raise UserError(f"{option} is of one target, but --android builds for two: leave it out")
    target = resolve(options.target)
    if target.arch != "aarch64" or target.system != "linux":
        what = target.arch if target.system == "linux" else target.system
        raise UserError(f"--target {options.target}: {what}, expected a 64-bit Arm, to which --android adds armv7")
    compiler()
    name = archive_name(options)
    targets = {"arm64-v8a": options.target, "armeabi-v7a": "armv7"}
    return {
        abi: dataclasses.replace(options, target=target, name=f"lib{name}", output=options.output / abi)
        for abi, target in targets.items()
    }


def archive_name(options: BuildOptions) -> str:
    """The name of the AAR, of its libraries and of its Prefab package: --name, or the network's in letters of C."""
    if options.name is None:
        source = options.model or (options.weights.stem if options.weights else DEFAULT_MODEL)
        return re.sub(r"[^A-Za-z0-9]+", "_", source)
    if not NAME.fullmatch(options.name):
        raise UserError(f"--name {options.name}: of an AAR, expected a letter, then letters, digits and _")
    return options.name


def write_aar(built: dict[str, Built], package: str, path: Path) -> None:
    """Writes the archive of libraries lib{stem of path}.so, by ABI, all or nothing; equal libraries give equal bytes.

    `UserError` where a tool is missing or fails.
    """
    name, some = path.stem, next(iter(built.values()))
    prefab = "prefab/modules/" + name
    files = {
        "AndroidManifest.xml": MANIFEST.format(package).encode(),
        "R.txt": b"",
        "proguard.txt": PROGUARD.format(package).encode(),
        "classes.jar": _zip(classes(some, package, name)),
        "prefab/prefab.json": _json(schema_version=2, name=name, version=str(FORMAT), dependencies=[]),
        f"{prefab}/module.json": _json(export_libraries=[], library_name=f"lib{name}", android={}),
    }
    for header in {some.path.with_name(HEADER.name), some.header}:
        files[f"{prefab}/include/{header.name}"] = header.read_bytes()
    for abi, library in built.items():
        network, layer = library.path.read_bytes(), write_layer(library, package, name).read_bytes()
        files |= {f"jni/{abi}/lib{name}.so": network, f"jni/{abi}/lib{name}_jni.so": layer}
        files |= {f"{prefab}/libs/android.{abi}/lib{name}.so": network}
        about = {"abi": abi, "api": SDK, "ndk": 21, "stl": "none", "static": False}  # the least; none is looked at
        files |= {f"{prefab}/libs/android.{abi}/abi.json": _json(**about)}
    write_bytes(path, _zip(files))


def write_layer(built: Built, package: str, name: str) -> Path:
    """Compiles lib{name}_jni.so beside the library, which it needs, for the class `package`.Network."""
    about, folder = built.manifest, built.path.parent
    arch, path = about["arch"], built.path.with_name(f"lib{name}_jni.so")
    start = "Java_" + package.replace("_", "_1").replace(".", "_") + "_Network_"
    macros = [f"-DTSN_JNI(name)={start}##name", f"-DTSN_JNI_OUTPUTS={len(about['outputs'])}"]
    macros += [f"-D{each}={new}" for each in CALLED if (new := renamed(each, prefix_in(about))) != each]
    with tempfile.TemporaryDirectory(prefix=".jni.", dir=folder) as scratch:
        layer, memory = Path(scratch, "jni.o"), Path(scratch, "memory.o")
        argv = [zig(), "cc", "-target", ZIG_TARGETS[arch], *COMPILE, *macros, f"-I{HEADER.parent}"]
        call(f"compiling {JNI.name}", [*argv, "-c", str(JNI), "-o", str(layer)])
        memory.write_bytes(memory_functions(arch))
        inputs = [str(layer), str(memory), str(built.path)]
        call("linking", [zig(), "ld.lld", "-shared", *LINK, "-soname", path.name, "-o", str(path), *inputs])
    return path


def compiler() -> str:
    """The compiler of Java; `UserError` where there is none."""
    if (javac := shutil.which("javac")) is None:
        raise UserError("--android compiles a class in Java, but there is no javac: install a JDK")
    return javac


def classes(built: Built, package: str, name: str) -> dict[str, bytes]:
    """The class `package`.Network, compiled for Java 8, by its place in an archive."""
    about = built.manifest
    if any(4 * math.prod(each["shape"]) > LARGEST for each in (*about["inputs"], *about["outputs"])):
        raise UserError(f"--android: an array of {about['model']} is larger than a ByteBuffer of Java, 2^31 - 1 bytes")
    shape, *outputs = ("{" + ", ".join(map(str, each["shape"])) + "}" for each in (*about["inputs"], *about["outputs"]))
    text = Template(JAVA.read_text()).substitute(
        package=package,
        what=plain_name(about),
        library=f"{name}_jni",
        input=shape,
        outputs="{" + ", ".join(outputs) + "}",
    )
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder:
        source, made = Path(folder, JAVA.name), Path(folder, "made")
        source.write_text(text, encoding="utf-8")
        for name, stub in STUBS.items():
            Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, name).write_text(stub)
        options = ["-encoding", "UTF-8", "--release", "8", "-Xlint:-options", "-g:source,lines"]
        among = ["-sourcepath", folder, "-implicit:none"]
        call(f"compiling {JAVA.name}", [compiler(), *options, *among, "-d", str(made), str(source)])
        return {str(each.relative_to(made).as_posix()): each.read_bytes() for each in sorted(made.rglob("*.class"))}


def _json(**about: object) -> bytes:
    return (json.dumps(about, indent=2) + "\n").encode()


def _zip(files: dict[str, bytes]) -> bytes:
    """An archive without the time at which it was made."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name, data in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return whole.getvalue()
