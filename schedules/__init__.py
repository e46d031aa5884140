"""The kernels: each file computes one thing and says how it is tiled.  See `common` for the contract."""

from .activation import IDENTITY, RELU, Activation
from .batched_dense import BatchedDense
from .bin_planes import BinPlanes
from .common import BYTES, LONGEST, Knobs, Machine, Plane, round_up, tuning_space
from .conv2d import Conv2d
from .copy import Copy
from .dense import Dense
from .depthwise import Depthwise
from .detections import Detections
from .elementwise import Binary, Scale, Unary
from .generic_conv import GenericConv
from .generic_lrn import GenericLRN
from .generic_pad import Pad
from .generic_pool import GenericPool, GlobalPool
from .grouped_softmax import GroupedSoftmax
from .int8_add import Int8Add
from .int8_attention import Int8Attention
from .int8_batched_dense import Int8BatchedDense
from .int8_conv import Int8Conv
from .int8_generic import Int8AdaptiveAvgPool, Int8GenericConv, Int8GenericPool, Int8LRN
from .int8_head import Int8Dense, Int8GlobalAvgPool, Int8InnerDense
from .int8_matrix import Int8Matrix, Int8StrewnMatrix
from .int8_pointwise import Int8Pointwise, Int8Strewn
from .int8_resize import Int8Resize
from .int8_stem import Int8Entry, Int8Exit, Int8Stem
from .int8_table import Int8Table
from .int8_window import Int8StrewnWindow, Int8Window
from .long_window import LongConv
from .lrn import LRN
from .pointwise import Pointwise
from .pooling import AdaptiveAvgPool, GlobalAvgPool
from .region_detections import RegionDetections
from .region_pixels import RegionPixels
from .regions import Regions
from .reshuffled import Reshuffled
from .resize import Resize
from .softmax import Softmax
from .strewn import Strewn
from .strewn_depthwise import StrewnDepthwise
from .valid_pooling import ValidAvgPool
from .window_pooling import WindowPool
from .winograd import Winograd
from .workload import (
    FACTOR,
    INPUT,
    INPUTS,
    OUTPUT,
    RESIDUAL,
    SCRATCH,
    WEIGHT,
    Operand,
    Workload,
    describe,
    itemsize,
    scheduled,
)

__all__ = [
    "BYTES", "FACTOR", "IDENTITY", "INPUT", "INPUTS", "LONGEST", "LRN", "OUTPUT", "RELU", "RESIDUAL", "SCRATCH",
    "WEIGHT", "Activation", "AdaptiveAvgPool", "BatchedDense", "BinPlanes", "Binary", "Conv2d", "Copy", "Dense",
    "Depthwise", "Detections", "GenericConv", "GenericLRN", "GenericPool", "GlobalAvgPool", "GlobalPool",
    "GroupedSoftmax",
    "Int8AdaptiveAvgPool", "Int8Add", "Int8Attention", "Int8BatchedDense", "Int8Conv", "Int8Dense", "Int8Entry",
    "Int8Exit", "Int8GenericConv", "Int8GenericPool", "Int8GlobalAvgPool", "Int8InnerDense", "Int8LRN",
    "Int8Matrix", "Int8StrewnMatrix", "Int8Pointwise", "Int8Resize", "Int8Stem", "Int8Strewn", "Int8StrewnWindow",
    "Int8Table", "Int8Window", "Knobs", "LongConv", "Machine", "Operand", "Pad", "Plane", "Pointwise",
    "RegionDetections", "RegionPixels", "Regions", "Reshuffled", "Resize", "Scale", "Softmax", "Strewn",
    "StrewnDepthwise", "Unary", "ValidAvgPool", "WindowPool", "Winograd", "Workload", "describe", "itemsize",
    "round_up", "scheduled", "tuning_space",
]  # fmt: skip
