"""conv2d -> bias -> relu -> channel shuffle  =>  one composite, "tsn.shuffled_conv".

The shuffle moves channel a*n + b (group a, index b) to b*g + a.  Depthwise convolution works channel
by channel, so the next grouped convolution is the first layer that needs the shuffled order.  Its
producer's kernel stores plane (a, b) at b*g + a: an affine address, whether or not g divides n.  The
next grouped convolution then finds the channels of each of its groups contiguous, and neither a
reshape nor a transposition is left outside the composite.

A shuffle in any other place, or of another number of groups than the convolution before it, is not
matched; `select_kernels` then refuses the module instead of copying.
"""

from __future__ import annotations

import tvm
from tvm import relax
from tvm.relax.transform import FuseOpsByPattern

from .patterns import channel_shuffle, convolution, relu


def _shuffles_the_groups(context) -> bool:
    """Does the match regroup by the convolution's own groups, and swap just these two axes?"""
    calls = {name: [] for name in ("relax.nn.conv2d", "relax.reshape", "relax.permute_dims")}
    for call in context.matched_bindings.values():
        if isinstance(call, relax.Call) and getattr(call.op, "name", None) in calls:
            calls[call.op.name].append(call)
    groups = int(calls["relax.nn.conv2d"][0].attrs["groups"])
    (transposition,) = calls["relax.permute_dims"]
    grouped = [int(n) for n in transposition.args[0].ty.shape]
    return grouped[1] == groups and [int(a) for a in transposition.attrs["axes"]] == [0, 2, 1, 3, 4]


def fold_channel_shuffle() -> tvm.transform.Pass:
    shuffled = channel_shuffle(relu(convolution()))
    return FuseOpsByPattern([("tsn.shuffled_conv", shuffled, {}, _shuffles_the_groups)])
