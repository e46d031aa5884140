/* What a compiled network consists of besides TVM's object: the C interface of tvm_shufflenet.h, and
 * the few functions that the object calls.  Compiled anew for each network, which -D macros describe:
 *
 *   TSN_INPUT_SHAPE       1,3,224,224
 *   TSN_OUTPUT_SHAPE      1,1000
 *   TSN_WORKSPACE_FLOATS  number of floats of the workspace, a multiple of 16
 *
 * There is no C library here, since a board may have any.  Neither are there TVM's headers, which
 * need one: the few structures of its calling convention (tvm/ffi/c_api.h, dlpack.h) are repeated.
 * All functions but those of the header are hidden in the library.
 */

#include <stdint.h>

#pragma GCC visibility push(default)
#include "tvm_shufflenet.h"
#pragma GCC visibility pop

typedef struct { /* DLTensor */
  void *data;
  int32_t device_type, device_id;
  int32_t ndim;
  uint8_t type_code, type_bits;
  uint16_t type_lanes;
  const int64_t *shape;
  const int64_t *strides;
  uint64_t byte_offset;
} Tensor;

typedef struct { /* TVMFFIAny */
  int32_t type_index;
  uint32_t zero_padding;
  union {
    int64_t v_int64;
    void *v_ptr;
  };
} Any;

enum { TENSOR_POINTER = 7 }; /* TVMFFITypeIndex */
enum { CPU = 1, FLOAT = 2 }; /* DLDeviceType, DLDataTypeCode */
enum { DIMENSIONS_MAX = 4 };
#define LENGTH(array) (int32_t)(sizeof(array) / sizeof *(array))

/* In the assembler file that link.py writes. */
#pragma GCC visibility push(hidden) /* for definitions alone, -fvisibility does it */
extern const char tsn_manifest_text[];
extern const float tsn_weights_data[];
#pragma GCC visibility pop

/* In TVM's object. */
extern int __tvm_ffi_main(void *self, const Any *arguments, int32_t count, Any *result);

/* In TVM and in the C library: null where the program has none. */
typedef void SetRaised(const char *kind, const char *message);
extern SetRaised TVMFFIErrorSetRaisedFromCStr __attribute__((weak, visibility("default")));
extern void *dlsym(void *handle, const char *name) __attribute__((weak, visibility("default")));

/* ------------------------------------------------------------------------------ the interface */

static const int64_t input_shape[] = {TSN_INPUT_SHAPE};
static const int64_t output_shape[] = {TSN_OUTPUT_SHAPE};
static const int64_t workspace_shape[] = {TSN_WORKSPACE_FLOATS};
_Static_assert(LENGTH(input_shape) <= DIMENSIONS_MAX && LENGTH(output_shape) <= DIMENSIONS_MAX, "");

const char *tsn_describe(void) { return tsn_manifest_text; }

size_t tsn_workspace_bytes(void) { return (size_t)workspace_shape[0] * sizeof(float); }

static Any pass(Tensor *tensor, void *data, const int64_t *shape, int32_t ndim, int64_t *strides) {
  int64_t stride = 1;
  for (int32_t i = ndim; i-- > 0; stride *= shape[i]) strides[i] = stride;
  *tensor = (Tensor){data, CPU, 0, ndim, FLOAT, 32, 1, shape, strides, 0};
  Any any = {TENSOR_POINTER, 0, {0}}; /* all eight bytes, also where a pointer has four */
  any.v_ptr = tensor;
  return any;
}

int tsn_run(const float *input, float *output, void *workspace) {
  if (!input || !output || !workspace) return TSN_ERROR_NULL;
  /* The kernels load and store whole vectors there, on some processors with aligned instructions. */
  if ((uintptr_t)workspace % TSN_ALIGNMENT) return TSN_ERROR_ALIGNMENT;
  if (((uintptr_t)input | (uintptr_t)output) % sizeof(float)) return TSN_ERROR_ALIGNMENT;
  Tensor tensors[3];
  int64_t strides[3][DIMENSIONS_MAX];
  Any result = {0, 0, {0}};
  const Any arguments[] = {
      pass(&tensors[0], (void *)input, input_shape, LENGTH(input_shape), strides[0]),
      pass(&tensors[1], output, output_shape, LENGTH(output_shape), strides[1]),
      pass(&tensors[2], workspace, workspace_shape, LENGTH(workspace_shape), strides[2]),
  };
  return __tvm_ffi_main(0, arguments, LENGTH(arguments), &result) ? TSN_ERROR_INTERNAL : TSN_OK;
}

/* --------------------------------------------------------------------- what TVM's object calls */

const float *tsn_weights(void) { return tsn_weights_data; }

/* TVM defines a function of this name too, but no program without TVM could load a library that asks
 * for it.  So the message is put together here, and handed over where there is somebody to take it:
 * TVM needs it, once __tvm_ffi_main has failed.
 */
void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t count) {
  char message[2048];
  size_t length = 0;
  SetRaised *set_raised = TVMFFIErrorSetRaisedFromCStr;
  if (!set_raised && dlsym) /* TVM may have come after this library; null is RTLD_DEFAULT */
    set_raised = (SetRaised *)dlsym(0, "TVMFFIErrorSetRaisedFromCStr");
  if (!set_raised) return;
  for (int32_t i = 0; i < count; ++i)
    for (const char *at = parts[i]; at && *at && length < sizeof message - 1; ++at)
      message[length++] = *at;
  message[length] = 0;
  set_raised(kind, message);
}

#include "memory.c"

#ifdef __arm__
/* The unwinding tables of 32-bit Arm name it: no exception passes through here (_URC_FAILURE). */
int __aeabi_unwind_cpp_pr0(void) { return 9; }
#endif
