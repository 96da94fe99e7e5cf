"""How a host joins a session, and stays in it: its one connection, which it makes again whenever it breaks.

The other end is Go, ranks/host/join, which tells of the lines. The connection is TLS 1.3, and the session's one
certificate is all that is trusted.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Callable

from ..system import Bell
from .identity import Identity
from .mux import Mux, ProtocolError

_PROTOCOL = 1
_ATTEMPT = 10.0  # seconds for all addresses together, until frames may come; less if the lease is short
_JOIN_PATIENCE = 60.0  # seconds until a host that has never reached the session gives up
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0  # seconds between attempts
_MAX_LINE = 64 << 10
_ROUNDS = 16  # reads at a time, of a TLS record each
_STRANGER = "something else answers there: it does not have the session's certificate"
_FAREWELL = 1.0  # seconds to tell the session that the host ends


class Refused(Exception):
    """The session does not take us. If `again`, it may in a moment."""

    def __init__(self, text: str, again: bool = False):
        super().__init__(text)
        self.again = again


class Unreached(Exception):
    """The session cannot be reached."""


@dataclass
class Welcome:
    """What the session says to a host that it takes."""

    index: int
    lease: float  # seconds
    received: int  # bytes of counted frames
    certificate: str = ""
    key: str = ""
    authority: str = ""


def _context(server: str, identity: Identity | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loads no authorities of the system
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # the certificate counts, whatever the address is
    context.load_verify_locations(cadata=server)
    if identity:
        identity.show(context)
    return context


class Road:
    """The ways to the session, of which the one that was good last is tried first."""

    def __init__(self, addresses: list[str], certificate: str):
        self._addresses = list(addresses)
        self._certificate = certificate
        self._der = ssl.PEM_cert_to_DER_cert(certificate)

    def dial(
        self, hello: dict[str, Any], identity: Identity | None, patience: float
    ) -> tuple[ssl.SSLSocket, Welcome, bytes]:
        """Say hello to the session. Return the connection, what the session says, and what has come after that."""
        deadline = time.monotonic() + patience
        context = _context(self._certificate, identity)
        troubles: list[str] = []
        with contextlib.closing(_connections(self._addresses, deadline, troubles)) as connections:
            for address, plain in connections:
                try:
                    until = min(deadline, time.monotonic() + patience / 2)  # it may be something else that is silent
                    sock, welcome, rest = self._talk(context, plain, hello, until)
                except (OSError, ValueError) as error:
                    troubles.append(f"{address}: {_reason(error)}")
                    continue
                self._addresses.remove(address)
                self._addresses.insert(0, address)
                return sock, welcome, rest
        raise Unreached("the session cannot be reached: " + "; ".join(troubles))

    def _talk(
        self, context: ssl.SSLContext, plain: socket.socket, hello: dict[str, Any], until: float
    ) -> tuple[ssl.SSLSocket, Welcome, bytes]:
        sock = plain
        try:
            _give_until(plain, until)
            sock = context.wrap_socket(plain)
            if sock.getpeercert(binary_form=True) != self._der:
                raise OSError(_STRANGER)
            sock.sendall(json.dumps({"protocol": _PROTOCOL, **hello}).encode() + b"\n")
            line, rest = _read_line(sock, until)
            welcome = _parse(line)
            if "token" in hello:
                sock.sendall(b'{"joined": true}\n')
        except BaseException:
            sock.close()
            raise
        return sock, welcome, rest


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _STRANGER
    if isinstance(error, socket.timeout):
        return "no answer"
    return str(error) or type(error).__name__


def _connections(addresses: list[str], deadline: float, troubles: list[str]) -> Iterator[tuple[str, socket.socket]]:
    """Connect to all addresses at once, and yield each connection as it is made. Whoever takes it closes it."""
    with selectors.DefaultSelector() as selector:
        try:
            for address in addresses:
                try:
                    family, target = _target(address)
                    sock = socket.socket(family, socket.SOCK_STREAM)
                except (OSError, ValueError) as error:
                    troubles.append(f"{address}: {_reason(error)}")
                    continue
                sock.setblocking(False)
                selector.register(sock, selectors.EVENT_WRITE, address)
                code = sock.connect_ex(target)
                if code not in (0, errno.EINPROGRESS, errno.EAGAIN):
                    selector.unregister(sock)
                    sock.close()
                    troubles.append(f"{address}: {os.strerror(code)}")
            while selector.get_map():
                ready = selector.select(max(deadline - time.monotonic(), 0))
                if not ready:
                    troubles += [f"{key.data}: no answer" for key in selector.get_map().values()]
                    return
                for key, _ in ready:
                    sock = selector.unregister(key.fileobj).fileobj
                    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if code:
                        sock.close()
                        troubles.append(f"{key.data}: {os.strerror(code)}")
                        continue
                    if sock.family != socket.AF_UNIX:
                        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    yield key.data, sock
        finally:
            for key in list(selector.get_map().values()):
                key.fileobj.close()


def _target(address: str) -> tuple[int, Any]:
    if address.startswith("unix:"):
        return socket.AF_UNIX, address[len("unix:") :]
    name, _, port = address.rpartition(":")
    family, _, _, _, target = socket.getaddrinfo(name.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    return family, target


def _give_until(sock: socket.socket, deadline: float) -> None:
    sock.settimeout(max(deadline - time.monotonic(), 0.001))


def _read_line(sock: ssl.SSLSocket, deadline: float) -> tuple[bytes, bytes]:
    data = b""
    while b"\n" not in data:
        _give_until(sock, deadline)
        more = sock.recv(1 << 16)
        if not more:
            raise OSError("it hung up without a word")
        data += more
        if len(data) > _MAX_LINE and b"\n" not in data:
            raise OSError("it says too much")
    line, _, rest = data.partition(b"\n")
    return line, rest


def _parse(line: bytes) -> Welcome:
    said = json.loads(line)
    if said.get("refused"):
        raise Refused(said["refused"], said.get("again", False))
    return Welcome(
        said["index"],
        said["lease"],
        said.get("received", 0),
        said.get("certificate", ""),
        said.get("key", ""),
        said.get("authority", ""),
    )


class Uplink:
    """A host's one connection with its session, for as long as the session wants the host.

    It lives in the loop of its owner: what it registers with the selector has a function as its data, which takes the
    events. After each round the owner calls `flush`; and `tick`, at the latest after `timeout` seconds.

    A sixth of the lease is between two heartbeats. If the session is silent for two of them and a second, the
    connection is given up and made again, and if it is silent for the lease, the host is on its own: that is an end.
    """

    def __init__(self, selector: selectors.BaseSelector, startup: dict[str, Any], facts: dict[str, Any]):
        """`startup` is what the session's launcher has sent, `facts` (JSON) are what the session should know of us."""
        self.mux = Mux()
        self.mux.on_end = lambda text: self._finish(text or "the session has ended")
        self.on_joined: Callable[[Welcome], None] = lambda welcome: None
        self.on_end: Callable[[str], None] = lambda why: None  # called once, and why; nothing more can be sent
        self._selector = selector
        self._road = Road(startup["addresses"], startup["certificate"])
        self._join = {"token": startup["token"], "host": facts}
        self.identity: Identity | None = None
        self._greeted = False  # a frame has come: the session knows that we have our certificate
        self._over = False

        self._sock: ssl.SSLSocket | None = None
        self._events = 0  # that it is registered for
        self._out = b""  # what is being sent
        self._more = False  # there is something to read of which the selector does not know

        self._lease = _JOIN_PATIENCE
        self._heard = time.monotonic()
        self._beat = 0.0  # when the next heartbeat is due
        self._due = self._heard  # `tick` is called then

        self._trouble = ""  # of the last attempt
        self._pause = 0.0
        self._attempt_at: float | None = self._heard  # None: there is a connection, or an attempt goes on
        self._dialling: threading.Thread | None = None  # an attempt goes on
        self._outcome: Any = None
        self._bell = Bell()  # rings when an attempt has an outcome
        selector.register(self._bell.fd, selectors.EVENT_READ, self._attempted)

    def timeout(self) -> float:
        """Return in how many seconds `tick` has something to do."""
        now = time.monotonic()
        # Often enough to see for how long this process did not run.
        due = min(self._heard + self._lease, now + self._lease / 6)
        if self._more:
            due = now
        elif self._sock:
            due = min(due, self._beat, self._heard + self._silence())
        elif self._attempt_at is not None:
            due = min(due, self._attempt_at)
        self._due = max(due, now)
        return self._due - now

    def tick(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        if self._over:
            return
        if self._more:
            self._read()
        # The time does not count during which this process did not run: it was stopped, or has waited for a processor.
        self._heard = min(now, self._heard + max(now - self._due, 0.0))
        if now >= self._heard + self._lease:
            silent = f"no answer from the session for {self._lease:g} s"
            self._finish(silent if self.identity else self._trouble or silent)
        elif self._sock and now >= self._heard + self._silence():
            self._broken("no answer")
        elif self._sock and now >= self._beat:
            self._beat = now + self._lease / 6
            self.mux.ping()
        elif self._attempt_at is not None and now >= self._attempt_at:
            self._attempt()

    def flush(self) -> None:
        """Send what is there to send, as far as the connection takes it now."""
        while self._sock and (self._out or self.mux.pending()):
            self._out = self._out or self.mux.take()
            try:
                sent = self._sock.send(self._out)
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                self._await(selectors.EVENT_READ | selectors.EVENT_WRITE)
                return
            except (OSError, ValueError) as error:
                self._broken(_reason(error))
                return
            self._out = self._out[sent:]
        self._await(selectors.EVENT_READ)

    def close(self, why: str = "") -> None:
        """Take leave of the session, if it can be reached, and tell it why. `on_end` is not called."""
        self.on_end = lambda why: None
        if self._dialling:
            self._dialling.join(_FAREWELL)
            self._attempted(0)
        self._over = True
        if self._sock:
            self.mux.end(why)
            with contextlib.suppress(OSError, ValueError):
                self._sock.settimeout(_FAREWELL)
                while self._out or self.mux.pending():
                    self._sock.sendall(self._out or self.mux.take())
                    self._out = b""
                # If we closed it while something comes that nobody has read, what we have sent might be lost.
                self._sock.shutdown(socket.SHUT_WR)
                until = time.monotonic() + _FAREWELL
                while self._sock.recv(1 << 16) and time.monotonic() < until:
                    pass
        self._hang_up()
        self._selector.unregister(self._bell.fd)
        # An attempt may go on, and rings the bell, which is why its descriptors stay.

    def _silence(self) -> float:
        return min(self._lease / 3 + 1, self._lease)

    def _finish(self, why: str) -> None:
        if not self._over:
            self._over = True
            self._hang_up()
            self.on_end(why)

    # Making the connection.

    def _attempt(self) -> None:
        self._attempt_at = None
        if self.identity:
            hello = {"resume": {"index": self.identity.index, "received": self.mux.received}}
        else:
            hello = self._join
        self._dialling = threading.Thread(target=self._dial, args=(hello, self.identity), name="dial", daemon=True)
        self._dialling.start()

    def _dial(self, hello: dict[str, Any], identity: Identity | None) -> None:
        """Run in a thread of its own: name servers and handshakes may take long."""
        try:
            self._outcome = self._road.dial(hello, identity, min(_ATTEMPT, self._lease / 3))
        except Exception as error:
            self._outcome = error
        self._bell.ring()

    def _attempted(self, _: int) -> None:
        self._bell.clear()
        outcome, self._outcome = self._outcome, None
        if outcome is None:
            return
        self._dialling = None
        if self._over:
            if not isinstance(outcome, Exception):
                outcome[0].close()
        elif isinstance(outcome, Refused):
            self._refused(outcome)
        elif isinstance(outcome, Exception):
            self._try_again(str(outcome))
        else:
            self._connected(*outcome)

    def _refused(self, refused: Refused) -> None:
        if refused.again:
            self._try_again(f"the session refuses this host: {refused}")
        elif self.identity and not self._greeted:
            self.identity = None  # the session has not learnt that we have joined, so we join again
            self._try_again(f"the session refuses this host: {refused}")
        else:
            self._finish(f"the session refuses this host: {refused}")

    def _try_again(self, trouble: str) -> None:
        # Many hosts that lose their session at once do not come back at once.
        self._trouble = trouble
        self._attempt_at = time.monotonic() + self._pause * random.uniform(0.5, 1.5)
        self._pause = min(max(2 * self._pause, _FIRST_PAUSE), _LONGEST_PAUSE)

    def _connected(self, sock: ssl.SSLSocket, welcome: Welcome, rest: bytes) -> None:
        sock.setblocking(False)
        self._sock, self._events, self._out = sock, selectors.EVENT_READ, b""
        self._selector.register(sock, self._events, self._ready)
        self._lease = welcome.lease
        self._heard = time.monotonic()
        self._beat = 0.0
        self._trouble, self._pause = "", 0.0
        joined = bool(welcome.certificate)
        if joined:
            self.identity = Identity(welcome.index, welcome.certificate, welcome.key, welcome.authority)
        try:
            self.mux.restart(welcome.received)
            if rest:
                self._greeted = True
                self.mux.get_buffer()[: len(rest)] = rest
                self.mux.buffer_updated(len(rest))
        except ProtocolError as error:
            self._finish(f"the conversation with the session broke: {error}")
            return
        if joined:
            self.on_joined(welcome)
        self._read()  # what the handshake has read already, the selector does not know

    # Using it.

    def _ready(self, events: int) -> None:
        if events & selectors.EVENT_READ:
            self._read()
        # What can be written is written by `flush`.

    def _read(self) -> None:
        self._more = False
        try:
            for _ in range(_ROUNDS):
                if not self._sock:
                    return
                try:
                    count = self._sock.recv_into(self.mux.get_buffer())
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    return
                if not count:
                    self._broken("the session hung up")
                    return
                self._heard = time.monotonic()
                self._greeted = True
                self.mux.buffer_updated(count)
            self._more = bool(self._sock and self._sock.pending())
        except ProtocolError as error:
            self._finish(f"the conversation with the session broke: {error}")
        except (OSError, ValueError) as error:
            self._broken(_reason(error))

    def _await(self, events: int) -> None:
        if self._sock and events != self._events:
            self._events = events
            self._selector.modify(self._sock, events, self._ready)

    def _broken(self, trouble: str) -> None:
        self._hang_up()
        self._try_again(trouble)
        self.mux.interrupted()

    def _hang_up(self) -> None:
        if self._sock:
            self._selector.unregister(self._sock)
            self._sock.close()
            self._sock = None
        self._more = False
