"""LiteRT with XNNPACK: a .tflite file written from the description, channels innermost; int8 by Google's quantizer.

Its own paddings put the odd zero behind a picture, PyTorch's before it: where the two differ a `PAD`
precedes, which XNNPACK fuses into the convolution behind it.  Slices that take every n-th channel share one transposed
picture, from which XNNPACK takes neighbours.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tvm_shufflenet.errors import UserError

from . import FP32, THREADS
from .calibration import pictures
from .folded import CONVOLUTIONS, Step, fold, square

SAME, VALID = 0, 1
RELU, RELU6 = 1, 3
SIGNATURE = "serving_default"


def export(net, parameters: dict[str, np.ndarray], folder: Path, precision: str = FP32) -> None:
    """Writes `net` into the folder."""
    graph = _Graph()
    steps = fold(net, parameters, (*CONVOLUTIONS, "add"), CONVOLUTIONS)
    values = [graph.tensor("input", _innermost(steps[0].shape))]
    for step in steps[1:]:
        values.append(_add(graph, step, [values[source] for source in step.inputs], [steps[i] for i in step.inputs]))
    (folder / "network.tflite").write_bytes(graph.finish(values[0], values[-1]))
    if precision == "int8":
        _quantise(net, folder / "network.tflite")


def _quantise(net, path: Path) -> None:
    """In its place: bytes for weights, a scale for each output channel, and for tensors; floats in and out."""
    try:
        from ai_edge_quantizer import qtyping, quantizer, recipe
        from ai_edge_quantizer.algorithm_manager import AlgorithmName
    except ImportError:
        raise UserError("its int8 model is made by ai-edge-quantizer, which is not installed") from None
    made = quantizer.Quantizer(str(path), recipe.static_wi8_ai8())
    for end in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        made.update_quantization_recipe(".*", end, algorithm_key=AlgorithmName.NO_QUANTIZE)
    given = [{"input": np.ascontiguousarray(picture.transpose(0, 2, 3, 1))} for picture in pictures(net)]
    found = made.calibrate({SIGNATURE: given}, num_threads=THREADS)
    path.write_bytes(made.quantize(found).quantized_model)


def load(folder: Path, image: np.ndarray, precision: str = FP32):
    """A function that runs the network in the folder on the picture and returns the logits."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(folder / "network.tflite"), num_threads=THREADS)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]
    interpreter.set_tensor(source, np.ascontiguousarray(image.transpose(0, 2, 3, 1)))  # which no run overwrites

    def run() -> np.ndarray:
        interpreter.invoke()
        return interpreter.get_tensor(target)

    return run


class _Graph:
    """Collects tensors and operators in the classes of LiteRT's own schema."""

    def __init__(self):
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self.buffers = [schema.BufferT()]  # the first one is for tensors without contents
        self.tensors, self.operators, self.codes = [], [], []
        self.parted: dict[tuple[int, int], int] = {}  # by picture and n: its channels 0, n, ..., 1, n + 1, ...

    def tensor(self, name: str, shape, contents: np.ndarray | None = None) -> int:
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, list(map(int, shape)), 0
        tensor.type = self.schema.TensorType.FLOAT32
        if contents is not None:
            buffer = self.schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(contents).tobytes(), np.uint8)
            tensor.buffer = len(self.buffers)
            self.buffers.append(buffer)
            if contents.dtype == np.int32:
                tensor.type = self.schema.TensorType.INT32
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def constant(self, name: str, values, dtype=np.float32) -> int:
        array = np.asarray(values, dtype)
        return self.tensor(name, array.shape, array)

    def operator(self, kind: str, inputs: list[int], name: str, shape, options: str = "", **settings) -> int:
        """Appends an operator; `options` is the schema's name of its settings.  Returns its output."""
        code = getattr(self.schema.BuiltinOperator, kind)
        if code not in self.codes:
            self.codes.append(code)
        operator = self.schema.OperatorT()
        operator.opcodeIndex, operator.inputs = self.codes.index(code), inputs
        operator.outputs = [self.tensor(name, shape)]
        if options:
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(self.schema, f"{options}T")()
            vars(operator.builtinOptions).update(settings)
        self.operators.append(operator)
        return operator.outputs[0]

    def _named(self, name: str, tensor: int):
        entry = self.schema.TensorMapT()
        entry.name, entry.tensorIndex = name, tensor
        return entry

    def finish(self, source: int, target: int) -> bytes:
        import flatbuffers

        model, graph = self.schema.ModelT(), self.schema.SubGraphT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = self.tensors, self.operators, [source], [target]
        model.version, model.subgraphs, model.buffers = 3, [graph], self.buffers
        signature = self.schema.SignatureDefT()  # which the quantizer asks for
        signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
        signature.inputs, signature.outputs = [self._named("input", source)], [self._named("output", target)]
        model.signatureDefs = [signature]
        model.operatorCodes = []
        for code in self.codes:
            entry = self.schema.OperatorCodeT()
            # The old field holds a signed byte, the new one the whole number.
            entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, min(code, 127), 1
            model.operatorCodes.append(entry)
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _innermost(shape) -> tuple[int, ...]:
    return (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else tuple(shape)


def _add(graph: _Graph, step: Step, inputs: list[int], before: list[Step]) -> int:
    """Adds the operators of one step; returns the tensor with its result."""
    a, name, shape = step.attrs, step.name, _innermost(step.shape)
    relu = {"fusedActivationFunction": _activation(step)}
    if step.op in ("conv", "max_pool", "avg_pool"):
        return _window(graph, step, inputs[0], before[0], relu)
    if step.op == "dense":
        weight = step.weight
        if before[0].op == "flatten":  # of a picture whose channels are innermost here
            _, channels, rows, columns = before[0].attrs["from"]
            weight = weight.reshape(-1, channels, rows, columns).transpose(0, 2, 3, 1).reshape(len(weight), -1)
        constants = [graph.constant(f"{name}.weight", weight), graph.constant(f"{name}.bias", step.bias)]
        return graph.operator("FULLY_CONNECTED", inputs + constants, name, shape, "FullyConnectedOptions", **relu)
    if step.op == "shuffle":
        _, rows, columns, channels = shape
        split = (1, rows, columns, a["groups"], channels // a["groups"])
        order = graph.constant(f"{name}.order", [0, 1, 2, 4, 3], np.int32)
        x = _reshape(graph, inputs[0], f"{name}.split", split)
        x = graph.operator(
            "TRANSPOSE", [x, order], f"{name}.transpose", (*split[:3], split[4], split[3]), "TransposeOptions"
        )
        return _reshape(graph, x, name, shape)
    if step.op == "slice":
        return _slice(graph, step, inputs[0], _innermost(before[0].shape))
    if step.op == "flatten":
        step.attrs["from"] = before[0].shape
        return _reshape(graph, inputs[0], name, shape)
    if step.op == "global_avg_pool":
        axes = graph.constant(f"{name}.axes", [1, 2], np.int32)
        return graph.operator("MEAN", [inputs[0], axes], name, shape, "ReducerOptions", keepDims=False)
    if step.op == "lrn":
        settings = {"radius": a["size"] // 2, "bias": a["k"], "alpha": a["alpha"] / a["size"], "beta": a["beta"]}
        return graph.operator(
            "LOCAL_RESPONSE_NORMALIZATION", inputs, name, shape, "LocalResponseNormalizationOptions", **settings
        )
    if step.op == "add":
        return graph.operator("ADD", inputs, name, shape, "AddOptions", **relu)
    if step.op == "concat":
        return graph.operator("CONCATENATION", inputs, name, shape, "ConcatenationOptions", axis=3)
    if step.op == "multiply":
        inputs = [_pixel(graph, x, source) for x, source in zip(inputs, before)]
        return graph.operator("MUL", inputs, name, shape, "MulOptions", **relu)
    if step.op in ("relu", "sigmoid"):
        return graph.operator({"relu": "RELU", "sigmoid": "LOGISTIC"}[step.op], inputs, name, shape)
    if step.op == "clip" and _bounds(step) == (0, 6):
        return graph.operator("RELU6", inputs, name, shape)
    raise UserError(f"{name}: no {step.op} is written for LiteRT")


def _activation(step: Step) -> int:
    """What a convolution does with its sums, in LiteRT's numbers."""
    if step.clip is None:
        return RELU if step.relu else 0
    if step.clip != (0, 6):
        raise UserError(f"{step.name}: LiteRT's convolutions clip at 0 and 6 only")
    return RELU6


def _bounds(step: Step) -> tuple[float, float]:
    return step.attrs["low"], step.attrs["high"]


def _pixel(graph: _Graph, x: int, step: Step) -> int:
    """A vector of factors as a picture of one pixel, pictures as they are."""
    return x if len(step.shape) == 4 else _reshape(graph, x, f"{step.name}.pixel", (1, 1, 1, step.shape[1]))


def _slice(graph: _Graph, step: Step, x: int, shape: tuple[int, ...]) -> int:
    """Channels start, start + step, ...: of a picture whose channels are in the order of start, where step is not 1."""
    start, every, channels = step.attrs["start"], step.attrs["step"], shape[3]
    size = step.shape[1]
    if every != 1:
        if channels % every or size != channels // every:
            raise UserError(f"{step.name}: LiteRT is given slices of every n-th channel that take all of these")
        if (x, every) not in graph.parted:
            split = _reshape(graph, x, f"{step.name}.split", (1, shape[1], shape[2], channels // every, every))
            order = graph.constant(f"{step.name}.order", [0, 1, 2, 4, 3], np.int32)
            turned = (1, shape[1], shape[2], every, channels // every)
            turn = graph.operator("TRANSPOSE", [split, order], f"{step.name}.transpose", turned, "TransposeOptions")
            graph.parted[x, every] = _reshape(graph, turn, f"{step.name}.parted", shape)
        x, start = graph.parted[x, every], start * size
    ends = [
        graph.constant(f"{step.name}.{key}", values, np.int32)
        for key, values in (("begin", [0, 0, 0, start]), ("size", [1, shape[1], shape[2], size]))
    ]
    return graph.operator("SLICE", [x, *ends], step.name, _innermost(step.shape), "SliceOptions")


def _reshape(graph: _Graph, x: int, name: str, shape) -> int:
    wanted = graph.constant(f"{name}.shape", shape, np.int32)
    return graph.operator("RESHAPE", [x, wanted], name, shape, "ReshapeOptions", newShape=list(shape))


def _window(graph: _Graph, step: Step, x: int, before: Step, relu: dict) -> int:
    name, shape = step.name, _innermost(step.shape)
    kernel, stride, pad = square(step)
    # Average pooling leaves its own padding out of the average.
    same = stride == 1 and pad == kernel // 2 and step.op != "avg_pool"
    if pad and not same:
        _, rows, columns, channels = _innermost(before.shape)
        padded = (1, rows + 2 * pad, columns + 2 * pad, channels)
        widths = graph.constant(f"{name}.pad", [[0, 0], [pad, pad], [pad, pad], [0, 0]], np.int32)
        if step.op == "max_pool" and not before.relu:
            raise UserError(f"{name}: zeros pad the maximum of numbers that may be negative")
        x = graph.operator("PAD", [x, widths], f"{name}.padded", padded, "PadOptions")
    strides = {"padding": SAME if same else VALID, "strideW": stride, "strideH": stride, **relu}
    if step.op != "conv":
        kind = "MAX_POOL_2D" if step.op == "max_pool" else "AVERAGE_POOL_2D"
        return graph.operator(
            kind, [x], name, shape, "Pool2DOptions", filterWidth=kernel, filterHeight=kernel, **strides
        )
    depthwise = step.attrs["groups"] == step.shape[1] and step.weight.shape[1] == 1
    weight = step.weight.transpose((1, 2, 3, 0) if depthwise else (0, 2, 3, 1))
    inputs = [x, graph.constant(f"{name}.weight", weight), graph.constant(f"{name}.bias", step.bias)]
    if depthwise:
        return graph.operator(
            "DEPTHWISE_CONV_2D", inputs, name, shape, "DepthwiseConv2DOptions", depthMultiplier=1, **strides
        )
    return graph.operator("CONV_2D", inputs, name, shape, "Conv2DOptions", **strides)
