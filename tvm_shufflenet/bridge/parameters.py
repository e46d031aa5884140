"""Parameters of a network as numpy arrays: random ones, checked ones, and TVM's tensors of them.

Parameters are a dictionary from the dotted name to a C-contiguous float32 array, in the order of
`Network.parameters()`.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping

import numpy as np

from ..architectures import Network
from ..errors import UserError

# Variance that a convolution gives its output, relative to the second moment of its input.  A ReLU and its like
# halve it again; a residual branch must stay small, or 13 additions in a row grow without bound.
_GAIN = {"relu": 2.0, "clip": 2.0, "leaky_relu": 2.0, "hard_swish": 2.0, "add": 0.25}
_IGNORED = "num_batches_tracked"


def random_parameters(network: Network, seed: int = 0) -> dict[str, np.ndarray]:
    """Seeded random parameters which keep activations of a normal order through the whole depth.

    The batch-norm statistics are all different from the identity, so that a compiler which folds
    them wrongly is found out.  Each tensor depends on the seed, its name and its shape alone:
    networks that differ in their classes differ in their classifiers only.
    """
    # The last layer that reads each layer.
    behind = {source: index for index, layer in enumerate(network.layers) for source in layer.inputs}
    parameters = {}
    for index, layer in enumerate(network.layers[1:], 1):
        after = behind.get(index)
        if after and network.layers[after].op == "batch_norm":
            after = behind.get(after)
        gain = _GAIN.get(network.layers[after].op, 1.0) if after else 1.0
        for name, shape in layer.parameters(network.layers[layer.inputs[0]].shape).items():
            rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
            parameters[name] = _draw(rng, layer.op, name.rpartition(".")[2], shape, gain)
    return parameters


def _draw(rng, op: str, kind: str, shape: tuple[int, ...], gain: float) -> np.ndarray:
    if kind in ("bias", "running_mean"):
        values = 0.1 * rng.standard_normal(shape, np.float32)
    elif kind == "running_var":
        values = rng.uniform(0.5, 1.5, shape)
    elif op == "batch_norm":
        # With that variance: E[gamma^2] E[1/var] = 0.95, so that a batch norm keeps the scale.
        values = rng.uniform(0.5, 1.3, shape)
    else:
        values = (gain / np.prod(shape[1:])) ** 0.5 * rng.standard_normal(shape, np.float32)
    return values.astype(np.float32)


def check_parameters(network: Network, parameters: Mapping, source: str) -> dict[str, np.ndarray]:
    """The parameters as float32 arrays in the network's order; `source` says where they come from.

    Takes arrays of any floating dtype, with or without the prefix `module.` of PyTorch's
    data-parallel wrappers; `num_batches_tracked` is ignored.  Raises `UserError` naming the first
    tensor that is missing, unexpected, of a wrong shape or dtype, not finite, or a negative variance.
    """
    prefix = "module." if all(name.startswith("module.") for name in parameters) else ""
    found = {name.removeprefix(prefix): np.asarray(array) for name, array in parameters.items()}
    found = {name: array for name, array in found.items() if name.rpartition(".")[2] != _IGNORED}
    expected = network.parameters()
    if expected and not found.keys() & expected.keys():
        raise UserError(f"{source}: none of its {len(found)} tensors belongs to {network.name}")
    problems = [f"tensor {name} is missing" for name in expected if name not in found]
    result = {}
    for name, shape in expected.items():
        if name not in found:
            continue
        array = found[name]
        if np.issubdtype(array.dtype, np.floating):
            with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinity, which is refused
                array = array.astype(np.float32, order="C", copy=False)
        if problem := _problem(name, array, shape):
            problems.append(f"tensor {name} {problem}")
        result[name] = array
    problems += [f"tensor {name} is unexpected" for name in found if name not in expected]
    if problems:
        others = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise UserError(f"{source} does not fit {network.name}: {problems[0]}{others}" + _hint(network, found))
    return result


def _problem(name: str, array: np.ndarray, shape: tuple[int, ...]) -> str | None:
    if array.shape != shape:
        return f"has the shape {_text(array.shape)}, expected {_text(shape)}"
    if not np.issubdtype(array.dtype, np.floating):
        return f"is {array.dtype}, expected floating-point numbers"
    if not np.isfinite(array).all():
        return "holds NaN or infinity"
    if name.endswith(".running_var") and (array < 0).any():
        return "holds a negative variance"
    return None


def _hint(network: Network, found: dict[str, np.ndarray]) -> str:
    """Where the classifier alone is of another size: the classes that would fit."""
    expected, last = network.parameters(), network.layers[-1].name
    differing = {n for n in expected.keys() | found.keys() if n not in found or found[n].shape != expected.get(n)}
    weight, bias = f"{last}.weight", f"{last}.bias"
    if differing != {weight, bias} or weight not in found or found[weight].shape[1:] != expected.get(weight, ())[1:]:
        return ""
    return f"; it was made for another number of classes: use --classes {len(found[weight])}"


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "of a scalar"


def to_relax(parameters: Mapping) -> dict:
    """The parameters as `tvm.runtime.Tensor`s on the CPU."""
    import tvm

    return {name: tvm.runtime.tensor(np.ascontiguousarray(array)) for name, array in parameters.items()}


def from_relax(parameters: Mapping) -> dict[str, np.ndarray]:
    """The inverse of `to_relax`: copies as numpy arrays."""
    return {name: tensor.numpy() for name, tensor in parameters.items()}


def digest(parameters: Mapping[str, np.ndarray]) -> str:
    """Hash of names, shapes and values of the parameters: the same for every target."""
    found = hashlib.sha256()
    for name, array in parameters.items():
        found.update(f"{name}{array.shape}".encode())
        found.update(np.ascontiguousarray(array, dtype="<f4").data)
    return found.hexdigest()
