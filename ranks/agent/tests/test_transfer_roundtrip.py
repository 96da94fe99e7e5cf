"""Whatever is pushed to a rank and pulled back equals what was sent."""

from __future__ import annotations

import dataclasses
import math
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import end
from harness import Node, Process
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dip_agent.transfer import pack, unpack

numpy = pytest.importorskip("numpy")
from hypothesis.extra import numpy as np_st  # noqa: E402 - needs numpy

# A namespace as that of a cell; functions and classes of it go by value.
NAMESPACE: dict[str, Any] = {"__name__": "__main__"}
exec(
    """
import dataclasses

OFFSET = 3

@dataclasses.dataclass
class Box:
    content: object
    name: str = "größe"

def adder(n, *more):
    def add(x): return x + n + OFFSET + sum(more)
    return add
""",
    NAMESPACE,
)
Box, adder = NAMESPACE["Box"], NAMESPACE["adder"]


@pytest.fixture(scope="module")
def rank(node: Node) -> Iterator[Process]:
    """A rank that the examples share."""
    (process,) = node.spawn(1)
    yield process
    end(node, process)


def there_and_back(rank: Process, value: Any) -> Any:
    """Return what a rank has made of `value`."""
    with pack({"value": value}, NAMESPACE) as outgoing:
        reply = rank.ask("push_request", {"names": ["value"], "payload": outgoing.payload})
    assert reply["status"] == "ok", reply
    rank.send("push_commit", {"commit": True})
    request = rank.send("pull_request", {"names": ["value"]})
    reply = rank.reply(request, "pull_reply")
    assert reply["status"] == "ok", reply
    incoming = unpack(["value"], reply["payload"], NAMESPACE)
    rank.send("pull_release", {"parent": request})
    value = incoming.values["value"]
    incoming.abort()
    return value


def same(a: Any, b: Any) -> bool:
    """Whether `b` is all that `a` is: types, order, signs of zeros, NaNs, shapes, flags; functions by what they do."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (a == b and math.copysign(1, a) == math.copysign(1, b)) or (a != a and b != b)
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, numpy.ndarray):
        return same_arrays(a, b)
    if isinstance(a, dict):
        same_factory = getattr(a, "default_factory", None) is getattr(b, "default_factory", None)
        return same_factory and same(list(a.items()), list(b.items()))
    if isinstance(a, (list, tuple, deque)):
        return len(a) == len(b) and getattr(a, "maxlen", 0) == getattr(b, "maxlen", 0) and all(map(same, a, b))
    if isinstance(a, (set, frozenset)):
        return canonical(a) == canonical(b)
    if isinstance(a, types.FunctionType):
        return a(1) == b(1) and b.__globals__ is NAMESPACE
    if dataclasses.is_dataclass(a):
        return same(vars(a), vars(b))
    return a == b


def canonical(value: Any) -> str:
    """Return a form in which sets can be compared that hold NaNs of their own."""
    if isinstance(value, (set, frozenset)):
        return f"{{{sorted(map(canonical, value))}}}"
    if isinstance(value, tuple):
        return f"({list(map(canonical, value))})"
    return f"{type(value)} {value!r}"


def same_arrays(a: Any, b: Any) -> bool:
    layouts = [(x.dtype, x.dtype.byteorder, x.shape, x.flags.writeable) for x in (a, b)]
    if layouts[0] != layouts[1]:
        return False
    if a.dtype.hasobject:
        return same(a.tolist(), b.tolist())
    if a.flags.f_contiguous and not a.flags.c_contiguous and not b.flags.f_contiguous:
        return False
    return a.tobytes() == b.tobytes()


def arrays() -> st.SearchStrategy[Any]:
    """Arrays of every kind of item, of every layout, some read-only."""
    kinds = st.one_of(
        np_st.scalar_dtypes(),
        np_st.unicode_string_dtypes(max_len=3),
        np_st.byte_string_dtypes(max_len=3),
        np_st.datetime64_dtypes(),
        np_st.timedelta64_dtypes(),
        np_st.array_dtypes(max_size=3),
    )
    plain = kinds.flatmap(lambda kind: np_st.arrays(kind, np_st.array_shapes(min_dims=0, min_side=0, max_side=4)))
    objects = st.lists(st.one_of(st.none(), st.text(), st.integers())).map(lambda items: numpy.array(items, object))
    odd = st.sampled_from([numpy.ones(3, kind) for kind in ("V3", "S0", [("a", ">i2"), ("d", "M8[ns]")])])
    return st.builds(lay_out, st.one_of(plain, objects, odd), st.sampled_from("CFTRS"), st.booleans())


def lay_out(array: Any, layout: str, writable: bool) -> Any:
    made = {
        "C": array,
        "F": numpy.asfortranarray(array) if array.ndim else array,
        "T": array.T,
        "R": array[::-1] if array.ndim else array,
        "S": array[..., ::2] if array.ndim else array,
    }[layout]
    if not writable:
        made = made.view()
        made.flags.writeable = False
    return made


hashable = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.complex_numbers(),
        st.text(),
        st.binary(),
        st.sampled_from(
            [10**1000, -(2**200), "größe 中\x00\ud800", numpy.float32(1.5), range(3), Ellipsis, int, Box, len]
        ),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3).map(tuple), st.frozensets(inner, max_size=3)),
    max_leaves=4,
)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Containers of values from `inner`."""
    pairs = st.lists(st.tuples(hashable, inner), max_size=3)
    return st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.sets(hashable, max_size=4),
        st.builds(deque, st.lists(inner, max_size=3), st.none() | st.integers(3, 5)),
        pairs.map(dict),
        pairs.map(OrderedDict),
        pairs.map(lambda items: defaultdict(list, items)),
        st.builds(Box, inner, st.text()),
        inner.map(lambda value: [value, value]),
    )


values = st.recursive(
    st.one_of(
        hashable,
        st.binary().map(bytearray),
        arrays(),
        st.builds(adder, st.integers(), st.integers()),
    ),
    containers,
    max_leaves=12,
)


@settings(max_examples=400, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(value=values)
def test_what_comes_back_is_what_was_sent(rank: Process, value: Any) -> None:
    assert same(value, there_and_back(rank, value)), value


@pytest.mark.parametrize("size", [0, 1, 63, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_bytes_of_every_size_come_back(rank: Process, size: int) -> None:
    sent = [bytes(size), bytearray(b"\x01") * size, numpy.full(size, 7, "u1"), "ü" * size]
    assert same(sent, there_and_back(rank, sent))


def test_more_large_arrays_than_files(rank: Process) -> None:
    sent = [numpy.full(1 << 17, index, "i8") for index in range(70)]
    with pack({"value": sent}, NAMESPACE) as outgoing:
        assert len(outgoing.payload["files"]) == 65
    assert same(sent, there_and_back(rank, sent))


def test_what_is_shared_stays_shared(rank: Process) -> None:
    array = numpy.arange(5)
    circle: dict[str, Any] = {"array": array, "again": [array]}
    circle["self"] = circle
    back = there_and_back(rank, circle)
    assert back["self"] is back
    assert back["array"] is back["again"][0]
