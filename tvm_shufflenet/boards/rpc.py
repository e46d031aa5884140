"""Sessions with boards over TVM RPC: a time-out and one clear line for each way they fail.

TVM's own calls wait without limit for a host that accepts and then says nothing, and for a tracker
whose boards are all busy.  Here a socket with a time-out asks first who listens at the address:

- a tracker answers the tracker's magic number with the same number; a board is then requested
  from it by key;
- an RPC server closes the connection on any magic number but its own; nothing is left behind in
  it, whereas a half-finished session would block it;
- all others answer something else, or nothing.

Only then does TVM connect, in a thread that can be abandoned, since others may be faster.  The socket that
it has opened gets a time-out too: a board that freezes in the middle of a call would be waited for without end.

    with connect("192.168.1.20:9190", key="rpi4") as session:
        module = upload(session, "model.so")
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import queue
import re
import socket
import stat
import struct
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm import rpc

from ..errors import UserError
from ..library.elf import read_elf
from .tracker import is_tracker, keys_of_boards, no_answer, request

if TYPE_CHECKING:
    import tvm

_serial = itertools.count()


class Session(rpc.RPCSession):
    """TVM's session, which ends with the block or by `close()`: that frees the board for others.

    A call fails if the board says nothing for `patience` seconds; see `explain`.
    """

    def __init__(self, session: rpc.RPCSession, sock: socket.socket, patience: float):
        super().__init__(session)
        self._socket, self.patience = sock, patience

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        with self._socket:
            self.get_function("CloseRPCConnection")()

    def explain(self, error: Exception) -> str:
        """Why a call failed, in a line.  A board that has not answered in time is not spoken to any more."""
        text = str(error)
        if any(os.strerror(code) in text for code in (errno.EAGAIN, errno.ETIMEDOUT)):
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # else each tensor that is freed would wait as long
            return f"no answer within {self.patience:g} s: it hangs, or is slower than --timeout allows"
        return text.strip().splitlines()[-1] if text.strip() else type(error).__name__


def connect(
    address: str, key: str | None = None, timeout: float = 10.0, session_timeout: float = 0,
    patience: float | None = None,
) -> Session:  # fmt: skip
    """A session with the RPC server at "HOST:PORT", or with a board of the tracker there.

    A tracker needs the `key` under which the board registered; a server has one only if it was
    started with one.  No step takes longer than `timeout` seconds, and no answer to a later call longer
    than `patience` (`timeout`).  The board ends the session after `session_timeout` seconds (0: never).
    Whatever goes wrong is a `UserError`.
    """
    host, port = _parse(address)
    with _open(address, host, port, timeout) as sock:
        host = _peer(sock, address)
        if is_tracker(sock, address, timeout):
            host, port, match = request(sock, address, key, timeout)
            where = f"the board {host}:{port} (key {key!r} of the tracker at {address})"
        else:
            where, match = f"the RPC server at {address}", key or ""
    try:
        session = _within(timeout, lambda: rpc.connect(host, port, match, session_timeout))
    except TimeoutError:
        raise UserError(no_answer(where, timeout)) from None
    except Exception as error:
        raise UserError(_explain(error, where, key)) from None
    patience = patience or timeout
    return Session(session._sess, _limit(port, patience), patience)


def count_boards(address: str, key: str | None = None, timeout: float = 10.0) -> int:
    """How many boards are registered with `key` at the tracker there; 1 if it is an RPC server."""
    host, port = _parse(address)
    with _open(address, host, port, timeout) as sock:
        if not is_tracker(sock, address, timeout):
            return 1
        return sum(board == key for board in keys_of_boards(sock, address, key, timeout))


def upload(session: Session, path: str | Path) -> tvm.runtime.Module:
    """The module that the board has loaded from the library at `path`."""
    path = Path(path)
    built_for = read_elf(path).arch
    # A name of its own for each: TVM writes over a file of the same name while it is mapped, which
    # crashes the board's server, and the loader takes a path it has seen for the same library.
    name = f"{next(_serial)}-{path.name}"
    try:
        session.upload(str(path), name)
        return session.load_module(name)
    except Exception as error:
        if os.strerror(errno.EAGAIN) in str(error):
            raise UserError(f"the board takes {path.name}, but gives {session.explain(error)}") from None
        raise UserError(
            f"the board could not load {path}, which is built for {built_for}{_reason(error, name)}; "
            "compile it for the processor and the system of the board"
        ) from None
    finally:
        try:
            session.remove(name)  # a loaded library needs its file no more
        except Exception as error:
            session.explain(error)  # an answer that comes late would be taken for that to the next call


def _parse(address: str) -> tuple[str, int]:
    match = re.fullmatch(r"(\[[^][]+\]|[^][:\s]+):([0-9]+)", address)
    if not match or not 0 < int(match[2]) < 65536:
        raise UserError(
            f"malformed address {address!r}: expected HOST:PORT with a port of 1 to 65535, "
            "for example 192.168.1.20:9190"
        )
    return match[1].strip("[]"), int(match[2])


def _open(address: str, host: str, port: int, timeout: float) -> socket.socket:
    """A connection with a time-out, which holds for each later step on it."""
    try:
        return _within(timeout, lambda: socket.create_connection((host, port), timeout))
    except (socket.gaierror, UnicodeError):
        raise UserError(f"unknown host {host!r} in {address!r}: check its name or give its IP address") from None
    except TimeoutError:
        raise UserError(no_answer(address, timeout)) from None
    except ConnectionRefusedError:
        raise UserError(
            f"nothing listens at {address} (connection refused): start the RPC server or tracker "
            "there, or correct the address"
        ) from None
    except OSError as error:
        raise UserError(f"cannot reach {address}: {error.strerror or error}") from None


def _peer(sock: socket.socket, address: str) -> str:
    """The one of the host's addresses that answered, for TVM to use too."""
    try:
        return sock.getpeername()[0]
    except OSError as error:  # it has reset the connection already
        raise UserError(f"cannot reach {address}: {error.strerror or error}") from None


def _limit(port: int, seconds: float) -> socket.socket:
    """Gives the connection to that port, which TVM has opened, a time-out for each answer; another handle of it."""
    limit = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
    for number in map(int, os.listdir("/dev/fd")):
        with contextlib.suppress(OSError):
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            sock = socket.socket(fileno=os.dup(number))
            if _leads_to(sock, port):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
                return sock
            sock.close()
    raise UserError(f"the connection to port {port} was lost as soon as it was made")


def _leads_to(sock: socket.socket, port: int) -> bool:
    """Whether it is connected to that port of some host."""
    try:
        return sock.family in (socket.AF_INET, socket.AF_INET6) and sock.getpeername()[1] == port
    except OSError:  # it listens, or is connected no more
        return False


def _within(seconds: float, call):
    """The result of call(), or TimeoutError: TVM's calls can be abandoned but not interrupted.

    If an abandoned call succeeds later, its result is dropped, which closes a session.
    """
    results: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()

    def work():
        try:
            results.put((call(), None))
        except Exception as error:
            results.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        result, error = results.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return result


def _explain(error: Exception, where: str, key: str | None) -> str:
    text = str(error)
    if "cannot find server that matches key" in text:
        given = f"the key {key!r}" if key else "a session without a key"
        return (
            f"{where} refuses {given}: give the key it was started with, or the address of its "
            "tracker if it registered with one"
        )
    if "sock.Connect" in text:
        return (
            f"cannot reach {where}: does it run, and is that an address which this machine can "
            "reach (see --custom-addr of tvm.exec.rpc_server)?"
        )
    if any(part in text for part in ("is not TVM RPC server", "RecvAll", "SendAll")):
        return f"{where} speaks another protocol: expected TVM RPC; correct the address"
    return f"no session with {where}: {text.strip().splitlines()[-1]}"


def _reason(error: Exception, name: str) -> str:
    """What the board says, if that helps: glibc tells of a foreign library "no such file"."""
    text = str(error)
    if "kShutdown" in text:
        return ": its RPC server crashed"
    said = text.strip().splitlines()[-1].rpartition(f"{name}: ")[2]
    return "" if "No such file" in said else f": {said}"
