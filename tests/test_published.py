"""The papers' tables as data: figures that fit together, networks that exist, gaps that say why."""

from __future__ import annotations

import re

import pytest

from tvm_shufflenet import published
from tvm_shufflenet.architectures import model_names, network
from tvm_shufflenet.papers.guidelines import networks, published_times
from tvm_shufflenet.papers.tables import chosen_rows, find_network
from tvm_shufflenet.published import TABLES, v1, v2
from tvm_shufflenet.published.figures import COLUMNS, MARKS, NOT_PUBLISHED, NOT_TRANSCRIBED, Row, Table
from tvm_shufflenet.published.guidelines import FACTORS, GUIDELINES

ROWS = [(table, row) for table in TABLES.values() for row in table.rows]
# Every network that a table may name.
KNOWN = re.compile(
    r"shufflenet-v1-(arch2-)?(0\.25|0\.5|0\.75|1|1\.5|2)x-g[12348](-noshuffle)?(-se)?|shufflenet-v1-shallow-0\.5x-g3"
    r"|(vgg|resnet|resnext|xception)-like-(140m|38m|13m|arch2-40m|arch2-13m)"
    r"|vgg16(-bn)?|googlenet(-torchvision)?|squeezenet-1\.[01]|pvanet|alexnet(-torchvision)?"
    r"|shufflenet-v2-(0\.5|1|1\.5|2)x(-torchvision|-se|-residual|-star)?|shufflenet-v2-50|se-shufflenet-v2-164"
    r"|mobilenet-v1-(1\.0|0\.75|0\.5|0\.25)|mobilenet-v2-(1\.4|1\.0|0\.75|0\.5|0\.35)|xception-(0\.5|1|1\.5|2)x"
    r"|resnet-50|senet-154|condensenet-74-g[48]|igcv3-d-1\.0|shufflenet-v2-units-(64|128|256)"
)
# Eight groups divide few numbers of channels: these cost more than the paper's round figure.
DEARER = {"shufflenet-v1-0.25x-g8", "shufflenet-v1-0.25x-g8-noshuffle"}


def row_of(table: str, name: str, size=None) -> Row:
    return next(row for row in TABLES[table].rows if row.network == name and size in (None, row.size))


def test_every_table_is_there():
    assert list(TABLES) == [f"v1-{n}" for n in (1, 2, 3, 4, 5, 6, 8)] + ["v2-5", "v2-6", "v2-8", "v2-a1"]
    for table in TABLES.values():
        assert set(table.columns) <= set(COLUMNS) and table.name in TABLES
        assert len({(row.network, row.size) for row in table.rows}) == len(table.rows)
        assert all(any(base == row.network for row in table.rows) for base in table.bases)


@pytest.mark.parametrize("table,row", ROWS, ids=lambda value: getattr(value, "name", getattr(value, "network", "")))
def test_a_row_names_a_network_or_says_why_not(table, row):
    assert bool(KNOWN.fullmatch(row.network)) != bool(row.left_out)
    assert row.mark in MARKS and set(row.figures) <= set(COLUMNS)
    assert not table.sizes or row.size in table.sizes


@pytest.mark.parametrize("table,row", ROWS, ids=lambda value: getattr(value, "name", getattr(value, "network", "")))
def test_published_multiply_adds_are_those_counted(table, row):
    """A slip of the pen is more than six per cent."""
    net = find_network(row)
    printed = [row.figure(column) for column in table.columns if column.startswith("macs")]
    for macs in printed:
        if not isinstance(net, str) and not isinstance(macs, str):
            assert net.multiply_adds() / 1e6 == pytest.approx(macs, rel=0.12 if row.network in DEARER else 0.065)


@pytest.mark.parametrize("table,name,column,figure", [
    ("v1-1", "shufflenet-v1-1x-g4", "macs_C", 133),
    ("v1-2", "shufflenet-v1-0.5x-g4", "error_C", 41.6),
    ("v1-2", "shufflenet-v1-0.25x-g8", "macs_C", 13),
    ("v1-2", "shufflenet-v1-arch2-0.5x-g3", "error_P", 43.8),
    ("v1-2", "shufflenet-v1-arch2-0.25x-g8", "error_P", 53.3),
    ("v1-2", "shufflenet-v1-arch2-0.5x-g3", "error_C", NOT_PUBLISHED),
    ("v1-2", "shufflenet-v1-1x-g3", "error_P", NOT_TRANSCRIBED),
    ("v1-3", "shufflenet-v1-1x-g8-noshuffle", "error_C", 37.6),
    ("v1-3", "shufflenet-v1-arch2-0.25x-g3-noshuffle", "error_P", 56.6),
    ("v1-4", "resnext-like-13m", "error_C", 65.2),
    ("v1-4", "xception-like-38m", "error_C", 45.1),
    ("v1-4", "vgg-like-38m", "error_C", NOT_TRANSCRIBED),
    ("v1-5", "shufflenet-v1-2x-g3-se", "macs_C", 527),
    ("v1-5", "shufflenet-v1-shallow-0.5x-g3", "error_P", 45.2),
    ("v1-6", "vgg16", "macs_C", 15300),
    ("v1-6", "pvanet", "error_C", 29.7),
    ("v2-5", "shufflenet-v2-1.5x", "macs", 299),
    ("v2-6", "senet-154", "macs", 20700),
    ("v2-8", "shufflenet-v2-2x-se", "error", 24.6),
    ("v2-8", "xception-1.5x", "images", 10.5),
    ("v2-8", "condensenet-74-g4", "images", NOT_TRANSCRIBED),
])  # fmt: skip
def test_figures(table, name, column, figure):
    assert row_of(table, name).figure(column) == figure


def test_figures_by_size():
    assert row_of("v1-8", "shufflenet-v1-arch2-0.5x-g3", (480, 640)).figure("ms") == 87.4
    assert row_of("v1-8", "alexnet", (720, 1280)).figure("ms") == 3633.9
    assert row_of("v2-a1", "shufflenet-v2-2x", (720, 1080)).figure("images") == 0.4
    assert row_of("v2-a1", "shufflenet-v1-1x-g3", (480, 640)).figure("images") == 3.7
    assert row_of("v2-a1", "shufflenet-v2-units-128", (28, 28)).figure("images") == 53.4
    assert row_of("v2-a1", "Xception units beside 64", (56, 56)).figure("images") == 27.0


def test_speeds_are_compared_at_one_size():
    table, row = TABLES["v1-8"], row_of("v1-8", "shufflenet-v1-1x-g3", (480, 640))
    assert table.base_row(row) == row_of("v1-8", "alexnet", (480, 640))
    assert table.published_speedup(row) == pytest.approx(1156.7 / 222.2)
    assert published.speedup("shufflenet-v1-1x-g3", (480, 640)) == table.published_speedup(row)
    units = row_of("v2-a1", "shufflenet-v2-units-256", (28, 28))
    assert TABLES["v2-a1"].base_row(units).network == "shufflenet-v2-units-64"
    assert TABLES["v2-a1"].published_speedup(units) == pytest.approx(16.6 / 174.5)
    other = row_of("v2-8", "mobilenet-v2-0.75")  # the only one of its size: beside the base at the base's
    assert TABLES["v2-8"].published_speedup(other) == pytest.approx(15.9 / 24.4)
    assert TABLES["v2-8"].published_speedup(row_of("v2-8", "condensenet-74-g8")) == NOT_TRANSCRIBED
    assert TABLES["v1-2"].published_speedup(TABLES["v1-2"].rows[0]) == NOT_PUBLISHED


def test_rows_of_a_size():
    assert {row.size for row in chosen_rows(TABLES["v1-8"], [])} == {(224, 224)}
    assert len(chosen_rows(TABLES["v1-8"], [(224, 224), (480, 640)])) == 12
    assert len(chosen_rows(TABLES["v1-6"], [(480, 640)])) == len(TABLES["v1-6"].rows)  # has one size only


def test_why_there_is_no_network():
    assert find_network(Row("DenseNet", left_out="no one knows")) == "network left out: no one knows"
    assert "not among the networks" in find_network(Row("shufflenet-v9"))
    assert "too small" in find_network(Row("alexnet", size=(16, 16)))
    assert find_network(Row("shufflenet-v2-units-64", size=(28, 28))).shapes.input == (1, 64, 28, 28)


def test_networks_print_what_the_tables_hold():
    for name in model_names():
        paper = network(name, (224, 224)).paper
        if name in v1.ERROR_C:
            assert paper["error"] == v1.ERROR_C[name]
        if name in v1.MACS or name in v2.MACS:
            assert paper["macs"] == (v1.MACS | v2.MACS)[name]


def test_marks():
    settled = ("shufflenet-v1-0.5x-g3", "shufflenet-v1-1x-g8", "shufflenet-v1-2x-g3", "vgg16", "mobilenet-v1-0.5")
    fitted = ("shufflenet-v1-0.5x-g8", "shufflenet-v1-0.25x-g3", "shufflenet-v1-2x-g3-se", "pvanet", "vgg-like-38m",
              "shufflenet-v1-arch2-0.5x-g3", "shufflenet-v1-shallow-0.5x-g3")  # fmt: skip
    assert [v1.mark(name) for name in settled] == ["S"] * 5 and [v1.mark(name) for name in fitted] == ["F"] * 7


def test_a_table_without_speeds_has_none():
    table = Table("t", "", "", ("macs",), (Row("alexnet"), Row("mobilenet-v1-1.0")))
    assert table.speed is None and table.base_row(table.rows[1]).network == "alexnet"


# Multiply-adds per second in the paper, thousand millions: one core, whose peak is not far above.
RATES = {"G1": (3.4, 5.7), "G2": (3.5, 5.3), "G3": (4.2, 5.3), "G4": (1.9, 3.0)}


@pytest.mark.parametrize("guideline", GUIDELINES.values(), ids=GUIDELINES)
def test_published_speeds_of_experiments(guideline):
    """They give similar rates for all variants, so no figure is in the wrong place."""
    nets, times = networks(guideline), published_times(guideline)
    assert len(nets) == len(times) == len(FACTORS) * len(guideline.variants)
    low, high = RATES[guideline.name]
    for which, net in nets.items():
        assert low < net.multiply_adds() / times[which] / 1e6 < high, which
        assert net.multiply_adds() == pytest.approx(nets[guideline.good, which[1]].multiply_adds(), rel=0.06)
