"""The command `python -m tvm_shufflenet.train`: trains the PyTorch twin of a network."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..architectures import DEFAULT_MODEL, network, own_name
from ..architectures.registry import backbone, usual_size
from ..errors import UserError
from ..training.recipes import RECIPES
from .command import command_parser
from .common import workers

if TYPE_CHECKING:
    from ..training.boxes import BoxedPictures
    from ..training.options import Options
    from ..training.pictures import Pictures
    from ..training.processes import Process
    from ..training.trainer import Trainer


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "train",
        description="Trains the PyTorch twin of a network, a classifier or a detector.  Writes the weights (--out), "
        "and beside them the training checkpoint (.pth), loss and accuracy by epoch (.csv) and a plot of both (.svg).  "
        "Under torchrun it trains with several processes, GPUs or machines.",
        epilog="example:\n  python -m tvm_shufflenet.train shufflenet-v1-0.5x-g3 --data imagenette/train.tar",
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help=f"the network ({DEFAULT_MODEL})")
    parser.add_argument("--data", required=True, metavar="DIR|TAR", help="pictures, [SPLIT/]CLASS/NAME.jpeg; of "
                        "several splits `train` is taken; for a detector pictures with the XML files of Pascal VOC or "
                        "a JSON file of COCO's")  # fmt: skip
    parser.add_argument("--val", metavar="DIR|TAR", help="pictures to validate with (`val` in or beside --data)")
    parser.add_argument("--recipe", choices=sorted(RECIPES), help="`paper`, for ImageNet, `small`, for small sets "
                        "on a CPU, `detector`, or `int8`, for --qat (small; of a detector, detector)")  # fmt: skip
    parser.add_argument("--qat", action="store_true", help="fine-tune for int8: round weights and tensors as `build "
                        "--precision int8` will, beginning with --weights (recipe `int8`)")  # fmt: skip
    parser.add_argument("--weights", type=Path, metavar="FILE", help="of --qat: weights with scales, as `quantize` "
                        "writes them")  # fmt: skip
    parser.add_argument("--backbone", type=Path, metavar="FILE", help="weights of the classifier that the detector's "
                        "body is, to begin with")  # fmt: skip
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=int, help="how long to train (the recipe's)")
    length.add_argument("--iterations", type=int, help="how long to train, in batches (the recipe's)")
    parser.add_argument("--size", type=int, help="pixels of a side of the network's input (224; of a detector "
                        "320)")  # fmt: skip
    parser.add_argument("--batch", type=int, help="pictures of an iteration, of all processes together (the recipe's)")
    parser.add_argument("--rate", type=float, help="peak of the learning rate (the recipe's)")
    parser.add_argument("--seed", type=int, help="of the first weights, the order and the crops (0)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the weights go (build/MODEL.safetensors)")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="go on from this training checkpoint (.pth)")
    parser.add_argument("--validate", type=int, default=5, metavar="N", help="validate every N epochs (5)")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where (a GPU if there is one)"
    )
    parser.add_argument(
        "--precision", choices=("fp32", "bf16", "fp16"), help="of the arithmetic (bf16 on a GPU, else fp32)"
    )
    parser.add_argument("--workers", type=int, help="processes that read pictures (half the cores, at most 8)")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)
    for name in ("epochs", "iterations", "size", "batch", "validate"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise UserError(f"--{name} {getattr(args, name)}: expected 1 or more")
    for name in ("seed", "workers"):
        if getattr(args, name) is not None and getattr(args, name) < 0:
            raise UserError(f"--{name} {getattr(args, name)}: expected 0 or more")
    if args.rate is not None and not 0 < args.rate < float("inf"):
        raise UserError(f"--rate {args.rate:g}: expected a number above 0")

    if args.weights and not args.qat:
        raise UserError(f"--weights {args.weights}: expected with --qat; a detector begins with --backbone")
    if args.qat and not (args.weights or args.resume):
        raise UserError("--qat: expected --weights FILE, as `python -m tvm_shufflenet.quantize` writes it")

    from ..bridge import require_torch

    require_torch("to train")
    from ..training.options import read_training_checkpoint
    from ..training.processes import this_process

    resumed, checkpoint = read_training_checkpoint(args.resume) if args.resume else (None, None)
    process = this_process(args.device)
    options = choose_options(args, resumed, process.device.type)
    out = args.out or (
        args.resume.with_suffix(".safetensors") if args.resume else Path("build", f"{options.model}.safetensors")
    )
    check_out(out)
    net = network(options.model, (options.size, options.size))  # refuses unknown names and sizes before data are read
    if args.backbone and not net.detector:
        raise UserError(f"--backbone {options.start}: {options.model} is no detector")
    if options.int8 and options.precision != "fp32":
        raise UserError(f"--precision {options.precision}: --qat computes in fp32, beside the rounding to bytes")
    try:
        train(args, options, checkpoint, process, out)
    finally:
        process.close()


def choose_options(args: argparse.Namespace, resumed: Options | None, device: str) -> Options:
    """`Options` by the recipe and what the user says otherwise; those of the checkpoint when resuming."""
    from ..training.options import Options

    length = {}
    if args.epochs:
        length = {"epochs": args.epochs, "iterations": 0}
    elif args.iterations:
        length = {"epochs": 0, "iterations": args.iterations}
    changes = length | {name: getattr(args, name) for name in ("batch", "rate") if getattr(args, name) is not None}
    model, size = args.model or DEFAULT_MODEL, 0
    if args.weights and not resumed:
        model, size = _begun(args)
    known, size = own_name(model), size or usual_size(model)[0]
    detects = bool(known and backbone(known))
    usual = "detector" if detects else "int8" if args.qat else "small"
    base = resumed or Options(model, RECIPES[args.recipe or usual], size, 0,
                              "fp32" if device == "cpu" or args.qat else "bf16")  # fmt: skip
    recipe = RECIPES[args.recipe] if args.recipe and args.recipe != base.recipe.name else base.recipe
    said = {
        name: getattr(args, name) for name in ("model", "size", "seed", "precision") if getattr(args, name) is not None
    }
    if args.model:
        said["model"] = own_name(args.model) or args.model  # what is unknown is refused with the size
    if args.backbone:
        said["start"] = args.backbone.name
    if args.qat:
        said |= {"int8": True} | ({"start": str(args.weights)} if args.weights else {})
    options = dataclasses.replace(base, recipe=dataclasses.replace(recipe, **changes), **said)
    if resumed and options != resumed:
        raise UserError(
            f"--resume {args.resume} goes on with its own options, and others are given here: leave them out"
        )
    return options


def _begun(args: argparse.Namespace) -> tuple[str, int]:
    """The network and the size of --weights; `UserError` where others are given, or they cannot be fine-tuned."""
    from ..training.int8_trainer import starting

    found = starting(args.weights)
    if args.model and (own_name(args.model) or args.model) != found.network.name:
        raise UserError(f"--weights {args.weights}: it holds {found.network.name}, expected {args.model}")
    if args.size and args.size != found.network.size[0]:
        raise UserError(f"--size {args.size}: the scales in {args.weights} are of {found.network.size[0]} pixels")
    return found.network.name, found.network.size[0]


def check_out(out: Path) -> None:
    """`UserError` now, and not after hours, if the results cannot be written."""
    if out.suffix != ".safetensors":
        raise UserError(f"--out {out}: expected a name that ends in .safetensors")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create the folder {out.parent}: {error.strerror}") from None
    if out.is_dir() or not os.access(out.parent, os.W_OK | os.X_OK):
        raise UserError(f"--out {out}: cannot be written")


def train(args: argparse.Namespace, options: Options, checkpoint: dict | None, process: Process, out: Path) -> None:
    """Reads the pictures, trains, and says on stdout where the weights are."""
    from ..training.log import Log, Silent
    from ..training.pictures import beside

    held_out = args.val or beside(args.data, "val")
    detects = bool(backbone(options.model))
    training: Any
    validation: Any
    training, validation = _with_boxes(args.data, held_out) if detects else _with_classes(args.data, held_out)
    processes = workers(args.workers, max(1, min(8, (os.cpu_count() or 1) // 2)))
    with Log(out) if process.first else contextlib.nullcontext(Silent()) as log:
        kind = _trainer(detects, options.int8)
        trainer = kind(options, training, validation, out, process, log, processes, args.validate, checkpoint)
        for notice in (*training.notices, *(validation.notices if validation else ())):
            log.say(notice)
        if checkpoint is None:
            trainer.begin(args.backbone)
        log.say(f"{options.model}: {len(training)} pictures of {len(training.class_names)} classes, "
                f"{trainer.steps} iterations of {options.recipe.batch}, "
                f"on {process.device.type} in {options.precision}")  # fmt: skip
        log.say(f"validation: {len(validation)} pictures of {validation.root}" if validation else
                "no validation: there is no `val` in or beside --data, and no --val")  # fmt: skip
        trainer.run()
    if process.first:
        print(out)


def _trainer(detects: bool, int8: bool) -> type[Trainer]:
    from ..training.trainer import Trainer

    if int8:
        from ..training.int8_trainer import Int8Trainer

        return Int8Trainer
    if not detects:
        return Trainer
    from ..training.box_trainer import BoxTrainer

    return BoxTrainer


def _with_classes(data: str, held_out: str | Path | None) -> tuple[Pictures, Pictures | None]:
    from ..training.pictures import check_same_classes, find_pictures

    training, validation = find_pictures(data, "train"), find_pictures(held_out, "val") if held_out else None
    if validation:
        check_same_classes(training, validation)
    return training, validation


def _with_boxes(data: str, held_out: str | Path | None) -> tuple[BoxedPictures, BoxedPictures | None]:
    from ..training.average_precision import require_pycocotools
    from ..training.boxes import find_boxes

    if held_out:
        require_pycocotools()
    training = find_boxes(data, "train")
    validation = find_boxes(held_out, "val").named(training.class_names, str(training.root)) if held_out else None
    return training, validation
