"""What may be completed at a place in code, according to the namespace."""

from __future__ import annotations

import builtins
import inspect
import keyword
import re
import sys
import types
from collections.abc import Iterable
from typing import Any, NamedTuple

from .describe import kind_of
from .evaluate import CHAIN, FREE, NAME, evaluate

MAX_MATCHES = 1000
_BACK = 4000  # characters before the cursor in which the enclosing call is looked for

_ITEM = re.compile(rf"{FREE}({CHAIN})\[\s*(?:'([^'\\\n]*)|\"([^\"\\\n]*))$")
_ATTRIBUTE = re.compile(rf"{FREE}({CHAIN})\s*\.\s*(\w*)$")
_FROM = re.compile(
    rf"^\s*from\s+({NAME}(?:\.{NAME})*)\s+import\s+(?:\(?\s*{NAME}(?:\s+as\s+{NAME})?\s*,\s*)*\(?\s*(\w*)$"
)
_IMPORT = re.compile(rf"^\s*(?:from|import)\s+(?:{NAME}(?:\.{NAME})*\s*,\s*)*((?:{NAME}\.)*\w*)$")
_MAGIC = re.compile(r"^\s*(%{1,2})(\w*)$")
_PLAIN = re.compile(r"(?<![\w.])(?!\d)(\w*)$")
_CALLEE = re.compile(rf"{FREE}({CHAIN})\s*$")


class Match(NamedTuple):
    """A text that may replace what has been typed, and the type of what it names, in Jupyter's words."""

    text: str
    type: str


class Found(NamedTuple):
    """The matches, and the position from which on they replace the code."""

    start: int
    matches: list[Match]
    incomplete: bool = False  # there are more


def complete(shell: Any, before: str) -> Found:
    """Return what may follow, or complete, the text `before`. Raises nothing but interrupts."""
    line = before[before.rfind("\n") + 1 :]
    space = shell.user_ns
    if match := _ITEM.search(line):
        typed = match[2] if match[2] is not None else match[3]
        return _found(before, typed, ((key, "instance") for key in _attempt(_keys, match[1], space)))
    if match := _MAGIC.search(line):
        known = shell.magics_manager.magics["cell" if match[1] == "%%" else "line"]
        return _found(before, match[2], ((name, "magic") for name in known))
    if match := _FROM.search(line):
        module = sys.modules.get(match[1])
        return _found(before, match[2], _members(module) if module is not None else ())
    if match := _IMPORT.search(line):
        return _found(before, match[1], ((name, "module") for name in list(sys.modules)))
    if match := _ATTRIBUTE.search(line):
        return _found(before, match[2], _attempt(_members_of, match[1], space))
    if match := _PLAIN.search(line):
        return _found(before, match[1], [*_attempt(_arguments, before[-_BACK:], space), *_names(space)])
    return Found(len(before), [])


def _attempt(find: Any, what: str, space: dict[str, Any]) -> Iterable[Any]:
    try:
        return find(what, space)
    except Exception:  # user code has raised, or there is nothing of that name
        return ()


def _found(before: str, typed: str, candidates: Iterable[tuple[str, str]]) -> Found:
    """Return the candidates that begin as the user has typed, each once, public ones first."""
    low = typed.lower()
    chosen: dict[str, Match] = {}
    for text, kind in candidates:
        if text.lower().startswith(low) and (typed.startswith("_") or not text.startswith("_")):
            chosen.setdefault(text, Match(text, kind))
    order = sorted(
        chosen.values(),
        key=lambda m: (m.text.startswith("__"), m.text.startswith("_"), not m.text.startswith(typed), m.text),
    )
    order.sort(key=lambda m: m.type != "param")
    return Found(len(before) - len(typed), order[:MAX_MATCHES], len(order) > MAX_MATCHES)


def _names(space: dict[str, Any]) -> Iterable[tuple[str, str]]:
    for name, value in list(space.items()):
        if isinstance(name, str):
            yield name, kind_of(value)
    for name in keyword.kwlist:
        yield name, "keyword"
    for name, value in vars(builtins).items():
        yield name, kind_of(value)


def _members_of(chain: str, space: dict[str, Any]) -> list[tuple[str, str]]:
    return _members(evaluate(chain, space))


def _members(value: Any) -> list[tuple[str, str]]:
    """Return the names of attributes, with what is known of them without getting them."""
    places: list[Any] = [getattr(value, "__dict__", {})]
    if not issubclass(type(value), types.ModuleType):
        classes = value.__mro__ if issubclass(type(value), type) else type(value).__mro__
        places += [vars(cls) for cls in classes]
    found = []
    for name in dir(value):
        if isinstance(name, str):
            place = next((place for place in places if name in place), None)
            found.append((name, kind_of(place[name]) if place is not None else "instance"))
    return found


def _keys(chain: str, space: dict[str, Any]) -> list[str]:
    """Return the keys of a dict, or the columns or fields of a table, that are text without need of escapes."""
    value = evaluate(chain, space)
    if isinstance(value, dict):
        keys: Iterable[Any] = list(value)
    elif (offer := getattr(type(value), "_ipython_key_completions_", None)) is not None:
        keys = offer(value)
    else:
        keys = getattr(getattr(value, "dtype", None), "names", None) or ()
    return [key for key in keys if isinstance(key, str) and key.isprintable() and not set(key) & set("\\'\"")]


def _arguments(before: str, space: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the parameter names of the call in whose parentheses `before` ends, each with its "="."""
    depth = 0
    for place in range(len(before) - 1, -1, -1):
        char = before[place]
        if char in ")]}":
            depth += 1
        elif char in "([{":
            depth -= 1
        if depth < 0:
            break
    if depth >= 0 or before[place] != "(" or (match := _CALLEE.search(before[:place])) is None:
        return []
    parameters = inspect.signature(evaluate(match[1], space)).parameters.values()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [(f"{parameter.name}=", "param") for parameter in parameters if parameter.kind in named]
