"""What the present code makes of the kernels that records name, remembered between runs.

    with remembered() as kernels:
        kernels.label(record.task), kernels.version(record.task, record.knobs, options)

A version is a hash of scheduled TIR: parsing and scheduling the kernels of a folder of records takes many seconds, and
importing TVM two more.  Answers are kept in the user's folder of caches, with a digest of all code that they follow
from: answers of other code are forgotten.  A file that cannot be read or written costs time, nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError
from ..files import write_json
from .store import tvm_version

KERNELS = "tvm_shufflenet.schedules"


@dataclass
class Remembered:
    """Answers by question: `labels` by task, `versions` by task, knobs and options in one text."""

    labels: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    asked: int = 0  # questions that needed the kernels

    def label(self, task: str) -> str:
        """The label of a kernel, as `kernels.label_of` gives it."""
        if task not in self.labels:
            from .kernels import label_of

            self.asked += 1
            self.labels[task] = label_of(task)
        return self.labels[task]

    def version(self, task: str, knobs: dict[str, int], options: str) -> str:
        """The version of a kernel, as `keys.version`; "" for a text that names none, and for knobs that it refuses."""
        key = f"{task} {json.dumps(knobs, sort_keys=True)} {options}"
        if key not in self.versions:
            self.asked += 1
            self.versions[key] = _version(task, knobs, options)
        return self.versions[key]


@contextlib.contextmanager
def remembered() -> Iterator[Remembered]:
    """The answers so far; new ones are kept at the end."""
    code, path = _digest_of_code(), _path()
    kernels = _read(path, code)
    yield kernels
    if kernels.asked:
        with contextlib.suppress(OSError, UserError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"code": code, "labels": kernels.labels, "versions": kernels.versions})


def _version(task: str, knobs: dict[str, int], options: str) -> str:
    from .kernels import workload_of
    from .keys import version

    try:
        return version(workload_of(task), knobs, options)
    except Exception:  # whatever fields or knobs that no kernel has lead to
        return ""


def _path() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tvm_shufflenet" / "kernels.json"


def _read(path: Path, code: str) -> Remembered:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        data = json.loads(path.read_bytes())
        parts = data["labels"], data["versions"]
        texts = all(isinstance(text, str) for part in parts for text in part.values())
        if data["code"] == code and texts:
            return Remembered(*parts)
    return Remembered()


def _digest_of_code() -> str:
    """A digest of the code of the kernels and of this package, and of TVM's version."""
    spec = importlib.util.find_spec(KERNELS)
    assert spec and spec.origin  # the package lies beside this one
    digest = hashlib.sha256(tvm_version().encode())
    for folder in (Path(spec.origin).parent, Path(__file__).parent):
        for path in sorted(folder.glob("*.py")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
