"""Every operator that does work, with the bias, residual and ReLU behind it  =>  one composite.

Priority is from the longest pattern to the shortest.  What is left in `main` is only what needs no
code: `concat` (its parts are written in place) and the `reshape` that flattens a dense tensor.
"""

from __future__ import annotations

import tvm
from tvm.relax.dpl import is_op, wildcard
from tvm.relax.transform import FuseOpsByPattern

from .patterns import convolution, dense, relu


def fuse_epilogues() -> tvm.transform.Pass:
    residual = is_op("relax.add")(wildcard(), convolution())
    average = is_op("relax.nn.avg_pool2d")(wildcard())
    return FuseOpsByPattern(
        [
            ("tsn.conv", relu(residual)),
            ("tsn.conv", relu(convolution())),
            ("tsn.conv", convolution()),
            ("tsn.avg_pool", relu(average)),
            ("tsn.avg_pool", average),
            ("tsn.max_pool", is_op("relax.nn.max_pool2d")(wildcard())),
            ("tsn.global_avg_pool", is_op("relax.mean")(wildcard())),
            ("tsn.adaptive_avg_pool", is_op("relax.nn.adaptive_avg_pool2d")(wildcard())),
            ("tsn.dense", relu(dense())),
            ("tsn.dense", dense()),
        ]
    )
