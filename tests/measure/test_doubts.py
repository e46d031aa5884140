"""What is said of doubtful figures: a peak that is passed, rounds that scatter, sums that are not the whole."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tvm_shufflenet.building.manifest import WINOGRAD
from tvm_shufflenet.cli import compare as command
from tvm_shufflenet.cli.common import tuned_kernels
from tvm_shufflenet.cli.tune import gain_in_words
from tvm_shufflenet.measure.comparison import _tell_apart
from tvm_shufflenet.measure.doubts import Gain, doubts_of_comparison, doubts_of_profile, gain, scatter
from tvm_shufflenet.measure.entries import Entry
from tvm_shufflenet.words import counted

from .test_compare import entry, figures


def test_scatter_is_of_quartiles():
    assert scatter([1.0] * 9 + [50.0]) == 0
    assert scatter([1, 2, 3, 4, 5]) == pytest.approx(2 / 3)
    assert scatter([1, 9]) == 0, "too few rounds say nothing"


def test_a_quiet_comparison_has_no_doubts():
    result = figures(entry("shufflenet-v1-1x-g3", 140e6, [0.040, 0.041, 0.0405, 0.040]))
    assert doubts_of_comparison(result) == []
    assert not any("warning" in line for line in command.footer(result, ""))


def test_rounds_that_scatter_are_said():
    result = figures(entry("shufflenet-v1-1x-g3", 140e6, [0.040, 0.060, 0.041, 0.070]))
    (doubt,) = doubts_of_comparison(result)
    assert doubt.startswith("the rounds of shufflenet-v1-1x-g3 scatter by ")
    assert f"warning: {doubt}" in command.footer(result, "")


def test_a_network_passes_the_peak_only_by_winograd():
    passing = [0.001] * 4
    (doubt,) = doubts_of_comparison(figures(entry("shufflenet-v1-1x-g3", 140e6, passing)))
    assert doubt.startswith("shufflenet-v1-1x-g3 passes the peak: ")
    assert doubts_of_comparison(figures(entry("alexnet", 140e6, passing, note=WINOGRAD))) == []


@pytest.mark.parametrize("total, share, said", [
    (0.010, 0.9, []),
    (0.0085, 0.9, ["the kernels together take 85 % of the whole"]),
    (0.010, 1.2, ["depthwise_1 passes the peak: 120 %"]),
])  # fmt: skip
def test_kernels_that_pass_the_peak_or_are_not_the_whole(total, share, said):
    kernels = [{"kernel": "depthwise_1", "share_of_peak": share}, {"kernel": "winograd_1", "share_of_peak": 2.0}]
    quiet = SimpleNamespace(sum=total, library_seconds=[0.01] * 5, peak_seconds=[1e-6] * 5, kernels=lambda: kernels)
    assert doubts_of_profile(quiet) == said


def test_many_kernels_that_pass_the_peak_are_one_line():
    kernels = [{"kernel": f"pointwise_{n}", "share_of_peak": share} for n, share in ((1, 1.1), (2, 6.0), (3, 0.5))]
    quiet = SimpleNamespace(sum=0.01, library_seconds=[0.01] * 5, peak_seconds=[1e-6] * 5, kernels=lambda: kernels)
    assert doubts_of_profile(quiet) == ["pointwise_2 and 1 other kernel pass the peak: up to 600 %"]


def test_notices_about_records_are_said_once():
    one, other = (entry(name, 140e6, [0.04] * 4) for name in ("shufflenet-v1-1x-g3", "shufflenet-v1-2x-g3"))
    one.notices = other.notices = ("records.jsonl: the last line is incomplete",)
    one.manifest["kernels"]["records_ignored"] = {"for another processor": 1}
    told = command.footer(figures(one, other), "")
    assert told.count("records.jsonl: the last line is incomplete") == 1
    assert "  shufflenet-v1-1x-g3: 1 tuning record ignored: for another processor" in told


@pytest.mark.parametrize("found, told", [
    (Gain(60, 1.01, 0.99, 1.02), "within noise (60 rounds: between 0.990 and 1.020 times, 95 % sure)"),
    (Gain(60, 1.10, 1.09, 1.11), "1.100 times as fast (60 rounds: between 1.090 and 1.110 times, 95 % sure)"),
    (Gain(60, 0.90, 0.89, 0.91), "0.900 times as fast (60 rounds: between 0.890 and 0.910 times, 95 % sure)"),
    (1.01, "1.010 times as fast"),
    (None, "too few rounds to compare them"),
])  # fmt: skip
def test_a_gain_that_may_be_none_is_noise(found, told):
    assert gain_in_words(found) == told


def test_the_bounds_of_a_gain_are_those_of_the_sign_test():
    """The ranks of the tables of order statistics, which give 95 % of a median."""
    for rounds, rank in ((6, 1), (9, 2), (20, 6), (60, 22)):
        ratios = [1 + index for index in range(rounds)]
        found = gain(ratios, [1.0] * rounds)
        assert found.rounds == rounds and (found.low, found.high) == (rank, rounds + 1 - rank)
    assert gain([1.0] * 5, [1.0] * 5) is None


def test_noise_on_both_is_no_noise_of_the_gain():
    found = gain([2, 4, 6, 8, 10, 12], [1, 2, 3, 4, 5, 6])
    assert (found.low, found.median, found.high) == (2, 2, 2) and not found.is_noise


def test_bounds_hold_the_truth_as_often_as_they_say():
    """Of skewed noise, as that of a busy machine is; seeded."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        before, after = 1.02 * (1 + rng.exponential(0.05, 60)), 1 + rng.exponential(0.05, 60)
        found = gain(before, after)
        held += found.low <= 1.02 <= found.high
    assert 370 <= held <= 395


def test_nouns_follow_their_numbers():
    assert [counted(n, "board") for n in (0, 1, 2)] == ["0 boards", "1 board", "2 boards"]
    assert counted(3, "library") == "3 libraries"


def test_knobs_that_differ_from_the_defaults_are_counted():
    kernels = {"tuned": 3, "total": 5, "tuned_by": {"measured": 2, "estimated": 1}, "changed": 1}
    assert tuned_kernels(kernels) == "3 of 5 kernels tuned (1 by estimate, 1 with other knobs than the defaults)"
    del kernels["changed"]  # as in older libraries
    assert tuned_kernels(kernels) == "3 of 5 kernels tuned (1 by estimate)"


def test_libraries_of_one_name_are_told_apart_by_short_paths():
    folders = ("a/long/way/to/one", "a/long/way/to/other", "another/way/to/other")
    entries = [Entry("net", Path("/", folder, "net.so"), {}) for folder in folders]
    entries.append(Entry("alone", Path("/a/long/way/alone.so"), {}))
    _tell_apart(entries)
    assert [e.label for e in entries] == [
        "one/net.so",
        "long/way/to/other/net.so",
        "another/way/to/other/net.so",
        "alone",
    ]
