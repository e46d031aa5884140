/* The clocked copy of a network: runtime.c, and a clock that is read around every kernel.
 *
 * `main`, in TVM's object, calls tsn_tick in front of each kernel and behind the last.  One more TVM
 * function is exported, profile(input, output, ..., workspace, ticks), with all outputs; where there is
 * code for teams also profile(input, output, ..., workspace, team, threads, ticks).  It runs the
 * network once to warm up and then for TURN_NANOSECONDS, at least once and at most until `ticks` is
 * full.  `ticks` is an int64 tensor (1 + runs, columns):
 *
 *   row 0         runs made; nanoseconds and ticks before the first of them; the same after the last
 *   row 1 to runs ticks in front of each kernel, behind the last, and then ticks that have nothing
 *                 but a tick between them, which show what one costs, to the end of the row
 *
 * No C library, as in runtime.c, so the two system calls of a turn are made here.
 */

#include "../library/runtime.c"

enum { INT = 0 /* DLDataTypeCode */ };
enum { HEADER_COLUMNS = 5, TURN_NANOSECONDS = 10 * 1000 * 1000, MONOTONIC = 1 };

static int64_t nanoseconds(void) {
  struct {
    long seconds, nanoseconds;
  } time;
#if defined(__x86_64__)
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(228), "D"(MONOTONIC), "S"(&time) : "rcx", "r11", "memory", "cc");
#elif defined(__aarch64__)
  register long x8 __asm__("x8") = 113;
  register long x0 __asm__("x0") = MONOTONIC;
  register long x1 __asm__("x1") = (long)&time;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1) : "memory", "cc");
#elif defined(__arm__)
  register long r7 __asm__("r7") = 263;
  register long r0 __asm__("r0") = MONOTONIC;
  register long r1 __asm__("r1") = (long)&time;
  __asm__ volatile("svc 0" : "+r"(r0) : "r"(r7), "r"(r1) : "memory", "cc");
#else
#error "profile.c knows the clocks of AArch64, 32-bit Arm and x86-64"
#endif
  return (int64_t)time.seconds * 1000000000 + time.nanoseconds;
}

/* All instructions before it are done, none behind it has begun. */
static int64_t ticks_now(void) {
#if defined(__x86_64__)
  uint32_t low, high;
  __asm__ volatile("lfence\n\trdtsc\n\tlfence" : "=a"(low), "=d"(high) : : "memory");
  return (int64_t)high << 32 | low;
#elif defined(__aarch64__)
  int64_t ticks;
  __asm__ volatile("isb\n\tmrs %0, cntvct_el0\n\tisb" : "=r"(ticks) : : "memory");
  return ticks;
#else /* programs may not read the counters of older cores */
  return nanoseconds();
#endif
}

static int64_t *next, *end;

void tsn_tick(void) {
  if (next < end) *next++ = ticks_now();
}

#ifdef TSN_TEAM_SCRATCH
void tsn_team_tick(const Share *share) {
  if (share->thread == 0) tsn_tick();
}
#endif

__attribute__((visibility("default"))) int __tvm_ffi_profile(void *self, const Any *arguments, int32_t count,
                                                             Any *result) {
  const char *name = "profile(input, output, ..., workspace, ticks)";
  int (*run)(void *, const Any *, int32_t, Any *) = __tvm_ffi_main;
#ifdef TSN_TEAM_SCRATCH
  if (count == TEAM_ARGUMENTS + 1) run = __tvm_ffi_team;
#endif
  int32_t given = count - 1;
  const Tensor *tensor = given == ARGUMENTS || run != __tvm_ffi_main ? tensor_in(&arguments[given]) : 0;
  if (!tensor || tensor->ndim != 2 || tensor->type_code != INT || tensor->type_bits != 64 ||
      tensor->shape[0] < 2 || tensor->shape[1] < HEADER_COLUMNS)
    return fail(name, "ticks must be int64 of 2 x 5 or more");
  int64_t *header = (int64_t *)((char *)tensor->data + tensor->byte_offset), *row = header;
  int64_t capacity = tensor->shape[0] - 1, columns = tensor->shape[1], runs = 0;
  for (int warm = 0;; warm = 1) {
    if (warm) row += columns;
    next = row, end = row + columns; /* the first run's ticks are written over */
    int status = run(self, arguments, given, result);
    if (status) return status;
    if (next == end) return fail(name, "ticks has too few columns");
    while (next < end) tsn_tick();
    int64_t time = nanoseconds(), ticks = ticks_now();
    if (!warm) {
      header[1] = time, header[2] = ticks;
      continue;
    }
    header[0] = ++runs, header[3] = time, header[4] = ticks;
    if (runs == capacity || time - header[1] >= TURN_NANOSECONDS) return 0;
  }
}
