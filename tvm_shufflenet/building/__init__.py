"""From a network to a library on disk: compiled, linked, described.

- `build_library`: from a model's name to a library on disk: what the command `build` does, as a function.
- `manifest`: the manifest of a library: what `tsn_describe()` returns and the .json beside the library holds.
"""
