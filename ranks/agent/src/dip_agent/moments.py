"""When each thing happened to a request, for traces.

Times are `time.monotonic_ns()`, a clock that all processes of a host share.
"""

from __future__ import annotations

from time import monotonic_ns


class Moments:
    """One request's moments; 0 means that it has not happened.

    Each is set by one thread, and any thread may read all of them.
    """

    __slots__ = ("compiled", "printed", "ran", "received", "replied", "sent", "streamed", "taken")

    def __init__(self) -> None:
        for name in self.__slots__:
            setattr(self, name, 0)
        self.received = monotonic_ns()

    def to_json(self) -> dict[str, int]:
        """Return the moments of what has happened, by name."""
        return {name: at for name in self.__slots__ if (at := getattr(self, name))}
