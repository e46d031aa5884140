"""`tvm-shufflenet`, and what every command has in common."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tvm_shufflenet import __version__
from tvm_shufflenet.cli import door
from tvm_shufflenet.errors import UserError

from ..conftest import ROOT

PACKAGE = ROOT / "tvm_shufflenet"
THIN = {
    path.stem if path.parent == PACKAGE else path.parent.name
    for path in (*PACKAGE.glob("*.py"), *PACKAGE.glob("*/__main__.py"))
    if ".cli.command import run" in path.read_text()
}


def enter(*arguments: str) -> subprocess.CompletedProcess:
    argv = [sys.executable, "-m", "tvm_shufflenet", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, cwd=ROOT)


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_every_command_is_listed_in_a_line(arguments):
    done = enter(*arguments)
    assert done.returncode == 0 and "example" in done.stdout
    listed = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ") and line[2].isalpha()]
    assert listed == list(door.COMMANDS) and set(listed) == THIN


def test_both_ways_to_a_command_are_named(monkeypatch):
    """Also to who came through the console command, for whom other texts name that way alone."""
    monkeypatch.setattr(sys, "argv", ["/usr/bin/tvm-shufflenet"])
    told = " ".join(door.arguments().format_help().split())
    assert "`tvm-shufflenet COMMAND --help` says more; each is also the module tvm_shufflenet.COMMAND" in told


def test_a_command_is_what_python_runs():
    behind = enter("models", "--size", "1")
    alone = [sys.executable, "-m", "tvm_shufflenet.models", "--size", "1"]
    before = subprocess.run(alone, capture_output=True, text=True, cwd=ROOT)
    assert (behind.returncode, behind.stdout, behind.stderr) == (before.returncode, before.stdout, before.stderr)
    refused = enter("models", "--size", "x")
    assert refused.returncode == 2 and refused.stderr.startswith("error: --size x: expected pixels")


@pytest.mark.parametrize("name, nearest", [("biuld", "build"), ("clasify", "classify"), ("TUNE", "tune")])
def test_unknown_commands(name, nearest):
    done = enter(name, "--help")
    assert done.returncode == 2 and not done.stdout
    assert done.stderr == f"error: unknown command '{name}': did you mean {nearest}? `tvm-shufflenet` lists all\n"


def test_errors_name_commands_as_they_were_called(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/tvm-shufflenet", "build", "nothing-like-it"])
    assert door.enter() == 2
    assert capsys.readouterr().err == "error: unknown model 'nothing-like-it': see `tvm-shufflenet models`\n"


def test_what_is_like_no_command():
    done = enter("x" * 1000)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr == f"error: unknown command '{'x' * 40}': `tvm-shufflenet` lists all\n"


@pytest.mark.parametrize("words, says", [
    (["build", "--seed", "x"], "argument --seed: invalid int value: 'x'"),
    (["build", "--emit", "exe"], "argument --emit: invalid choice: 'exe'"),
    (["classify"], "the following arguments are required: LIBRARY, IMAGE"),
    (["records"], "the following arguments are required: show|prune|merge"),
    (["records", "show", "--no-such-option"], "unrecognized arguments: --no-such-option"),
    (["--no-such-option"], "unrecognized arguments: --no-such-option"),
])  # fmt: skip
def test_wrong_options_are_one_line(words, says, capsys):
    with pytest.raises(SystemExit) as end:
        door.main(words)
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert end.value.code == 2 and not printed.out
    assert line.startswith(f"error: {says}") and line.endswith(" --help`")


@pytest.mark.parametrize("name", [name for name in door.COMMANDS if name not in ("doctor", "records", "train")])
def test_where_json_goes_is_looked_at_first(name, tmp_path):
    """Each command that prints a table has --json."""
    for path, says in ((tmp_path / "no" / "file", "there is no such folder"), (tmp_path, "it is a folder")):
        with pytest.raises(UserError, match=f"^--json {path}: {says}"):
            door.main([name, "--json", str(path)])


def test_every_command_has_a_version(capsys):
    for name in door.COMMANDS:
        with pytest.raises(SystemExit) as end:
            door.main([name, "--version"])
        assert not end.value.code and capsys.readouterr().out == f"tvm-shufflenet {__version__}\n"
    assert enter("--version").stdout == f"tvm-shufflenet {__version__}\n"


@pytest.mark.parametrize("name", door.COMMANDS)
def test_help_names_commands_as_they_were_called(name, monkeypatch, capsys):
    for program, shown, hidden in (
        ("/usr/bin/tvm-shufflenet", f"usage: tvm-shufflenet {name} ", "python -m"),
        ("-m", f"usage: python -m tvm_shufflenet.{name} ", "tvm-shufflenet "),
    ):
        monkeypatch.setattr(sys, "argv", [program])
        with pytest.raises(SystemExit):
            door.main([name, "--help"])
        printed = capsys.readouterr().out
        said = " ".join(printed.split())
        assert said.startswith(shown) and "example" in said
        assert all(len(line) <= 100 for line in printed.splitlines()), "a line that does not fit"
        assert hidden not in said.replace("python -m benchmarks", "")


def completed(script: str, *words: str) -> list[str]:
    """What bash offers for the last of these words."""
    ask = (
        f"{script}\nCOMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}\n"
        "_shtab_tvm_shufflenet\nprintf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, cwd=ROOT, timeout=60)
    return done.stdout.split()


def test_bash_completes(capsys):
    door.main(["--print-completion", "bash"])
    script = capsys.readouterr().out
    assert completed(script, "tvm-shufflenet", "mod") == ["models"]
    assert completed(script, "tvm-shufflenet", "build", "--default-s") == ["--default-schedules"]
    assert completed(script, "tvm-shufflenet", "build", "shufflenet-v2-0.5x-t") == ["shufflenet-v2-0.5x-torchvision"]
    assert completed(script, "tvm-shufflenet", "build", "--target", "snapdragon-88") == ["snapdragon-888"]
    assert "pyproject.toml" in completed(script, "tvm-shufflenet", "build", "--weights", "pypr")


@pytest.mark.parametrize("shell", door.SHELLS)
def test_every_shell_gets_a_script(shell, capsys):
    door.main(["--print-completion", shell])
    script = capsys.readouterr().out
    assert all(name in script for name in door.COMMANDS) and "shufflenet-v1-1x-g3" in script
