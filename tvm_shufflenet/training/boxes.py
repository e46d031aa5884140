"""Pictures with boxes around what they show: Pascal VOC's XML files or COCO's JSON, in a folder or a tar.

VOC: each picture has an XML file of its name, beside it or in another folder (JPEGImages/a.jpg, Annotations/a.xml).
COCO: one JSON file names the pictures, by the ends of their paths, and holds all boxes.
Numbers are taken as they are: a box reaches from its first to its last coordinate, in pixels from the picture's corner.
"""

from __future__ import annotations

import io
import json
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from ..errors import UserError
from .pictures import Pictures, files_in, is_picture

LEAST = 1.0  # pixels of a side: what is narrower is no box
LARGEST = 1 << 30  # bytes of an annotation


@dataclass(frozen=True)
class Boxes:
    """Boxes of one picture: `sides` float32 (N, 4) is left, top, right and bottom in pixels, `labels` int64 (N,).

    `crowd` (N,) marks those of COCO that stand for many at once: they are not learnt, and what is found there does not
    count.  `size` is (width, height) of the picture as its annotation says it, or None.
    """

    sides: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    size: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class BoxedPictures:
    """Pictures, the boxes of each and the names of the classes; `notices` say what of the files was not taken."""

    pictures: Pictures
    boxes: tuple[Boxes, ...]
    class_names: tuple[str, ...]
    notices: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def root(self) -> Path:
        return self.pictures.root

    def first(self, count: int) -> BoxedPictures:
        extents = None if self.pictures.extents is None else self.pictures.extents[:count]
        pictures = replace(
            self.pictures, names=self.pictures.names[:count], labels=self.pictures.labels[:count], extents=extents
        )
        return replace(self, pictures=pictures, boxes=self.boxes[:count])

    def named(self, class_names: list[str] | tuple[str, ...], source: str) -> BoxedPictures:
        """The same pictures, labelled by these names; `UserError`, which says `source`, for a class without one."""
        for name in self.class_names:
            if name not in class_names:
                raise UserError(f"{self.root}: {source} knows no class {name} (it has {', '.join(class_names[:10])})")
        number = np.array([class_names.index(name) for name in self.class_names], np.int64)
        boxes = tuple(replace(b, labels=number[b.labels]) for b in self.boxes)
        return replace(self, boxes=boxes, class_names=tuple(class_names))


def find_boxes(path: str | os.PathLike, split: str) -> BoxedPictures:
    """Indexes pictures and boxes at `path`; where it has a folder called `split`, those in it.

    `path` is a folder or a tar, or a folder that holds SPLIT.tar.  Raises `UserError` for what is missing, damaged or
    contradicts itself: no annotations, pictures without one, broken XML or JSON, a JSON that names other pictures.
    """
    path, split_tar = Path(path), Path(path, f"{split}.tar")
    path = split_tar if path.is_dir() and split_tar.is_file() else path
    names, extents = files_in(path, lambda name: is_picture(name) or name.lower().endswith((".xml", ".json")))
    places = {name: index for index, name in enumerate(names)}
    inside = [name for name in sorted(names) if name.split("/")[0] == split] or sorted(names)

    def read(name: str) -> bytes:
        if extents is None:
            return Path(path, name).read_bytes()
        offset, length = extents[places[name]]
        if length > LARGEST:
            raise UserError(f"{path}: {name} has {length} bytes, expected an annotation")
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(length)

    pictures = [name for name in inside if is_picture(name)]
    if not pictures:
        raise UserError(f"{path} holds no pictures")
    documents = [name for name in inside if name.lower().endswith(".json")] or [
        name for name in names if name.lower().endswith(".json") and split in name
    ]
    sheets = [name for name in inside if name.lower().endswith(".xml")]
    if sheets:
        chosen, raw, classes, notices = _voc(path, pictures, sheets, read)
    elif documents:
        chosen, raw, classes, notices = _coco(path, pictures, documents, split, read)
    else:
        raise UserError(f"{path} holds no annotations: expected an XML file for each picture, or a JSON file of COCO's")
    boxes, more = _checked(chosen, raw, classes)
    where = None if extents is None else np.array([extents[places[name]] for name in chosen], np.int64)
    index = Pictures(path, (), tuple(chosen), np.zeros(len(chosen), np.int64), where)
    return BoxedPictures(index, tuple(boxes), tuple(classes), tuple(notices + more))


def checked_sizes(boxed: BoxedPictures) -> list[tuple[int, int]]:
    """(width, height) of each picture; `UserError` where its annotation says another, or it is no picture.

    The header of a file says it, and which side of the picture is up.
    """
    sizes = []
    for index, (name, boxes) in enumerate(zip(boxed.pictures.names, boxed.boxes)):
        size = picture_size(boxed.pictures, index)
        if size is None:
            sizes.append(boxes.size or (1, 1))  # what cannot be read is said where it is read
            continue
        check_size(name, size, boxes)
        sizes.append(size)
    return sizes


def check_size(name: str, size: tuple[int, int], boxes: Boxes) -> None:
    """`UserError` where the annotation is of a picture of another size."""
    if boxes.size and boxes.size != size:
        shown = ["x".join(map(str, each)) for each in (size, boxes.size)]
        raise UserError(f"{name}: the picture has {shown[0]} pixels, its annotation says {shown[1]}")


def picture_size(pictures: Pictures, index: int) -> tuple[int, int] | None:
    """(width, height) as the header says it, of the picture as it stands upright; None where it cannot be read."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(pictures.read(index))) as picture:
                turned = picture.getexif().get(0x0112) in (5, 6, 7, 8)
                return (picture.height, picture.width) if turned else (picture.width, picture.height)
    except Exception:  # whatever Pillow's readers raise
        return None


_Raw = list[tuple[list[tuple[str, list[float], bool]], tuple[int, int] | None]]  # of each picture
_Found = tuple[list[str], _Raw, list[str], list[str]]


def _voc(path: Path, pictures: list[str], sheets: list[str], read: Callable[[str], bytes]) -> _Found:
    beside = {sheet.rpartition(".")[0]: sheet for sheet in sheets}
    by_stem: dict[str, list[str]] = {}
    for sheet in sheets:
        by_stem.setdefault(_stem(sheet), []).append(sheet)
    missing: list[str] = []
    raw: _Raw = []
    for picture in pictures:
        others = by_stem.get(_stem(picture), [])
        its = beside.get(picture.rpartition(".")[0]) or (others[0] if len(others) == 1 else None)
        if its is None and others:
            raise UserError(f"{path}: {picture} may have the annotation {others[0]} or {others[1]}")
        if its is None:
            missing.append(picture)
        else:
            raw.append(_sheet(f"{path}: {its}", read(its)))
    if missing:
        raise UserError(
            f"{path}: {missing[0]} has no annotation, and {len(missing) - 1} more: expected "
            f"{_stem(missing[0])}.xml, without objects if there are none"
        )
    classes = sorted({name for objects, _ in raw for name, _, _ in objects})
    return pictures, raw, classes, []


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]


def _sheet(source: str, data: bytes) -> tuple[list[tuple[str, list[float], bool]], tuple[int, int] | None]:
    """Objects and the picture's size of one XML file."""
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise UserError(f"{source} is no whole XML file: {error}") from None
    if root.tag != "annotation":
        raise UserError(f"{source}: its root is <{root.tag:.40}>, expected Pascal VOC's <annotation>")
    objects = []
    for number, entry in enumerate(root.iter("object"), 1):
        name = (entry.findtext("name") or "").strip()
        if not name:
            raise UserError(f"{source}: its object {number} has no <name>")
        numbers = _numbers(entry, ("bndbox/xmin", "bndbox/ymin", "bndbox/xmax", "bndbox/ymax"))
        if numbers is None:
            raise UserError(f"{source}: its object {number} has no <bndbox> of four numbers")
        objects.append((name, numbers, False))
    sides = _numbers(root, ("size/width", "size/height"))
    return objects, (int(sides[0]), int(sides[1])) if sides and min(sides) >= 1 else None


def _numbers(entry: ElementTree.Element, paths: Sequence[str]) -> list[float] | None:
    """The numbers at these paths, where all are there."""
    try:
        values = [float(entry.findtext(path) or "") for path in paths]
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None


def _coco(path: Path, pictures: list[str], documents: list[str], split: str, read: Callable[[str], bytes]) -> _Found:
    of_split = [name for name in documents if split in name.rpartition("/")[2]]
    chosen = of_split if len(of_split) == 1 else documents
    if len(chosen) > 1:
        raise UserError(f"{path} holds {', '.join(chosen[:4])}: expected one JSON file of annotations for {split}")
    source = f"{path}: {chosen[0]}"
    try:
        content = json.loads(read(chosen[0]))
        categories = {c["id"]: str(c["name"]) for c in sorted(content["categories"], key=lambda c: c["id"])}
        images = {image["id"]: image for image in content["images"]}
        found: dict[object, list] = {number: [] for number in images}
        for entry in content["annotations"]:
            left, top, width, height = map(float, entry["bbox"])
            box = [left, top, left + width, top + height]
            found[entry["image_id"]].append((categories[entry["category_id"]], box, bool(entry.get("iscrowd", 0))))
        listed = [str(image["file_name"]) for image in images.values()]
        sizes = [(int(i["width"]), int(i["height"])) if "width" in i else None for i in images.values()]
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        what = f"its entry {error} is missing" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{source} is no whole JSON file of COCO's: {what:.100}") from None
    if len(set(categories.values())) != len(categories):
        raise UserError(f"{source}: two categories have one name")
    by_end: dict[str, list[str]] = {}
    for picture in pictures:
        by_end.setdefault(picture.rpartition("/")[2], []).append(picture)
    names = []
    for name in listed:
        ends = [p for p in by_end.get(name.rpartition("/")[2], []) if f"/{p}".endswith(f"/{name}")]
        if len(ends) != 1:
            raise UserError(f"{source} names {name}, of which there {'are several' if ends else 'is none'} in {path}")
        names.append(ends[0])
    notices = []
    if others := sorted(set(pictures) - set(names)):
        notices.append(f"{path}: {len(others)} pictures that {chosen[0]} does not name are left out, {others[0]} first")
    if not names:
        raise UserError(f"{source} names no picture")
    order = sorted(range(len(names)), key=names.__getitem__)
    raw = list(zip(found.values(), sizes))
    return [names[i] for i in order], [raw[i] for i in order], list(categories.values()), notices


def _checked(names: list[str], raw: _Raw, classes: list[str]) -> tuple[list[Boxes], list[str]]:
    """Boxes within their pictures, and what was cut, left out, or has none."""
    number = {name: index for index, name in enumerate(classes)}
    cut, dropped, empty, boxes, counts = [], [], [], [], np.zeros(len(classes), np.int64)
    for name, (objects, size) in zip(names, raw):
        sides = np.array([box for _, box, _ in objects], np.float32).reshape(-1, 4)
        labels = np.array([number[label] for label, _, _ in objects], np.int64)
        crowd = np.array([many for _, _, many in objects], bool)
        if size is not None:
            inside = np.clip(sides, 0, np.array([*size, *size], np.float32))
            cut += [name] * int((inside != sides).any(1).sum())
            sides = inside
        good = ((sides[:, 2:] - sides[:, :2]) >= LEAST).all(1) if len(sides) else np.zeros(0, bool)
        dropped += [name] * int((~good).sum())
        boxes.append(Boxes(sides[good], labels[good], crowd[good], size))
        counts += np.bincount(labels[good], minlength=len(classes))
        empty += [] if good.any() else [name]
    notices = [f"{len(found)} {what}, first in {found[0]}" for found, what in (
        (cut, "boxes reach out of their pictures and were cut off"),
        (dropped, "boxes have no area within their pictures and were left out"),
        (empty, "pictures have no boxes: all of each is background"),
    ) if found]  # fmt: skip
    notices += [f"the class {name} has no box" for name, count in zip(classes, counts) if not count]
    if not counts.sum():
        raise UserError(f"{names[0]} and {len(names) - 1} more pictures have no box at all")
    return boxes, notices
