"""The front door, `tvm-shufflenet` or `python -m tvm_shufflenet`: which commands there are, and the way to each."""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys

from ..errors import UserError
from ..signals import leave_at_once
from .command import Parser, add_version, run

# In the order of use.
COMMANDS = {
    "models": "lists the networks, and what they cost",
    "targets": "lists the processors to compile for",
    "build": "compiles networks into libraries",
    "classify": "says what is on a picture, with a library",
    "detect": "finds boxes in a picture, with a library",
    "convert": "turns others' checkpoints, ONNX and Caffe models into ours, and back",
    "train": "trains a network in PyTorch",
    "quantize": "finds the scales that int8 needs, from pictures",
    "evaluate": "measures the accuracy of libraries and checkpoints",
    "compare": "times networks side by side, here or on a board",
    "bench": "makes a static program that times networks on a board or a phone",
    "profile": "times a network kernel by kernel",
    "report": "draws networks, their times and their memory as one page",
    "inspect": "says what a library, checkpoint, model or file of records holds",
    "estimate": "counts cycles of an Arm core, without a board",
    "doctor": "checks the whole way to a board",
    "tune": "finds faster kernels, here, on a board or without one",
    "records": "shows, cleans and merges what tuning has found",
    "paper": "prints the tables of the ShuffleNet papers beside ours",
    "guidelines": "repeats the experiments behind ShuffleNet v2's guidelines",
}
SHELLS = ("bash", "zsh", "tcsh")
FILES = {"FILE", "LIBRARY", "CHECKPOINT", "IMAGE", "TAR", "IN", "OUT"}  # in a metavar: a file is completed
PROGRAM = "tvm-shufflenet"


def arguments() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    parser = Parser(
        prog=PROGRAM,
        usage="%(prog)s COMMAND ...",
        description="Compiles ShuffleNet and its rivals into one library each.  Commands, in the order of use:\n\n"
        + "\n".join(f"  {name:{width}}  {line}" for name, line in COMMANDS.items()),
        epilog="example: tvm-shufflenet build shufflenet-v1-0.5x-g3 --target cortex-a72\n"
        "`tvm-shufflenet COMMAND --help` says more; each is also the module tvm_shufflenet.COMMAND for `python -m`.",
    )
    add_version(parser)
    parser.add_argument("--print-completion", choices=SHELLS, metavar="SHELL", help="print what makes a shell complete "
                        f"commands, options, networks and targets: {', '.join(SHELLS)}")  # fmt: skip
    return parser


def main(argv: list[str] | None = None) -> int | None:
    argv = sys.argv[1:] if argv is None else argv
    if argv and not argv[0].startswith("-"):
        return _command(argv[0]).main(argv[1:])
    parser = arguments()
    args = parser.parse_args(argv)
    print(completion(args.print_completion) if args.print_completion else parser.format_help(), end="")
    return None


def enter() -> int:
    """The console command."""
    leave_at_once()  # until `run` takes over
    return run(main)


def _command(name: str):
    """The module of a command; `UserError` with the nearest name where there is none."""
    if name not in COMMANDS:
        near = "".join(f"did you mean {word}? " for word in difflib.get_close_matches(name.lower(), COMMANDS, 1))
        raise UserError(f"unknown command {name[:40]!r}: {near}`{PROGRAM}` lists all")
    return importlib.import_module(f".{name}", __package__)


def completion(shell: str) -> str:
    """The script that makes a shell complete all of this."""
    import shtab

    parser = arguments()
    commands = parser.add_subparsers()
    for name, line in COMMANDS.items():
        commands.add_parser(name, parents=[_command(name).arguments()], add_help=False, help=line)
    _complete(parser)
    return shtab.complete(parser, shell) + "\n"


def _complete(parser: argparse.ArgumentParser) -> None:
    """Says of each argument what it may be.  Only for completion: the parser then refuses what is not in its lists."""
    import shtab

    from ..architectures import model_names
    from ..targets import target_names

    for action in parser._actions:
        words = set(action.metavar.split("|")) if isinstance(action.metavar, str) else set()
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete(command)
        elif "--target" in action.option_strings:
            action.choices = target_names()
        elif "MODEL" in words:
            action.choices = model_names()
        elif words & FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif "DIR" in words:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
