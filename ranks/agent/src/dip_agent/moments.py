"""When what happened to a request: what a trace is told of this process.

Times are `time.monotonic_ns()`, a clock that all processes of a host share.
"""

from __future__ import annotations

from time import monotonic_ns


class Moments:
    """One request's moments; 0 stands for what has not happened.

    Each is set by one thread, and all may be read by any.
    """

    __slots__ = ("compiled", "printed", "ran", "received", "replied", "sent", "streamed", "taken")

    def __init__(self) -> None:
        for name in self.__slots__:
            setattr(self, name, 0)
        self.received = monotonic_ns()

    def to_json(self) -> dict[str, int]:
        """Return those that were, by name."""
        return {name: at for name in self.__slots__ if (at := getattr(self, name))}
