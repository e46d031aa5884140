"""An emulated AArch64 with a real TVM RPC server, for a Debian-like host with no Arm board.

QEMU's user mode emulation runs an AArch64 CPython, unpacked from the distribution's own packages,
with the AArch64 wheels of the TVM version installed on the host.  TVM's stock RPC server runs in
it: cross-compiled libraries are uploaded, loaded and run as on a board.  A small second folder is
for 32-bit programs (armhf) which need the C library and ``dlopen``.

Results are exact, but **wall time under emulation says nothing about speed**.  The guest has every
extension which QEMU knows, unless the variable ``QEMU_CPU`` names a processor (``cortex-a72``)::

    with emulator.tracker() as address, emulator.rpc_server(address, key="arm"):
        remote = tvm.rpc.connect_tracker(*address).request("arm")
"""

import argparse
import contextlib
import fcntl
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from subprocess import DEVNULL

PROJECT = Path(__file__).resolve().parent.parent
ROOT = Path(os.environ.get("TSN_EMULATOR") or PROJECT / ".emulator").absolute()

FORMAT = 1  # of the installed folder: raise it to have that rebuilt
HOST = "127.0.0.1"
QEMU = {"aarch64": "qemu-aarch64", "armhf": "qemu-arm"}
DEBIAN = {"aarch64": "arm64", "armhf": "armhf"}  # the distribution's names of the two
PACKAGES = {"aarch64": ["python3", "libstdc++6"], "armhf": ["libc6", "libgcc-s1"]}
# pip compares platform tags literally: all those under which the wheels are published.
PLATFORMS = "manylinux_2_28 manylinux_2_27 manylinux_2_24 manylinux_2_17 manylinux2014".split()

WRAPPER = """\
#!/bin/sh
# The emulated python.  With -0 the guest takes this script for its sys.executable, so that the
# worker processes which it starts are emulated, too, whether or not the kernel would do it.
here=$(cd "$(dirname "$0")" && pwd)
export PYTHONHOME="$here/aarch64/usr" PYTHONPATH="$here/wheels" PYTHONNOUSERSITE=1
exec qemu-aarch64 -L "$here/aarch64" -0 "$here/python" "$here/aarch64/usr/bin/{python}" "$@"
"""


class EmulatorUnavailable(RuntimeError):
    """The emulator can't be had; the message says in one line why, and what to do about it."""


# ------------------------------------------------------------------------------- installation


def _run(argv, what, root=False, **env):
    """Run a program quietly and return its output; EmulatorUnavailable if it fails."""
    if root and os.geteuid() != 0:
        if not shutil.which("sudo") or subprocess.call(["sudo", "-n", "true"], stderr=DEVNULL):
            raise EmulatorUnavailable(f"{what} needs root; run: sudo {' '.join(argv)}")
        argv = ["sudo", "-n", *argv]
    env = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive", **env}
    try:
        done = subprocess.run(argv, env=env, stdin=DEVNULL, capture_output=True, text=True)
    except OSError as error:
        raise EmulatorUnavailable(f"{what} failed: {error}") from None
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        lines = [line for line in lines if re.match(r"E:|ERROR|\S*Error\b", line)] or lines[-1:]
        raise EmulatorUnavailable(f"{what} failed: {(lines or [done.returncode])[0]}")
    return done.stdout


def _install_tools(progress):
    """qemu-user, and llvm-mca for the cost model; the newer LLVM knows more cores."""
    if not all(shutil.which(qemu) for qemu in QEMU.values()):
        _apt_install(progress, "qemu-user")
    if not any(shutil.which(mca) for mca in ("llvm-mca-19", "llvm-mca")):
        try:
            _apt_install(progress, "llvm-19")
        except EmulatorUnavailable:
            _apt_install(progress, "llvm")


def _apt_install(progress, package):
    progress(f"installing {package}")
    argv = ["apt-get", "install", "-y", "-q", "--no-install-recommends", package]
    try:
        _run(argv, f"installing {package}", root=True)
    except EmulatorUnavailable:  # the package lists may be missing or out of date
        with contextlib.suppress(EmulatorUnavailable):
            _run(["apt-get", "update"], "apt-get update", root=True)
        _run(argv, f"installing {package}", root=True)


def _sources():
    """This host's package sources, as a sources.list: only the distribution's own serve Arm."""
    argv = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(SITE) $(RELEASE) $(COMPONENT)",
            "Created-By: Packages"]  # fmt: skip
    if not (found := _run(argv, "apt-get indextargets")):  # the origin is known after an update
        _run(["apt-get", "update"], "apt-get update", root=True)
        found = _run(argv, "apt-get indextargets")
    lines = []
    for origin, source in sorted({tuple(line.split(" ", 1)) for line in found.splitlines()}):
        if origin == "Debian":  # others serve Arm from hosts that the sources here do not name
            keys = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
            option = f"[signed-by={keys}] " if keys.exists() else ""
            lines.append(f"deb {option}{source}\n")
    if not lines:
        raise EmulatorUnavailable("apt-get knows no package source of Debian, whose Arm packages are needed")
    return "".join(lines)


def _unpack(arch, destination, scratch, sources):
    """Download the packages for `arch` with all that they depend on, and unpack them.

    apt-get works on a state of its own, in which nothing is installed and `arch` is the native
    architecture: it resolves the dependencies, and leaves the host's packages alone.
    """
    apt = scratch / arch
    for folder in ("lists/partial", "archives/partial", "empty"):
        (apt / folder).mkdir(parents=True)
    (apt / "status").touch()
    (apt / "sources.list").write_text(sources)
    own = {
        "APT::Architecture": DEBIAN[arch], "APT::Architectures": DEBIAN[arch],
        "APT::Sandbox::User": "root", "APT::Update::Error-Mode": "any",
        "Acquire::Languages": "none", "Acquire::Retries": "3", "Dir::Log": apt,
        "Dir::State": apt, "Dir::State::lists": apt / "lists", "Dir::State::status": apt / "status",
        "Dir::Cache": apt, "Dir::Cache::archives": apt / "archives",
        "Dir::Etc::main": "/dev/null", "Dir::Etc::parts": apt / "empty",
        "Dir::Etc::preferences": "/dev/null", "Dir::Etc::preferencesparts": apt / "empty",
        "Dir::Etc::sourcelist": apt / "sources.list", "Dir::Etc::sourceparts": apt / "empty",
    }  # fmt: skip
    # Of the host's settings only those of the network are kept: others include hooks.
    kept = re.findall(r'^Acquire::(?!IndexTargets|Languages)\S+ ".+";$',
                      _run(["apt-config", "dump"], "apt-config"), re.MULTILINE)  # fmt: skip
    lines = [*kept, *(f'{key} "{value}";' for key, value in own.items())]
    (apt / "apt.conf").write_text("\n".join(lines) + "\n")
    apt_get = ["apt-get", "-y", "-q", "--download-only", "--no-install-recommends"]
    config, problem = str(apt / "apt.conf"), None
    try:
        _run([*apt_get, "update"], f"downloading {DEBIAN[arch]} lists", APT_CONFIG=config)
    except EmulatorUnavailable as error:
        problem = error  # of one source perhaps, while the others suffice
    try:
        what = f"downloading {DEBIAN[arch]} packages"
        _run([*apt_get, "install", *PACKAGES[arch]], what, APT_CONFIG=config)
    except EmulatorUnavailable as error:
        raise problem or error from None
    destination.mkdir(parents=True)
    for package in sorted((apt / "archives").glob("*.deb")):
        _run(["dpkg-deb", "-x", str(package), str(destination)], f"unpacking {package.name}")
    for name in ("bin", "lib"):  # some packages have /lib, others /usr/lib: make them one
        if (old := destination / name).exists():
            shutil.copytree(old, destination / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(old)
        old.symlink_to(f"usr/{name}")


def _install_wheels(python, destination):
    """Install TVM's AArch64 wheels for the guest's `python` (a name like "python3.11")."""
    version = python.removeprefix("python")
    pinned = ["apache-tvm-ffi"]
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        pinned += ["numpy", "ml_dtypes"]  # another python may need other versions of these
    argv = [sys.executable, "-m", "pip", "install", "-q", "--target", str(destination)]
    argv += ["--only-binary=:all:", "--implementation=cp", f"--python-version={version}"]
    argv += [f"--abi={abi}" for abi in ("cp" + version.replace(".", ""), "abi3", "none")]
    argv += [f"--platform={name}_aarch64" for name in PLATFORMS]
    argv += [f"{name}=={metadata.version(name)}" for name in pinned]
    _run([*argv, f"apache-tvm[rpc]=={metadata.version('apache-tvm')}"], "pip install")
    for library in (destination / "tvm/lib").glob("libtvm_compiler*"):
        library.unlink()  # most of the size, and the runtime does without


def _build(new, scratch, progress):
    """Make the whole folder `new`."""
    stamp, sources = _stamp(), _sources()
    for arch, packages in PACKAGES.items():
        progress(f"unpacking the {arch} packages {', '.join(packages)} and what they need")
        _unpack(arch, new / arch, scratch, sources)
    names = [path.name for path in (new / "aarch64/usr/bin").iterdir()]
    python = next(name for name in names if re.fullmatch(r"python3\.\d+", name))
    progress(f"installing TVM {stamp['apache-tvm']} for the AArch64 {python}")
    _install_wheels(python, new / "wheels")
    (new / "python").write_text(WRAPPER.format(python=python))
    (new / "python").chmod(0o755)
    # The first start compiles python's own modules, which makes the later ones faster.
    test = [str(new / "python"), "-c", "import cloudpickle, psutil, tvm.exec.rpc_server"]
    _run(test, "importing TVM in the emulator", PYTHONDONTWRITEBYTECODE="")
    (new / "stamp.json").write_text(json.dumps(stamp, indent=1) + "\n")


def _stamp():
    """What an up-to-date folder holds."""
    try:
        names = ("apache-tvm", "apache-tvm-ffi")
        return {"format": FORMAT, **{name: metadata.version(name) for name in names}}
    except metadata.PackageNotFoundError as error:
        raise EmulatorUnavailable(f"{error.name} is missing; pip install it") from None


def installed() -> bool:
    """Whether the emulator is there, for the version of TVM which is installed now."""
    try:
        current = json.loads((ROOT / "stamp.json").read_text()) == _stamp()
    except (OSError, ValueError, EmulatorUnavailable):
        return False
    return current and all(shutil.which(qemu) for qemu in QEMU.values())


def install(progress=print) -> None:
    """Install the emulator if it isn't there yet; EmulatorUnavailable where that can't be done."""
    if installed():
        progress(f"the emulator is installed: {ROOT}")
        return
    start, _ = time.monotonic(), _stamp()
    if not all(map(shutil.which, ("apt-get", "apt-config", "dpkg-deb"))):
        raise EmulatorUnavailable("apt-get or dpkg-deb is missing; use Debian or the like")
    if ROOT.exists() and not (ROOT / "stamp.json").exists():
        raise EmulatorUnavailable(f"{ROOT} holds something else; move it or set TSN_EMULATOR")
    try:
        ROOT.parent.mkdir(parents=True, exist_ok=True)
        work = tempfile.TemporaryDirectory(prefix=ROOT.name + ".", dir=ROOT.parent)
    except OSError as error:
        raise EmulatorUnavailable(f"{ROOT.parent} isn't writable ({error.strerror})") from None
    with work, contextlib.ExitStack() as stack:
        lock = os.open(ROOT.parent, os.O_RDONLY)
        stack.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install_tools(progress)
        if not installed():  # by another process, while this one waited
            _build(Path(work.name, "new"), Path(work.name), progress)
            if ROOT.exists():
                ROOT.rename(Path(work.name, "old"))
            Path(work.name, "new").rename(ROOT)
    size = sum(path.lstat().st_blocks for path in ROOT.rglob("*")) * 512 / 1e6
    progress(f"installed {ROOT}: {size:.0f} MB, {time.monotonic() - start:.0f} s")


# ---------------------------------------------------------------------------------------- use


def command(*argv, arch="aarch64") -> list[str]:
    """The command line which runs a guest program (a path on the host) with its arguments."""
    if not installed():
        how = "run: python -m tests.emulator install"
        raise EmulatorUnavailable(f"there is no emulator for this version of TVM; {how}")
    return [QEMU[arch], "-L", str(ROOT / arch), *map(str, argv)]


def python() -> Path:
    """The emulated python: a script which takes python's arguments."""
    command()
    return ROOT / "python"


def _free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def _accepts(port):
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def _daemon(module, port, options, ready, timeout, python=sys.executable):
    """Run a TVM server in the background, from when ready() holds to the end of the block."""
    argv = [python, "-m", module, f"--host={HOST}", f"--port={port}", f"--port-end={port + 1}"]
    with tempfile.TemporaryDirectory() as folder, open(f"{folder}/log", "w+b") as log:
        # A session of its own makes it the leader of a group: what it starts is killed with it.
        process = subprocess.Popen([*argv, *options], env={**os.environ, "TMPDIR": folder},
                                   stdin=DEVNULL, stdout=log, stderr=log,
                                   start_new_session=True)  # fmt: skip
        try:
            deadline = time.monotonic() + timeout
            while not ready():
                ended = process.poll() is not None
                if ended or time.monotonic() > deadline:
                    log.seek(0)
                    output = log.read().decode(errors="replace")[-3000:].strip() or "(nothing)"
                    problem = "ended" if ended else f"wasn't ready within {timeout:g} s"
                    raise RuntimeError(f"{module} {problem}. It printed:\n{output}")
                time.sleep(0.1)
            yield HOST, port
        finally:
            deadline = time.monotonic() + 3
            with contextlib.suppress(ProcessLookupError):  # nothing is left of the group
                while time.monotonic() < deadline:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    time.sleep(0.02)


@contextlib.contextmanager
def tracker(port=None, timeout=60):
    """Run a TVM RPC tracker on the loopback interface; gives its (host, port)."""
    if not (importlib.util.find_spec("cloudpickle") and importlib.util.find_spec("psutil")):
        raise EmulatorUnavailable("TVM's tracker needs more; run: pip install 'apache-tvm[rpc]'")
    if port and _accepts(port):
        raise RuntimeError(f"port {port} is taken")
    port = port or _free_port()
    with _daemon("tvm.exec.rpc_tracker", port, [], lambda: _accepts(port), timeout) as address:
        yield address


@contextlib.contextmanager
def rpc_server(tracker=None, key="arm", timeout=180):
    """Run TVM's RPC server in the emulated AArch64; gives its (host, port).

    With a tracker, a pair (host, port), it registers there under `key`, and the block is entered
    once the tracker lists it; without, once the server accepts connections.
    """
    port, session = _free_port(), None
    script = python()
    # This library has what tuners call, such as random_fill_for_measure.
    options = [f"--key={key}", f"--load-library={ROOT}/wheels/tvm/lib/libtvm_runtime_extra.so"]
    if tracker:
        from tvm import rpc

        session = rpc.connect_tracker(*tracker)
        options.append(f"--tracker={tracker[0]}:{tracker[1]}")

    def ready():
        if session is None:
            return _accepts(port)
        summary = session.summary()
        listed = any(server["addr"][1] == port for server in summary["server_info"])
        return listed and summary["queue_info"].get(key, {}).get("free", 0) > 0

    with _daemon("tvm.exec.rpc_server", port, options, ready, timeout, str(script)) as address:
        yield address


# ------------------------------------------------------------------------------- command line


def check(progress=print) -> None:
    """Cross-compile a vector addition, run it through tracker and server, and compare."""
    command()
    import numpy as np
    import tvm
    from tvm import rpc, te

    a, b = (te.placeholder((1000,), name=name) for name in "ab")
    c = te.compute(a.shape, lambda i: a[i] + b[i], name="c")
    target = {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72",
              "mattr": ["+neon"], "num-cores": 4}  # fmt: skip
    function = te.create_prim_func([a, b, c]).with_attr("global_symbol", "add")
    built = tvm.compile(tvm.IRModule({"add": function}), target=tvm.target.Target(target))

    def link(output, objects, **_):
        argv = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu", "-shared"]
        _run([*argv, "-nostdlib", "-o", str(output), *map(str, objects)], "linking with ziglang")

    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, tracker() as address, rpc_server(address):
        progress(f"the server registered with the tracker after {time.monotonic() - start:.0f} s")
        built.export_library(f"{folder}/add.so", fcompile=link)
        remote = rpc.connect_tracker(*address).request("arm", session_timeout=60)
        remote.upload(f"{folder}/add.so")
        left, right = np.random.default_rng(0).standard_normal((2, 1000)).astype("float32")
        operands = [tvm.runtime.tensor(x, remote.cpu()) for x in (left, right, 0 * left)]
        remote.load_module("add.so")["add"](*operands)
        np.testing.assert_array_equal(operands[2].numpy(), left + right)
    progress("a function compiled for AArch64 ran there, and its result is right")


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.emulator",
        description="An emulated AArch64 with TVM's RPC server.  It lives in the folder which the "
        "variable TSN_EMULATOR names, by default .emulator in the project.",
        epilog="example: python -m tests.emulator install && python -m tests.emulator check",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("install", help="install it, unless it is there already")
    commands.add_parser("check", help="cross-compile a function, run it there and compare")
    try:
        {"install": install, "check": check}[parser.parse_args(argv).command]()
    except EmulatorUnavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
