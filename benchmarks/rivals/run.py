"""Runs a rival on a picture: `python -m benchmarks.rivals.run RIVAL FOLDER INPUT OUTPUT COUNT`.

The picture is raw float32 in NCHW order, FOLDER holds what the rival's `export` wrote; the logits
of the last of COUNT inferences are written raw.  Needs nothing but numpy and the rival, so that it
runs in the emulated python as well.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path


def main(argv: list[str]) -> None:
    import numpy as np

    name, folder, source, target, count = argv
    shape = json.loads(Path(folder, "shape.json").read_text())
    image = np.fromfile(source, np.float32).reshape(shape)
    run = importlib.import_module(f"{__package__}.{name}").load(Path(folder), image)
    for _ in range(int(count)):
        logits = run()
    np.asarray(logits, np.float32).tofile(target)


if __name__ == "__main__":
    main(sys.argv[1:])
