/* Runs a library with each of its arrays between inaccessible pages, whatever its workspace holds:
 *
 *     fences LIBRARY PREFIX WORKSPACE_BYTES INPUT_BYTES OUTPUT_BYTES... <input >outputs
 *
 * PREFIX begins the names of its functions, such as tsn.
 *
 * The arrays lie flush against the pages behind them, and then against those in front.  Each time the
 * workspace holds NaN, zeros, huge numbers, random bits; the outputs hold something else before each
 * call; the input is read-only.  WORKSPACE_BYTES is what the network itself uses, which for several
 * outputs is less than tsn_workspace_bytes(): tsn_run, which needs the rest, is called as well.
 *
 * Exits with 0 where nothing outside is touched and the outputs have the same bits each time, and writes
 * them one behind the other; else it says in one line what happened, and exits with 1.  2: the library cannot be tried at all.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tvm_shufflenet.h"

enum { FENCE = 1 << 20, OUTPUTS_MAX = 256, SLACK = 0x5a };

/* An array and the accessible pages around it: what it leaves of them is the slack. */
typedef struct {
  char name[24];
  unsigned char *pages, *data;
  size_t room, bytes;
} Array;

typedef enum { IN_FRONT, BEHIND } Side;
static const char *const SIDES[] = {"in front of", "behind"};

typedef enum { OF_NAN, OF_ZEROS, OF_HUGE, OF_RANDOM, CONTENTS } Contents;
static const char *const NAMES[] = {"NaN", "zeros", "huge numbers", "random bits"};

static Array input, workspace, outputs[OUTPUTS_MAX];
static int output_count;
static float *expected[OUTPUTS_MAX];
static char step[200]; /* what is being done, for messages */

static void stop(int status, const char *format, ...) {
  char line[500];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(line, sizeof line - 1, format, arguments);
  va_end(arguments);
  if (length > (int)sizeof line - 2) length = sizeof line - 2;
  line[length] = '\n';
  if (write(2, line, length + 1) < 0) _exit(2);
  _exit(status);
}

/* ---------------------------------------------------------------------------------- fenced memory */

static void protect(const Array *array, int protection) {
  if (mprotect(array->pages, array->room, protection)) stop(2, "the %s cannot be protected", array->name);
}

static void map(Array *array, size_t bytes, const char *format, int number) {
  size_t page = sysconf(_SC_PAGESIZE);
  snprintf(array->name, sizeof array->name, format, number);
  array->room = (bytes + page - 1) / page * page;
  unsigned char *all = mmap(NULL, array->room + 2 * FENCE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) stop(2, "there is no memory for the %s of %zu bytes", array->name, bytes);
  array->pages = all + FENCE;
}

static void place(Array *array, size_t bytes, Side fence) {
  protect(array, PROT_READ | PROT_WRITE);
  array->bytes = bytes;
  array->data = fence == BEHIND ? array->pages + array->room - bytes : array->pages;
  memset(array->pages, SLACK, array->room);
}

static void check_slack(const Array *array) {
  for (const unsigned char *at = array->pages; at < array->pages + array->room; ++at) {
    if (at == array->data) at += array->bytes;
    if (at < array->pages + array->room && *at != SLACK)
      stop(1, "%s: it wrote to byte %td of the %s, which has %zu", step, at - array->data, array->name, array->bytes);
  }
}

static int is_near(const Array *array, const unsigned char *address) {
  return array->pages && address >= array->pages - FENCE && address < array->pages + array->room + FENCE;
}

static void on_fault(int signal, siginfo_t *info, void *context) {
  (void)context;
  const unsigned char *address = info->si_addr;
  const Array *found = is_near(&input, address) ? &input : is_near(&workspace, address) ? &workspace : NULL;
  for (int i = 0; i < output_count; ++i)
    if (is_near(&outputs[i], address)) found = &outputs[i];
  if (!found) stop(1, "%s: signal %d at %p, which is near no array", step, signal, (const void *)address);
  stop(1, "%s: it touched byte %td of the %s, which has %zu", step, address - found->data, found->name, found->bytes);
}

static void watch(void) {
  static unsigned char stack[1 << 16];
  stack_t alternative = {.ss_sp = stack, .ss_size = sizeof stack};
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigaltstack(&alternative, NULL);
  sigaction(SIGSEGV, &action, NULL);
  sigaction(SIGBUS, &action, NULL);
}

/* --------------------------------------------------------------------------------------- contents */

static uint32_t random_bits(void) {
  static uint32_t state = 1;
  state ^= state << 13, state ^= state >> 17, state ^= state << 5;
  return state;
}

static void fill(Array *array, Contents contents) {
  float *values = (float *)array->data;
  for (size_t i = 0; i < array->bytes / sizeof *values; ++i) {
    uint32_t random = random_bits(), bits = contents == OF_NAN ? 0x7fc00000 : contents == OF_RANDOM ? random : 0;
    if (contents == OF_HUGE) values[i] = random & 1 ? 3e38f : -3e38f;
    else memcpy(&values[i], &bits, sizeof bits);
  }
}

/* The first `count` outputs have the bits that they had at first. */
static void compare(int count) {
  for (int i = 0; i < count; ++i) {
    const float *found = (const float *)outputs[i].data;
    if (!expected[i]) {
      if (!(expected[i] = malloc(outputs[i].bytes))) stop(2, "there is no memory for the outputs");
      memcpy(expected[i], found, outputs[i].bytes);
    }
    for (size_t k = 0; k < outputs[i].bytes / sizeof *found; ++k)
      if (memcmp(&found[k], &expected[i][k], sizeof *found))
        stop(1, "%s: number %zu of the %s is %g, it was %g before", step, k, outputs[i].name, found[k], expected[i][k]);
  }
}

/* ------------------------------------------------------------------------------------------- runs */

typedef int Run(const float *, float *, void *);
typedef int RunOutputs(const float *, float *const[], void *);
typedef int Check(const float *);

static void try(Run *run, RunOutputs *run_outputs, Contents contents) {
  static unsigned char filler;
  float *pointers[OUTPUTS_MAX];
  fill(&workspace, contents);
  filler += 0x11; /* an output that is not written has other bits each time */
  for (int i = 0; i < output_count; ++i) {
    pointers[i] = (float *)outputs[i].data;
    memset(pointers[i], filler, outputs[i].bytes);
  }
  const float *picture = (const float *)input.data;
  int status = run ? run(picture, pointers[0], workspace.data) : run_outputs(picture, pointers, workspace.data);
  if (status) stop(1, "%s: it returned %d", step, status);
  compare(run ? 1 : output_count);
  check_slack(&workspace);
  for (int i = 0; i < output_count; ++i) check_slack(&outputs[i]);
}

static void *function(void *library, const char *prefix, const char *name) {
  char whole[128];
  snprintf(whole, sizeof whole, "%s_%s", prefix, name);
  return dlsym(library, whole);
}

int main(int argc, char **argv) {
  if (argc < 6 || argc - 5 > OUTPUTS_MAX)
    stop(2, "usage: fences LIBRARY PREFIX WORKSPACE_BYTES INPUT_BYTES OUTPUT_BYTES...");
  void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (!library) stop(2, "it cannot be loaded: %s", dlerror());
  size_t (*workspace_bytes)(void) = function(library, argv[2], "workspace_bytes");
  Run *run = function(library, argv[2], "run");
  RunOutputs *run_outputs = function(library, argv[2], "run_outputs"); /* this and the next since format 2 */
  Check *check = function(library, argv[2], "check_input");
  if (!workspace_bytes || !run) stop(2, "it lacks functions of tvm_shufflenet.h");

  size_t used = strtoul(argv[3], NULL, 10), input_bytes = strtoul(argv[4], NULL, 10), whole = workspace_bytes();
  if (used > whole) stop(2, "its workspace has %zu bytes, not %zu", whole, used);
  map(&input, input_bytes, "input", 0);
  map(&workspace, whole, "workspace", 0);
  for (; output_count < argc - 5; ++output_count)
    map(&outputs[output_count], strtoul(argv[5 + output_count], NULL, 10), "output %d", output_count);
  float *picture = malloc(input_bytes);
  if (!picture) stop(2, "there is no memory for the input");
  if (fread(picture, 1, input_bytes, stdin) != input_bytes) stop(2, "there are no %zu bytes of an input", input_bytes);
  watch();

  for (Side side = IN_FRONT; side <= BEHIND; ++side) {
    place(&input, input_bytes, side);
    memcpy(input.data, picture, input_bytes);
    protect(&input, PROT_READ);
    for (int i = 0; i < output_count; ++i) place(&outputs[i], strtoul(argv[5 + i], NULL, 10), side);
    snprintf(step, sizeof step, "tsn_check_input, fences %s the arrays", SIDES[side]);
    if (check && check((const float *)input.data)) stop(1, "%s: it refuses finite numbers", step);
    for (int outputs_too = run_outputs != NULL; outputs_too >= 0; --outputs_too) {
      place(&workspace, outputs_too ? used : whole, side);
      for (Contents contents = 0; contents < CONTENTS; ++contents) {
        snprintf(step, sizeof step, "%s, fences %s the arrays, workspace full of %s",
                 outputs_too ? "tsn_run_outputs" : "tsn_run", SIDES[side], NAMES[contents]);
        try(outputs_too ? NULL : run, run_outputs, contents);
      }
    }
  }
  for (int i = 0; i < output_count; ++i) fwrite(expected[i], 1, outputs[i].bytes, stdout);
  if (fflush(stdout) || ferror(stdout)) stop(2, "the outputs cannot be written");
  return 0;
}
