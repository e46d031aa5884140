"""The ways in which ShuffleNet v1 and MobileNet v1 are written in PyTorch: names of tensors, and what no tensor tells.

A checkpoint holds names and shapes.  Shapes tell channels, groups and stages; the way in which channels are
shuffled, the order of a concatenation and strides can only be known from whose code it is, which its names tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from .public_models import HALF, MODELS, RAW_BGR, Model
from .public_models import MOBILENET_V1 as MOBILENET

SHUFFLENET = "ShuffleNet v1"
_PREFIXES = 8  # of modules within modules
LEAVES = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class Style:
    """`stem`, `unit` + `members` and `classifier` are the modules in the order of execution; `unit` is a pattern.

    `shuffle`: "gn" reshapes the channels to (g, n) and transposes, as the paper does; "ng" to (n, g).
    `always`: also a unit whose first convolution has no groups shuffles.  `reduction`: by how much the stem
    makes the picture smaller; 4 is stride 2 and max pooling, 2 stride 2 alone, 1 neither.  `strides` and `pools`:
    of each stage's first unit, where they are not 2 and 3.  `pictures`: their preprocessing, where it is not the usual
    one, as of `library.preprocess.checked`.  `fixes`: whether the names are of one public code, which
    settles all that; else they tell the order of the tensors alone.  `fixes_activation`: False where versions with
    ReLU and ReLU6 share the names.
    """

    name: str
    family: str
    stem: tuple[str, ...]
    unit: str
    members: tuple[str, ...]
    classifier: str
    shuffle: str = "gn"
    always: bool = True
    late_shuffle: bool = False
    pooled_first: bool = True
    depthwise_relu: bool = False
    reduction: int = 4
    stem_relu: bool = True
    size: int = 224
    strides: tuple[int, ...] = ()
    pools: tuple[int, ...] = ()
    activation: str = "relu"
    pictures: dict = field(default_factory=dict)
    fixes: bool = True
    fixes_activation: bool = True

    def key(self, module: str) -> tuple | None:
        """Where a module stands in the order of execution; None if it is none of this style."""
        if module in self.stem:
            return 0, self.stem.index(module)
        if module == self.classifier:
            return (2,)
        found = re.fullmatch(rf"{self.unit}\.({'|'.join(map(re.escape, self.members))})", module)
        if not found:
            return None
        *numbers, member = found.groups()
        return 1, *map(int, numbers), self.members.index(member)


_CONV_BN = ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3")

STYLES = (
    Style(
        "own", SHUFFLENET, ("stem.conv", "stem.bn"), r"stage(\d+)\.(\d+)", _CONV_BN, "classifier", always=False,
    ),
    Style(
        "megvii", SHUFFLENET, ("first_conv.0", "first_conv.1"), r"features\.(\d+)",
        ("branch_main_1.0", "branch_main_1.1", "branch_main_1.3", "branch_main_1.4", "branch_main_2.0",
         "branch_main_2.1"),
        "classifier.0", shuffle="ng", late_shuffle=True, pictures=RAW_BGR,
    ),
    Style(
        "pytorchcv", SHUFFLENET, ("features.init_block.conv", "features.init_block.bn"),
        r"features\.stage(\d+)\.unit(\d+)",
        ("compress_conv1", "compress_bn1", "dw_conv2", "dw_bn2", "expand_conv3", "expand_bn3"), "output",
        pooled_first=False,
    ),
    Style(
        "jaxony", SHUFFLENET, ("conv1",), r"stage(\d+)\.ShuffleUnit_Stage\d+_(\d+)",
        ("g_conv_1x1_compress.conv1x1", "g_conv_1x1_compress.batch_norm", "depthwise_conv3x3", "bn_after_depthwise",
         "g_conv_1x1_expand.conv1x1", "g_conv_1x1_expand.batch_norm"),
        "fc", stem_relu=False,
    ),
    Style(
        "mmpretrain", SHUFFLENET, ("backbone.conv1.conv", "backbone.conv1.bn"), r"backbone\.layers\.(\d+)\.(\d+)",
        ("g_conv_1x1_compress.conv", "g_conv_1x1_compress.bn", "depthwise_conv3x3_bn.conv",
         "depthwise_conv3x3_bn.bn", "g_conv_1x1_expand.conv", "g_conv_1x1_expand.bn"),
        "head.fc",
    ),
    Style(
        "pytorch-cifar", SHUFFLENET, ("conv1", "bn1"), r"layer(\d+)\.(\d+)", _CONV_BN, "linear", always=False,
        pooled_first=False, depthwise_relu=True, reduction=1, size=32,
    ),
    Style(
        "pytorch-cifar100", SHUFFLENET, ("conv1.conv", "conv1.bn"), r"stage(\d+)\.(\d+)",
        ("gp1.0.pointwise.0", "gp1.0.pointwise.1", "depthwise.depthwise.0", "depthwise.depthwise.1",
         "expand.pointwise.0", "expand.pointwise.1"),
        "fc", reduction=1, size=32,
    ),
    Style(
        "gconv", SHUFFLENET, ("conv1", "bn1"), r"stage(\d+)\.(\d+)", ("gconv1", "bn1", "dwconv", "bn", "gconv2", "bn2"),
        "fc", fixes=False, fixes_activation=False,
    ),
    Style(
        "own", MOBILENET, ("stem.conv", "stem.bn"), r"block(\d+)", _CONV_BN[:4], "classifier", reduction=2,
    ),
    Style(
        "conv_dw", MOBILENET, ("model.0.0", "model.0.1"), r"model\.(\d+)", ("0", "1", "3", "4"), "fc", reduction=2,
        fixes_activation=False,
    ),
    Style(
        "pytorchcv", MOBILENET, ("features.init_block.conv", "features.init_block.bn"),
        r"features\.stage(\d+)\.unit(\d+)", ("dw_conv.conv", "dw_conv.bn", "pw_conv.conv", "pw_conv.bn"), "output",
        reduction=2,
    ),
    Style(
        "pytorch-cifar", MOBILENET, ("conv1", "bn1"), r"layers\.(\d+)", _CONV_BN[:4], "linear", reduction=1, size=32,
    ),
    Style(
        "timm", MOBILENET, ("conv_stem", "bn1"), r"blocks\.(\d+)\.(\d+)", ("conv_dw", "bn1", "conv_pw", "bn2"),
        "classifier", reduction=2, activation="relu6", pictures=HALF,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Recognised:
    """The style or model whose names these are: `names` in the order of execution.

    `dropped` are those that only training needs, `stray` is a name in no place of the style, and `prefix` stands before
    all names.
    """

    style: Style | Model
    names: list[str]
    dropped: list[str]
    stray: str
    prefix: str


def style_names() -> list[str]:
    """The names of the styles, which tell what a list of unnamed tensors does not."""
    return [style.name for style in STYLES if style.family == SHUFFLENET]


def recognise(names: Iterable[str]) -> Recognised | None:
    """The style or model of most of the names; None if less than half of them are of any.

    Prefixes that all names share, as of `DataParallel` or of a surrounding module, do not matter.
    """
    names = list(names)
    best: tuple[int, Recognised | None] = (0, None)
    prefix = ""
    for _ in range(_PREFIXES):
        for style in (*STYLES, *MODELS):
            keys = {name: key for name in names if (key := _key(style, name.removeprefix(prefix)))}
            dropped = [name for name in names if isinstance(style, Model) and style.drops(name.removeprefix(prefix))]
            if len(keys) + len(dropped) > best[0]:
                known = sorted(keys, key=keys.__getitem__)
                stray = next((name for name in names if name not in keys and name not in dropped), "")
                best = len(keys) + len(dropped), Recognised(style, known, dropped, stray, prefix)
        deeper = prefix + names[0].removeprefix(prefix).partition(".")[0] + "." if names else ""
        if not deeper or not all(name.startswith(deeper) for name in names):
            break
        prefix = deeper
    return best[1] if 2 * best[0] > len(names) else None


def _key(style: Style | Model, name: str) -> tuple | None:
    module, _, leaf = name.rpartition(".")
    place = style.key(module) if leaf in LEAVES else None
    return place and (*place, LEAVES.index(leaf))
