"""The list of networks: those of the two ShuffleNet papers, and V2+ of the same authors, by all their names.

Aliases are names of torchvision's, Cadene's and pytorchcv's models that are the same network.  Other networks are:
torchvision's alexnet and googlenet, whose names are those of the originals here (see alexnet-torchvision and
googlenet-torchvision); pytorchcv's shufflenet_*, whose units concatenate the other way round and, at a quarter, have
a narrower stem; its shufflenetv2_*, whose pooling behind the stem has no padding and rounds up; its mobilenetv2_*,
whose first unit expands, too.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools

from ..errors import UserError
from . import (
    alexnet,
    checks,
    condensenet,
    faster_rcnn,
    googlenet,
    light_head,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    nanodet,
    nanodet_plus,
    plain_units,
    pvanet,
    resnet,
    shufflenet_v1,
    shufflenet_v2,
    shufflenet_v2_plus,
    squeezenet,
    ssdlite,
    vgg,
    xception,
)
from .entries import SETTLED, About, Entry
from .network import SIZE, Network

# The first of several that are the same is the one that an imported network is.
FAMILIES = (
    shufflenet_v1.entries, mobilenet_v1.entries, alexnet.entries, shufflenet_v1.further_entries, plain_units.entries,
    vgg.entries, googlenet.entries, squeezenet.entries, pvanet.entries, shufflenet_v2.entries,
    shufflenet_v2_plus.entries, mobilenet_v2.entries, xception.entries, resnet.entries, condensenet.entries,
    ssdlite.entries, faster_rcnn.entries, nanodet.entries,
    mobilenet_v3.entries, nanodet_plus.entries, light_head.entries,
)  # fmt: skip
_DENSENET = "its growth rate is not published, and several fit the cost"
_MOBILENET = "how its widths are rounded is not published, and MobileNet v2's code does not give the published cost"
_IGCV3 = "its authors' code does not give the published cost at this width"
_UNITS = 'its channels are "adjusted to the same FLOPs" and not published'
# Networks that the papers' tables name and that are not in the list.
LEFT_OUT = {
    "nasnet-a-mobile": "found by a search and described by its code only: cells of five branches, windows to 7x7",
    "pnasnet-5": "found by a search, and the width of the network that was measured is not published",
    "shufflenet-v1-50": "the width of its bottlenecks is not published, and no usual ratio gives its cost within 4 %",
    **{f"densenet-{scale}x": _DENSENET for scale in ("0.5", "1", "1.5", "2")},
    **{f"mobilenet-v2-{width}": _MOBILENET for width in ("0.4-at-160", "0.15", "0.75-at-192", "0.6")},
    **{f"igcv2-{level}m": "its units are not described here" for level in (40, 140, 300, 500)},
    "igcv3-d-0.7": _IGCV3, "igcv3-d-1.4": _IGCV3,
    **{f"{kind}-units-{channels}": _UNITS
       for kind in ("shufflenet-v1", "mobilenet-v2", "xception") for channels in (64, 128, 256)},
    **light_head.LEFT_OUT,
}  # fmt: skip


@functools.cache
def _entries() -> dict[str, Entry]:
    return {name: entry for entries in FAMILIES for name, entry in entries().items()}


@functools.cache
def _names() -> dict[str, str]:
    """From every name and alias to the name."""
    aliases = {alias: name for name, entry in _entries().items() for alias in entry.aliases}
    return aliases | {name: name for name in _entries()}


def model_names() -> list[str]:
    """Every network of the list, by its own name."""
    return list(_entries())


def own_name(name: str) -> str | None:
    """The own name of the network with that name or alias; None if there is none."""
    return _names().get(name)


def aliases(name: str) -> tuple[str, ...]:
    """The other names of a network of the list."""
    return _entries()[name].aliases


def about(name: str) -> About:
    """Where a network of the list is from, and how sure its description is."""
    return _entries()[name].about


def usual_size(name: str) -> tuple[int, int]:
    """Height and width in pixels of the input that the network with that name or alias has by default."""
    known = own_name(name)
    return _entries()[known].size if known else SIZE


def usual_classes(name: str) -> int:
    """How many classes a network of the list has by default."""
    return _entries()[name].classes


def backbone(name: str) -> str:
    """The classifier with whose layers, under the same names, a detector begins; "" for a network that is none."""
    return _entries()[name].backbone


def network(name: str, size: tuple[int, int] | None = None, classes: int | None = None) -> Network:
    """The network with that name or alias for inputs of `size` = (height, width) pixels; it has its own name.

    Without `size` they are of its `usual_size`; it has its `usual_classes` unless `classes` says otherwise.

    Raises `UserError` for an unknown name, a size that the network does not take, or no classes.
    """
    known = own_name(name)
    if name in LEFT_OUT:
        raise UserError(f"{name} is left out: {LEFT_OUT[name]}; see `python -m tvm_shufflenet.models`")
    if known is None:
        near = difflib.get_close_matches(name, _names(), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see `python -m tvm_shufflenet.models`"
        raise UserError(f"unknown model {name!r}: {hint}")
    if classes is not None and not 1 <= classes <= checks.ELEMENTS:
        raise UserError(f"--classes {classes}: expected 1 or more, at most {checks.ELEMENTS}")
    entry = _entries()[known]
    net, its = entry.build(known, size or entry.size, entry.classes if classes is None else classes), entry.about
    said = its.note if its.mark == SETTLED else f"{its.mark}: {its.note}"
    return dataclasses.replace(net, note="; ".join(filter(None, [said, net.note])))
