"""The layers that make boxes; a part of `NetworkBuilder`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..errors import UserError
from . import checks
from .network import Layer

Anchors = Sequence[Sequence[Sequence[float]]]
BOXES = 1 << 14  # of a layer, at most
POOLINGS = ("max", "align", "bins")


class BoxLayers:
    """Declares those methods of `NetworkBuilder` that the layers here call, and defines these layers."""

    layers: list[Layer]

    def shape(self, index: int) -> tuple[int, ...]:
        raise NotImplementedError

    def slice(self, name: str, x: int, start: int, stop: int, step: int = 1) -> int:
        raise NotImplementedError

    def reshape(self, name: str, x: int, shape: Sequence[int]) -> int:
        raise NotImplementedError

    def _append(self, op: str, name: str, inputs: Sequence[int], shape: Sequence[int], /, **attrs: object) -> int:
        raise NotImplementedError

    def _input(self, name: str, x: int, *ranks: int) -> tuple[int, ...]:
        raise NotImplementedError

    def detections(
        self, name: str, *maps: int, anchors: Anchors, classes: int,
        least: float = 0.001, overlap: float = 0.55, candidates: int = 300, best: int = 100, bins: int = 0,
        background: bool = True, corners: bool = False,
    ) -> int:  # fmt: skip
        """The post-processing of SSD (arXiv:1512.02325, section 2): (1, 6 * best + 1), see `detector`.

        `maps` are the scores of each map, (1, A * (classes + 1), H, W), in which the background is the first of each
        default box's classes, and then the boxes of each map, (1, 4 * A, H, W).  `anchors` are (width, height) of the A
        default boxes of each map, as shares of the input's.  Boxes with a score above `least` take part, of each class
        the best `candidates`; of two of a class whose intersection is more than the share `overlap` of their union the
        better one stays; the `best` of all classes are the output.

        Without `background` the scores are (1, A * classes, H, W).  With `bins` the boxes are (1, 4 * bins * A, H, W):
        of each edge, left, top, right and bottom, numbers whose softmax are shares of the distances 0, 1, ... from the
        pixel's centre, by the default box's side (X. Li et al., arXiv:2006.04388).  With `corners` pixel i of a row or
        column stands for the place i * the default box's side, else for the middle of its share of the input.
        """
        how = self._selection(name, classes, least, overlap, best)
        candidates = checks.integer(name, "the number of its candidates", candidates, 1, BOXES)
        bins, background = checks.integer(name, "the number of its bins", bins, 0, 256), bool(background)
        anchors = self._anchors(name, maps, anchors, classes, bins, checks.flag(name, "background", background))
        return self._append(
            "detections", name, maps, (1, 6 * best + 1), anchors=anchors, candidates=candidates, bins=bins,
            background=background, corners=checks.flag(name, "corners", corners), **how,
        )  # fmt: skip

    def _selection(self, name: str, classes: int, least: float, overlap: float, best: int) -> dict[str, Any]:
        """Attributes that say which boxes are given."""
        return {
            "classes": checks.integer(name, "the number of its classes", classes, 1, 1 << 16),
            "least": checks.number(name, "its least score", least, 0, 1),
            "overlap": checks.number(name, "its overlap", overlap, 0, 1),
            "best": checks.integer(name, "the number of its boxes", best, 1, BOXES),
        }

    def _anchors(
        self, name: str, maps: Sequence[int], anchors: Anchors, classes: int, bins: int = 0, background: bool = True
    ) -> Anchors:
        """The default boxes; `UserError` unless they fit the maps."""
        of_scores, of_boxes = classes + background, 4 * max(bins, 1)
        anchors = checks.anchors(name, anchors, len(maps) // 2)
        total = 0
        for index, (sides, scores, boxes) in enumerate(
            zip(anchors, maps[: len(anchors)], maps[len(anchors) :], strict=True)
        ):
            shapes = self._picture(name, scores), self._picture(name, boxes)
            count = len(sides)
            if shapes[0][1] != count * of_scores or shapes[1][1] != of_boxes * count or shapes[0][2:] != shapes[1][2:]:
                texts = ["x".join(map(str, shape)) for shape in shapes]
                raise UserError(
                    f"layer {name}: scores of {texts[0]} and boxes of {texts[1]} on map {index}, expected "
                    f"{count * of_scores} and {of_boxes * count} channels of the same planes"
                )
            total += count * math.prod(shapes[0][2:])
        if total * classes >= 1 << 24:
            raise UserError(
                f"layer {name}: {total} default boxes of {classes} classes, expected a product below {1 << 24}: use a "
                "smaller --size or --classes"
            )
        return anchors

    def _picture(self, name: str, x: int) -> tuple[int, ...]:
        """The shape of layer `x`, which must be planes of the whole picture and not of regions."""
        shape = self._input(name, x, 4)
        if shape[0] > 1:
            raise UserError(f"layer {name}: an input is of each region, expected one of the picture")
        return shape

    def proposals(
        self, name: str, scores: int, boxes: int, *, anchors: Anchors, overlap: float = 0.7, candidates: int = 6000,
        best: int = 300, smallest: float = 16.0,
    ) -> int:  # fmt: skip
        """Regions that may show something (S. Ren et al., arXiv:1506.01497): (1, 6 * best + 1), as `detections`.

        `scores` are (1, 2 * A, H, W), of background and object for each of the A default boxes, `boxes` (1, 4 * A, H,
        W).  A box that is narrower or lower than `smallest` pixels is left out.  What a map's numbers are worth is the
        default box's side, and 1 of the logarithm of its ratio.
        """
        how = self._selection(name, 1, 0.0, overlap, best)
        candidates = checks.integer(name, "the number of its candidates", candidates, 1, BOXES)
        smallest = checks.number(name, "its smallest side", smallest, 0, 1e6)
        anchors = self._anchors(name, (scores, boxes), anchors, 1)
        del how["classes"], how["least"]
        return self._append(
            "proposals", name, [scores, boxes], (1, 6 * best + 1), anchors=anchors, candidates=candidates,
            smallest=smallest, **how,
        )  # fmt: skip

    def regions(self, name: str, x: int, found: int, size: int, mode: str = "max", stride: int = 16) -> int:
        """The pixels of `x` in each region of `found` (from `proposals`), as planes: (best, C, size, size).

        `mode` says what a bin gives: its largest number ("max", RoI pooling), the mean of points in it ("align", RoI
        align), or such a mean where each bin reads a plane of its own ("bins", position-sensitive RoI align: `x` has C
        * size^2 channels, and bin (i, j) of channel c reads plane (c * size + i) * size + j).

        A pixel of `x` is `stride` pixels of the picture.  Places behind the last region that was found hold a corner of
        the picture.
        """
        channels = self._picture(name, x)[1]
        size = checks.integer(name, "its size", size, 1, 64)
        mode = checks.choice(name, "its mode", mode, POOLINGS)
        stride = checks.integer(name, "its stride", stride, 1, 1 << 10)
        if mode == "bins":
            if channels % size**2:
                raise UserError(f"layer {name}: {channels} channels, expected a multiple of {size}x{size} bins")
            channels //= size**2
        return self._append(
            "regions", name, [x, found], (self._regions(name, found), channels, size, size), size=size, mode=mode,
            stride=stride,
        )  # fmt: skip

    def _regions(self, name: str, found: int) -> int:
        """How many regions `proposals` give at most."""
        shape = self._input(name, found)
        if self.layers[found].op != "proposals":  # a kernel relies on its count and its edges
            raise UserError(f"layer {name}: its regions are those of {self.layers[found].name}, expected proposals")
        return shape[1] // 6

    def region_detections(
        self, name: str, found: int, scores: int, boxes: int, *, least: float = 0.05, overlap: float = 0.3,
        best: int = 100,
    ) -> int:  # fmt: skip
        """The end of a detector of two stages (R. Girshick, arXiv:1504.08083): (1, 6 * best + 1), as `detections`.

        `found` are the regions; `scores` (regions, classes + 1), the background first, and `boxes` (regions, 4 *
        (classes + 1)) are of each of them.
        """
        regions, (copies, units), other = self._regions(name, found), self._input(name, scores, 2), self.shape(boxes)
        if copies != regions or other != (regions, 4 * units) or units < 2:
            texts = ["x".join(map(str, shape)) for shape in ((copies, units), other)]
            raise UserError(
                f"layer {name}: scores of {texts[0]} and boxes of {texts[1]}, expected of each of {regions} regions a "
                "score of the background and of each class, and four numbers for each of these"
            )
        how = self._selection(name, units - 1, least, overlap, best)
        del how["classes"]
        if regions * (units - 1) >= 1 << 24:
            raise UserError(
                f"layer {name}: {regions} regions of {units - 1} classes, expected a product below {1 << 24}"
            )
        return self._append("region_detections", name, [found, scores, boxes], (1, 6 * best + 1), **how)

    def detector(
        self, name: str, scores: Sequence[int], boxes: Sequence[int], anchors: Anchors, **how: Any
    ) -> tuple[int, ...]:
        """`detections` and what it gives: boxes (1, best, 1, 4), scores (1, best), labels (1, best), count (1, 1).

        Boxes are left, top, right and bottom in pixels of the input, the surest first; labels are numbers of classes
        from 0 on; behind the first `count` all are 0.
        """
        classes = self.shape(scores[0])[1] // len(anchors[0]) - how.get("background", True)
        return self.boxes_of(name, self.detections(name, *scores, *boxes, anchors=anchors, classes=classes, **how))

    def boxes_of(self, name: str, x: int) -> tuple[int, ...]:
        """The outputs that `detector` gives, of `detections` or `region_detections`."""
        best = self.shape(x)[1] // 6
        found = self.slice(f"{name}.boxes", x, 0, 4 * best)
        return (
            self.reshape("boxes", found, (1, best, 1, 4)),
            self.slice("scores", x, 4 * best, 5 * best),
            self.slice("labels", x, 5 * best, 6 * best),
            self.slice("count", x, 6 * best, 6 * best + 1),
        )
