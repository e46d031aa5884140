"""From a network to a library on disk: compiled, linked, described.

- `build_library`: from a model's name to a library on disk: what the command `build` does, as a function.
- `android`: an Android archive; `jni.c` and `Network.java` are what it has between a library and Java.
- `apple`: an XCFramework; `Network.swift` is its class for Swift.
- `manifest`: the manifest of a library: what `tsn_describe()` returns and the .json beside the library holds.
- `package`: files beside it for CMake and pkg-config.
- `plan`: its kernels, calls and places in memory.
- `work`: how much of a build is done.
"""
