"""ncnn: its own text and binary format written from the description, run with its default options in fp32.

`network.param` lists layers and the blobs between them, `network.bin` holds the weights in the
order of the layers.  A blob that several layers read goes through a `Split`, which copies nothing.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from tvm_shufflenet.errors import UserError

from .folded import Step, fold, square

MAGIC = 7767517
RAW_FP32 = struct.pack("<I", 0)  # in front of weights that are neither fp16 nor quantised


def export(net, parameters: dict[str, np.ndarray], folder: Path) -> None:
    """Writes `net` into the folder."""
    steps = fold(net, parameters)
    lines, weights = _layers(steps)
    blobs = sum(int(line.split()[3]) for line in lines)
    text = "\n".join([str(MAGIC), f"{len(lines)} {blobs}", *lines])
    (folder / "network.param").write_text(text + "\n")
    (folder / "network.bin").write_bytes(b"".join(weights))


def load(folder: Path, image: np.ndarray):
    """A function that runs the network in the folder on the picture and returns the logits."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1
    # In the half-precision formats that newer cores bring it would be another computation.
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_packed = net.opt.use_bf16_storage = False
    if net.load_param(str(folder / "network.param")) or net.load_model(str(folder / "network.bin")):
        raise RuntimeError(f"ncnn cannot load {folder}")
    source = ncnn.Mat(image[0])

    def run() -> np.ndarray:
        extractor = net.create_extractor()
        extractor.input("input", source)
        status, output = extractor.extract("output")
        if status:
            raise RuntimeError(f"ncnn returned {status}")
        return np.array(output)

    return run


def _layers(steps: list[Step]) -> tuple[list[str], list[bytes]]:
    """Lines of the text file, and what each adds to the binary one."""
    readers: dict[int, int] = {}
    for step in steps:
        for source in step.inputs:
            readers[source] = readers.get(source, 0) + 1
    names: dict[int, list[str]] = {}  # of the blobs of a step which are still to be read
    lines, weights = [], []
    for index, step in enumerate(steps):
        inputs = [names[source].pop(0) for source in step.inputs]
        kind, settings = _describe(step)
        output = {0: "input", len(steps) - 1: "output"}.get(index, f"b{index}")
        lines.append(_line(kind, step.name, inputs, [output], settings))
        names[index] = [output]
        if readers.get(index, 0) > 1:
            names[index] = [f"{output}_{copy}" for copy in range(readers[index])]
            lines.append(_line("Split", f"split{index}", [output], names[index], {}))
        if step.weight is not None:
            weights += [RAW_FP32, step.weight.astype("<f4").tobytes(), step.bias.astype("<f4").tobytes()]
    return lines, weights


def _line(kind, name, inputs, outputs, settings) -> str:
    values = (f"{key}={value:.9g}" if isinstance(value, float) else f"{key}={value}" for key, value in settings.items())
    return " ".join([kind, name, str(len(inputs)), str(len(outputs)), *inputs, *outputs, *values])


def _describe(step: Step) -> tuple[str, dict]:
    """ncnn's type of layer and its numbered settings."""
    a = step.attrs
    if step.op == "conv":
        kernel, stride, pad = square(step)
        settings = {0: step.shape[1], 1: kernel, 3: stride, 4: pad, 5: 1, 6: step.weight.size}
        if a["groups"] > 1:
            settings[7] = a["groups"]
        if step.relu:
            settings[9] = 1
        return ("ConvolutionDepthWise" if a["groups"] > 1 else "Convolution"), settings
    if step.op == "dense":
        return "InnerProduct", {0: step.shape[1], 1: 1, 2: step.weight.size, **({9: 1} if step.relu else {})}
    if step.op in ("max_pool", "avg_pool"):
        kernel, stride, pad = square(step)
        window = {1: kernel, 2: stride, 3: pad, 5: 1}  # 5=1: no partial windows at the end
        return "Pooling", {0: 0, **window} if step.op == "max_pool" else {0: 1, **window, 6: 1}
    if step.op == "adaptive_avg_pool":
        return "Pooling", {0: 1, 7: 1, 18: a["size"][0], 8: a["size"][1]}
    kinds = {
        "input": ("Input", {}),
        "relu": ("ReLU", {}),
        "add": ("BinaryOp", {0: 0}),
        "concat": ("Concat", {0: 0}),
        "flatten": ("Flatten", {}),
        "shuffle": ("ShuffleChannel", {0: a.get("groups")}),
        "global_avg_pool": ("Pooling", {0: 1, 4: 1}),
        "lrn": ("LRN", {0: 0, 1: a.get("size"), 2: a.get("alpha"), 3: a.get("beta"), 4: a.get("k")}),
    }
    if step.op not in kinds:
        raise UserError(f"{step.name}: no {step.op} is written for ncnn")
    return kinds[step.op]
