"""The command `python -m tvm_shufflenet.convert`: checkpoints of others and ONNX models, into ours and back."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..files import write_json
from .command import add_json_option, command_parser
from .common import add_preprocessing_options, add_reading_options, given_preprocessing, reading
from .terminal import Terminal

if TYPE_CHECKING:
    from ..architectures import Network
    from ..exchange import Imported


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "convert",
        description="Reads the networks of the ShuffleNet papers from a state dict in any common style, any network "
        "from an ONNX or a Caffe model, and writes a state dict of our PyTorch twin or an ONNX model.",
        epilog="examples:\n  python -m tvm_shufflenet.convert found.pth shufflenet.safetensors\n"
        "  python -m tvm_shufflenet.convert unnamed.pth twin.pth --shuffle ng\n"
        "  python -m tvm_shufflenet.convert net.caffemodel net.safetensors --prototxt net.prototxt\n"
        "  python -m tvm_shufflenet.convert shufflenet.safetensors shufflenet.onnx --profile profile.json",
    )
    parser.add_argument("input", type=Path, metavar="IN", help="safetensors, PyTorch or ONNX, whatever its suffix, or "
                        "a .caffemodel")  # fmt: skip
    parser.add_argument(
        "output", type=Path, metavar="OUT", help=".safetensors, .pth, .pt or .onnx: the suffix says what is written"
    )
    parser.add_argument("--model", metavar="NAME", help="the network that it must be, of `python -m "
                        "tvm_shufflenet.models`")  # fmt: skip
    parser.add_argument("--size", help="input in pixels: 224, or height x width as 480x640 (what the file or its "
                        "style says, else 224)")  # fmt: skip
    add_reading_options(parser)
    add_preprocessing_options(parser)
    parser.add_argument("--target", help="of an .onnx that is written: for which its nodes name kernels (arm)")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="of an .onnx that is written: the times of its "
                        "nodes, of `python -m tvm_shufflenet.profile --json FILE`")  # fmt: skip
    add_json_option(parser, "what was found")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)

    from rich.console import Console

    from ..exchange import ONNX, check_output, load_network, save_network
    from ..library.preprocess import preprocessing
    from ..pipeline import check_compiles

    if args.output.suffix != ONNX and (args.target or args.profile):
        raise UserError(f"{args.output}: --target and --profile are of an {ONNX} that is written: leave them out")
    if args.target and args.profile:
        raise UserError("--profile says the target itself: leave out --target")
    check_output(args.output)
    how, prepared = reading(args), given_preprocessing(args)
    found = load_network(args.input, args.model, reading=how)
    if prepared:
        found.preprocessing = {**(found.preprocessing or {}), **prepared}
        preprocessing(found.network.size, found.preprocessing, whole=bool(found.network.detector))  # says what is odd
    with Terminal().step(f"checking that {found.network.name} can be compiled"):
        check_compiles(found.network, found.parameters)
    with Terminal().step(f"writing {args.output}"):
        save_network(args.output, found, _notes(args, found.network))
    Console(highlight=False, markup=False, soft_wrap=True).print(report(args.input, args.output, found))
    if args.json:
        write_json(args.json, {
            "model": found.network.name, "style": found.style, "size": found.network.size,
            "classes": found.network.classes, "multiply_adds": found.network.multiply_adds(), "notes": found.notes,
            "preprocessing": found.preprocessing,
            "mapping": [{"layer": ours, "tensors": theirs} for ours, theirs in found.mapping],
        })  # fmt: skip


def _notes(args: argparse.Namespace, net: Network) -> dict[str, dict[str, str]] | None:
    """What the nodes of an .onnx file say of kernels and times."""
    from ..exchange import ONNX
    from ..reporting.kernel_notes import kernel_notes
    from ..reporting.subjects import load_profile, planned
    from ..targets import DEFAULT_TARGET, resolve

    if args.output.suffix != ONNX:
        return None
    if not args.profile:
        return kernel_notes(net, planned(net, resolve(args.target or DEFAULT_TARGET), []))
    subject = load_profile(args.profile)
    if [(layer.op, layer.name, layer.shape) for layer in subject.net.layers] != [
        (layer.op, layer.name, layer.shape) for layer in net.layers
    ]:
        raise UserError(
            f"--profile {args.profile} is of {subject.label}, whose layers are not those of {args.input}: expected a "
            "profile of a library that was built from it, with --weights"
        )
    return kernel_notes(net, subject)


def report(source: Path, target: Path, found: Imported) -> str:
    """What the user is told: the style, the network, what was assumed, and where unnamed tensors went."""
    net = found.network
    height, width = net.size
    _, channels, *_ = net.layers[0].shape
    results = f"{net.classes} classes" if net.classes else f"{len(net.outputs)} outputs, no classes"
    lines = [
        f"{source}: {found.style}",
        f"  {net.name}, input 1x{channels}x{height}x{width}, {results}, {net.multiply_adds() / 1e6:.1f} M "
        f"multiply-adds, {net.parameter_count() / 1e6:.2f} M parameters",
        *(f"  {note}" for note in found.notes),
        *(f"  {ours:<20} {theirs}" for ours, theirs in found.mapping),
        f"{target} written",
    ]
    return "\n".join(lines)
