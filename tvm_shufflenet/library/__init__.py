"""The .so files that networks become: their C interface, how they are linked, how they are read.

- `tvm_shufflenet.h`: the interface, for programs in C and C++.
- `runtime.c`: what implements it, around the object that TVM generates; `team.c` and `tvm_team.c`: its parts
  for teams of threads; `cpu.c`: what asks the processor for its instructions, of the table in `instructions`;
  `guarded.c`: what asks it before vectors are touched.
- `camera.c`, with `camera.h`, `camera_enlarge.c` and `camera_reduce.c`: pictures of a camera become the input.
- `classes.c`: probabilities, the likeliest classes and their names.
- `extras`: how the two are compiled for a network.
- `interface`: the arrays that a library takes and gives, from a network or from a manifest of any format.
- `plan`: kernels, calls and places in memory, as a manifest keeps them.
- `symbols`: the names of what is exported, with a prefix of the library's own where one is asked for.
- `relocatable`: object files whose only global symbols are the interface.
- `link`: puts object, runtime, weights and manifest together, for any target.
- `elf`: looks into a library of any architecture without loading it.
- `loading`: a library as a Python function, and its manifest.
- `preprocess`: a picture file becomes what a library expects.
"""

FORMAT = 6  # what tsn_abi() gives, of the interface and the manifest, of libraries that are linked now
MANIFEST = "tsn_manifest"  # exported beside the functions: the text of tsn_describe()
# What libraries of each format export; those of all are still read.
FUNCTIONS_OF: dict[int, tuple[str, ...]] = {1: ("tsn_describe", "tsn_workspace_bytes", "tsn_run")}
FUNCTIONS_OF[2] = (*FUNCTIONS_OF[1], "tsn_run_outputs", "tsn_check_input")
FUNCTIONS_OF[3] = (
    *FUNCTIONS_OF[2], "tsn_image_workspace_bytes", "tsn_prepare_image", "tsn_run_image", "tsn_softmax", "tsn_top_k",
    "tsn_label",
)  # fmt: skip
FUNCTIONS_OF[4] = (*FUNCTIONS_OF[3], "tsn_abi")
FUNCTIONS_OF[5] = (*FUNCTIONS_OF[4], "tsn_supported")
FUNCTIONS_OF[6] = FUNCTIONS_OF[5]
# Of libraries whose manifest has "threads", beside them; the last for load_module(path)["team"].
_FIRST_OF_TEAMS = (
    "tsn_team_bytes", "tsn_team_init", "tsn_team_wait", "tsn_team_parts", "tsn_run_team", "tsn_run_team_outputs",
    "__tvm_ffi_team",
)  # fmt: skip
_TEAMS_STAY = 6  # since when threads may stay in the library between pictures
TEAM_FUNCTIONS_OF = {
    number: (*_FIRST_OF_TEAMS, *(("tsn_team_begin", "tsn_team_work") if number >= _TEAMS_STAY else ()))
    for number in FUNCTIONS_OF
}
THREADS = 64  # TSN_THREADS_MAX
TVM_FUNCTION = "__tvm_ffi_main"  # TVM's own way in: load_module(path)["main"]
