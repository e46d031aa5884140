"""Keeps a board's RPC server alive when code that is tried there crashes: see crashes.c."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ..zig import call, zig
from .processor import FLAGS, TARGETS
from .rpc import Session, upload


def survive_crashes(session: Session, arch: str) -> None:
    """A crash from now on closes this session and nothing else.  `UserError` if the board does not load code."""
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder:
        library = Path(folder, "crashes.so")
        argv = [zig(), "cc", "-target", TARGETS[arch], *FLAGS]
        source = Path(__file__).with_name("crashes.c")
        call(f"compiling {source.name}", [*argv, str(source), "-o", str(library)])
        upload(session, library)["survive"]()
