"""Zig's tools, which compile and link for every target."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

from .errors import UserError


def zig() -> str:
    """The program itself: through Python it would start twice as slowly, and tell a traceback on Ctrl-C."""
    found = importlib.util.find_spec("ziglang")
    if found is None or found.origin is None:
        raise UserError("nothing to compile and link with: pip install ziglang")
    return str(Path(found.origin).with_name("zig"))


def call(what: str, argv: list[str]) -> str:
    """Runs a tool and gives what it said on stderr.

    `UserError` with `what` was done, and the line that tells why, where it fails.
    """
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise UserError(f"{what}: cannot run {argv[0]}: {error.strerror}") from None
    if done.returncode:
        lines = (done.stderr + done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
        telling = [line for line in lines if "error" in line]
        raise UserError(f"{what} failed: {(telling or lines[-1:])[0].strip()}")
    return done.stderr
