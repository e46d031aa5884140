"""The tables of ShuffleNet v2 (N. Ma, X. Zhang, H. Zheng, J. Sun, ECCV 2018, arXiv:1807.11164)."""

from __future__ import annotations

from .figures import Row, Size, Table

PAPER = "ShuffleNet v2, arXiv:1807.11164"
PROCESSOR = "Snapdragon 810"  # one thread, batch 1
SCALES = (0.5, 1, 1.5, 2)
MACS = dict(zip((f"shufflenet-v2-{scale:g}x" for scale in SCALES), (41, 146, 299, 591)))

_WIDTHS = "how it rounds widths is not published"
_DENSENET = "the growth of its blocks is not published"
_CELLS = "its cells are not described here"
_IGCV3 = "this width does not reproduce the published multiply-adds"


def _family(names: list[str], images: tuple[float | None, ...], macs: tuple[float, ...] = (), mark: str = "S",
            left_out: str = "") -> list[Row]:  # fmt: skip
    """Rows of Table 8: inferences per second and, where they were transcribed, millions of multiply-adds."""
    counts = [{"macs": count} for count in macs] or [{} for _ in names]
    return [Row(name, {"images": speed, **count}, mark, left_out)
            for name, speed, count in zip(names, images, counts, strict=True)]  # fmt: skip


TABLE_8 = (
    *_family(list(MACS), (57.0, 24.4, 11.8, 6.7), tuple(MACS.values())),
    Row("shufflenet-v2-2x-se", {"images": 5.6, "macs": 597, "error": 24.6}, "U"),
    *_family([f"shufflenet-v1-{scale:g}x-g3" for scale in SCALES], (56.8, 21.8, 10.3, 6.4)),
    *_family([f"mobilenet-v1-{width}" for width in (0.25, 0.5, 0.75, 1.0)], (36.4, 16.5, 10.6, 6.5)),
    Row("MobileNet v2 0.4 at 160", {"images": 33.2, "macs": 43}, "U", _WIDTHS, (160, 160)),
    Row("MobileNet v2 0.15", {"images": 33.6, "macs": 39}, "U", _WIDTHS),
    Row("mobilenet-v2-0.75", {"images": 15.9, "macs": 145}, "U", size=(192, 192)),
    Row("MobileNet v2 0.6", {"images": 14.9, "macs": 141}, "U", _WIDTHS),
    *_family(["mobilenet-v2-1.0", "mobilenet-v2-1.4"], (8.9, 5.4)),
    *_family([f"xception-{scale:g}x" for scale in SCALES], (52.9, 19.5, 10.5, 6.7), (40, 145, 305, 525), "F"),
    *_family([f"DenseNet {scale:g}x" for scale in SCALES], (39.7, 15.8, 9.7, 6.1), (42, 142, 295, 519), "U", _DENSENET),
    *_family([f"IGCV2, network {index}" for index in (1, 2, 3, 4)], (31.5, 15.5, None, 4.9), (), "U", _CELLS),
    Row("IGCV3-D 0.7", {"images": 11.7, "macs": 210}, "U", _IGCV3),
    Row("igcv3-d-1.0", {"images": 6.3, "macs": 318}),
    Row("IGCV3-D 1.4", {"images": 4.5, "macs": 610}, "U", _IGCV3),
    Row("condensenet-74-g8", {"macs": 274}),
    Row("condensenet-74-g4", {"macs": 529}),
    Row("NASNet-A mobile", {"images": 4.6, "macs": 564}, left_out=_CELLS),
    Row("PNASNet-5", {"images": 4.1, "macs": 588}, left_out=_CELLS),
)

# Appendix, Table 1 (a): inferences per second of the networks of 40, 140, 300 and 500 M, by size of the input.
SIZES: tuple[Size, ...] = ((320, 320), (480, 640), (720, 1080))
WHOLE = {
    "shufflenet-v2-{:g}x": ((28.1, 12.5, 6.1, 3.4), (9.3, 4.0, 1.9, 1.1), (3.5, 1.5, 0.7, 0.4)),
    "shufflenet-v1-{:g}x-g3": ((27.2, 11.4, 5.1, 3.1), (8.0, 3.7, 1.6, 1.0), (2.9, 1.4, 0.4, 0.3)),
}
# (b): of ten units with 64, 128 and 256 channels; planes of 56x56 and 28x28.
UNIT_CHANNELS, UNIT_SIZES = (64, 128, 256), ((56, 56), (28, 28))
UNITS = {
    "shufflenet-v2-units-{}": ((34.8, 12.3, 3.9), (174.5, 53.4, 16.6)),
    "ShuffleNet v1 units beside {}": ((24.3, 9.4, 3.0), (139.7, 43.9, 13.2)),
    "MobileNet v2 units beside {}": ((25.8, 10.0, 3.0), (118.3, 46.2, 13.3)),
    "Xception units beside {}": ((27.0, 9.7, 3.1), (117.0, 45.8, 14.0)),
}
_ADJUSTED = 'its channels are "adjusted to the same FLOPs" and not published'
_APPENDIX_1 = (
    *(Row(name.format(scale), {"images": speed}, "S" if "v2" in name else "U", size=size)
      for index, size in enumerate(SIZES)
      for name, speeds in WHOLE.items() for scale, speed in zip(SCALES, speeds[index])),
    *(Row(name.format(channels), {"images": speed}, "S" if "v2-units" in name else "U",
          "" if "v2-units" in name else _ADJUSTED, size)
      for index, size in enumerate(UNIT_SIZES)
      for name, speeds in UNITS.items() for channels, speed in zip(UNIT_CHANNELS, speeds[index])),
)  # fmt: skip

_ON = f"{PROCESSOR}, one thread"
TABLES = (
    Table("v2-5", "Table 5: the architecture at four complexities", PAPER, ("macs",),
          tuple(Row(name, {"macs": macs}) for name, macs in MACS.items())),
    Table("v2-6", "Table 6: large networks", PAPER, ("macs", "error"), (
        Row("shufflenet-v2-50", {"macs": 2300}),
        Row("ShuffleNet v1-50 (g=3)", {"macs": 2300}, "U", "the width of its bottlenecks is not published"),
        Row("resnet-50", {"macs": 3800}),
        Row("se-shufflenet-v2-164", {"macs": 12700}, "U"),
        Row("senet-154", {"macs": 20700}),
    ), bases=("resnet-50",)),
    Table("v2-8", "Table 8: accuracy, multiply-adds and speed", PAPER, ("macs", "error", "images"), TABLE_8,
          bases=("shufflenet-v2-1x",), where=_ON),
    Table("v2-a1", "Appendix, Table 1: larger pictures, and ten units alone", PAPER, ("images",), _APPENDIX_1,
          bases=("shufflenet-v2-1x", "shufflenet-v2-units-64"), where=_ON, sizes=(*SIZES, *UNIT_SIZES)),
)  # fmt: skip
