"""Keeps a board's RPC server alive when code that is tried there crashes: see crashes.c."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from .processor import FLAGS, TARGETS
from .rpc import Session, upload


def survive_crashes(session: Session, arch: str) -> None:
    """A crash from now on closes this session and nothing else.  `UserError` if the board does not load code."""
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder:
        library = Path(folder, "crashes.so")
        argv = [sys.executable, "-m", "ziglang", "cc", "-target", TARGETS[arch], *FLAGS]
        source = Path(__file__).with_name("crashes.c")
        subprocess.run([*argv, str(source), "-o", str(library)], check=True)
        upload(session, library)["survive"]()
