"""The part of a host's agent that the launcher starts: it carries all conversations of its host with the session.

It reads and writes, and understands nothing of what it carries: it connects a channel of the session's with a process
of this host. On the first line of its standard input is the start-up (JSON), of which bootstrap.py tells.

It is the parent of the supervisors, as the server is that of its guards. When the conversation with the session has
ended, however that came, or a signal tells it to end, the supervisors see it and end what they guard. If one is killed,
the relay adopts what that has left, and ends it. If the relay is killed, the supervisors are left.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import json
import os
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import Any, Callable

from .. import system
from . import leftovers, machine, places
from .identity import Identity
from .joining import Uplink
from .leftovers import JANITOR_PATIENCE, KILL_PATIENCE, Running
from .mux import Channel

_SERVICES = ("supervisor", "machine", "carrier", "project")
_COME = memoryview(bytearray(1 << 18))  # what is read just now: so much memory for each message would be mapped anew
_CONNECT_PATIENCE = 1.0  # seconds; a socket takes a connection at once unless very many wait
_NODE_PATIENCE = 2.2  # seconds for a node to end everything in order that has lost its supervisor
_LAST_WORDS = 4.0  # seconds to pass on what processes say as they end
_PAUSE = 0.02  # seconds between looks at what ends
_LOOK = 0.2  # seconds between looks at processes for which the system has no descriptors
_SYS_PIDFD_OPEN = 434  # on every architecture


class Conversation:
    """A channel of the session's, and a socket of this host."""

    def __init__(self, selector: selectors.BaseSelector, channel: Channel, sock: socket.socket):
        sock.setblocking(False)
        self._selector = selector
        self._channel = channel
        self._sock = sock
        self._events = 0  # that it is registered for
        self._out = bytearray()  # for the socket
        self._last = False  # nothing comes after it
        self._deaf = False  # the session wants to hear no more
        self.final = False  # what can be read now is the last: its process has ended
        self.ended = False
        self.on_end: Callable[[], None] = self.finish  # the socket gives no more
        channel.on_data = self._take
        channel.on_room = self._listen
        channel.on_end = self._peer_ended
        self._listen()

    def read(self) -> None:
        """Pass on what can be read."""
        while not self.ended and (room := self._channel.room()):
            try:
                count = self._sock.recv_into(_COME, min(room, len(_COME)))
            except BlockingIOError:
                if self.final:
                    self._over()
                return
            except OSError:
                count = 0
            if not count:
                self._over()
                return
            self._channel.send(_COME[:count])
            if count < min(room, len(_COME)) and not self.final:
                return
        self._listen()

    def hang_up(self) -> None:
        """Let the process see the end of what comes from the session."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def finish(self, text: str = "") -> None:
        """End both directions, and tell the session why."""
        self._channel.reset(text)
        self.close()

    def close(self) -> None:
        """Close the socket."""
        if not self.ended:
            self.ended = True
            self._await(0)
            self._sock.close()

    def _over(self) -> None:
        self._await(0)
        self.on_end()

    def _serve(self, events: int) -> None:
        if self.ended:
            return
        if events & selectors.EVENT_WRITE:
            self._write()
        if events & selectors.EVENT_READ:
            self.read()

    def _listen(self) -> None:
        """Wait for what there is to wait for."""
        if self.ended:
            return
        if self.final and self._channel.room():
            self.read()
            return
        reads = selectors.EVENT_READ if self._channel.room() else 0
        self._await(reads | (selectors.EVENT_WRITE if self._out else 0))

    def _await(self, events: int) -> None:
        if events == self._events:
            return
        if not self._events:
            self._selector.register(self._sock, events, self._serve)
        elif not events:
            self._selector.unregister(self._sock)
        else:
            self._selector.modify(self._sock, events, self._serve)
        self._events = events

    # From the session.

    def _take(self, data: memoryview) -> None:
        if self.ended:
            self._channel.consumed(len(data))
            return
        self._out += data
        self._write()

    def _write(self) -> None:
        done = 0
        try:
            if self._out:
                done = self._sock.send(self._out)
        except BlockingIOError:
            pass
        except OSError:  # it reads no more; what it has written is read nevertheless
            done = len(self._out)
        del self._out[:done]
        self._channel.consumed(done)
        if self._last and not self._out:
            self.hang_up()
            if self._deaf:
                self.close()
        self._listen()

    def _peer_ended(self, text: str | None) -> None:
        if self.ended:
            return
        self._last = True
        self._deaf = text is not None
        self._write()


class Service(Conversation):
    """A process of the agent's, and the session's conversation with it."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        channel: Channel,
        agent_dir: str,
        name: str,
        scratch: str,
        identity: Identity | None,
    ):
        self.name = name
        command = [sys.executable, "-s", "-S", agent_dir, name]
        if name == "supervisor" and scratch:
            command.append(scratch)
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self.process = subprocess.Popen(command, stdin=theirs, start_new_session=True)
            except OSError:
                ours.close()
                raise
        if name == "carrier" and identity:  # it speaks with other hosts; so short a line has room before all else
            ours.sendall(json.dumps(dataclasses.asdict(identity)).encode() + b"\n")
        super().__init__(selector, channel, ours)
        self.on_end = lambda: None  # its exit status is still to come

    def dismiss(self, why: str) -> None:
        """Let it see the end of what comes from the session, and if it is a supervisor tell it why."""
        if self.name == "supervisor" and not self._out:  # else the line would come in the middle of another one
            line = {"jsonrpc": "2.0", "method": "hangup", "params": {"why": why}}
            with contextlib.suppress(OSError):
                self._sock.send(json.dumps(line).encode() + b"\n")
        self.hang_up()


class Relay:
    """See the module."""

    def __init__(self, agent_dir: str, startup: dict[str, Any]):
        self._agent_dir = agent_dir
        self._scratch = startup.get("scratch", "")  # a folder that is to go with us
        self._selector = selectors.DefaultSelector()
        self._uplink = Uplink(self._selector, startup, machine.hello_facts(startup.get("launcher", {})))
        self._uplink.mux.on_open = self._opened
        self._uplink.on_end = self._parted
        self._finish, self._uplink.mux.on_end = self._uplink.mux.on_end, self._dismissed
        self._services: dict[int, Service] = {}  # by pid
        self._births = threading.Lock()  # held until a new process is in `_services`: it is no orphan
        self._watched: list[tuple[Conversation, int, int]] = []  # of processes without a descriptor: pid, start time
        self._look_at = 0.0  # when these are looked at

        self._why: str | None = None  # it ends
        self._told = False  # by the session
        self._lost = False  # the session hears nothing any more
        self._due = 0.0  # when it is no longer waited for

        self._signals: list[int] = []
        self._wakes = system.wake_on_signals()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # as it is under nohup
                signal.signal(number, lambda number, _: self._signals.append(number))
        self._bell = system.Bell()  # rings when orphans have been buried
        self._buried: list[tuple[Service, str]] = []
        self._selector.register(self._wakes, selectors.EVENT_READ, self._woken)
        self._selector.register(self._bell.fd, selectors.EVENT_READ, self._bury)
        system.adopt_orphans()

    def run(self) -> int:
        """Carry until the end. Returns the exit status."""
        while self._why is None or (self._services and time.monotonic() < self._due):
            for key, events in self._selector.select(self._timeout()):
                key.data(events)
            self._look()
            if not self._lost:
                self._uplink.tick()
            if not self._lost:
                self._uplink.flush()
            # Until it has joined, the start may have failed. Later the session counts, and launchers come and go.
            if self._uplink.identity is None and self._why is None and system.is_hung_up(sys.stdout.fileno()):
                self._leave("its launcher has ended before it had joined")
        if not self._lost:
            self._uplink.close(self._why)
        self._end()
        if not self._told:
            leftovers.complain(f"this host ends: {self._why}")
        return 0 if self._told else 1

    def _timeout(self) -> float | None:
        times = []
        if not self._lost:
            times.append(self._uplink.timeout())
        if self._why is not None:
            times.append(self._due - time.monotonic())
        if self._watched:
            times.append(self._look_at - time.monotonic())
        return max(0.0, min(times)) if times else None

    # Conversations.

    def _opened(self, channel: Channel) -> None:
        what = channel.what if isinstance(channel.what, dict) else {}
        try:
            if what.get("serve") in _SERVICES and self._why is None:
                with self._births:
                    service = Service(
                        self._selector,
                        channel,
                        self._agent_dir,
                        what["serve"],
                        self._scratch,
                        self._uplink.identity,
                    )
                    self._services[service.process.pid] = service
            elif "socket" in what:
                self._connect(channel, what["socket"])
            else:
                channel.reset(f"nothing serves {what}")
        except OSError as err:
            channel.reset(f"{what.get('serve') or what.get('socket')}: {err.strerror or err}")

    def _connect(self, channel: Channel, path: str) -> None:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(_CONNECT_PATIENCE)
            sock.connect(path)
            pid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        except OSError:
            sock.close()
            raise
        self._watch(Conversation(self._selector, channel, sock), pid)

    def _watch(self, conversation: Conversation, pid: int) -> None:
        """Notice the end of the process that listens at the socket: another one may hold it open."""
        fd, gone = _pidfd(pid)
        if pid <= 0:
            return  # of another pid namespace
        if gone:
            self._dead(conversation)
        elif fd < 0:
            self._watched.append((conversation, pid, system.start_time(pid)))
        else:

            def ended(events: int) -> None:
                self._selector.unregister(fd)
                os.close(fd)
                self._dead(conversation)

            self._selector.register(fd, selectors.EVENT_READ, ended)

    def _dead(self, conversation: Conversation) -> None:
        if not conversation.ended:
            conversation.final = True
            conversation.read()

    def _look(self) -> None:
        """Look at processes for whose end the system has no event."""
        if not self._watched or time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _LOOK
        for one in list(self._watched):
            conversation, pid, started = one
            found = leftovers.look_at(pid)
            if conversation.ended or found is None or found.started != started or found.ended:
                self._watched.remove(one)
                self._dead(conversation)

    # Ends.

    def _woken(self, events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wakes, 4096)
        self._reap()
        if self._signals:
            self._leave(f"it was told to end by {system.signal_name(self._signals[0])}")

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                service = self._services.get(pid)
                if service is None:
                    continue  # an orphan that we have adopted
                code = service.process.returncode = os.waitstatus_to_exitcode(status)
                if code == 0:
                    self._retire(service, "")
                    continue
                # Only what it has left can be ended now; that takes a while.
                how = f"signal {system.signal_name(-code)}" if code < 0 else f"code {code}"
                threading.Thread(target=self._end_orphans, args=(service, how), daemon=True).start()

    def _retire(self, service: Service, how: str) -> None:
        """Pass on the last words of a service that has ended, and its end."""
        service.on_end = lambda: service.finish(how)
        self._dead(service)
        self._services.pop(service.process.pid, None)

    def _end_orphans(self, service: Service, how: str) -> None:
        """Run in a thread of its own: end what a killed service has left. The relay reaps it."""
        due = time.monotonic() + _NODE_PATIENCE
        while self._orphans() and time.monotonic() < due:
            time.sleep(_PAUSE)
        leftovers.kill_all(lambda: leftovers.no_janitors(self._orphans()), time.sleep)
        due = time.monotonic() + JANITOR_PATIENCE
        while self._orphans() and time.monotonic() < due:
            time.sleep(_PAUSE)
        leftovers.kill_all(self._orphans, time.sleep)
        with contextlib.suppress(OSError):
            places.sweep()
        self._buried.append((service, how))
        self._bell.ring()

    def _orphans(self) -> list[Running]:
        """Return what is below us, but below no service that lives."""
        with self._births:
            living = {pid for pid, service in list(self._services.items()) if service.process.returncode is None}
            everybody = leftovers.everybody()
        adopted = [one for one in everybody if one.parent == os.getpid() and one.pid not in living]
        return [one for one in adopted if not one.ended] + leftovers.below(one.pid for one in adopted)

    def _bury(self, events: int) -> None:
        self._bell.clear()
        while self._buried:
            self._retire(*self._buried.pop())

    def _parted(self, why: str) -> None:
        """The conversation with the session has ended."""
        self._lost = True
        self._leave(why)

    def _dismissed(self, text: str) -> None:
        """The session has ended the conversation."""
        self._told = True
        self._finish(text)

    def _leave(self, why: str) -> None:
        """Let the services see the end, and go on until they have ended."""
        if self._why is None:
            self._why = why
            self._due = time.monotonic() + _LAST_WORDS
            for service in self._services.values():
                service.dismiss(why)

    def _end(self) -> None:
        """Leave nothing behind."""
        for service in self._services.values():
            service.close()
        # One that stands still is killed, and what it guards is ended from here.
        for patience in (_NODE_PATIENCE + JANITOR_PATIENCE, _NODE_PATIENCE + KILL_PATIENCE + JANITOR_PATIENCE):
            due = time.monotonic() + patience
            while self._services and time.monotonic() < due:
                time.sleep(_PAUSE)
                self._reap()
                self._bury(0)
            for service in self._services.values():
                service.process.kill()

        def pause(seconds: float) -> None:
            time.sleep(seconds)
            self._reap()

        if not leftovers.kill_all(lambda: leftovers.below([os.getpid()]), pause):
            leftovers.complain("processes of the session do not end")
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)


def _pidfd(pid: int) -> tuple[int, bool]:
    """Return a descriptor of a process, -1 if the system gives none, and whether the process is certainly gone."""
    fd = system.libc.syscall(_SYS_PIDFD_OPEN, pid, 0)
    return fd, fd < 0 and ctypes.get_errno() == 3


def main(agent_dir: str) -> int:
    """Be the relay of this host. Returns the exit status."""
    line = sys.stdin.buffer.readline()
    try:
        startup = json.loads(line)
    except ValueError:
        print("dipls: the start-up on standard input is damaged", file=sys.stderr)
        return 1
    return Relay(agent_dir, startup).run()
