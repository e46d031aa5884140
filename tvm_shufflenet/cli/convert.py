"""The command `python -m tvm_shufflenet.convert`: checkpoints of others and ONNX models, into ours and back."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import write_json
from .common import add_preprocessing_options, add_reading_options, given_preprocessing, reading

if TYPE_CHECKING:
    from ..exchange import Imported


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tvm_shufflenet.convert",
        description="Reads the networks of the ShuffleNet papers from a state dict in any common style, any network "
        "from an ONNX or a Caffe model, and writes a state dict of our PyTorch twin or an ONNX model.",
        epilog="examples: python -m tvm_shufflenet.convert found.pth shufflenet.safetensors\n"
        "          python -m tvm_shufflenet.convert unnamed.pth twin.pth --shuffle ng\n"
        "          python -m tvm_shufflenet.convert net.caffemodel net.safetensors --prototxt net.prototxt\n"
        "          python -m tvm_shufflenet.convert shufflenet.safetensors shufflenet.onnx",
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
    parser.add_argument("--json", metavar="FILE", help="also write what was found to this file")
    args = parser.parse_args(argv)

    from rich.console import Console

    from ..exchange import load_network, save_network
    from ..pipeline import check_compiles

    how, prepared = reading(args), given_preprocessing(args)
    found = load_network(args.input, args.model, reading=how)
    if prepared:
        found.preprocessing = {**(found.preprocessing or {}), **prepared}
    check_compiles(found.network, found.parameters)
    save_network(args.output, found)
    Console(highlight=False, markup=False, soft_wrap=True).print(report(args.input, args.output, found))
    if args.json:
        write_json(args.json, {
            "model": found.network.name, "style": found.style, "size": found.network.size,
            "classes": found.network.classes, "multiply_adds": found.network.multiply_adds(), "notes": found.notes,
            "preprocessing": found.preprocessing,
            "mapping": [{"layer": ours, "tensors": theirs} for ours, theirs in found.mapping],
        })  # fmt: skip


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
