"""The tables of ShuffleNet v2 (N. Ma, X. Zhang, H. Zheng, J. Sun, ECCV 2018, arXiv:1807.11164)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .figures import Row, Size, Table

PAPER = "ShuffleNet v2, arXiv:1807.11164"
PROCESSOR = "Snapdragon 810"  # one thread, batch 1
SCALES = (0.5, 1, 1.5, 2)
_WHOLE = [f"shufflenet-v2-{scale:g}x" for scale in SCALES]
_XCEPTION = [f"xception-{scale:g}x" for scale in SCALES]
_DENSENET = [f"densenet-{scale:g}x" for scale in SCALES]

# Millions of multiply-adds: Tables 5, 8 and 6.
MACS: dict[str, float] = {
    **dict(zip(_WHOLE, (41, 146, 299, 591))), "shufflenet-v2-2x-se": 597,
    **dict(zip(_XCEPTION, (40, 145, 305, 525))), **dict(zip(_DENSENET, (42, 142, 295, 519))),
    "mobilenet-v2-0.4-at-160": 43, "mobilenet-v2-0.15": 39, "mobilenet-v2-0.75-at-192": 145, "mobilenet-v2-0.6": 141,
    "igcv3-d-0.7": 210, "igcv3-d-1.0": 318, "igcv3-d-1.4": 610, "condensenet-74-g8": 274, "condensenet-74-g4": 529,
    "nasnet-a-mobile": 564, "pnasnet-5": 588,
    "shufflenet-v2-50": 2300, "shufflenet-v1-50": 2300, "resnet-50": 3800, "se-shufflenet-v2-164": 12700,
    "senet-154": 20700,
}  # fmt: skip
# Of MobileNet v2's own paper and code; those that Table 8 prints of it were not transcribed.
MOBILENET_V2 = {
    "mobilenet-v2-1.4": 582, "mobilenet-v2-1.0": 300, "mobilenet-v2-0.75": 209, "mobilenet-v2-0.5": 97,
    "mobilenet-v2-0.35": 59,
}  # fmt: skip
# Top-1 error in %: Tables 8 and 6.
ERROR = {
    **dict(zip(_WHOLE, (39.7, 30.6, 27.4, 25.1))), "shufflenet-v2-2x-se": 24.6,
    **dict(zip(_XCEPTION, (44.9, 34.1, 29.4, 27.6))), "mobilenet-v2-1.0": 28.0, "mobilenet-v2-1.4": 25.3,
    "igcv3-d-1.0": 27.8, "condensenet-74-g8": 29.0, "condensenet-74-g4": 26.2,
    "shufflenet-v2-50": 22.8, "resnet-50": 24.0, "se-shufflenet-v2-164": 18.56, "senet-154": 18.68,
}  # fmt: skip
# Inferences per second: Table 8; None where it has none.
IMAGES: dict[str, float | None] = {
    **dict(zip(_WHOLE, (57.0, 24.4, 11.8, 6.7))), "shufflenet-v2-2x-se": 5.6,
    **dict(zip((f"shufflenet-v1-{scale:g}x-g3" for scale in SCALES), (56.8, 21.8, 10.3, 6.4))),
    **dict(zip((f"mobilenet-v1-{width}" for width in (0.25, 0.5, 0.75, 1.0)), (36.4, 16.5, 10.6, 6.5))),
    "mobilenet-v2-0.4-at-160": 33.2, "mobilenet-v2-0.15": 33.6, "mobilenet-v2-0.75-at-192": 15.9,
    "mobilenet-v2-0.6": 14.9, "mobilenet-v2-1.0": 8.9, "mobilenet-v2-1.4": 5.4,
    **dict(zip(_XCEPTION, (52.9, 19.5, 10.5, 6.7))), **dict(zip(_DENSENET, (39.7, 15.8, 9.7, 6.1))),
    "igcv2-40m": 31.5, "igcv2-140m": 15.5, "igcv2-300m": None, "igcv2-500m": 4.9,
    "igcv3-d-0.7": 11.7, "igcv3-d-1.0": 6.3, "igcv3-d-1.4": 4.5, "nasnet-a-mobile": 4.6, "pnasnet-5": 4.1,
}  # fmt: skip
_TABLE_8 = (*IMAGES, "condensenet-74-g8", "condensenet-74-g4")
_TABLE_6 = ("shufflenet-v2-50", "shufflenet-v1-50", "resnet-50", "se-shufflenet-v2-164", "senet-154")

# Appendix, Table 1 (a): inferences per second of the networks of 40, 140, 300 and 500 M, by size of the input.
SIZES: tuple[Size, ...] = ((320, 320), (480, 640), (720, 1080))
SPEEDS = {
    "shufflenet-v2-{:g}x": ((28.1, 12.5, 6.1, 3.4), (9.3, 4.0, 1.9, 1.1), (3.5, 1.5, 0.7, 0.4)),
    "shufflenet-v1-{:g}x-g3": ((27.2, 11.4, 5.1, 3.1), (8.0, 3.7, 1.6, 1.0), (2.9, 1.4, 0.4, 0.3)),
}
# (b): of ten units with 64, 128 and 256 channels; planes of 56x56 and 28x28.
UNIT_CHANNELS, UNIT_SIZES = (64, 128, 256), ((56, 56), (28, 28))
UNITS = {
    "shufflenet-v2-units-{}": ((34.8, 12.3, 3.9), (174.5, 53.4, 16.6)),
    "shufflenet-v1-units-{}": ((24.3, 9.4, 3.0), (139.7, 43.9, 13.2)),
    "mobilenet-v2-units-{}": ((25.8, 10.0, 3.0), (118.3, 46.2, 13.3)),
    "xception-units-{}": ((27.0, 9.7, 3.1), (117.0, 45.8, 14.0)),
}


def _rows(names: Iterable[str]) -> tuple[Row, ...]:
    columns: dict[str, Mapping[str, float | None]] = {"macs": MACS, "error": ERROR, "images": IMAGES}
    return tuple(Row(name, {column: figures[name] for column, figures in columns.items() if name in figures})
                 for name in names)  # fmt: skip


def _by_size(sizes: Sequence[Size], speeds: dict[str, tuple], variants: Sequence[float]) -> tuple[Row, ...]:
    return tuple(Row(name.format(variant), {"images": images}, size)
                 for index, size in enumerate(sizes)
                 for name, found in speeds.items()
                 for variant, images in zip(variants, found[index], strict=True))  # fmt: skip


# Table 7: COCO's mmAP in % of Light-Head R-CNN at 800x1200, on backbones of 40, 140, 300 and 500 M.
DETECTION_SIZES: tuple[Size, ...] = ((800, 1200), (600, 800))  # the second one is ours
MEAN_PRECISION: dict[str, float] = {
    **dict(zip(_WHOLE, (22.5, 29.0, 31.8, 33.3))),
    **dict(zip((f"{name}-star" for name in _WHOLE), (23.7, 29.6, 32.2, 34.2))),
    **dict(zip((f"shufflenet-v1-{scale:g}x-g3" for scale in SCALES), (20.9, 27.0, 29.9, 32.9))),
    **dict(zip(_XCEPTION, (21.9, 29.0, 31.3, 32.9))),
    "mobilenet-v2-40m": 20.7, "mobilenet-v2-140m": 24.4, "mobilenet-v2-1.0": 30.0, "mobilenet-v2-1.4": 30.6,
}  # fmt: skip


_ON = f"{PROCESSOR}, one thread"
TABLES = (
    Table("v2-5", "Table 5: the architecture at four complexities", PAPER, ("macs",), _rows(_WHOLE)),
    Table("v2-6", "Table 6: large networks", PAPER, ("macs", "error"), _rows(_TABLE_6), bases=("resnet-50",)),
    Table("v2-7", "Table 7: object detection with Light-Head R-CNN", PAPER, ("mmap",), tuple(
        Row(f"light-head-rcnn-{model}", {"mmap": None if index else figure}, size)
        for index, size in enumerate(DETECTION_SIZES) for model, figure in MEAN_PRECISION.items()
    ), bases=("light-head-rcnn-shufflenet-v2-1x",), sizes=DETECTION_SIZES, regions=1000,
          where="800x1200; backbones of 40, 140, 300 and 500 M multiply-adds at 224x224"),
    Table("v2-8", "Table 8: accuracy, multiply-adds and speed", PAPER, ("macs", "error", "images"), _rows(_TABLE_8),
          bases=("shufflenet-v2-1x",), where=_ON),
    Table("v2-a1", "Appendix, Table 1: larger pictures, and ten units alone", PAPER, ("images",),
          _by_size(SIZES, SPEEDS, SCALES) + _by_size(UNIT_SIZES, UNITS, UNIT_CHANNELS),
          bases=("shufflenet-v2-1x", "shufflenet-v2-units-64"),
          where=f"{_ON}; the groups of ShuffleNet v1 are not said: 3, as in Table 8", sizes=(*SIZES, *UNIT_SIZES)),
)  # fmt: skip
