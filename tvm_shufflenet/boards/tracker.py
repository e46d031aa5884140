"""Who listens at an address, and what a tracker says of its boards: one clear line for each way to fail."""

from __future__ import annotations

import json
import socket
import struct
import time

from tvm.rpc import base

from ..errors import UserError

ANSWER = 1 << 24  # bytes of a tracker's, at most


def is_tracker(sock: socket.socket, address: str, timeout: float) -> bool:
    magic = struct.pack("<i", base.RPC_TRACKER_MAGIC)
    answer: bytes | None
    try:
        sock.sendall(magic)
        answer = sock.recv(64)
    except TimeoutError:
        answer = _last_words(sock)
        if answer is None:
            raise UserError(no_answer(address, timeout)) from None
    except OSError:  # reset, not closed: it did not even read the number
        answer = b""
    if answer not in (b"", magic):
        raise UserError(
            f"{address} speaks another protocol: expected TVM RPC, it says {answer[:32]!r}; "
            "give the address of a TVM RPC server or tracker"
        )
    return answer == magic


def _last_words(sock: socket.socket) -> bytes | None:
    """What a peer that waits for more says when it learns that nothing follows (HTTP servers)."""
    try:
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(0.5)
        return sock.recv(64)
    except OSError:
        return None


def keys_of_boards(sock: socket.socket, address: str, key: str | None, timeout: float) -> list[str]:
    """The keys of all boards of the tracker at the other end, `key` among them."""
    try:
        found = _ask(sock, address, [base.TrackerCode.SUMMARY], timeout)
        keys = [board["key"].partition(":")[2] for board in found["server_info"]]
    except TimeoutError:
        raise UserError(no_answer(f"the tracker at {address}", timeout)) from None
    except (LookupError, TypeError, AttributeError):
        raise _senseless(address) from None
    if key not in keys:
        wrong = f"no board with the key {key!r}" if key else "no key given of a board"
        known = f"its keys are {', '.join(sorted(set(keys)))}" if keys else "no board has registered with it"
        raise UserError(f"{wrong} at the tracker {address}: {known}")
    return keys


def request(sock: socket.socket, address: str, key: str | None, timeout: float) -> tuple[str, int, str]:
    """Address and one-time key of a free board, from the tracker at the other end."""
    keys_of_boards(sock, address, key, timeout)
    try:
        # Closing the socket withdraws a request that waits: the next free board is not lost.
        host, port, match = _ask(sock, address, [base.TrackerCode.REQUEST, key, "", 1], timeout)
    except TimeoutError:
        raise UserError(
            f"all boards with the key {key!r} at the tracker {address} are busy: none became free "
            f"within {timeout:g} s; try again later or end the session that holds one"
        ) from None
    except (TypeError, ValueError):
        raise _senseless(address) from None
    if not (isinstance(host, str) and isinstance(match, str) and type(port) is int and 0 < port < 65536):
        raise _senseless(address)
    return host, port, match


def _ask(sock: socket.socket, address: str, question: list, timeout: float):
    """What a tracker answers.  Raises `TimeoutError` after `timeout` seconds, however slowly it talks."""
    deadline = time.monotonic() + timeout

    def receive(size: int) -> bytes:
        data = b""
        while len(data) < size:
            if (left := deadline - time.monotonic()) <= 0:
                raise TimeoutError
            sock.settimeout(left)
            if not (part := sock.recv(min(size - len(data), 1 << 16))):
                raise ConnectionError("in the middle of its answer")
            data += part
        return data

    try:
        sock.settimeout(timeout)
        base.sendjson(sock, question)
        (size,) = struct.unpack("<i", receive(4))
        if not 0 < size <= ANSWER:
            raise _senseless(address)
        code, answer = json.loads(receive(size).decode())
    except TimeoutError:
        raise
    except OSError as error:
        raise UserError(f"the tracker at {address} closed the connection: {error}") from None
    except (ValueError, TypeError, RecursionError):
        raise _senseless(address) from None
    if code != base.TrackerCode.SUCCESS:
        raise UserError(f"the tracker at {address} refuses: {str(answer)[:80]!r}")
    return answer


def _senseless(address: str) -> UserError:
    return UserError(f"the tracker at {address} answers what no tracker of TVM does: correct the address or restart it")


def no_answer(where: str, timeout: float) -> str:
    return (
        f"no answer from {where} within {timeout:g} s: it is not a TVM RPC server or tracker, or "
        "another session holds the server (it serves one at a time), or the server has crashed; "
        "check the address, wait or restart it"
    )
