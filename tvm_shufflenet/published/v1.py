"""The tables of ShuffleNet v1 (X. Zhang, X. Zhou, M. Lin, J. Sun), in two versions.

P is the preprint arXiv:1707.01083v1, which also has networks called "arch2"; C is the paper at CVPR 2018.  A figure
stands here once: a table that repeats it takes it from the dictionaries below.
"""

from __future__ import annotations

from .figures import Row, Table

PAPER = "ShuffleNet v1; P: arXiv:1707.01083v1, C: CVPR 2018"
PROCESSOR = "Snapdragon 820"  # of Table 8: one thread, batch 1

SCALES = (1, 0.5, 0.25)
GROUPS = (1, 2, 3, 4, 8)
LEVELS: dict[float, int] = {
    1: 140,
    0.5: 38,
    0.25: 13,
}  # millions of multiply-adds that a scale stands for in Tables 2 to 4
ARCH2: dict[float, int] = {0.5: 40, 0.25: 13}  # the same of arch2, P
ARCH2_ABLATED = ((0.5, 8), (0.25, 3), (0.25, 8))  # arch2 without shuffle, Table 3 of P


def shufflenet(scale: float, groups: int, suffix: str = "") -> str:
    return f"shufflenet-v1-{scale:g}x-g{groups}{suffix}"


def _arch2(scale: float, groups: int, suffix: str = "") -> str:
    return f"shufflenet-v1-arch2-{scale:g}x-g{groups}{suffix}"


# Millions of multiply-adds in C: Table 1 at scale 1, Tables 2 to 5 of the others.
MACS_C: dict[str, float] = {
    **{shufflenet(1, groups): macs for groups, macs in zip(GROUPS, (143, 140, 137, 133, 137))},
    **{shufflenet(scale, groups): LEVELS[scale] for scale in (0.5, 0.25) for groups in GROUPS},
    **{shufflenet(scale, groups, "-noshuffle"): LEVELS[scale] for scale in SCALES for groups in (3, 8)},
    **{f"{kind}-like-{macs}m": macs for kind in ("vgg", "resnet", "resnext", "xception") for macs in LEVELS.values()
       if (kind, macs) != ("vgg", 13)},
    shufflenet(1.5, 3): 292, shufflenet(2, 3): 524, shufflenet(2, 3, "-se"): 527, "shufflenet-v1-shallow-0.5x-g3": 40,
    # Of the MobileNet paper (arXiv:1704.04861, Table 6), repeated in Table 5.
    "mobilenet-v1-1.0": 569, "mobilenet-v1-0.75": 325, "mobilenet-v1-0.5": 149, "mobilenet-v1-0.25": 41,
    # Table 6.
    "vgg16": 15300, "googlenet": 1500, "alexnet": 720, "squeezenet-1.0": 833, "pvanet": 557,
}  # fmt: skip

# Top-1 error in % in C: Table 2, and Tables 3 to 6.
ERROR_C = {
    **{
        shufflenet(scale, groups): error
        for scale, errors in {
            1: (33.6, 32.7, 32.6, 32.8, 32.4),
            0.5: (45.1, 44.4, 43.2, 41.6, 42.3),
            0.25: (57.1, 56.8, 55.0, 54.2, 52.7),
        }.items()
        for groups, error in zip(GROUPS, errors)
    },
    shufflenet(1.5, 3): 28.5, shufflenet(2, 3): 26.3, shufflenet(2, 3, "-se"): 24.7,
    "shufflenet-v1-shallow-0.5x-g3": 42.8,
    shufflenet(1, 3, "-noshuffle"): 34.5, shufflenet(1, 8, "-noshuffle"): 37.6,
    shufflenet(0.5, 3, "-noshuffle"): 45.7, shufflenet(0.5, 8, "-noshuffle"): 48.1,
    shufflenet(0.25, 3, "-noshuffle"): 56.3, shufflenet(0.25, 8, "-noshuffle"): 56.5,
    "mobilenet-v1-1.0": 29.4, "mobilenet-v1-0.75": 31.6, "mobilenet-v1-0.5": 36.3, "mobilenet-v1-0.25": 49.4,
    "vgg16": 28.5, "googlenet": 31.3, "alexnet": 42.8, "squeezenet-1.0": 42.5, "pvanet": 29.7,
    "vgg-like-140m": 50.7,
    "resnet-like-140m": 37.3, "resnet-like-38m": 48.8, "resnet-like-13m": 63.7,
    "resnext-like-140m": 33.3, "resnext-like-38m": 46.0, "resnext-like-13m": 65.2,
}  # fmt: skip
# Xception's structure is ShuffleNet's with one group, and its errors are those of Table 2.
ERROR_C |= {f"xception-like-{macs}m": ERROR_C[shufflenet(scale, 1)] for scale, macs in LEVELS.items()}

# The same in P; of its networks without "arch2" few were transcribed.
MACS_P: dict[str, float] = {
    **{_arch2(scale, groups): macs for scale, macs in ARCH2.items() for groups in GROUPS},
    **{_arch2(scale, groups, "-noshuffle"): ARCH2[scale] for scale, groups in ARCH2_ABLATED},
    **{f"{kind}-like-arch2-{macs}m": macs for kind in ("resnet", "resnext", "xception") for macs in ARCH2.values()},
    "shufflenet-v1-shallow-0.5x-g3": 40, "pvanet": 557,
}  # fmt: skip
ERROR_P = {
    **{_arch2(0.5, groups): error for groups, error in zip(GROUPS, (45.7, 44.3, 43.8, 43.2, 42.7))},
    **{_arch2(0.25, groups): error for groups, error in zip(GROUPS, (56.5, 55.3, 55.5, 54.3, 53.3))},
    **{_arch2(*which, "-noshuffle"): error for which, error in zip(ARCH2_ABLATED, (46.2, 56.6, 57.3))},
    "shufflenet-v1-shallow-0.5x-g3": 45.2, "pvanet": 35.3,
}  # fmt: skip

# Table 8: milliseconds by size of the input.
SIZES = ((224, 224), (480, 640), (720, 1280))
MILLISECONDS = {
    model: dict(zip(SIZES, milliseconds))
    for model, milliseconds in {
        shufflenet(0.5, 3): (15.2, 87.4, 260.1),
        shufflenet(1, 3): (37.8, 222.2, 684.5),
        shufflenet(2, 3): (108.8, 617.0, 1857.6),
        "alexnet": (184.0, 1156.7, 3633.9),
        "mobilenet-v1-1.0": (110.0, 612.0, 1879.2),
    }.items()
}
MILLISECONDS_P = {_arch2(0.5, 3): MILLISECONDS[shufflenet(0.5, 3)]}  # C prints them of the network without "arch2"

# Table 7: COCO's mAP in %, in P and in C, by size of the input.
DETECTION_SIZES = ((300, 400), (600, 800))
MEAN_PRECISION: dict[str, tuple[tuple[float | None, float], ...]] = {
    shufflenet(2, 3): ((18.0, 18.7), (24.5, 25.0)),
    shufflenet(1, 3): ((14.3, 14.5), (19.8, 19.8)),
    "mobilenet-v1-1.0": ((None, 14.9), (None, 19.3)),
}

# Claims in prose.
FASTER_WITH_A_QUARTER = 2.6  # actual speed-up where the multiply-adds become 4 times fewer
ALEXNET_SPEEDUP = 13.0  # abstract: of a ShuffleNet of comparable accuracy over AlexNet
SE_SLOWER = (25.0, 40.0)  # networks with SE modules, %


def _row(model: str, **figures: float | None) -> Row:
    """A row with the figures of `model` that are known from any table, but for `figures`."""
    tables = {"macs_P": MACS_P, "macs_C": MACS_C, "error_P": ERROR_P, "error_C": ERROR_C}
    known: dict[str, float | None] = dict.fromkeys(("macs_C", "error_C")) if "arch2" in model else {}
    known |= {column: table[model] for column, table in tables.items() if model in table}
    size = (227, 227) if model == "squeezenet-1.0" else (224, 224)  # at which it has the published multiply-adds
    return Row(model, known | figures, size)


def _level(scale: float, groups: int, suffix: str = "") -> Row:
    """A row of Tables 2 to 5 in C, which print a round number for all networks of a scale."""
    return _row(shufflenet(scale, groups, suffix), macs_C=LEVELS[scale])


_BOTH = ("macs_P", "macs_C", "error_P", "error_C")
TABLES = (
    Table("v1-1", "Table 1: the architecture with 1 to 8 groups", PAPER, ("macs_P", "macs_C"),
          tuple(_row(shufflenet(1, groups)) for groups in GROUPS)),
    Table("v1-2", "Table 2: error by number of groups", PAPER, _BOTH, (
        *(_level(scale, groups) for scale in SCALES for groups in GROUPS),
        *(_row(_arch2(scale, groups)) for scale in ARCH2 for groups in GROUPS),
    )),
    Table("v1-3", "Table 3: with and without channel shuffle", PAPER, _BOTH, (
        *(_level(scale, groups, suffix) for scale in SCALES for groups in (3, 8) for suffix in ("", "-noshuffle")),
        *(_row(_arch2(scale, groups, suffix)) for scale, groups in ARCH2_ABLATED for suffix in ("", "-noshuffle")),
    )),
    Table("v1-4", "Table 4: other structures in the same frame", PAPER, _BOTH, (
        *(_row(model) for table in (MACS_C, MACS_P) for model in table if "-like-" in model),
        *(_level(scale, groups) for scale, groups in ((1, 8), (0.5, 4), (0.25, 8))),
    ), bases=(shufflenet(1, 8),)),
    Table("v1-5", "Table 5: beside MobileNet", PAPER, _BOTH, (
        _row(shufflenet(2, 3)), _row(shufflenet(2, 3, "-se")), _row("mobilenet-v1-1.0"),
        _row(shufflenet(1.5, 3)), _row("mobilenet-v1-0.75"),
        _level(1, 8), _row("mobilenet-v1-0.5"),
        _row(shufflenet(0.5, 4)), _row("shufflenet-v1-shallow-0.5x-g3"), _row("mobilenet-v1-0.25"),
    ), bases=("mobilenet-v1-1.0",)),
    Table("v1-6", "Table 6: beside popular networks", PAPER, _BOTH, (
        _row("vgg16"), _row(shufflenet(2, 3)), _row("googlenet"), _level(1, 8),
        _row("alexnet"), _row("squeezenet-1.0"), _row("pvanet"), _row(shufflenet(0.5, 4)),
    ), bases=("alexnet",)),
    Table("v1-7", "Table 7: object detection with Faster R-CNN", PAPER, ("map_P", "map_C"), tuple(
        Row(f"faster-rcnn-{model}", {"map_P": preprint, "map_C": conference}, size)
        for model, figures in MEAN_PRECISION.items() for size, (preprint, conference) in zip(DETECTION_SIZES, figures)
    ), bases=("faster-rcnn-mobilenet-v1-1.0",), sizes=DETECTION_SIZES,
          where="short side 300 or 600, here of 4:3; of MobileNet v1 its own paper prints 16.4 and 19.8", regions=300),
    Table("v1-8", "Table 8: time on a phone", PAPER, ("ms",), tuple(
        Row(model, {"ms": times[size]}, size)
        for size in SIZES for model, times in (MILLISECONDS | MILLISECONDS_P).items()
    ), bases=("alexnet",), where=f"{PROCESSOR}, one thread; arch2 in P only", sizes=SIZES),
)  # fmt: skip


def milliseconds(model: str, size: tuple[int, int]) -> float | None:
    """Table 8's latency in C, or None where it gives none."""
    return MILLISECONDS.get(model, {}).get((size[0], size[1]))


def speedup(model: str, size: tuple[int, int]) -> float | None:
    """Table 8's actual speed-up over AlexNet at the same size in C, or None."""
    ours, alexnet = milliseconds(model, size), milliseconds("alexnet", size)
    return alexnet / ours if ours and alexnet else None
