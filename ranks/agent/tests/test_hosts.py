"""The agent of a host: where it puts sockets, what it finds left, what it lets ranks inherit."""

from __future__ import annotations

import errno
import json
import os
import secrets
import selectors
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from dip_agent import system
from dip_agent.hosts import environment, joining, leftovers, machine, places, project, rpc, supervisor
from dip_agent.hosts.joining import Uplink
from dip_agent.hosts.mux import Channel, Mux
from dip_agent.hosts.relay import Conversation

pytestmark = pytest.mark.skipif(not system.LINUX, reason="hosts run Linux")


@pytest.fixture(autouse=True)
def _places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DIPLS_RUNTIME_DIR", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def closed(path: Path) -> Path:
    path.mkdir(mode=0o700, parents=True)
    return path


class TestPlaces:
    def test_tmp_without_a_login(self, tmp_path: Path) -> None:
        directory = places.Directory()
        directory.make()
        assert Path(directory.path).parent == tmp_path / f"dipls-{os.geteuid()}"
        assert os.stat(directory.path).st_mode & 0o777 == 0o700
        directory.remove()
        assert not os.path.exists(directory.path)

    def test_own_choice_is_the_only_one(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("DIPLS_RUNTIME_DIR", str(tmp_path / "mine"))
        assert os.path.dirname(places.Directory().path) == str(tmp_path / "mine")
        os.chmod(tmp_path / "mine", 0o750)
        with pytest.raises(OSError, match=r"it is open to others .*set DIPLS_RUNTIME_DIR"):
            places.Directory()

    def test_own_runtime_directory_comes_first(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(closed(tmp_path / "run")))
        assert os.path.dirname(places.Directory().path) == str(tmp_path / "run" / "dipls")

    @pytest.mark.parametrize("what", ["missing", "open", "long", "file"])
    def test_a_useless_runtime_directory_is_passed_over(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str
    ) -> None:
        run = tmp_path / ("x" * 100 if what == "long" else "run")
        if what == "file":
            run.touch(mode=0o600)
        elif what != "missing":
            closed(run)
        if what == "open":
            run.chmod(0o755)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(run))
        assert os.path.dirname(places.Directory().path) == str(tmp_path / f"dipls-{os.geteuid()}")

    def test_a_login_that_may_end_comes_last(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        login = f"/run/user/{os.geteuid()}"
        monkeypatch.setenv("XDG_RUNTIME_DIR", login)
        monkeypatch.setattr(places, "_LINGERING", str(tmp_path / "nobody"))
        mine = str(tmp_path / f"dipls-{os.geteuid()}")
        assert [root for _, root in places._candidates()] == [mine, f"{login}/dipls"]
        monkeypatch.setattr(places, "_lingers", lambda: True)
        assert [root for _, root in places._candidates()] == [f"{login}/dipls", mine]

    def test_others_can_exchange_nothing_on_the_way(self, tmp_path: Path) -> None:
        places.check_private(str(closed(tmp_path / "a" / "b")))
        (tmp_path / "link").symlink_to("a/b")
        places.check_private(str(tmp_path / "link"))
        os.chmod(tmp_path / "a", 0o777)
        for path in ("a/b", "link"):
            with pytest.raises(OSError, match="others may write to"):
                places.check_private(str(tmp_path / path))
        os.chmod(tmp_path / "a", 0o1777)  # as /tmp is
        places.check_private(str(tmp_path / "link"))
        (tmp_path / "loop").symlink_to("loop")
        with pytest.raises(OSError, match="too many links"):
            places.check_private(str(tmp_path / "loop"))

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody")
    def test_who_was_quicker_where_anybody_may_make_a_folder(self, tmp_path: Path) -> None:
        mine = closed(tmp_path / "scratch" / "work" / "mine")
        (tmp_path / "scratch" / "link").symlink_to(mine)
        (tmp_path / "to").symlink_to("scratch/link")
        paths = [str(mine), str(mine / "to come"), str(tmp_path / "scratch" / "link"), str(tmp_path / "to")]

        def given(*path: str, uid: int = 12345) -> list[int]:
            os.chown(tmp_path.joinpath("scratch", *path), uid, -1, follow_symlinks=False)
            return [places.squatter(path) for path in paths]

        assert given("work") == [-1, -1, -1, -1]
        os.chmod(tmp_path / "scratch", 0o1777)
        assert given("work") == [12345, 12345, 12345, 12345]
        with pytest.raises(OSError, match="another user, uid 12345, has made it"):
            supervisor._folder(str(mine), -1)
        assert supervisor._folder(str(mine), 12345) == (str(mine), "")  # it is shared
        assert given("work", uid=0) == [-1, -1, -1, -1]
        assert given("link") == [-1, -1, 12345, 12345]

    def test_what_removed_the_directory_is_mended(self) -> None:
        directory = places.Directory()
        directory.make()
        os.rmdir(directory.path)
        directory.make()
        assert os.path.isdir(directory.path)
        directory.remove()

    def test_dead_sessions_are_swept_and_living_ones_are_not(self, tmp_path: Path) -> None:
        living = places.Directory()
        living.make()
        root = Path(os.path.dirname(living.path))
        dead, other = closed(root / "0123abcd"), closed(root / "keep")
        (dead / "node").touch()
        env = {**os.environ, system.MARK: "0123abcd/r0-1"}
        with subprocess.Popen(["sleep", "1000"], env=env) as left:
            places.sweep()
            assert left.wait(30) == -9
        assert not dead.exists()
        assert other.exists()
        assert os.path.exists(living.path)
        living.remove()


class TestLeftovers:
    def test_everything_below_is_found_and_killed(self) -> None:
        with subprocess.Popen(["sh", "-c", "sleep 1000 & echo on; exec sleep 1000"], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            below = leftovers.below([os.getpid()])
            mine = [one for one in below if one.pid == child.pid or one.parent == child.pid]
            assert len(mine) == 2

            def left() -> list[leftovers.Running]:
                return [found for one in mine if (found := leftovers.look_at(one.pid)) and not found.ended]

            assert leftovers.kill_all(left, lambda seconds: child.poll())
        assert leftovers.look_at(mine[0].pid) is None

    def test_shared_memory_that_nobody_uses_is_freed(self) -> None:
        name = secrets.token_hex(4)
        old, new, meant = (f"/dev/shm/{prefix}" for prefix in (f"psm_{name}", f"sem.mp-{name}", f"mine-{name}"))
        Path(old).touch()
        shared = leftovers.SharedMemory()
        try:
            used = [old, new, meant]
            code = f"import sys; used = [open(path, 'w') for path in {used}]; print(flush=True); sys.stdin.read()"
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            with subprocess.Popen([sys.executable, "-c", code], **pipes) as child:
                child.stdout.readline()
                shared.note(lambda: leftovers.below([os.getpid()]))
                shared.free()
                assert os.path.exists(new)
            shared.free()
            assert [os.path.exists(path) for path in (old, new, meant)] == [True, False, True]
        finally:
            for path in (old, new, meant):
                Path(path).unlink(missing_ok=True)


class TestEnvironment:
    def test_ranks_are_no_tasks_of_the_launcher(self, monkeypatch: pytest.MonkeyPatch) -> None:
        task = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "PMIX_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "PMI_FD": "5"}
        kept = {"SLURM_JOB_ID": "4711", "CUDA_VISIBLE_DEVICES": "0,1", "SLURM_GPUS_ON_NODE": "2"}
        for name, value in {**task, **kept}.items():
            monkeypatch.setenv(name, value)
        inherited = dict(entry.split("=", 1) for entry in environment.of_ranks())
        assert not task.keys() & inherited.keys()
        assert kept.items() <= inherited.items()
        assert machine.hello_facts({"RANK": "7"})["launcher"].items() >= {**task, "RANK": "7"}.items()


class TestStream:
    def test_messages_come_whole_however_they_are_cut(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            stream = rpc.Stream(ours.fileno())
            assert stream.receive() == []
            theirs.sendall(b'{"method": "a"}\n{"met')
            assert stream.receive() == [{"method": "a"}]
            theirs.sendall(b'hod": "b", "params": "\\udcff"}\n')
            assert stream.receive() == [{"method": "b", "params": "\udcff"}]
            theirs.shutdown(socket.SHUT_WR)
            assert stream.receive() is None

    def test_a_slow_reader_holds_up_nobody(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            stream = rpc.Stream(ours.fileno())
            for _ in range(100):
                stream.notify("printed", {"text": "x" * 100_000})
            stream.answer({"id": 7}, {"it": "comes nevertheless"})
            theirs.setblocking(False)
            got = b""
            while stream.push() or b'"id": 7' not in got:
                got += theirs.recv(1 << 20)
            *lines, last = got.splitlines()
            assert json.loads(last)["result"] == {"it": "comes nevertheless"}
            assert 0 < len(lines) < 100

    def test_nobody_reads_any_more(self) -> None:
        ours, theirs = socket.socketpair()
        with ours:
            stream = rpc.Stream(ours.fileno())
            theirs.close()
            stream.notify("printed", {})
            stream.flush(60)


class Carried:
    """A channel of a session, and what the host's end of it is joined to."""

    def __init__(self) -> None:
        self.session, host = Mux(host=False), Mux()
        self._ends = ((self.session, host), (host, self.session))
        self.selector = selectors.DefaultSelector()
        self.process, ours = socket.socketpair()
        self.process.settimeout(30)
        host.on_open = lambda channel: setattr(self, "conversation", Conversation(self.selector, channel, ours))
        for mux, _ in self._ends:
            mux.restart(0)
        self.heard, self.end = b"", None
        self.channel: Channel = self.session.open({"socket": "x"})
        self.channel.on_data = self._hear
        self.channel.on_end = lambda text: setattr(self, "end", text)
        self.conversation: Conversation
        self.reads = True
        self.turn()

    def _hear(self, data: memoryview) -> None:
        self.heard += data
        if self.reads:
            self.channel.consumed(len(data))

    def turn(self) -> None:
        """Pass on all that there is to pass on."""
        while True:
            for key, events in self.selector.select(0):
                key.data(events)
            if not any(mux.pending() for mux, _ in self._ends):
                return
            for sender, receiver in self._ends:
                data = sender.take()
                while data:
                    room = receiver.get_buffer()
                    room[: len(data)] = data[: len(room)]
                    receiver.buffer_updated(min(len(data), len(room)))
                    data = data[len(room) :]

    def close(self) -> None:
        self.process.close()
        self.conversation.close()
        self.selector.close()


class TestConversation:
    @pytest.fixture
    def carried(self) -> Iterator[Carried]:
        carried = Carried()
        yield carried
        carried.close()

    def test_both_directions(self, carried: Carried) -> None:
        carried.channel.send(b"hello")
        carried.turn()
        assert carried.process.recv(100) == b"hello"
        carried.process.sendall(b"how do you do")
        carried.turn()
        assert carried.heard == b"how do you do"

    def test_end_of_the_process(self, carried: Carried) -> None:
        carried.process.sendall(b"last words")
        carried.process.close()
        carried.turn()
        assert (carried.heard, carried.end) == (b"last words", "")
        assert carried.conversation.ended

    def test_process_that_has_ended_with_its_socket_open_elsewhere(self, carried: Carried) -> None:
        carried.process.sendall(b"last words")
        carried.conversation.final = True
        carried.conversation.read()
        carried.turn()
        assert (carried.heard, carried.end) == (b"last words", "")

    def test_session_that_reads_nothing_loses_nothing(self, carried: Carried) -> None:
        carried.reads = False
        carried.process.setblocking(False)
        sent = 0
        while True:
            try:
                sent += carried.process.send(b"x" * 65536)
            except BlockingIOError:
                before = len(carried.heard)
                carried.turn()
                if len(carried.heard) == before:
                    break
        carried.process.close()
        carried.conversation.final = True
        carried.conversation.read()
        carried.turn()
        assert len(carried.heard) < sent
        assert carried.end is None
        carried.reads = True
        carried.channel.consumed(len(carried.heard))
        carried.turn()
        assert (len(carried.heard), carried.end) == (sent, "")

    @pytest.mark.parametrize("how", ["close", "reset"])
    def test_process_that_reads_nothing_holds_up_the_session(self, carried: Carried, how: str) -> None:
        sent = 0
        while room := carried.channel.room():
            carried.channel.send(b"x" * room)
            sent += room
            carried.turn()
        if how == "close":
            carried.channel.close_write()
        else:
            carried.channel.reset()
        carried.turn()
        got = 0
        while data := carried.process.recv(1 << 20):
            got += len(data)
            carried.turn()
        assert got == sent

    def test_session_that_wants_no_more(self, carried: Carried) -> None:
        carried.channel.reset("enough")
        carried.turn()
        assert carried.process.recv(100) == b""
        assert carried.conversation.ended


def test_an_agent_that_has_not_joined_ends_with_its_launcher() -> None:
    startup = {"addresses": ["127.0.0.1:1"], "certificate": ssl.DER_cert_to_PEM_cert(b"none"), "token": ""}
    code = os.path.dirname(os.path.dirname(system.__file__))
    command = [sys.executable, "-s", "-S", code, "relay"]
    began = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as agent:
        assert agent.stdin is not None
        assert agent.stdout is not None
        assert agent.stderr is not None
        agent.stdin.write(json.dumps(startup).encode() + b"\n")
        agent.stdin.flush()
        agent.stdout.close()
        said = agent.stderr.read()
    assert b"its launcher has ended" in said
    assert agent.returncode == 1
    assert time.monotonic() - began < joining._JOIN_PATIENCE


@pytest.mark.parametrize("locks", [True, False])
def test_what_another_update_of_the_project_writes_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, locks: bool
) -> None:
    new = closed(tmp_path / ".dipls") / "new-0"
    new.touch()
    if not locks:

        def flock(fd: int, how: int) -> None:
            raise OSError(errno.EBADF, "as on some file systems")

        monkeypatch.setattr("fcntl.flock", flock)
    one, other = socket.socketpair()
    with one, other, project.Copy(str(tmp_path), one):
        assert new.exists() is not locks  # with a lock, whoever wrote it was killed


def test_the_lease_does_not_count_while_the_agent_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("dip_agent.hosts.joining.time", SimpleNamespace(monotonic=lambda: now))
    with selectors.DefaultSelector() as selector:
        startup = {"addresses": [], "certificate": ssl.DER_cert_to_PEM_cert(b"none"), "token": ""}
        uplink = Uplink(selector, startup, {})
        ends: list[str] = []
        uplink.on_end = ends.append
        monkeypatch.setattr(uplink, "_attempt_at", None)  # as while it dials
        uplink.timeout()
        now += 3600  # it was stopped
        uplink.tick()
        assert not ends
        woken = now
        while not ends:
            now += uplink.timeout()
            uplink.tick()
        assert 50 <= now - woken <= 61
    os.close(uplink._bell.fd)  # an agent has them until it ends
    os.close(uplink._bell._write)
