/* A pool of threads for compiled networks:
 *
 *     Pool *pool = pool_start(dlopen(path, RTLD_NOW), 4, 0);    // three threads, and the caller's
 *     int status = pool_run(pool, input, outputs, workspace);   // as tsn_run_outputs, as often as you like
 *     pool_stop(pool);
 *
 * Between pictures a thread looks POOL_SPINS times for the next one and then sleeps.  Give it no more threads than
 * there are processors that the program may use: threads that wait for each other need one each.
 */
#ifndef POOL_H
#define POOL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* for pthread_setaffinity_np */
#endif
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "tvm_shufflenet.h"

#define POOL_SPINS 20000

typedef struct {
  int (*begin)(const float *, float *const[], void *, void *, int32_t *); /* tsn_team_begin */
  int (*work)(void *, int, int);                                          /* tsn_team_work */
  int (*run)(const float *, float *const[], void *, void *, int);         /* tsn_run_team_outputs */
  void *team;
  int started; /* threads beside the caller's */
  atomic_int ending;
  struct PoolWorker {
    void *pool;
    int number;
    sem_t woken;
    pthread_t thread;
  } workers[TSN_THREADS_MAX]; /* the first is the caller's */
} Pool;

static void *pool_work(void *argument) {
  struct PoolWorker *me = argument;
  Pool *pool = me->pool;
  for (;;) {
    while (sem_wait(&me->woken)) continue; /* a signal may end it early */
    if (atomic_load(&pool->ending)) return 0;
    pool->work(pool->team, me->number, POOL_SPINS);
  }
}

/* While a thread waits, its processor is for another of the team, or for other programs. */
static int pool_give_way(void *context) {
  const struct timespec rest = {0, 50000};
  if (context)
    nanosleep(&rest, 0); /* a signal may end it early */
  else
    sched_yield();
  return 0;
}

static void pool_stop(Pool *pool) {
  atomic_store(&pool->ending, 1);
  for (int i = 1; i <= pool->started; ++i) sem_post(&pool->workers[i].woken);
  for (int i = 1; i <= pool->started; ++i) pthread_join(pool->workers[i].thread, 0);
  free(pool->team);
  free(pool);
}

/* With `cores`, thread number i + 1 is pinned to processor cores[i].  Null where anything fails. */
static Pool *pool_start(void *library, int threads, const int *cores) {
  size_t (*bytes)(int) = dlsym(library, "tsn_team_bytes");
  int (*init)(void *, int) = dlsym(library, "tsn_team_init");
  int (*wait)(void *, tsn_wait *, void *) = dlsym(library, "tsn_team_wait");
  if (!bytes || !init || !wait || !bytes(threads)) return 0;
  Pool *pool = calloc(1, sizeof *pool);
  if (!pool || !(pool->team = aligned_alloc(TSN_ALIGNMENT, bytes(threads)))) return free(pool), (Pool *)0;
  pool->begin = dlsym(library, "tsn_team_begin"), pool->work = dlsym(library, "tsn_team_work");
  pool->run = dlsym(library, "tsn_run_team_outputs");
  cpu_set_t allowed;
  int crowded = !sched_getaffinity(0, sizeof allowed, &allowed) && threads > CPU_COUNT(&allowed);
  if (!pool->begin || init(pool->team, threads) || wait(pool->team, pool_give_way, crowded ? pool : 0))
    return pool_stop(pool), (Pool *)0; /* without tsn_team_begin the library is of a lower number than 6 */
  for (int i = 1; i < threads; ++i) {
    struct PoolWorker *worker = &pool->workers[i];
    worker->pool = pool, worker->number = i;
    if (sem_init(&worker->woken, 0, 0) || pthread_create(&worker->thread, 0, pool_work, worker))
      return pool_stop(pool), (Pool *)0;
    pool->started = i;
    if (cores) {
      cpu_set_t set;
      CPU_ZERO(&set);
      CPU_SET(cores[i - 1], &set);
      pthread_setaffinity_np(worker->thread, sizeof set, &set);
    }
  }
  return pool;
}

/* The status of the run, once all threads have done their parts.  One caller at a time. */
static int pool_run(Pool *pool, const float *input, float *const outputs[], void *workspace) {
  int32_t asleep[TSN_THREADS_MAX];
  int count = pool->begin(input, outputs, workspace, pool->team, asleep);
  for (int i = 0; i < count; ++i) sem_post(&pool->workers[asleep[i]].woken);
  return count < 0 ? count : pool->run(input, outputs, workspace, pool->team, 0);
}

#endif
