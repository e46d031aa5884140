/* Teams under stress: team.c without a network, for a thread sanitizer.
 *
 *     team_stress THREADS PARTS RUNS SEED [SPINS]
 *
 * With SPINS the threads stay in the library between runs, look that often for the next one, and then sleep.
 *
 * Each kernel reads what all parts of the one before have written and writes its own parts, by plain loads and stores:
 * a barrier that lets somebody through too early is a data race, and gives wrong numbers.  Threads pause at random.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tvm_shufflenet.h"

enum { OUTPUTS = 1, KERNELS = 20, CHUNKS = 96 };

static int check_arrays(const float *input, float *const outputs[], const void *workspace) {
  return input && outputs && workspace ? TSN_OK : TSN_ERROR_NULL;
}

static void all_outputs(float *outputs[], float *first, void *workspace) {
  (void)workspace;
  outputs[0] = first;
}

#define TSN_TEAM_SCRATCH 64
#include "team.c"

static uint32_t plane[2][CHUNKS];
static _Thread_local uint32_t state;

static uint32_t chance(void) { return state = state * 1664525u + 1013904223u; }

static void delay(void) {
  uint32_t die = chance() >> 16;
  if (die % 8 == 0) sched_yield();
  if (die % 4 == 0)
    for (volatile uint32_t i = die % 500; i; --i) continue;
}

void tsn_team_main(const float *input, void *workspace, Share *share) {
  (void)input, (void)workspace;
  for (uint32_t kernel = 0; kernel < KERNELS; ++kernel) {
    uint32_t *from = plane[kernel % 2], *to = plane[(kernel + 1) % 2];
    delay();
    if (kernel % 5 == 4) { /* one that is not cut */
      if (tsn_alone(share))
        for (int c = 0; c < CHUNKS; ++c) to[c] = from[CHUNKS - 1 - c] + kernel;
    } else {
      while (tsn_take(share)) {
        int part = tsn_part(share), parts = tsn_parts(share);
        float *own = tsn_scratch(share, (float *)workspace);
        for (int c = part * CHUNKS / parts; c < (part + 1) * CHUNKS / parts; ++c) {
          uint32_t all = 0;
          for (int i = 0; i < CHUNKS; ++i) all = all * 31 + from[i];
          own[0] = (float)c;
          to[c] = all + (uint32_t)own[0] + kernel;
          if (c % 16 == 0) delay();
        }
      }
    }
    tsn_barrier(share);
  }
  if (tsn_alone(share)) *tsn_output(share, 0) = (float)(plane[KERNELS % 2][7] >> 8);
}

typedef struct {
  void *team;
  float *output;
  int thread, runs, failed, spins; /* spins: -1 for threads that do not stay */
  uint32_t seed;
  sem_t woken;
} Job;

static float workspace[64];
static pthread_barrier_t together;

static int ending;

static void *stay(void *argument) {
  Job *job = argument;
  state = job->seed + (uint32_t)job->thread;
  for (;;) {
    sem_wait(&job->woken);
    if (__atomic_load_n(&ending, __ATOMIC_ACQUIRE)) return 0;
    job->failed |= tsn_team_work(job->team, job->thread, job->spins);
    delay();
  }
}

static int begin(const float *input, float *output, Job *jobs) {
  int32_t asleep[TSN_THREADS_MAX];
  float *outputs[] = {output};
  int count = tsn_team_begin(input, outputs, workspace, jobs->team, asleep);
  for (int i = 0; i < count; ++i) sem_post(&jobs[asleep[i]].woken);
  if (chance() % 64 == 0) sem_post(&jobs[1].woken); /* a wake too many */
  return count < 0 ? count : tsn_run_team_outputs(input, outputs, workspace, jobs->team, 0);
}

static void *work(void *argument) {
  Job *job = argument;
  float input = 0;
  state = job->seed + (uint32_t)job->thread;
  for (int run = 0; run < job->runs; ++run) {
    if (job->thread == 0)
      for (int c = 0; c < CHUNKS; ++c) plane[0][c] = (uint32_t)(run * 1000 + c);
    if (job->spins >= 0) {
      job->failed |= begin(&input, job->output + run, job);
    } else {
      pthread_barrier_wait(&together); /* the input is there before the first thread calls */
      job->failed |= tsn_run_team(&input, job->output + run, workspace, job->team, job->thread);
    }
    delay();
  }
  return 0;
}

static int give_way(void *context) {
  (void)context;
  return sched_yield();
}

static int run_all(int threads, int parts, int runs, uint32_t seed, int spins, float *output) {
  void *team = aligned_alloc(TSN_ALIGNMENT, tsn_team_bytes(threads));
  Job jobs[TSN_THREADS_MAX];
  pthread_t others[TSN_THREADS_MAX];
  int failed = tsn_team_init(team, threads) | tsn_team_parts(team, parts) | tsn_team_wait(team, give_way, 0);
  pthread_barrier_init(&together, 0, (unsigned)threads);
  for (int i = 0; i < threads; ++i) {
    jobs[i] = (Job){team, output, i, runs, 0, spins, seed, {{0}}};
    sem_init(&jobs[i].woken, 0, 0);
    if (i) pthread_create(&others[i], 0, spins < 0 ? work : stay, &jobs[i]);
  }
  work(&jobs[0]);
  __atomic_store_n(&ending, 1, __ATOMIC_RELEASE);
  for (int i = 1; i < threads; ++i) sem_post(&jobs[i].woken);
  for (int i = 1; i < threads; ++i) pthread_join(others[i], 0);
  for (int i = 0; i < threads; ++i) failed |= jobs[i].failed;
  free(team);
  return failed;
}

int main(int argc, char **argv) {
  if (argc < 5) return 2;
  int threads = atoi(argv[1]), parts = atoi(argv[2]), runs = atoi(argv[3]), spins = argc > 5 ? atoi(argv[5]) : -1;
  float *expected = calloc((size_t)runs, sizeof(float)), *found = calloc((size_t)runs, sizeof(float));
  if (run_all(1, 1, runs, 1, -1, expected)) return 3;
  ending = 0;
  if (run_all(threads, parts, runs, (uint32_t)atoi(argv[4]), spins, found)) return 3;
  if (memcmp(expected, found, (size_t)runs * sizeof(float))) return puts("other numbers than of one thread"), 1;
  printf("%d runs of %d threads, %d kernels each: equal\n", runs, threads, KERNELS);
  return 0;
}
