"""Sessions over TVM RPC, what goes wrong with them, and the processor behind one.

Real servers and a real tracker run on the loopback interface; fakes stand in for what else may
listen at an address.
"""

import contextlib
import json
import os
import platform
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tvm

from tvm_shufflenet.boards import rpc
from tvm_shufflenet.boards.processor import Processor, describe_processor, recognise
from tvm_shufflenet.boards.rpc import connect, upload
from tvm_shufflenet.cli import evaluate
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library.elf import read_elf
from tvm_shufflenet.measure.entries import Entry
from tvm_shufflenet.measure.place import Place

HOST, KEY = "127.0.0.1", "this-machine"


# ------------------------------------------------------------------------------------ fakes


@contextlib.contextmanager
def listener(answer):
    """A server that gives each connection to answer(); yields its address."""
    with socket.create_server((HOST, 0)) as server:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection = server.accept()[0]
                    threading.Thread(target=answer, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"{HOST}:{server.getsockname()[1]}"


def silent(connection):
    while connection.recv(100):
        pass
    time.sleep(30)


def web_server(connection):
    """Waits for the end of the line, as web servers do."""
    line = b""
    while not line.endswith(b"\n"):
        received = connection.recv(100)
        if not received:
            break
        line += received
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    connection.close()


def babbler(connection):
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    connection.close()


def closer(connection):
    connection.recv(100)
    connection.close()


def fake_tracker(*answers, delay=0.0):
    """Answers the magic number as a tracker, then each request with the next of these bytes; closes at the end."""

    def serve(connection):
        with contextlib.suppress(OSError), connection.makefile("rb") as requests:
            connection.sendall(requests.read(4))
            for answer in answers:
                requests.read(*struct.unpack("<i", requests.read(4)))
                for start in range(0, len(answer), 1 if delay else len(answer)):
                    connection.sendall(answer[start : start + (1 if delay else len(answer))])
                    time.sleep(delay)
        connection.close()

    return serve


def packed(answer) -> bytes:
    text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return struct.pack("<i", len(text)) + text


RELAY = """
import os, socket, sys, threading
server, limit, flag = socket.create_server(("127.0.0.1", 0)), int(sys.argv[2]), sys.argv[3]
host, port = sys.argv[1].split(":")

def forward(source, target, counts):
    passed = 0
    try:
        while data := source.recv(1 << 16):
            passed += len(data)
            if counts and passed > limit:
                open(flag, "w").close()
            if not os.path.exists(flag):
                target.sendall(data)
    except OSError:
        pass
    for one in (source, target):
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

print(server.getsockname()[1], flush=True)
while True:
    one, other = server.accept()[0], socket.create_connection((host, int(port)))
    threading.Thread(target=forward, args=(one, other, True), daemon=True).start()
    threading.Thread(target=forward, args=(other, one, False), daemon=True).start()
"""


@contextlib.contextmanager
def relay(address, flag, limit=1 << 60):
    """A board that freezes: passes on what is said to `address`, until it is `limit` bytes or the file `flag` is there.

    From then on all is read and nothing answered, as by a system whose process stands still.  Yields its address.
    A process of its own, since some of TVM's calls keep all threads of this one waiting.
    """
    argv = [sys.executable, "-c", RELAY, address, str(limit), str(flag)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield f"{HOST}:{int(process.stdout.readline())}"
        finally:
            process.kill()


def free_port():
    with socket.create_server((HOST, 0)) as server:
        return server.getsockname()[1]


def error(*arguments, **options):
    """The line with which connect() fails; it comes, or the test hangs."""
    with pytest.raises(UserError) as caught:
        connect(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("address", ["", "board", "board:", ":9090", "board:0", "board:65536", "b:1:2", "a b:1"])
def test_malformed_address(address):
    line = error(address)
    assert f"malformed address {address!r}: expected HOST:PORT" in line


def test_unknown_host():
    line = error("no-such-host.invalid:9090")
    assert "unknown host 'no-such-host.invalid'" in line


def test_nothing_listens():
    address = f"{HOST}:{free_port()}"
    line = error(address)
    assert f"nothing listens at {address} (connection refused)" in line


def test_silent_host():
    with listener(silent) as address:
        line = error(address, timeout=0.5)
    assert f"{address} within 0.5 s" in line and "another session holds the server" in line


@pytest.mark.parametrize("answer, says", [(web_server, "HTTP/1.1 400"), (babbler, "SSH-2.0")])
def test_another_protocol(answer, says):
    with listener(answer) as address:
        line = error(address, timeout=0.5)
    assert f"{address} speaks another protocol" in line and says in line


def test_host_that_closes():
    """As an RPC server does with the wrong magic number, but this one closes on the right one, too."""
    with listener(closer) as address:
        line = error(address, timeout=2)
    assert f"{address} speaks another protocol" in line


def closes_at_once(connection):
    connection.close()


def resets(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def pours(connection):
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(bytes(1 << 16))


def slow_magic(connection):
    """The right number of a server, and then nothing."""
    with contextlib.suppress(OSError):
        connection.sendall(connection.recv(4))
        time.sleep(60)


@pytest.mark.parametrize("answer", [closes_at_once, resets, pours, slow_magic], ids=lambda answer: answer.__name__)
def test_hosts_that_misbehave(answer):
    with listener(answer) as address:
        line = error(address, "key", timeout=1)
    assert address in line


def test_a_reset_before_anything_is_said(monkeypatch):
    def late(*arguments):
        sock = opened(*arguments)
        time.sleep(0.2)  # the reset is here
        return sock

    opened = rpc._open
    monkeypatch.setattr(rpc, "_open", late)
    with listener(resets) as address:
        line = error(address, "key", timeout=1)
    assert address in line


SUMMARY = packed([0, {"server_info": [{"key": "server:board"}]}])
STRANGE = {
    "a huge size": [struct.pack("<i", 2**31 - 1)], "a negative size": [struct.pack("<i", -5)],
    "no size": [struct.pack("<i", 0)],
    "no JSON": [packed(b"\xff\xfe{]")], "deep JSON": [packed(b"[" * 100_000)],
    "a number": [packed(7)], "an object": [packed({})],
    "no list": [packed([0, None])], "no keys": [packed([0, {"server_info": [{}]}])],
    "a key of none": [packed([0, {"server_info": [{"key": 1}]}])],
    "a text": [packed([0, "server_info"])], "a short board": [SUMMARY, packed([0, ["h"]])],
    "no board": [SUMMARY, packed([0, None])],
    "a port that is a text": [SUMMARY, packed([0, ["127.0.0.1", "9", "k"]])],
    "a flag": [SUMMARY, packed([0, ["127.0.0.1", True, "k"]])],
    "a host that is a list": [SUMMARY, packed([0, [[], 9, "k"]])],
    "a port too large": [SUMMARY, packed([0, ["h", 99999, "k"]])],
}  # fmt: skip


@pytest.mark.parametrize("answers", STRANGE.values(), ids=STRANGE)
def test_trackers_that_answer_junk(answers):
    with listener(fake_tracker(*answers)) as address:
        line = error(address, "board")
    assert line.startswith(f"the tracker at {address} answers what no tracker of TVM does")


def test_trackers_that_close_refuse_or_dawdle():
    for answers in ([], [b"\1"], [SUMMARY]):
        with listener(fake_tracker(*answers)) as address:
            assert f"the tracker at {address} closed the connection" in error(address, "board")
    with listener(fake_tracker(packed([-1, "out of order"]))) as address:
        assert f"the tracker at {address} refuses: 'out of order'" in error(address, "board")
    with listener(fake_tracker(SUMMARY, delay=0.3)) as address:  # a byte now and then: each in time, the whole never
        assert f"no answer from the tracker at {address} within 1 s" in error(address, "board", timeout=1)


# --------------------------------------------------------------------------- the real thing


@contextlib.contextmanager
def daemon(module, *arguments):
    """Run TVM's tracker or RPC server until the end of the block; yields its port."""
    with daemon_process(module, *arguments) as (_, port):
        yield port


@contextlib.contextmanager
def daemon_process(module, *arguments):
    """As `daemon`; yields its process, the first of a group, and its port."""
    for needed in ("cloudpickle", "psutil", "tornado"):
        pytest.importorskip(needed, reason="TVM's RPC server needs it: pip install 'apache-tvm[rpc]'")
    port = free_port()
    argv = [sys.executable, "-m", module, "--host", HOST, "--port", str(port), "--port-end", str(port + 1)]
    process = subprocess.Popen(
        [*argv, "--silent", *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process, port
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the server proper is its child
        process.wait()


def wait_for(port):
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            socket.create_connection((HOST, port), 1).close()
            return f"{HOST}:{port}"
        time.sleep(0.1)
    raise RuntimeError(f"nothing came to listen at port {port}")


@pytest.fixture(scope="module")
def servers():
    """(address of a server, address of a tracker); a board is registered there as KEY."""
    module = "tvm.exec.rpc_server"
    with contextlib.ExitStack() as stack:
        tracker = stack.enter_context(daemon("tvm.exec.rpc_tracker"))
        server = stack.enter_context(daemon(module, "--key", "plain"))
        board = stack.enter_context(daemon(module, "--tracker", f"{HOST}:{tracker}", "--key", KEY))
        addresses = wait_for(server), wait_for(tracker)
        wait_for(board)
        deadline = time.monotonic() + 300
        while KEY not in error(addresses[1], "none"):
            assert time.monotonic() < deadline, "the board did not register"
            time.sleep(0.1)
        yield addresses


@pytest.fixture(scope="module")
def server(servers):
    return servers[0]


@pytest.fixture(scope="module")
def tracker(servers):
    return servers[1]


def assert_alive(session):
    assert session.get_function("rpc.testing.GetShapeElem") is not None


def test_server(server):
    with connect(server, "plain") as session:
        assert_alive(session)
    handles = len(os.listdir("/dev/fd"))
    with connect(server, "plain", session_timeout=60) as session:  # the first has set it free
        assert_alive(session)
    del session
    assert len(os.listdir("/dev/fd")) == handles


def test_a_board_that_freezes_in_a_call(server, tmp_path):
    """Every call from then on ends: the first after the time-out, the others at once; so does the session's end."""
    with relay(server, tmp_path / "frozen") as address:
        session = connect(address, "plain", timeout=2)
        place = Place(platform.machine(), session, address)
        function = session.get_function("rpc.testing.GetShapeElem")
        tensors = [tvm.runtime.empty((10,), "float32", place.device) for _ in range(20)]
        (tmp_path / "frozen").touch()
        line = f"the board at {address} failed while running it: no answer within 2 s: it hangs, or is slower than"
        with pytest.raises(UserError, match=line), place.explain("running it"):
            tensors[0].numpy()
        with pytest.raises(UserError, match="failed while running it"), place.explain("running it"):
            function(tensors[0], 0)
        del tensors, function
        with contextlib.suppress(Exception):
            session.close()
    with connect(server, "plain", timeout=60) as session:
        assert_alive(session)


@pytest.mark.parametrize("key", [None, "other"])
def test_server_with_another_key(server, key):
    line = error(server, key)
    assert f"{server} refuses" in line and "give the key it was started with" in line


def test_server_is_busy(server):
    with connect(server, "plain"):
        line = error(server, "plain", timeout=1)
        assert f"{server} within 1 s" in line and "another session holds the server" in line
    with connect(server, "plain") as session:
        assert_alive(session)


def test_tracker(tracker):
    for _ in range(2):
        with connect(tracker, KEY) as session:
            assert_alive(session)


def test_tracker_without_the_key(tracker):
    keys = f"at the tracker {tracker}: its keys are {KEY}"
    assert error(tracker, "rpi4") == f"no board with the key 'rpi4' {keys}"
    assert error(tracker) == f"no key given of a board {keys}"


def test_all_boards_are_busy(tracker):
    with connect(tracker, KEY):
        line = error(tracker, KEY, timeout=1)
        assert f"all boards with the key '{KEY}'" in line and "within 1 s" in line
    with connect(tracker, KEY) as session:  # the request that was given up did not take the board
        assert_alive(session)


# --------------------------------------------------------------------------------- libraries


def library(path, number, target):
    """A library whose function `number` returns the number."""
    source = path.with_suffix(".c")
    source.write_text(
        "typedef struct { int type, zero; long long value; } Any;\n"
        "int __tvm_ffi_number(void *self, const Any *arguments, int count, Any *result) {\n"
        f"  *result = (Any){{1, 0, {number}}}; return 0;\n"
        "}\n"
    )
    argv = [sys.executable, "-m", "ziglang", "cc", "-target", target, "-shared", "-nostdlib", "-O2"]
    subprocess.run([*argv, str(source), "-o", str(path)], check=True)
    return path


@pytest.fixture(scope="module")
def session(server):
    with connect(server, "plain") as session:
        yield session


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the server here is not for x86-64")
def test_upload(session, tmp_path):
    path = tmp_path / "lib.so"
    modules = [upload(session, library(path, number, "x86_64-linux-gnu")) for number in (1, 2)]
    assert [module["number"]() for module in modules] == [1, 2]  # not the first one twice
    folder = session.get_function("tvm.rpc.server.workpath")("")
    assert os.path.isdir(folder) and not os.listdir(folder)  # it is this machine's, too


def test_upload_for_another_machine(session, tmp_path):
    target, kind = ("aarch64", "aarch64") if platform.machine() == "x86_64" else ("x86_64", "x86_64")
    path = library(tmp_path / "other.so", 1, f"{target}-linux-gnu")
    with pytest.raises(UserError, match=f"could not load .*other.so, which is built for {kind}; compile it"):
        upload(session, path)


def test_upload_of_something_else(session, tmp_path):
    path = tmp_path / "text.so"
    path.write_text("no library")
    with pytest.raises(UserError, match="text.so is not an ELF library"):
        upload(session, path)
    with pytest.raises(UserError, match="cannot read .*missing.so"):
        upload(session, tmp_path / "missing.so")


# -------------------------------------------------------------------------------- processors

RASPBERRY_PI_4 = """\
processor	: 0
BogoMIPS	: 108.00
Features	: fp asimd evtstrm crc32 cpuid
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x0
CPU part	: 0xd08
CPU revision	: 3

processor	: 1
BogoMIPS	: 108.00
CPU implementer	: 0x41
CPU part	: 0xd08

Hardware	: BCM2835
Model		: Raspberry Pi 4 Model B Rev 1.4
"""
RASPBERRY_PI_4_32BIT = """\
processor	: 0
model name	: ARMv7 Processor rev 3 (v7l)
BogoMIPS	: 270.00
CPU implementer	: 0x41
CPU architecture: 7
CPU part	: 0xd08
"""
SNAPDRAGON_835 = """\
Processor	: AArch64 Processor rev 4 (aarch64)
processor	: 0
BogoMIPS	: 38.00
CPU implementer	: 0x51
CPU part	: 0x801

processor	: 4
BogoMIPS	: 38.00
CPU implementer	: 0x51
CPU part	: 0x800

Hardware	: Qualcomm Technologies, Inc MSM8998
"""
EPYC = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\nbogomips\t: 5192.24\n"
MAX = "processor\t: 0\nBogoMIPS\t: 100.00\nCPU implementer\t: 0x0\nCPU architecture: 8\nCPU part\t: 0x051\n"
X86, ARM = "cpu:type:x86,ven0002fam001Amod0002:feature:,0000", "cpu:type:aarch64:feature:,0000"


@pytest.mark.parametrize(
    "arch, machine, modalias, cpuinfo, name, known, emulated",
    [
        ("aarch64", "aarch64", ARM, RASPBERRY_PI_4, "Cortex-A72", True, False),
        ("aarch64", "aarch64", "", RASPBERRY_PI_4, "Cortex-A72", True, False),
        ("arm", "armv7l", "cpu:type:v7l:feature:,0000", RASPBERRY_PI_4_32BIT, "Cortex-A72", True, False),
        ("arm", "aarch64", ARM, RASPBERRY_PI_4, "Cortex-A72", True, False),
        ("aarch64", "aarch64", ARM, SNAPDRAGON_835,
         "Kryo 2xx Silver (Cortex-A53) + Kryo 2xx Gold (Cortex-A73)", True, False),
        ("aarch64", "aarch64", ARM, RASPBERRY_PI_4.replace("0xd08", "0xd99"),
         "unknown aarch64 processor (implementer 0x41 part 0xd99)", False, False),
        ("aarch64", "aarch64", "", "", "unknown aarch64 processor", False, False),
        ("x86_64", "x86_64", X86, EPYC, "AMD EPYC", True, False),
        # User-mode QEMU: the host's cpuinfo, one made up for "max", one made up for a real model.
        ("aarch64", "aarch64", X86, EPYC, "emulated aarch64 (host: AMD EPYC)", False, True),
        ("arm", "armv7l", "", EPYC, "emulated arm (host: AMD EPYC)", False, True),
        ("aarch64", "aarch64", "", MAX, "emulated aarch64 (implementer 0x00 part 0x051)", False, True),
        ("aarch64", "aarch64", X86, RASPBERRY_PI_4.replace("108", "100"),
         "emulated aarch64 (Cortex-A72, host: x86)", False, True),
        ("x86_64", "x86_64", ARM, RASPBERRY_PI_4, "emulated x86_64 (host: Cortex-A72)", False, True),
        # Whole machines of QEMU.
        ("aarch64", "aarch64", ARM, RASPBERRY_PI_4.replace("108", "125"),
         "emulated aarch64 (Cortex-A72)", False, True),
        ("x86_64", "x86_64", X86, EPYC.replace("AMD EPYC", "QEMU Virtual CPU version 2.5+"),
         "emulated x86_64 (QEMU Virtual CPU version 2.5+)", False, True),
    ],
)  # fmt: skip
def test_recognise(arch, machine, modalias, cpuinfo, name, known, emulated):
    processor = recognise(arch, machine, modalias, cpuinfo)
    assert processor == Processor(name, known, emulated)
    assert processor.measurable == (known and not emulated)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="identify.c can't run")
def test_processor_behind_a_session(session):
    assert describe_processor(session, arch=platform.machine()) == describe_processor()


def test_architectures_that_do_not_fit(session):
    other = "aarch64" if platform.machine() == "x86_64" else "x86_64"
    with pytest.raises(UserError, match=f"the board does not run code for {other}"):
        describe_processor(session, arch=other)
    with pytest.raises(UserError, match="unknown architecture 'mips': expected aarch64, arm, x86_64"):
        describe_processor(session, arch="mips")


@pytest.mark.slow
def test_a_team_over_rpc(build, labelled_pictures, monkeypatch, tmp_path):
    """Two of the board's threads give the bits of one, also to `evaluate`; a board with fewer is told of in a line."""
    built = build("shufflenet-v1-0.25x-g3", classes=10, size=(64, 64), team=True)
    entry = Entry("small", built.path, built.manifest)
    with contextlib.ExitStack() as stack:
        monkeypatch.setenv("TVM_NUM_THREADS", "2")
        address = wait_for(stack.enter_context(daemon("tvm.exec.rpc_server", "--key", "team")))
        with connect(address, "team") as session:
            arch = read_elf(built.path).arch
            one, two = (Place(arch, session, address, threads) for threads in (1, 2))
            results = [place.load_network(built.path, built.manifest, *entry.arguments).run(1) for place in (one, two)]
            assert np.array_equal(*results)
            with pytest.raises(UserError, match="--threads 64: TVM has 2 on the board at .*TVM_NUM_THREADS=64"):
                Place(arch, session, address, 64)
        library = build("shufflenet-v1-0.25x-g3", classes=3, size=(64, 64), team=True).path
        scores = []
        for options in (["--workers", "0"], ["--rpc", address, "--key", "team", "--threads", "2"]):
            data = [str(library), "--data", str(labelled_pictures), "--json", str(tmp_path / "score.json")]
            evaluate.main([*data, *options])
            scores.append(json.loads((tmp_path / "score.json").read_text()))
        assert scores[0] == scores[1] and scores[0]["images"] == 9
