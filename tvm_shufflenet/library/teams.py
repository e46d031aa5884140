"""Threads that run one library together: a pool, whose first thread is the caller's.

The library starts no threads: the others are Python's.  They spin within a picture and for a while behind one, outside
of Python's lock, and then wait in a queue.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ..errors import UserError
from . import THREADS
from .interface import ALIGNMENT
from .processors import allowed_processors, are_alike
from .symbols import Functions

STAY = 2e-3  # seconds that a thread spins for the next picture: waking one may take as long as a picture
PROBE = 4096  # looks whose time says how many are a STAY
REST = 50  # microseconds that a thread sleeps which waits for one without a processor
# What a fault of the program itself raises: it would end the program, blocked or not.
FAULTS = {getattr(signal, name, None) for name in ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL")}
PARTS = 4  # pieces of the work for each thread, where processors differ
Job = tuple[int, ...]  # addresses: input, outputs, workspace, team


def check_threads(threads: int, oversubscribe: bool = False, option: str = "threads=") -> None:
    """`UserError` for a number of threads that cannot be, or that this process has no processors for."""
    if type(threads) is not int or not 1 <= threads <= THREADS:
        raise UserError(f"{option}{threads}: expected 1 to {THREADS}")
    if threads > 1 and not oversubscribe and threads > (allowed := allowed_processors()):
        raise UserError(
            f"{option}{threads}: this process may use {allowed} processor{'s' * (allowed > 1)}, and threads that wait "
            "for each other need one each"
        )


class Team:
    """`threads` threads, the caller's among them, for the library behind `handle`, whose path is for messages.

    `stay`: the library has tsn_team_begin and tsn_team_work, so that threads stay there between pictures.
    """

    def __init__(self, handle: Functions, path: Path, threads: int, stay: bool):
        pointer, self._process = ctypes.c_void_p, os.getpid()
        handle.tsn_team_bytes.restype = ctypes.c_size_t
        handle.tsn_team_init.argtypes = [pointer, ctypes.c_int]
        handle.tsn_team_parts.argtypes = [pointer, ctypes.c_int]
        handle.tsn_team_wait.argtypes = [pointer, pointer, pointer]
        self._run = handle.tsn_run_team_outputs
        self._run.argtypes = [*[pointer] * 4, ctypes.c_int]
        self._lock = threading.Lock()
        self._memory = aligned(handle.tsn_team_bytes(threads))
        address = self._memory.ctypes.data
        # Who waits for long lets others have the processor: its team may be among them.  Where it is sure to be, a
        # thread that sleeps comes back at once, where one that yields waits for the slices of other programs.
        system = ctypes.CDLL(None)
        self._crowded = threads > allowed_processors()
        give_way = ctypes.cast(system.usleep if self._crowded else system.sched_yield, pointer)
        status = (
            handle.tsn_team_init(address, threads)
            or handle.tsn_team_parts(address, 1 if are_alike() else PARTS)
            or handle.tsn_team_wait(address, give_way, REST)
        )
        if status:
            raise RuntimeError(f"{path}: no team of {threads} threads: {status}, see tvm_shufflenet.h")
        # The numbers of threads that are to be woken for a picture: all, or those that tsn_team_begin leaves here.
        self._asleep = (ctypes.c_int32 * (threads - 1))(*range(1, threads))
        self._begin, looks = None, 0
        if stay:
            self._begin, work = handle.tsn_team_begin, handle.tsn_team_work
            self._begin.argtypes, work.argtypes = [pointer] * 5, [pointer, ctypes.c_int, ctypes.c_int]
            looks = 0 if self._crowded else _looks(work, address)
        self._queues: list[queue.SimpleQueue[Job | None]] = [queue.SimpleQueue() for _ in range(threads - 1)]
        self._end = weakref.finalize(self, _end, self._queues)
        for number, jobs in enumerate(self._queues, 1):
            each = (lambda job, n=number: work(address, n, looks)) if stay else lambda job, n=number: self._run(*job, n)
            thread = threading.Thread(target=_work, args=(jobs, each, self._memory, self._crowded), daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                self._end()
                raise UserError(f"{path}: thread {number + 1} of {threads} cannot be started: {error}") from None

    @property
    def is_here(self) -> bool:
        """Whether its threads are of this process, and not of one that this was forked from."""
        return self._process == os.getpid()

    def run(self, image: int, outputs: int, workspace: int) -> int:
        """The status of a run; of arrays the addresses.  Callers come one after the other."""
        job = image, outputs, workspace, self._memory.ctypes.data
        with self._lock:
            count = self._begin(*job, self._asleep) if self._begin else len(self._queues)
            if count < 0:
                return count
            for number in self._asleep[:count]:
                self._queues[number - 1].put(job)
            with undisturbed() if self._crowded else contextlib.nullcontext():
                return self._run(*job, 0)


def _work(jobs: queue.SimpleQueue, each: Callable[[Job], int], memory: np.ndarray, crowded: bool) -> None:
    """It keeps the memory of the team, which it may still read when the run has ended for the caller."""
    with undisturbed() if crowded else contextlib.nullcontext():
        while job := jobs.get():
            each(job)


def _looks(work: Callable[[int, int, int], int], team: int) -> int:
    """How often a thread looks for a picture in `STAY` seconds, of a team whose threads have not begun."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        work(team, 1, PROBE)
        times.append(time.perf_counter() - start)
    return min(int(PROBE * STAY / min(times)), 1 << 30)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Signals wait until the block ends: one that is handled would end `usleep` with an error, and the team with it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - FAULTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(queues: list[queue.SimpleQueue]) -> None:
    for jobs in queues:
        jobs.put(None)


def aligned(size: int) -> np.ndarray:
    """Bytes of memory that begin on a cache line."""
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size]
