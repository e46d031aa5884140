"""The commands `paper` and `guidelines`: claims and sentences of given figures, real runs, and what is refused."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re

import numpy as np
import pytest

from tvm_shufflenet.architectures import experiments, network
from tvm_shufflenet.boards.processor import Processor
from tvm_shufflenet.bridge import random_parameters
from tvm_shufflenet.building.build_library import BuildOptions, build_library
from tvm_shufflenet.building.work import unheard
from tvm_shufflenet.cli import guidelines as guidelines_command
from tvm_shufflenet.cli import paper as paper_command
from tvm_shufflenet.cli.command import run
from tvm_shufflenet.cli.speeds import draw
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library.loading import load, read_manifest
from tvm_shufflenet.measure import place
from tvm_shufflenet.measure.beside_peak import Silent
from tvm_shufflenet.measure.entries import Entry, expected_outputs
from tvm_shufflenet.papers import claims, guidelines
from tvm_shufflenet.papers.speeds import INTERRUPTED, How, Speed, Speeds, key, open_meter
from tvm_shufflenet.papers.tables import fill
from tvm_shufflenet.published.figures import Row, Table
from tvm_shufflenet.published.guidelines import GUIDELINES
from tvm_shufflenet.targets import resolve
from tvm_shufflenet.targets.cores import core

from ..boards.test_rpc import daemon, wait_for
from ..conftest import relative_error, twin_logits
from ..estimation.test_estimate import _missing
from ..interrupting import Interrupting

SMALL, SIZE = "shufflenet-v1-0.25x-g3", (64, 64)
TINY = [experiments.grouped_blocks(f"tiny-g{groups}", 8, groups, (8, 8)) for groups in (1, 2)]

# ----------------------------------------------------------------------------------- experiments

BLOCKS = {
    "G1": lambda: experiments.ratio_blocks("G1-small", 9, 20, (8, 8)),
    "G2": lambda: experiments.grouped_blocks("G2-small", 24, 8, (8, 8)),
    "G3-series": lambda: experiments.fragmented_blocks("G3-series", 11, 2, False, (8, 8)),
    "G3-parallel": lambda: experiments.fragmented_blocks("G3-parallel", 8, 4, True, (8, 8)),
    "G4": lambda: experiments.bottleneck_blocks("G4-all", 16, True, True, (8, 8)),
    "G4-bare": lambda: experiments.bottleneck_blocks("G4-bare", 16, False, False, (8, 8)),
    "v2": lambda: experiments.experiment("shufflenet-v2-units-16", (8, 8)),
    "unit": lambda: experiments.counted_unit("unit", 24, 6, 3, 6, (8, 8)),
}


@pytest.mark.parametrize("which", BLOCKS)
def test_blocks_compile_and_agree_with_pytorch(which, build_folder):
    net = BLOCKS[which]()
    path = build_library(BuildOptions(network=net, target="native", output=build_folder)).path
    data = np.random.default_rng(0).standard_normal(net.shapes.input, "float32")
    found = load(path)(data)
    assert relative_error(found, twin_logits(net, random_parameters(net), data)) < 1e-5
    # What a board's outputs would be held against: the network comes back from its library's description.
    entry = Entry(net.name, path, read_manifest(path))
    (again,) = expected_outputs(entry)
    np.testing.assert_array_equal(again, load(path)(entry.arguments[0]))


def test_outputs_of_a_listed_network_are_those_of_its_library(build):
    built = build(SMALL, size=SIZE, classes=10)
    entry = Entry(SMALL, built.path, built.manifest)
    (expected,) = expected_outputs(entry)
    np.testing.assert_array_equal(expected, load(built.path)(entry.arguments[0]))


def test_structure_of_the_experiments():
    nets = guidelines.networks(GUIDELINES["G4"])
    counts = {
        which[0]: [sum(layer.op == op for layer in net.layers) for op in ("conv", "relu", "add", "batch_norm")]
        for which, net in nets.items()
    }
    assert counts == {"ReLU + shortcut": [30, 30, 10, 0], "ReLU only": [30, 30, 0, 0], "shortcut only": [30, 0, 10, 0],
                      "neither": [30, 0, 0, 0]}  # fmt: skip
    net = guidelines.networks(GUIDELINES["G3"])["4-parallel", 2]
    assert (
        sum(layer.op == "conv" for layer in net.layers) == 40 and sum(layer.op == "add" for layer in net.layers) == 30
    )
    assert {layer.shape for layer in net.layers} == {(1, 64, 56, 56)}
    assert all(".bias" not in name for net in nets.values() for name in net.parameters())


def test_memory_access_is_the_papers_formula():
    net = experiments.grouped_blocks("n", 64, 4)
    assert experiments.memory_access(net) == 10 * (56 * 56 * (64 + 64) + 64 * 64 // 4)
    net = experiments.ratio_blocks("n", 32, 64)
    assert experiments.memory_access(net) == 20 * (56 * 56 * (32 + 64) + 32 * 64)


# ------------------------------------------------------------------------------------- sentences


@pytest.mark.parametrize("name", GUIDELINES)
def test_every_guideline_holds_in_the_paper(name):
    guideline = GUIDELINES[name]
    nets = guidelines.networks(guideline)
    assert f"{name} holds here (" in guidelines.sentence(guideline, nets, guidelines.published_times(guideline))


def test_sentences_follow_from_the_figures():
    guideline = GUIDELINES["G1"]
    nets = guidelines.networks(guideline)

    def sentence(*ratios):
        """For such times of 1:12 by those of 1:1 at the same multiply-adds."""
        times = {("1:1", factor): nets["1:1", factor].multiply_adds() for factor in (1, 2, 4)}
        times |= {("1:12", f): ratio * nets["1:12", f].multiply_adds() for f, ratio in zip((1, 2, 4), ratios)}
        return guidelines.sentence(guideline, nets, times)

    assert sentence(1.5, 1.25, 1.1).startswith("G1 holds here (")
    assert "1:12 takes 1.50, 1.25, 1.10 times as long as 1:1 (x1, x2, x4; in the paper 1.39, 1.51, 1.27)" in sentence(
        1.5, 1.25, 1.1)  # fmt: skip
    assert sentence(1.04, 0.9, 1.0).startswith("G1 does not hold here (")
    assert sentence(1.5, 1.2, 1.04).startswith("G1 holds here at x1 and x2, not at x4 (")
    assert "takes 2.00 times as long as 1:1 (x1; in the paper 1.39)" in sentence(2.0)
    assert "nothing follows" in sentence()


def given(**milliseconds: float | str) -> Speeds:
    """Speeds as if they had been measured, by the part of the name that tells the claims' networks apart."""
    found = {}
    for net in claims.networks():
        amount = milliseconds.get(re.sub(r"shufflenet-v1-|[^a-z0-9]", "", net.name), 1.0)
        found[key(net)] = amount if isinstance(amount, str) else Speed(amount, 0.5)
    return Speeds(found)


def test_claims_follow_from_the_figures():
    def here(speeds):
        return {claim.name: claim.here for claim in claims.claims(speeds)}

    found = here(given(**{"05xg3": 1.0, "1xg3": 4.0, "2xg3": 9.0, "alexnet": 27.0, "1xg4": 3.9, "1xg8": 6.0}))
    assert "3.7 times less work is 4.0 times faster (Table 8: 2.5)" in found["shufflenet-v1-0.5x-g3 against "
                                                                           "shufflenet-v1-1x-g3"]  # fmt: skip
    assert found["shufflenet-v1-0.5x-g3 against shufflenet-v1-1x-g3"].endswith("more than the paper says")
    assert found["shufflenet-v1-1x-g3 against shufflenet-v1-2x-g3"].endswith("makes 2.3, less than the paper says")
    assert found["shufflenet-v1-0.5x-g3 against alexnet"].startswith("27.0 times as fast (Table 8: 12.1; 19.3 times")
    assert "no less efficient, against the paper" in found["shufflenet-v1-1x-g4"]
    assert "1.49 times as long for each multiply-add as g=3: less efficient" in found["shufflenet-v1-1x-g8"]
    slow = here(given(**{"alexnet": 12.0, "1xg3": "it broke"}))
    assert slow["shufflenet-v1-0.5x-g3 against alexnet"].endswith("less than the paper says")
    assert slow["shufflenet-v1-1x-g8"] == slow["shufflenet-v1-1x-g3 against shufflenet-v1-2x-g3"] == "it broke"
    assert here(None)["shufflenet-v1-0.5x-g3 against alexnet"] == "not measured"


def test_what_se_costs(monkeypatch):
    """By networks of these names, as one of them may not exist."""
    nets = {name: dataclasses.replace(network(claims.ONE, SIZE), name=name) for name in (claims.TWO, claims.WITH_SE)}
    known = claims._network
    monkeypatch.setattr(claims, "_network", lambda name: nets.get(name) or known(name))
    for amount, said in ((1.1, "10 % slower, less than the paper says"), (1.3, "30 % slower, as the paper says"),
                         (1.5, "50 % slower, more than the paper says")):  # fmt: skip
        speeds = Speeds({key(nets[claims.TWO]): Speed(1.0, 1), key(nets[claims.WITH_SE]): Speed(amount, 1)})
        assert next(claim.here for claim in claims.claims(speeds) if claim.name == claims.WITH_SE) == said


def test_section_3_2_counts_as_we_do():
    found = claims.formulas()
    assert [claim.figures["counted"] for claim in found] == [47_980_800, 31_046_400, 7_949_760]
    assert all(claim.here.endswith("equal") and "not equal" not in claim.here for claim in found)
    other = claims.formulas(channels=384, groups=8, size=(14, 14))
    assert other[2].figures == {"counted": 196 * (2 * 384 * 96 // 8 + 9 * 96), "formula": 1_975_680}


# ---------------------------------------------------------------------------------------- tables


def table(*rows: Row, **options) -> Table:
    return Table("small", "a small table", "no paper", ("macs_C", "ms"), rows, **options)


SMALL_TABLE = table(
    Row(SMALL, {"macs_C": 13, "ms": 4.0}, SIZE), Row("mobilenet-v1-0.25", {"ms": 8.0}, SIZE),
    Row("resnet-999", {"macs_C": None}, SIZE), Row("alexnet", {"ms": 1.0}, (16, 16)),
    Row("pnasnet-5", {"ms": 2.0}, SIZE),
)  # fmt: skip


def test_cells():
    nets = [network(name, SIZE) for name in (SMALL, "mobilenet-v1-0.25")]
    rows = fill(SMALL_TABLE, SMALL_TABLE.rows, Speeds({key(nets[0]): Speed(2.0, 0.75), key(nets[1]): "it broke"}))
    first, second, unknown, small, left_out = (row["cells"] for row in rows)
    assert first == {
        "macs_C": 13, "ms": 4.0, "multiply_adds": nets[0].multiply_adds() / 1e6, "published_speedup": 1.0,
        "parameters": nets[0].parameter_count() / 1e6, "theory": 1.0, "speed": 2.0, "share": 0.75, "speedup": 1.0,
    }  # fmt: skip
    assert second["macs_C"] == "not transcribed" and second["published_speedup"] == 0.5
    assert second["speed"] == second["share"] == second["speedup"] == "it broke"
    assert second["theory"] == nets[0].multiply_adds() / nets[1].multiply_adds()
    assert unknown["macs_C"] == "not published" and unknown["ms"] == "not transcribed"
    assert unknown["parameters"].startswith("unknown model 'resnet-999'") and "unknown" in unknown["speed"]
    assert "too small" in small["multiply_adds"] and "too small" in small["speedup"]
    assert left_out["theory"].startswith("network left out: found by a search")
    assert [row["mark"] for row in rows] == ["fitted", "settled", "", "settled", ""]
    missing_base = table(SMALL_TABLE.rows[2], SMALL_TABLE.rows[0])
    assert fill(missing_base, missing_base.rows, None)[1]["cells"]["theory"].startswith(
        "resnet-999, the base: unknown model"
    )


def test_gaps_have_footnotes():
    from rich.console import Console

    cells = [{"a": 1.5, "b": "why"}, {"a": "why", "b": "because"}, {"a": 0.123, "b": 3.0}]
    drawn, notes = draw(("x",), [("one",), ("two",), ("three",)], cells, [("A", "a", ".1f"), ("B", "b", ".0%")])
    assert notes == ["(a) why", "(b) because"]
    console = Console(width=60)
    with console.capture() as captured:
        console.print(drawn)
    assert [line.split() for line in captured.get().splitlines()[2:]] == [
        ["one", "1.5", "(a)"], ["two", "(a)", "(b)"], ["three", "0.1", "300"]]  # fmt: skip


# -------------------------------------------------------------------------------------- real runs


def test_a_measured_run(tmp_path):
    class Builds(Silent):
        steps = []

        def step(self, text, number=1, of=1):
            self.steps.append(text)
            return contextlib.nullcontext(unheard)

    meter = open_meter(How(rounds=2), tmp_path, Builds())
    speeds = meter([*TINY, TINY[0]])
    assert len(speeds.comparison.entries) == 2 and speeds.comparison.rounds == 2 and not speeds.interrupted
    for net in TINY:
        assert speeds.of(net).amount > 0 and speeds.of(net).share > 0
    before = len(Builds.steps)
    meter(TINY[:1])
    assert not any(f"building {TINY[0].name}" in step for step in Builds.steps[before:])  # a library is built once


def test_a_network_that_cannot_be_built_says_so(tmp_path, monkeypatch):
    def broken(options, done):
        if options.network is TINY[1]:
            raise UserError("no kernel for that")
        return build_library(options, done)

    monkeypatch.setattr("tvm_shufflenet.papers.speeds.build_library", broken)
    speeds = open_meter(How(rounds=1), tmp_path, Silent())(TINY)
    assert isinstance(speeds.of(TINY[0]), Speed) and speeds.of(TINY[1]) == "no kernel for that"
    assert open_meter(How(rounds=1), tmp_path, Silent())(TINY[1:]).comparison is None


def test_a_board(tmp_path):
    """TVM's server here, as what runs there is checked: the outputs of networks that no list names."""
    with daemon("tvm.exec.rpc_server", "--key", "board") as port:
        how = How("native", wait_for(port), "board", rounds=1, timeout=120)
        speeds = open_meter(how, tmp_path, Silent())(TINY)
    assert [entry.difference for entry in speeds.comparison.entries] == [0, 0]
    assert speeds.comparison.place.startswith("the board at")


@pytest.mark.emulator
@pytest.mark.skipif(bool(_missing()), reason=_missing())
def test_model_cycles(tmp_path):
    speeds = open_meter(How(core=core("cortex-a72")), tmp_path, Silent())(TINY)
    for net in TINY:
        speed = speeds.of(net)
        assert 0 < speed.share < 1 and speed.amount > net.multiply_adds() / 4 / 1e6
    assert speeds.comparison is None


def test_an_interrupt_keeps_what_was_measured(tmp_path):
    speeds = open_meter(How(rounds=1000), tmp_path, Interrupting(2))(TINY)
    assert speeds.interrupted and speeds.comparison.rounds == 2
    assert all(isinstance(speeds.of(net), Speed) for net in TINY)
    early = open_meter(How(), tmp_path, Interrupting(build=2))(TINY)
    assert early.interrupted and early.amount(TINY[0]) == INTERRUPTED


def test_the_command_shows_a_table_that_was_interrupted(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tvm_shufflenet.cli.speeds.Terminal", lambda: Interrupting(1))
    monkeypatch.setattr(paper_command, "TABLES", {"small": SMALL_TABLE, "never": SMALL_TABLE})
    out = tmp_path / "out.json"
    assert run(lambda: paper_command.main(["small", "never", "--rounds", "900", "--json", str(out)])) == 130
    shown = capsys.readouterr().out
    assert "interrupted: 1 of 900 rounds" in shown and shown.count("a small table") == 1
    (written,) = json.loads(out.read_text())["tables"]
    assert written["speeds"]["interrupted"] and written["rows"][0]["cells"]["speed"] > 0
    assert "too small" in written["rows"][3]["cells"]["speed"]["missing"]
    assert written["rows"][0]["mark"] == "fitted" and written["rows"][1]["base"] == SMALL


def test_no_latency_of_an_emulated_machine(tmp_path, monkeypatch):
    emulated = Processor("emulated aarch64 (host: x86)", False, True)
    monkeypatch.setattr(place, "describe_processor", lambda: emulated)
    speeds = open_meter(How(), tmp_path, Silent())(TINY)
    assert speeds.of(TINY[0]) == "emulated aarch64 (host: x86): wall time there says nothing"
    assert not list(tmp_path.iterdir())  # nothing was built in vain


# --------------------------------------------------------------------------------------- commands


def shown(capsys, command, *arguments) -> str:
    assert run(lambda: command.main(list(arguments))) == 0
    return capsys.readouterr().out


def test_what_is_counted_is_shown_at_once(capsys, tmp_path):
    text = shown(capsys, paper_command, "--no-measure", "--json", str(tmp_path / "all.json"))
    for part in ("v1-8: Table 8", "v2-a1: Appendix", "unit of ShuffleNet", "fitted: reproduces",
                 "errors are the paper's", "Snapdragon 820",
                 "network left out: its growth rate is not published"):  # fmt: skip
        assert part in text, part
    line = next(line for line in text.splitlines() if line.startswith("shufflenet-v1-1.5x-g3"))
    assert line.split() == ["shufflenet-v1-1.5x-g3", "settled", "(a)", "292", "(a)", "28.5", "292.4", "3.44", "1.94"]
    tables = json.loads((tmp_path / "all.json").read_text())["tables"]
    assert len(tables) == 14 and tables[-1]["claims"][-1]["figures"]["counted"] == 7_949_760
    assert max(len(line) for line in text.splitlines() if line.startswith(("shufflenet", "mobilenet"))) <= 100


def test_sizes(capsys):
    text = shown(capsys, paper_command, "v1-8", "--no-measure", "--size", "480x640", "--size", "224")
    assert "alexnet 480x640" in text and "720x1280" not in text
    assert "12.11" in text  # Table 8's 184.0 by 15.2
    assert "720x1280" in shown(capsys, paper_command, "v1-8", "--no-measure", "--size", "all")


def test_guidelines_without_times(capsys, tmp_path):
    out = tmp_path / "g.json"
    text = shown(capsys, guidelines_command, "G1", "G4", "--no-measure", "--json", str(out))
    assert "G1 holds" not in text and "4.03" in text and "G2" not in text
    first, second = json.loads(out.read_text())["guidelines"]
    assert first["verdict"] is None and first["rows"][9]["model"] == "G1-1to12-x1"
    assert first["rows"][9]["cells"]["published_speedup"] == pytest.approx(57.6 / 76.2)
    assert second["rows"][0]["channels"] == "32, 8" and "fitted" in second["note"]


def test_guidelines_measured(capsys, tmp_path, monkeypatch):
    """Real times of smaller blocks."""
    blocks = guidelines._BLOCKS["G4"]
    small = {"G4": lambda name, **arguments: blocks(name, size=(8, 8), **arguments)}
    monkeypatch.setattr(guidelines, "_BLOCKS", small)
    out = tmp_path / "g.json"
    text = shown(capsys, guidelines_command, "G4", "--rounds", "2", "--json", str(out))
    (found,) = json.loads(out.read_text())["guidelines"]
    assert found["verdict"] in text and re.match(r"G4 (holds|does not hold) here", found["verdict"])
    cells = {(row["variant"], row["factor"]): row["cells"] for row in found["rows"]}
    slower = cells["ReLU + shortcut", 4]["speed"] / cells["neither", 4]["speed"]
    assert cells["ReLU + shortcut", 4]["speedup"] == pytest.approx(1 / slower)
    assert f"{slower:.2f} times as long as neither" in found["verdict"]


@pytest.mark.parametrize("command,arguments,said", [
    (paper_command, ["v1-9"], "unknown table 'v1-9': expected v1-1, "),
    (paper_command, ["v1-8", "--size", "300"], "--size 300: v1-8 has 224, 480x640, 720x1280"),
    (paper_command, ["v1-8", "--size", "x"], "--size x: expected pixels"),
    (paper_command, ["v1-1", "--size", "224"], "v1-8, v2-7 and v2-a1"),
    (paper_command, ["v1-8", "v2-a1", "--size", "720x1280"], "v2-a1 has none of these sizes, expected one of 320"),
    (paper_command, ["--no-measure", "--rpc", "board:1"], "leave out --rpc"),
    (paper_command, ["--no-measure", "--estimate"], "leave out --estimate"),
    (paper_command, ["--no-measure", "--target", "arm"], "leave out --target"),
    (paper_command, ["--estimate", "--rpc", "board:1"], "--estimate needs no board"),
    (paper_command, ["--estimate", "--target", "armv7"], "only AArch64 cores are modelled"),
    (paper_command, ["v1-1", "--target", "no-such-core"], "unknown target 'no-such-core'"),
    (paper_command, ["v1-1", "--key", "board"], "give its address with --rpc"),
    (paper_command, ["v1-1", "--json", "/no/such/folder/f.json"], "there is no such folder"),
    (paper_command, ["v1-1", "--records", "/no/such/folder"], "there is no such folder"),
    (paper_command, ["v1-1", "-o", "/dev/null/x"], "cannot create the folder"),
    (guidelines_command, ["G5"], "unknown guideline 'G5': expected G1, G2, G3, G4"),
    (guidelines_command, ["--rounds", "0"], "--rounds 0: expected 1 or more"),
    (guidelines_command, ["--rpc", "localhost"], "localhost"),
])  # fmt: skip
def test_bad_input_gets_one_line(command, arguments, said, capsys):
    assert run(lambda: command.main(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and said in captured.err


def test_a_target_for_another_architecture(capsys):
    other = "cortex-a72" if resolve("native").arch == "x86_64" else '{"kind": "llvm", "mtriple": "x86_64-linux-gnu"}'
    assert run(lambda: guidelines_command.main(["G1", "--target", other])) == 2
    assert "--rpc HOST:PORT of a board" in capsys.readouterr().err


def test_the_table_of_detectors(capsys, tmp_path):
    """Published mAP is called published; multiply-adds are those of body, proposals and head."""
    paper_command.main(["v1-7", "--size", "all", "--no-measure", "--json", str(tmp_path / "x.json")])
    said = capsys.readouterr().out
    assert "mAP is the paper's, on COCO; nothing was trained for this table" in said and "uncertain: no source" in said
    (table,) = json.loads((tmp_path / "x.json").read_text())["tables"]
    rows = {(row["network"], tuple(row["size"])): row["cells"] for row in table["rows"]}
    assert len(rows) == 6
    cells = rows["faster-rcnn-shufflenet-v1-1x-g3", (600, 800)]
    assert cells["map_P"] == cells["map_C"] == 19.8
    assert [round(cells[part]) for part in ("body", "rpn", "head")] == [1003, 4273, 9840]


def test_the_table_of_light_head_r_cnn(capsys, tmp_path):
    paper_command.main(["v2-7", "--no-measure", "--json", str(tmp_path / "x.json")])
    said = capsys.readouterr().out
    assert "mmAP is the paper's, on COCO; nothing was trained for this table" in said
    assert "network left out: which MobileNet v2" in said and "uncertain: no source" in said
    (table,) = json.loads((tmp_path / "x.json").read_text())["tables"]
    rows = {row["network"]: row["cells"] for row in table["rows"]}
    assert len(rows) == 20 and {tuple(row["size"]) for row in table["rows"]} == {(800, 1200)}
    cells = rows["light-head-rcnn-shufflenet-v2-1x"]
    assert cells["mmap"] == 29.0 and cells["theory"] == 1
    assert [round(cells[part]) for part in ("body", "rpn", "head")] == [5347, 4182, 12734]
    left_out = rows["light-head-rcnn-mobilenet-v2-40m"]
    assert left_out["mmap"] == 20.7 and "left out" in left_out["head"]["missing"]
