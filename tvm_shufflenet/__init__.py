"""ShuffleNet on Arm: networks described once, compiled to one library each with Apache TVM.

network = tvm_shufflenet.load("model.so")
logits = network(image)
"""

import sys

__version__ = "0.2.0"  # here and nowhere else: pyproject.toml reads it
__all__ = ["__version__", "load"]


def __getattr__(name: str):
    if name == "load":  # not imported before, since most commands do without numpy
        from .library.loading import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if sys.argv[:1] == ["-m"]:  # `python -m tvm_shufflenet.COMMAND`: what it imports takes a while
    from .signals import leave_at_once

    leave_at_once()
