/* Runs a library a number of times, for the emulator: the same addresses on every machine.
 *
 *     runner LIBRARY ITERATIONS TSN_RUN INPUT OUTPUT WORKSPACE
 *
 * TSN_RUN is the address of that function in the file, the others are sizes in bytes.  It maps the
 * library itself and calls Linux itself: neither needs a C library of the target, and code, buffers and
 * stack come to lie at fixed places, so that a simulated cache always misses the same lines.
 */
#include <stddef.h>
#include <stdint.h>

/* What is needed of the ELF format. */
typedef struct {
  uint8_t ident[16];
  uint16_t type, machine;
  uint32_t version;
  uint64_t entry, segments, sections;
  uint32_t flags;
  uint16_t size, segment_size, segment_count, section_size, section_count, names;
} Header;
typedef struct {
  uint32_t type, flags;
  uint64_t offset, address, physical, in_file, in_memory, alignment;
} Segment;
typedef struct {
  uint32_t name;
  uint8_t info, other;
  uint16_t section;
  uint64_t value, size;
} Symbol;
typedef struct {
  uint64_t where;
  uint32_t type, symbol;
  int64_t addend;
} Relocation;
typedef struct {
  int64_t tag;
  uint64_t value;
} Dynamic;
enum { LOAD = 1, DYNAMIC = 2, EXECUTABLE = 1 }; /* of segments */
enum { PLT_BYTES = 2, SYMBOLS = 6, RELOCATIONS, RELOCATION_BYTES, PLT = 23, INITIALISERS = 25, PACKED = 36 };
enum { ABSOLUTE = 257, GLOBAL_DATA = 1025, JUMP_SLOT, RELATIVE }; /* relocations of AArch64 */

/* Each has 16 GiB, and another distance from multiples of a cache's size. */
#define PLACE(index) (((uint64_t)(index) << 34) + (index) * 0x5000)
enum { LIBRARY = 1, INPUT, OUTPUT, WORKSPACE, STACK, PAGE = 4096, STACK_BYTES = 8 << 20 };
enum { AROUND = 16 << 20 }; /* bytes in front of all that is mapped and behind it, which prefetches may ask for */

/* What is needed of Linux on AArch64. */
enum { OPENAT = 56, READ = 63, WRITE = 64, PREAD = 67, EXIT = 93, MMAP = 222, HERE = -100 };
enum { PROT_READ = 1, PROT_WRITE = 2, PROT_EXEC = 4, MAP_PRIVATE = 2, MAP_FIXED = 16, MAP_ANONYMOUS = 32 };

static long call(long number, long a, long b, long c, long d, long e, long f) {
  register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
  __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  return x0;
}

static void fail(const char *what) {
  size_t length = 0;
  while (what[length]) ++length;
  call(WRITE, 2, (long)what, length, 0, 0, 0);
  call(EXIT, 1, 0, 0, 0, 0, 0);
}

static void *map(uint64_t place, size_t bytes, int protection, int file, uint64_t offset) {
  int flags = MAP_PRIVATE | MAP_FIXED | (file < 0 ? MAP_ANONYMOUS : 0);
  if (call(MMAP, place, bytes, protection, flags, file, offset) != (long)place) fail("memory cannot be mapped");
  return (void *)place;
}

/* Makes of each prefetch (prfm or prfum) a load of the same place that keeps nothing (ldr or ldur xzr): the emulator
 * tells plugins of loads alone. */
static void show_prefetches(uint32_t *word, const uint32_t *end) {
  for (; word < end; ++word)
    if ((*word & 0xFFC00000) == 0xF9800000 || (*word & 0xFFE00C00) == 0xF8800000 || (*word & 0xFFE00C00) == 0xF8A00800)
      *word = (*word & 0xFF3FFFE0) | 0x0040001F;
}

/* Memory of so many bytes at a place, and memory around it. */
static void *buffer(uint64_t place, size_t bytes) {
  return (char *)map(place - AROUND, bytes + 2 * AROUND, PROT_READ | PROT_WRITE, -1, 0) + AROUND;
}

static void relocate(uint64_t base, const Relocation *entry, size_t bytes, const Symbol *symbols) {
  for (const Relocation *end = entry + bytes / sizeof *entry; entry < end; ++entry) {
    const Symbol *symbol = symbols + entry->symbol;
    uint64_t value = symbol->section ? base + symbol->value : 0; /* nothing else is there to define it */
    if (entry->type == RELATIVE) value = base;
    else if (entry->type != ABSOLUTE && entry->type != GLOBAL_DATA && entry->type != JUMP_SLOT)
      fail("the library has relocations that are not known here");
    *(uint64_t *)(base + entry->where) = value + entry->addend;
  }
}

static void load(const char *path, uint64_t base) {
  static Segment segments[32];
  static uint64_t table[PLT + 1];
  Header header;
  int file = call(OPENAT, HERE, (long)path, 0, 0, 0, 0);
  if (call(READ, file, (long)&header, sizeof header, 0, 0, 0) != sizeof header) fail("the library cannot be read");
  long bytes = header.segment_count * sizeof *segments;
  if (bytes > (long)sizeof segments || call(PREAD, file, (long)segments, bytes, header.segments, 0, 0) != bytes)
    fail("the library's segments cannot be read");
  buffer(base, 0);
  for (Segment *s = segments; s < segments + header.segment_count; ++s) {
    if (s->type != LOAD) continue;
    uint64_t skip = s->address % PAGE, start = base + s->address - skip;
    int protection = PROT_READ | PROT_WRITE | (s->flags & EXECUTABLE ? PROT_EXEC : 0);
    map(start, skip + s->in_memory + AROUND, protection, -1, 0); /* segments are sorted: the next one covers the rest */
    if (s->in_file) map(start, skip + s->in_file, protection, file, s->offset - skip);
    volatile char *rest = (char *)base + s->address + s->in_file;
    for (; s->in_memory > s->in_file && (uint64_t)rest % PAGE; ++rest) *rest = 0;
    if (s->flags & EXECUTABLE) show_prefetches((void *)(base + s->address), (void *)(base + s->address + s->in_file));
  }
  for (Segment *s = segments; s < segments + header.segment_count; ++s) {
    if (s->type != DYNAMIC) continue;
    for (Dynamic *entry = (Dynamic *)(base + s->address); entry->tag; ++entry) {
      if (entry->tag == INITIALISERS || entry->tag == PACKED) fail("the library must be initialised, unknown here");
      if (entry->tag <= PLT) table[entry->tag] = entry->value;
    }
  }
  const Symbol *symbols = (Symbol *)(base + table[SYMBOLS]);
  relocate(base, (Relocation *)(base + table[RELOCATIONS]), table[RELOCATION_BYTES], symbols);
  relocate(base, (Relocation *)(base + table[PLT]), table[PLT_BYTES], symbols);
}

/* Calls run(input, output, workspace) on the stack that ends at `stack`. */
int call_on_stack(void *input, void *output, void *workspace, void *run, void *stack);
__asm__(
    ".text\n.globl call_on_stack\n.type call_on_stack, %function\ncall_on_stack:\n"
    "  stp x29, x30, [sp, #-32]!\n"
    "  str x19, [sp, #16]\n"
    "  mov x19, sp\n"
    "  mov sp, x4\n"
    "  blr x3\n"
    "  mov sp, x19\n"
    "  ldr x19, [sp, #16]\n"
    "  ldp x29, x30, [sp], #32\n"
    "  ret\n.size call_on_stack, . - call_on_stack\n");

static size_t number(const char *text) {
  size_t value = 0;
  for (; *text; ++text) value = value * 10 + *text - '0';
  return value;
}

/* `stack` holds the number of arguments, and behind it pointers to them. */
__attribute__((used)) static void start(char **stack) {
  char **argv = stack + 1;
  if ((size_t)stack[0] != 7) fail("usage: runner LIBRARY ITERATIONS TSN_RUN INPUT OUTPUT WORKSPACE");
  size_t inputs = number(argv[4]), outputs = number(argv[5]), scratch = number(argv[6]);
  load(argv[1], PLACE(LIBRARY));
  float *input = buffer(PLACE(INPUT), inputs);
  void *output = buffer(PLACE(OUTPUT), outputs);
  void *workspace = buffer(PLACE(WORKSPACE), scratch);
  char *end = (char *)map(PLACE(STACK), STACK_BYTES, PROT_READ | PROT_WRITE, -1, 0) + STACK_BYTES;
  uint32_t random = 1;
  for (size_t i = 0; i < inputs / sizeof *input; ++i) {
    random = random * 1664525 + 1013904223;
    input[i] = (float)(random >> 8) / (1 << 23) - 1;
  }
  for (size_t i = number(argv[2]); i > 0; --i)
    if (call_on_stack(input, output, workspace, (void *)(PLACE(LIBRARY) + number(argv[3])), end)) fail("tsn_run failed");
  call(EXIT, 0, 0, 0, 0, 0, 0);
}
__asm__(".text\n.globl _start\n_start:\n  mov x0, sp\n  b start\n");
