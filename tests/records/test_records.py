"""Files of tuning records: lines that are none, and processes that share a file."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading

import pytest

from tvm_shufflenet.cli import records as command
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.records import store
from tvm_shufflenet.records.file import locked
from tvm_shufflenet.records.lines import LINE, TASK, BadLine, parse
from tvm_shufflenet.records.remembered import Remembered
from tvm_shufflenet.records.store import Record

from ..conftest import ROOT

GOOD = {"task": "Conv", "version": "0" * 12, "tvm": "0.27", "target": "1" * 12, "kind": "measured",
        "knobs": {"rows": 2}, "value": 1e-6, "default": 2e-6, "rounds": 5, "where": "a board"}  # fmt: skip
TARGET = {"target": "1" * 12, "triple": "aarch64-linux-gnu", "cpu": "cortex-a72", "features": ["+neon"]}


def line(**changes) -> bytes:
    entry = {key: value for key, value in {**GOOD, **changes}.items() if value is not ...}
    return json.dumps(entry).encode()


def test_good_lines():
    assert parse(line()) == ("record", GOOD)
    assert parse(json.dumps(TARGET).encode()) == ("target", TARGET)
    assert parse(line(task="x" * TASK))[0] == "record"
    assert parse(line(failure="crashed", value=..., default=...))[0] == "record"
    assert parse(line(where="Kryo 2xx \u2014 Gold"))[0] == "record"


BAD = {
    "a zero default": line(default=0), "a negative value": line(value=-1e-6), "no value": line(value=...),
    "no value and an empty failure": line(value=None, failure=""), "an infinite ratio": line(value=1e-300),
    "NaN": line(value=float("nan")), "infinity": line(default=float("inf")),
    "1e999": line(value=1).replace(b": 1,", b": 1e999,"),
    "400 digits": line(knobs={"rows": 10**399}), "400 digits of a value": line(value=10**399),
    "5000 digits": b'{"task": ' + b"9" * 5000 + b"}", "deep nesting": b"[" * 60000, "a deep object": b'{"task":' * 5000,
    "knobs that are a list": line(knobs=[1]), "knobs that are a text": line(knobs="rows"), "no knobs": line(knobs=None),
    "a knob that is a float": line(knobs={"rows": 2.0}), "a knob that is a flag": line(knobs={"rows": True}),
    "a negative knob": line(knobs={"rows": -1}), "a nested knob": line(knobs={"rows": {"a": 1}}),
    "many knobs": line(knobs={str(i): i for i in range(1000)}),
    "rounds of 1e30": line(rounds=1e30), "rounds as a flag": line(rounds=True), "negative rounds": line(rounds=-1),
    "another kind": line(kind="guessed"), "a kind that is a list": line(kind=["measured"]),
    "a flag as a value": line(value=True),
    "a task that is a number": line(task=1), "an empty task": line(task=""), "a long task": line(task="x" * (TASK + 1)),
    "a control character": line(where="a\x1b[2Jb"), "NUL": line(task="a\0b"), "a raw NUL": line() + b"\0",
    "a lone surrogate": line(where="\ud800"), "another field": line(colour="red"), "a missing field": line(version=...),
    "invalid UTF-8": line().replace(b"a board", b"\xff\xfe"), "a text": b'"task"', "a list": b"[]",
    "nothing": b"", "a number": b"7",
    "a long line": line(where="x" * LINE),
    "features that are a text": json.dumps({**TARGET, "features": "+neon"}).encode(),
    "a target without a triple": b'{"target": "1"}',
    "a target that is a list": json.dumps({**TARGET, "target": []}).encode(),
    "a failure that is a number": line(failure=1), "a fractional version": line(version=0.5),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_bad_lines_are_refused(bad):
    with pytest.raises(BadLine) as caught:
        parse(bad)
    assert len(str(caught.value)) < 120 and str(caught.value).isprintable()


def test_bad_lines_are_skipped_with_one_notice(tmp_path):
    """Whatever stands between two good lines, both are read; a line of 10 MB takes no such memory."""
    path = tmp_path / "records.jsonl"
    lines = [line(), *(bad.replace(b"\n", b" ") for bad in BAD.values()), b"x" * 10_000_000, line(rounds=6)]
    path.write_bytes(b"\n".join(lines) + b"\n")
    found = store.read_file(path)
    assert [record.rounds for record in found.all] == [5, 6] and not found.targets
    (notice,) = found.notices
    assert f"{len(lines) - 2} lines are no records and are ignored (line 2: its default is 0)" in notice


def test_what_fails_is_written_so_that_it_can_be_read(tmp_path):
    path = tmp_path / "records.jsonl"
    records = store.Records(path, "1" * 12)
    records.append(Record("Conv", "0", "0.27", "1" * 12, "measured", {"rows": 1}, failure="two\nlines \x1b" * 1000))
    (found,) = store.read_file(path).all
    assert found.failure.startswith("two lines ") and not store.read_file(path).notices


def test_merge_takes_only_good_lines(tmp_path, capsys):
    for name, lines in {"ours": [line()], "theirs": [line(), line(rounds=7), *BAD.values()]}.items():
        (tmp_path / name / "native").mkdir(parents=True)
        (tmp_path / name / "native" / store.FILE).write_bytes(
            b"".join(text.replace(b"\n", b"") + b"\n" for text in lines)
        )
    command.main(["merge", "--records", str(tmp_path / "ours"), str(tmp_path / "theirs")])
    told = capsys.readouterr()
    assert "native: 1 new records" in told.out and told.err.count("\n") == 1
    merged = store.read_file(tmp_path / "ours" / "native" / store.FILE)
    assert [record.rounds for record in merged.all] == [5, 7] and not merged.notices
    command.main(["show", "--records", str(tmp_path / "theirs")])
    command.main(["prune", "--records", str(tmp_path / "ours")])
    assert "0 of 2 records kept" in capsys.readouterr().out


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: os.mkfifo(path)], ids=["folder", "pipe"])
def test_what_is_no_file(tmp_path, make):
    (tmp_path / "native").mkdir()
    path = tmp_path / "native" / store.FILE
    make(path)
    with pytest.raises(UserError, match="cannot read"):
        store.read_file(path)
    with pytest.raises(UserError, match="cannot write"), locked(path):
        pass


WRITER = """
import sys
from pathlib import Path
from tvm_shufflenet.records.store import Record, Records
records = Records(Path(sys.argv[1]), "1" * 12)
for number in range(int(sys.argv[3])):
    records.append(Record("Conv", "0", sys.argv[2], "1" * 12, "measured", {"rows": number}, 1e-6, 1e-6, rounds=5))
"""


def test_no_line_is_lost_while_the_file_is_replaced(tmp_path):
    """Three processes append; here the file is replaced by itself all the while."""
    path, count = tmp_path / "records.jsonl", 60
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name, str(count)], cwd=ROOT) for name in "abc"
    ]
    replaced = 0
    while any(writer.poll() is None for writer in writers):
        store.prune(path, lambda records: records.all)
        replaced += 1
    assert replaced and not any(writer.returncode for writer in writers)
    found = store.read_file(path)
    assert not found.notices and len(found.all) == 3 * count
    for name in "abc":
        assert [r.knobs["rows"] for r in found.all if r.tvm == name] == list(range(count))
    assert [entry.name for entry in tmp_path.iterdir()] == ["records.jsonl"]


def test_who_waits_for_a_file_that_is_replaced_writes_to_the_new_one(tmp_path):
    path = tmp_path / "records.jsonl"
    records = store.Records(path, "1" * 12)
    with locked(path) as file:
        thread = threading.Thread(target=records.append, args=(Record(**GOOD),))
        thread.start()
        file.replace([TARGET])
    thread.join()
    found = store.read_file(path)
    assert found.targets and len(found.all) == 1


def test_without_locks_records_can_be_read(tmp_path, monkeypatch):
    path = tmp_path / "records.jsonl"
    path.write_bytes(line() + b"\n")
    monkeypatch.setitem(sys.modules, "fcntl", None)
    assert len(store.read_file(path).all) == 1
    with pytest.raises(UserError, match="has no locks for files, so records can only be read"):
        store.Records(path, "").append(Record(**GOOD))


def test_mutated_files_never_break_a_reader(tmp_path):
    """Seeded: bytes flipped, cut out, repeated, zeroed; whatever is left as a record can be settled and compared."""
    rng, path = random.Random(0), tmp_path / "records.jsonl"
    seed = b"".join(line(rounds=n) + b"\n" for n in range(3)) + json.dumps(TARGET).encode() + b"\n"
    for _ in range(300):
        data = bytearray(seed)
        for _ in range(rng.randint(1, 6)):
            start, length = rng.randrange(len(data)), rng.randint(1, 30)
            data[start : start + length] = rng.choice(
                (b"", bytes(length), rng.randbytes(length), data[:length], b"9" * length)
            )
        path.write_bytes(data)
        found = store.read_file(path)
        store.fastest(store.settle(found.all).values())
        command.rows_of("native", found, Remembered())


def test_records_with_and_without_options_of_the_code_generator():
    """Older records lack them, and stay as they are when they are written again."""
    line = {
        "task": "t",
        "version": "v",
        "tvm": "0",
        "target": "x",
        "kind": "measured",
        "knobs": {"a": 1},
        "failure": "f",
    }
    for entry in (line, {**line, "options": "0123456789ab"}):
        _, fields = parse(json.dumps(entry).encode())
        assert store.to_line(Record(**fields)) == entry
    with pytest.raises(BadLine, match="options"):
        parse(json.dumps({**line, "options": 1}).encode())
