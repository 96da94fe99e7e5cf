"""Where imports look. This module imports nothing that is not loaded when Python starts.

Where cells run, the script's folder comes first, as under `python SCRIPT`. A node runs no cells, and must import only
what is installed: otherwise torch on every rank would get a `numpy.py` beside the script as its numpy. So the script's
folder and the working directory are hidden from sys.path until a process is about to run cells.
"""

from __future__ import annotations

import os
import sys
from typing import Any

_hidden: list[tuple[int, str]] = []  # place in sys.path and entry, in the order in which they were taken off
_folder = ""  # of the file whose cell runs, or ran last; we put it into sys.path
_others: list[str] = []  # folders of files whose cells have run before; they follow it in sys.path
_displaced: dict[str, dict[str, Any]] = {}  # by folder: its modules while another folder's have their names


def folder_of(script: str) -> str:
    """Return what sys.path[0] is under `python SCRIPT`. Without a script it is the working directory."""
    return os.path.dirname(_real(script)) if script else _real("")


def _real(path: str) -> str:
    """Return a path without links; the path itself where the working directory has been removed."""
    try:
        return os.path.realpath(path)
    except OSError:
        return path


def hide(*folders: str) -> None:
    """Take folders off sys.path; all other entries stay."""
    for index, entry in reversed(_hidden):
        sys.path.insert(index, entry)
    _hidden.clear()
    real = {_real(folder) for folder in folders}
    for index, entry in reversed(list(enumerate(sys.path))):
        if _real(entry) in real and not _is_library(entry):
            _hidden.append((index, sys.path.pop(index)))


def _is_library(entry: str) -> bool:
    """Whether an entry of sys.path holds installed packages, even if it is the working directory."""
    return entry == os.path.dirname(os.__file__) or os.path.basename(entry) in ("site-packages", "dist-packages")


def act_as(file: str) -> None:
    """Have imports look where they would under `python FILE`, since a cell of that file runs next.

    Modules beside the files of earlier cells can still be imported unless this file's folder has one of that name: the
    files share a namespace, and a function of an earlier file may import something later.
    """
    global _folder
    folder = folder_of(file)
    if folder == _folder:
        return
    at = sys.path.index(_folder) if _folder in sys.path else 0
    if folder in _others:
        _others.remove(folder)
        if folder in sys.path:
            sys.path.remove(folder)
            at = min(at, len(sys.path))
    _others.insert(0, _folder)
    sys.path.insert(at, folder)
    _folder = folder
    _take_turns(folder)


def _take_turns(folder: str) -> None:
    """Where several of our folders have a module of one name, have the name mean that of `folder`."""
    for name, module in list(sys.modules.items()):
        for other in _others if "." not in name else ():
            if _is_of(other, name, module) and _may_mean(folder, name, module):
                away = _displaced.setdefault(other, {})
                for part in [part for part in sys.modules if part == name or part.startswith(name + ".")]:
                    away[part] = sys.modules.pop(part)
                break
    sys.modules.update(_displaced.pop(folder, {}))


def _is_of(folder: str, name: str, module: Any) -> bool:
    file = getattr(module, "__file__", None)
    if isinstance(file, str):
        return file.startswith(folder) and _module_file(folder, name) == file
    return _is_plain(module) and os.path.join(folder, name) in module.__path__


def _may_mean(folder: str, name: str, module: Any) -> bool:
    """Whether `folder` may have a module of the same name as another folder's module."""
    return bool(_module_file(folder, name)) or (_is_plain(module) and os.path.isdir(os.path.join(folder, name)))


def _is_plain(module: Any) -> bool:
    """Whether a module is a package without `__init__.py`, which may be spread over several folders."""
    return type(getattr(module, "__path__", None)).__name__ == "_NamespacePath"


def without_ours(path: list[Any]) -> list[str | None]:
    """Return a sys.path with None in place of our folders. Each process puts in its own."""
    ours = [_folder, *_others]
    found: list[str | None] = []
    for entry in path:
        if entry in ours:  # once: the user may have added the same folder behind it
            ours.remove(entry)
            if entry == _folder:
                found.append(None)
        elif isinstance(entry, (str, os.PathLike)):  # imports ignore anything else
            found.append(os.fsdecode(entry))
    return found


def with_ours(path: list[str | None]) -> list[str]:
    """Return what another process's `without_ours` has made, with this process's folders put in."""
    found: list[str] = []
    for entry in path:
        found += [_folder, *_others] if entry is None else [entry]
    return found


def show(script: str) -> None:
    """Have imports look where they would under `python SCRIPT`. Call it after all imports of our own."""
    global _folder
    _folder = folder_of(script)
    hide()
    sys.path.insert(0, _folder)


class Finder:
    """A finder of sys.meta_path for the script's folder.

    It finds the one module that the user has named, unless that is installed, and what modules of the folder import.
    """

    def __init__(self, folder: str, module: str):
        import importlib.machinery  # noqa: F401  find_spec needs it, and must not be asked for it

        self._folder = _real(folder)
        self._named = module.partition(".")[0]

    def __enter__(self) -> None:
        sys.meta_path.insert(0, self)

    def __exit__(self, *_: Any) -> None:
        sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        import importlib.machinery  # `from` it would import more: see its `__getattr__` in Python 3.14

        if path is not None:
            return None  # a submodule: its package says where it is
        if not self._asked_by_folder() and (name != self._named or _installed(name)):
            return None
        return importlib.machinery.PathFinder.find_spec(name, [self._folder])

    def _asked_by_folder(self) -> bool:
        frame = sys._getframe(2)
        while frame is not None and frame.f_code.co_filename.startswith("<frozen importlib"):
            frame = frame.f_back
        if frame is None:
            return False
        file = _real(frame.f_code.co_filename)
        # A virtual environment may lie in the folder, too.
        libraries = [_real(entry) for entry in sys.path]
        return _contains(self._folder, file) and not any(_contains(entry, file) for entry in libraries)


def _contains(folder: str, file: str) -> bool:
    return file.startswith(os.path.join(folder, ""))


def _installed(name: str) -> str:
    """Return where a module is found outside of the script's folder and the working directory, "" if nowhere."""
    import importlib.machinery

    if name in sys.builtin_module_names:
        return "built in"
    own = {_real(_folder), _real("")}
    elsewhere = [entry for entry in sys.path if _is_library(entry) or _real(entry) not in own]
    spec = importlib.machinery.PathFinder.find_spec(name, elsewhere)
    if spec is None or spec.loader is None:  # a directory without `__init__.py`: nobody means that
        return ""
    return spec.origin or ""


def overridden(script: str) -> list[str]:
    """Return a sentence for each module of the script's folder that cannot be imported: its name is loaded already."""
    folder = folder_of(script)
    found = []
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    for entry in names:
        name = entry[:-3] if entry.endswith(".py") else entry
        module = sys.modules.get(name)
        file = _module_file(folder, name) if module is not None else ""
        if not file or file == _real(script):
            continue
        origin = getattr(getattr(module, "__spec__", None), "origin", None) or ""
        if _real(origin) != _real(file):
            found.append(f"import {name} gives the installed {name}, not {file}: rename that file to use it")
    return list(dict.fromkeys(found))


def _module_file(folder: str, name: str) -> str:
    for file in (os.path.join(folder, name, "__init__.py"), os.path.join(folder, f"{name}.py")):
        if os.path.isfile(file):
            return file
    return ""


def hint(err: BaseException) -> str:
    """Return a hint if `err` came because a file beside the script hides the module that was meant; otherwise ""."""
    try:
        name = _failed_module(err)
        file = _module_file(_folder, name) if _folder and name else ""
        loaded = getattr(sys.modules.get(name), "__file__", file)
        if not file or _real(loaded or "") != _real(file):
            return ""
        origin = _installed(name)
    except Exception:
        return ""  # it is only a hint
    return f"{file} hides the installed {name} ({origin}): rename that file" if origin else ""


def where_from(err: BaseException) -> str:
    """Return from where a file that was not found was looked for, if its path is relative; otherwise ""."""
    try:
        if not isinstance(err, FileNotFoundError) or err.filename is None or isinstance(err.filename, int):
            return ""
        name, cwd = os.fsdecode(err.filename), os.getcwd()
    except (OSError, TypeError, ValueError):
        return ""  # it is only a hint
    last = err.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    raised_by = last.tb_frame.f_globals.get("__name__") if last is not None else ""
    if not name or os.path.isabs(name) or raised_by == "subprocess":
        return ""  # programs are looked for on PATH
    return f"{name} is relative to the working directory, {cwd}"


def _failed_module(err: BaseException) -> str:
    """Return the top-level module that could not be imported, or that lacks what was asked of it."""
    if isinstance(err, ImportError):
        return (err.name or "").partition(".")[0]
    if isinstance(err, AttributeError):
        # Python 3.9 has no err.obj.
        words = str(err).replace("partially initialized ", "")
        if words.startswith("module '"):
            return words[len("module '") :].partition("'")[0].partition(".")[0]
    return ""
