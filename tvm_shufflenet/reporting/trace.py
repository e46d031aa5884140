"""A profile in Chrome's trace event format, which ui.perfetto.dev and chrome://tracing open.

The format: "Trace Event Format", Google, docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU.
"""

from __future__ import annotations

PROCESS, KERNELS = 1, 1  # numbers of the process and of its thread


def trace(profile: dict) -> dict:
    """The calls of a profile, as `profile --json` has it, one behind the other: times in microseconds.

    Each call takes the least of its rounds, so the line of time is no round that was; "otherData" says so.
    """
    network, core = profile["network"], profile["core"]
    thread = "kernels" if core is None else f"kernels, core {core}"
    events: list[dict] = [
        {"ph": "M", "pid": PROCESS, "tid": 0, "name": "process_name", "args": {"name": network}},
        {"ph": "M", "pid": PROCESS, "tid": KERNELS, "name": "thread_name", "args": {"name": thread}},
    ]
    start = 0.0
    for row in profile["calls"]:
        microseconds = 1e3 * row["ms"]
        events.append({
            "ph": "X", "pid": PROCESS, "tid": KERNELS, "ts": start, "dur": microseconds,
            "name": f"{row['layers'][0]}: {row['what']}", "cat": row["kernel"].rpartition("_")[0],
            "args": {
                "kernel": row["kernel"], "layer": row["layers"][0], "computes": row["what"],
                "multiply-adds": row["multiply_adds"], "GMAC/s": row["multiply_adds_per_second"] / 1e9,
                "% of peak": 100 * row["share_of_peak"], "bytes": row["bytes"], "GB/s": row["bytes_per_second"] / 1e9,
                "% of the sum": 100 * row["share_of_sum"], "knobs": row["knobs"], "tuned": row["tuned"],
                "output": row["outputs"][0],
            },
        })  # fmt: skip
        start += microseconds
    about = {
        "what": "one inference; each call takes the least of all rounds, so that the whole is no round's",
        "command": profile["command"], "processor": profile["processor"]["name"],
        "target": profile["target"]["name"], "rounds": profile["rounds"], "library_ms": profile["library"]["ms"],
        "peak GMAC/s": profile["peak_multiply_adds_per_second"] / 1e9, "versions": profile["versions"],
    }  # fmt: skip
    return {"traceEvents": events, "displayTimeUnit": "ns", "otherData": about}
