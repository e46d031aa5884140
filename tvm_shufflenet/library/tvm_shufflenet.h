/* The interface of every compiled network, for C and C++.
 *
 * A library holds one network with its weights.  It needs no other library and no files, allocates
 * nothing, starts no threads and writes to nothing but its outputs and `workspace`.  All libraries
 * export the same names: to use several in one program, dlopen each and dlsym the functions.
 *
 *     void *workspace = aligned_alloc(TSN_ALIGNMENT, tsn_workspace_bytes());
 *     int status = tsn_run(input, output, workspace);
 *
 * This is format 2.  Libraries of format 1 lack tsn_run_outputs and tsn_check_input.
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
#define TSN_ERROR_ALIGNMENT (-2) /* of the workspace to TSN_ALIGNMENT, or of another array as floats are */
#define TSN_ERROR_INTERNAL (-3)  /* a bug of the compiler: the library contradicts itself */
#define TSN_ERROR_INPUT (-4)     /* the input holds NaN or infinity */

/* The network as one line of JSON, which lives as long as the library.  It begins with the arrays that
 * the functions take:
 *
 *     {"format":2,
 *      "inputs":[{"name":"input","shape":[1,3,224,224],"dtype":"float32","layout":"NCHW"}],
 *      "outputs":[{"name":"fc","shape":[1,1000],"dtype":"float32","layout":"NC"}],
 *      "workspace_bytes":...
 *
 * There is one input, of any number of channels; its "layout" is NCHW or NHWC, with N = 1.  There are one
 * or more outputs: NCHW, or NC where a network has no pixels left.  "probabilities" is true where the
 * first output has been through a softmax or a sigmoid, false where it holds logits or features.
 */
const char *tsn_describe(void);

/* The size of the workspace, for either function that runs the network: a multiple of TSN_ALIGNMENT. */
size_t tsn_workspace_bytes(void);

/* Runs the network once and writes its first output.
 *
 * input      the array that "inputs" describes, preprocessed; it is not changed.  Its numbers are finite:
 *            of NaN and infinity the network may make anything, ordinary numbers too.
 * output     the first of those that "outputs" describes.
 * workspace  tsn_workspace_bytes() bytes.  What they hold before does not matter, and what they
 *            hold afterwards means nothing.
 *
 * The arrays belong to the caller, are dense and do not overlap.  The workspace is aligned to
 * TSN_ALIGNMENT, the others as floats are.  Returns TSN_OK or a negative error.  Threads may run at the
 * same time if each has a workspace and outputs of its own.  A call needs up to 64 KiB of stack.
 */
int tsn_run(const float *input, float *output, void *workspace);

/* The same, and writes all outputs: `outputs` has a pointer for each, in the order of "outputs". */
int tsn_run_outputs(const float *input, float *const outputs[], void *workspace);

/* Reads the input once: TSN_OK where all its numbers are finite, TSN_ERROR_INPUT where one is not. */
int tsn_check_input(const float *input);

#ifdef __cplusplus
}
#endif

#endif
