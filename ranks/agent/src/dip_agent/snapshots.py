"""The text that code was compiled from, which the code itself knows.

The code of each execution has a file name of its own: a string that equals the real path, and also knows the text that
was run. Whatever shows source (tracebacks, warnings, `inspect`, pdb, torch.jit) looks up `co_filename` in `linecache`,
and finds that text there, whatever has been edited or run since. The text is freed with the last code compiled from it.

This module imports only the standard library, since processes that user code spawns import it, too.
"""

from __future__ import annotations

import ast
import bdb
import inspect
import linecache
import marshal
import sys
import types
import weakref
from collections.abc import Iterator
from typing import Any

_Entry = tuple[int, None, list[str], str]


class SourcePath(str):
    """The path of a file of which lines were executed. It equals that path in all ways, and has the lines, too."""

    line: int  # of the first line of `text`, from 1
    text: str  # as the user wrote it
    run: str  # the run's id at the server; "" if it has none
    python: str  # what the compiler got: the lines of `text` without magics; "" if that is `text` itself
    _entry: _Entry | None

    def __new__(cls, path: str, line: int, text: str, run: str = "", python: str = "") -> SourcePath:
        made = super().__new__(cls, path)
        made.line, made.text, made.run, made.python = line, text, run, python
        made._entry = None
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Be pickled as the path alone: only our own pickles go where this module is."""
        return str, (str(self),)

    def with_text(self) -> tuple[Any, ...]:
        """Return what `__reduce__` would return for a receiver that has this module."""
        return _arrived, (str(self), self.line, self.text, self.run, self.python)

    def entry(self) -> _Entry:
        """Return an entry for linecache: the file up to the last line that was executed.

        If the file on the disk still has these lines in this place, its own text is taken, in which a magic may be a
        comment and a line that came blank may be a directive, and so are the lines above.
        """
        if self._entry is None:
            lines = [part + "\n" for part in self.text.split("\n")]
            linecache.checkcache(str(self))
            file = linecache.getlines(str(self))
            there = file[self.line - 1 : self.line - 1 + len(lines)]
            above = ["\n"] * (self.line - 1)
            if stand_in(lines, there):
                above = file[: self.line - 1]
                size = len("".join(lines).rstrip().split("\n"))  # the blank lines below belong to the next cell
                pairs = zip(there[:size], lines)
                shown = [have if want.strip() or have.lstrip().startswith("#") else want for have, want in pairs]
                lines[: len(shown)] = shown
            self._entry = sum(map(len, above + lines)), None, above + lines, str(self)
        return self._entry


class _Cache(dict[str, Any]):
    """linecache's entries, of which each SourcePath has its own."""

    def __contains__(self, name: object) -> bool:
        return type(name) is SourcePath or super().__contains__(name)

    def __getitem__(self, name: str) -> Any:
        return name.entry() if type(name) is SourcePath else super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        return name.entry() if type(name) is SourcePath else super().get(name, default)

    def __setitem__(self, name: str, entry: Any) -> None:
        if type(name) is not SourcePath:
            dict.__setitem__(self, name, entry)

    def pop(self, name: str, *default: Any) -> Any:
        return name.entry() if type(name) is SourcePath else super().pop(name, *default)


def stand_in(lines: list[str], there: list[str]) -> bool:
    """Whether lines equal those of a file, apart from blanks, prompts and comment signs before them."""
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    return len(there) >= len(lines) and all(have.rstrip().endswith(want.strip()) for have, want in zip(there, lines))


_classes: weakref.WeakKeyDictionary[type, SourcePath] = weakref.WeakKeyDictionary()  # those that have no code to tell
_running: tuple[ast.Module, SourcePath] | None = None  # the cell that runs, if it defines classes


def install() -> None:
    """Have the standard library find these texts. A second call does nothing."""
    if type(linecache.cache) is _Cache:
        return
    linecache.cache = _Cache(linecache.cache)
    inspect.findsource = _findsource
    bdb.Bdb.canonic = _canonic
    marshal.dump, marshal.dumps = _dump, _dumps


def of_class(cls: type) -> SourcePath | None:
    """Return the file name of the code that defined a class, if it is one of ours."""
    note_classes(_running)
    return _of_code(cls) or _classes.get(cls)


def _of_code(cls: type) -> SourcePath | None:
    for part in _functions(cls):
        if type(part.__code__.co_filename) is SourcePath and part.__qualname__.startswith(cls.__qualname__ + "."):
            return part.__code__.co_filename
    return None


def note_class(cls: type, path: SourcePath) -> None:
    """Remember where a class without code is from."""
    _classes[cls] = path


def note_classes(of: tuple[ast.Module, SourcePath] | None) -> None:
    """Remember where the classes of the cell that has just run are from: a class without code does not tell.

    `of` is the cell that runs next.
    """
    global _running
    if _running is not None:
        tree, path = _running
        namespace = getattr(sys.modules.get("__main__"), "__dict__", {})  # users may have put anything there
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                cls = namespace.get(node.name)
                if isinstance(cls, type) and cls.__module__ == "__main__" and _of_code(cls) is None:
                    _classes[cls] = path
    _running = of


def _functions(cls: type) -> Iterator[types.FunctionType]:
    for part in list(vars(cls).values()):
        if isinstance(part, (staticmethod, classmethod)):
            part = part.__func__
        elif isinstance(part, property):
            part = part.fget
        while isinstance(part, types.FunctionType):
            yield part
            part = vars(part).get("__wrapped__")


_plain_findsource = inspect.findsource


def _findsource(object: Any) -> tuple[list[str], int]:
    """inspect.findsource, which would look for a class in the file as it is on the disk now."""
    if isinstance(object, type) and (path := of_class(object)) is not None:
        first = vars(object).get("__firstlineno__") or _first_line(path, object.__qualname__)
        if first:
            return path.entry()[2], first - 1
    return _plain_findsource(object)


def _first_line(path: SourcePath, qualname: str) -> int:
    """Return the line of a class of that name, 0 if there is none. Since 3.13 Python tells it itself."""
    try:
        tree = ast.parse("\n" * (path.line - 1) + (path.python or path.text))
    except (SyntaxError, ValueError):
        return 0
    return max(_lines_of(tree, "", qualname), default=0)  # the last of several is bound


def _lines_of(node: ast.AST, scope: str, qualname: str) -> Iterator[int]:
    for child in ast.iter_child_nodes(node):
        inner = scope
        if isinstance(child, ast.ClassDef):
            if scope + child.name == qualname:
                yield min(part.lineno for part in (child, *child.decorator_list))
            inner = f"{scope}{child.name}."
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inner = f"{scope}{child.name}.<locals>."
        yield from _lines_of(child, inner, qualname)


_plain_canonic = bdb.Bdb.canonic
_plain_dumps = marshal.dumps


def _canonic(self: bdb.Bdb, filename: str) -> str:
    return filename if type(filename) is SourcePath else _plain_canonic(self, filename)


def _dump(value: Any, file: Any, *arguments: Any, **options: Any) -> Any:
    """marshal.dump, with which profilers save what they have measured."""
    return file.write(_dumps(value, *arguments, **options))


def _dumps(value: Any, *arguments: Any, **options: Any) -> bytes:
    """marshal.dumps, which knows plain strings only."""
    try:
        return _plain_dumps(value, *arguments, **options)
    except ValueError:
        return _plain_dumps(_without_text(value), *arguments, **options)


def _without_text(value: Any) -> Any:
    """Return code, or a key that identifies it, with a plain path as file name."""
    kind = type(value)
    if kind is SourcePath:
        return str(value)
    if kind is types.CodeType:
        return value.replace(co_filename=str(value.co_filename), co_consts=_without_text(value.co_consts))
    if kind is tuple:
        return tuple(map(_without_text, value))
    if kind is dict:
        return {_without_text(key): _without_text(item) for key, item in value.items()}
    return value


# Code in pickles.


def _arrived(*parts: Any) -> SourcePath:
    install()
    return SourcePath(*parts)


def reduce_code(code: types.CodeType, reduce: Any) -> tuple[Any, ...]:
    """Return how to pickle code: as cloudpickle's `reduce` does, but with its file name, which that may leave out."""
    return _code, (reduce(code)[1], code.co_filename)


def _code(arguments: tuple[Any, ...], path: str) -> types.CodeType:
    return types.CodeType(*arguments).replace(co_filename=path)
