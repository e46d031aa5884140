"""conv2d -> batch_norm  =>  conv2d with scaled weights -> add(bias).

    batch_norm(conv(x, W)) = (conv(x, W) - mean) * s + beta,  s = gamma / sqrt(variance + eps)
                           = conv(x, W * s) + (beta - mean * s)

A bias of the convolution's own gets the shape of its channels here, too: (1, C, 1, 1), as one constant for each
convolution.  As `reshape(constant)`, equal ones would be one value that several kernels read: `rewrite_call`
merges equal expressions, such as the biases of a network that is yet to be trained.

The weights must be constants.  TVM's FoldBatchnormToConv2D leaves this arithmetic in the graph for
FoldConstant, which compiles a kernel for each operator; in numpy it takes no time.
"""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax
from tvm.relax.dpl import TupleGetItemPattern, is_const, is_op, rewrite_call, wildcard


@relax.transform.function_pass(opt_level=0, name="FoldBatchNorm")
class FoldBatchNorm:
    def __init__(self):
        self.data, self.weight = wildcard(), is_const()
        self.conv = is_op("relax.nn.conv2d")(self.data, self.weight)
        self.statistics = [is_const() for _ in range(4)]
        self.norm = is_op("relax.nn.batch_norm")(self.conv, *self.statistics)
        self.pattern = TupleGetItemPattern(self.norm, 0)
        self.bias, self.any_conv = is_const(), is_op("relax.nn.conv2d")(wildcard(), is_const())
        self.biased = is_op("relax.add")(self.any_conv, is_op("relax.reshape")(self.bias, wildcard()))

    def transform_function(self, function: relax.Function, _mod: tvm.IRModule, _context):
        def fold(_, found):
            # In double precision: the result is rounded once.
            gamma, beta, mean, variance = (found[p].value.numpy().astype("float64") for p in self.statistics)
            scale = gamma / np.sqrt(variance + found[self.norm].attrs["epsilon"])
            weight = found[self.weight].value.numpy() * scale[:, None, None, None]
            conv = found[self.conv]
            conv = relax.Call(conv.op, [found[self.data], relax.const(weight.astype("float32"))], conv.attrs)
            return relax.op.add(conv, _for_channels(beta - mean * scale))

        def shape(_, found):
            return relax.op.add(found[self.any_conv], _for_channels(found[self.bias].value.numpy()))

        return rewrite_call(self.biased, shape, rewrite_call(self.pattern, fold, function))


def _for_channels(bias: np.ndarray) -> relax.Expr:
    return relax.const(bias.astype("float32").reshape(1, -1, 1, 1))
