"""Where libraries are run and timed: this machine or, over TVM RPC, a board.  The code is the same."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tvm

from ..boards.processor import describe_processor
from ..boards.rpc import Session, connect, upload
from ..errors import UserError
from ..targets import TargetSpec
from .rounds import Timer


class Place:
    """This machine or, with a `session`, the board at its other end, which runs code for `arch`."""

    def __init__(self, arch: str, session: Session | None = None, address: str = ""):
        self.arch, self.session = arch, session
        self.name = f"the board at {address}" if session else "this machine"
        self.device = session.cpu() if session else tvm.cpu()
        with self.explain("telling its processor"):
            self.processor = describe_processor(session, arch) if session else describe_processor()

    def load(self, library: Path, name: str, *arguments: np.ndarray | tuple[int, ...]) -> Function:
        """The function `name` of a library, with arguments: float32 arrays, or shapes of new ones."""
        with self.explain(f"loading {library.name}"):
            module = self.module(library)
            tensors = [
                tvm.runtime.empty(argument, "float32", self.device)
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
def open_place(target: TargetSpec, rpc: str | None, key: str | None, timeout: float) -> Iterator[Place]:
    """This machine or, until the block ends, the board at `rpc`, whose key is `key` or the target's name."""
    if not rpc:
        yield Place(target.arch)
        return
    session = connect(rpc, key or target.name, timeout)
    try:
        yield Place(target.arch, session, rpc)
    finally:
        with contextlib.suppress(Exception):  # a board that failed can't say goodbye
            session.close()


def _load_here(library: Path):
    """By a path never seen before: the loader takes a known one for the same library, even a new file."""
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder:
        alias = Path(folder, library.name)
        alias.symlink_to(library.resolve())
        return tvm.runtime.load_module(str(alias))


class Function:
    """A function and its arguments, tensors in the memory of the place."""

    def __init__(self, place: Place, module: tvm.runtime.Module, name: str, tensors: list):
        self._place, self._module, self._name, self._tensors = place, module, name, tensors

    def run(self, result: int) -> np.ndarray:
        """Calls it once; what argument number `result` is then."""
        with self._place.explain(f"running {self._name}"):
            self._module[self._name](*self._tensors)
            return self._tensors[result].numpy()

    def timer(self, number: int) -> Timer:
        """A turn of `number` calls, behind one that is not counted and finds its data in no cache."""
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
