"""What a process says of a request's moments, and that it says nothing unless it is asked."""

from __future__ import annotations

import json
import time

from harness import parent

from dip_agent.wire import encode


def ask(process, code, metadata):
    """Run a cell with metadata; return that of its reply, and how many messages came."""
    frames = process.codec.pack("execute_request", encode({"code": code}), metadata=metadata)
    process.socket.send_multipart(frames)
    request = json.loads(frames[2])["msg_id"]
    messages = 0
    while True:
        assert process.socket.poll(60_000)
        received = process.socket.recv_multipart()
        message = process.codec.unpack(received)
        messages += parent(message) == request
        if message.type == "execute_reply" and parent(message) == request:
            return json.loads(received[4]), messages


def test_moments_are_in_order(local):
    before = time.monotonic_ns()
    metadata, _ = ask(local, "print('x'); import time; time.sleep(0.02)", b'{"trace":true}')
    after = time.monotonic_ns()
    m = metadata["trace"]
    order = [m[name] for name in ("received", "taken", "compiled", "ran", "replied", "sent")]
    assert [before, *order, after] == sorted([before, *order, after])
    assert m["ran"] - m["compiled"] >= 20e6
    # The float that output is measured by has microseconds at least.
    assert m["compiled"] - 1000 <= m["printed"] <= m["streamed"] <= m["ran"]


def test_a_silent_cell_has_no_first_byte(local):
    ask(local, "print('before')", b'{"trace":true}')
    metadata, messages = ask(local, "pass", b'{"trace":true}')
    assert not {"printed", "streamed"} & metadata["trace"].keys()
    assert messages == 1


def test_a_cell_that_does_not_compile_did_not_run(local):
    metadata, _ = ask(local, "1 +", b'{"trace":true}')
    assert metadata["trace"]["taken"] <= metadata["trace"]["ran"]


def test_nothing_is_told_unasked(local):
    for metadata in (b"{}", b'{"trace":false}', b'{"other":1}', b"[1]"):
        assert ask(local, "print('x')", metadata)[0] == {}
