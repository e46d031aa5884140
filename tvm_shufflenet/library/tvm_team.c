/* A team of TVM's threads: the function team(input, output, ..., workspace, team, threads) for programs that have TVM, as
 * RPC servers of boards do.  The first arguments are those of "main"; `team` is float32, tsn_team_bytes(threads) bytes or
 * more.  Part of runtime.c, behind team.c.
 */

typedef struct { /* TVMParallelGroupEnv, tvm/runtime/c_backend_api.h */
  void *sync_handle;
  int32_t tasks;
} Group;
typedef int Task(int task, Group *group, void *data);
typedef int ParallelLaunch(Task *task, void *data, int tasks);
#ifdef __APPLE__
static ParallelLaunch *find_launch(void) { return (ParallelLaunch *)dlsym(EVERYWHERE, "TVMBackendParallelLaunch"); }
#else
extern ParallelLaunch TVMBackendParallelLaunch __attribute__((weak, visibility("default")));
static ParallelLaunch *find_launch(void) {
  ParallelLaunch *launch = TVMBackendParallelLaunch;
  if (!launch && dlsym) launch = (ParallelLaunch *)dlsym(0, "TVMBackendParallelLaunch");
  return launch;
}
#endif

typedef struct {
  const float *input;
  float *outputs[OUTPUTS];
  void *workspace, *team;
  int threads, status;
} TeamRun;

static int run_as(int task, Group *group, void *data) {
  TeamRun *run = data;
  int few = group->tasks < run->threads; /* the others would never come */
  if (task >= run->threads) return 0;
  int status = few ? TSN_ERROR_TEAM : tsn_run_team_outputs(run->input, run->outputs, run->workspace, run->team, task);
  if (task == 0) run->status = few ? 1 : status;
  return 0;
}

/* The floats of an argument, at least `count`; else null. */
static void *floats_at(const Any *argument, size_t count) {
  const Tensor *tensor = tensor_in(argument);
  if (!tensor || tensor->device_type != CPU || tensor->type_code != FLOAT || tensor->type_bits != 32) return 0;
  size_t found = 1;
  for (int32_t i = 0; i < tensor->ndim; ++i) found *= (size_t)tensor->shape[i];
  return found < count ? 0 : (char *)tensor->data + tensor->byte_offset;
}

enum { TEAM_ARGUMENTS = ARGUMENTS + 2 };

__attribute__((visibility("default"))) int __tvm_ffi_team(void *self, const Any *arguments, int32_t count, Any *result) {
  const char *name = "team(input, output, ..., workspace, team, threads)";
  const Any *last = &arguments[TEAM_ARGUMENTS - 1];
  (void)self, (void)result;
  if (count != TEAM_ARGUMENTS || last->type_index != INTEGER) return fail(name, "other arguments were given");
  if (last->v_int64 < 1 || last->v_int64 > TSN_THREADS_MAX) return fail(name, "threads: expected 1 to 64");
  TeamRun run = {.threads = (int)last->v_int64};
  size_t team_floats = tsn_team_bytes(run.threads) / sizeof(float);
  run.input = floats_at(&arguments[0], floats_in(&input_shape));
  for (int32_t i = 0; i < OUTPUTS; ++i) run.outputs[i] = floats_at(&arguments[1 + i], floats_in(&output_shapes[i]));
  run.workspace = floats_at(&arguments[1 + OUTPUTS], floats_in(&workspace_shape));
  run.team = floats_at(last - 1, team_floats);
  int status = check_arrays(run.input, run.outputs, run.workspace);
  Team *team = team_at(run.team);
  if (!status && !(team && team->threads == run.threads && !team->gave_up)) { /* once: the same memory comes again */
    status = tsn_team_init(run.team, run.threads);
    if (!status && dlsym) tsn_team_wait(run.team, (tsn_wait *)dlsym(0, "sched_yield"), 0);
  }
  if (status == TSN_ERROR_CPU) return fail(name, "this processor lacks instructions of the library");
  if (status) return fail(name, "expected float32 arrays as main has them, and a team of tsn_team_bytes(threads) bytes");
  ParallelLaunch *launch = find_launch();
  if (!launch) return fail(name, "TVM's threads are not to be found here");
  run.status = 1;
  if (launch(run_as, &run, 0) || run.status) /* 0: all that TVM has; asked for more, it would end the program */
    return fail(name, "TVM has fewer threads: start the program with TVM_NUM_THREADS as many");
  return 0;
}
