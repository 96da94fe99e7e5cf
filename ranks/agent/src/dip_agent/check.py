"""Cells compiled without being run, so that what is no Python is told before the first of them runs.

That is done as IPython does it for a cell whose turn has come. But the cells above have not run here, and may change
what those below mean. Where they might, a cell counts as good: an error that is none would keep the user from running
what works.
"""

from __future__ import annotations

import ast
import contextlib
import keyword
import re
import warnings
from collections.abc import Iterator
from typing import Any

from . import tracebacks
from .shell import Shell
from .snapshots import SourcePath
from .source import Transformations, moved_down

# Extensions that leave the text of cells as it is.
_HARMLESS = "autoreload|dotenv|[Dd]dip|ddipp|ipyparallel|line_profiler|memory_profiler|storemagic|tensorboard"
# A cell that may change how the text of later ones is read: it adds a transformation, or loads an extension that may.
_CHANGES_GRAMMAR = re.compile(
    rf"input_transform|input_splitter|extension_manager|prefilter|load_ext\b[^\S\n]+(?!(?:{_HARMLESS})\b)"
)
# A cell that may give a meaning to words at the beginning of a cell of one line: as magics, aliases, macros or calls.
_ADDS_WORDS = re.compile(r"magic|alias|macro|autocall|load_ext")
_WORD = re.compile(r"\s*([^\W\d]\w*)[^\S\n]+[^\s=]")
_CELL_MAGIC = re.compile(r"\s*%%(\w+)[^\n]*\n")
_OF_PYTHON = frozenset({"capture", "prun", "time", "timeit"})  # IPython's magics whose body is Python


def main(request: dict[str, Any]) -> dict[str, Any]:
    """Check the cells of files, each by itself."""
    shell = Shell.make()
    return {"faults": [list(faults(shell, file["cells"])) for file in request["files"]]}


def faults(shell: Shell, cells: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield what is wrong with cells that will run one after the other: the first thing of each.

    A cell has `code`, `path`, `line` and `run`, as an execute_request has them. A fault is the content of an `error`
    message, with the cell's index as `cell`, Python's own words as `msg`, and the column, from 1.
    """
    adds_words = False
    for index, cell in enumerate(cells):
        if not _reads_as_usual(shell):
            return
        code = str(cell.get("code", "")).replace("\r\n", "\n").replace("\r", "\n")
        line, run = max(1, int(cell.get("line") or 1)), str(cell.get("run") or "")
        err = _error(shell, SourcePath(str(cell.get("path") or "<cell>"), line, code, run))
        if err is not None and not _may_be_command(shell, code, adds_words):
            place = {"msg": getattr(err, "msg", ""), "column": getattr(err, "offset", None) or 1}
            yield {"cell": index, **tracebacks.describe(shell, err, None), **place}
        if _CHANGES_GRAMMAR.search(code):
            return
        adds_words = adds_words or _ADDS_WORDS.search(code) is not None


def _reads_as_usual(shell: Shell) -> bool:
    """Whether the user has not changed how the text of cells is read."""
    transformations = shell.input_transformer_manager
    known = isinstance(transformations, Transformations) and transformations.usual()
    return known and not shell.input_transformers_post


def _error(shell: Shell, cell: SourcePath) -> Exception | None:
    """Return what IPython would raise before it runs the first line of a cell, or the last."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they come when the cell runs
            _compile(shell, cell)
    except (SyntaxError, ValueError, OverflowError) as err:
        return err
    except (MemoryError, RecursionError):
        return None  # where it runs there may be room
    magic = _CELL_MAGIC.match(cell.text)
    if magic is None or magic[1] not in _OF_PYTHON or not _is_ipythons(shell, magic[1]):
        return None
    return _error(shell, SourcePath(cell, cell.line + magic[0].count("\n"), cell.text[magic.end() :], cell.run))


def _compile(shell: Shell, cell: SourcePath) -> None:
    source = shell.input_transformer_manager.transform_cell(cell.text)
    flags = shell.compile.flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    # As a whole, and wherever it is, it is compiled several times faster. What is wrong then may be right as it will
    # run: each statement by itself.
    with contextlib.suppress(SyntaxError):
        compile(source, cell, "exec", flags, True)
        return
    code = moved_down(source, cell.text, cell.line)
    tree = compile(code, cell, "exec", shell.compile.flags | ast.PyCF_ONLY_AST, True)
    if shell.ast_transformers:
        return  # they may make of it what they like
    for node in tree.body:
        compile(ast.Module([node], []), cell, "exec", flags, True)


def _is_ipythons(shell: Shell, magic: str) -> bool:
    """Whether a cell magic is what IPython has under its name."""
    return str(getattr(shell.find_cell_magic(magic), "__module__", "")).startswith("IPython.")


def _may_be_command(shell: Shell, code: str, adds_words: bool) -> bool:
    """Whether a cell is one line, and begins with a word that IPython may take for a magic without its percent sign."""
    word = _WORD.match(code)
    if word is None or keyword.iskeyword(word[1]) or "\n" in code.strip():
        return False
    return adds_words or shell.find_line_magic(word[1]) is not None
