/* A plugin of QEMU's user mode emulation: counts how often each block of code is executed, and,
 * where caches are given, how many of its loads and stores miss them.
 *
 *     qemu-aarch64 -plugin plugin.so,out=FILE[,cache=BYTES:WAYS:LATENCY[:BYTES:WAYS:LATENCY...]] PROGRAM ...
 *
 * At exit FILE gets, line by line, what is mapped where, and the blocks in the order in which they
 * were first translated:
 *
 *     map START BYTES OFFSET PATH                      every file that the program maps
 *     block ADDRESS EXECUTIONS CODE [STREAMED:LONE:STORED ...]  CODE in hexadecimal; three for each cache:
 *                                                      lines that its loads missed near another missed
 *                                                      line, elsewhere, and that its stores missed
 *
 * The caches are those of one core, the first level first: lines of 64 bytes, least recently used
 * out, a store fetches its line.  A load's line is near if one of the last streams was within 4 lines
 * of it, which a prefetcher of strides foresees (Cortex-A53, Arm DDI 0500, 2.1.7).  Addresses are the program's own.  Threads count without locks.
 *
 * A load into the zero register is a prefetch, as runner.c has them: its line counts as one of a stream, and is there
 * LATENCY cycles later, of a core that executes an instruction a cycle.  A load of it before that counts as a lone one
 * as well, and a store of it before any load as a store that misses.
 *
 * The few declarations of the plugin interface that are needed stand here, since distributions do
 * not package its header.  PLUGIN_API is the interface's version: 1 up to QEMU 8, 2 in 9.0, then 3.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef PLUGIN_API
#define PLUGIN_API 1
#endif
#define EXPORT __attribute__((visibility("default")))

typedef struct qemu_plugin_tb Translation;
typedef struct qemu_plugin_insn Instruction;
typedef void (*OnTranslation)(uint64_t id, Translation *);
typedef void (*OnExecution)(unsigned cpu, void *data);
typedef void (*OnAccess)(unsigned cpu, uint32_t info, uint64_t address, void *data);
typedef void (*OnExit)(uint64_t id, void *data);
typedef void (*OnCall)(uint64_t id, unsigned cpu, int64_t number, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                       uint64_t, uint64_t, uint64_t);
typedef void (*OnReturn)(uint64_t id, unsigned cpu, int64_t number, int64_t result);

void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, OnTranslation);
void qemu_plugin_register_vcpu_tb_exec_cb(Translation *, OnExecution, int registers, void *data);
void qemu_plugin_register_vcpu_mem_cb(Instruction *, OnAccess, int registers, int direction, void *data);
void qemu_plugin_register_vcpu_syscall_cb(uint64_t id, OnCall);
void qemu_plugin_register_vcpu_syscall_ret_cb(uint64_t id, OnReturn);
void qemu_plugin_register_atexit_cb(uint64_t id, OnExit, void *data);
size_t qemu_plugin_tb_n_insns(const Translation *);
uint64_t qemu_plugin_tb_vaddr(const Translation *);
Instruction *qemu_plugin_tb_get_insn(const Translation *, size_t index);
size_t qemu_plugin_insn_size(const Instruction *);
unsigned qemu_plugin_mem_size_shift(uint32_t info);
bool qemu_plugin_mem_is_store(uint32_t info);
#if PLUGIN_API >= 3
size_t qemu_plugin_insn_data(const Instruction *, void *to, size_t bytes);
#else
const void *qemu_plugin_insn_data(const Instruction *);
#endif
enum { NO_REGISTERS = 0, READS_AND_WRITES = 3 };

EXPORT int qemu_plugin_version = PLUGIN_API;

enum { LEVELS = 3, LINE_BITS = 6, BUCKETS = 1 << 16, INSTRUCTION = 4, STREAMS = 8, NEAR = 4, PENDING = 1 << 14 };
enum { STREAMED, LONE, STORED, KINDS };

typedef struct Block {
  uint64_t address, executions, misses[LEVELS][KINDS];
  struct Block *in_bucket, *next;
  size_t bytes;
  unsigned char code[];
} Block;

typedef struct {
  uint64_t sets, ways, latency;
  uint64_t *lines; /* of each set, the most recently used first; number of the line + 1 */
  uint64_t streams[STREAMS], oldest; /* the last line that each stream of loads missed */
} Cache;

static Block *buckets[BUCKETS], *first, **last = &first;
static Cache caches[LEVELS];
static int levels;
static uint64_t executed; /* instructions */

/* The number of a prefetched line + 1, when it will be there, and the caches that it was missed in. */
typedef struct {
  uint64_t line, until;
  int levels;
} Prefetched;
static Prefetched on_their_way[PENDING];
static const char *output;

/* ---------------------------------------------------------------------------------- caches */

static bool hit(Cache *cache, uint64_t line) {
  uint64_t *set = cache->lines + line % cache->sets * cache->ways, wanted = line + 1, way = 0;
  if (set[0] == wanted) return true;
  while (way < cache->ways && set[way] != wanted) ++way;
  bool found = way < cache->ways;
  memmove(set + 1, set, (found ? way : cache->ways - 1) * sizeof *set);
  set[0] = wanted;
  return found;
}

/* Whether a missed load goes on with a stream; else it begins one in the place of the oldest. */
static bool streamed(Cache *cache, uint64_t line) {
  for (int i = 0; i < STREAMS; ++i)
    if (line != cache->streams[i] && line + NEAR >= cache->streams[i] && line <= cache->streams[i] + NEAR)
      return cache->streams[i] = line, true;
  cache->streams[cache->oldest++ % STREAMS] = line;
  return false;
}

static void touch(Block *block, uint64_t line, bool store, bool prefetch) {
  int level = 0;
  for (; level < levels && !hit(&caches[level], line); ++level)
    ++block->misses[level][store ? STORED : prefetch || streamed(&caches[level], line) ? STREAMED : LONE];
  Prefetched *asked = &on_their_way[line % PENDING];
  if (prefetch) {
    if (level) *asked = (Prefetched){line + 1, executed + caches[level - 1].latency, level};
  } else if (asked->line == line + 1) {
    for (int i = 0; i < asked->levels && (store || executed < asked->until); ++i)
      ++block->misses[i][store ? STORED : LONE];
    asked->line = 0;
  }
}

static void on_access(unsigned cpu, uint32_t info, uint64_t address, void *data) {
  uint64_t bytes = (uint64_t)1 << qemu_plugin_mem_size_shift(info);
  for (uint64_t line = address >> LINE_BITS; line <= (address + bytes - 1) >> LINE_BITS; ++line)
    touch(data, line, qemu_plugin_mem_is_store(info), false);
}

static void on_prefetch(unsigned cpu, uint32_t info, uint64_t address, void *data) {
  touch(data, address >> LINE_BITS, false, true);
}

static bool make_caches(const char *text) {
  for (; levels < LEVELS && *text; ++levels) {
    char *end;
    uint64_t bytes = strtoull(text, &end, 10), ways = *end == ':' ? strtoull(end + 1, &end, 10) : 0;
    uint64_t latency = *end == ':' ? strtoull(end + 1, &end, 10) : 0;
    if (!ways || !latency || !(bytes >> LINE_BITS) || (bytes >> LINE_BITS) % ways) return false;
    caches[levels] = (Cache){(bytes >> LINE_BITS) / ways, ways, latency, calloc(bytes >> LINE_BITS, sizeof(uint64_t)), {0}, 0};
    text = *end == ':' ? end + 1 : end;
  }
  return !*text;
}

/* ---------------------------------------------------------------------------------- blocks */

static void on_execution(unsigned cpu, void *data) {
  Block *block = data;
  ++block->executions, executed += block->bytes / INSTRUCTION;
}

/* The same code may be translated more than once, and it is one block then. */
static Block *find(uint64_t address, const unsigned char *code, size_t bytes) {
  Block **bucket = &buckets[(address >> 2) % BUCKETS], *block;
  for (block = *bucket; block; block = block->in_bucket)
    if (block->address == address && block->bytes == bytes && !memcmp(block->code, code, bytes)) return block;
  block = calloc(1, sizeof *block + bytes);
  block->address = address, block->bytes = bytes, block->in_bucket = *bucket;
  memcpy(block->code, code, bytes);
  *last = block, last = &block->next;
  return *bucket = block;
}

/* Makes a prefetch of what runner.c made of one; whether it is one. */
static bool prefetches(unsigned char *code) {
  uint32_t word;
  memcpy(&word, code, INSTRUCTION);
  if ((word & 0xFFC0001F) != 0xF940001F && (word & 0xFFE00C1F) != 0xF840001F && (word & 0xFFE00C1F) != 0xF860081F)
    return false;
  word = (word & 0xFF3FFFE0) | 0x00800000; /* prfm pldl1keep, or prfum */
  memcpy(code, &word, INSTRUCTION);
  return true;
}

static void on_translation(uint64_t id, Translation *translation) {
  size_t count = qemu_plugin_tb_n_insns(translation);
  unsigned char *code = malloc(count * INSTRUCTION);
  for (size_t i = 0; i < count; ++i) {
    const Instruction *instruction = qemu_plugin_tb_get_insn(translation, i);
#if PLUGIN_API >= 3
    qemu_plugin_insn_data(instruction, code + i * INSTRUCTION, INSTRUCTION);
#else
    memcpy(code + i * INSTRUCTION, qemu_plugin_insn_data(instruction), INSTRUCTION);
#endif
  }
  bool prefetch[count];
  for (size_t i = 0; i < count; ++i) prefetch[i] = prefetches(code + i * INSTRUCTION);
  Block *block = find(qemu_plugin_tb_vaddr(translation), code, count * INSTRUCTION);
  free(code);
  qemu_plugin_register_vcpu_tb_exec_cb(translation, on_execution, NO_REGISTERS, block);
  for (size_t i = 0; levels && i < count; ++i)
    qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(translation, i), prefetch[i] ? on_prefetch : on_access,
                                     NO_REGISTERS, READS_AND_WRITES, block);
}

/* ---------------------------------------------------------------------------- mapped files */

enum { MMAP = 222, ANONYMOUS = 0x20 }; /* Linux on AArch64 */
typedef struct Map {
  uint64_t start, bytes, offset;
  struct Map *next;
  char path[4096];
} Map;
static Map *maps, **last_map = &maps;
static _Thread_local Map *pending;

static void on_call(uint64_t id, unsigned cpu, int64_t number, uint64_t start, uint64_t bytes, uint64_t protection,
                    uint64_t flags, uint64_t file, uint64_t offset, uint64_t a7, uint64_t a8) {
  if (number != MMAP || flags & ANONYMOUS) return;
  char link[64];
  pending = calloc(1, sizeof *pending);
  snprintf(link, sizeof link, "/proc/self/fd/%d", (int)file); /* the emulator's files are the program's */
  if (readlink(link, pending->path, sizeof pending->path - 1) < 0) pending->path[0] = 0;
  pending->bytes = bytes, pending->offset = offset;
}

static void on_return(uint64_t id, unsigned cpu, int64_t number, int64_t result) {
  if (number != MMAP || !pending) return;
  if (result > 0) pending->start = result, *last_map = pending, last_map = &pending->next;
  pending = NULL;
}

/* ------------------------------------------------------------------------- beginning and end */

static pid_t process;

static void on_exit_(uint64_t id, void *data) {
  if (getpid() != process) return; /* a child's counts are its own */
  FILE *file = fopen(output, "w");
  if (!file) {
    perror(output);
    _exit(1);
  }
  for (Map *map = maps; map; map = map->next)
    fprintf(file, "map %llx %llx %llx %s\n", (unsigned long long)map->start, (unsigned long long)map->bytes,
            (unsigned long long)map->offset, map->path);
  for (Block *block = first; block; block = block->next) {
    if (!block->executions) continue;
    fprintf(file, "block %llx %llu ", (unsigned long long)block->address, (unsigned long long)block->executions);
    for (size_t i = 0; i < block->bytes; ++i) fprintf(file, "%02x", block->code[i]);
    for (int level = 0; level < levels; ++level)
      fprintf(file, " %llu:%llu:%llu", (unsigned long long)block->misses[level][STREAMED],
              (unsigned long long)block->misses[level][LONE], (unsigned long long)block->misses[level][STORED]);
    fputc('\n', file);
  }
  if (fclose(file)) _exit(1);
}

EXPORT int qemu_plugin_install(uint64_t id, const void *about, int argc, char **argv) {
  for (int i = 0; i < argc; ++i) {
    if (!strncmp(argv[i], "out=", 4)) {
      output = strdup(argv[i] + 4);
    } else if (strncmp(argv[i], "cache=", 6) || !make_caches(argv[i] + 6)) {
      fprintf(stderr, "plugin: unknown argument %s\n", argv[i]);
      return 1;
    }
  }
  if (!output) return 1;
  process = getpid();
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  qemu_plugin_register_vcpu_syscall_cb(id, on_call);
  qemu_plugin_register_vcpu_syscall_ret_cb(id, on_return);
  qemu_plugin_register_atexit_cb(id, on_exit_, NULL);
  return 0;
}
