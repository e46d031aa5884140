"""Where libraries are run and timed: this machine or, over TVM RPC, a board.  The code is the same."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tvm

from ..boards.processor import describe_processor
from ..boards.rpc import Session, connect, upload
from ..errors import UserError
from ..library.interface import team_bytes
from ..library.loading import check_processor
from ..library.symbols import prefix_in, tvm_name
from ..library.teams import check_threads
from ..targets import TargetSpec
from .rounds import Timer


class Place:
    """This machine or, with a `session`, the board at its other end, which runs code for `arch`.

    Networks run on `threads` of TVM's threads there.
    """

    def __init__(self, arch: str, session: Session | None = None, address: str = "", threads: int = 1):
        self.arch, self.session, self.threads = arch, session, threads
        self.name = f"the board at {address}" if session else "this machine"
        self.device = session.cpu() if session else tvm.cpu()
        with self.explain("telling its processor"):
            self.processor = describe_processor(session, arch) if session else describe_processor()
        if threads > 1:
            self._check_threads()

    def _check_threads(self) -> None:
        """`UserError` unless TVM has as many threads; here it is told to, unless it has some already."""
        name = "runtime.NumThreads"
        if self.session is None:
            check_threads(self.threads, option="--threads ")
            os.environ["TVM_NUM_THREADS"], os.environ["TVM_BIND_THREADS"] = str(self.threads), "0"
        with self.explain("counting its threads"):
            found = (self.session.get_function(name) if self.session else tvm.get_global_func(name))()
        if found < self.threads:
            where = "its RPC server" if self.session else "this program"
            raise UserError(
                f"--threads {self.threads}: TVM has {found} on {self.name}: start {where} with "
                f"TVM_NUM_THREADS={self.threads} in its environment, on as many processors"
                + (" (the server of `bench` has one thread)" if self.session else "")
            )

    def load_network(self, library: Path, manifest: dict, *arrays: np.ndarray | tuple[int, ...]) -> Function:
        """A network on `threads` threads, with the arguments of "main".

        `UserError` for a library without teams, and here for one that this processor cannot run.
        """
        if self.session is None:
            check_processor(library, manifest)
        if self.threads == 1:
            return self.load(library, tvm_name("main", prefix_in(manifest)), *arrays)
        if "threads" not in manifest:
            raise UserError(f"{library} is not made for --threads {self.threads}: build it anew, without --one-thread")
        team = (team_bytes(manifest, self.threads) // 4,), self.threads
        return self.load(library, tvm_name("team", prefix_in(manifest)), *arrays, *team)

    def load(self, library: Path, name: str, *arguments: np.ndarray | tuple[int, ...] | int) -> Function:
        """The function `name` of a library, with arguments: float32 arrays, or shapes of new ones, or numbers."""
        with self.explain(f"loading {library.name}"):
            module = self.module(library)
            tensors = [
                argument
                if isinstance(argument, int)
                else tvm.runtime.empty(argument, "float32", self.device)
                if isinstance(argument, tuple)
                else tvm.runtime.tensor(argument, self.device)
                for argument in arguments
            ]
        return Function(self, module, name, tensors)

    def module(self, library: Path) -> tvm.runtime.Module:
        """The library, loaded there."""
        return upload(self.session, library) if self.session else _load_here(library)

    @contextlib.contextmanager
    def explain(self, step: str) -> Iterator[None]:
        """Turns what goes wrong on a board into a `UserError`; here it would be a bug."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            if self.session is None:
                raise
            reason = self.session.explain(error)
            raise UserError(f"{self.name} failed while {step}: {reason}; restart its RPC server") from None


@contextlib.contextmanager
def open_place(
    target: TargetSpec, rpc: str | None, key: str | None, timeout: float, threads: int = 1
) -> Iterator[Place]:  # fmt: skip
    """This machine or, until the block ends, the board at `rpc`, whose key is `key` or the target's name."""
    if not rpc:
        yield Place(target.arch, threads=threads)
        return
    session = connect(rpc, key or target.name, timeout)
    try:
        yield Place(target.arch, session, rpc, threads)
    finally:
        with contextlib.suppress(Exception):  # a board that failed can't say goodbye
            session.close()


def _load_here(library: Path):
    """Loads a library by a path never seen before: for a known path the loader would give the old library again."""
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder:
        alias = Path(folder, library.name)
        alias.symlink_to(library.resolve())
        return tvm.runtime.load_module(str(alias))


class Function:
    """A function and its arguments, tensors in the memory of the place."""

    def __init__(self, place: Place, module: tvm.runtime.Module, name: str, tensors: list):
        self._place, self._module, self._name, self._tensors = place, module, name, tensors

    def run(self, result: int, first: np.ndarray | None = None) -> np.ndarray:
        """Calls the function once and gives argument number `result`; see `run_all`."""
        return self.run_all([result], first)[0]

    def run_all(self, results: Iterable[int], first: np.ndarray | None = None) -> list[np.ndarray]:
        """Calls the function once, with another first argument if one is given.

        Gives the arguments of these numbers, as the call left those arrays.
        """
        with self._place.explain(f"running {self._name}"):
            if first is not None:
                self._tensors[0] = tvm.runtime.tensor(first, self._place.device)
            self._module[self._name](*self._tensors)
            return [self._tensors[number].numpy() for number in results]

    def timer(self, number: int) -> Timer:
        """Times turns of `number` calls; a call before each turn, which finds no data in caches, is not counted."""
        with self._place.explain(f"timing {self._name}"):
            evaluate = self._module.time_evaluator(self._name, self._place.device, number=number)

        def turn() -> float:
            with self._place.explain(f"timing {self._name}"):
                seconds = evaluate(*self._tensors).results[0]
            if not 0 < seconds < math.inf:
                raise UserError(
                    f"{self._place.name} says that a call of {self._name} takes {seconds:g} s: its clock is wrong"
                )
            return seconds

        return turn
