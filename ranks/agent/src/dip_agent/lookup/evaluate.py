"""The value of a dotted name, with as little of the user's code as possible."""

from __future__ import annotations

import ast
import builtins
import re
import types
from typing import Any

NAME = r"[^\W\d]\w*"
_STEP = rf"\.{NAME}|\[(?:-?\d+|'[^'\\\n]*'|\"[^\"\\\n]*\")\]"
CHAIN = rf"{NAME}(?:{_STEP})*"  # a.b[0]['c'].d
FREE = r"(?<![\w.\)\]'\"])"  # before a chain: it is no continuation of something else
_DOTTED = re.compile(rf"{FREE}{NAME}(?:\.{NAME})*")
_PARTS = re.compile(rf"^{NAME}|{_STEP}")


def chain_at(code: str, cursor: int) -> str:
    """Return the dotted name at a place in code, up to the end of the part on which that is; "" if there is none."""
    start = code.rfind("\n", 0, cursor) + 1
    end = code.find("\n", cursor)
    line = code[start : end if end >= 0 else len(code)]
    for match in _DOTTED.finditer(line):
        if match.start() <= cursor - start <= match.end():
            dot = line.find(".", cursor - start, match.end())
            return line[match.start() : dot if dot >= 0 else match.end()]
    return ""


def evaluate(chain: str, space: dict[str, Any]) -> Any:
    """Return the value of a chain such as `a.b[0]['c']`. Raises whatever keeps it from having one."""
    first, *steps = _PARTS.findall(chain)
    value = space[first] if first in space else vars(builtins)[first]
    for step in steps:
        value = _attribute(value, step[1:]) if step[0] == "." else _item(value, ast.literal_eval(step[1:-1]))
    return value


def _attribute(value: Any, name: str) -> Any:
    if issubclass(type(value), types.ModuleType):
        return vars(value)[name]  # a module's own __getattr__ imports, and must not be interrupted in that
    return getattr(value, name)


def _item(value: Any, key: Any) -> Any:
    # A dataset's items are read, transformed and drawn at random: to look at one would change what a cell gets.
    if not isinstance(value, (list, tuple, dict)) and type(value).__module__ != "torch.nn.modules.container":
        raise LookupError(f"items of {type(value).__name__} are not looked at")
    return value[key]
