"""What others published, as data: the tables of both ShuffleNet papers, v2's experiments, and ncnn's times."""

from __future__ import annotations

from . import v1, v2
from .boards import BOARDS, NETWORKS, OWN_KERNELS, Board
from .figures import Row, Table
from .v1 import MILLISECONDS, PROCESSOR, milliseconds, speedup

__all__ = [
    "BOARDS", "ERRORS", "MILLISECONDS", "MULTIPLY_ADDS", "NETWORKS", "OWN_KERNELS", "PROCESSOR", "TABLES", "Board",
    "Row", "Table", "milliseconds", "speedup",
]  # fmt: skip

TABLES = {table.name: table for table in (*v1.TABLES, *v2.TABLES)}
# By network, in millions at 224x224 and in % on ImageNet, top-1; where both versions of v1 print one, C's.
MULTIPLY_ADDS: dict[str, float] = v1.MACS_P | v1.MACS_C | v2.MACS | v2.MOBILENET_V2
ERRORS: dict[str, float] = v1.ERROR_P | v1.ERROR_C | v2.ERROR
