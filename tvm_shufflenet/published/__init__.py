"""What others published, as data: the tables of both ShuffleNet papers, v2's experiments, and ncnn's times."""

from __future__ import annotations

from . import v1, v2
from .boards import BOARDS, NETWORKS, Board
from .figures import Row, Table
from .v1 import MILLISECONDS, PROCESSOR, milliseconds, speedup

__all__ = [
    "BOARDS", "MILLISECONDS", "NETWORKS", "PROCESSOR", "TABLES", "Board", "Row", "Table", "milliseconds", "speedup",
]  # fmt: skip

TABLES = {table.name: table for table in (*v1.TABLES, *v2.TABLES)}
