/* A pool of threads for compiled networks:
 *
 *     Pool *pool = pool_start(dlopen(path, RTLD_NOW), 4, 0);   // three threads, and the caller's
 *     int status = pool_run(pool, input, output, workspace);   // as tsn_run, as often as you like
 *     pool_stop(pool);
 *
 * Between pictures a thread spins for about POOL_SPINS rounds and then sleeps.  Give it no more threads than there are
 * processors that the program may use: threads that wait for each other need one each.
 */
#ifndef POOL_H
#define POOL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* for pthread_setaffinity_np */
#endif
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "tvm_shufflenet.h"

#define POOL_SPINS 20000

typedef struct {
  int (*run)(const float *, float *, void *, void *, int); /* tsn_run_team */
  void *team, *workspace;
  const float *input;
  float *output;
  int started; /* threads beside the caller's */
  atomic_uint pictures; /* begun so far */
  atomic_int asleep, ending;
  pthread_mutex_t lock;
  pthread_cond_t begun;
  pthread_t threads[TSN_THREADS_MAX];
  struct PoolWorker {
    void *pool;
    int number;
  } workers[TSN_THREADS_MAX];
} Pool;

static void *pool_work(void *argument) {
  struct PoolWorker *me = argument;
  Pool *pool = me->pool;
  for (unsigned seen = 0;; ++seen) {
    for (int spins = 0; spins < POOL_SPINS && atomic_load(&pool->pictures) == seen; ++spins) {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
    if (atomic_load(&pool->pictures) == seen) {
      pthread_mutex_lock(&pool->lock);
      atomic_fetch_add(&pool->asleep, 1);
      while (atomic_load(&pool->pictures) == seen) pthread_cond_wait(&pool->begun, &pool->lock);
      atomic_fetch_sub(&pool->asleep, 1);
      pthread_mutex_unlock(&pool->lock);
    }
    if (atomic_load(&pool->ending)) return 0;
    pool->run(pool->input, pool->output, pool->workspace, pool->team, me->number);
  }
}

static void pool_begin(Pool *pool) {
  atomic_fetch_add(&pool->pictures, 1);
  if (!atomic_load(&pool->asleep)) return;
  pthread_mutex_lock(&pool->lock);
  pthread_cond_broadcast(&pool->begun);
  pthread_mutex_unlock(&pool->lock);
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
  pool_begin(pool);
  for (int i = 0; i < pool->started; ++i) pthread_join(pool->threads[i], 0);
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
  pool->run = dlsym(library, "tsn_run_team");
  pthread_mutex_init(&pool->lock, 0), pthread_cond_init(&pool->begun, 0);
  cpu_set_t allowed;
  int crowded = !sched_getaffinity(0, sizeof allowed, &allowed) && threads > CPU_COUNT(&allowed);
  if (init(pool->team, threads) || wait(pool->team, pool_give_way, crowded ? pool : 0)) return pool_stop(pool), (Pool *)0;
  for (int i = 0; i < threads - 1; ++i) {
    pool->workers[i] = (struct PoolWorker){pool, i + 1};
    if (pthread_create(&pool->threads[i], 0, pool_work, &pool->workers[i])) return pool_stop(pool), (Pool *)0;
    pool->started = i + 1;
    if (cores) {
      cpu_set_t set;
      CPU_ZERO(&set);
      CPU_SET(cores[i], &set);
      pthread_setaffinity_np(pool->threads[i], sizeof set, &set);
    }
  }
  return pool;
}

/* The status of tsn_run_team, once all threads have done their parts.  One caller at a time. */
static int pool_run(Pool *pool, const float *input, float *output, void *workspace) {
  pool->input = input, pool->output = output, pool->workspace = workspace;
  pool_begin(pool);
  return pool->run(input, output, workspace, pool->team, 0);
}

#endif
