/* Which processor is this?  A library that any Linux or Android board can load and ask.
 *
 * It exports one TVM function, `identify(buffer)`: fills a one-dimensional uint8 tensor with
 *
 *     machine NUL modalias NUL cpuinfo
 *
 * and returns the number of bytes, or a negative errno.  `machine` is uname's, `modalias` is the
 * kernel's own description of its processor ("cpu:type:aarch64:feature:..."; only its beginning is
 * kept, and it is empty where the file is missing), `cpuinfo` is /proc/cpuinfo, cut where the
 * tensor ends.  processor.py reads them.
 *
 * No C library: boards have different ones (glibc, musl, Android's), so the library links to none
 * and makes its own system calls.  No TVM headers either, which would need one: the few structures
 * of its calling convention (tvm/ffi/c_api.h, dlpack.h) are repeated here.
 */

#include <stdint.h>

typedef struct { /* TVMFFIAny */
  int32_t type_index;
  uint32_t zero_padding;
  union {
    int64_t v_int64;
    void *v_ptr;
  };
} Any;

typedef struct { /* DLTensor */
  void *data;
  int32_t device_type, device_id;
  int32_t ndim;
  uint8_t type_code, type_bits;
  uint16_t type_lanes;
  int64_t *shape;
  int64_t *strides;
  uint64_t byte_offset;
} Tensor;

typedef struct { /* TVMFFIObject, with which a tensor object begins */
  uint64_t reference_count;
  int32_t type_index;
  uint32_t padding;
  int64_t deleter;
} ObjectHeader;

enum { INT = 1, TENSOR_POINTER = 7, TENSOR_OBJECT = 70 }; /* TVMFFITypeIndex */
enum { AT_CURRENT_FOLDER = -100, READ_ONLY = 0, BAD_ADDRESS = -14, INVALID = -22, UINT = 1 };

#if defined(__aarch64__)
enum { OPENAT = 56, CLOSE = 57, READ = 63, UNAME = 160 };
static long call(long number, long a, long b, long c) {
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = 0; /* openat's mode */
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory", "cc");
  return x0;
}
#elif defined(__arm__)
enum { OPENAT = 322, CLOSE = 6, READ = 3, UNAME = 122 };
static long call(long number, long a, long b, long c) {
  register long r7 __asm__("r7") = number;
  register long r0 __asm__("r0") = a;
  register long r1 __asm__("r1") = b;
  register long r2 __asm__("r2") = c;
  register long r3 __asm__("r3") = 0;
  __asm__ volatile("svc 0" : "+r"(r0) : "r"(r7), "r"(r1), "r"(r2), "r"(r3) : "memory", "cc");
  return r0;
}
#elif defined(__x86_64__)
enum { OPENAT = 257, CLOSE = 3, READ = 0, UNAME = 63 };
static long call(long number, long a, long b, long c) {
  register long r10 __asm__("r10") = 0;
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                   : "rcx", "r11", "memory", "cc");
  return result;
}
#else
#error "identify.c knows the system calls of AArch64, 32-bit Arm and x86-64"
#endif

/* Append the file's text, as much of it as fits; a file that can't be read adds nothing. */
static char *append_file(char *at, char *end, const char *path) {
  long file = call(OPENAT, AT_CURRENT_FOLDER, (long)path, READ_ONLY);
  if (file < 0) return at;
  while (at < end) { /* the kernel hands out these files in pieces */
    long count = call(READ, file, (long)at, end - at);
    if (count <= 0) break;
    at += count;
  }
  call(CLOSE, file, 0, 0);
  return at;
}

static int64_t fill(const Tensor *tensor) {
  enum { FIELD = 65, MACHINE = 4, MODALIAS_MAX = 256, SIZE_MIN = 1024 }; /* struct utsname */
  char names[6 * FIELD];
  if (tensor->ndim != 1 || tensor->type_code != UINT || tensor->type_bits != 8 ||
      tensor->type_lanes != 1 || tensor->shape[0] < SIZE_MIN)
    return INVALID;
  char *start = (char *)tensor->data + tensor->byte_offset;
  char *end = start + tensor->shape[0], *at = start;
  if (call(UNAME, (long)names, 0, 0) == 0)
    for (int i = 0; i < FIELD && names[MACHINE * FIELD + i]; ++i) *at++ = names[MACHINE * FIELD + i];
  *at++ = 0;
  at = append_file(at, at + MODALIAS_MAX, "/sys/devices/system/cpu/modalias");
  *at++ = 0;
  return append_file(at, end, "/proc/cpuinfo") - start;
}

__attribute__((visibility("default"))) int __tvm_ffi_identify(void *self, const Any *arguments,
                                                              int32_t count, Any *result) {
  const Tensor *tensor = 0;
  (void)self;
  if (count == 1 && arguments[0].type_index == TENSOR_POINTER) /* as it arrives over RPC */
    tensor = (const Tensor *)arguments[0].v_ptr;
  else if (count == 1 && arguments[0].type_index == TENSOR_OBJECT)
    tensor = (const Tensor *)((const char *)arguments[0].v_ptr + sizeof(ObjectHeader));
  result->type_index = INT;
  result->zero_padding = 0;
  result->v_int64 = tensor ? fill(tensor) : BAD_ADDRESS;
  return 0;
}
