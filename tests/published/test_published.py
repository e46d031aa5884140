"""The papers' tables as data: figures that fit together, networks that exist, gaps that say why."""

from __future__ import annotations

import pytest

from tvm_shufflenet import published
from tvm_shufflenet.architectures import model_names
from tvm_shufflenet.architectures.entries import MARKS, NOWHERE
from tvm_shufflenet.architectures.registry import LEFT_OUT, about
from tvm_shufflenet.papers.guidelines import networks, published_times
from tvm_shufflenet.papers.tables import chosen_rows, find_network, mark
from tvm_shufflenet.published import ERRORS, MULTIPLY_ADDS, TABLES, v1, v2
from tvm_shufflenet.published.figures import COLUMNS, NOT_PUBLISHED, NOT_TRANSCRIBED, Row, Table
from tvm_shufflenet.published.guidelines import FACTORS, GUIDELINES

ROWS = [(table, row) for table in TABLES.values() for row in table.rows]
# Eight groups divide few numbers of channels: these cost more than the paper's round figure.
DEARER = {"shufflenet-v1-0.25x-g8", "shufflenet-v1-0.25x-g8-noshuffle"}


def row_of(table: str, name: str, size=None) -> Row:
    return next(row for row in TABLES[table].rows if row.network == name and size in (None, row.size))


def test_every_table_is_there():
    assert list(TABLES) == [f"v1-{n}" for n in range(1, 9)] + ["v2-5", "v2-6", "v2-7", "v2-8", "v2-a1"]
    for table in TABLES.values():
        assert set(table.columns) <= set(COLUMNS) and table.name in TABLES
        assert len({(row.network, row.size) for row in table.rows}) == len(table.rows)
        assert all(any(base == row.network for row in table.rows) for base in table.bases)


@pytest.mark.parametrize("table,row", ROWS, ids=lambda value: getattr(value, "name", getattr(value, "network", "")))
def test_a_row_names_a_network_or_one_that_is_left_out(table, row):
    assert isinstance(find_network(row), str) == (row.network in LEFT_OUT)
    assert mark(row) in MARKS or row.network in LEFT_OUT
    assert row.figures and set(row.figures) <= set(COLUMNS)
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
    ("v1-6", "vgg16", "error_C", 28.5),
    ("v1-6", "pvanet", "error_C", 29.7),
    ("v2-5", "shufflenet-v2-1.5x", "macs", 299),
    ("v2-6", "senet-154", "macs", 20700),
    ("v2-8", "shufflenet-v2-2x-se", "error", 24.6),
    ("v2-8", "shufflenet-v2-1x", "error", 30.6),
    ("v2-8", "xception-1.5x", "images", 10.5),
    ("v2-8", "mobilenet-v2-1.0", "macs", NOT_TRANSCRIBED),
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
    assert row_of("v2-a1", "xception-units-64", (56, 56)).figure("images") == 27.0


def test_precision_of_detectors():
    """By backbone and complexity; at another size nothing was published."""
    expected = {
        "shufflenet-v2-{}x": (22.5, 29.0, 31.8, 33.3), "shufflenet-v2-{}x-star": (23.7, 29.6, 32.2, 34.2),
        "shufflenet-v1-{}x-g3": (20.9, 27.0, 29.9, 32.9), "xception-{}x": (21.9, 29.0, 31.3, 32.9),
    }  # fmt: skip
    for name, figures in expected.items():
        for scale, figure in zip(("0.5", "1", "1.5", "2"), figures):
            row = row_of("v2-7", "light-head-rcnn-" + name.format(scale), (800, 1200))
            assert row.figure("mmap") == figure
    for name, figure in {"40m": 20.7, "140m": 24.4, "1.0": 30.0, "1.4": 30.6}.items():
        assert row_of("v2-7", f"light-head-rcnn-mobilenet-v2-{name}", (800, 1200)).figure("mmap") == figure
    assert row_of("v2-7", "light-head-rcnn-xception-1x", (600, 800)).figure("mmap") == NOT_PUBLISHED


def test_speeds_are_compared_at_one_size():
    table, row = TABLES["v1-8"], row_of("v1-8", "shufflenet-v1-1x-g3", (480, 640))
    assert table.base_row(row) == row_of("v1-8", "alexnet", (480, 640))
    assert table.published_speedup(row) == pytest.approx(1156.7 / 222.2)
    assert published.speedup("shufflenet-v1-1x-g3", (480, 640)) == table.published_speedup(row)
    units = row_of("v2-a1", "shufflenet-v2-units-256", (28, 28))
    assert TABLES["v2-a1"].base_row(units).network == "shufflenet-v2-units-64"
    assert TABLES["v2-a1"].published_speedup(units) == pytest.approx(16.6 / 174.5)
    other = row_of("v2-8", "mobilenet-v2-0.75-at-192")  # beside the base at the base's size
    assert TABLES["v2-8"].published_speedup(other) == pytest.approx(15.9 / 24.4)
    assert TABLES["v2-8"].published_speedup(row_of("v2-8", "condensenet-74-g8")) == NOT_TRANSCRIBED
    assert TABLES["v1-2"].published_speedup(TABLES["v1-2"].rows[0]) == NOT_PUBLISHED


def test_rows_of_a_size():
    assert {row.size for row in chosen_rows(TABLES["v1-8"], [])} == {(224, 224)}
    assert len(chosen_rows(TABLES["v1-8"], [(224, 224), (480, 640)])) == 12
    assert len(chosen_rows(TABLES["v1-6"], [(480, 640)])) == len(TABLES["v1-6"].rows)  # has one size only


def test_why_there_is_no_network():
    assert find_network(Row("densenet-1x")) == f"network left out: {LEFT_OUT['densenet-1x']}"
    assert "unknown model 'shufflenet-v9'" in find_network(Row("shufflenet-v9"))
    assert "too small" in find_network(Row("alexnet", size=(16, 16)))
    assert find_network(Row("shufflenet-v2-units-64", size=(28, 28))).shapes.input == (1, 64, 28, 28)


def test_every_figure_is_of_a_network_in_a_table():
    """But for MobileNet v2's narrow ones, which its own paper prints."""
    named = {row.network for _, row in ROWS}
    assert set(MULTIPLY_ADDS) - named == {"mobilenet-v2-0.75", "mobilenet-v2-0.5", "mobilenet-v2-0.35"}
    assert set(ERRORS) <= named and named >= set(LEFT_OUT)
    assert set(MULTIPLY_ADDS) | set(ERRORS) <= {*model_names(), *LEFT_OUT}


def test_no_two_tables_print_other_figures_of_a_network():
    for name in v1.MACS_P.keys() & v1.MACS_C.keys():
        assert v1.MACS_P[name] == v1.MACS_C[name]
    assert not v2.MACS.keys() & (v1.MACS_P.keys() | v1.MACS_C.keys() | v2.MOBILENET_V2.keys())
    assert not v2.ERROR.keys() & (v1.ERROR_P.keys() | v1.ERROR_C.keys())
    assert (ERRORS["pvanet"], ERRORS["shufflenet-v1-shallow-0.5x-g3"]) == (29.7, 42.8)  # C's, not P's


def test_the_list_names_a_table_that_has_the_network():
    """`models` says "Table 6", and that is one of those whose rows name the network."""
    for name in model_names():
        its = about(name)
        numbers = {table.title.split(":")[0] for table, row in ROWS if row.network == name and its.paper in table.name}
        if name in MULTIPLY_ADDS and its.table != NOWHERE:
            assert its.table.removeprefix("preprint, ").split(",")[0] in numbers, name
        elif name in MULTIPLY_ADDS:
            assert name in v2.MOBILENET_V2 and not numbers, name
        else:  # of a detector the tables print no multiply-adds
            assert numbers == ({its.table} if "rcnn" in name else set()), name


@pytest.mark.parametrize("name,expected", [
    # Both papers and megvii's code have it, a fit to the published cost has it, and what no source decides.
    ("shufflenet-v1-0.5x-g3", "settled"), ("shufflenet-v1-1x-g8", "settled"), ("shufflenet-v1-2x-g3", "settled"),
    ("vgg16", "settled"), ("mobilenet-v1-0.5", "settled"), ("xception-like-140m", "settled"),
    ("igcv3-d-1.0", "settled"), ("condensenet-74-g8", "settled"), ("shufflenet-v2-units-64", "settled"),
    ("shufflenet-v1-0.5x-g8", "fitted"), ("shufflenet-v1-0.25x-g3", "fitted"), ("shufflenet-v1-2x-g3-se", "fitted"),
    ("pvanet", "fitted"), ("vgg-like-38m", "fitted"), ("shufflenet-v1-arch2-0.5x-g3", "fitted"),
    ("xception-like-38m", "fitted"), ("shufflenet-v1-shallow-0.5x-g3", "fitted"), ("xception-2x", "fitted"),
    ("shufflenet-v2-2x-se", "uncertain"), ("se-shufflenet-v2-164", "uncertain"),
    ("shufflenet-v1-1.5x-g8", "uncertain"), ("shufflenet-v1-1.5x-g8-se", "uncertain"), ("densenet-1x", ""),
])  # fmt: skip
def test_marks(name, expected):
    assert mark(Row(name, size=(56, 56) if "units" in name else (224, 224))) == expected


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
