"""The .so files that networks become: their C interface, how they are linked, how they are read.

- `tvm_shufflenet.h`: the interface, for programs in C and C++.
- `runtime.c`: what implements it, around the object that TVM generates.
- `link`: puts object, runtime, weights and manifest together, for any target.
- `elf`: looks into a library of any architecture without loading it.
"""

FORMAT = 1  # of the interface and the manifest: a library of another one cannot be used
MANIFEST = "tsn_manifest"  # exported beside the functions: the text of tsn_describe()
FUNCTIONS = ("tsn_describe", "tsn_workspace_bytes", "tsn_run")
TVM_FUNCTION = "__tvm_ffi_main"  # TVM's own way in: load_module(path)["main"]
