"""Labelled pictures: a folder, or a tar, of the layout [SPLIT/]CLASS/NAME.jpeg.

Only the index is in memory, so that ImageNet fits.  A tar is indexed once, by offsets, and read with
`pread`, so that any number of processes share it.
"""

from __future__ import annotations

import os
import tarfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..errors import UserError

SUFFIXES = (".jpeg", ".jpg", ".png", ".webp", ".bmp", ".ppm")
LAYOUT = "expected CLASS/NAME.jpeg or SPLIT/CLASS/NAME.jpeg, one folder for each class"

# Of the ten classes of Imagenette, whose folders carry WordNet's numbers.
READABLE = {
    "n01440764": "tench", "n02102040": "English springer", "n02979186": "cassette player",
    "n03000684": "chain saw", "n03028079": "church", "n03394916": "French horn",
    "n03417042": "garbage truck", "n03425413": "gas pump", "n03445777": "golf ball", "n03888257": "parachute",
}  # fmt: skip


@dataclass(frozen=True)
class Pictures:
    """An index of pictures.  Classes are the class folders in alphabetical order.

    `names` are paths inside `root`, and `labels` (int64) the number of each one's class.  `extents`
    (int64, two columns) are offset and length in the tar `root`; None where `root` is a folder.
    """

    root: Path
    folders: tuple[str, ...]
    names: tuple[str, ...]
    labels: np.ndarray
    extents: np.ndarray | None = None
    notices: ClassVar[tuple[str, ...]] = ()  # what of the files was not taken

    def __len__(self) -> int:
        return len(self.names)

    @property
    def class_names(self) -> list[str]:
        """What the classes are called: readable where the project knows the folder, else the folder."""
        return [READABLE.get(folder, folder) for folder in self.folders]

    def read(self, index: int) -> bytes:
        """The file of one picture; OSError where it cannot be read."""
        if self.extents is None:
            return Path(self.root, self.names[index]).read_bytes()
        offset, length = (int(n) for n in self.extents[index])
        return os.pread(self._descriptor, length, offset)

    @cached_property
    def _descriptor(self) -> int:
        return os.open(self.root, os.O_RDONLY)

    def first(self, count: int) -> Pictures:
        """`count` of the pictures, the same number of each class as nearly as possible."""
        turn = np.zeros(len(self), np.int64)  # of each picture within its class
        for label in range(len(self.folders)):
            of_class = np.flatnonzero(self.labels == label)
            turn[of_class] = np.arange(len(of_class))
        chosen = np.sort(np.lexsort((self.labels, turn))[:count])
        extents = None if self.extents is None else self.extents[chosen]
        return Pictures(self.root, self.folders, tuple(self.names[i] for i in chosen), self.labels[chosen], extents)


def find_pictures(path: str | os.PathLike, split: str) -> Pictures:
    """Indexes the pictures at `path`; where it holds several splits, those of `split`.

    `path` is a folder or a tar, or a folder that holds SPLIT.tar.  Hidden files, and files that are
    no pictures by their suffix, are passed over.  Raises `UserError` for a path that is missing or of
    another layout, and for a class without pictures.
    """
    path = Path(path)
    if path.is_dir() and Path(path, f"{split}.tar").is_file():
        path = Path(path, f"{split}.tar")
    names, folders, extents = _files(path, is_picture)
    order = sorted(range(len(names)), key=names.__getitem__)
    paths = [names[i].split("/") for i in order]
    prefix = _prefix(path, paths, split)
    chosen = [k for k, parts in enumerate(paths) if parts[:-2] == prefix]
    # A class folder without a picture is a mistake that would shift the number of every class behind it.
    known = {paths[k][-2] for k in chosen}
    for parts in folders:
        if parts[:-1] == prefix and parts[-1] not in known and not parts[-1].startswith("."):
            raise UserError(f"{path}: the class {'/'.join(parts)} has no pictures ({', '.join(SUFFIXES)})")
    classes = tuple(sorted(known))
    number = {name: index for index, name in enumerate(classes)}
    return Pictures(
        path,
        classes,
        tuple("/".join(paths[k]) for k in chosen),
        np.array([number[paths[k][-2]] for k in chosen], np.int64),
        None if extents is None else np.array([extents[order[k]] for k in chosen], np.int64),
    )


def beside(path: str | os.PathLike, split: str) -> Path | None:
    """Where the pictures of another split should be: in the same folder or tar, or beside it."""
    path = Path(path)
    if path.is_dir() and (Path(path, split).is_dir() or Path(path, f"{split}.tar").is_file()):
        return path
    places = (path.with_name(f"{split}.tar"), path.with_name(split))
    return next((place for place in places if place.exists() and place != path), None)


def check_same_classes(training: Pictures, validation: Pictures) -> None:
    """`UserError` unless both have the same classes."""
    for one, other in ((training, validation), (validation, training)):
        for name in one.folders:
            if name not in other.folders:
                raise UserError(f"{other.root} has no class {name}, which {one.root} has: both need the same classes")


def labels_for(pictures: Pictures, classes: int, names: list[str] | None, source: str) -> np.ndarray:
    """The labels of `pictures` as a network with that many classes numbers them.

    By name where the network (from `source`) names its classes and by order where it does not.
    `UserError` where they are not its classes.
    """
    if names is None:
        if len(pictures.folders) != classes:
            raise UserError(f"{pictures.root} has {len(pictures.folders)} classes, {source} has {classes} outputs")
        return pictures.labels
    number = {name: index for index, name in enumerate(names)}
    found = [number.get(name, number.get(folder)) for name, folder in zip(pictures.class_names, pictures.folders)]
    if None in found:
        unknown = pictures.folders[found.index(None)]
        raise UserError(f"{pictures.root}: {source} knows no class {unknown} (it has {', '.join(names[:10])}...)")
    return np.array(found, np.int64)[pictures.labels]


def files_in(path: Path, wanted: Callable[[str], bool]) -> tuple[list[str], list[tuple[int, int]] | None]:
    """Paths of the wanted files in a folder or tar, and of a tar where each lies; `UserError` as `find_pictures`."""
    names, _, extents = _files(path, wanted)
    return names, extents


def _files(
    path: Path, wanted: Callable[[str], bool]
) -> tuple[list[str], list[list[str]], list[tuple[int, int]] | None]:
    if path.is_dir():
        return *_walk(path, wanted), None
    if path.is_file():
        return _index_tar(path, wanted)
    raise UserError(f"{path}: no such folder or tar of pictures")


def is_picture(name: str) -> bool:
    """Whether the file of that name is taken for a picture."""
    return name.lower().endswith(SUFFIXES) and not name.rpartition("/")[2].startswith(".")


def _walk(root: Path, wanted: Callable[[str], bool]) -> tuple[list[str], list[list[str]]]:
    """Wanted files and folders below `root`, as paths inside it; links to folders are followed."""
    names, folders = [], []
    for folder, _, files in os.walk(root, followlinks=True):
        inside = os.path.relpath(folder, root)
        parts = [] if inside == "." else inside.split(os.sep)
        folders.append(parts)
        names += ["/".join([*parts, name]) for name in files if wanted(name)]
    return names, [parts for parts in folders if parts]


def _index_tar(path: Path, wanted: Callable[[str], bool]) -> tuple[list[str], list[list[str]], list[tuple[int, int]]]:
    names, folders, extents, other = [], [], [], ""
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                name = os.path.normpath(member.name)
                if member.isdir():
                    folders.append(name.split("/"))
                elif member.isreg() and wanted(name):
                    names.append(name)
                    extents.append((member.offset_data, member.size))
                else:
                    other = name
                # Or it keeps an object for each of a million members.
                archive.members.clear()  # type: ignore[attr-defined]
    except (tarfile.TarError, EOFError) as error:
        hint = "" if path.suffix == ".tar" else "; a compressed one has to be unpacked first"
        raise UserError(f"{path} is no whole tar: {error}{hint}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    if not names and other.endswith(".tar"):
        raise UserError(f"{path} holds tars such as {other}, no pictures: unpack each into a folder of its class")
    return names, folders, extents


def _prefix(path: Path, paths: list[list[str]], split: str) -> list[str]:
    """The folders above the class folders: nothing, or the split."""
    if not paths:
        raise UserError(f"{path} holds no pictures ({', '.join(SUFFIXES)})")
    depths = Counter(map(len, paths))
    if 1 in depths:
        name = next(parts[0] for parts in paths if len(parts) == 1)
        raise UserError(f"{path}: the picture {name} lies in no class folder; {LAYOUT}")
    if len(depths) > 1 or max(depths) > 3:
        shown = ["/".join(next(parts for parts in paths if len(parts) == depth)) for depth in sorted(depths)[-2:]]
        raise UserError(f"{path}: wrong layout ({' and '.join(shown)}); {LAYOUT}")
    if 2 in depths:
        return []
    splits = sorted({parts[0] for parts in paths})
    if split in splits:
        return [split]
    if len(splits) > 1:
        raise UserError(f"{path} holds {', '.join(splits[:5])}, none of them called {split}")
    return splits
