"""What was pushed or pulled can be resized like one's own, and until then its memory stays shared."""

from __future__ import annotations

import functools
import gc
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from harness import Process
from test_transfer_memory import MIB, run_traced

from dip_agent.transfer import owned, pack, unpack

numpy = pytest.importorskip("numpy")

arrays_have_allocators = pytest.mark.skipif(
    tuple(map(int, numpy.__version__.split(".")[:2])) < (1, 22), reason="this NumPy knows only its own allocator"
)


@pytest.fixture(autouse=True)
def leaves_no_mapping():
    gc.collect()
    before = mapped()
    yield
    owned.free_left()
    gc.collect()
    assert mapped() <= before


def mapped() -> int:
    """Return how many files of ours this process has mapped."""
    return len(re.findall("dipls variables", Path("/proc/self/maps").read_text()))


def sent(**variables: Any) -> dict[str, Any]:
    with pack(variables, {}) as outgoing:
        namespace: dict[str, Any] = {}
        unpack(list(variables), outgoing.payload, namespace).commit()
        return namespace


ARRAYS = {
    "small": numpy.arange(10),
    "large": numpy.arange(MIB),
    "two dimensions": numpy.arange(60000.0).reshape(200, 300),
    "fortran": numpy.asfortranarray(numpy.arange(60000.0).reshape(200, 300)),
    "dates": numpy.arange("2020-01-01", "2080-01-01", dtype="M8[D]"),
    "fields": numpy.zeros(5000, [("a", "i4"), ("b", "f8", 3)]),
}


@arrays_have_allocators
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_can_be_resized(name: str) -> None:
    own, got = ARRAYS[name].copy("K"), sent(x=ARRAYS[name]).popitem()[1]
    assert (got.flags.owndata, got.flags.writeable, got.base) == (True, True, None)
    assert (got.dtype, got.flags.f_contiguous) == (own.dtype, own.flags.f_contiguous)
    for length in (own.size + 1000, 7, 0, 20000):
        for x in (own, got):
            x.resize(length, refcheck=False)
        assert (got == own).all()
        got[-1:] = own[-1:] = got[:1]
    assert (got == own).all()


@arrays_have_allocators
def test_a_resize_lets_go_of_what_was_mapped() -> None:
    before = mapped()
    got = sent(x=numpy.ones(4 * MIB, "u1"))
    assert mapped() == before + 1
    got["x"].resize(3, refcheck=False)
    owned.free_left()  # as after a cell
    assert mapped() == before
    assert got["x"].tolist() == [1, 1, 1]


def test_an_array_that_cannot_be_written_to_stays_so() -> None:
    x = numpy.arange(MIB)
    x.flags.writeable = False
    got = sent(x=x)["x"]
    assert not got.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        got[0] = 1


@arrays_have_allocators
def test_a_resize_that_is_interrupted_at_any_moment_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)  # Python says that it ignores the interrupts
    x = numpy.arange(5000)
    got = sent(x=x)["x"]
    steps = run_traced(lambda: got.resize(6000, refcheck=False), 0)
    assert steps > 20
    outcomes = set()
    for moment in range(1, steps + 1):
        got = sent(x=x)["x"]

        def resize(got: Any = got) -> None:
            try:
                got.resize(6000, refcheck=False)
            except MemoryError:  # in a function that C calls, no other exception gets through
                outcomes.add("none")

        run_traced(resize, moment)
        outcomes.add(got.size)
        owned.free_left()
        assert (got[:5000] == x).all()
        assert not got[5000:].any()
    assert outcomes == {"none", 5000}


def test_without_allocators_arrays_are_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owned, "_set_handler", lambda: None)  # as with NumPy 1.21
    got = sent(x=ARRAYS["large"])["x"]
    assert (got == ARRAYS["large"]).all()
    assert not got.flags.owndata


def untyped(tensor: Any) -> Any:
    return tensor.untyped_storage() if hasattr(tensor, "untyped_storage") else tensor.storage()._storage


def test_tensors_can_be_resized() -> None:
    torch = pytest.importorskip("torch")
    x = torch.arange(MIB)
    got = sent(x=x, part=x[5:9])
    x, part = got["x"], got["part"]
    before = mapped()
    x[6] = 99
    x.resize_(2 * MIB)
    assert mapped() == before - 1
    assert (x[:6].tolist(), x[MIB - 1].item(), x.shape) == ([0, 1, 2, 3, 4, 5], MIB - 1, (2 * MIB,))
    assert part.tolist() == [5, 99, 7, 8]
    part[1] = 6  # they still share their storage
    assert x[6] == 6


def test_storages_can_be_resized() -> None:
    torch = pytest.importorskip("torch")
    got = sent(x=torch.arange(MIB))["x"]
    before = mapped()
    untyped(got).resize_(0)  # as FSDP does to free the memory
    assert mapped() == before - 1
    untyped(got).resize_(8 * MIB)
    got.fill_(7)
    assert got.sum() == 7 * MIB
    out = sent(x=torch.ones(10))["x"]
    assert torch.mm(torch.ones(9, 9), torch.ones(9, 9), out=out.resize_(0)) is out
    assert out.sum() == 9 * 81


def test_a_layout_that_is_not_known_leaves_storages_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(owned, "_layout", lambda: None)
    got = sent(x=torch.arange(MIB))["x"]
    assert got[-1] == MIB - 1
    with pytest.raises(RuntimeError, match="not resizable"):
        got.resize_(2 * MIB)


@arrays_have_allocators
def test_memory_stays_shared_and_moves_with_a_resize(torch_node, spawn) -> None:
    from test_transfer import smaps

    local, rank = *spawn(torch_node), *spawn(torch_node, 1)
    make = "import numpy, torch\na, t = numpy.ones(1 << 20), torch.ones(1 << 20)\n"
    code = "import dip_agent.transfer as transfer, json\nheld = transfer.pack({'a': a, 't': t}, globals())"
    assert local.run(make + code).status == "ok"
    payload = __import__("json").loads(local.run("print(json.dumps(held.payload))").text("stdout"))
    push(rank, ["a", "t"], payload)
    assert rank.run("print(a.sum() + t.sum().item())").text() == "2097152.0\n"
    assert smaps(rank, "memfd:dipls variables")["Anonymous"] == 0
    checked = sys.version_info < (3, 14)  # from then on NumPy refuses this of any variable
    resize = f"a.resize(2 << 20, refcheck={checked}); t.resize_(2 << 20)"
    result = rank.run(resize + "; print(a.size, t.numel(), a.sum(), t[: 1 << 20].sum().item())")
    assert (result.status, result.text()) == ("ok", "2097152 2097152 1048576.0 1048576.0\n")
    assert "dipls variables" not in rank.run("print(open('/proc/self/maps').read())").text()


def push(rank: Process, names: list[str], payload: dict[str, Any]) -> None:
    request = rank.send("push_request", {"names": names, "payload": payload})
    assert rank.reply(request, "push_reply")["status"] == "ok"
    rank.send("push_commit", {"commit": True})


def test_a_byte_of_an_address_is_no_flag() -> None:
    def storage(resizable: bytes, allocator: int) -> bytes:
        own = bytes(range(1, 65)) + b"\0" + resizable + bytes(6) + allocator.to_bytes(8, "little")
        return own.ljust(owned._STORAGE_BYTES, b"\0")

    address = 0x7F01_2345_6780
    assert owned._differences([storage(b"\1", address)] * 2, [storage(b"\0", 0)] * 2) == ([(72, address)], [65])


def test_with_another_torch_storages_are_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(owned, "_layout", functools.cache(owned._layout.__wrapped__))
    monkeypatch.delattr(torch, "UntypedStorage")
    assert owned._layout() is None


def test_with_another_numpy_arrays_are_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owned, "_set_handler", functools.cache(owned._set_handler.__wrapped__))
    monkeypatch.setattr(owned, "_TABLES", ("numpy.elsewhere",))
    assert (sent(x=ARRAYS["large"])["x"] == ARRAYS["large"]).all()
