"""A host whose channels do what tests need. The start-up is a line of standard input.

echo: what comes goes back. source: so many bytes of `block`s come. sink: what comes is counted; after its end the count
and its SHA-256 are told. lazy: nothing is read.
"""

import hashlib
import json
import selectors
import sys

from dip_agent.hosts.joining import Uplink
from dip_agent.hosts.mux import Channel


class Echo:
    def __init__(self, channel: Channel):
        self.channel, self.waiting, self.over = channel, b"", False
        channel.on_data, channel.on_room, channel.on_end = self.data, self.more, self.end

    def data(self, view: memoryview) -> None:
        self.waiting += view
        self.more()

    def more(self) -> None:
        while self.waiting:
            room = self.channel.room()
            if not room:
                return
            piece, self.waiting = self.waiting[:room], self.waiting[room:]
            self.channel.send(piece)
            self.channel.consumed(len(piece))
        if self.over:
            self.channel.close_write()

    def end(self, text: "str | None") -> None:
        self.over = True
        self.more()


class Source:
    BLOCK = bytes(range(251)) * 261  # 65,511 bytes: no divisor of anything

    def __init__(self, channel: Channel, count: int):
        self.channel, self.left, self.at = channel, count, 0
        channel.on_room = self.more
        self.more()

    def more(self) -> None:
        while self.left:
            room = min(self.channel.room(), self.left)
            if not room:
                return
            piece = self.BLOCK[self.at : self.at + room]
            self.channel.send(piece)
            self.left -= len(piece)
            self.at = (self.at + len(piece)) % len(self.BLOCK)
        self.channel.close_write()


class Sink:
    def __init__(self, channel: Channel):
        self.channel, self.count, self.sum = channel, 0, hashlib.sha256()
        channel.on_data, channel.on_end = self.data, self.end

    def data(self, view: memoryview) -> None:
        self.count += len(view)
        self.sum.update(view)
        self.channel.consumed(len(view))

    def end(self, text: "str | None") -> None:
        self.channel.send(f"{self.count} {self.sum.hexdigest()}".encode())
        self.channel.close_write()


class Drain:
    """A sink that does nothing, for figures."""

    def __init__(self, channel: Channel):
        channel.on_data = lambda view: channel.consumed(len(view))
        channel.on_end = lambda text: channel.close_write()


def serve(channel: Channel) -> None:
    kind, argument = next(iter(channel.what.items()))
    if kind == "echo":
        Echo(channel)
    elif kind == "source":
        Source(channel, argument)
    elif kind == "sink":
        Sink(channel)
    elif kind == "drain":
        Drain(channel)
    elif kind != "lazy":
        channel.reset(f"no {kind} here")


def main() -> str:
    selector = selectors.DefaultSelector()
    uplink = Uplink(selector, json.loads(sys.stdin.readline()), {"name": "python"})
    why: "list[str]" = []
    uplink.on_end = why.append
    uplink.mux.on_open = serve
    selector.register(sys.stdin, selectors.EVENT_READ, lambda _: why.append("told to end"))
    while not why:
        for key, events in selector.select(uplink.timeout()):
            key.data(events)
        uplink.tick()
        uplink.flush()
    uplink.close(why[0])
    return why[0]


if __name__ == "__main__":
    print(main())
