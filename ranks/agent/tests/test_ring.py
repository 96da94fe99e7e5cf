"""The shared memory that outlives its process."""

import os

import pytest

from dip_agent import ring
from dip_agent.ring import SIZE, STDERR, STDOUT, Chunk, Ring


@pytest.fixture
def fd(tmp_path):
    made = ring.create("test", str(tmp_path))
    yield made
    os.close(made)


@pytest.fixture
def memory(fd):
    made = Ring(fd)
    yield made
    made.close()


def put(memory: Ring, tag: int, data: bytes) -> int:
    return memory.append(tag, memoryview(data))


def take(memory: Ring, limit: int = 1 << 30) -> list[Chunk]:
    return list(iter(lambda: memory.take(limit, memory.written), None))


def tail(fd: int) -> tuple[list[Chunk], int]:
    other = Ring(fd)
    try:
        return other.tail()
    finally:
        other.close()


def test_order_of_streams(memory):
    for tag, data in ((STDOUT, b"a"), (STDOUT, b"b"), (STDERR, b"c"), (STDOUT, b"d")):
        assert put(memory, tag, data) == 1
    assert take(memory) == [Chunk(STDOUT, 2, b"ab"), Chunk(STDERR, 3, b"c"), Chunk(STDOUT, 4, b"d")]
    assert not memory.pending


def test_what_was_taken_does_not_grow(memory):
    put(memory, STDOUT, b"a")
    assert take(memory) == [Chunk(STDOUT, 1, b"a")]
    put(memory, STDOUT, b"b")
    assert take(memory) == [Chunk(STDOUT, 2, b"b")]


def test_full_until_acknowledged(memory):
    data = os.urandom(SIZE)
    taken = put(memory, STDOUT, data)
    assert SIZE - 1024 < taken < SIZE
    assert put(memory, STDERR, b"x") == 0
    chunks = take(memory, 256 << 10)
    assert b"".join(chunk.data for chunk in chunks) == data[:taken]
    assert max(len(chunk.data) for chunk in chunks) <= 256 << 10
    memory.ack(chunks[0].seq - 1)
    assert memory.room == 0
    memory.ack(chunks[0].seq)
    assert memory.room >= len(chunks[0].data)


def test_wraps_around(memory):
    printed = taken = b""
    for size in range(1, 3000, 7):
        data = bytes([size % 256]) * size
        assert put(memory, 1 + size % 2, data) == size
        printed += data
        for chunk in take(memory):
            taken += chunk.data
            assert chunk.seq == len(taken)
            memory.ack(chunk.seq)
    assert taken == printed
    assert len(printed) < SIZE < memory.written + SIZE


def test_tail_is_what_was_not_acknowledged(fd, memory):
    put(memory, STDOUT, b"safe")
    memory.ack(take(memory)[0].seq)
    assert tail(fd) == ([], 4)
    put(memory, STDERR, b"sent")
    take(memory)
    put(memory, STDOUT, b"unsent")
    assert tail(fd) == ([Chunk(STDERR, 8, b"sent"), Chunk(STDOUT, 14, b"unsent")], 14)


def test_tail_after_a_death_in_an_open_record(fd, memory):
    for data in (b"first", b" and", b" second"):
        put(memory, STDOUT, data)
    assert tail(fd) == ([Chunk(STDOUT, 16, b"first and second")], 16)
    memory.close_record()
    assert tail(fd) == ([Chunk(STDOUT, 16, b"first and second")], 16)


def test_tail_after_a_death_before_the_position_is_stored(fd, memory):
    put(memory, STDOUT, b"whole")
    memory._put(memory.written, ring._RECORD.pack(STDERR, ring._OPEN, 5) + b"half")
    assert tail(fd) == ([Chunk(STDOUT, 5, b"whole")], 5)
