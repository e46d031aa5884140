"""`profile --trace`: the shape that trace viewers want, and the figures of the profile in it."""

from __future__ import annotations

import json

import pytest

from tvm_shufflenet.cli import profile as command
from tvm_shufflenet.errors import UserError

SMALL = ["shufflenet-v1-0.25x-g3", "--size", "64", "--rounds", "1"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trace")
    trace, profile = folder / "trace.json", folder / "profile.json"
    assert command.main([*SMALL, "--trace", str(trace), "--json", str(profile)]) == 0
    return json.loads(trace.read_text()), json.loads(profile.read_text())


def test_the_shape_of_a_trace(written):
    trace, _ = written
    assert trace.keys() == {"traceEvents", "displayTimeUnit", "otherData"} and trace["displayTimeUnit"] in ("ms", "ns")
    for event in trace["traceEvents"]:
        assert event["ph"] in ("X", "M") and isinstance(event["name"], str)
        assert type(event["pid"]) is int and type(event["tid"]) is int and isinstance(event["args"], dict)
        if event["ph"] == "X":
            assert event["ts"] >= 0 and event["dur"] > 0 and isinstance(event["cat"], str)
    names = {event["name"] for event in trace["traceEvents"] if event["ph"] == "M"}
    assert names == {"process_name", "thread_name"}


def test_its_figures_are_those_of_the_profile(written):
    trace, profile = written
    events = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert len(events) == len(profile["calls"])
    for event, row in zip(events, profile["calls"]):
        assert event["dur"] == pytest.approx(1e3 * row["ms"])
        assert event["args"]["GMAC/s"] == pytest.approx(row["multiply_adds"] / row["ms"] / 1e6)
        assert event["args"]["bytes"] == row["bytes"] and event["args"]["layer"] == row["layers"][0]
    for before, after in zip(events, events[1:]):
        assert after["ts"] == pytest.approx(before["ts"] + before["dur"])
    assert events[-1]["ts"] + events[-1]["dur"] == pytest.approx(1e3 * profile["sum_of_kernels_ms"])


def test_a_folder_that_is_not_there():
    with pytest.raises(UserError, match="--trace no/trace.json: there is no such folder"):
        command.main([*SMALL, "--trace", "no/trace.json"])
