"""Threads that run one library together: a pool, whose first thread is the caller's.

The library starts no threads: the others are Python's, which wait in a queue between pictures and spin, outside of
Python's lock, within one.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import signal
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import UserError
from . import THREADS
from .interface import ALIGNMENT
from .processors import allowed_processors, are_alike
from .symbols import Functions

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
    """`threads` threads, the caller's among them, for the library behind `handle`, whose path is for messages."""

    def __init__(self, handle: Functions, path: Path, threads: int):
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
        self._queues: list[queue.SimpleQueue[Job | None]] = [queue.SimpleQueue() for _ in range(threads - 1)]
        self._end = weakref.finalize(self, _end, self._queues)
        for number, jobs in enumerate(self._queues, 1):
            thread = threading.Thread(
                target=_work, args=(jobs, self._run, number, self._memory, self._crowded), daemon=True
            )
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
            for jobs in self._queues:
                jobs.put(job)
            with undisturbed() if self._crowded else contextlib.nullcontext():
                return self._run(*job, 0)


def _work(jobs: queue.SimpleQueue, run, number: int, memory: np.ndarray, crowded: bool) -> None:
    """It keeps the memory of the team, which it may still read when the run has ended for the caller."""
    with undisturbed() if crowded else contextlib.nullcontext():
        while job := jobs.get():
            run(*job, number)


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
