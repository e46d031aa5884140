"""README.md and docs/: links lead somewhere, commands parse, figures are those of docs/data, the README stays short."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import re
import shlex
import shutil

import pytest

from benchmarks import pages
from tvm_shufflenet.errors import UserError

from ..conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SPAN = re.compile(r"`([^`]+)`")
COMMAND = re.compile(r"(?:python|torchrun [^#]*?) ?-m ([a-z_]+(?:\.[a-z_]+)*)(?![.\w])([^#&;]*)")
OURS = ("tvm_shufflenet.", "benchmarks.", "tests.")


class Parsed(Exception):
    """The options were accepted; the command is not to run."""


def commands(text: str) -> list[tuple[str, str]]:
    """Module and options of each `python -m` in indented lines and in code spans."""
    text = re.sub(r"\\\n +", "", text)  # a command of two lines
    code = [line for line in text.splitlines() if line.startswith("    ")]
    prose = "\n".join(line for line in text.splitlines() if not line.startswith("    "))
    code += [" ".join(span.split()) for span in SPAN.findall(prose)]
    return [match.groups() for line in code for match in COMMAND.finditer(line)]


def parse(module: str, options: str, monkeypatch) -> None:
    """Lets the command's own parser read the options, and stops there; `SystemExit` where it refuses them."""
    original = argparse.ArgumentParser.parse_args

    def parse_args(self, args=None, namespace=None):
        original(self, args, namespace)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    name = module.replace("tvm_shufflenet.", "tvm_shufflenet.cli.", 1)
    with pytest.raises(Parsed):
        importlib.import_module(name).main(shlex.split(options))


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page):
    """Paths in code spans, from the top of the tree; of a pattern, or with PART or NAME, some file."""
    for span in SPAN.findall(page.read_text(encoding="utf-8")):
        if re.fullmatch(r"(tvm_shufflenet|schedules|tests|benchmarks|examples|docs|weights|runtime)/[\w./*-]*", span):
            assert list(ROOT.glob(re.sub(r"\b(PART|NAME)\b", "*", span).rstrip("/"))), span


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist_and_take_their_options(page, monkeypatch):
    for module, options in commands(page.read_text(encoding="utf-8")):
        if module.startswith(OURS):
            parse(module, options, monkeypatch)
        else:
            assert importlib.util.find_spec(module), module


def test_commands_are_found_and_wrong_ones_refused(monkeypatch):
    text = "    python -m tvm_shufflenet.build --target arm   # why\nsay `python -m benchmarks.latency\n--markdown`"
    assert [module for module, _ in commands(text)] == ["tvm_shufflenet.build", "benchmarks.latency"]
    parse("tvm_shufflenet.build", "--target arm", monkeypatch)
    with pytest.raises(SystemExit):
        parse("tvm_shufflenet.build", "--no-such-option", monkeypatch)


def test_all_commands_are_documented():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    missing = [
        path.stem
        for path in (ROOT / "tvm_shufflenet" / "cli").glob("*.py")
        if (ROOT / "tvm_shufflenet" / path.name).exists()
        and path.stem != "__init__"
        and f"python -m tvm_shufflenet.{path.stem}" not in text
    ]
    assert not missing


def test_the_readme_is_short():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert len(text.split()) <= 1200


def test_first_use_needs_only_what_the_demo_built():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    built = set(re.findall(r"tvm_shufflenet\.build (\S+) --target (\S+)", (ROOT / "Makefile").read_text()))
    assert built
    section = text.split("## First use")[1].split("\n## ")[0]
    assert ". .venv/bin/activate" in section
    for line in section.splitlines():
        for library in re.findall(r"build/(\S+)\.so", line):
            assert tuple(library.rsplit("-", 1)) in built, line
        built |= set(re.findall(r"tvm_shufflenet\.build (\S+) --target (\S+)", line))


def test_pages_show_what_the_data_say():
    assert pages.main(["--check"]) == 0


def copied(folder):
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copy(ROOT / "README.md", folder)
    return folder


def test_a_changed_figure_is_noticed_and_rendered(tmp_path, capsys):
    root = copied(tmp_path)
    path = root / "docs" / "data" / "latency-rivals.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    data["networks"][0]["engines"][0]["minimum_ms"] = 7.654
    path.write_text(json.dumps(data))
    assert pages.main(["--root", str(root), "--check"]) == 1
    assert "README.md" in capsys.readouterr().err
    assert pages.main(["--root", str(root)]) == 0
    assert "7.654" in (root / "README.md").read_text(encoding="utf-8")
    assert pages.main(["--root", str(root), "--check"]) == 0


@pytest.mark.parametrize(
    "text, why",
    [
        ("<!-- table: latency nowhere -->\n<!-- end -->", "nowhere.json"),
        ("<!-- table: pie latency-rivals -->\n<!-- end -->", "pie"),
        ("<!-- table: latency latency-rivals -->", "ended by"),
        ("<!-- table: arm latency-rivals -->\n<!-- end -->", "not what a table"),
    ],
)
def test_markers_that_mean_nothing_are_refused(tmp_path, text, why):
    root = copied(tmp_path)
    (root / "README.md").write_text(text)
    with pytest.raises(UserError, match=why):
        pages.main(["--root", str(root)])
