"""Changes to other packages' modules and classes that can be taken back."""

from __future__ import annotations

import sys
from typing import Any, Callable

_MISSING = object()


class Patches:
    """The changes so far, latest last."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Set an attribute of a module or class."""
        self._keep(vars(owner).get(name, _MISSING), lambda: delattr(owner, name), lambda old: setattr(owner, name, old))
        setattr(owner, name, value)

    def set_item(self, mapping: Any, key: Any, value: Any) -> None:
        """Set an item of a mapping."""
        self._keep(mapping.get(key, _MISSING), lambda: mapping.pop(key, None), lambda old: mapping.update({key: old}))
        mapping[key] = value

    def rebind(self, name: str, old: Any, new: Any) -> None:
        """Bind the global `name` to `new` in every module where it is bound to `old`, as by a star import."""
        self._undo.append(lambda: _rebind(name, new, old))
        _rebind(name, old, new)

    def undo(self) -> None:
        """Take all changes back, latest first."""
        while self._undo:
            self._undo.pop()()

    def _keep(self, old: Any, remove: Callable[[], Any], restore: Callable[[Any], None]) -> None:
        self._undo.append(remove if old is _MISSING else lambda: restore(old))


def _rebind(name: str, old: Any, new: Any) -> None:
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", {})
        if names.get(name) is old:
            names[name] = new
