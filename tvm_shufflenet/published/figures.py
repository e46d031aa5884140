"""Published tables as data: rows of networks, columns of figures, and why a figure is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NOT_PUBLISHED = "not published"
NOT_TRANSCRIBED = "not transcribed"

# What the columns of the tables hold.  P is the preprint, C the conference's version.
COLUMNS = {
    "macs": "multiply-adds, millions",
    "macs_P": "multiply-adds, millions, in P",
    "macs_C": "multiply-adds, millions, in C",
    "error": "published top-1 error on ImageNet, %",
    "error_P": "published top-1 error on ImageNet, %, in P",
    "error_C": "published top-1 error on ImageNet, %, in C",
    "ms": "milliseconds of an inference",
    "images": "inferences per second",
    "map": "published mAP on COCO, %",
    "map_P": "published mAP on COCO, %, in P",
    "map_C": "published mAP on COCO, %, in C",
    "mmap": "published mmAP on COCO, %",
}
Size = tuple[int, int]  # height and width of the input in pixels


@dataclass(frozen=True)
class Row:
    """A network of a table with its printed figures.

    `network` is a name of `architectures`, also of a network that is left out there.  `figures` are by column of
    `COLUMNS`: None is not published, one that lacks was not transcribed.
    """

    network: str
    figures: Mapping[str, float | None] = field(default_factory=dict)
    size: Size = (224, 224)

    def figure(self, column: str) -> float | str:
        """The printed figure, or why there is none."""
        figure = self.figures.get(column, NOT_TRANSCRIBED)
        return NOT_PUBLISHED if figure is None else figure


@dataclass(frozen=True)
class Table:
    """A table of a paper.

    `columns` are the published ones.  `bases` are networks to which the others' speed is compared; without any it is
    the first row's.  `where` says on what the published speed was measured.
    """

    name: str
    title: str
    paper: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    bases: tuple[str, ...] = ()
    where: str = ""
    sizes: tuple[Size, ...] = ()  # of a table that prints several, of which the first is shown by default
    regions: int = 0  # of a table of detectors of two stages: how many of a picture they look at

    @property
    def speed(self) -> str | None:
        """The column of speed, "ms" or "images", if there is one."""
        return next((column for column in self.columns if column in ("ms", "images")), None)

    def base_row(self, row: Row) -> Row:
        """The row to whose speed that of `row` is compared: of its size, if there is one."""
        names = self.bases or (self.rows[0].network,)
        bases = [base for base in self.rows if base.network in names]
        return next((base for base in bases if base.size == row.size), bases[0])

    def published_speedup(self, row: Row) -> float | str:
        """How many times as fast as the base this row is in the paper, or why that is not known."""
        if self.speed is None:
            return NOT_PUBLISHED
        mine, others = row.figure(self.speed), self.base_row(row).figure(self.speed)
        if isinstance(mine, str) or isinstance(others, str):
            return mine if isinstance(mine, str) else str(others)
        return others / mine if self.speed == "ms" else mine / others
