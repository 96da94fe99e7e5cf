"""Cells compiled under the real path and the real lines of their file.

Tracebacks, warnings, profilers and `inspect` then all point into the user's file. They show the text that ran (see
`snapshots`), even if the file has been edited since, or other text has run at those lines.
"""

from __future__ import annotations

import ast
import contextlib
import linecache
import re
import sys
import threading
import tokenize
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from IPython.core.compilerop import CachingCompiler
from IPython.core.inputtransformer2 import TransformerManager

from . import snapshots
from .snapshots import SourcePath

# File names under which IPython's magics compile the code that they are given.
_MAGIC_NAMES = frozenset({"<timed exec>", "<timed eval>", "<magic-timeit>"})

# How a docstring begins. An f-string is none, though its token is a string before Python 3.12.
_CONSTANT = re.compile("[rRuU]?['\"]")
_BLANK = re.compile(r"(?:[^\S\n]*\n)*")


@dataclass
class _Place:
    """Where a piece of source comes from."""

    path: str  # a SourcePath, unless this is the code of a magic that stands in no cell
    line: int  # of the first line of `text`, from 1
    text: str  # as the user wrote it
    magic: bool  # the argument or body of a magic
    cell: str | None = None  # as IPython transformed it, without the leading blank lines


class Compiler(CachingCompiler):
    """IPython's compiler, which is told where the code that comes next is from.

    That holds for this text and this thread only. Whatever else is compiled meanwhile keeps IPython's names.
    """

    def __init__(self) -> None:
        super().__init__()
        snapshots.install()
        self._here = threading.local()

    @property
    def _place(self) -> _Place | None:
        return getattr(self._here, "place", None)

    @contextlib.contextmanager
    def at(self, path: str, line: int, text: str, run: str = "") -> Iterator[None]:
        """Within the block, compile `text` as the lines of `path` from `line` on, in the run with the id `run`."""
        with self._at(_Place(SourcePath(path, line, text, run), line, text, magic=False)):
            yield

    @contextlib.contextmanager
    def at_magic(self, text: str, depth: int, down: int) -> Iterator[None]:
        """Compile the argument or body of a magic as text `down` lines below the caller at stack depth `depth`."""
        frame = sys._getframe(depth + 2)  # two more: contextlib's and our own
        path, line = frame.f_code.co_filename, frame.f_lineno + down
        del frame
        here = type(path) is SourcePath and (not down or _stands_at(path, line, text))
        with self._at(_Place(path, line, text, magic=True) if here else None):
            yield

    @contextlib.contextmanager
    def _at(self, place: _Place | None) -> Iterator[None]:
        outer, self._here.place = self._place, place
        try:
            yield
        finally:
            self._here.place = outer

    def where(self) -> tuple[str, int]:
        """Return path and line of the argument or body of the magic that runs. The path is "" if it is in no file."""
        place = self._place
        return (place.path, place.line) if place is not None and place.magic else ("", 1)

    def is_body(self, text: str) -> bool:
        """Whether `text` is the body of the magic that runs."""
        return self._place is not None and self._place.magic and self._place.text == text

    def transformed(self, raw: str, cell: str) -> None:
        """Note that IPython has made `cell` of `raw`: without leading blank lines, but with all other lines kept."""
        place = self._place
        if place is not None and raw == place.text:
            place.cell = cell

    def cache(self, transformed_code: str, number: int = 0, raw_code: str | None = None) -> str:
        """Return the file name for a cell."""
        place = self._place
        if place is None or raw_code != place.text:
            return super().cache(transformed_code, number, raw_code)
        return place.path

    def ast_parse(self, source: str, filename: str = "<unknown>", symbol: str = "exec") -> ast.AST:
        place = self._place
        if place is None or source != place.cell:
            return super().ast_parse(source, filename, symbol)
        tree = super().ast_parse(moved_down(source, place.text, place.line), place.path, symbol)
        if "class " in source and not place.magic:
            snapshots.note_classes((tree, place.path))
            if source.rstrip("\n") != place.text.rstrip("\n"):
                place.path.python = moved_down(source, place.text, 1)
        return tree

    def __call__(self, source: Any, filename: str, symbol: str, **options: Any) -> Any:
        if filename in _MAGIC_NAMES and self._place is not None and self._place.magic:
            filename = self._place.path
        return super().__call__(source, filename, symbol, **options)


def moved_down(source: str, text: str, line: int) -> str:
    """Return what IPython has made of `text`, moved down to where it is in its file, if that has `text` at `line`.

    Leading newlines put nodes and syntax errors on the right lines, and cost next to nothing. IPython has taken away
    the blank lines above the code.
    """
    return "\n" * (line - 1 + _BLANK.match(text).group().count("\n")) + source


def docstring(readline: Callable[[], str]) -> tuple[str | None, int]:
    """Return the docstring of a file, None if it has none, and the line, from 1, of its first statement."""
    parts: list[str] = []
    line = 0
    try:
        for token in tokenize.generate_tokens(readline):
            if token.type in (tokenize.COMMENT, tokenize.NL):
                continue
            line = line or token.start[0]
            if token.type == tokenize.STRING and _CONSTANT.match(token.string):
                parts.append(token.string)
                continue
            if parts and (token.type in (tokenize.NEWLINE, tokenize.ENDMARKER) or token.string == ";"):
                found: dict[str, Any] = {}
                with warnings.catch_warnings():  # about escapes: compiling the cell warns about them anyway
                    warnings.simplefilter("ignore")
                    exec(compile(" ".join(parts), "<docstring>", "exec"), found)
                return found.get("__doc__"), line
            break
    except (SyntaxError, tokenize.TokenError):
        pass
    return None, line


class Transformations(TransformerManager):
    """IPython's transformations of a cell. They keep the number of lines, and cost nothing if there is nothing to do.

    Some of IPython's join the lines of a continued command (`!ls \\` and what follows); blank lines make up for that.
    To find out that there is nothing to do, IPython tokenizes the cell in Python. For a hundred lines that takes longer
    than the rest of the way from the editor to a rank, so regular expressions look first.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known = {_name(one) for one in self._all()} <= _KNOWN
        self.token_transformers = [_padded(cls) for cls in self.token_transformers]
        self._made = self._all()  # users may add some

    def transform_cell(self, cell: str) -> str:
        """Return the Python code that `cell` means, with a newline at its end."""
        if not _SPECIAL.search(cell) and self.usual():
            return cell if cell.endswith("\n") else cell + "\n"
        return super().transform_cell(cell)

    def usual(self) -> bool:
        """Whether these are IPython's transformations, of a version that is known here, and no others."""
        return self._known and self._all() == self._made

    def _all(self) -> list[Any]:
        return [*self.cleanup_transforms, *self.line_transforms, *self.token_transformers]


# The transformations that `_SPECIAL` knows.
_KNOWN = {
    *("leading_empty_lines", "leading_indent", "PromptStripper", "cell_magic"),
    *("MagicAssign", "SystemAssign", "EscapedCommand", "HelpEnd"),
}

# Text that a transformation may have something to do with. Each matches too much rather than too little: what it misses
# would be run as it is.
_SPECIAL = re.compile(
    r"""\A\s | ^[^\S\n]+$                               # blank lines at the beginning, indentation, lines of spaces
    | ^[^\S\n]*(?: [%!?,;/]                            # a magic, a command or a call
                  | >>> | \d*\.\.\. | In\ \[ | \[(?:nav|ins)\] )  # a prompt
    | =[^\S\n]*[%!]                                   # what a magic or a command returns
    | \?[^\S\n]*$                                     # help
    | [\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]               # ends of lines for IPython, but not for Python
    """,
    re.MULTILINE | re.VERBOSE,
)


def _name(transformation: Any) -> str:
    return getattr(transformation, "__name__", type(transformation).__name__)


def _padded(cls: type) -> type:
    class Padded(cls):
        def transform(self, lines: list[str]) -> list[str]:
            made = super().transform(lines)
            below = self.start_line + 1
            return made[:below] + ["\n"] * (len(lines) - len(made)) + made[below:]

    Padded.__name__ = Padded.__qualname__ = cls.__name__
    return Padded


def _stands_at(path: str, line: int, text: str) -> bool:
    """Whether the file has the body of a magic from `line` on. Otherwise it is a string that code has made.

    IPython has stripped indentation and prompts off the body.
    """
    wanted = text.rstrip().splitlines()
    return snapshots.stand_in(wanted, linecache.getlines(path)[line - 1 : line - 1 + len(wanted)])
