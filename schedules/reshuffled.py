"""Pointwise convolution, then a channel shuffle by another number of groups than the convolution's own.

    c = a * outputs + o, channel o of group a, is stored at (c % rest) * shuffle_groups + c // rest

where rest = channels / shuffle_groups.  Half of the implementations in use reshape the channels to (n, g) instead
of (g, n): the inverse of the paper's shuffle, by n groups in this project's terms.  And some shuffle behind a
convolution without groups.

Strategy: `pointwise`'s.  The planes of its output are put where they belong as a layout of that buffer, which
again is only an address; that it is not affine costs an integer division by a constant for each row of a tile.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import s_tir, tirx

from .pointwise import Pointwise


@dataclass(frozen=True)
class Reshuffled(Pointwise):
    shuffle_groups: int = 1

    name = "reshuffled"

    def order(self, channels: int) -> list[int]:
        rest = channels // self.shuffle_groups
        return [(c % rest) * self.shuffle_groups + c // rest for c in range(channels)]

    def definition(self) -> tirx.PrimFunc:
        rest = self.groups * self.outputs // self.shuffle_groups
        sch = s_tir.Schedule(super().definition())
        sch.transform_layout(
            sch.get_sblock("out"), "out", lambda c, pixel: ((c % rest) * self.shuffle_groups + c // rest, pixel)
        )
        return sch.mod["main"]
