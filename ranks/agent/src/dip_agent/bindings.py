"""Notes on names of a namespace. A note holds as long as its name is bound to the same object."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any, Callable


class Bindings:
    """Texts by name. Objects are kept alive only if they cannot be referred to weakly."""

    def __init__(self) -> None:
        self._notes: dict[str, tuple[Callable[[], Any], str]] = {}

    def note(self, name: str, value: Any, text: str) -> None:
        """Note a text on a name that is bound to `value`."""
        self._notes[name] = _reference(value), text

    def get(self, name: str, value: Any) -> str:
        """Return the note on a name if it was made for this very object; otherwise ""."""
        reference, text = self._notes.get(name, (None, ""))
        if reference is None or reference() is not value:
            return ""
        return "" if value is None and isinstance(reference, weakref.ref) else text  # it was an object that is gone

    def forget(self, name: str) -> None:
        """Forget what was noted on a name."""
        self._notes.pop(name, None)

    def prune(self, namespace: Mapping[str, Any]) -> None:
        """Forget the notes on names that are now bound to another object, or to none."""
        for name in list(self._notes):
            if name not in namespace or not self.get(name, namespace[name]):
                self.forget(name)


def _reference(value: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(value)
    except TypeError:
        return lambda: value
