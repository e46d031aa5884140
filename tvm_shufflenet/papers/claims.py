"""What ShuffleNet v1 claims of speed and cost in prose, beside what is found here."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ..architectures import SIZE, Network
from ..architectures.experiments import counted_unit
from ..published import v1
from ..published.figures import Row
from .speeds import Speeds
from .tables import find_network

MARGIN = 1.05  # of times: what differs by less is as fast; runs of the same code differ by up to 3 %
HALF, ONE, TWO = (v1.shufflenet(scale, 3) for scale in (0.5, 1, 2))
WITH_SE = v1.shufflenet(2, 3, "-se")


@dataclass(frozen=True)
class Claim:
    """A claim, and in one sentence what was found here; `figures` has the numbers of the sentence."""

    name: str
    claim: str
    here: str
    figures: dict = field(default_factory=dict)


def networks() -> list[Network]:
    """The networks that the claims speak of, as far as the list has them."""
    names = (HALF, ONE, TWO, "alexnet", WITH_SE, v1.shufflenet(1, 4), v1.shufflenet(1, 8))
    return [net for net in map(_network, names) if isinstance(net, Network)]


def claims(speeds: Speeds | None) -> list[Claim]:
    """Every claim; without `speeds` those of speed say that nothing was measured."""
    return [
        _less_work(HALF, ONE, speeds),
        _less_work(ONE, TWO, speeds),
        _alexnet(speeds),
        _squeeze(speeds),
        *(_groups(groups, speeds) for groups in (4, 8)),
        *formulas(),
    ]


def _network(name: str) -> Network | str:
    return find_network(Row(name))


def _found(speeds: Speeds | None, *names: str) -> tuple[list[Network], list[float], str]:
    """The networks and what they take, or why that is unknown for one of them."""
    found = [_network(name) for name in names]
    missing = next((net for net in found if isinstance(net, str)), "")
    nets = [net for net in found if isinstance(net, Network)]
    if missing or speeds is None:
        return nets, [], missing or "not measured"
    amounts = [speeds.amount(net) for net in nets]
    missing = next((amount for amount in amounts if isinstance(amount, str)), "")
    return nets, [amount for amount in amounts if isinstance(amount, float)], missing


def _less_work(small: str, large: str, speeds: Speeds | None) -> Claim:
    published = v1.MILLISECONDS[large][SIZE] / v1.MILLISECONDS[small][SIZE]
    text = f"4 times less work is {v1.FASTER_WITH_A_QUARTER:g} times faster"
    name = f"{small} against {large}"
    nets, amounts, missing = _found(speeds, small, large)
    if missing:
        return Claim(name, text, missing)
    work, faster = nets[1].multiply_adds() / nets[0].multiply_adds(), amounts[1] / amounts[0]
    quarter = faster ** (math.log(4) / math.log(work))
    verdict = _beside(quarter / v1.FASTER_WITH_A_QUARTER, "more than", "as", "less than")
    here = (
        f"{work:.1f} times less work is {faster:.1f} times faster (Table 8: {published:.1f}); for 4 times that makes "
        f"{quarter:.1f}, {verdict} the paper says"
    )
    return Claim(name, text, here, {"work": work, "faster": faster, "table_8": published, "for_4_times": quarter})


def _alexnet(speeds: Speeds | None) -> Claim:
    text = f"about {v1.ALEXNET_SPEEDUP:g} times as fast as AlexNet with comparable accuracy (abstract)"
    nets, amounts, missing = _found(speeds, HALF, "alexnet")
    if missing:
        return Claim(f"{HALF} against alexnet", text, missing)
    faster, theory = amounts[1] / amounts[0], nets[1].multiply_adds() / nets[0].multiply_adds()
    published = v1.speedup(HALF, SIZE)
    verdict = _beside(faster / v1.ALEXNET_SPEEDUP, "more than", "as", "less than")
    here = (
        f"{faster:.1f} times as fast (Table 8: {published:.1f}; {theory:.1f} times fewer multiply-adds), {verdict} the "
        "paper says"
    )
    return Claim(f"{HALF} against alexnet", text, here, {"faster": faster, "theory": theory, "table_8": published})


def _squeeze(speeds: Speeds | None) -> Claim:
    low, high = v1.SE_SLOWER
    text = f"networks with SE are {low:g} to {high:g} % slower"
    _, amounts, missing = _found(speeds, TWO, WITH_SE)
    if missing:
        return Claim(WITH_SE, text, missing)
    slower = 100 * (amounts[1] / amounts[0] - 1)
    verdict = "less than" if slower < low else "as" if slower <= high else "more than"
    return Claim(WITH_SE, text, f"{slower:.0f} % slower, {verdict} the paper says", {"slower_percent": slower})


def _groups(groups: int, speeds: Speeds | None) -> Claim:
    name, text = v1.shufflenet(1, groups), f"g={groups} is less efficient in use than g=3"
    nets, amounts, missing = _found(speeds, ONE, name)
    if missing:
        return Claim(name, text, missing)
    longer = amounts[1] / nets[1].multiply_adds() / (amounts[0] / nets[0].multiply_adds())
    verdict = "less efficient, as the paper says" if longer > MARGIN else "no less efficient, against the paper"
    here = f"{longer:.2f} times as long for each multiply-add as g=3: {verdict}"
    return Claim(name, text, here, {"time_per_multiply_add": longer})


def formulas(channels: int = 240, groups: int = 3, size: tuple[int, int] = (28, 28)) -> list[Claim]:
    """Section 3.2's multiply-adds of a unit of c channels with a bottleneck of m = c / 4, beside those counted."""
    c, g, m, hw = channels, groups, channels // 4, size[0] * size[1]
    units = (
        ("ResNet", "hw(2cm + 9m^2)", hw * (2 * c * m + 9 * m * m), (1, 1)),
        ("ResNeXt", "hw(2cm + 9m^2/g)", hw * (2 * c * m + 9 * m * m // g), (1, g)),
        ("ShuffleNet", "hw(2cm/g + 9m)", hw * (2 * c * m // g + 9 * m), (g, m)),
    )
    found = []
    for kind, formula, value, (pointwise, spatial) in units:
        counted = counted_unit(f"{kind}-unit", c, m, pointwise, spatial, size).multiply_adds()
        verdict = "equal" if counted == value else "not equal"
        here = f"{counted / 1e6:.3f} M counted, {value / 1e6:.3f} M by the formula: {verdict}"
        text = f"{formula} multiply-adds (section 3.2); c={c}, m={m}, g={g}, {size[0]}x{size[1]}"
        found.append(Claim(f"unit of {kind}", text, here, {"counted": counted, "formula": value}))
    return found


def _beside(ratio: float, more: str, equal: str, less: str) -> str:
    return more if ratio > MARGIN else less if ratio < 1 / MARGIN else equal
