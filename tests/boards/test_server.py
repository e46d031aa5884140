"""The RPC server without TVM that `bench` packs: sessions, what goes wrong in them, and what only hostile clients send.

Here it runs under the address sanitizer; the program of `bench` itself runs here and in the emulator.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tvm

from tvm_shufflenet.boards.crashes import survive_crashes
from tvm_shufflenet.boards.rpc import Session, connect, upload
from tvm_shufflenet.cli import compare, doctor, profile, tune
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.measure.packing import SERVER, PackOptions, pack
from tvm_shufflenet.records import store
from tvm_shufflenet.records.store import Records, knob_key
from tvm_shufflenet.targets import resolve
from tvm_shufflenet.tuning.trials import Link
from tvm_shufflenet.tuning.tuner import Tuner
from tvm_shufflenet.zig import zig

from .. import emulator
from ..tuning.test_tune import FAULTS, MODEL, Faulty, small_task
from ..tuning.test_tune_board import small_task as arm_task

KEY, NATIVE = "this-machine", resolve("native")
SIZE = "64"

# One of each: a result, an error that is raised as TVM's code does it, a status alone, a crash, and no end.
LIBRARY = r"""
typedef struct { int type, zero; union { long long number; double real; void *pointer; }; } Any;
typedef struct { float *data; int device[2], dimensions; unsigned type; long long *shape; } Tensor;
void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int count);
extern int missing(void) __attribute__((weak));
static int times = 3, *where = &times;  /* relocated */
#define EXPORT __attribute__((visibility("default"))) int
EXPORT __tvm_ffi_scale(void *self, const Any *given, int count, Any *result) {
  Tensor *tensor = given[0].pointer;
  for (long long i = 0; i < tensor->shape[0]; ++i) tensor->data[i] *= (float)(*where * given[1].number);
  *result = (Any){.type = 3, .real = 0.5};
  return missing != 0;
}
EXPORT __tvm_ffi_error(void *self, const Any *given, int count, Any *result) {
  const char *parts[] = {"of this ", "kind"};
  TVMFFIErrorSetRaisedFromCStrParts("ValueError", parts, 2);
  return -1;
}
EXPORT __tvm_ffi_status(void *self, const Any *given, int count, Any *result) { return 7; }
EXPORT __tvm_ffi_crash(void *self, const Any *given, int count, Any *result) { __builtin_trap(); }
EXPORT __tvm_ffi_hang(void *self, const Any *given, int count, Any *result) { for (;;) __asm__ volatile(""); }
"""


def compiled(folder: Path, source: str = LIBRARY, target: str = "x86_64-linux-gnu", *more: str) -> Path:
    (folder / "library.c").write_text(source)
    path = folder / "library.so"
    argv = [zig(), "cc", "-target", target, "-shared", "-nostdlib", "-O1", "-fPIC", "-fno-sanitize=all", *more]
    subprocess.run([*argv, str(folder / "library.c"), "-o", str(path)], check=True)
    return path


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    return compiled(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory) -> Path:
    """The server, of which each wrong access to memory ends it with a report."""
    if NATIVE.arch != "x86_64":
        pytest.skip("the libraries here are for x86-64")
    gcc, program = shutil.which("gcc"), tmp_path_factory.mktemp("server") / "server"
    main = Path(__file__).with_name("server_main.c")
    argv = [gcc, "-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-fsanitize=address,undefined"]
    argv += ["-fno-sanitize-recover=all", *sorted(map(str, SERVER.glob("*.c"))), str(main), "-o", str(program)]
    if gcc is None or subprocess.run(argv).returncode:
        pytest.skip("gcc has no address sanitizer")
    return program


class Server:
    """A server that runs: `address`, and at the end `said`, what it printed."""

    said = ""

    def __init__(self, *argv: object):
        self.process = subprocess.Popen(list(map(str, argv)), stderr=subprocess.PIPE, text=True)
        found = None
        while not found:
            line = self.process.stderr.readline() or pytest.fail("the server ended")
            found = re.search(r"serving TVM's RPC at (127\.0\.0\.1:\d+), key \S+;", line)
        self.address = found[1]

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_) -> None:
        alive = self.process.poll() is None
        self.process.send_signal(signal.SIGTERM)
        self.said = self.process.communicate()[1]
        assert alive and "Sanitizer" not in self.said and "runtime error" not in self.said, self.said

    def connect(self, **options) -> Session:
        return connect(self.address, KEY, 60, **options)

    def socket(self) -> socket.socket:
        host, port = self.address.split(":")
        return socket.create_connection((host, int(port)), timeout=60)


@pytest.fixture(scope="module")
def server(sanitized):
    with Server(sanitized, KEY) as running:
        yield running


# ------------------------------------------------------------------------------------- sessions


def test_a_session(server, library):
    with server.connect() as session:
        module = upload(session, library)
        data = tvm.runtime.tensor(np.arange(5, dtype="float32"), session.cpu())
        assert module["scale"](data, 2) == 0.5
        np.testing.assert_array_equal(data.numpy(), 6 * np.arange(5, dtype="float32"))
        other = tvm.runtime.empty((5,), "float32", session.cpu())
        data.copyto(other)
        np.testing.assert_array_equal(other.numpy(), data.numpy())
        found = module.time_evaluator("scale", session.cpu(), number=3, repeat=4)(data, 1).results
        assert len(found) == 4 and all(0 < seconds < 1 for seconds in found)
        np.testing.assert_array_equal(data.numpy(), 6 * 3.0 ** (1 + 3 * 4) * np.arange(5, dtype="float32"))
        slow = module.time_evaluator("scale", session.cpu(), number=1, repeat=1, min_repeat_ms=20)
        start = time.monotonic()
        slow(other, 1)
        assert time.monotonic() - start > 0.02
        assert session.get_function("runtime.NumThreads")() == 1


@pytest.mark.parametrize("name, says", [
    ("error", "ValueError: of this kind"), ("status", "the function failed with status 7"),
])  # fmt: skip
def test_functions_that_fail(server, library, name, says):
    with server.connect() as session:
        module = upload(session, library)
        for _ in range(2):  # the session goes on
            with pytest.raises(Exception, match=says):
                module[name]()
        with pytest.raises(Exception, match="argument 0 is neither a number nor a tensor"):
            module[name]("text")
        with pytest.raises(Exception, match="no function nothing"):
            module.time_evaluator("nothing", session.cpu(), number=1)
        with pytest.raises(Exception, match="without pauses and flushes"):
            module.time_evaluator(name, session.cpu(), number=1, cache_flush_bytes=64)


def test_what_it_refuses_to_load(server, library, tmp_path):
    def refused(source: str, *more: str, target: str = "x86_64-linux-gnu") -> str:
        with server.connect() as session, pytest.raises(UserError) as error:
            upload(session, compiled(tmp_path, source, target, *more))
        return str(error.value)

    assert "it is for another architecture" in refused("", target="aarch64-linux-gnu")
    assert "it needs elsewhere" in refused("int elsewhere(void); int (*at)(void) = elsewhere;")
    assert "it has variables of threads" in refused("__thread int x; int *f(void) { return &x; }")
    start = '__attribute__((constructor)) void start(void) { __asm__ volatile(""); }'
    assert "it has code to start with" in refused(start)
    assert "no table of symbols" in refused("int x;", "-Wl,--hash-style=gnu")


def test_a_key_that_is_another(server):
    with pytest.raises(UserError, match="refuses the key 'other': give the key it was started with"):
        connect(server.address, "other", 60)


def test_crashes_and_clients_that_go_end_their_session_alone(server, library):
    for survive in (False, True):
        session = server.connect(patience=60)
        if survive:
            survive_crashes(session, "x86_64")
        with pytest.raises(Exception):  # noqa: B017 - TVM says of each way that a connection ends something else
            upload(session, library)["crash"]()
    argv = [sys.executable, "-c", HANGS, server.address, KEY, str(library)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout.readline() == "hangs\n"
        time.sleep(0.3)
        client.kill()
    with server.connect() as session:  # else this waits for the hanging one
        assert session.get_function("runtime.NumThreads")() == 1


HANGS = """
import sys
from tvm_shufflenet.boards.rpc import connect, upload
session = connect(*sys.argv[1:3], 60)
hang = upload(session, sys.argv[3])["hang"]
print("hangs", flush=True)
hang()
"""


def test_the_time_of_a_session(server, library):
    session = server.connect(session_timeout=1, patience=60)
    hang = upload(session, library)["hang"]
    start = time.monotonic()
    with pytest.raises(Exception, match="RPCSessionTimeoutError"):
        hang()
    assert time.monotonic() - start < 30
    with server.connect() as session:
        assert session.get_function("runtime.NumThreads")() == 1


# -------------------------------------------------------------------------------------- hostile


def greeting(key: str = KEY) -> bytes:
    text = f"client:{key} -timeout=20".encode()
    return struct.pack("<ii", 0xFF271, len(text)) + text


def packet(code: int, body: bytes = b"") -> bytes:
    return struct.pack("<Qi", 4 + len(body), code) + body


def values(*items: bytes) -> bytes:
    return struct.pack("<i", len(items)) + b"".join(items)


def text(string: str) -> bytes:
    return struct.pack("<iQ", 8, len(string)) + string.encode()


def integer(number: int) -> bytes:
    return struct.pack("<iq", 1, number)


def handle(number: int, kind: int = 4) -> bytes:
    return struct.pack("<iQ", kind, number)


def tensor(at: int, *shape: int, offset: int = 0, bits: int = 32, lanes: int = 1) -> bytes:
    head = struct.pack("<QiiiBBH", at, 1, 0, len(shape), 2, bits, lanes)
    return head + struct.pack(f"<{len(shape)}qQ", *shape, offset)


INIT = packet(2, struct.pack("<Q", 5) + b"0.8.0" + values())
ALLOCATE = packet(17, values(struct.pack("<i", 7) + tensor(0, 8), struct.pack("<i", 0)))  # handle 1, of 32 bytes
HUGE = (1 << 63) - 1
GREETINGS = {
    "nothing": b"", "another magic": b"GET / HTTP/1.1\r\n\r\n", "half a magic": b"\x71\xf2",
    "a huge key": struct.pack("<ii", 0xFF271, 2**31 - 1) + b"x" * 100,
    "a negative key": struct.pack("<ii", 0xFF271, -1), "a cut key": struct.pack("<ii", 0xFF271, 100) + b"client:",
    "no key": struct.pack("<ii", 0xFF271, 0), "spaces": struct.pack("<ii", 0xFF271, 9) + b" " * 9,
    "odd options": greeting(f"{KEY} -timeout=nan -timeout= -x -timeout=-1 -timeout=1e300"),
}  # fmt: skip
PACKETS = {
    "cut in a size": b"\x01\x02", "cut in a packet": INIT[:-3], "a huge packet": struct.pack("<Q", HUGE) + b"x" * 99,
    "large, and cut": struct.pack("<Qi", 1 << 31, 7) + b"x" * (3 << 20), "no packets": bytes(800),
    "no code": struct.pack("<Q", 2) + b"xx",
    "another code, cut": packet(99, b"x"),
    "many values": packet(3, struct.pack("<Qi", 1, 2**31 - 1)), "fewer than none": packet(9, struct.pack("<i", -1)),
    "a cut text": packet(9, values(struct.pack("<iQ", 8, HUGE) + b"x")),
    "a strange type": packet(9, values(struct.pack("<i", 999))),
    "many dimensions": packet(17, values(struct.pack("<iQiii", 7, 0, 1, 0, 2**30))),
    "a long version": packet(2, struct.pack("<Q", HUGE)), "more than it says": packet(9, values(text("f")) + b"more"),
    "two types": packet(9, values(struct.pack("<iiQ", 65, 7, 1) + b"x")),
    "strange copy": packet(6, struct.pack("<Qiii", 1, 1, 0, -7)),
}  # fmt: skip
REFUSED = {
    "copy from nowhere": packet(6, tensor(77, 8) + struct.pack("<Q", 32)),
    "copy too much": packet(6, tensor(1, 8) + struct.pack("<Q", 33)),
    "copy behind it": packet(7, tensor(1, 8, offset=30) + struct.pack("<Q", 4) + b"xxxx"),
    "copy far behind it": packet(6, tensor(1, 8, offset=2**64 - 4) + struct.pack("<Q", 32)),
    "call nothing": packet(3, struct.pack("<Q", 0) + values()),
    "call memory": packet(3, struct.pack("<Q", 1) + values()),
    "free twice": packet(14, values(struct.pack("<iii", 6, 1, 0), handle(9))),
    "free memory": packet(10, values(handle(1))),
    "too much memory": packet(13, values(handle(1, 6), integer(-1), integer(64), handle(0, 5))),
    "a shape that overflows": packet(17, values(struct.pack("<i", 7) + tensor(0, 2**40, 2**40), struct.pack("<i", 0))),
    "a negative shape": packet(17, values(struct.pack("<i", 7) + tensor(0, -4), struct.pack("<i", 0))),
    "another device": packet(13, values(handle(2, 6), integer(4), integer(64), handle(0, 5))),
    "among strangers": packet(16, values(
        *(struct.pack("<i", 7) + tensor(at, 8) for at in (1, 5)), struct.pack("<i", 0))),
    "other arguments": packet(9, values(integer(1))), "another code": packet(99, values()),
    "a negative code": packet(-5, values()),
    "a strange module": packet(3, struct.pack("<Q", 2) + values(text("no-file"))),
    "begun twice": packet(2, struct.pack("<Q", 5) + b"0.7.0" + values()),
    "on to others": packet(2, struct.pack("<Q", 5) + b"0.8.0" + values(text("rpc.Connect"))),
}  # fmt: skip
LOAD = packet(9, values(text("tvm.rpc.server.load_module")))


def answers(sock: socket.socket) -> tuple[int, bytes]:
    """The code of the next reply, and its body; an error where the session has ended."""

    def read(size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += sock.recv(size - len(data)) or pytest.fail("the session ended")
        return data

    size, code = struct.unpack("<Qi", read(12))
    return code, read(size - 4)


def begin(server: Server) -> socket.socket:
    sock = server.socket()
    sock.sendall(greeting() + INIT)
    for _ in range(2):  # the magic number, the length of its key
        length = struct.unpack("<i", sock.recv(4, socket.MSG_WAITALL))[0]
    sock.recv(length, socket.MSG_WAITALL)
    assert answers(sock)[0] == 4
    return sock


def closes(sock: socket.socket) -> None:
    """Nothing more is said by this side, and the other ends the connection."""
    with sock:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while sock.recv(1 << 16):
                pass


@pytest.mark.parametrize("name", GREETINGS)
def test_greetings(server, name):
    sock = server.socket()
    sock.sendall(GREETINGS[name])
    closes(sock)
    begin(server).close()


@pytest.mark.parametrize("name", PACKETS)
def test_packets_that_are_none(server, name):
    sock = begin(server)
    with contextlib.suppress(OSError):  # it may have ended before all is sent
        sock.sendall(PACKETS[name])
    closes(sock)
    begin(server).close()


@pytest.mark.parametrize("name", REFUSED)
def test_packets_that_are_refused(server, name):
    """They get an exception, and the session goes on."""
    with begin(server) as sock:
        sock.sendall(ALLOCATE + LOAD)
        assert answers(sock)[0] == answers(sock)[0] == 4
        sock.sendall(REFUSED[name])
        assert answers(sock)[0] == 5
        sock.sendall(packet(6, tensor(1, 8) + struct.pack("<Q", 32)))
        assert answers(sock)[0] == 8


def test_before_the_session_has_begun(server):
    with server.socket() as sock:
        sock.sendall(greeting() + ALLOCATE)
        sock.recv(8, socket.MSG_WAITALL)
        sock.recv(len(f"server:{KEY}"), socket.MSG_WAITALL)
        code, body = answers(sock)
        assert code == 5 and b"has not begun" in body


def test_random_packets(server):
    """A session as clients have it, of which some bytes are others."""
    rng = np.random.default_rng(0)
    good = ALLOCATE + LOAD + packet(7, tensor(1, 8) + struct.pack("<Q", 32) + bytes(32))
    good += packet(9, values(text("tvm.rpc.server.upload"))) + packet(3, struct.pack("<Q", 3) + values(
        text("name.so"), struct.pack("<iQ", 9, 20) + b"\x7fELF" + bytes(16)))  # fmt: skip
    good += packet(3, struct.pack("<Q", 2) + values(text("name.so"))) + packet(6, tensor(1, 8) + struct.pack("<Q", 32))
    for _ in range(150):
        changed = np.frombuffer(good, np.uint8).copy()
        at = rng.integers(0, len(good), rng.integers(1, 5))
        changed[at] = rng.choice([0, 1, 2, 4, 7, 127, 128, 255], len(at))
        sock = begin(server)
        with contextlib.suppress(OSError):
            sock.sendall(changed.tobytes())
        closes(sock)
    begin(server).close()


def test_damaged_libraries(server, library):
    """Each is loaded or refused: no code of it runs, and the session goes on."""
    rng, whole = np.random.default_rng(1), library.read_bytes()
    # Headers, symbols, relocations and the dynamic segment: all but code, and sections that nobody reads.
    places = np.flatnonzero(np.frombuffer(whole, np.uint8)[: whole.index(b".symtab")])
    with begin(server) as sock:
        sock.sendall(LOAD + packet(9, values(text("tvm.rpc.server.upload"))))
        assert answers(sock)[0] == answers(sock)[0] == 4
        loaded = 0
        for turn in range(500):
            file = bytearray(whole)
            if turn % 4 == 0:
                del file[rng.integers(0, len(file)) :]
            else:
                for at in rng.choice(places, rng.integers(1, 4)):
                    file[at] = rng.choice([0, 1, 8, 64, 127, 128, 255, file[at] ^ 1])
            blob = struct.pack("<iQ", 9, len(file)) + bytes(file)
            sock.sendall(packet(3, struct.pack("<Q", 2) + values(text("x.so"), blob)))
            sock.sendall(packet(3, struct.pack("<Q", 1) + values(text("x.so"))))
            assert answers(sock)[0] == 4
            loaded += answers(sock)[0] == 4
        assert 20 < loaded < 480


# ----------------------------------------------------------------------------- the program of `bench`


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    """The program without networks, by this machine's compiler."""
    compiler = shutil.which("cc") or pytest.skip("there is no C compiler")
    output = tmp_path_factory.mktemp("bench") / "serve"
    return pack(PackOptions((), "native", output=output, cc=compiler)).path


@pytest.mark.parametrize("argv, message", [
    ([], "no network was packed into this program: it is for --serve PORT"),
    (["--serve", "65536"], "--serve 65536: expected a whole number from 0 to 65535"),
    (["--serve", "0", "--rounds", "3"], "--serve: leave out --rounds and --minutes"),
    (["--key", "a"], "--key, --address and --tracker are for --serve PORT"),
    (["--serve", "0", "--key", 'a"b'], "--key: expected up to 64 letters"),
    (["--serve", "0", "--key", "a b"], "--key: expected up to 64 letters"),
    (["--serve", "0", "--address", "board"], "--address board: expected an IPv4 address"),
    (["--serve", "0", "--tracker", "board:9190"], "--tracker board: expected an IPv4 address"),
    (["--serve", "0", "--tracker", "127.0.0.1"], "--tracker 127.0.0.1: expected an IPv4 address and a port"),
])  # fmt: skip
def test_the_program_refuses(program, argv, message):
    done = subprocess.run([program, *argv], capture_output=True, text=True)
    assert done.returncode == 2 and message in done.stderr and not done.stdout


def test_a_port_that_is_taken(program):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run([program, "--serve", str(port)], capture_output=True, text=True)
    assert done.returncode == 2 and f"--serve {port}: cannot listen at 127.0.0.1: Address" in done.stderr


def test_the_command_refuses_networks_beside_none(tmp_path):
    from tvm_shufflenet.cli import bench

    for argv in (["alexnet"], ["--size", "64"]):
        with pytest.raises(UserError, match="name no networks beside it"):
            bench.main(["--no-networks", *argv, "-o", str(tmp_path / "serve")])


def test_doctor_here(program, capsys):
    """Its key is the target's name unless another is given."""
    with Server(program, "--serve", 0) as server:
        doctor.main(["--rpc", server.address, "--target", "native", "--timeout", "60"])
    assert capsys.readouterr().out.splitlines()[-1] == "all is well; 1 board there"


@pytest.fixture(scope="module")
def tracker():
    with emulator.tracker() as address:
        yield "{}:{}".format(*address)


def boards_at(tracker: str, key: str) -> int:
    summary = tvm.rpc.connect_tracker(tracker.split(":")[0], int(tracker.split(":")[1])).summary()
    return summary["queue_info"].get(key, {}).get("free", 0)


def wait_for(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_behind_a_tracker(sanitized, tracker, library):
    """It is offered anew after each session, also after one that crashes; and to a tracker that comes later."""
    with Server(sanitized, KEY, tracker) as server:
        for crashes in (False, True, False):
            wait_for(lambda: boards_at(tracker, KEY) == 1)
            session = connect(tracker, KEY, 60)
            module = upload(session, library)
            if crashes:
                with pytest.raises(Exception):  # noqa: B017
                    module["crash"]()
            else:
                session.close()
        with pytest.raises(UserError, match="refuses"):  # the keys of sessions are the tracker's to give
            connect(server.address, KEY, 60)
    port = int(tracker.split(":")[1])
    assert f"registered with the tracker at 127.0.0.1:{port}" in server.said


@pytest.mark.slow
def test_a_board_that_is_given_and_not_fetched(sanitized, tracker):
    """It is offered again, under another key, after the seconds that TVM's servers wait."""
    with Server(sanitized, KEY, tracker):
        wait_for(lambda: boards_at(tracker, KEY) == 1)
        host, port = tracker.split(":")
        client = tvm.rpc.connect_tracker(host, int(port))
        from tvm.rpc import base

        base.sendjson(client._sock, [base.TrackerCode.REQUEST, KEY, "", 0])
        assert base.recvjson(client._sock)[0] == base.TrackerCode.SUCCESS
        assert boards_at(tracker, KEY) == 0
        wait_for(lambda: boards_at(tracker, KEY) == 1)


@pytest.mark.slow
def test_a_tracker_that_comes_later(sanitized):
    port = emulator._free_port()
    with Server(sanitized, KEY, f"127.0.0.1:{port}") as server:
        for _ in range(2):  # and one that comes back
            with emulator.tracker(port):
                wait_for(lambda: boards_at(f"127.0.0.1:{port}", KEY) == 1)
    assert server.said.count("no tracker answers") >= 1


@pytest.mark.slow
def test_candidates_that_hang_crash_or_are_wrong(program, tmp_path):
    task, records = small_task(), Records.read(tmp_path, NATIVE)
    task.space = task.space[:5]
    with Server(program, "--serve", 0) as server:
        assert_faults_end_alone(task, records, [Link(server.address, "native", 60, 8)], NATIVE, "measured")


def assert_faults_end_alone(task, records, links, target, kind) -> None:
    with Faulty(target, links, timeout=240) as place:
        place.target_of_zig = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu"}[target.arch]
        place.faults = {knob_key(knobs): body for knobs, (body, _) in zip(task.space[1:4], FAULTS.values())}
        place.open()
        place.kind = kind
        (result,) = Tuner(place, records, len(task.space)).run([task])
    by_knobs = records.known(task.workload, kind, task.space)
    for knobs, (_, reason) in zip(task.space[1:4], FAULTS.values()):
        assert by_knobs[knob_key(knobs)].failure.startswith(reason)
    assert result.trials == 5 and len(result.failures) == 3 and result.best


@pytest.mark.slow
def test_tune_compare_and_profile_here(program, tmp_path, capsys):
    """As on a phone: all of a network, and nothing is refused but several threads."""
    logs = tmp_path / "logs"
    with Server(program, "--serve", 0) as server:
        reach = ["--rpc", server.address, "--target", "native"]
        tune.main([MODEL, "--size", SIZE, *reach, "--op", "depthwise", "--trials", "3", "--records", str(logs)])
        records = store.read_file(logs / "native" / store.FILE)
        assert {r.kind for r in records.all} == {"measured"} and not any(r.failure for r in records.all)
        compare.main([MODEL, "--size", SIZE, *reach, "--rounds", "3"])
        assert f"the board at {server.address}" in capsys.readouterr().out
        profile.main([MODEL, "--size", SIZE, *reach, "--rounds", "3"])
        assert f"the board at {server.address}" in capsys.readouterr().out
        with pytest.raises(UserError, match="--threads 2: TVM has 1 on the board"):
            compare.main([MODEL, "--size", SIZE, *reach, "--threads", "2"])


# ------------------------------------------------------------------------------- in the emulator


@pytest.mark.slow
@pytest.mark.emulator
@pytest.mark.parametrize("target", ["arm", "armv7"])
def test_doctor_in_the_emulator(tmp_path, target, capsys):
    made = pack(PackOptions((), target, output=tmp_path / "serve"))
    assert made.path.stat().st_size < 1 << 18
    arch = {"arm": "armhf"}.get(resolve(target).arch, resolve(target).arch)
    with Server(*emulator.command(made.path, "--serve", 0, arch=arch)) as server:
        doctor.main(["--rpc", server.address, "--target", target, "--timeout", "60"])
    lines = capsys.readouterr().out.splitlines()
    assert "emulated" in lines[0] and lines[-1] == "all is well; 1 board there"


@pytest.mark.slow
@pytest.mark.emulator
def test_tuning_in_the_emulator(tmp_path, tracker, capsys):
    """A whole run on two boards of a tracker; the records are marked, and outputs on the boards are right."""
    program = pack(PackOptions((), "arm", output=tmp_path / "serve")).path
    argv = emulator.command(program, "--serve", 0, "--tracker", tracker)
    logs = tmp_path / "logs"
    with Server(*argv), Server(*argv):
        wait_for(lambda: boards_at(tracker, "arm") == 2)
        arguments = [MODEL, "--size", SIZE, "--rpc", tracker, "--op", "depthwise", "--trials", "2", "--emulated"]
        assert tune.main([*arguments, "--records", str(logs)]) == 0
        printed = capsys.readouterr().out
        assert min(int(n) for n in printed.rpartition("turns of 2 boards: ")[2].splitlines()[0].split(", ")) > 0
        records = store.read_file(logs / "arm" / store.FILE)
        assert {r.kind for r in records.all} == {"emulated"} and not any(r.failure for r in records.all)
        compare.main([MODEL, "--size", SIZE, "--rpc", tracker, "--target", "arm"])
        assert "wall time there says nothing; outputs checked" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.emulator
def test_candidates_that_hang_crash_or_are_wrong_in_the_emulator(tmp_path):
    program, target, task = pack(PackOptions((), "arm", output=tmp_path / "serve")).path, resolve("arm"), arm_task()
    task.space = task.space[:5]
    with Server(*emulator.command(program, "--serve", 0)) as server:
        links = [Link(server.address, "arm", 60, 16)]
        assert_faults_end_alone(task, Records.read(tmp_path, target), links, target, "emulated")
