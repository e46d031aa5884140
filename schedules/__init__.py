"""The kernels: each file computes one thing and says how it is tiled.  See `common` for the contract."""

from .activation import IDENTITY, RELU, Activation
from .common import Knobs, Machine, Plane, round_up, tuning_space
from .conv2d import Conv2d
from .copy import Copy
from .dense import Dense
from .depthwise import Depthwise
from .elementwise import Binary, Scale, Unary
from .generic_conv import GenericConv
from .generic_lrn import GenericLRN
from .generic_pad import Pad
from .generic_pool import GenericPool, GlobalPool
from .lrn import LRN
from .pointwise import Pointwise
from .pooling import AdaptiveAvgPool, GlobalAvgPool
from .reshuffled import Reshuffled
from .resize import Resize
from .softmax import Softmax
from .strewn import Strewn
from .strewn_depthwise import StrewnDepthwise
from .valid_pooling import ValidAvgPool
from .window_pooling import WindowPool
from .winograd import Winograd
from .workload import FACTOR, INPUT, INPUTS, OUTPUT, RESIDUAL, SCRATCH, WEIGHT, Operand, Workload, describe, scheduled

__all__ = [
    "FACTOR", "IDENTITY", "INPUT", "INPUTS", "LRN", "OUTPUT", "RELU", "RESIDUAL", "SCRATCH", "WEIGHT", "Activation",
    "AdaptiveAvgPool", "Binary", "Conv2d", "Copy", "Dense", "Depthwise", "GenericConv", "GenericLRN", "GenericPool",
    "GlobalAvgPool", "GlobalPool", "Knobs", "Machine", "Operand", "Pad", "Plane", "Pointwise", "Reshuffled",
    "Resize", "Scale", "Softmax", "Strewn", "StrewnDepthwise", "Unary", "ValidAvgPool", "WindowPool",
    "Winograd", "Workload", "describe", "round_up", "scheduled", "tuning_space",
]  # fmt: skip
