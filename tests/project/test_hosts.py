"""macOS and Windows: everything that can work there does, the rest says in one line why not.

They are not here: this system is made to lack what they lack.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tvm_shufflenet import files
from tvm_shufflenet.cli.command import run
from tvm_shufflenet.cli.common import workers
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library import loading
from tvm_shufflenet.records.store import FOLDER
from tvm_shufflenet.targets import resolve

from ..conftest import ROOT

# Modules only for ours: the libraries of others look on which system they are, and find the truth.
LACKING = """
import builtins, os, signal
MODULES = {"fcntl", "resource", "termios", "pwd", "grp"}
usual = builtins.__import__
def lacking(name, globals=None, *rest, **more):
    if name in MODULES and str((globals or {}).get("__name__")).startswith("tvm_shufflenet"):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return usual(name, globals, *rest, **more)
builtins.__import__ = lacking
for module, names in (
    (os, "sched_getaffinity sched_setaffinity fork killpg setpgrp getuid O_NONBLOCK"),
    (signal, "pthread_sigmask pthread_kill SIGKILL SIGHUP SIGUSR1 SIGALRM"),
):
    for name in names.split():
        delattr(module, name)
"""
EVERYTHING = """
import contextlib, importlib, os, pkgutil
import tvm_shufflenet
from tvm_shufflenet.cli.door import COMMANDS, main
assert not hasattr(os, "fork")
modules = [module.name for module in pkgutil.walk_packages(tvm_shufflenet.__path__, "tvm_shufflenet.")]
for name in modules:
    importlib.import_module(name)
for name in COMMANDS:
    with contextlib.suppress(SystemExit):
        main([name, "--help"])
print(len(modules), "modules")
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """`elsewhere(ARGUMENT...)`: Python, with those, on a system that lacks all this."""
    folder = tmp_path_factory.mktemp("lacking")
    (folder / "sitecustomize.py").write_text(LACKING)
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}

    def run(*arguments: object) -> subprocess.CompletedProcess:
        argv = [sys.executable, *map(str, arguments)]
        return subprocess.run(argv, capture_output=True, text=True, timeout=600, cwd=ROOT, env=environment)

    return run


def test_every_module_imports_and_every_command_has_help(elsewhere):
    done = elsewhere("-c", EVERYTHING)
    assert done.returncode == 0, done.stderr
    *said, last = done.stdout.splitlines()
    assert sum(line.startswith("example") for line in said) >= 15
    assert int(last.split()[0]) > 150


def test_libraries_are_built(elsewhere, build, tmp_path):
    options = ["shufflenet-v1-0.25x-g3", "--target", "cortex-a72", "--size", "64", "--classes", "10", "-o", tmp_path]
    done = elsewhere("-m", "tvm_shufflenet.build", *options)
    assert done.returncode == 0, done.stderr
    here = build("shufflenet-v1-0.25x-g3", target="cortex-a72", size=(64, 64), classes=10, team=True).path
    assert (tmp_path / here.name).read_bytes() == here.read_bytes()


@pytest.mark.parametrize(
    "command, says",
    [
        (["records", "prune"], "this system has no locks for files"),
        (["tune", "--target", "native", "--trials", "1"], "tuning needs Linux or macOS"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(elsewhere, tmp_path, command, says):
    shutil.copytree(FOLDER / "native", tmp_path / "native")
    done = elsewhere("-m", "tvm_shufflenet", *command, "--records", tmp_path)
    (line,) = done.stderr.splitlines()[-1:]
    assert done.returncode == 2 and line.startswith("error: ") and says in line
    assert "Traceback" not in done.stderr


def test_a_tree_without_links_is_refused(monkeypatch, tmp_path, capsys):
    """Git for Windows writes the text of a link into a file, unless it is told to make links."""
    (tmp_path / "weights").write_text("../weights")
    monkeypatch.setattr(files, "PACKAGE", tmp_path)
    assert run(lambda: pytest.fail("the command was run")) == 2
    assert "weights should be a symbolic link: clone again with" in capsys.readouterr().err


@pytest.mark.parametrize("triple", ["arm64-apple-darwin24.1.0", "x86_64-pc-windows-msvc"])
def test_nothing_is_built_for_the_host(monkeypatch, triple):
    from tvm.target import codegen

    monkeypatch.setattr(codegen, "llvm_get_system_triple", lambda: triple)
    with pytest.raises(UserError, match=rf"this machine is '{triple}': expected Linux"):
        resolve("native")


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_no_library_is_loaded_elsewhere(monkeypatch, build, system):
    library = build("shufflenet-v1-0.25x-g3", target="cortex-a72", size=(64, 64), classes=10).path
    with monkeypatch.context() as change:
        change.setattr(loading.sys, "platform", system)
        with pytest.raises(UserError, match="is a library for Linux and Android, which .* cannot load"):
            loading.load(library)


def test_processes_are_not_forked_where_they_cannot_be(monkeypatch):
    assert (workers(None, 4), workers(0, 4), workers(2, 4)) == (4, 0, 2)
    monkeypatch.delattr(os, "fork")
    assert (workers(None, 4), workers(0, 4)) == (0, 0)
    with pytest.raises(UserError, match="--workers 2: this system cannot fork processes, expected 0"):
        workers(2, 4)
