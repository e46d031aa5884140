"""The order of the rooms: a package imports those below it, never one above, wherever in a file the import stands."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..conftest import ROOT

PROJECT = "tvm_shufflenet"
COMMANDS = "commands"  # the thin modules of `python -m tvm_shufflenet.NAME`
# From the ground to the top.  A room is a package or a module of the project, or one of the folders beside it.
ORDER = (
    "errors",
    "words",
    "files",
    "plotting",
    "signals",
    "zig",
    PROJECT,  # its `__init__`
    "published",
    "schedules",
    "architectures",
    "targets",
    "library",
    "records",
    "bridge",
    "graph",
    "lowering",
    "pipeline",
    "exchange",
    "building",
    "boards",
    "measure",
    "estimation",
    "papers",
    "training",
    "tuning",
    "reporting",
    "cli",
    COMMANDS,
    "benchmarks",
)
# Imports that go up all the same: (room, room above it) and why.
ALLOWED = {
    (PROJECT, "library"): "`tvm_shufflenet.load` is the function of `library.loading`, imported when it is called"
}
LINES = 20  # of a thin module at most


def modules() -> dict[str, Path]:
    """Every module outside the tests, by its dotted name."""
    folders = {PROJECT: PROJECT, f"{PROJECT}.schedules": "schedules", "benchmarks": "benchmarks"}
    found = {}
    for package, folder in folders.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = (package, *path.relative_to(ROOT / folder).with_suffix("").parts)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def room(module: str) -> str:
    """The room of a module by its dotted name."""
    first, *rest = module.split(".")
    if first != PROJECT:
        return first
    if not rest:
        return PROJECT
    is_thin = rest[-1] == "__main__" or (len(rest) == 1 and rest[0] not in ORDER and module in MODULES)
    return COMMANDS if is_thin else rest[0]


def imports(module: str) -> Iterator[tuple[str, int]]:
    """The project's modules that a module imports, also inside functions and under TYPE_CHECKING; and in which line."""
    path = MODULES[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            names = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else base for name in names]
        else:
            continue
        for name in names:
            if name.split(".")[0] in (PROJECT, "schedules", "benchmarks"):
                yield name, node.lineno


def test_every_room_has_its_place():
    rooms = {room(module) for module in MODULES}
    assert rooms == set(ORDER), "a new room needs a place in ORDER, a room that is gone needs none"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_down(module):
    mine = room(module)
    up = [
        f"{MODULES[module].relative_to(ROOT)}:{line} imports {other}"
        for other, line in imports(module)
        if ORDER.index(room(other)) > ORDER.index(mine) and (mine, room(other)) not in ALLOWED
    ]
    assert not up, f"{mine} is below: {up}"


def test_kernels_have_one_name():
    """`schedules`, which the working directory would offer, would be the same classes a second time."""
    for path in sorted(
        path for folder in (PROJECT, "schedules", "benchmarks", "tests") for path in (ROOT / folder).rglob("*.py")
    ):
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            assert "schedules" not in [name.split(".")[0] for name in names], f"{path}:{getattr(node, 'lineno', 0)}"


def test_what_is_allowed_is_used():
    edges = {(room(module), room(other)) for module in MODULES for other, _ in imports(module)}
    assert set(ALLOWED) <= edges


@pytest.mark.parametrize("module", sorted(module for module in MODULES if room(module) == COMMANDS))
def test_commands_are_thin(module):
    """What `python -m` finds hands on to `cli`."""
    assert {room(other) for other, _ in imports(module)} == {"cli"}
    assert len(MODULES[module].read_text().splitlines()) <= LINES
