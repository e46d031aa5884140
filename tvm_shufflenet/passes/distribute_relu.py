"""relu(concat(a, b))  =>  concat(relu(a), relu(b)).

Each part's kernel can then apply it in its epilogue and write its part of the result in place.
"""

from __future__ import annotations

import tvm
from tvm import relax
from tvm.relax.dpl import is_op, is_tuple, rewrite_call, wildcard


@relax.transform.function_pass(opt_level=0, name="DistributeReLU")
class DistributeReLU:
    def __init__(self):
        self.parts = [wildcard(), wildcard()]
        self.concat = is_op("relax.concat")(is_tuple(self.parts))
        self.pattern = is_op("relax.nn.relu")(self.concat)

    def transform_function(self, function: relax.Function, _mod: tvm.IRModule, _context):
        def distribute(_, found):
            parts = [relax.op.nn.relu(found[part]) for part in self.parts]
            return relax.op.concat(parts, axis=found[self.concat].attrs["axis"])

        return rewrite_call(self.pattern, distribute, function)
