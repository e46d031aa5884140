"""The training loop: from options and pictures to a checkpoint, resumable at any iteration.

Everything random comes from the seed and the number of the iteration, so a run that goes on from a
checkpoint makes, on a CPU with as many threads, the same weights bit for bit as one never broken off.
"""

from __future__ import annotations

import dataclasses
import io
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..architectures import Network, network
from ..bridge import save_checkpoint
from ..bridge.twin import Twin
from ..errors import UserError
from ..files import write_bytes
from ..library.preprocess import MEAN, STD
from .loader import Batch, Batches, Decoded, Order, load
from .log import Silent
from .options import PRECISIONS, Options
from .processes import Process

SAVE_EVERY = 1000  # iterations, in epochs that are longer
AGREE_EVERY = 8  # iterations: how often several processes ask each other whether to stop


class Trainer:
    """One run of training, of a classifier.

    `log` is told what happens (see `training.log.Log`); `out` is the .safetensors file.  `training` and `validation`,
    which may be None, are `Pictures`.  A trainer of other networks replaces the methods from `begin` to `validate`,
    which depend on what is learnt.
    """

    scores = ("top1", "top5")  # what `validate` gives, the main one first

    def __init__(self, options: Options, training: Any, validation: Any, out: Path, process: Process,
                 log: Silent, workers: int = 1, validate_every: int = 5, resume: dict | None = None):  # fmt: skip
        recipe = options.recipe
        if recipe.batch % process.world:
            raise UserError(f"--batch {recipe.batch} cannot be split among {process.world} processes")
        self.options, self.process, self.log, self.out = options, process, log, out
        self.training, self.validation, self.workers = training, validation, workers
        self.validate_every = validate_every
        self.epoch_steps = max(1, len(training) // recipe.batch)  # what is left over waits for the next epoch's order
        self.steps = recipe.iterations or recipe.epochs * self.epoch_steps

        torch.manual_seed(options.seed)
        net = self._network()
        # Only behind a global average does the classifier not depend on the size.
        self.zooms = not net.classes or any(layer.op == "global_avg_pool" for layer in net.layers)
        self.model = Twin(net)
        self.model.to(device=process.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        _silence_residuals(self.model)
        decaying = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.SGD(
            [{"params": decaying, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=recipe.rate, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=True,
        )  # fmt: skip
        self.scaler = torch.amp.GradScaler(process.device.type, enabled=options.precision == "fp16")
        self.step = 0
        self.history: list[dict] = []  # a row for each epoch
        self.running = torch.zeros(3, dtype=torch.float64, device=process.device)  # loss, right, pictures; this epoch
        self.seconds = 0.0  # of the runs before this one
        self._mean = torch.tensor(MEAN, device=process.device) * 255
        self._std = torch.tensor(STD, device=process.device) * 255
        self._broken: set[str] = set()
        self._stop: int | None = None  # the signal that asked for the end
        if resume:
            self._restore(resume)
        self.trained = self._trained(resume)
        self.parallel = self.trained
        if process.world > 1:
            ids = [process.device.index] if process.device.type == "cuda" else None
            self.parallel = nn.parallel.DistributedDataParallel(self.trained, device_ids=ids)

    @property
    def late_workers(self) -> int:
        """Processes that read pictures beside training that has begun.

        None where several processes train: one that is forked beside the threads that exchange gradients may inherit a
        lock that nobody opens.
        """
        return self.workers if self.process.world == 1 else 0

    def run(self) -> None:
        """Trains to the end.  Raises KeyboardInterrupt after SIGINT or SIGTERM, when the checkpoint is written."""
        if self.step >= self.steps:
            self.log.say(f"nothing to do: all {self.steps} iterations are done")
            return
        decoded = self._decoded(self.training)
        held_out = self._decoded(self.validation) if self.validation else None
        self._began = time.monotonic() - self.seconds
        batches = self._batches(decoded)
        previous = {s: signal.signal(s, self._on_signal) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            for batch in load(batches, self._orders(), self.workers):
                self._iterate(batch)
                epoch_ends = self.step % self.epoch_steps == 0 or self.step == self.steps
                if epoch_ends:
                    self._end_epoch(held_out)
                stopping = self._stopping()
                if epoch_ends or stopping or self.step % SAVE_EVERY == 0:
                    self.save()
                if stopping and self.step < self.steps:
                    self.log.say(f"stopped at iteration {self.step} of {self.steps}; {self.state_file} resumes there")
                    raise KeyboardInterrupt
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    @property
    def state_file(self) -> Path:
        return self.out.with_suffix(".pth")

    def _on_signal(self, number: int, _frame) -> None:
        if self._stop:
            raise KeyboardInterrupt  # asked twice: at once; the last checkpoint stays
        self._stop = number

    def _stopping(self) -> bool:
        """Whether to stop behind this iteration: all processes give the same answer, or one would wait for others."""
        if self.process.world == 1:
            return bool(self._stop)
        if self.step % AGREE_EVERY:
            return False
        return bool(self.process.sum(torch.tensor(float(bool(self._stop)), device=self.process.device)))

    def _decoded(self, pictures) -> Decoded:
        decoded = Decoded(pictures)
        if len(pictures) <= 50_000:  # else what fits is too small a share
            self.log.watch(f"reading {pictures.root}", decoded.fill(), len(pictures))
        return decoded

    def _orders(self) -> Iterator[Order]:
        """The orders of all iterations from the present one on: this process's share of each batch."""
        recipe, seed, order_of = self.options.recipe, self.options.seed, None
        for step in range(self.step, self.steps):
            epoch, position = divmod(step, self.epoch_steps)
            if order_of != epoch:
                order, order_of = np.random.default_rng((seed, epoch)).permutation(len(self.training)), epoch
            whole = order[position * recipe.batch :][: recipe.batch]
            size = self.crop(step)
            yield Order(whole[self.process.rank :: self.process.world], size, (seed, epoch))

    def crop(self, step: int) -> int:
        """Pixels of a side of the crops of that iteration."""
        size = self.options.size
        return self.options.recipe.crop(step / self.steps, size) if self.zooms else size

    def _inputs(self, pixels: torch.Tensor, colours: torch.Tensor | None = None) -> torch.Tensor:
        """uint8 (B, H, W, 3) -> normalised float32 (B, 3, H, W), channels last in memory."""
        gain, shift = 1 / self._std, -self._mean / self._std
        if colours is not None:
            colours = colours.to(self.process.device)
            gain, shift = gain * colours[:, 0], shift * colours[:, 0] + colours[:, 1]
            gain, shift = gain[:, None, None], shift[:, None, None]
        return torch.addcmul(shift, pixels.to(self.process.device, non_blocking=True).float(), gain).permute(0, 3, 1, 2)

    def _iterate(self, batch: Batch) -> None:
        self._report(batch.broken)
        if not len(batch.pixels):
            raise UserError(f"none of the pictures of a whole batch can be read: {batch.broken[0][1]}")
        rate = self.options.recipe.learning_rate(self.step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(
            ((self.options.seed * self.steps + self.step) * self.process.world + self.process.rank) % 2**63
        )  # dropout
        self.parallel.train()
        inputs = self._inputs(batch.pixels, batch.colours)
        with self._autocast():
            answers = self.parallel(inputs)
            loss = self._objective(answers, batch)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        seen = torch.tensor(len(batch.pixels), dtype=torch.float64, device=self.process.device)
        self.running += torch.stack([loss.detach().double() * seen, self._right(answers, batch).double(), seen])
        self.step += 1
        if self.process.first:
            self.log.iteration(self, rate, inputs.shape[-1], loss.detach())

    def _autocast(self):
        precision = self.options.precision
        return torch.autocast(self.process.device.type, PRECISIONS[precision], enabled=precision != "fp32")

    def _end_epoch(self, held_out: Decoded | None) -> None:
        loss, right, seen = self.process.sum(self.running.clone()).tolist()
        if not np.isfinite(loss):
            raise UserError(f"the loss is {loss} in iteration {self.step}: training diverged; try a smaller --rate")
        self.running.zero_()
        epoch = -(-self.step // self.epoch_steps)
        row = {
            "epoch": epoch,
            "iteration": self.step,
            "crop": self.crop(self.step - 1),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "loss": loss / seen,
        } | self._answered(right / seen)
        if held_out and (epoch % self.validate_every == 0 or self.step == self.steps):
            row |= self.validate(held_out)
        row["seconds"] = time.monotonic() - self._began
        self.history.append(row)
        if self.process.first:
            self.log.epoch(self, row)

    def _trained(self, resume: dict | None) -> nn.Module:
        """The module whose answers are learnt from; its parameters are those of the twin, `self.model`."""
        return self.model

    def begin(self, classifier: Path | None) -> None:
        """First weights of a new run, where those that PyTorch gives are not all."""

    def _known(self) -> list[str]:
        """The names of the classes in the data."""
        return list(self.training.folders)

    def _network(self) -> Network:
        return network(self.options.model, (self.options.size, self.options.size), len(self.training.folders))

    def _batches(self, decoded: Decoded) -> torch.utils.data.Dataset:
        return Batches(decoded, self.training.labels, self.options.recipe)

    def _objective(self, logits, batch) -> torch.Tensor:
        labels = batch.labels.to(self.process.device)
        return nn.functional.cross_entropy(logits, labels, label_smoothing=self.options.recipe.smoothing)

    def _right(self, logits, batch) -> torch.Tensor:
        """How many of the batch's pictures were classified rightly."""
        return (logits.detach().argmax(1) == batch.labels.to(self.process.device)).sum()

    def _answered(self, right: float) -> dict[str, float]:
        """What a row of the history says of an epoch's share of right answers."""
        return {"training_top1": right}

    def validate(self, decoded: Decoded) -> dict[str, float]:
        """Top-1 and top-5 on centre crops of `--size`, and how many pictures that was."""
        pictures, size = decoded.pictures, self.options.size
        mine = np.arange(self.process.rank, len(pictures), self.process.world)
        orders = [Order(mine[start : start + 64], size) for start in range(0, len(mine), 64)]
        counts = torch.zeros(3, dtype=torch.float64, device=self.process.device)
        self.trained.eval()
        with torch.inference_mode(), self._autocast():
            for batch in load(Batches(decoded, pictures.labels), orders, self.late_workers):
                self._report(batch.broken)
                ranks = label_ranks(self.trained(self._inputs(batch.pixels)), batch.labels.to(self.process.device))
                counts += torch.stack([(ranks < 1).sum(), (ranks < 5).sum(), torch.ones_like(ranks).sum()])
        top1, top5, images = self.process.sum(counts).tolist()
        if not images:
            raise UserError(f"{pictures.root}: no picture can be read")
        return {"top1": top1 / images, "top5": top5 / images, "images": int(images)}

    def _report(self, broken: list[tuple[str, str]]) -> None:
        for name, reason in broken:
            if name not in self._broken:
                self._broken.add(name)
                self.log.say(f"picture skipped ({len(self._broken)} so far): {reason}")

    def metadata(self) -> dict[str, str]:
        """The metadata of a checkpoint: where its weights are from."""
        options, last = self.options, self.history[-1] if self.history else {}
        data = {
            "model": options.model,
            "class_names": json.dumps(list(self.training.class_names)),
            "size": f"{options.size}",
            "recipe": json.dumps(dataclasses.asdict(options.recipe)),
            "seed": f"{options.seed}",
            "iterations": f"{self.step} of {self.steps}",
            "training_pictures": f"{len(self.training)}",
        }
        if self.scores[0] in last:
            data |= {key: f"{last[key]}" for key in self.scores} | {"validation_pictures": f"{last['images']}"}
        return data

    def save(self) -> None:
        """Writes the training checkpoint, and the weights alone to `out`: each whole or not at all."""
        if not self.process.first:
            return
        state = self.model.state_dict()
        training = {
            "options": dataclasses.asdict(self.options), "pictures": len(self.training), "step": self.step,
            "world": self.process.world, "optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict(),
            "running": self.running, "history": self.history, "seconds": time.monotonic() - self._began,
            "folders": self._known(),
        }  # fmt: skip
        buffer = io.BytesIO()
        torch.save({"state_dict": state, "metadata": self.metadata(), "training": training}, buffer)
        write_bytes(self.state_file, buffer.getvalue())
        arrays = {name: tensor.float().cpu().numpy() for name, tensor in state.items() if tensor.is_floating_point()}
        save_checkpoint(self.out, arrays, self.metadata())
        self.log.files(self)

    def _restore(self, checkpoint: dict) -> None:
        training = checkpoint["training"]
        if training["folders"] != self._known() or training["pictures"] != len(self.training):
            raise UserError(
                f"{self.training.root} holds {len(self.training)} pictures of {len(self._known())} classes, "
                f"the checkpoint was made from {training['pictures']} of {len(training['folders'])}: it resumes on "
                "those only"
            )
        self.model.load_state_dict(checkpoint["state_dict"])
        self.optimizer.load_state_dict(training["optimizer"])
        self.scaler.load_state_dict(training["scaler"])
        self.step, self.history, self.seconds = training["step"], training["history"], training["seconds"]
        if self.process.first:
            self.running.copy_(training["running"])


def _silence_residuals(model: Twin) -> None:
    """Lets each residual branch begin as zero.

    Else the features grow from unit to unit, and with them the classifier's first steps.
    """
    layers = model.network.layers
    for layer in layers:
        for source in layer.inputs if layer.op == "add" else ():
            if layers[source].op == "batch_norm":
                nn.init.zeros_(model.get_parameter(f"{layers[source].name}.weight"))


def label_ranks(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """How many classes are likelier than the right one, (B,); 0: top-1.  Of equals the lower number wins."""
    right = logits.gather(1, labels[:, None])
    before = torch.arange(logits.shape[1], device=logits.device) < labels[:, None]
    return ((logits > right) | ((logits == right) & before)).sum(1)
