"""What commands print stays as the files in tests/golden/ have it; `pytest --update-golden` writes them anew.

Help texts, lists, and what the compiler leaves of a tiny network for an Arm core: none of it depends on the machine.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tvm_shufflenet.architectures import Network, NetworkBuilder
from tvm_shufflenet.building.build_library import BuildOptions, build_library
from tvm_shufflenet.cli.door import COMMANDS

from ..conftest import ROOT

FOLDER = ROOT / "tests" / "golden"
LISTS = {"models": ["models"], "paper": ["paper", "--no-measure", "v1-8"], "target": ["targets", "cortex-a72"]}


DUMPS = ("dump", "inspect")


def printed(*arguments: str, width: int) -> str:
    environment = {**os.environ, "COLUMNS": str(width), "NO_COLOR": "1"}
    environment.pop("FORCE_COLOR", None)
    done = subprocess.run([sys.executable, "-m", f"tvm_shufflenet.{arguments[0]}", *arguments[1:]],
                          env=environment, capture_output=True, text=True, cwd=ROOT, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr
    # Before Python 3.13 `-o DIR, --output DIR`.
    return re.sub(r"(-\w) ([A-Z]+), (--[\w-]+) \2", r"\1, \3 \2", done.stdout)


def hold_against(name: str, text: str, update: bool) -> None:
    path = FOLDER / f"{name}.txt"
    if update:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.is_file(), f"{path} is missing: run pytest --update-golden"
    # Words, not lines: versions of Python wrap a usage differently.
    assert text.split() == path.read_text().split(), f"{path} says otherwise: look, then run pytest --update-golden"


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command, request):
    hold_against(f"help-{command}", printed(command, "--help", width=100), request.config.getoption("--update-golden"))


@pytest.mark.parametrize("name", LISTS)
def test_lists(name, request):
    hold_against(name, printed(*LISTS[name], width=100), request.config.getoption("--update-golden"))


def unit() -> Network:
    """One grouped unit with a shuffle, channel attention and a residual."""
    builder = NetworkBuilder((8, 8))
    entry = x = builder.conv_bn("stem", "", 0, 8, True, kernel=3, stride=2, pad=1)
    x = builder.conv_bn("unit.first", "", x, 8, True, groups=2)
    x = builder.shuffle("unit.shuffle", x, 2)
    x = builder.conv_bn("unit.middle", "", x, 8, kernel=3, pad=1, groups=8)
    x = builder.conv_bn("unit.last", "", x, 8, groups=2)
    means = builder.relu("unit.relu_means", builder.dense("unit.fewer", builder.global_avg_pool("unit.means", x), 4))
    scales = builder.sigmoid("unit.scales", builder.dense("unit.more", means, 8))
    x = builder.relu("unit.relu", builder.add("unit.add", entry, builder.multiply("unit.scaled", x, scales)))
    builder.dense("classifier", builder.global_avg_pool("pool", x), 10)
    return builder.network("one-unit")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The library of that network, and the folder of what each phase leaves."""
    folder = tmp_path_factory.mktemp("golden")
    options = BuildOptions(network=unit(), target="cortex-a72", output=folder, records=None, debug_dump=folder / "dump")
    return build_library(options).path, folder / "dump"


def test_what_each_phase_leaves(compiled, request):
    """Up to the memory plan; the modules and the code behind it change with TVM and LLVM."""
    phases = [path for path in sorted(compiled[1].iterdir()) if path.suffix == ".txt" or path.stem.endswith("_relax")]
    assert [path.stem for path in phases][:2] == ["01_relax", "02_read_relax"] and len(phases) == 8
    text = "".join(f"==== {path.name}\n{path.read_text()}\n" for path in phases)
    hold_against("dump", text, request.config.getoption("--update-golden"))


def test_what_inspect_says_of_a_library(compiled, request):
    """Versions, the size and the place of the file aside."""
    text = printed("inspect", str(compiled[0]), width=100).replace(str(compiled[0].parent), "FOLDER")
    text = re.sub(r"\d+\.\d+ MB$", "MB", text, count=1, flags=re.MULTILINE)
    text = re.sub(r"(?m)(^  built with).*", r"\1 VERSIONS", text)
    hold_against("inspect", text, request.config.getoption("--update-golden"))


def test_no_file_is_left_over():
    names = {*(f"help-{command}" for command in COMMANDS), *LISTS, *DUMPS}
    assert {path.stem for path in FOLDER.glob("*.txt")} == names
