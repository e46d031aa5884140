/* Whether this processor has the instructions that a library is made of.  Part of runtime.c, which is compiled without
 * them.  The macros are those of instructions.py:
 *
 *   TSN_NEEDS   rows of what is asked for; not there where nothing is
 *   TSN_STATES  of x86-64: bits of XCR0, the registers that the system must keep
 *
 * Apple's systems are asked nothing: their targets are the oldest processors that they run on.
 *
 * The answer stays in a word of the library, since on a virtual machine `cpuid` takes microseconds, and files longer.
 * Threads that ask at the same time write the same.
 */

#if defined TSN_NEEDS && !defined __APPLE__
#ifdef __x86_64__

typedef struct {
  uint32_t leaf, subleaf, number, bit;
} Need;
typedef struct {
  uint32_t of[4]; /* eax, ebx, ecx, edx */
} Registers;

static Registers cpuid(uint32_t leaf, uint32_t subleaf) {
  Registers found;
  __asm__ volatile("cpuid"
                   : "=a"(found.of[0]), "=b"(found.of[1]), "=c"(found.of[2]), "=d"(found.of[3])
                   : "a"(leaf), "c"(subleaf));
  return found;
}

/* Beyond the last leaf processors answer with another one. */
static int has(const Need *need) {
  if (cpuid(need->leaf & 0x80000000, 0).of[0] < need->leaf) return 0;
  if (need->subleaf && cpuid(need->leaf, 0).of[0] < need->subleaf) return 0;
  return cpuid(need->leaf, need->subleaf).of[need->number] >> need->bit & 1;
}

static int keeps_registers(void) {
  uint32_t low, high;
  if (!TSN_STATES) return 1;
  if (!(cpuid(1, 0).of[2] >> 27 & 1)) return 0; /* OSXSAVE: else xgetbv is no instruction */
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & TSN_STATES) == TSN_STATES;
}

static int has_all(void) {
  static const Need needs[] = {TSN_NEEDS};
  for (int32_t i = 0; i < LENGTH(needs); ++i)
    if (!has(&needs[i])) return 0;
  return keeps_registers();
}

#else

typedef struct {
  char name[8];
  uint8_t entry, bit; /* of the auxiliary vector: AT_HWCAP or AT_HWCAP2, and a bit of its value */
} Need;

/* In the C library, where the program has one: a program without Linux defines it to answer. */
extern unsigned long getauxval(unsigned long) __attribute__((weak, visibility("default")));

#ifdef __aarch64__
enum { OPENAT = 56, CLOSE = 57, READ = 63 };
static long call_linux(long number, long a, long b, long c) {
  register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = 0;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
  return x0;
}
#else
enum { OPENAT = 322, CLOSE = 6, READ = 3 };
static long call_linux(long number, long a, long b, long c) {
  register long r0 __asm__("r0") = a, r1 __asm__("r1") = b, r2 __asm__("r2") = c, r3 __asm__("r3") = 0;
  __asm__ volatile("push {r7}\n\tmov r7, %1\n\tsvc 0\n\tpop {r7}"
                   : "+r"(r0)
                   : "r"(number), "r"(r1), "r"(r2), "r"(r3)
                   : "memory");
  return r0;
}
#endif

/* Fills memory with the beginning of a file; returns how many bytes it has, 0 where it cannot be read. */
static size_t read_file(const char *path, void *memory, size_t size) {
  const long here = -100; /* AT_FDCWD */
  size_t length = 0;
  long file = call_linux(OPENAT, here, (long)path, 0), got = 1;
  if (file < 0) return 0;
  for (; got > 0 && length < size; length += got > 0 ? (size_t)got : 0)
    got = call_linux(READ, file, (long)((char *)memory + length), (long)(size - length));
  call_linux(CLOSE, file, 0, 0);
  return length;
}

/* The value of an entry of the auxiliary vector; 0 where there is none, or no vector. */
static unsigned long value_of(unsigned long entry) {
  unsigned long vector[128];
  if (getauxval) return getauxval(entry);
  size_t words = read_file("/proc/self/auxv", vector, sizeof vector) / sizeof *vector;
  for (size_t i = 0; i + 1 < words; i += 2)
    if (vector[i] == entry) return vector[i + 1];
  return 0;
}

/* Whether a line of words from `at` on has this one. */
static int line_has(const char *at, const char *end, const char *name) {
  for (; at < end && *at != '\n'; ++at) {
    size_t length = 0;
    if (*at != ' ') continue;
    while (name[length] && at + 1 + length < end && at[1 + length] == name[length]) ++length;
    if (!name[length] && (at + 1 + length == end || at[1 + length] == ' ' || at[1 + length] == '\n')) return 1;
  }
  return 0;
}

/* Android's released apps may not read their auxiliary vector.  The first processor's line stands for all: Linux names
 * what all of them have.  1 where nothing is said.
 */
static int cpuinfo_has_all(const Need *needs, int32_t count) {
  static const char start[] = "Features";
  char text[4096], *end = text + read_file("/proc/cpuinfo", text, sizeof text);
  for (char *at = text; at + sizeof start < end; ++at) {
    size_t same = 0;
    while (same < sizeof start - 1 && at[same] == start[same]) ++same;
    if (same < sizeof start - 1) continue;
    for (int32_t i = 0; i < count; ++i)
      if (!line_has(at, end, needs[i].name)) return 0;
    return 1;
  }
  return 1;
}

static int has_all(void) {
  static const Need needs[] = {TSN_NEEDS};
  enum { HWCAP = 16 }; /* it is never 0 here */
  if (!value_of(HWCAP)) return cpuinfo_has_all(needs, LENGTH(needs));
  for (int32_t i = 0; i < LENGTH(needs); ++i)
    if (!(value_of(needs[i].entry) >> needs[i].bit & 1)) return 0;
  return 1;
}

#endif

int tsn_supported(void) {
  static int32_t answer; /* 0 before it is known, then 1 or 2 */
  int32_t known = __atomic_load_n(&answer, __ATOMIC_RELAXED);
  if (!known) __atomic_store_n(&answer, known = 1 + has_all(), __ATOMIC_RELAXED);
  return known - 1;
}

#else

int tsn_supported(void) { return 1; }

#endif
