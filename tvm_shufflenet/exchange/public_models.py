"""Models of public code that are networks of the list: names of their modules, and what no tensor tells.

One line of names is a whole model: its modules with parameters in the order in which our network has them, written as
a shell expands braces.  The order is the only mapping there is; shapes are checked (`public_reading`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..architectures import Network, mobilenet_v3, nanodet, nanodet_plus
from ..architectures.mobilenet_v1 import with_channels
from ..architectures.resnet import senet154
from ..architectures.shufflenet_v2 import UNITS, Plan, shufflenet_v2
from ..library.preprocess import FIT

Shapes = Mapping[str, tuple[int, ...]]  # of our parameters
Size = tuple[int, int]

# Pictures, where they are not prepared as torchvision's usual weights want them.
HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
RAW_BGR = {"channels": "BGR", "scale": 1.0, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
WIDER = {"resize_shorter_side_ratio": 232 / 224}
OF_NANODET = {"channels": "BGR", "scale": 1.0, "mean": (103.53, 116.28, 123.675), "std": (57.375, 57.12, 58.395)}


@dataclass(frozen=True)
class Model:
    """`modules` of the code called `name`, which are the layers of `like`, a network of the list.

    `networks`: those of the list that it may be; `plan` makes it from shapes where it is none of these.  `fixed`: what
    the code settles and no tensor tells, in words.  `dropped`: a pattern of the tensors that only training needs.
    `unbiased`: fully connected layers have no bias.  `pictures`: their preprocessing, as `library.preprocess.checked`
    has it; `pictures_of` that of single networks; `remark` on it.  `shared`: another model with the same names and
    shapes, so that the network must be named.  `activation`, `padding` and `eps` are as in `Reading`, where they are
    not those of `like`.
    """

    name: str
    family: str
    modules: str
    like: str
    fixed: str
    networks: tuple[str, ...] = ()
    plan: Callable[[Shapes, Size, int], Network] | None = None
    dropped: str = ""
    unbiased: bool = False
    pictures: dict = field(default_factory=dict)
    pictures_of: dict[str, dict] = field(default_factory=dict)
    remark: str = ""
    shared: str = ""
    activation: str | None = None
    padding: str | None = None
    eps: float | None = None

    def key(self, module: str) -> tuple | None:
        """Where a module stands in the order of execution; None if it is none of this model."""
        place = _places(self.modules).get(module)
        return None if place is None else (place,)

    def drops(self, tensor: str) -> bool:
        """Whether only training needs the tensor of that name."""
        return bool(self.dropped and re.fullmatch(self.dropped, tensor))


def expanded(text: str) -> list[str]:
    """The words of a text whose braces are expanded as a shell does it: a{1..2}.{b,c{d,e}} are six words."""
    return [word for part in text.split() for word in _expanded(part)]


def _expanded(word: str) -> list[str]:
    start = word.find("{")
    if start < 0:
        return [word]
    depth, cuts = 0, [start]
    for place in range(start, len(word)):
        depth += {"{": 1, "}": -1}.get(word[place], 0)
        if depth == 1 and word[place] == "," or depth == 0:
            cuts.append(place)
        if depth == 0:
            break
    parts = [word[a + 1 : b] for a, b in zip(cuts, cuts[1:])]
    if numbers := re.fullmatch(r"(\d+)\.\.(\d+)", parts[0]):
        parts = [str(number) for number in range(int(numbers[1]), int(numbers[2]) + 1)]
    tails = _expanded(word[cuts[-1] + 1 :])
    return [word[:start] + middle + tail for part in parts for middle in _expanded(part) for tail in tails]


@functools.cache
def _places(modules: str) -> dict[str, int]:
    return {module: place for place, module in enumerate(expanded(modules))}


def _v2(halves: bool, clipped: bool = False) -> Callable[[Shapes, Size, int], Network]:
    """ShuffleNet v2 of any width; `clipped`: its first pooling has no padding."""

    def plan(shapes: Shapes, size: Size, classes: int) -> Network:
        stages = tuple((2 * shapes[f"stage{s}.0.conv1.weight"][0], units, 2) for s, units in enumerate(UNITS, 2))
        stem, last = (shapes[f"{layer}.conv.weight"][0] for layer in ("stem", "conv5"))
        found = Plan(stages, last, (stem,), halves=halves, clipped=clipped)
        return shufflenet_v2(found, "shufflenet-v2", size, classes)

    return plan


def _mobilenet_v1(shapes: Shapes, size: Size, classes: int) -> Network:
    channels = [shapes[f"{layer}.weight"][0] for layer in ("stem.conv", *(f"block{i}.conv2" for i in range(13)))]
    return with_channels(channels, "mobilenet-v1", size, classes)


def _senet154(shapes: Shapes, size: Size, classes: int) -> Network:
    return senet154("senet-154", size, classes, clipped=False)


def _ssdlite_v3(shapes: Shapes, size: Size, classes: int) -> Network:
    """torchvision's detector with all channels in the tail, as it is made from a classifier's weights."""
    return mobilenet_v3.detector("ssdlite-mobilenet-v3-large", size, classes)


def _nanodet(plus: bool) -> Callable[[Shapes, Size, int], Network]:
    """NanoDet of any width."""

    def plan(shapes: Shapes, size: Size, classes: int) -> Network:
        stages = tuple((2 * shapes[f"stage{s}.0.conv1.weight"][0], units, 2) for s, units in enumerate(UNITS, 2))
        body = Plan(stages, 0, (shapes["stem.conv.weight"][0],), halves=True)
        if plus:
            return nanodet_plus.nanodet_plus(body, shapes["fpn.reduce0.conv.weight"][0], "nanodet", size, classes)
        return nanodet.nanodet(body, shapes["fpn.lateral0.weight"][0], "nanodet", size, classes)

    return plan


SHUFFLENET_V2, MOBILENET_V2, MOBILENET_V1 = "ShuffleNet v2", "MobileNet v2", "MobileNet v1"
SHUFFLENET_V2_PLUS, SENET = "ShuffleNet v2+", "SENet"
MOBILENET_V3, SSDLITE, NANODET = "MobileNet v3", "SSDLite", "NanoDet"
SQUEEZENET, VGG, ALEXNET, GOOGLENET, RESNET = "SqueezeNet", "VGG", "AlexNet", "GoogLeNet", "ResNet"
_V2 = tuple(f"shufflenet-v2-{scale}x" for scale in ("0.5", "1", "1.5", "2"))
_V2_HALVES = tuple(f"{name}-torchvision" for name in _V2)
_V2_OF_HALVES = "a shuffle by 2 groups ends each unit, the first half of the channels passes untouched"
_MOBILENETS_V2 = tuple(f"mobilenet-v2-{width}" for width in ("1.0", "1.4", "0.75", "0.5", "0.35"))
_ADDED = "ReLU6, units of stride 1 whose channels do not change add their input, strides of the paper"
_THREE = "conv1,bn1,conv2,bn2,conv3,bn3"
_CADENE = f"{_THREE},se_module.{{fc1,fc2}}"
_SENET_CV = "body.conv{1..3}.{conv,bn},se.conv{1,2}"
_MAIN, _PROJ, _SE = "branch_main.{0,1,3,4,5,6}", "branch_proj.{0..3}", "SE_opr.{1,2,4}"
_SEPARABLE = "branch_main.{0,1,2,3,5,6,7,8,10,11,12,13}"
_PLUS = tuple(f"shufflenet-v2-plus-{size}" for size in ("small", "medium", "large"))
_SQUEEZED = "max pooling that rounds up, ReLU behind the last convolution"
_V2_STAGES = (
    "conv1.{0,1},stage2.{0.branch1.{0..3},{0..3}.branch2.{0,1,3,4,5,6}},"
    "stage3.{0.branch1.{0..3},{0..7}.branch2.{0,1,3,4,5,6}},stage4.{0.branch1.{0..3},{0..3}.branch2.{0,1,3,4,5,6}}"
)
_PLAIN, _ATTENTION = "block.{0..2}.{0,1}", "block.{{0,1}.{0,1},2.{fc1,fc2},3.{0,1}}"  # of MobileNet v3
_V3_START = f"0.{{0,1}},1.block.{{0,1}}.{{0,1}},{{2,3}}.{_PLAIN},{{4..6}}.{_ATTENTION},{{7..10}}.{_PLAIN}"
_V3_START += f",{{11,12}}.{_ATTENTION}"  # up to the first unit of stride 32
_V3_FIXED = "hard swish from the seventh unit on, ReLU before, channel attention with a hard sigmoid"
_DEPTHWISE = "{depthwise,dwnorm,pointwise,pwnorm}"
_GHOSTS = "blocks.0.{ghost{1,2}.{primary_conv,cheap_operation}.{0,1},shortcut.{0..3}}"
_HEADS = [f"head.{{cls_convs.{i}.{{0,1}}.{_DEPTHWISE},gfl_cls.{i}}}" for i in range(4)]
_SHARED_HEADS = "leaky ReLUs of slope 0.1, classes and boxes by one convolution"
_SQUEEZERESNET = "squeezeresnet, which adds the input of some modules and is not in the list"

MODELS = (
    Model(
        "torchvision", SHUFFLENET_V2,
        f"{{{_V2_STAGES}}} conv5.{{0,1}} fc",
        _V2_HALVES[0], _V2_OF_HALVES, _V2_HALVES, _v2(halves=True),
        pictures_of={"shufflenet-v2-1.5x-torchvision": WIDER, "shufflenet-v2-2x-torchvision": WIDER},
    ),
    Model(
        "torchvision", MOBILENET_V2,
        "features.0.{0,1} features.1.conv.{0.0,0.1,1,2} features.{2..17}.conv.{0.0,0.1,1.0,1.1,2,3} features.18.{0,1} "
        "classifier.1",
        _MOBILENETS_V2[0], _ADDED, _MOBILENETS_V2, remark="its IMAGENET1K_V2 weights want --resize 1.0357 (232/224)",
    ),
    Model(
        "torchvision", MOBILENET_V3,
        f"features.{{{_V3_START},{{13..15}}.{_ATTENTION},16.{{0,1}}}} classifier.{{0,3}}",
        "mobilenet-v3-large", _V3_FIXED, ("mobilenet-v3-large", "mobilenet-v3-large-reduced"),
        remark="its IMAGENET1K_V2 weights want --resize 1.0357 (232/224)",
    ),
    Model(
        "torchvision", SSDLITE,
        f"backbone.features.{{0.{{{_V3_START},13.{{0,1}}}},1.{{0.{{1.{{0,1}},2.{{fc1,fc2}},3.{{0,1}}}},"
        f"{{1,2}}.{_ATTENTION},3.{{0,1}}}}}} backbone.extra.{{0..3}}.{{0..2}}.{{0,1}} "
        + " ".join(f"head.{{classification,regression}}_head.module_list.{i}.{{0.{{0,1}},1}}" for i in range(6)),
        "ssdlite-mobilenet-v3-large-reduced", f"{_V3_FIXED}, default boxes and thresholds as its code has them",
        ("ssdlite-mobilenet-v3-large-reduced",), _ssdlite_v3, pictures=HALF,
        remark="labels are its own less 1, as the background has no number",
    ),
    Model(
        "torchvision", SQUEEZENET,
        "features.0 features.{3,4,5,7,8,9,10,12}.{squeeze,expand1x1,expand3x3} classifier.1",
        "squeezenet-1.0", _SQUEEZED, ("squeezenet-1.0",),
    ),
    Model(
        "torchvision", SQUEEZENET,
        "features.0 features.{3,4,6,7,9,10,11,12}.{squeeze,expand1x1,expand3x3} classifier.1",
        "squeezenet-1.1", _SQUEEZED, ("squeezenet-1.1",),
    ),
    Model(
        "torchvision", GOOGLENET,
        "conv{1..3}.{conv,bn} inception{3{a,b},4{a,b,c,d,e},5{a,b}}.{branch1.{conv,bn},branch{2,3}.{0,1}.{conv,bn},"
        "branch4.1.{conv,bn}} fc",
        "googlenet-torchvision", "max pooling that rounds up", ("googlenet-torchvision",), dropped=r"aux[12]\..*",
        pictures=HALF,
        remark="the code's transform_input makes them from ImageNet's usual ones; weights trained without it want "
        "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225",
    ),
    Model(
        "torchvision", ALEXNET, "features.{0,3,6,8,10} classifier.{1,4,6}", "alexnet-torchvision", "no LRN",
        ("alexnet-torchvision",),
    ),
    Model(
        "torchvision", VGG, "features.{0,2,5,7,10,12,14,17,19,21,24,26,28} classifier.{0,3,6}", "vgg16",
        "max pooling behind convolutions 2, 4, 7, 10 and 13", ("vgg16",),
    ),
    Model(
        "torchvision", VGG,
        "features.{0,1,3,4,7,8,10,11,14,15,17,18,20,21,24,25,27,28,30,31,34,35,37,38,40,41} classifier.{0,3,6}",
        "vgg16-bn", "max pooling behind convolutions 2, 4, 7, 10 and 13", ("vgg16-bn",),
    ),
    Model(
        "torchvision", RESNET,
        " ".join(
            f"{layer}.{{0.{{{_THREE},downsample.{{0,1}}}},{{1..{last}}}.{{{_THREE}}}}}"
            for layer, last in (("layer1", 2), ("layer2", 3), ("layer3", 5), ("layer4", 2))
        ).join(("conv1 bn1 ", " fc")),
        "resnet-50-torchvision", "the stride is the 3x3 convolution's", ("resnet-50-torchvision",),
        remark="its IMAGENET1K_V2 weights want --resize 1.0357 (232/224)",
    ),
    Model(
        "megvii", SHUFFLENET_V2,
        "first_conv.{0,1} features.{0.branch_proj.{0..3},{0..3}.branch_main.{0,1,3,4,5,6}} "
        "features.{4.branch_proj.{0..3},{4..11}.branch_main.{0,1,3,4,5,6}} "
        "features.{12.branch_proj.{0..3},{12..15}.branch_main.{0,1,3,4,5,6}} conv_last.{0,1} classifier.0",
        _V2[0], "the even channels pass untouched", _V2, _v2(halves=False), unbiased=True, pictures=RAW_BGR,
        remark="its code resizes them by OpenCV, without a filter against aliasing",
    ),
    Model(
        "megvii", SHUFFLENET_V2_PLUS,
        f"first_conv.{{0,1}} features.{{0.{_PROJ},{{0,1}}.{_MAIN},2.{_SEPARABLE},3.{_MAIN}}} "
        f"features.{{4.{_PROJ},{{4..7}}.{_MAIN}}} features.{{8.{_PROJ},{{8..15}}.{{{_MAIN},branch_main.8.{_SE}}}}} "
        f"features.{{16.{_PROJ},{{16,17}}.{{{_MAIN},branch_main.8.{_SE}}},18.{{{_SEPARABLE},branch_main.15.{_SE}}},"
        f"19.{{{_MAIN},branch_main.8.{_SE}}}}} conv_last.{{0,1}} LastSE.{_SE} fc.0 classifier.0",
        _PLUS[0], "the even channels pass untouched, ReLU in the first stage, hard swish behind it", _PLUS,
        unbiased=True, pictures=RAW_BGR, remark="its code resizes them by OpenCV, without a filter against aliasing",
    ),
    Model(
        "Cadene", SENET,
        " ".join(
            f"{layer}.{{0.{{{_CADENE},downsample.{{0,1}}}},{{1..{last}}}.{{{_CADENE}}}}}"
            for layer, last in (("layer1", 2), ("layer2", 7), ("layer3", 35), ("layer4", 2))
        ).join(("layer0.{conv1,bn1,conv2,bn2,conv3,bn3} ", " last_linear")),
        "senet-154", "the first pooling has no padding and rounds up, 64 groups, strides as in ResNet", ("senet-154",),
    ),
    Model(
        "mmpretrain", SHUFFLENET_V2,
        "backbone.conv1.{conv,bn} backbone.layers.0.{0.branch1.{0,1}.{conv,bn},{0..3}.branch2.{0..2}.{conv,bn}} "
        "backbone.layers.1.{0.branch1.{0,1}.{conv,bn},{0..7}.branch2.{0..2}.{conv,bn}} "
        "backbone.layers.2.{0.branch1.{0,1}.{conv,bn},{0..3}.branch2.{0..2}.{conv,bn}} backbone.layers.3.{conv,bn} "
        "head.fc",
        _V2_HALVES[0], _V2_OF_HALVES, _V2_HALVES, _v2(halves=True),
    ),
    Model(
        "mmpretrain", MOBILENET_V2,
        "backbone.conv1.{conv,bn} backbone.layer1.0.conv.{0,1}.{conv,bn} "
        "backbone.layer{2.{0,1},3.{0..2},4.{0..3},5.{0..2},6.{0..2},7.0}.conv.{0..2}.{conv,bn} "
        "backbone.conv2.{conv,bn} head.fc",
        _MOBILENETS_V2[0], _ADDED, _MOBILENETS_V2,
    ),
    Model(
        "pytorchcv", SHUFFLENET_V2,
        "features.init_block.conv.{conv,bn} "
        "features.stage1.{unit1.{dw_{conv,bn}4,expand_{conv,bn}5},"
        "unit{1..4}.{compress_{conv,bn}1,dw_{conv,bn}2,expand_{conv,bn}3}} "
        "features.stage2.{unit1.{dw_{conv,bn}4,expand_{conv,bn}5},"
        "unit{1..8}.{compress_{conv,bn}1,dw_{conv,bn}2,expand_{conv,bn}3}} "
        "features.stage3.{unit1.{dw_{conv,bn}4,expand_{conv,bn}5},"
        "unit{1..4}.{compress_{conv,bn}1,dw_{conv,bn}2,expand_{conv,bn}3}} features.final_block.{conv,bn} output",
        _V2_HALVES[0], f"the first pooling has no padding and rounds up, {_V2_OF_HALVES}",
        plan=_v2(halves=True, clipped=True),
    ),
    Model(
        "pytorchcv", SQUEEZENET,
        "features.init_block.conv features.stage{1.unit{1..3},2.unit{1..4},3.unit1}.{squeeze,expand1x1,expand3x3}.conv "
        "output.final_conv",
        "squeezenet-1.0", _SQUEEZED, ("squeezenet-1.0",), shared=_SQUEEZERESNET,
    ),
    Model(
        "pytorchcv", SQUEEZENET,
        "features.init_block.conv features.stage{1.unit{1,2},2.unit{1,2},3.unit{1..4}}.{squeeze,expand1x1,expand3x3}"
        ".conv output.final_conv",
        "squeezenet-1.1", _SQUEEZED, ("squeezenet-1.1",), shared=_SQUEEZERESNET,
    ),
    Model(
        "pytorchcv", SENET,
        "features.init_block.conv{1..3}.{conv,bn} "
        + " ".join(
            f"features.{stage}.{{unit1.{{{_SENET_CV},identity_conv.{{conv,bn}}}},unit{{2..{last}}}.{{{_SENET_CV}}}}}"
            for stage, last in (("stage1", 3), ("stage2", 8), ("stage3", 36), ("stage4", 3))
        )
        + " output.fc",
        "senet-154", "the first pooling has padding, 64 groups, strides as in ResNet", plan=_senet154,
    ),
    Model(
        "nanodet", NANODET,
        " ".join([f"backbone.{{{_V2_STAGES}}} fpn.lateral_convs.{{0..2}}.conv", *_HEADS[:3]]),
        "nanodet-m", _SHARED_HEADS, nanodet.MODELS, _nanodet(plus=False),
        dropped=r"head\.(gfl_reg\..*|distribution_project\.project)", pictures=OF_NANODET | {"resize": FIT},
        remark="keep_ratio of their configuration is true",
    ),
    Model(
        "nanodet", f"{NANODET}-Plus",
        f"backbone.{{{_V2_STAGES}}} fpn.{{reduce_layers.{{0..2}}.{{conv,bn}},top_down_blocks.{{0,1}}.{_GHOSTS},"
        + ",".join(f"downsamples.{i}.{_DEPTHWISE},bottom_up_blocks.{i}.{_GHOSTS}" for i in (0, 1))
        + " ".join([f",extra_lvl_{{in,out}}_conv.0.{_DEPTHWISE}}}", *_HEADS]),
        "nanodet-plus-m", _SHARED_HEADS, nanodet_plus.MODELS, _nanodet(plus=True),
        dropped=r"aux_(fpn|head)\..*|head\.(distribution_project\.)?project", pictures=OF_NANODET,
        remark="keep_ratio of their configuration is false",
    ),
    Model(
        "transformers", MOBILENET_V1,
        "mobilenet_v1.conv_stem.{convolution,normalization} mobilenet_v1.layer.{0..25}.{convolution,normalization} "
        "classifier",
        "mobilenet-v1-1.0", "ReLU6, padding as TensorFlow has it, strides of the paper", plan=_mobilenet_v1,
        pictures=HALF, activation="relu6", padding="same", eps=1e-3,
    ),
)  # fmt: skip
