"""The kernels: each file computes one thing and says how it is tiled.  See `common` for the contract."""

from .activation import IDENTITY, RELU, Activation
from .common import Knobs, Machine, Plane, round_up, tuning_space
from .conv2d import Conv2d
from .copy import Copy
from .dense import Dense
from .depthwise import Depthwise
from .lrn import LRN
from .pointwise import Pointwise
from .pooling import AdaptiveAvgPool, GlobalAvgPool
from .reshuffled import Reshuffled
from .valid_pooling import ValidAvgPool
from .window_pooling import WindowPool
from .winograd import Winograd
from .workload import INPUT, OUTPUT, RESIDUAL, SCRATCH, WEIGHT, Operand, Workload, describe

__all__ = [
    "IDENTITY", "INPUT", "LRN", "OUTPUT", "RELU", "RESIDUAL", "SCRATCH", "WEIGHT", "Activation", "AdaptiveAvgPool",
    "Conv2d", "Copy", "Dense", "Depthwise", "GlobalAvgPool", "Knobs", "Machine", "Operand", "Plane", "Pointwise",
    "Reshuffled", "ValidAvgPool", "WindowPool", "Winograd", "Workload", "describe", "round_up", "tuning_space",
]  # fmt: skip
