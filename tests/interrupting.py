"""Ctrl-C at a known moment."""

from __future__ import annotations

import contextlib
import signal

from tvm_shufflenet.building.work import unheard
from tvm_shufflenet.measure.beside_peak import Silent


class Interrupting(Silent):
    """Presses Ctrl-C once `count` rounds are done, at once for 0, or while network number `build` is built."""

    def __init__(self, count: int = -1, build: int = 0):
        self.left, self.builds = count, build

    def step(self, text, number=1, of=1):
        self.builds -= text.startswith("building")
        if self.builds == 0 and text.startswith("building"):
            signal.raise_signal(signal.SIGINT)
        return contextlib.nullcontext(unheard)

    @contextlib.contextmanager
    def rounds(self, total):
        if not self.left:
            signal.raise_signal(signal.SIGINT)

        def advance():
            self.left -= 1
            if not self.left:
                signal.raise_signal(signal.SIGINT)

        yield advance
