"""ncnn: its own text and binary format written from the description, run with its default options.

`network.param` lists layers and the blobs between them, `network.bin` holds the weights in the
order of the layers.  A blob that several layers read goes through a `Split`, which copies nothing.
The slices that take a blob apart are one `Slice`; where they take every n-th channel, a shuffle puts these
side by side first.

In int8 the files are what its tool `ncnn2int8` makes, which is not in its package: weights with a scale for each output
channel, for each group where there are several; tensors with one scale, 127 over the largest number of the calibration;
a convolution that another one reads alone gives bytes.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from tvm_shufflenet.errors import UserError

from . import FP32, THREADS, boxes
from .calibration import largest_inputs
from .folded import CONVOLUTIONS, Step, fold, output_steps, square

MAGIC = 7767517
RAW_FP32 = struct.pack("<I", 0)  # in front of weights that are neither fp16 nor quantised
INT8 = struct.pack("<I", 0x000D4B38)  # in front of bytes, whose end is a multiple of 4
# "int8_scale_term": of what kind scales are; 100 more where the outputs are bytes.
BY_CHANNEL, BY_GROUP, GIVES_BYTES = 2, 1, 100
LARGEST = 127


def export(net, parameters: dict[str, np.ndarray], folder: Path, precision: str = FP32) -> None:
    """Writes `net` into the folder."""
    source = boxes.in_front(net)
    steps = fold(source, parameters, fuse_clip=CONVOLUTIONS)
    ends = output_steps(source, steps)
    names = dict(zip(ends, [steps[end].name for end in ends] if net.detector else ["output"]))
    largest = largest_inputs(net, parameters) if precision == "int8" else {}
    lines, weights = _layers(steps, largest, names)
    blobs = sum(int(line.split()[3]) for line in lines)
    text = "\n".join([str(MAGIC), f"{len(lines)} {blobs}", *lines])
    (folder / "network.param").write_text(text + "\n")
    (folder / "network.bin").write_bytes(b"".join(weights))
    if net.detector:
        boxes.write(net, folder)


def load(folder: Path, image: np.ndarray, precision: str = FP32):
    """A function that runs the network in the folder on the picture and returns the logits."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = THREADS
    # In fp32 the half-precision formats that newer cores bring would be another computation.
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = precision == "fp16"
    # With packed channels grouped convolutions of bytes give numbers that nobody computed (seen with 20261020).
    net.opt.use_packing_layout = precision != "int8"
    net.opt.use_bf16_packed = net.opt.use_bf16_storage = False
    if net.load_param(str(folder / "network.param")) or net.load_model(str(folder / "network.bin")):
        raise RuntimeError(f"ncnn cannot load {folder}")
    source = ncnn.Mat(image[0])
    names, find = boxes.load(folder, THREADS) or (["output"], None)

    def run() -> np.ndarray:
        extractor = net.create_extractor()
        extractor.input("input", source)
        found = []
        for name in names:
            status, output = extractor.extract(name)
            if status:
                raise RuntimeError(f"ncnn returned {status}")
            found.append(np.array(output))
        return find([planes[None] for planes in found]) if find else found[0]

    return run


def _layers(steps: list[Step], largest: dict[str, float], ends: dict[int, str]) -> tuple[list[str], list[bytes]]:
    """Lines of the text file, and what each adds to the binary one.

    `largest` are the largest numbers that layers with weights read, by name; of those that are there bytes are written.
    `ends` are the blobs of the steps that are outputs.
    """
    followers = _followers(steps)
    parts = _parts(steps)
    readers: dict[int, int] = {}
    for index, step in enumerate(steps):
        for source in step.inputs:
            first = parts.get(source, [index])[0] == index or step.op != "slice"
            readers[source] = readers.get(source, 0) + first
    names: dict[int, list[str]] = {}  # of the blobs of a step which are still to be read
    lines, weights = [], []
    for index, step in enumerate(steps):
        if index in names:  # a part that came with the first one
            continue
        inputs = [names[source].pop(0) for source in step.inputs]
        made = [index]
        if step.op == "slice":
            made = parts[step.inputs[0]]
            if (every := step.attrs["step"]) > 1:
                channels = steps[step.inputs[0]].shape[1]
                sorted_ = [f"{step.name}.sorted"]
                lines.append(_line("ShuffleChannel", sorted_[0], inputs, sorted_, {0: channels // every}))
                inputs = sorted_
            sizes = [str(steps[each].shape[1]) for each in made]
            kind, settings = "Slice", {-23300: ",".join([str(len(made)), *sizes]), 1: 0}
        else:
            kind, settings = _describe(step)
            if step.name in largest:
                settings[8] = BY_GROUP if kind == "ConvolutionDepthWise" else BY_CHANNEL
                settings[8] += GIVES_BYTES * (followers.get(index, "") in largest)
        outputs = [({0: "input"} | ends).get(each, f"b{each}") for each in made]
        lines.append(_line(kind, step.name, inputs, outputs, settings))
        for each, output in zip(made, outputs):
            names[each] = [output]
            if readers.get(each, 0) > 1:
                names[each] = [f"{output}_{copy}" for copy in range(readers[each])]
                lines.append(_line("Split", f"split{each}", [output], names[each], {}))
        if step.weight is not None and step.name in largest:
            weights.append(_bytes(step, largest, followers.get(index, "")))
        elif step.weight is not None:
            tag = RAW_FP32 if step.op in CONVOLUTIONS else b""
            weights += [tag, step.weight.astype("<f4").tobytes(), step.bias.astype("<f4").tobytes()]
    return lines, weights


def _followers(steps: list[Step]) -> dict[int, str]:
    """Of each convolution that one other reads, and nothing else, that one's name."""
    readers: dict[int, list[Step]] = {}
    for step in steps:
        for source in step.inputs:
            readers.setdefault(source, []).append(step)
    return {
        index: found[0].name for index, found in readers.items()
        if len(found) == 1 and found[0].op == steps[index].op == "conv"
    }  # fmt: skip


def _bytes(step: Step, largest: dict[str, float], follower: str) -> bytes:
    """Weights as bytes, the bias, scales of weights, of the input, and of the output where that is bytes."""
    rows = step.attrs["groups"] if step.op == "conv" and step.attrs["groups"] > 1 else len(step.weight)
    weight = step.weight.reshape(rows, -1)
    most = np.abs(weight).max(axis=1)
    scales = LARGEST / np.where(most > 0, most, 1)
    whole = np.clip(np.rint(weight * scales[:, None]), -LARGEST, LARGEST).astype(np.int8).tobytes()
    read = [LARGEST / largest[name] for name in (step.name, follower) if name in largest]
    parts = (array.astype("<f4").tobytes() for array in (step.bias, scales, np.array(read)))
    return INT8 + whole + bytes(-len(whole) % 4) + b"".join(parts)


def _parts(steps: list[Step]) -> dict[int, list[int]]:
    """The slices of each step that is taken apart, in the order of their channels, the first of them made first."""
    found: dict[int, list[int]] = {}
    for index, step in enumerate(steps):
        if step.op == "slice":
            found.setdefault(step.inputs[0], []).append(index)
    for source, slices in found.items():
        channels = steps[source].shape[1]
        taken = [range(*(steps[index].attrs[key] for key in ("start", "stop", "step"))) for index in slices]
        every = taken[0].step
        whole = [channel for first in range(every) for channel in range(first, channels, every)]
        if [channel for part in taken for channel in part] != whole:
            raise UserError(f"{steps[source].name}: ncnn is given slices only that take all channels, in their order")
    return found


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
        settings |= _activation(step)
        return ("ConvolutionDepthWise" if a["groups"] > 1 else "Convolution"), settings
    if step.op == "dense":
        return "InnerProduct", {0: step.shape[1], 1: 1, 2: step.weight.size, **_activation(step)}
    if step.op in ("max_pool", "avg_pool"):
        kernel, stride, pad = square(step, up=True)
        window = {1: kernel, 2: stride, 3: pad, 5: 0 if a.get("ceil") else 1}  # 5=0: partial windows at the end, too
        return "Pooling", {0: 0, **window} if step.op == "max_pool" else {0: 1, **window, 6: 1}
    if step.op == "resize" and (a["mode"], a["coordinates"]) == ("bilinear", "half_pixel"):
        return "Interp", {0: 2, 3: step.shape[2], 4: step.shape[3]}
    if step.op == "adaptive_avg_pool":
        return "Pooling", {0: 1, 7: 1, 18: a["size"][0], 8: a["size"][1]}
    kinds = {
        "input": ("Input", {}),
        "relu": ("ReLU", {}),
        "leaky_relu": ("ReLU", {0: a.get("slope")}),
        "hard_sigmoid": ("HardSigmoid", {0: a.get("alpha"), 1: a.get("beta")}),
        "hard_swish": ("HardSwish", {0: 1 / 6, 1: 0.5}),
        "clip": ("Clip", {0: a.get("low"), 1: a.get("high")}),
        "sigmoid": ("Sigmoid", {}),
        "batch_norm": ("Scale", {0: step.shape[1], 1: 1}),
        "add": ("BinaryOp", {0: 0}),
        "multiply": ("BinaryOp", {0: 2}),
        "concat": ("Concat", {0: 0}),
        "flatten": ("Flatten", {}),
        "shuffle": ("ShuffleChannel", {0: a.get("groups")}),
        "global_avg_pool": ("Pooling", {0: 1, 4: 1}),
        "lrn": ("LRN", {0: 0, 1: a.get("size"), 2: a.get("alpha"), 3: a.get("beta"), 4: a.get("k")}),
    }
    if step.op not in kinds:
        raise UserError(f"{step.name}: no {step.op} is written for ncnn")
    return kinds[step.op]


def _activation(step: Step) -> dict:
    """The settings of what ends a convolution or a fully connected layer."""
    if step.clip:
        low, high = step.clip
        return {9: 3, -23310: f"2,{low:.9g},{high:.9g}"}
    return {9: 1} if step.relu else {}
