"""Reloading modules of the project that were edited.

A process tells the server which source files it has imported, and as what they were then. Before a cell runs, the
server looks at these files once, and tells all processes alike which ones to reload.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
import sysconfig
from collections.abc import Iterable
from types import ModuleType
from typing import Any

_LIBRARIES = tuple(
    os.path.join(path, "")
    for path in {*(sysconfig.get_path(name) for name in ("stdlib", "platstdlib")), os.path.dirname(__file__)}
)
_PACKAGES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")

_imported: dict[str, tuple[float, int]] = {}  # time and size of files, by path, that the server was not told of
_reloaded = False  # since the server was told last
_old: dict[Any, Any] = {}  # IPython's: functions and classes of earlier versions, which it brings up to date


def watch() -> None:
    """Note from now on which source files are imported."""
    original = importlib.machinery.SourceFileLoader.path_stats

    def path_stats(self: importlib.machinery.SourceFileLoader, path: str) -> dict[str, Any]:
        stats = original(self, path)
        if not path.startswith(_LIBRARIES) and not any(part in path for part in _PACKAGES):
            _imported[os.path.abspath(path)] = (stats["mtime"], stats["size"])
        return stats

    importlib.machinery.SourceFileLoader.path_stats = path_stats


def news() -> list[dict[str, Any]]:
    """Return the project's files that were imported since the last call, as the reply to a cell has them."""
    told = []
    while _imported:  # other threads may import meanwhile
        path, (mtime, size) = _imported.popitem()
        told.append({"path": path, "mtime": mtime, "size": size})
    return told


def was_done() -> bool:
    """Return whether a reload has come to its end since the last call."""
    global _reloaded
    done, _reloaded = _reloaded, False
    return done


def reload(paths: Iterable[str]) -> None:
    """Reload the modules of source files. One that fails keeps what it had, and the user is told."""
    global _reloaded
    wanted = set(paths)
    # A module is there before those that it imports: what others need comes first this way.
    for name, module in reversed(list(sys.modules.items())):
        if name != "__main__" and isinstance(module, ModuleType) and getattr(module, "__file__", None) in wanted:
            _reload(name, module)
    _reloaded = True


def _reload(name: str, module: ModuleType) -> None:
    from IPython.extensions.autoreload import superreload  # most processes never need it

    before = dict(module.__dict__)
    try:
        superreload(module, old_objects=_old)
    except BaseException as err:  # an interrupt, too, leaves nothing half done
        module.__dict__.clear()
        module.__dict__.update(before)
        if not isinstance(err, Exception):
            raise
        why = f"{type(err).__name__}: {err}"
        print(f"dipls: {name} was edited and cannot be imported, so it stays as it was: {why}", file=sys.stderr)
