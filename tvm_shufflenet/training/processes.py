"""The processes of a training run: one alone, or those that `torchrun` started."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from ..errors import UserError


@dataclass(frozen=True)
class Process:
    """This process of a run: its device, and its rank among the processes of `torchrun`."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all processes."""
        if self.world > 1:
            torch.distributed.all_reduce(values)
        return values

    def close(self) -> None:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def this_process(device: str) -> Process:
    """The present process, as `torchrun`'s environment describes it; `device` is auto, cpu or cuda."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch finds no GPU here; use --device cpu")
    rank, world, local = (int(os.environ.get(name, default)) for name, default in
                          (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0)))  # fmt: skip
    where = torch.device(device, local) if device == "cuda" else torch.device(device)
    if device == "cuda":
        torch.cuda.set_device(where)
    if "RANK" in os.environ:
        torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    return Process(where, rank, world)
