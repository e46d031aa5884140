"""Photographs: the library decides as PyTorch does on every one.

The pictures are those of Imagenette at 224x224; `TSN_IMAGENETTE` names the folder that holds val.tar.
"""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest

import tvm_shufflenet
from tvm_shufflenet.architectures import network
from tvm_shufflenet.bridge import random_parameters
from tvm_shufflenet.library.preprocess import load_picture

from ..conftest import IMAGENETTE, relative_error

PICTURES = 100
ARCHIVE = IMAGENETTE / "val.tar"
pytestmark = pytest.mark.skipif(not ARCHIVE.is_file(), reason=f"no photographs: {ARCHIVE} is missing")


@pytest.fixture(scope="module")
def photographs() -> list[bytes]:
    """Every 20th of the 2,000: ten of each class."""
    with tarfile.open(ARCHIVE) as archive:
        members = sorted((m for m in archive if m.isfile()), key=lambda m: m.name)
        chosen = members[:: max(1, len(members) // PICTURES)][:PICTURES]
        return [archive.extractfile(member).read() for member in chosen]


@pytest.mark.parametrize("name", ["shufflenet-v1-1x-g3", "shufflenet-v1-0.5x-g8"])
def test_same_top1_as_pytorch_on_100_photographs(build, tmp_path, photographs, name):
    """Random weights, but the classifier's bias centred, so that the decisions differ."""
    import torch

    from tvm_shufflenet.bridge import save_checkpoint, torch_module

    net, parameters = network(name, classes=10), random_parameters(network(name, classes=10))
    module = torch_module(net).eval()

    def logits(batch: np.ndarray) -> np.ndarray:
        module.load_state_dict({k: torch.from_numpy(v) for k, v in parameters.items()}, strict=False)
        with torch.inference_mode():
            return torch.cat([module(part) for part in torch.from_numpy(batch).split(25)]).numpy()

    manifest = build(name, classes=10).manifest
    batch = np.concatenate([load_picture(io.BytesIO(data), manifest) for data in photographs])
    assert batch.shape == (PICTURES, 3, 224, 224)
    parameters["classifier.bias"] -= logits(batch).mean(0)
    save_checkpoint(tmp_path / "centred.safetensors", parameters, {})
    library = tvm_shufflenet.load(build(name, classes=10, weights=tmp_path / "centred.safetensors").path)

    expected = logits(batch)
    found = np.concatenate([library(data[None]) for data in batch])
    assert len(set(expected.argmax(1))) >= 5
    assert relative_error(found, expected) < 1e-5
    assert (found.argmax(1) == expected.argmax(1)).all()
