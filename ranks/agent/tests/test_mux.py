"""The host's end of all conversations, without a connection. The session's end, and both together, are tested in Go."""

from __future__ import annotations

import pytest

from dip_agent.hosts.mux import WINDOW, Channel, Mux, ProtocolError

SPOOL = 16 << 20


class Pair:
    """The two ends of a conversation, both ours."""

    def __init__(self) -> None:
        self.host, self.session = Mux(), Mux(host=False)
        self.opened: list[Channel] = []
        self.host.on_open = self.opened.append
        self.connect()

    def connect(self) -> None:
        at_host, at_session = self.host.received, self.session.received
        self.host.restart(at_session)
        self.session.restart(at_host)

    def carry(self) -> None:
        """Carry everything to the other end, both ways, until nothing is left."""
        while self.host.pending() or self.session.pending():
            for giver, taker in ((self.host, self.session), (self.session, self.host)):
                put(taker, giver.take())

    def open(self) -> tuple[Channel, Channel]:
        here = self.session.open({"n": 1})
        self.carry()
        return here, self.opened.pop()


def put(mux: Mux, data: bytes, piece: int = 1000) -> None:
    """Let bytes come in pieces."""
    for i in range(0, len(data), piece):
        part = data[i : i + piece]
        mux.get_buffer()[: len(part)] = part
        mux.buffer_updated(len(part))


def frame(kind: int, channel: int, payload: bytes = b"") -> bytes:
    return bytes([kind]) + channel.to_bytes(4, "big") + len(payload).to_bytes(4, "big") + payload


def collect(channel: Channel, consume: bool = True) -> bytearray:
    got = bytearray()

    def take(view: memoryview) -> None:
        got.extend(view)
        if consume:
            channel.consumed(len(view))

    channel.on_data = take
    return got


def test_conversation() -> None:
    pair = Pair()
    here, there = pair.open()
    assert there.what == {"n": 1}
    got, back = collect(there), collect(here)
    ends: list[tuple[str, str | None]] = []
    there.on_end = lambda text: ends.append(("there", text))
    here.on_end = lambda text: ends.append(("here", text))
    here.send(b"hello")
    there.send(b"x" * 100_000)
    pair.carry()
    assert got == b"hello"
    assert back == b"x" * 100_000
    here.close_write()
    pair.carry()
    assert ends == [("there", None)]
    there.send(b"still")
    there.reset("enough")
    pair.carry()
    assert back.endswith(b"xstill")
    assert ends == [("there", None), ("here", "enough")]
    assert not pair.host.channels
    assert not pair.session.channels


def test_a_slow_reader_holds_up_its_own_channel_only() -> None:
    pair = Pair()
    slow, slow_there = pair.open()
    other, other_there = pair.open()
    got = collect(slow_there, consume=False)
    fine = collect(other_there)
    told: list[int] = []
    slow.on_room = lambda: told.append(slow.room())
    while room := min(slow.room(), 50_000):
        slow.send(b"y" * room)
        pair.carry()
    assert len(got) == WINDOW
    other.send(b"through")
    pair.carry()
    assert fine == b"through"
    told.clear()
    slow_there.consumed(WINDOW)
    pair.carry()
    assert told == [min(WINDOW, 256 << 10)]


def test_the_spool_is_bounded_and_nothing_is_lost() -> None:
    pair = Pair()
    pairs = [pair.open() for _ in range(20)]
    got = [collect(there) for _, there in pairs]
    pair.session.interrupted()
    sent = [0] * len(pairs)

    def fill(i: int) -> None:
        while sent[i] < WINDOW and (room := min(pairs[i][0].room(), 60_000, WINDOW - sent[i])):
            pairs[i][0].send(bytes([i]) * room)
            sent[i] += room

    for i, (here, _) in enumerate(pairs):
        here.on_room = lambda i=i: fill(i)
        fill(i)
    assert SPOOL - 100_000 < sum(sent) <= SPOOL
    pair.connect()
    pair.carry()
    pair.host.ping()  # confirms the rest
    pair.carry()
    assert sent == [WINDOW] * len(pairs)
    assert [bytes(g) for g in got] == [bytes([i]) * WINDOW for i in range(len(pairs))]
    assert pair.session.capacity() == 256 << 10


def test_what_was_cut_off_comes_once() -> None:
    pair = Pair()
    here, there = pair.open()
    got = collect(there)
    here.send(b"a" * 3000)
    here.send(b"b" * 3000)
    put(pair.host, pair.session.take()[:4000])  # the connection breaks in the middle of the second frame
    pair.session.interrupted()
    here.send(b"c" * 3000)
    pair.connect()
    pair.carry()
    assert got == b"a" * 3000 + b"b" * 3000 + b"c" * 3000


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "kind 72"),
        (frame(2, 1, b"x" * 65537), "65537 bytes"),
        (frame(1, 7, b"{}"), "out of order"),
        (frame(6, 0, b"\0" * 6 + b"\xff\xff"), "it claims to have 65535 bytes"),
        (frame(1, 1, b"{}") + frame(3, 1, b"\0\0\0\1"), "too much room"),
        (frame(1, 1, b"{}") + frame(2, 1, b"x" * 65536) * 17, "more than it has room for"),
    ],
)
def test_nonsense(data: bytes, why: str) -> None:
    mux = Mux()
    mux.restart(0)
    with pytest.raises(ProtocolError, match=why):
        put(mux, data)


def test_a_peer_that_has_more_than_it_was_sent() -> None:
    with pytest.raises(ProtocolError, match="it claims to have 5 bytes"):
        Mux().restart(5)
