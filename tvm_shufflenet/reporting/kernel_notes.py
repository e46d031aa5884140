"""Which kernel does each layer, and how long it takes, in words: what an ONNX model can carry for its viewers."""

from __future__ import annotations

from ..architectures import Network
from .subjects import Subject

IN_PLACE = ("batch_norm", "relu", "clip", "leaky_relu", "sigmoid", "hard_sigmoid", "hard_swish", "add")
PREFIX = "tvm_shufflenet"
FREE = "none: it only says where channels lie, or nothing is left of it"


def kernel_notes(net: Network, subject: Subject) -> dict[str, dict[str, str]]:
    """The kernels of each layer, by its name: what they compute, their knobs, and their times where there are some.

    `subject` is the same network, planned or profiled.
    """
    calls: dict[str, list[int]] = {}
    for index, call in enumerate(subject.calls):
        calls.setdefault(call["layer"], []).append(index)
    owners = _owners(net, calls, subject)
    knobs = {row["kernel"]: row["knobs"] for row in subject.kernels}
    found = {}
    for index, layer in enumerate(net.layers[1:], 1):
        if layer.name in calls:
            found[layer.name] = _note(subject, calls[layer.name], knobs)
        elif layer.op in IN_PLACE and owners[index]:
            names = ", ".join(dict.fromkeys(net.layers[owner].name for owner in sorted(owners[index])))
            found[layer.name] = {f"{PREFIX}.kernel": f"none of its own: done in the kernel of {names}"}
        else:
            found[layer.name] = {f"{PREFIX}.kernel": FREE}
        found[layer.name][f"{PREFIX}.target"] = subject.target
    return found


def _note(subject: Subject, indices: list[int], knobs: dict[str, dict]) -> dict[str, str]:
    calls = [subject.calls[index] for index in indices]
    note = {
        f"{PREFIX}.kernel": ", ".join(call["kernel"] for call in calls),
        f"{PREFIX}.computes": "; ".join(call["what"] for call in calls),
        f"{PREFIX}.knobs": "; ".join(
            " ".join(f"{name}={value}" for name, value in knobs.get(call["kernel"], {}).items()) for call in calls
        ),
    }
    if subject.profile:
        rows = [subject.profile["calls"][index] for index in indices]
        macs, seconds = sum(row["multiply_adds"] for row in rows), sum(row["ms"] for row in rows) / 1e3
        peak = subject.profile["peak_multiply_adds_per_second"]
        note[f"{PREFIX}.microseconds"] = f"{1e6 * seconds:.2f}"
        note[f"{PREFIX}.percent_of_peak"] = f"{100 * macs / seconds / peak:.0f}"
        note[f"{PREFIX}.timed_on"] = subject.profile["processor"]["name"]
    return note


def _owners(net: Network, calls: dict[str, list[int]], subject: Subject) -> list[set[int]]:
    """For each layer, the layers whose kernels leave its result."""
    adds_residual = {call["layer"] for call in subject.calls if "residual" in call["what"].split(", ")}
    found: list[set[int]] = [set()]
    for index, layer in enumerate(net.layers[1:], 1):
        owners = set().union(*(found[source] for source in layer.inputs))
        if layer.name in calls:
            owners = {index}
        elif layer.op == "add":  # the other one of its inputs is read by the kernel, and not computed there
            owners = {owner for owner in owners if net.layers[owner].name in adds_residual}
            latest = [owner for owner in owners if _is_last(net, owner, layer.inputs, found)]
            owners = set(latest)
        found.append(owners)
    return found


def _is_last(net: Network, owner: int, inputs: tuple[int, ...], found: list[set[int]]) -> bool:
    """Whether the kernel of that layer computes one input of an addition, and no kernel of the other comes behind."""
    theirs = [found[source] for source in inputs if owner not in found[source]]
    return all(other < owner for others in theirs for other in others)
