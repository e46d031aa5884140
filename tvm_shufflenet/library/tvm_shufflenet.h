/* The interface of every compiled network, for C and C++.
 *
 * A library holds one network with its weights.  It needs no other library and no files, allocates
 * nothing, starts no threads and writes to nothing but `output` and `workspace`.  All libraries
 * export the same names: to use several in one program, dlopen each and dlsym the functions.
 *
 *     void *workspace = aligned_alloc(TSN_ALIGNMENT, tsn_workspace_bytes());
 *     int status = tsn_run(input, output, workspace);
 */
#ifndef TVM_SHUFFLENET_H
#define TVM_SHUFFLENET_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TSN_ALIGNMENT 64 /* bytes: of the workspace */

#define TSN_OK 0
#define TSN_ERROR_NULL (-1)      /* a pointer is null */
#define TSN_ERROR_ALIGNMENT (-2) /* the workspace is not a multiple of TSN_ALIGNMENT */
#define TSN_ERROR_INTERNAL (-3)  /* a bug of the compiler: the library contradicts itself */

/* The network as one line of JSON, which lives as long as the library.  It begins with the shapes,
 * as in {"format":1,"input_shape":[1,3,224,224],"output_shape":[1,1000],"workspace_bytes":...
 */
const char *tsn_describe(void);

/* The size of the workspace of tsn_run: a multiple of TSN_ALIGNMENT. */
size_t tsn_workspace_bytes(void);

/* Classifies one image.
 *
 * input      float32, NCHW with N = 1, of "input_shape", preprocessed; it is not changed.
 * output     float32 of "output_shape": the logits.
 * workspace  tsn_workspace_bytes() bytes.  What they hold before does not matter, and what they
 *            hold afterwards means nothing.
 *
 * The buffers belong to the caller and do not overlap; the workspace is aligned to TSN_ALIGNMENT, the
 * others as floats are.  Returns TSN_OK or a negative error.  Threads may run at the same time if each has a workspace and an output of
 * its own.  A call needs up to 64 KiB of stack.
 */
int tsn_run(const float *input, float *output, void *workspace);

#ifdef __cplusplus
}
#endif

#endif
