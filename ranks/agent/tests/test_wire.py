"""Framing, signatures and replays."""

from __future__ import annotations

import json

import pytest

from dip_agent.wire import BadMessage, Codec, encode

KEY = b"k" * 32


@pytest.fixture
def ends() -> tuple[Codec, Codec]:
    return Codec(KEY), Codec(KEY)


def test_round_trip(ends):
    one, other = ends
    frames = one.pack("hello", encode({"protocol": 1}), buffers=[b"\0\xff"])
    message = other.unpack(frames)
    assert (message.type, message.content, message.buffers) == ("hello", {"protocol": 1}, [b"\0\xff"])
    answer = one.unpack(other.pack("hello_reply", b"{}", message.header))
    assert answer.parent_id == message.id
    assert other.pack("x", b"{}", message.header)[3] == frames[2]


def test_replay_and_foreign_session_are_refused(ends):
    one, other = ends
    first, second = one.pack("a", b"{}"), one.pack("b", b"{}")
    other.unpack(first)
    other.unpack(second)
    for frames in (first, second):
        with pytest.raises(BadMessage, match="replay"):
            other.unpack(frames)
    with pytest.raises(BadMessage, match="foreign"):
        other.unpack(Codec(KEY).pack("c", b"{}"))


@pytest.mark.parametrize("frame", [1, 2, 3, 4, 5])
def test_every_signed_frame_is_checked(ends, frame):
    one, other = ends
    frames = one.pack("a", b"{}")
    frames[frame] = frames[frame] + b" "
    with pytest.raises(BadMessage, match="signature"):
        other.unpack(frames)


def test_wrong_key_is_refused():
    with pytest.raises(BadMessage, match="signature"):
        Codec(KEY).unpack(Codec(b"other").pack("a", b"{}"))


@pytest.mark.parametrize(
    ("header", "content"),
    [
        (b"", b"{}"),
        (b"[]", b"{}"),
        (b"{}", b"{}"),
        (b"nonsense", b"{}"),
        (b"[" * 100_000, b"{}"),
        (b'{"msg_id": 1, "session": "s", "msg_type": "a"}', b"{}"),
        (b'{"msg_id": "s_x", "session": "s", "msg_type": "a"}', b"{}"),
        (b'{"msg_id": "t_1", "session": "s", "msg_type": "a"}', b"{}"),
        (b'{"msg_id": "s_1", "session": "s", "msg_type": 1}', b"{}"),
        (b'{"msg_id": "s_1", "session": "s", "msg_type": "a"}', b"[]"),
        (b'{"msg_id": "s_1", "session": "s", "msg_type": "a"}', b"\xff"),
    ],
)
def test_signed_nonsense_is_refused(header, content):
    codec = Codec(KEY)
    signed = [header, b"{}", b"{}", content]
    with pytest.raises(BadMessage, match="malformed"):
        Codec(KEY).unpack([b"<IDS|MSG>", codec._sign(signed), *signed])


@pytest.mark.parametrize("frames", [[], [b""], [b"x"] * 6, [b"<IDS|MSG>"] * 5])
def test_wrong_frames_are_refused(frames):
    with pytest.raises(BadMessage):
        Codec(KEY).unpack(frames)


def test_json_is_strict():
    with pytest.raises(ValueError, match="JSON"):
        encode({"x": float("nan")})
    assert json.loads(encode("\ud800")) == "\ud800"
