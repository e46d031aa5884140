"""The .so files that networks become: their C interface, how they are linked, how they are read.

- `tvm_shufflenet.h`: the interface, for programs in C and C++.
- `runtime.c`: what implements it, around the object that TVM generates.
- `interface`: the arrays that a library takes and gives, from a network or from a manifest of any format.
- `link`: puts object, runtime, weights and manifest together, for any target.
- `elf`: looks into a library of any architecture without loading it.
- `loading`: a library as a Python function, and its manifest.
- `preprocess`: a picture file becomes what a library expects.
"""

FORMAT = 2  # of the interface and the manifest, of libraries that are linked now
MANIFEST = "tsn_manifest"  # exported beside the functions: the text of tsn_describe()
# What libraries of each format export; those of all are still read.
FUNCTIONS_OF: dict[int, tuple[str, ...]] = {1: ("tsn_describe", "tsn_workspace_bytes", "tsn_run")}
FUNCTIONS_OF[2] = (*FUNCTIONS_OF[1], "tsn_run_outputs", "tsn_check_input")
TVM_FUNCTION = "__tvm_ffi_main"  # TVM's own way in: load_module(path)["main"]
