"""What `pip install` gives: the whole package, and the part of it for boards.

The environments are new.  What the package depends on is lent from the one of the tests: the wheels are ours.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tvm_shufflenet import __version__

from ..cli.test_commands import PICTURE
from ..conftest import ROOT

pytestmark = pytest.mark.slow
PACKAGES = Path(sysconfig.get_paths()["purelib"])
SOURCES = ("tvm_shufflenet", "schedules", "tuning_logs", "weights", "runtime", "pyproject.toml", "README.md", "LICENSE")
NETWORK = "shufflenet-v1-0.5x-g3"


def call(*argv: object, **options) -> str:
    """What a program prints, run outside the source tree as a user would."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run([*map(str, argv)], capture_output=True, text=True, timeout=600, env=environment, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> dict[str, Path]:
    """Both wheels by the name of their folder, made of a copy: setuptools leaves things in the tree that it builds."""
    folder = tmp_path_factory.mktemp("wheels")
    tree = folder / "tree"
    tree.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            unwanted = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
            shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=unwanted)
        else:
            shutil.copy(ROOT / name, tree / name)
    made = {}
    for project in (".", "runtime"):
        call(sys.executable, "-m", "pip", "wheel", tree / project, "--no-deps", "--no-build-isolation",
             "-w", folder / f"wheel-{project}")  # fmt: skip
        (made[project],) = (folder / f"wheel-{project}").glob("*.whl")
    return made


def environment(folder: Path, wheel: Path, lent: Path) -> Path:
    """The programs of a new environment with a wheel, and what lies in `lent` beside it."""
    venv.create(folder, with_pip=False, symlinks=True)
    call(sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--no-deps", wheel)
    (packages,) = folder.glob("lib/*/site-packages")
    (packages / "lent.pth").write_text(f"{lent}\n")
    return folder / "bin"


@pytest.fixture(scope="module")
def programs(wheels, tmp_path_factory) -> Path:
    """Of an environment with the whole package."""
    return environment(tmp_path_factory.mktemp("whole") / "env", wheels["."], PACKAGES)


@pytest.fixture(scope="module")
def board(wheels, tmp_path_factory) -> Path:
    """Of an environment as on a board: NumPy and Pillow are all that there is."""
    folder = tmp_path_factory.mktemp("board")
    (folder / "lent").mkdir()
    for name in ("numpy", "numpy.libs", "PIL", "pillow.libs"):
        if (PACKAGES / name).exists():
            (folder / "lent" / name).symlink_to(PACKAGES / name)
    return environment(folder / "env", wheels["runtime"], folder / "lent")


def files(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_has_everything(wheels):
    """Each file of the source tree's package, through its links; nothing in a package of another name."""
    found = {name for name in files(wheels["."]) if ".dist-info/" not in name}
    tree = {
        f"tvm_shufflenet/{at}{path.relative_to(ROOT / folder)}"
        for at, folder in (("", "tvm_shufflenet"), *((f"{n}/", n) for n in ("schedules", "tuning_logs", "weights")))
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert found == tree and len(tree) > 200
    assert all(f"-{__version__}-py3-none-any" in wheel.name for wheel in wheels.values())


def test_an_installed_package_builds_what_the_source_tree_builds(programs, tmp_path):
    found = call(programs / "python", "-c", "import tvm_shufflenet.schedules as s; print(s.__file__)", cwd=tmp_path)
    assert Path(found.strip()).is_relative_to(programs.parent)
    build = [NETWORK, "--target", "native", "--weights", "trained", "-o"]
    installed = call(programs / "tvm-shufflenet", "build", *build, tmp_path / "installed", cwd=tmp_path)
    source = call(sys.executable, "-m", "tvm_shufflenet.build", *build, tmp_path / "source", cwd=ROOT)
    assert "kernels tuned" in installed and "; 10 classes: " in installed
    assert installed.splitlines()[1:] == source.splitlines()[1:]
    names = sorted(path.name for path in (tmp_path / "source").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "installed").iterdir()) and len(names) == 3
    for name in names:
        assert (tmp_path / "installed" / name).read_bytes() == (tmp_path / "source" / name).read_bytes(), name
    said = call(programs / "tvm-shufflenet", "records", "show", "--target", "native", cwd=tmp_path)
    assert said == call(sys.executable, "-m", "tvm_shufflenet.records", "show", "--target", "native", cwd=ROOT)


def test_tune_says_that_an_installed_package_goes(programs, tmp_path):
    """As do the records in it; nothing listens there, so nothing is tuned."""
    tune = [programs / "tvm-shufflenet", "tune", "--target", "cortex-a72", "--rpc", "127.0.0.1:1"]
    for more, told in (([], True), (["--records", tmp_path], False)):
        done = subprocess.run([*tune, *more], capture_output=True, text=True, timeout=120, cwd=tmp_path)
        assert done.returncode == 2 and "nothing listens" in done.stderr
        assert ("note: these records become a part of the installed package" in done.stdout) == told


def test_every_command_of_the_installed_package_has_help(programs, tmp_path):
    for line in call(programs / "tvm-shufflenet", cwd=tmp_path).splitlines():
        if line.startswith("  ") and line[2].isalpha():
            assert "example" in call(programs / "tvm-shufflenet", line.split()[0], "--help", cwd=tmp_path)
    assert call(programs / "tvm-shufflenet", "--version", cwd=tmp_path) == f"tvm-shufflenet {__version__}\n"


def test_a_board_classifies_without_tvm(board, build, tmp_path):
    from tvm_shufflenet.bridge.shipped import shipped

    for name in ("tvm", "rich", "tvm_ffi"):
        missing = f"import importlib.util; assert not importlib.util.find_spec({name!r})"
        call(board / "python", "-c", missing, cwd=tmp_path)
    library = build(NETWORK, weights=shipped(NETWORK)).path
    classify = ["-m", "tvm_shufflenet.classify", library, PICTURE, "--json"]
    said = call(board / "python", *classify, tmp_path / "board.json", cwd=tmp_path)
    assert said == call(sys.executable, *classify, tmp_path / "here.json", cwd=ROOT)
    found = json.loads((tmp_path / "board.json").read_text())
    assert found == json.loads((tmp_path / "here.json").read_text())
    assert found["pictures"][0]["classes"][0]["name"] == "parachute"
    assert call(board / "python", "-m", "tvm_shufflenet.classify", "--version", cwd=tmp_path)


def test_a_board_has_every_module_that_its_modules_import(board, tmp_path, wheels):
    modules = [name.removesuffix(".py").replace("/", ".") for name in files(wheels["runtime"]) if name.endswith(".py")]
    for module in sorted(modules):
        call(board / "python", "-W", "error", "-c", f"import {module.removesuffix('.__init__')}", cwd=tmp_path)
    for name in sorted(files(wheels["runtime"]) & files(wheels["."])):
        if ".dist-info/" not in name:
            assert zipfile.ZipFile(wheels["runtime"]).read(name) == (ROOT / name).read_bytes()
