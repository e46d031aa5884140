/* What a compiled network consists of besides TVM's object: the C interface of tvm_shufflenet.h, and
 * the few functions that the object calls.  Compiled anew for each network, which -D macros describe:
 *
 *   TSN_INPUT             {4,{1,3,224,224}}: the number of dimensions and the shape
 *   TSN_OUTPUTS           {2,{1,1000}},{4,{1,8,7,7}}: the same of each output
 *   TSN_WORKSPACE_FLOATS  number of floats that the object uses of the workspace, a multiple of 16
 *   TSN_NETWORK           the initialiser of extras.h's Network
 *   TSN_NEEDS, TSN_STATES see cpu.c
 *   TSN_TEAM_SCRATCH      of a network for teams of threads: see team.c
 *
 * There is no C library here, since a board may have any.  Neither are there TVM's headers, which
 * need one: the few structures of its calling convention (tvm/ffi/c_api.h, dlpack.h) are repeated.
 * All functions but those of the header are hidden in the library.
 */

#include "extras.h"

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

enum { INTEGER = 1, TENSOR_POINTER = 7, TENSOR_OBJECT = 70, OBJECT_HEADER_BYTES = 24 }; /* TVMFFITypeIndex */
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

/* In TVM and in the C library: null where the program has none.  On Apple's systems all programs have libSystem. */
typedef void SetRaised(const char *kind, const char *message);
#ifdef __APPLE__
extern void *dlsym(void *handle, const char *name) __attribute__((visibility("default")));
#define EVERYWHERE (void *)-2 /* RTLD_DEFAULT */
static SetRaised *find_set_raised(void) { return (SetRaised *)dlsym(EVERYWHERE, "TVMFFIErrorSetRaisedFromCStr"); }
#else
extern SetRaised TVMFFIErrorSetRaisedFromCStr __attribute__((weak, visibility("default")));
extern void *dlsym(void *handle, const char *name) __attribute__((weak, visibility("default")));
static SetRaised *find_set_raised(void) {
  SetRaised *set_raised = TVMFFIErrorSetRaisedFromCStr;
  if (!set_raised && dlsym) /* TVM may have come after this library; null is RTLD_DEFAULT */
    set_raised = (SetRaised *)dlsym(0, "TVMFFIErrorSetRaisedFromCStr");
  return set_raised;
}
#endif

/* ------------------------------------------------------------------------------ the interface */

typedef struct {
  int32_t ndim;
  int64_t sizes[DIMENSIONS_MAX];
} Shape;

const Network tsn_network = TSN_NETWORK;
static const Shape input_shape = TSN_INPUT;
static const Shape output_shapes[] = {TSN_OUTPUTS};
static const Shape workspace_shape = {1, {TSN_WORKSPACE_FLOATS}};
enum { OUTPUTS = LENGTH(output_shapes), ARGUMENTS = 1 + OUTPUTS + 1 };

static size_t floats_in(const Shape *shape) {
  size_t count = 1;
  for (int32_t i = 0; i < shape->ndim; ++i) count *= (size_t)shape->sizes[i];
  return count;
}

/* Of an output behind the workspace, where the next one begins on a multiple of TSN_ALIGNMENT. */
static size_t room_for(const Shape *shape) {
  return (floats_in(shape) * sizeof(float) + TSN_ALIGNMENT - 1) / TSN_ALIGNMENT * TSN_ALIGNMENT;
}

#include "cpu.c"
#include "guarded.c"

int tsn_abi(void) { return TSN_ABI; }

const char *tsn_describe(void) { return tsn_manifest_text; }

size_t tsn_workspace_bytes(void) {
  size_t bytes = floats_in(&workspace_shape) * sizeof(float);
  for (int32_t i = 1; i < OUTPUTS; ++i) bytes += room_for(&output_shapes[i]);
  return bytes;
}

/* An argument of TVM's function, and where its parts lie while that runs. */
typedef struct {
  Tensor tensor;
  int64_t strides[DIMENSIONS_MAX];
} Place;

static Any pass(Place *place, const void *data, const Shape *shape) {
  int64_t stride = 1;
  for (int32_t i = shape->ndim; i-- > 0; stride *= shape->sizes[i]) place->strides[i] = stride;
  place->tensor = (Tensor){(void *)data, CPU, 0, shape->ndim, FLOAT, 32, 1, shape->sizes, place->strides, 0};
  Any any = {TENSOR_POINTER, 0, {0}}; /* all eight bytes, also where a pointer has four */
  any.v_ptr = &place->tensor;
  return any;
}

/* Whether a run may begin: the arrays, and the processor. */
static int check_arrays(const float *input, float *const outputs[], const void *workspace) {
  if (!input || !outputs || !workspace) return TSN_ERROR_NULL;
  uintptr_t addresses = (uintptr_t)input;
  for (int32_t i = 0; i < OUTPUTS; ++i) {
    if (!outputs[i]) return TSN_ERROR_NULL;
    addresses |= (uintptr_t)outputs[i];
  }
  /* The kernels load and store whole vectors in the workspace, on some processors with aligned instructions. */
  if ((uintptr_t)workspace % TSN_ALIGNMENT || addresses % sizeof(float)) return TSN_ERROR_ALIGNMENT;
  return tsn_supported() ? TSN_OK : TSN_ERROR_CPU;
}

/* Those behind the first lie behind the workspace. */
static void all_outputs(float *outputs[], float *first, void *workspace) {
  char *behind = (char *)workspace + floats_in(&workspace_shape) * sizeof(float);
  outputs[0] = first;
  for (int32_t i = 1; i < OUTPUTS; behind += room_for(&output_shapes[i++])) outputs[i] = (float *)behind;
}

int tsn_run_outputs(const float *input, float *const outputs[], void *workspace) {
  int status = check_arrays(input, outputs, workspace);
  if (status) return status;
  Place places[ARGUMENTS];
  Any arguments[ARGUMENTS], result = {0, 0, {0}};
  arguments[0] = pass(&places[0], input, &input_shape);
  for (int32_t i = 0; i < OUTPUTS; ++i) arguments[1 + i] = pass(&places[1 + i], outputs[i], &output_shapes[i]);
  arguments[1 + OUTPUTS] = pass(&places[1 + OUTPUTS], workspace, &workspace_shape);
  return __tvm_ffi_main(0, arguments, ARGUMENTS, &result) ? TSN_ERROR_INTERNAL : TSN_OK;
}

int tsn_run(const float *input, float *output, void *workspace) {
  if (!workspace) return TSN_ERROR_NULL;
  float *outputs[OUTPUTS];
  all_outputs(outputs, output, workspace);
  return tsn_run_outputs(input, outputs, workspace);
}

int tsn_check_input(const float *input) {
  typedef uint32_t __attribute__((may_alias)) Bits;
  const uint32_t exponent = 0x7f800000; /* all of its bits are set in NaN and infinity, and in nothing else */
  if (!input) return TSN_ERROR_NULL;
  if ((uintptr_t)input % sizeof(float)) return TSN_ERROR_ALIGNMENT;
  const Bits *bits = (const Bits *)input;
  uint32_t found = 0;
  for (size_t i = 0, count = floats_in(&input_shape); i < count; ++i) found |= (bits[i] & exponent) == exponent;
  return found ? TSN_ERROR_INPUT : TSN_OK;
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
  SetRaised *set_raised = find_set_raised();
  if (!set_raised) return;
  for (int32_t i = 0; i < count; ++i)
    for (const char *at = parts[i]; at && *at && length < sizeof message - 1; ++at)
      message[length++] = *at;
  message[length] = 0;
  set_raised(kind, message);
}

/* The error of a function of TVM's kind. */
static int fail(const char *function, const char *why) {
  const char *parts[] = {function, ": ", why};
  TVMFFIErrorSetRaisedFromCStrParts("ValueError", parts, LENGTH(parts));
  return -1;
}

/* The tensor that an argument is, as it arrives over RPC or within a process; else null. */
static const Tensor *tensor_in(const Any *argument) {
  if (argument->type_index == TENSOR_POINTER) return argument->v_ptr;
  if (argument->type_index == TENSOR_OBJECT)
    return (const Tensor *)((const char *)argument->v_ptr + OBJECT_HEADER_BYTES);
  return 0;
}

#ifdef TSN_TEAM_SCRATCH
#include "team.c"
#include "tvm_team.c"
#endif

#ifndef __APPLE__ /* libSystem has these */
#include "memory.c"
#endif

#ifdef __arm__
/* The unwinding tables of 32-bit Arm name it: no exception passes through here (_URC_FAILURE). */
int __aeabi_unwind_cpp_pr0(void) { return 9; }

/* Not all of these processors can divide, and kernels in parts ask where a part begins: LLVM calls this. */
int32_t __divsi3(int32_t number, int32_t by) {
  uint32_t left = number < 0 ? -(uint32_t)number : (uint32_t)number, size = by < 0 ? -(uint32_t)by : (uint32_t)by;
  uint32_t quotient = 0, rest = 0;
  for (int bit = 31; bit >= 0; --bit) {
    rest = rest << 1 | (left >> bit & 1);
    if (rest >= size) rest -= size, quotient |= 1u << bit;
  }
  return (int32_t)((number < 0) != (by < 0) ? -quotient : quotient);
}
#endif
