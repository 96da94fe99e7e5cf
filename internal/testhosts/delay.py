"""Delays (and loses) packets that iptables hands to NFQUEUE 1 in this network namespace: netem for kernels without it.

    delay.py MS [JITTER_MS [LOSS_PERCENT]]

Speaks nfnetlink_queue with the standard library alone. Packets stay in the kernel, whole (GSO) and in order; only their
ids come here.
"""

import errno
import heapq
import random
import select
import signal
import socket
import struct
import sys
import time

PACKET, VERDICT, CONFIG = 0x300, 0x301, 0x302  # NFNL_SUBSYS_QUEUE << 8 | message
DROP, ACCEPT = 0, 1
REQUEST, ACK, ERROR = 1, 4, 2
QUEUE = 1


def attr(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def message(kind: int, *attrs: bytes, flags: int = REQUEST) -> bytes:
    body = struct.pack("!BBH", 0, 0, QUEUE) + b"".join(attrs)
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body


def main() -> None:
    delay, jitter, loss = (float(a) for a in [*sys.argv[1:], "0", "0"][:3])
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    for attrs in (
        (attr(1, struct.pack("!BBH", 1, 0, 0)),),  # bind
        (attr(2, struct.pack("!IB", 0, 1)),),  # copy no more than the meta data
        (attr(3, struct.pack("!I", 200_000)),),  # so many may wait
        (attr(4, struct.pack("!I", 4)), attr(5, struct.pack("!I", 4))),  # GSO: do not segment
    ):
        sock.send(message(CONFIG, *attrs, flags=REQUEST | ACK))
        answer = sock.recv(65536)
        code = struct.unpack_from("=i", answer, 16)[0]
        if struct.unpack_from("=H", answer, 4)[0] == ERROR and code:
            sys.exit(f"nfnetlink_queue: {errno.errorcode.get(-code, code)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("ready", flush=True)

    waiting: list[tuple[float, int, int]] = []  # when, id, verdict
    last = 0.0
    while True:
        timeout = None if not waiting else max(0.0, waiting[0][0] - time.monotonic())
        readable = select.select([sock], [], [], timeout)[0]
        now = time.monotonic()
        while readable:
            try:
                data = sock.recv(65536, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError as err:
                if err.errno == errno.ENOBUFS:  # more came than we can read: the kernel has dropped them
                    continue
                raise
            at = 0
            while at + 16 <= len(data):
                size, kind = struct.unpack_from("=IH", data, at)
                if kind == PACKET:
                    ident = packet_id(data, at + 20, at + size)
                    if random.random() * 100 < loss:
                        heapq.heappush(waiting, (now, ident, DROP))
                    else:
                        last = max(last, now + (delay + random.uniform(-jitter, jitter)) / 1000)
                        heapq.heappush(waiting, (last, ident, ACCEPT))
                at += (size + 3) & ~3
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, ident, verdict = heapq.heappop(waiting)
            sock.send(message(VERDICT, attr(2, struct.pack("!II", verdict, ident))))


def packet_id(data: bytes, at: int, end: int) -> int:
    while at + 4 <= end:
        size, kind = struct.unpack_from("=HH", data, at)
        if kind & 0x7FFF == 1:
            return struct.unpack_from("!I", data, at + 4)[0]
        at += (size + 3) & ~3
    raise ValueError("a packet without an id")


main()
