"""Where packed variables lie, when memory is short, and that an interrupt at any moment leaves nothing."""

from __future__ import annotations

import gc
import mmap
import os
import re
import resource
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from harness import Node, Process

from dip_agent.transfer import TransferError, memory, pack, unpack

numpy = pytest.importorskip("numpy")

MIB = 1 << 20
PACKAGE = os.path.dirname(memory.__file__)


def load(outgoing: Any, **has: Any) -> dict[str, Any]:
    """Return a namespace that had `has` and has received `outgoing`."""
    unpack(["x"], outgoing.payload, has).commit()
    return has


def test_anonymous_memory_is_sealed() -> None:
    x = numpy.ones(4 * MIB, "u1")
    with pack({"x": x}, {}) as outgoing:
        assert outgoing.notice == ""
        for file in outgoing.payload["files"]:
            assert file["path"].startswith(f"/proc/{os.getpid()}/fd/")
            with open(file["path"], "r+b", buffering=0) as opened:
                for change in (
                    lambda: opened.write(b"x"),
                    lambda: opened.truncate(1),
                    lambda: opened.truncate(1 << 30),
                ):
                    with pytest.raises(PermissionError):
                        change()
        got = load(outgoing)["x"]
    assert (got == x).all()
    got[0] = 5
    assert x[0] == 1


def test_small_things_lie_together_and_aligned() -> None:
    x = [numpy.full(n, n % 251, "u1") for n in (1, 63, 64, 65, MIB - 1, MIB)]
    with pack({"x": x}, {}) as outgoing:
        payload = outgoing.payload
        assert len(payload["files"]) == 2
        assert all(offset % memory.ALIGNMENT == 0 for _, offset, *_ in payload["buffers"])
        assert [numpy.array_equal(a, b) for a, b in zip(x, load(outgoing)["x"])] == [True] * len(x)


def anonymous() -> int:
    """Return how many bytes of memory this process has to itself."""
    found = re.search(r"^Anonymous: +(\d+) kB", Path("/proc/self/smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) * 1024


def test_bytes_are_written_once_and_copied_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 64 * MIB
    x = numpy.ones(size, "u1")
    written = []
    pwrite = os.pwrite

    def counting(fd: int, data: Any, offset: int) -> int:
        written.append(len(data))
        return pwrite(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", counting)
    before = anonymous()
    tracemalloc.start()
    try:
        with pack({"x": x}, {}) as outgoing:
            assert size <= sum(written) <= size + 4096
            got = load(outgoing)["x"]
        allocated = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert allocated < size + MIB  # which is what was mapped: NumPy takes it for its own
    assert anonymous() - before < MIB
    assert sum(written) <= size + 4096
    assert got.nbytes == size


def reading(x: Any) -> int:
    """Return how many page faults it takes to read all of `x`."""
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    x[:: mmap.PAGESIZE].sum()
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before


def gives_huge_pages() -> bool:
    """Whether the system makes a huge page of a file when it is asked to."""
    page = memory._huge_page()
    fd = os.memfd_create("probe") if page else -1
    if fd < 0:
        return False
    try:
        os.ftruncate(fd, page)
        os.pwrite(fd, b"x", 0)
        mapping = memory._map_file(fd, page)
        return memory._madvise(mapping.address, page, memory._MADV_COLLAPSE) == 0
    finally:
        os.close(fd)


def test_large_things_lie_in_huge_pages() -> None:
    if not gives_huge_pages():
        pytest.skip("no huge pages here")
    page = memory._huge_page()
    x = numpy.ones(16 * page + 4096, "u1")
    with pack({"x": x}, {}) as outgoing:
        got = load(outgoing)["x"]
    assert reading(got) < 64  # one for each, and those of a sum; of small pages, 16 at a time, it would be 500
    assert (got == x).all()
    got[page - 1 : page + 1] = 5
    assert x[page] == 1


@pytest.mark.parametrize("there_are", [True, False], ids=["none free", "none known"])
def test_without_huge_pages_small_ones_do(monkeypatch: pytest.MonkeyPatch, there_are: bool) -> None:
    asked = []
    monkeypatch.setattr(memory, "_huge_page", lambda: 2 * MIB if there_are else 0)
    monkeypatch.setattr(memory, "_madvise", lambda *what: asked.append(what) or -1)
    x = numpy.arange(2 * MIB)
    with pack({"x": x}, {}) as outgoing:
        got = load(outgoing)["x"]
    assert (got == x).all()
    assert len(asked) == there_are  # once, and not again


def test_chunks_of_any_size_fill_huge_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "STRIDE", 3 * MIB)  # so that the last write ends within a page
    parts = [bytes([n]) * (n * MIB + n) for n in range(1, 5)]  # each is a chunk of the pickle
    with pack({"x": parts}, {}) as outgoing:
        assert load(outgoing)["x"] == parts


def test_free_memory_is_looked_at_for_large_things_only(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    monkeypatch.setattr(memory, "free_memory", lambda: looks.append(1))
    pack({"x": numpy.ones(1000, "u1")}, {}).close()
    assert looks == []
    pack({"x": numpy.ones(4 * MIB, "u1")}, {}).close()
    assert looks == [1]


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Have 2 MiB of free memory; return where temporary files go."""
    monkeypatch.setattr(memory, "free_memory", lambda: 2 * MIB)
    monkeypatch.setattr(memory, "disk_directory", lambda: str(tmp_path))
    return tmp_path


def test_what_does_not_fit_into_memory_goes_through_the_disk(little_memory: Path) -> None:
    x = numpy.arange(MIB)
    with pack({"x": x}, {}) as outgoing:
        assert (
            outgoing.notice == f"8.4 MB do not fit into free memory (2.1 MB): going through a file in {little_memory}"
        )
        assert list(little_memory.iterdir()) == []
        assert str(little_memory) in os.readlink(outgoing.payload["files"][0]["path"])
        got = load(outgoing)["x"]
    assert (got == x).all()
    got[0] = 1  # copy-on-write here, too


def test_what_fits_nowhere_is_refused(little_memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_disk", lambda directory: 3 * MIB)
    with pytest.raises(
        TransferError, match=r"x cannot be sent: 8.4 MB do not fit .* nor on the disk of .* \(3.1 MB free\)"
    ):
        pack({"x": numpy.arange(MIB)}, {})


def test_a_disk_that_fills_up_meanwhile_is_an_error_and_leaves_nothing(
    little_memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(TransferError, match=r"x cannot be sent: .*No space left"):
        pack({"x": numpy.arange(MIB)}, {})
    assert list(little_memory.iterdir()) == []


def test_without_proc_and_memfd_files_have_names_until_they_are_closed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    isdir = os.path.isdir
    monkeypatch.setattr(os.path, "isdir", lambda path: path != "/proc/self/fd" and isdir(path))
    monkeypatch.setattr(memory, "_directory", str(tmp_path))
    x = numpy.arange(MIB)
    outgoing = pack({"x": x}, {})
    assert {file["path"] for file in outgoing.payload["files"]} == set(map(str, tmp_path.iterdir()))
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    got = load(outgoing)["x"]
    outgoing.close()
    outgoing.close()
    assert list(tmp_path.iterdir()) == []
    assert (got == x).all()


@pytest.mark.parametrize("change", [{"size": 1}, {"inode": 1}, {"path": "/dev/null"}, {"path": "/nonexistent"}])
def test_a_file_that_is_not_what_was_sent_is_refused(change: dict[str, Any]) -> None:
    with pack({"x": 1}, {}) as outgoing:
        outgoing.payload["files"][0].update(change)
        with pytest.raises(TransferError, match="x cannot be received"):
            load(outgoing)


def test_memory_of_another_host_is_refused() -> None:
    with pack({"x": 1}, {}) as outgoing:
        assert outgoing.payload["host"] == memory.host()
        outgoing.payload["host"] = "far"
        with pytest.raises(TransferError, match="x cannot be received: the memory of far cannot be mapped on"):
            load(outgoing)


def test_free_memory_is_the_tightest_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "/proc/meminfo": "MemTotal: 99 kB\nMemAvailable:    4000 kB\n",
        "/proc/self/cgroup": "4:memory:/jobs/größe\n2:cpu,cpuacct:/\n0::/user/session\n",
        "/sys/fs/cgroup/memory/jobs/memory.limit_in_bytes": "3000000",
        "/sys/fs/cgroup/memory/jobs/memory.usage_in_bytes": "1000000",
        "/sys/fs/cgroup/memory/jobs/memory.stat": "inactive_file 7\ntotal_inactive_file 500\n",
        "/sys/fs/cgroup/user/session/memory.max": "max",
        "/sys/fs/cgroup/user/session/memory.current": "5",
    }
    monkeypatch.setattr(memory, "_read", lambda path: files.get(path, ""))
    assert memory.free_memory() == 2000500
    files["/sys/fs/cgroup/user/memory.max"] = "6000"
    files["/sys/fs/cgroup/user/memory.current"] = "5000"
    assert memory.free_memory() == 1000
    files["/sys/fs/cgroup/user/memory.current"] = "7000"
    assert memory.free_memory() == 0
    files.clear()
    assert memory.free_memory() is None


def test_disk_is_not_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    device = os.stat(tmp_path).st_dev
    mounts = f"22 1 {os.major(device)}:{os.minor(device)} / /tmp rw - KIND none rw\n"
    monkeypatch.setattr(memory.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(memory, "_read", lambda path: mounts.replace("KIND", "ext4"))
    assert memory.disk_directory() == str(tmp_path)
    monkeypatch.setattr(memory, "_read", lambda path: mounts.replace("KIND", "tmpfs"))
    assert memory.disk_directory() == str(tmp_path / "cache")


def traces() -> tuple[int, int, int]:
    """Return how many of our files are open and mapped here, and how many ranges of addresses are kept for some."""
    links = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:  # the one that lists the directory
            pass
    mapped = Path("/proc/self/maps").read_text()
    files = sum("dipls variables" in link for link in links), len(re.findall("dipls variables", mapped))
    return (*files, len(re.findall(r"---p 0+ 00:00 0 *$", mapped, re.MULTILINE)))


class _Steps:
    """Counts the interpreter's steps in our code, and interrupts at one of them."""

    def __init__(self, moment: int):
        self.taken = 0
        self._moment = moment

    def __call__(self, frame: Any, event: str, _: Any) -> Any:
        if os.path.dirname(frame.f_code.co_filename) != PACKAGE or _is_in_del(frame):
            return None
        frame.f_trace_opcodes = True
        self.taken += event == "opcode"
        if event == "opcode" and self.taken == self._moment:
            raise KeyboardInterrupt
        return self


def _is_in_del(frame: Any) -> bool:
    # Python prints and drops exceptions from there.
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None


def run_traced(action: Callable[[], Any], moment: int) -> int:
    """Run `action`, interrupted at that step; return how many steps were taken."""
    steps = _Steps(moment)
    sys.settrace(steps)
    try:
        action()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    return steps.taken


def interrupted_at_many_moments(action: Callable[[], Any]) -> Iterator[int]:
    """Run `action` some hundred times, each time interrupted at a later moment; yield that after each."""
    total = run_traced(action, 0)
    for moment in range(1, total, 1 + total // 300):
        run_traced(action, moment)
        yield moment


SOURCE = """
import threading
NUMBER = 5
def uses(): return NUMBER
class Thing:
    def method(self): return uses()
"""


def test_an_interrupt_at_any_moment_leaves_nothing_behind() -> None:
    there: dict[str, Any] = {"__name__": "__main__"}
    exec(SOURCE, there)
    variables = {"x": numpy.arange(MIB // 4), "f": there["uses"], "y": [there["Thing"]()]}
    names = list(variables)
    gc.collect()  # what earlier tests have left to it would be missing in the middle of this one
    before = traces()
    for moment in interrupted_at_many_moments(lambda: pack(variables, there).close()):
        assert traces() == before, f"after {moment} steps of pack"

    with pack(variables, there) as outgoing:
        held = traces()
        here: dict[str, Any] = {"__name__": "__main__", "mine": 1, "x": 0}
        had = dict(here)

        def receive() -> None:
            unpack(names, outgoing.payload, here).abort()

        for moment in interrupted_at_many_moments(receive):
            assert {**here, "__builtins__": None} == {**had, "__builtins__": None}, f"after {moment} steps of unpack"
            assert traces() == held, f"after {moment} steps of unpack"
    assert traces() == before


def test_the_interrupted_binds_all_or_nothing() -> None:
    variables = {"a": 1, "b": 2}
    with pack(variables, {}) as outgoing:
        here: dict[str, Any] = {}
        for _ in interrupted_at_many_moments(lambda: unpack(["a", "b"], outgoing.payload, here).commit()):
            assert here in ({}, variables)
            here.clear()


def test_a_local_sender_that_dies_leaves_no_memory(node: Node, spawn: Callable[..., list[Process]]) -> None:
    local, rank = *spawn(node), *spawn(node, 1)
    code = "import dip_agent.transfer as t, numpy, json\nx = numpy.ones(1 << 20)\nheld = t.pack({'x': x}, globals())"
    assert local.run(code).status == "ok"
    payload = __import__("json").loads(local.run("print(json.dumps(held.payload))").text("stdout"))
    request = rank.send("push_request", {"names": ["x"], "payload": payload})
    assert rank.reply(request, "push_reply")["status"] == "ok"
    node.ask("signal_request", {"name": local.name, "signal": "SIGKILL"})
    node.exited(local.name)
    rank.send("push_commit", {"commit": True})
    assert rank.run("print(x.sum())").text("stdout") == "1048576.0\n"
    late = rank.ask("push_request", {"names": ["x"], "payload": payload})
    assert late["status"] == "error"
    assert "Is the process that sent them gone?" in late["evalue"]
