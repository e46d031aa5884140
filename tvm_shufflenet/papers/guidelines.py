"""ShuffleNet v2's four experiments here, and whether each guideline holds for what was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..architectures import Network
from ..architectures.experiments import (
    bottleneck_blocks,
    fragmented_blocks,
    grouped_blocks,
    memory_access,
    ratio_blocks,
)
from ..published.guidelines import FACTORS, Guideline
from .claims import MARGIN
from .speeds import Speeds

_BLOCKS: dict[str, Callable[..., Network]] = {
    "G1": ratio_blocks,
    "G2": grouped_blocks,
    "G3": fragmented_blocks,
    "G4": bottleneck_blocks,
}
Which = tuple[str, int]  # a variant and by what all channels are multiplied
Times = Mapping[Which, float]  # of one inference, in whatever unit; those that are not known lack


def networks(guideline: Guideline) -> dict[Which, Network]:
    """Every network of an experiment."""
    return {
        (variant.name, factor): _BLOCKS[guideline.name](
            f"{guideline.name}-{variant.name}-x{factor}".replace(":", "to").replace(" + ", "-").replace(" ", "-")
            .replace("=", ""), **arguments,
        )
        for variant in guideline.variants for factor, arguments in zip(FACTORS, variant.arguments, strict=True)
    }  # fmt: skip


def published_times(guideline: Guideline) -> Times:
    """Milliseconds of an inference in the paper, by variant and factor."""
    return {
        (variant.name, factor): 1e3 / images
        for variant in guideline.variants
        for factor, images in zip(FACTORS, variant.images, strict=True)
    }


def slowdowns(guideline: Guideline, nets: Mapping[Which, Network], times: Times) -> dict[int, float]:
    """For each factor, how many times as long `bad` takes as `good`, two variants of the same multiply-adds."""
    found = {}
    for factor in FACTORS:
        pair = (guideline.bad, factor), (guideline.good, factor)
        if all(which in times for which in pair):
            bad, good = (times[which] / nets[which].multiply_adds() for which in pair)
            found[factor] = bad / good
    return found


def sentence(guideline: Guideline, nets: Mapping[Which, Network], times: Times) -> str:
    """Whether the guideline holds for these times: whether `bad` is slower than `good` by more than the noise."""
    here, paper = slowdowns(guideline, nets, times), slowdowns(guideline, nets, published_times(guideline))
    if not here:
        return f"{guideline.name}: neither {guideline.good} nor {guideline.bad} can be compared, nothing follows"
    holds = [f"x{factor}" for factor, slower in here.items() if slower > MARGIN]
    fails = [f"x{factor}" for factor, slower in here.items() if slower <= MARGIN]
    verdict = "holds here"
    if not holds:
        verdict = "does not hold here"
    elif fails:
        verdict = f"holds here at {' and '.join(holds)}, not at {' and '.join(fails)}"
    figures = ", ".join(f"{slower:.2f}" for slower in here.values())
    theirs = ", ".join(f"{paper[factor]:.2f}" for factor in here)
    where = ", ".join(f"x{factor}" for factor in here)
    return (
        f"{guideline.name} {verdict} ({guideline.statement}): at the same multiply-adds {guideline.bad} takes "
        f"{figures} times as long as {guideline.good} ({where}; in the paper {theirs})"
    )


def rows(guideline: Guideline, nets: Mapping[Which, Network], speeds: Speeds | None) -> list[dict]:
    """A row for each variant and factor; `cells` as in `tables.fill`, ratios are to the variant `good`.

    `memory_access` is v2's MAC in millions of numbers.
    """
    published, found = published_times(guideline), []
    for which, net in nets.items():
        variant, factor = which
        good = (guideline.good, factor)
        cells: dict[str, float | str] = {
            "images": 1e3 / published[which], "published_speedup": published[good] / published[which],
            "multiply_adds": net.multiply_adds() / 1e6, "memory_access": memory_access(net) / 1e6,
        }  # fmt: skip
        if speeds:
            speed, base = speeds.of(net), speeds.of(nets[good])
            if isinstance(speed, str):
                cells |= dict.fromkeys(("speed", "share", "speedup"), speed)
            else:
                cells |= {"speed": speed.amount, "share": speed.share,
                          "speedup": base if isinstance(base, str) else base.amount / speed.amount}  # fmt: skip
        found.append({"network": f"{variant} x{factor}", "variant": variant, "factor": factor, "model": net.name,
                      "channels": _channels(net), "cells": cells})  # fmt: skip
    return found


def known_times(nets: Mapping[Which, Network], speeds: Speeds | None) -> Times:
    """The speeds of those networks for which one was found."""
    amounts = {which: speeds.amount(net) for which, net in nets.items()} if speeds else {}
    return {which: amount for which, amount in amounts.items() if not isinstance(amount, str)}


def _channels(net: Network) -> str:
    """The channels of the input, and behind the first convolution."""
    return ", ".join(str(layer.shape[1]) for layer in net.layers[:2])
