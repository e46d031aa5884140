"""No access outside of the caller's arrays: whole libraries under the address sanitizer, with random pictures."""

from __future__ import annotations

import subprocess

import pytest

from .. import sanitized


def fuzz(program, count: int, seed: int) -> None:
    done = subprocess.run([program, str(count), str(seed)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == f"{count} pictures, {count} refused\n"


@pytest.mark.slow
def test_random_pictures_through_a_library(tmp_path):
    """Formats, sizes, strides, rotations and contradictions."""
    program = sanitized.build("shufflenet-v1-0.25x-g3", (64, 64), tmp_path)
    fuzz(program, 40, 1)
    short = sanitized.link_program(tmp_path, (64, 64), 999)  # of 1000 classes: the last kernel steps outside
    done = subprocess.run([short, "1", "1"], capture_output=True, text=True)
    assert done.returncode == 1 and "heap-buffer-overflow" in done.stderr and "in __tvm_ffi_main" in done.stderr


@pytest.mark.full
@pytest.mark.parametrize("size", [(64, 64), (97, 131), (224, 224)])
@pytest.mark.parametrize(
    "model", ["shufflenet-v1-0.5x-g3", "shufflenet-v2-0.5x-se", "mobilenet-v2-0.35", "squeezenet-1.1"]
)
def test_many_pictures_through_libraries(tmp_path, model, size):
    program = sanitized.build(model, size, tmp_path)
    for seed in range(5):
        fuzz(program, 40, seed)
