"""Which knobs of a task to try next: MetaSchedule's evolutionary search with its XGBoost cost model.

A candidate's trace holds one sampled decision for each knob and nothing else.  A postprocessor of ours
reads the sampled values and applies the kernel's own schedule: replaying a mutated trace therefore
schedules the kernel anew, where split factors in the trace would have stayed what they were.  The
mutator changes one decision.  The cost model judges by the features of the scheduled loops and learns
from all tasks of a run.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from tvm import IRModule, ir
from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule import _ffi_api
from tvm.s_tir.meta_schedule.logging import get_logging_func
from tvm.s_tir.schedule import Trace
from tvm.target import Target

from schedules import Knobs

from ..targets import TargetSpec
from .records import knob_key
from .tasks import Task

BATCH = 16
WARM_UP = 2 * BATCH  # trials before the cost model is asked
MARK = "knob:"
BLOCK = "out"  # every kernel has a block of this name
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
        self._legal = {knob_key(knobs): knobs for knobs in task.space}
        self._values = {name: sorted({knobs[name] for knobs in task.space}) for name in task.default}
        self._module = IRModule({"main": task.workload.definition().with_attr("global_symbol", "main")})
        rng = random.Random(f"{seed} {task.key}")
        self._context = _Context(
            self._module, self._target, rng,
            ms.space_generator.ScheduleFn(
                self._sample, sch_rules=[], postprocs=[_Apply(self)], mutator_probs={_Mutate(rng): 1.0}
            ),
            ms.search_strategy.EvolutionarySearch(
                population_size=4 * BATCH, init_measured_ratio=0.4, init_min_unmeasured=1, genetic_num_iters=3,
                genetic_mutate_prob=0.9, eps_greedy=0.1,
            ),
        )  # fmt: skip
        self._database = ms.database.MemoryDatabase()
        self._workload = self._database.commit_workload(self._module)
        self._context.pre_tuning(
            4 * trials, BATCH, self._context.generate_design_space(), self._database, self.model
        )  # what is known already is proposed as well, so there are more proposals than trials
        self._proposed: list = []

    def propose(self) -> list[Knobs]:
        """Some knobs that this search did not propose before; none when it finds no more."""
        self._proposed = list(self._context.generate_measure_candidates() or [])
        return [self._knobs_of(candidate.sch.trace) for candidate in self._proposed]

    def learn(self, seconds: dict[tuple, float | None]) -> None:
        """What came of the last proposal, by `knob_key`: relative times, None for failures."""
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
        """One decision for each knob, kept as a mark on a block; `knobs` are decided already."""
        block = schedule.get_sblock(BLOCK)
        for name, values in self._values.items():
            decision = None if knobs is None else values.index(knobs[name])
            value = schedule.sample_categorical(values, [1 / len(values)] * len(values), decision)
            schedule.annotate(block, MARK + name, value)

    def _apply(self, schedule: Schedule) -> bool:
        """Reads the marks and schedules; false for knobs that are not legal together."""
        block = schedule.get_sblock(BLOCK)
        marks = {str(key): int(value) for key, value in schedule.get(block).annotations.items()
                 if str(key).startswith(MARK)}  # fmt: skip
        knobs = self._legal.get(knob_key({key.removeprefix(MARK): value for key, value in marks.items()}))
        if knobs is None:
            return False
        for key in marks:
            schedule.unannotate(block, key)
        self.task.workload.schedule(schedule, knobs)
        return True

    def _knobs_of(self, trace: Trace) -> Knobs:
        decided = [inst.attrs[0][int(trace.decisions[inst])] for inst in _decisions(trace)]
        return dict(zip(self._values, map(int, decided)))


def _decisions(trace: Trace) -> list:
    return [inst for inst in trace.insts if inst.kind.name == "SampleCategorical"]


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
        try:
            return self.search._apply(sch)
        except (ir.diagnostics.DiagnosticError, RuntimeError, ValueError):  # TVM refuses the schedule
            return False

    def clone(self):
        return _Apply(self.search)


@derived_object
class _Mutate(ms.mutator.PyMutator):
    def __init__(self, rng: random.Random):
        super().__init__()
        self.rng = rng

    def _initialize_with_tune_context(self, context) -> None:
        pass

    def apply(self, trace: Trace, _=None) -> Trace | None:
        free = [inst for inst in _decisions(trace) if len(inst.attrs[0]) > 1]
        chosen = self.rng.choice(free)
        others = set(range(len(chosen.attrs[0]))) - {int(trace.decisions[chosen])}
        return trace.with_decision(chosen, self.rng.choice(sorted(others)), remove_postproc=True)

    def clone(self):
        return _Mutate(self.rng)
