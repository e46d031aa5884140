"""The PyTorch twin with the network's parameters, for the rivals that start from PyTorch."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tvm_shufflenet.bridge import torch_module
from tvm_shufflenet.bridge.twin import GlobalAvgPool


class PaddedPool(nn.Module):
    """Average pooling that counts its padding, as a padding and a pooling without one."""

    def __init__(self, pool: nn.AvgPool2d):
        super().__init__()
        self.kernel, self.stride, self.padding = pool.kernel_size, pool.stride, pool.padding

    def forward(self, x):
        rows, columns = self.padding
        x = functional.pad(x, [columns, columns, rows, rows])
        return functional.avg_pool2d(x, self.kernel, self.stride, count_include_pad=False)


class KeptMean(nn.Module):
    """The global average in two steps: a mean that keeps its axes, and a reshape."""

    def forward(self, x):
        return x.mean((2, 3), keepdim=True).flatten(1)


def twin(net, parameters: dict[str, np.ndarray]) -> nn.Module:
    """The twin of `net`, ready to infer.

    Its poolings are put in terms of operators that XNNPACK has: ExecuTorch leaves any other to
    portable loops, which are meant to be correct and not fast.
    """
    module = torch_module(net).eval()
    tensors = {name: torch.from_numpy(array) for name, array in parameters.items()}
    module.load_state_dict(tensors, strict=False)  # lacks each batch norm's count of batches
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.AvgPool2d):
                setattr(parent, name, PaddedPool(child))
            elif isinstance(child, GlobalAvgPool):
                setattr(parent, name, KeptMean())
    return module
