/* Several threads of the caller run one network together: what tsn_team_main, in TVM's object, calls.  Part of
 * runtime.c, where TSN_TEAM is defined; TSN_TEAM_SCRATCH is what each thread but the first needs of its own, in bytes.
 *
 * Every thread runs through all kernels.  The parts of a kernel are dealt out, the first to each thread and, where there
 * are more than threads, the others to who comes first.  Behind a kernel all threads wait for the last one.
 */

#define LINE 64 /* bytes that processors own together */
#define SPINS 256

typedef struct {
  _Alignas(LINE) uint32_t arrived; /* threads that wait */
  _Alignas(LINE) uint32_t passed;  /* how often all have met */
  _Alignas(LINE) uint32_t taken;   /* parts of the present kernel beyond the first of each thread */
  _Alignas(LINE) uint32_t marked;  /* all of this line is only read while the team works, but `gave_up` */
  uint32_t gave_up;
  int32_t threads, parts;
  tsn_wait *wait;
  void *context;
  _Alignas(LINE) uint32_t begun; /* pictures so far, by tsn_team_begin; behind it the arguments of the last one */
  int (*run)(const float *input, float *const outputs[], void *workspace, void *team, int thread);
  const float *input;
  float *const *outputs;
  void *workspace;
} Team;

/* What a thread that stays in the library keeps between pictures; each but the first has one, in front of its scratch. */
typedef struct {
  _Alignas(LINE) uint32_t seen; /* pictures that it has begun */
  uint32_t asleep;              /* it has left, and must be woken */
} Rest;

/* What one thread has of a run. */
typedef struct {
  Team *team;
  int32_t thread, part; /* the part it has, -1 before the first */
  float *const *outputs;
  char *scratch;
} Share;

enum { MARK = 0x74736e31, SHARE_BYTES = sizeof(Rest) + (TSN_TEAM_SCRATCH + LINE - 1) / LINE * LINE };

_Static_assert(sizeof(Team) == 320 && sizeof(Rest) == LINE, "TEAM_BYTES of interface.py");

/* In TVM's object. */
extern void tsn_team_main(const float *input, void *workspace, Share *share);

size_t tsn_team_bytes(int threads) {
  if (threads < 1 || threads > TSN_THREADS_MAX) return 0;
  return sizeof(Team) + (size_t)(threads - 1) * SHARE_BYTES;
}

/* Of a thread but the first: its scratch is behind it. */
static Rest *rest_of(Team *team, int thread) { return (Rest *)((char *)(team + 1) + (thread - 1) * SHARE_BYTES); }

int tsn_team_init(void *memory, int threads) {
  Team *team = memory;
  if (!memory) return TSN_ERROR_NULL;
  if ((uintptr_t)memory % TSN_ALIGNMENT) return TSN_ERROR_ALIGNMENT;
  if (threads < 1 || threads > TSN_THREADS_MAX) return TSN_ERROR_TEAM;
  *team = (Team){.marked = MARK, .threads = threads, .parts = threads};
  for (int thread = 1; thread < threads; ++thread) *rest_of(team, thread) = (Rest){.asleep = 1};
  return TSN_OK;
}

static Team *team_at(void *memory) {
  Team *team = memory;
  return memory && (uintptr_t)memory % TSN_ALIGNMENT == 0 && team->marked == MARK ? team : 0;
}

int tsn_team_wait(void *memory, tsn_wait *wait, void *context) {
  Team *team = team_at(memory);
  if (!team) return TSN_ERROR_TEAM;
  team->wait = wait, team->context = context;
  return TSN_OK;
}

int tsn_team_parts(void *memory, int parts) {
  Team *team = team_at(memory);
  if (!team || parts < 1 || parts > TSN_PARTS_MAX) return TSN_ERROR_TEAM;
  team->parts = team->threads * parts;
  return TSN_OK;
}

int tsn_run_team_outputs(const float *input, float *const outputs[], void *workspace, void *memory, int thread) {
  int status = check_arrays(input, outputs, workspace);
  if (status) return status;
  Team *team = team_at(memory);
  if (!team || thread < 0 || thread >= team->threads) return TSN_ERROR_TEAM;
  Share share = {team, thread, -1, outputs, thread ? (char *)(rest_of(team, thread) + 1) : 0};
  tsn_team_main(input, workspace, &share);
  return __atomic_load_n(&team->gave_up, __ATOMIC_ACQUIRE) ? TSN_ERROR_TEAM : TSN_OK;
}

int tsn_run_team(const float *input, float *output, void *workspace, void *memory, int thread) {
  if (!workspace) return TSN_ERROR_NULL;
  float *outputs[OUTPUTS];
  all_outputs(outputs, output, workspace);
  return tsn_run_team_outputs(input, outputs, workspace, memory, thread);
}

/* ------------------------------------------------------------------ threads that stay between pictures
 *
 * A thread says that it sleeps and then looks for a picture once more; a picture is begun before who sleeps is asked.  In
 * one order of all four (SEQ_CST) one of the two sees the other: no thread sleeps through a picture.  Both may: a thread
 * that is woken for a picture which it has run finds nothing to do.
 */

int tsn_team_begin(const float *input, float *const outputs[], void *workspace, void *memory, int32_t *asleep) {
  int status = check_arrays(input, outputs, workspace), count = 0;
  if (status) return status;
  Team *team = team_at(memory);
  if (!asleep) return TSN_ERROR_NULL;
  if (!team || __atomic_load_n(&team->gave_up, __ATOMIC_ACQUIRE)) return TSN_ERROR_TEAM;
  team->run = tsn_run_team_outputs, team->input = input, team->outputs = outputs, team->workspace = workspace;
  __atomic_store_n(&team->begun, team->begun + 1, __ATOMIC_SEQ_CST);
  for (int32_t thread = 1; thread < team->threads; ++thread)
    if (__atomic_load_n(&rest_of(team, thread)->asleep, __ATOMIC_SEQ_CST)) asleep[count++] = thread;
  return count;
}

static void pause_a_little(void) {
#if defined(__x86_64__)
  __asm__ volatile("pause");
#else
  __asm__ volatile("yield" ::: "memory");
#endif
}

int tsn_team_work(void *memory, int thread, int spins) {
  Team *team = team_at(memory);
  if (!team || thread < 1 || thread >= team->threads || spins < 0) return TSN_ERROR_TEAM;
  Rest *rest = rest_of(team, thread);
  for (;;) {
    __atomic_store_n(&rest->asleep, 0, __ATOMIC_RELAXED);
    for (int i = 0; i < spins && __atomic_load_n(&team->begun, __ATOMIC_RELAXED) == rest->seen; ++i) pause_a_little();
    if (__atomic_load_n(&team->begun, __ATOMIC_ACQUIRE) == rest->seen) {
      __atomic_store_n(&rest->asleep, 1, __ATOMIC_SEQ_CST);
      if (__atomic_load_n(&team->begun, __ATOMIC_SEQ_CST) == rest->seen) return TSN_OK;
      continue;
    }
    ++rest->seen;
    int status = team->run(team->input, team->outputs, team->workspace, memory, thread);
    if (status) return status;
  }
}

/* ------------------------------------------------------------------ what tsn_team_main calls */

/* Adds and gives what was there before.  On AArch64 compilers would call their own library for it. */
static uint32_t add(uint32_t *to, uint32_t number) {
#ifdef __aarch64__
  uint32_t before, after, failed;
  __asm__ volatile("1: ldaxr %w0, [%3]\n\tadd %w1, %w0, %w4\n\tstlxr %w2, %w1, [%3]\n\tcbnz %w2, 1b"
                   : "=&r"(before), "=&r"(after), "=&r"(failed)
                   : "r"(to), "r"(number)
                   : "memory");
  return before;
#else
  return __atomic_fetch_add(to, number, __ATOMIC_ACQ_REL);
#endif
}

/* Whether there is a part for this thread, which is tsn_part() then. */
int32_t tsn_take(Share *share) {
  Team *team = share->team;
  if (__atomic_load_n(&team->gave_up, __ATOMIC_RELAXED)) return 0;
  if (share->part < 0) {
    share->part = share->thread;
    return 1;
  }
  if (team->parts == team->threads) return 0;
  share->part = team->threads + (int32_t)add(&team->taken, 1);
  return share->part < team->parts;
}

int32_t tsn_part(const Share *share) { return share->part; }

int32_t tsn_parts(const Share *share) { return share->team->parts; }

/* Whether it is this thread that runs a kernel which is not cut. */
int32_t tsn_alone(const Share *share) {
  return share->thread == 0 && !__atomic_load_n(&share->team->gave_up, __ATOMIC_RELAXED);
}

float *tsn_output(const Share *share, int32_t index) { return share->outputs[index]; }

float *tsn_scratch(const Share *share, float *of_first) {
  return share->thread ? (float *)share->scratch : of_first;
}

/* Returns once all threads are here, or one has given up.  The last one finds nobody who takes parts. */
void tsn_barrier(Share *share) {
  Team *team = share->team;
  uint32_t passed = __atomic_load_n(&team->passed, __ATOMIC_RELAXED);
  share->part = -1;
  if (__atomic_load_n(&team->gave_up, __ATOMIC_RELAXED)) return;
  if (add(&team->arrived, 1) == (uint32_t)team->threads - 1) {
    __atomic_store_n(&team->arrived, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&team->taken, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&team->passed, passed + 1, __ATOMIC_RELEASE);
    return;
  }
  for (uint32_t spins = 0; __atomic_load_n(&team->passed, __ATOMIC_ACQUIRE) == passed;) {
    if (__atomic_load_n(&team->gave_up, __ATOMIC_RELAXED)) return;
    if (spins < SPINS || !team->wait) {
      pause_a_little(), ++spins;
    } else if (team->wait(team->context)) {
      __atomic_store_n(&team->gave_up, 1, __ATOMIC_RELEASE);
    }
  }
}
