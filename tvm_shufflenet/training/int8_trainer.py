"""Fine-tuning for int8: the loop of `Trainer` over a network that is rounded as its library will be."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import nn

from ..architectures import own_name
from ..bridge.parameters import digest
from ..errors import UserError
from ..exchange import Imported, load_network
from ..targets.calibration import Calibration, calibration_in
from .fake_quantised import FakeQuantised
from .pictures import Pictures
from .trainer import Trainer


class Int8Trainer(Trainer):
    """One run, of a classifier whose `options.start` is a file of weights with scales; these stay as they are.

    Batch norms keep their statistics.  Checkpoints hold the scales beside the weights, for `build --precision int8`.
    """

    training: Pictures

    def _trained(self, resume: dict | None) -> nn.Module:
        if resume:
            metadata, source = resume["metadata"], "the training checkpoint"
            arrays = {key: value.numpy() for key, value in resume["state_dict"].items() if value.is_floating_point()}
        else:
            source = self.options.start
            found = starting(Path(source))
            self._check_classes(found)
            metadata, arrays = found.metadata, found.parameters
            state = self.model.state_dict()
            for name, array in arrays.items():
                state[name].copy_(torch.from_numpy(array))
        self.calibration = calibration_in(metadata, digest(arrays), source)
        return FakeQuantised(self.model, self.calibration)

    def _check_classes(self, found: Imported) -> None:
        names, here = found.class_names, list(self.training.class_names)
        if found.network.classes != len(here) or (names is not None and names != here):
            known = ", ".join(names[:10]) if names else f"{found.network.classes}"
            raise UserError(f"{self.training.root} has other classes than {self.options.start}, or in another order: "
                            f"{', '.join(here[:10])}; expected {known}")  # fmt: skip

    def metadata(self) -> dict[str, str]:
        arrays = {name: value.cpu().numpy() for name, value in self.model.state_dict().items()
                  if value.is_floating_point()}  # fmt: skip
        of_these: Calibration = dataclasses.replace(self.calibration, weights=digest(arrays))
        return super().metadata() | {"fine_tuned": "int8"} | of_these.to_metadata()


def starting(path: Path) -> Imported:
    """Weights to begin with; `UserError` unless of a network of the list, with pictures as `train` has them."""
    found = load_network(path)
    if not own_name(found.network.name):
        raise UserError(f"{path} holds {found.network.name}, which is no network of the list: it cannot be fine-tuned")
    if found.preprocessing is not None:
        raise UserError(f"{path} wants pictures prepared in a way of its own: it cannot be fine-tuned")
    if len(set(found.network.size)) > 1:
        raise UserError(f"{path} is of {'x'.join(map(str, found.network.size))} pixels: expected a square")
    return found
