"""Training of detectors: the loop of `Trainer` with SSD's objective, pictures with boxes, and COCO's precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..architectures import Network, network
from ..architectures.registry import backbone
from ..bridge import load_checkpoint
from ..bridge.detections import Detections
from ..errors import UserError
from ..library.detection import Detected
from .average_precision import Found, average_precision
from .box_loader import BoxBatch, BoxBatches
from .box_loss import ssd_loss
from .boxes import BoxedPictures, checked_sizes
from .loader import Decoded, Order, load
from .trainer import Trainer

STARTING = 0.03  # standard deviation of the weights of the last convolutions of the heads


class BoxTrainer(Trainer):
    """One run, of a detector; `training` and `validation` are `BoxedPictures`."""

    scores = ("map", "ap50")
    training: BoxedPictures
    validation: BoxedPictures | None

    def _network(self) -> Network:
        size = (self.options.size, self.options.size)
        self.detector = network(self.options.model, size, len(self.training.class_names))
        if self.detector.two_stages:
            raise UserError(f"{self.options.model} looks at regions, and is not trained here: take an ssdlite")
        if self.detector.layers[self.detector.detector].attrs["bins"]:
            raise UserError(f"{self.options.model} has no default boxes, and is not trained here: take an ssdlite")
        return self.detector.heads()

    def begin(self, classifier: Path | None) -> None:
        """First weights: of the heads small ones, so that nothing is sure at first; of the body those of a classifier.

        `UserError` where a tensor of the body is not there, or has another shape.
        """
        for index in self.model.network.outputs:
            weight = self.model.get_parameter(f"{self.model.network.layers[index].name}.weight")
            torch.nn.init.normal_(weight, 0, STARTING)
        if classifier is None:
            return
        arrays, _ = load_checkpoint(classifier)
        state = self.model.state_dict()
        body = network(backbone(self.options.model), self.detector.size, 1)
        layers = {layer.name for layer in body.layers} & {layer.name for layer in self.detector.layers}
        for name, shape in body.parameters().items():
            if name.rpartition(".")[0] not in layers:
                continue
            array = arrays.get(name)
            if array is None or array.shape != shape:
                found = "is missing" if array is None else f"is {'x'.join(map(str, array.shape))}"
                raise UserError(f"{classifier}: tensor {name} {found}, expected {'x'.join(map(str, shape))}: "
                                f"the body of {self.options.model} is {body.name}")  # fmt: skip
            state[name].copy_(torch.from_numpy(array))

    def _known(self) -> list[str]:
        return list(self.training.class_names)

    def _decoded(self, pictures: BoxedPictures) -> Decoded:
        return super()._decoded(pictures.pictures)

    def _batches(self, decoded: Decoded) -> BoxBatches:
        return BoxBatches(decoded, self.training, self.options.recipe)

    def _objective(self, maps, batch: BoxBatch) -> torch.Tensor:
        layer = self.detector.layers[self.detector.detector]
        size = batch.pixels.shape[1], batch.pixels.shape[2]
        return ssd_loss(maps, layer.attrs["anchors"], self.detector.classes, size, batch.boxes, batch.labels)

    def _right(self, maps, batch: BoxBatch) -> torch.Tensor:
        return torch.zeros((), device=self.process.device)

    def _answered(self, right: float) -> dict[str, float]:
        return {}

    def validate(self, decoded: Decoded) -> dict[str, float]:
        """COCO's mean average precision and that at an overlap of 0.5, on whole pictures."""
        size = self.options.size
        mine = np.arange(self.process.rank, len(decoded.pictures), self.process.world)
        orders = [Order(mine[start : start + 16], size) for start in range(0, len(mine), 16)]
        find = Detections(**self.detector.layers[self.detector.detector].attrs, size=self.detector.size)
        found: list[Found] = []
        assert self.validation is not None
        sizes = checked_sizes(self.validation)
        self.model.eval()
        with torch.inference_mode(), self._autocast():
            for batch in load(BoxBatches(decoded, self.validation), orders, self.late_workers):
                self._report(batch.broken)
                maps = [m.float().cpu() for m in self.model(self._inputs(batch.pixels))]
                half = len(maps) // 2
                probabilities = [
                    m.unflatten(1, (-1, self.detector.classes + 1)).softmax(2).flatten(1, 2) for m in maps[:half]
                ]
                for index, row in zip(batch.indices, find(*probabilities, *maps[half:])):
                    boxes = Detected.of(row.numpy(), self.detector.size)
                    found.append(Found(index, boxes.on(sizes[index])))
        if self.process.world > 1:
            everyone: list = [None] * self.process.world
            torch.distributed.all_gather_object(everyone, found)
            found = [each for some in everyone for each in some]
        if not found:
            raise UserError(f"{decoded.pictures.root}: no picture can be read")
        result = average_precision(found, self.validation)
        return {"map": result.mean, "ap50": result.at_half, "images": len(found)}
