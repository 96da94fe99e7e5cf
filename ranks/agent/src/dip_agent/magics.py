"""Magics that IPython does not have, or that mean something else here."""

from __future__ import annotations

from typing import Any, Callable

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

_LINE = ("makedip", "dipush", "dipull", "autodip", "dipper", "px", "autopx", "pxconfig", "pxresult")
_CELL = ("px", "dip")
_BUILT_IN = frozenset({"Ddip", "ddip", "Ddipp", "ddipp", "ipyparallel"})


def register(shell: InteractiveShell) -> None:
    """Register them with a shell."""
    for name in _LINE:
        shell.register_magic_function(_missing(f"%{name}"), "line", name)
    for name in _CELL:
        shell.register_magic_function(_missing(f"%%{name}"), "cell", name)
    load_ext = shell.find_line_magic("load_ext")

    def load(module: str = "") -> Any:
        if module.strip() in _BUILT_IN:
            print(f"{module.strip()}: nothing needs loading, dipls has its magics built in.")
            return None
        return load_ext(module)

    load.__doc__ = load_ext.__doc__
    shell.register_magic_function(load, "line", "load_ext")


def _missing(spelling: str) -> Callable[..., None]:
    def magic(line: str, cell: str = "") -> None:
        raise UsageError(f"{spelling} is not available yet in this version of dipls, or not at this place in a cell.")

    magic.__doc__ = f"{spelling} is not available yet in this version of dipls."
    return magic
