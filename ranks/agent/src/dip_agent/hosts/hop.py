"""The way of bytes from one host straight to the next one, for one transfer.

The host that takes them listens at one address until the other one has come, and no longer. Both show the certificates
that they were given as they joined, each knows which one to expect, and who comes has a token that is good for this
once; nobody else is let in. Then pieces come: the length (4 bytes, big endian), and so many bytes. Empty ones say that
the sender is still there.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import queue
import socket
import ssl
import threading
import time
from typing import Any, Callable

from .identity import Identity

PIECE = 256 << 10  # bytes at most
BEAT = 1.0  # seconds; a sender that has nothing to send says that it is there
_SILENCE = 5.0  # seconds without a word after which the sender is given up
_DIAL_PATIENCE = 3.0  # seconds until the next host must have let us in
_COME_PATIENCE = 5.0  # seconds until the host before us must have come
_SLOW = 30.0  # seconds that a piece may take
_MAX_STRANGERS = 32  # connections at a time of which it is not known who they are
_WELCOME = b"!"


class Intake:
    """Where the host before us comes in."""

    def __init__(self, identity: Identity, way: dict[str, Any], refused: Callable[[str], None]):
        """Listen. `way` says where (address, ports), and for whom (peer, token). Raises OSError if no port is free."""
        self._context = _context(identity, ssl.PROTOCOL_TLS_SERVER)
        self._peer, self._token = way["peer"], way["token"].encode()
        self._refused = refused  # is told of others that come
        self._arrivals: queue.Queue[ssl.SSLSocket | None] = queue.Queue()
        self._strangers = threading.BoundedSemaphore(_MAX_STRANGERS)
        self._lock = threading.Lock()  # guards what follows
        self._over = False  # nobody is let in any more
        self._listener = _listen(way["address"], way["ports"])
        self.port: int = self._listener.getsockname()[1]

    def take(self) -> ssl.SSLSocket:
        """Wait for the host before us, and listen no more. Raises OSError if it does not come."""
        threading.Thread(target=self._accept, daemon=True).start()
        try:
            came = self._arrivals.get(timeout=_COME_PATIENCE)
        except queue.Empty:
            self.close()
            came = self._arrivals.get()
        if came is None:
            raise OSError("the host before it does not come")
        came.sendall(_WELCOME)
        return came

    def close(self) -> None:
        """Let nobody in any more."""
        with contextlib.suppress(OSError):
            self._let_in(None)

    def _let_in(self, conn: ssl.SSLSocket | None) -> None:
        with self._lock:
            if self._over:
                raise OSError("it comes too late")
            self._over = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # which ends an accept, too
        self._arrivals.put(conn)

    def _accept(self) -> None:
        with self._listener:
            while True:
                try:
                    plain, address = self._listener.accept()
                except OSError:
                    return
                if self._strangers.acquire(blocking=False):
                    threading.Thread(target=self._meet, args=(plain, address[0]), daemon=True).start()
                else:
                    plain.close()

    def _meet(self, plain: socket.socket, address: str) -> None:
        """Find out who has come."""
        conn = plain
        try:
            plain.settimeout(_COME_PATIENCE)
            conn = self._context.wrap_socket(plain, server_side=True)
            _expect(conn, self._peer)
            token = bytearray(len(self._token))
            _fill(conn, memoryview(token))
            if not hmac.compare_digest(token, self._token):
                raise OSError("the token is wrong")
            self._let_in(conn)
        except (OSError, ValueError) as err:
            conn.close()
            self._refused(f"{address}: {err}")
        finally:
            self._strangers.release()


def dial(identity: Identity, way: dict[str, Any]) -> ssl.SSLSocket:
    """Come to the next host. Raises OSError if it cannot be reached, or does not let us in."""
    deadline = time.monotonic() + _DIAL_PATIENCE
    conn = socket.create_connection((way["address"], way["port"]), timeout=_DIAL_PATIENCE)
    try:
        conn.settimeout(max(deadline - time.monotonic(), 0.001))
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conn = _context(identity, ssl.PROTOCOL_TLS_CLIENT).wrap_socket(conn)
        _expect(conn, way["peer"])
        conn.sendall(way["token"].encode())
        if conn.recv(1) != _WELCOME:
            raise OSError("it hung up")
    except BaseException:
        conn.close()
        raise
    return conn


def send(conn: ssl.SSLSocket, piece: memoryview) -> None:
    """Send a piece, empty or not."""
    conn.settimeout(_SLOW)
    conn.sendall(len(piece).to_bytes(4, "big"))
    if piece:
        conn.sendall(piece)


def receive(conn: ssl.SSLSocket, buffer: memoryview) -> memoryview:
    """Return the next piece that is not empty; the buffer has room for it. Raises OSError if there is none."""
    conn.settimeout(_SILENCE)
    length = bytearray(4)
    while True:
        _fill(conn, memoryview(length))
        size = int.from_bytes(length, "big")
        if size > PIECE:
            raise OSError(f"the host before it sends a piece of {size} bytes")
        if size:
            _fill(conn, buffer[:size])
            return buffer[:size]


def _context(identity: Identity, protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # certificates have no addresses: see _expect
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=identity.authority)
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0
    identity.show(context)
    return context


def _expect(conn: ssl.SSLSocket, peer: str) -> None:
    """Refuse everybody but the host with this certificate, of which `peer` is the SHA-256."""
    certificate = conn.getpeercert(binary_form=True) or b""
    if hashlib.sha256(certificate).hexdigest() != peer:
        raise OSError("it is another host than the one that is expected")


def _fill(conn: ssl.SSLSocket, view: memoryview) -> None:
    done = 0
    while done < len(view):
        count = conn.recv_into(view[done:])
        if not count:
            raise OSError("the host before it hung up")
        done += count


def _listen(address: str, ports: list[int]) -> socket.socket:
    """Listen at the first port of a range that is free; [0, 0] is any."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    first, last = ports
    for port in range(first, last + 1):
        listener = socket.socket(family)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            listener.listen(_MAX_STRANGERS)
        except OSError as err:
            listener.close()
            if port == last:
                raise OSError(f"no port of {first} to {last} is free at {address}: {err}") from err
        else:
            return listener
    raise OSError(f"no port of {first} to {last}")
