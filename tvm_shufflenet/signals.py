"""Ctrl-C and SIGTERM: a command cleans up and ends with 130 or 143, without a word, whatever it does at that moment.

While a command works, a signal becomes an exception, so that contexts and `finally` remove temporary folders and
end worker processes.  Before and after there is nothing to clean up, and the process ends at once: an exception in
the middle of an import, or of the interpreter's end, would be told as a traceback.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SECONDS = 1.0  # two signals within that are one: a terminal and a parent may both send one


class Terminated(SystemExit):
    """SIGTERM came: the way of the process to its end, past all that catches errors."""


def leave_at_once() -> None:
    """Lets both signals end the process as it is from now on, unless they are ignored (`nohup`, `&`)."""
    for number in SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _leave)


def _leave(number: int, _frame=None) -> None:
    with contextlib.suppress(OSError):
        os.write(2, b"\n" * (number == signal.SIGINT and os.isatty(2)))  # behind the ^C
    os._exit(128 + number)


class Interruptible:
    """A context in which both signals raise; `status` is 128 + the number of the one that came, else None.

    What comes out of the block may be another exception, raised where a library caught ours.  An exception that the
    interpreter drops (in a callback or a destructor) is raised again.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self._process, self._at = os.getpid(), -SECONDS
        self._before: dict = {}

    def __enter__(self) -> Interruptible:
        if threading.current_thread() is threading.main_thread():  # others can't have handlers
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._raise)
            self._hook, sys.unraisablehook = sys.unraisablehook, self._again
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            sys.unraisablehook = self._hook

    def _raise(self, number: int, _frame) -> None:
        if os.getpid() != self._process:  # a child that was forked off: its parent does the rest
            os._exit(128 + number)
        if time.monotonic() - self._at < SECONDS:
            return
        self._at, self.status = time.monotonic(), 128 + number
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated(self.status)

    def _again(self, dropped) -> None:
        if self.status is None:
            self._hook(dropped)
        elif isinstance(dropped.exc_value, (KeyboardInterrupt, Terminated)):
            self._at = -SECONDS
            main = threading.main_thread().ident  # a thread that waits wakes up only if it gets the signal itself
            number = self.status - 128
            if hasattr(signal, "pthread_kill"):
                timer = threading.Timer(0.05, signal.pthread_kill, [main, number])
            else:  # Windows
                timer = threading.Timer(0.05, signal.raise_signal, [number])
            timer.daemon = True
            timer.start()
