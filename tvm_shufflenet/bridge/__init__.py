"""Between PyTorch, numpy and TVM: checkpoints, parameters and modules of one description.

Importing this package imports neither torch nor tvm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..architectures import Network
from .checkpoints import class_names, load_checkpoint, load_parameters, require_torch, save_checkpoint
from .parameters import check_parameters, from_relax, random_parameters, to_relax

if TYPE_CHECKING:
    from .twin import Twin

__all__ = [
    "check_parameters", "class_names", "from_relax", "load_checkpoint", "load_parameters",
    "random_parameters", "save_checkpoint", "to_relax", "torch_module",
]  # fmt: skip


def torch_module(model: str | Network, classes: int | None = None, size: tuple[int, int] | None = None) -> Twin:
    """The PyTorch twin (`torch.nn.Module`) of a model: fp32 (B, 3, H, W) -> logits (B, classes).

    A `Network` in place of a name brings its own classes and size.  Raises `UserError` for an
    unknown name, a size that is too small, or where PyTorch is not installed.
    """
    require_torch("for the PyTorch module")
    from .twin import twin

    return twin(model, classes, size)
