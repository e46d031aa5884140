"""Which knobs of a task to try next: MetaSchedule's evolutionary search with its XGBoost cost model.

A candidate's trace holds one sampled decision and nothing else: which of the task's knobs, since few of
the combinations of their values are legal.  A postprocessor of ours reads it and applies the kernel's
own schedule: replaying a mutated trace therefore schedules the kernel anew, where split factors in the
trace would have stayed what they were.  The mutator changes one knob, and as few others as that takes.
The cost model judges by the features of the scheduled loops and learns from all tasks of a run.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from tvm import IRModule
from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule import _ffi_api
from tvm.s_tir.meta_schedule.logging import get_logging_func
from tvm.s_tir.schedule import Trace
from tvm.target import Target

from ..records.store import knob_key
from ..schedules import Knobs
from ..targets import TargetSpec
from .tasks import Task

BATCH = 16
WARM_UP = 2 * BATCH  # trials before the cost model is asked
MARK = "tsn_candidate"
FAILED = 1e10  # seconds, as MetaSchedule itself has it


def cost_model() -> ms.cost_model.XGBModel:
    """One for all tasks of a run; seeded, and on one thread, so that it learns the same again."""
    config = ms.cost_model.xgb_model.XGBConfig(max_depth=8, eta=0.3, seed=0, nthread=1)
    return ms.cost_model.XGBModel(config=config, num_warmup_samples=WARM_UP, early_stopping_rounds=10, verbose_eval=0)


class Search:
    """Proposes knobs of a task and learns from what comes of them."""

    def __init__(self, task: Task, target: TargetSpec, trials: int, model: ms.cost_model.XGBModel, seed: int = 0):
        self.task, self.model = task, model
        self._target = Target(target.tvm)
        self._module = IRModule({"main": task.workload.definition().with_attr("global_symbol", "main")})
        rng = random.Random(f"{seed} {task.key}")
        batch = min(BATCH, trials)  # a generation larger than all trials would be thrown away
        self._context = _Context(
            self._module, self._target, rng,
            ms.space_generator.ScheduleFn(
                self._sample, sch_rules=[], postprocs=[_Apply(self)], mutator_probs={_Mutate(task.space, rng): 1.0}
            ),
            ms.search_strategy.EvolutionarySearch(
                population_size=4 * batch, init_measured_ratio=0.4, init_min_unmeasured=1, genetic_num_iters=3,
                genetic_mutate_prob=0.9, eps_greedy=0.1,
            ),
        )  # fmt: skip
        self._database = ms.database.MemoryDatabase()
        self._workload = self._database.commit_workload(self._module)
        self._context.pre_tuning(
            4 * trials, batch, self._context.generate_design_space(), self._database, self.model
        )  # what is known already is proposed as well, so there are more proposals than trials
        self._proposed: list = []

    def propose(self) -> list[Knobs]:
        """Some knobs that this search did not propose before; none when it finds no more."""
        self._proposed = list(self._context.generate_measure_candidates() or [])
        return [self._knobs_of(candidate.sch.trace) for candidate in self._proposed]

    def learn(self, seconds: dict[tuple, float | None]) -> None:
        """Takes in what came of the last proposal, by `knob_key`: relative times, None for failures."""
        told = [(c, seconds[key]) for c in self._proposed
                if (key := knob_key(self._knobs_of(c.sch.trace))) in seconds]  # fmt: skip
        results = [ms.runner.RunnerResult([value or FAILED], None) for _, value in told]
        candidates = [candidate for candidate, _ in told]
        self._context.notify_runner_results(candidates, results)
        self._remember(candidates, results)
        self._proposed = []

    def remember(self, known: Iterable[tuple[Knobs, float | None]]) -> None:
        """Results from before this search: the evolution starts from the best of them."""
        candidates, results = [], []
        for knobs, value in known:
            schedule = Schedule(self._module)
            self._sample(schedule, knobs)
            schedule.enter_postproc()
            if self._apply(schedule):
                candidates.append(ms.MeasureCandidate(schedule, ms.arg_info.ArgInfo.from_entry_func(self._module)))
                results.append(ms.runner.RunnerResult([value or FAILED], None))
        if candidates:
            self._remember(candidates, results)

    def _remember(self, candidates: list, results: list) -> None:
        self.model.update(self._context, candidates, results)
        for candidate, result in zip(candidates, results):
            self._database.commit_tuning_record(
                ms.database.TuningRecord(
                    candidate.sch.trace, self._workload, result.run_secs, self._target, candidate.args_info
                )
            )

    # What a trace holds

    def _sample(self, schedule: Schedule, knobs: Knobs | None = None) -> None:
        """One decision, kept as a mark on a block; `knobs` are decided already."""
        count = len(self.task.space)
        decision = None if knobs is None else self.task.space.index(knobs)
        value = schedule.sample_categorical(list(range(count)), [1 / count] * count, decision)
        schedule.annotate(_block(schedule), MARK, value)

    def _apply(self, schedule: Schedule) -> bool:
        """Reads the mark and schedules; false where TVM refuses that."""
        block = _block(schedule)
        index = int(schedule.get(block).annotations[MARK])
        schedule.unannotate(block, MARK)
        try:
            self.task.workload.schedule(schedule, self.task.space[index])
        except (RuntimeError, ValueError):
            return False
        return True

    def _knobs_of(self, trace: Trace) -> Knobs:
        return self.task.space[int(trace.decisions[_decision(trace)])]


def _block(schedule: Schedule):
    """Not the outermost one: there TVM writes annotations into the module that the schedule was made of."""
    return schedule.get_child_blocks(schedule.get_sblock("root"))[-1]


def _decision(trace: Trace):
    return next(inst for inst in trace.insts if inst.kind.name == "SampleCategorical")


class _Context(ms.TuneContext):
    """TVM's, without the tensor intrinsics which its constructor imports: 20 s, and none is used here."""

    def __init__(self, module, target, rng, space, strategy):
        logger = ms.logging.get_logger(__name__)
        self.__init_handle_by_constructor__(
            _ffi_api.TuneContext, module, target, space, strategy, "main", 1, rng.randrange(1, 2**31),
            get_logging_func(logger),
        )  # fmt: skip
        _ffi_api.TuneContextInitialize(self)


@derived_object
class _Apply(ms.postproc.PyPostproc):
    def __init__(self, search: Search):
        super().__init__()
        self.search = search

    def _initialize_with_tune_context(self, context) -> None:
        pass

    def apply(self, sch: Schedule) -> bool:
        return self.search._apply(sch)

    def clone(self):
        return _Apply(self.search)


@derived_object
class _Mutate(ms.mutator.PyMutator):
    def __init__(self, space: list[Knobs], rng: random.Random):
        super().__init__()
        self.space, self.rng = space, rng

    def _initialize_with_tune_context(self, context) -> None:
        pass

    def apply(self, trace: Trace, _=None) -> Trace | None:
        decision = _decision(trace)
        old = self.space[int(trace.decisions[decision])]
        name = self.rng.choice([name for name in old if any(knobs[name] != old[name] for knobs in self.space)])
        value = self.rng.choice(sorted({knobs[name] for knobs in self.space} - {old[name]}))
        changes = {
            index: sum(knobs[other] != old[other] for other in old)
            for index, knobs in enumerate(self.space) if knobs[name] == value
        }  # fmt: skip
        fewest = min(changes.values())
        chosen = self.rng.choice([index for index, count in changes.items() if count == fewest])
        return trace.with_decision(decision, chosen, remove_postproc=True)

    def clone(self):
        return _Mutate(self.space, self.rng)
