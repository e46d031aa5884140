"""Processes that call functions for this one: whatever crashes or hangs takes only them along.

Processes stay alive between calls, since TVM takes seconds to import, and end with this process, however this one ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing.connection
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from ..errors import UserError

START_SECONDS = 120.0  # TVM takes some to import, more on a busy machine


class Crashed(Exception):
    """The process ended in the middle of a call; says how."""


class TimedOut(Exception):
    """The call took too long; its process was killed."""


class Worker:
    """One process; it is started with the first call, and again with the next one after it ended."""

    def __init__(self):
        self._process = self._pipe = None

    def call(self, function: Callable, *arguments: object, timeout: float) -> Any:
        """`function(*arguments)`, there; what it raises is raised here, or `Crashed`, or `TimedOut`.

        Function, arguments and result must be picklable.  Starting the process does not count.
        """
        try:
            if self._process is None:
                self._start()
            self._pipe.send((function, arguments))
            if not self._pipe.poll(timeout):
                self.close()
                raise TimedOut(f"no end within {timeout:g} s")
            good, result = self._pipe.recv()
        except (EOFError, OSError):
            if (process := self._process) is None:
                raise Crashed("it was closed") from None
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            code = process.returncode
            self.close()
            how = signal.Signals(-code).name if code and code < 0 else f"exit status {code}"
            raise Crashed(f"its process ended: {how}") from None
        except BaseException:
            self.close()
            raise
        if not good:
            raise result
        return result

    def close(self) -> None:
        """Kills the process, and what it has started: a compiler would write into a folder that is removed."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):  # it is not that far, or has ended
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.wait()
            self._pipe.close()

    def _start(self) -> None:
        if not hasattr(os, "killpg"):
            raise UserError("tuning needs Linux or macOS: this system cannot keep Ctrl-C from processes of a command")
        self._pipe, theirs = multiprocessing.Pipe()
        # Not multiprocessing's own processes: one whose parent ends while it starts prints a traceback.  All that this
        # one needs stands on its command line.  In its own session, Ctrl-C reaches the parent alone.
        call = f"serve({theirs.fileno()}, {os.getpid()})"
        code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; {call}"
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                stdin=subprocess.DEVNULL,
            )
        if not self._pipe.poll(START_SECONDS):
            self.close()
            raise TimedOut(f"its process did not start within {START_SECONDS:g} s")
        self._pipe.recv()  # it is ready


def serve(descriptor: int, parent: int) -> None:
    """The process: calls what comes through the pipe with that file descriptor, until `parent`, a process id, ends."""
    pipe = multiprocessing.connection.Connection(descriptor)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: even a hanging call ends with the parent
    if os.getppid() != parent:
        return
    with contextlib.suppress(EOFError, OSError):
        pipe.send("ready")
        while True:
            function, arguments = pipe.recv()
            try:
                answer = (True, function(*arguments))
            except Exception as error:
                answer = (False, _portable(error))
            pipe.send(answer)


def _portable(error: Exception) -> Exception:
    """What can be sent: TVM's own exceptions hold on to what can't."""
    if type(error).__module__.startswith("tvm_shufflenet"):
        return error
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return UserError(f"{type(error).__name__}: {lines[-1].strip()}")
