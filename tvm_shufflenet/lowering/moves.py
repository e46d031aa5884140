"""Copies of planes from one view to another, in as few calls as their places allow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..schedules import Copy
from .program import Call, Channels, View


def copies(layer: str, channels: Channels, source: View, target: View) -> list[Call]:
    """Calls that put these channels, which `source` is, where `target` says; both have the same pixels."""
    at = dict(zip(target.planes, channels, strict=True))
    height, width = source.root.plane.height, source.root.plane.width
    before, after, calls = source.root.plane, target.root.plane, []
    for outer, inner, places in _pieces(source.planes, target.planes):
        read, written = (tuple(pair[i] for pair in places) for i in (0, 1))

        def step(planes: Sequence[int], distance: int) -> int:
            return planes[distance] - planes[0] if distance < len(planes) else 0

        if source.root.interleaved:
            channel, row, pixel = 1, before.width * source.root.planes, source.root.planes
        else:
            channel, row, pixel = before.size, before.pitch, 1
        workload = Copy.of(
            (outer, inner, height, width),
            (step(read, inner) * channel, step(read, 1) * channel if inner > 1 else 0, row, pixel),
            (step(written, inner) * after.size, step(written, 1) * after.size if inner > 1 else 0, after.pitch, 1),
            (source.root.dtype, target.root.dtype),
        )
        moved = tuple(at[plane] for plane in written)
        calls.append(
            Call(workload, layer, [View(source.root, read)], View(target.root, written), reads=[moved], writes=moved)
        )
    return calls


def _pieces(source: Sequence[int], target: Sequence[int]) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Cuts pairs of planes into (outer, inner, pairs): `outer` runs of `inner` pairs, all at equal distances.

    Distances are never negative, so that a piece begins at its first plane.
    """
    pairs = sorted(zip(source, target), key=lambda pair: pair[1])
    at = 0
    while at < len(pairs):
        inner = _run(pairs, at, 1, len(pairs))
        outer = 1
        if inner > 1 or at + 1 < len(pairs):
            outer = _repeats(pairs, at, inner)
        yield outer, inner, pairs[at : at + outer * inner]
        at += outer * inner


def _distance(pairs, at: int, other: int) -> tuple[int, int] | None:
    """From pair `at` to pair `other`, or None if it leads backwards."""
    if other >= len(pairs):
        return None
    steps = pairs[other][0] - pairs[at][0], pairs[other][1] - pairs[at][1]
    return steps if min(steps) >= 0 else None


def _run(pairs, at: int, stride: int, limit: int) -> int:
    """How many pairs from `at` on lie at equal distances."""
    first = _distance(pairs, at, at + stride)
    count = 1
    while first and count < limit and _distance(pairs, at + (count - 1) * stride, at + count * stride) == first:
        count += 1
    return count


def _repeats(pairs, at: int, inner: int) -> int:
    """How often the run of `inner` pairs at `at` is repeated at equal distances."""
    shape = [_distance(pairs, at, at + i) for i in range(inner)]
    first, count = _distance(pairs, at, at + inner), 1
    while first:
        here, before = at + count * inner, at + (count - 1) * inner
        same = [_distance(pairs, here, here + i) for i in range(inner)] == shape
        if here + inner > len(pairs) or not same or _distance(pairs, before, here) != first:
            break
        count += 1
    return count
