/* Times the networks that are linked in, on one core of a machine that needs nothing else: no Python, no TVM, no file.
 *
 *     bench [--core N[-M]] [--rounds N] [--minutes M] > results.json
 *     bench --serve PORT [--core N[-M]] [--key KEY] [--address IP] [--tracker IP:PORT]
 *
 * packing.py compiles this file with the networks and the kernel of peak.py.  All take turns in interleaved rounds, as
 * in rounds.py.  With --serve the program is a server of TVM's RPC protocol instead (boards/server), for tuning.
 * Progress and errors go to stderr.  Status 0; 1 where a network computes something else than on the
 * machine that built it; 2 where an option or this machine is wrong.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "../boards/server/server.h"
#include "bench.h"

#define FORMAT 1
#define TURN_SECONDS 0.010
#define CALIBRATION_RUNS 3

static void fail(int status, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("error: ", stderr), vfprintf(stderr, format, arguments), fputc('\n', stderr);
  exit(status);
}

static void *allocate(size_t bytes) {
  void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (!memory) fail(2, "no memory for %zu bytes", bytes);
  return memory;
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static FILE *out; /* memory: nothing is printed before all is known */
static volatile sig_atomic_t stopped;
static void stop(int signal) { (void)signal, stopped = 1; }

#include "bench_machine.c"

/* ------------------------------------------------------------------------------------ what is timed, and its check */

extern Function __tvm_ffi_peak; /* of peak.py */
void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t count) { /* which it calls */
  fail(2, "the peak kernel: %s: %s", kind, count ? parts[0] : "");
}

typedef struct {
  double difference; /* of the outputs from those expected, the largest; -1 where none are known */
  uint64_t checksum; /* FNV-1a of the bits of all outputs */
  long calls;        /* in a turn */
  double *seconds;   /* per call, one for each round */
  float *input, **outputs;
  void *workspace;
} Timed;

enum { PEAK = 0, FIRST = 1 }; /* what has a turn: the peak kernel, then the networks */
static Timed *timed;
static Tensor peak_tensors[2];

static void call(int which) {
  if (which == PEAK) {
    Any arguments[2] = {{.type = TENSOR}, {.type = TENSOR}}, result = {.type = NONE};
    for (int i = 0; i < 2; ++i) arguments[i].pointer = &peak_tensors[i];
    if (__tvm_ffi_peak(0, arguments, 2, &result)) fail(2, "the peak kernel failed");
    return;
  }
  const Packed *network = &packed[which - FIRST];
  Timed *its = &timed[which];
  int status = network->run_outputs(its->input, its->outputs, its->workspace);
  if (status) fail(1, "%s: it returned %d", network->label, status);
}

/* Seconds per call; the call in front, which finds no data in caches, is not counted. */
static double turn(int which, long calls) {
  call(which);
  double start = now();
  for (long i = 0; i < calls; ++i) call(which);
  return (now() - start) / (double)calls;
}

/* Numbers from -2 to 2 that packing.py makes, too. */
static void fill(float *input, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    uint32_t mixed = (uint32_t)i * 0x9e3779b1u;
    mixed = (mixed ^ mixed >> 15) * 0x85ebca77u;
    mixed ^= mixed >> 13;
    input[i] = (float)(int32_t)(mixed >> 8) * 0x1p-22f - 2.0f;
  }
}

static uint64_t checksum_of(int which) {
  uint64_t sum = 0xcbf29ce484222325u;
  for (int i = 0; i < packed[which - FIRST].outputs; ++i) {
    const unsigned char *bytes = (const unsigned char *)timed[which].outputs[i];
    for (size_t n = packed[which - FIRST].sizes[i] * sizeof(float); n; --n) sum = (sum ^ *bytes++) * 0x100000001b3u;
  }
  return sum;
}

static double magnitude(double number) { return number < 0 ? -number : number; }

static void prepare(int which) {
  const Packed *network = &packed[which - FIRST];
  Timed *its = &timed[which];
  its->input = allocate(network->input * sizeof(float));
  its->outputs = allocate((size_t)network->outputs * sizeof(float *));
  its->workspace = allocate(network->workspace_bytes());
  for (int i = 0; i < network->outputs; ++i) its->outputs[i] = allocate(network->sizes[i] * sizeof(float));
  fill(its->input, network->input);
  call(which);
  its->checksum = checksum_of(which), its->difference = network->expected ? 0 : -1;
  const float *expected = network->expected;
  for (int i = 0; expected && i < network->outputs; expected += network->sizes[i++]) {
    double largest = 0, difference = 0;
    for (size_t n = 0; n < network->sizes[i]; ++n) {
      double distance = magnitude((double)its->outputs[i][n] - (double)expected[n]), value = magnitude(expected[n]);
      if (!(distance <= difference)) difference = distance; /* NaN, too */
      if (value > largest) largest = value;
    }
    difference = largest ? difference / largest : difference;
    if (!(difference < network->tolerance))
      fail(1, "%s: its output %d differs from that of the machine that built it by %.1e (relative), expected less than "
           "%.0e: the library is wrong for this machine, or the machine faulty", network->label, i, difference,
           network->tolerance);
    if (difference > its->difference) its->difference = difference;
  }
}

/* ------------------------------------------------------------------------------------------------------ the output */

static int in_order(const void *one, const void *other) {
  double a = *(const double *)one, b = *(const double *)other;
  return (a > b) - (a < b);
}

static void put_times(const Timed *its, int rounds) {
  double *sorted = allocate((size_t)rounds * sizeof(double));
  memcpy(sorted, its->seconds, (size_t)rounds * sizeof(double));
  qsort(sorted, (size_t)rounds, sizeof(double), in_order);
  double median = (sorted[rounds / 2] + sorted[(rounds - 1) / 2]) / 2, p90 = sorted[(9 * rounds + 9) / 10 - 1];
  fprintf(out, "\"minimum_ms\":%.9g,\"median_ms\":%.9g,\"p90_ms\":%.9g,", 1e3 * sorted[0], 1e3 * median, 1e3 * p90);
  fprintf(out, "\"seconds_of_rounds\":[");
  for (int i = 0; i < rounds; ++i) fprintf(out, "%s%.9g", i ? "," : "", its->seconds[i]);
  fprintf(out, "]");
  free(sorted);
}

static long number_of(const char *option, const char *text, long least, long most) {
  char *end;
  long number = text ? strtol(text, &end, 10) : 0;
  if (!text || end == text || *end || number < least || number > most)
    fail(2, "%s %s: expected a whole number from %ld to %ld", option, text ? text : "", least, most);
  return number;
}

static double minutes_of(const char *text) {
  char *end;
  double minutes = text ? strtod(text, &end) : 0;
  if (!text || end == text || *end || !(minutes > 0 && minutes <= 1440))
    fail(2, "--minutes %s: expected a number of minutes up to 1440", text ? text : "");
  return minutes;
}

typedef struct {
  const char *cores; /* null: not given */
  int rounds;        /* -1: not given */
  double minutes;    /* 0: not given */
  ServeOptions served; /* port -1: it times, and serves nobody */
} Options;

/* The core on which the peak kernel is fastest now, to which the program is bound: of "N", of a cluster "N-M", or, where
 * no cores are named, of those that the program may use. */
static int bind_to_fastest(const char *cores) {
  cpu_set_t allowed;
  int first = 0, last = CPU_SETSIZE - 1, best = -1;
  if (cores) {
    char text[32], *dash;
    if (snprintf(text, sizeof text, "%s", cores) >= (int)sizeof text) fail(2, "--core %s: expected N or N-M", cores);
    if ((dash = strchr(text, '-')) && dash > text) *dash++ = 0;
    else dash = text;
    first = (int)number_of("--core", text, 0, CPU_SETSIZE - 1), last = (int)number_of("--core", dash, first, CPU_SETSIZE - 1);
  }
  if (sched_getaffinity(0, sizeof allowed, &allowed)) fail(2, "the system does not say which cores there are");
  double least = 0;
  for (int core = first; core <= last; ++core) {
    if ((!cores && !CPU_ISSET(core, &allowed)) || pin(core)) continue;
    double seconds = first < last ? turn(PEAK, CALIBRATION_RUNS) : 0;
    if (best < 0 || seconds < least) best = core, least = seconds;
  }
  if (best < 0 || pin(best)) fail(2, "--core %s: %s", cores ? cores : "(not given)", strerror(errno));
  return best;
}

static Options options_of(int argc, char **argv) {
  Options options = {0, -1, 0, {.port = -1}};
  ServeOptions *served = &options.served;
  for (int i = 1; i < argc; i += 2) {
    const char *option = argv[i], *value = i + 1 < argc ? argv[i + 1] : 0;
    if (!strcmp(option, "--core") && value) options.cores = value;
    else if (!strcmp(option, "--rounds")) options.rounds = (int)number_of(option, value, 1, 100000);
    else if (!strcmp(option, "--minutes")) options.minutes = minutes_of(value);
    else if (!strcmp(option, "--serve")) served->port = (int)number_of(option, value, 0, 65535);
    else if (!strcmp(option, "--key") && value) served->key = value;
    else if (!strcmp(option, "--address") && value) served->address = value;
    else if (!strcmp(option, "--tracker") && value) served->tracker = value;
    else fail(2, "%s: expected [--core N[-M]] [--rounds N] [--minutes M], and the figures come as JSON on stdout; or "
              "--serve PORT [--core N[-M]] [--key KEY] [--address IP] [--tracker IP:PORT]", option);
  }
  if (served->port >= 0 && (options.rounds >= 0 || options.minutes))
    fail(2, "--serve: leave out --rounds and --minutes");
  if (served->port < 0 && (served->key || served->address || served->tracker))
    fail(2, "--key, --address and --tracker are for --serve PORT");
  if (served->port < 0 && !packed_count) fail(2, "no network was packed into this program: it is for --serve PORT");
  if (options.rounds < 0) options.rounds = 30;
  if (!served->key) served->key = packed_target_name;
  if (!served->address) served->address = "127.0.0.1";
  return options;
}

int main(int argc, char **argv) {
  Options options = options_of(argc, argv);
  int rounds = options.rounds, count = FIRST + packed_count;
  double minutes = options.minutes;
  char *text;
  size_t length;
  if (!(out = open_memstream(&text, &length))) fail(2, "no memory");
  uname(&system_names);
  read_text(modalias, sizeof modalias, "/sys/devices/system/cpu/modalias");
  read_text(cpuinfo, sizeof cpuinfo, "/proc/cpuinfo");
  int emulated = is_emulated();
  if (emulated) fprintf(stderr, "this processor is emulated: its times say nothing of speed, and are marked so\n");

  for (int i = 0; i < packed_count; ++i) /* the peak kernel is made of the same instructions */
    if (!packed[i].supported())
      fail(2, "%s: this processor lacks instructions of the library: pack it for another --target", packed[i].label);

  timed = calloc((size_t)count, sizeof(Timed));
  if (!timed) fail(2, "no memory");
  int64_t shapes[2][2] = {{peak_lanes, 0}, {peak_chains, peak_lanes}};
  const int64_t lengths[2] = {peak_lanes, peak_chains * peak_lanes};
  for (int i = 0; i < 2; ++i) {
    float *data = allocate((size_t)lengths[i] * sizeof(float));
    for (int64_t n = 0; n < lengths[i]; ++n) data[n] = i ? 1.0f : peak_factor;
    peak_tensors[i] = (Tensor){data, 1, 0, i + 1, 2, 32, 1, shapes[i], 0, 0}; /* float32, of the processor */
  }
  int serves = options.served.port >= 0;
  for (int which = FIRST; which < count && !serves; ++which) prepare(which); /* before anything is printed */
  int core = bind_to_fastest(options.cores);
  if (serves) {
    fprintf(stderr, "on core %d\n", core);
    serve(&options.served);
  }

  fprintf(out, "{\"what\":\"tvm_shufflenet.bench\",\"format\":%d,\"emulated\":%s,", FORMAT, emulated ? "true" : "false");
  fprintf(out, "\"machine\":");
  put_string(system_names.machine), fprintf(out, ",\"system\":"), put_string(system_names.release);
  fprintf(out, ",\"modalias\":"), put_string(modalias), fprintf(out, ",\"cpuinfo\":"), put_string(cpuinfo);
  fprintf(out, ",\"seconds_since_1970\":%lld,\"target\":%s,\"core\":%d,", (long long)time(0), packed_target, core);
  put_state("before");

  double share = minutes ? 60 * minutes / rounds / count : TURN_SECONDS; /* of a turn */
  for (int which = 0; which < count; ++which) {
    double least = turn(which, 1);
    for (int i = 1; i < CALIBRATION_RUNS; ++i) {
      double seconds = turn(which, 1);
      if (seconds < least) least = seconds;
    }
    timed[which].calls = least < share ? (long)(share / least) + 1 : 1;
    timed[which].seconds = allocate((size_t)rounds * sizeof(double));
  }
  int done = 0;
  for (signal(SIGINT, stop); done < rounds && !stopped; ++done) {
    for (int i = 0; i < count; ++i) { /* each round starts with another, every other one runs backwards */
      int which = (done + (done % 2 ? count - 1 - i : i)) % count;
      timed[which].seconds[done] = turn(which, timed[which].calls);
      if (which >= FIRST && checksum_of(which) != timed[which].checksum)
        fail(1, "%s: its outputs are others than in its first run", packed[which - FIRST].label);
    }
    fprintf(stderr, "\rround %d of %d ", done + 1, rounds);
  }
  fputc('\n', stderr);
  if (!done) fail(2, "interrupted before the first round was over");

  fprintf(out, ","), put_state("after");
  fprintf(out, ",\"minutes\":%.9g,\"rounds_asked\":%d,\"rounds\":%d,\"peak\":{", minutes, rounds, done);
  put_times(&timed[PEAK], done), fprintf(out, "},\"networks\":[");
  for (int which = FIRST; which < count; ++which) {
    const Packed *network = &packed[which - FIRST];
    fprintf(out, "%s{\"label\":", which > FIRST ? "," : ""), put_string(network->label);
    fprintf(out, ",\"output_checksum\":\"%016llx\",\"output_difference\":", (unsigned long long)timed[which].checksum);
    if (timed[which].difference < 0) fprintf(out, "null,");
    else fprintf(out, "%.9g,", timed[which].difference);
    put_times(&timed[which], done), fprintf(out, ",\"manifest\":%s}", network->describe());
  }
  fprintf(out, "]}\n");
  if (fclose(out)) fail(2, "no memory for the figures");
  return fputs(text, stdout) < 0 || fflush(stdout) ? 2 : 0;
}
