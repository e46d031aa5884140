"""conv2d -> bias -> relu -> channel shuffle  =>  one composite, "tsn.shuffled_conv".

The shuffle moves channel a*n + b (group a, index b) to b*g + a.  Depthwise convolution works channel
by channel, so the next grouped convolution is the first layer that needs the shuffled order.  Its
producer's kernel stores plane (a, b) at b*g + a: an affine address, whether or not g divides n.  The
next grouped convolution then finds the channels of each of its groups contiguous, and neither a
reshape nor a transposition is left outside the composite.

A shuffle by another number of groups than the convolution's own is an address all the same, though not an
affine one.  In any other place it is not matched; `select_kernels` then refuses the module instead of
copying.
"""

from __future__ import annotations

import tvm
from tvm import relax
from tvm.relax.transform import FuseOpsByPattern

from .patterns import channel_shuffle, convolution, relu


def _swaps_two_axes(context) -> bool:
    """Is the transposition in the match that of the groups and the channels of a group?"""
    transpositions = (call for call in context.matched_bindings.values() if _is_transposition(call))
    return [list(map(int, call.attrs["axes"])) for call in transpositions] == [[0, 2, 1, 3, 4]]


def _is_transposition(value) -> bool:
    return isinstance(value, relax.Call) and getattr(value.op, "name", None) == "relax.permute_dims"


def fold_channel_shuffle() -> tvm.transform.Pass:
    shuffled = channel_shuffle(relu(convolution()))
    return FuseOpsByPattern([("tsn.shuffled_conv", shuffled, {}, _swaps_two_axes)])
