"""Magics that IPython does not have, or that mean something else here.

The shell, and with it every magic, is made before the fork. `register` returns the `Client`, which gets its `commands`
after the fork. On a rank it gets none, and the magics say where they work.

    arguments  what a magic's line may have, its help, and errors that guess what was meant
    magic      the entry of one magic in a table of magics
    client     what magics do: asking the server, moving variables, running bodies
    dip        Ddip's magics
    px         ipyparallel's magics
    dipper     the handle for code that is no magic
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Callable

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from . import dip, dipper, px
from .arguments import nearest
from .client import Client, RankError
from .dip import transfer

__all__ = ["Client", "RankError", "hinting", "register", "transfer"]

_MAGICS = (*dip.MAGICS, *px.MAGICS, *dipper.MAGICS)
_HELP = {magic.parser.spelling: magic.parser.help for magic in _MAGICS}
_BUILT_IN = frozenset({"Ddip", "ddip", "Ddipp", "ddipp", "ipyparallel"})


def register(shell: InteractiveShell) -> Client:
    """Register all magics with a shell."""
    client = Client(shell)
    for magic in _MAGICS:
        magic.register(shell, client)
    for name in ("load_ext", "reload_ext"):
        _wrap(shell, name, _load_ext)
    for name in ("pinfo", "pinfo2"):
        _wrap(shell, name, _help)
    shell.set_hook("show_in_pager", _show_in_pager)
    shell.set_hook("editor", _no_editor)
    shell.extension_manager.load_extension("IPython.extensions.storemagic")  # as IPython's own programs do
    return client


@contextlib.contextmanager
def hinting(shell: InteractiveShell, spelling: str) -> Iterator[None]:
    """Within the block, have the error about an unknown magic, `%NAME` or `%%NAME`, say which one may be meant."""
    try:
        yield
    except UsageError as err:
        name = spelling.lstrip("%")
        is_there = shell.find_cell_magic(name) if spelling.startswith("%%") else shell.find_line_magic(name)
        if is_there is not None or "did you mean" in str(err):
            raise
        known = shell.magics_manager.lsmagic()
        near = nearest(spelling, [*(f"%{one}" for one in known["line"]), *(f"%%{one}" for one in known["cell"])])
        if not near:
            raise
        raise UsageError(f"{str(err).rstrip('.')}; did you mean {near}?") from None


def _wrap(shell: InteractiveShell, name: str, wrapper: Callable[..., bool]) -> None:
    """Have `wrapper(shell, line)` serve a line magic of IPython's. Where it returns False, IPython's own does."""
    original = shell.find_line_magic(name)

    def magic(line: str = "") -> Any:
        return None if wrapper(shell, line) else original(line)

    magic.__doc__ = original.__doc__
    shell.register_magic_function(magic, "line", name)


def _load_ext(shell: InteractiveShell, line: str) -> bool:
    name = line.partition("#")[0].strip()
    if name in _BUILT_IN:
        print(f"{name}: nothing needs loading, dipls has its magics built in.")
    return name in _BUILT_IN


def _help(shell: InteractiveShell, line: str) -> bool:
    """Print the help of a magic of ours. `%px?` and `px?` mean the line magic, `%%px?` the cell magic."""
    name = line.strip().strip("?")
    if not name.startswith("%") and name not in shell.user_ns:
        name = f"%{name}" if f"%{name}" in _HELP else f"%%{name}"
    if name in _HELP:
        print(_HELP[name])
    return name in _HELP


def _no_editor(*_: Any, **__: Any) -> None:
    raise UsageError("no editor is connected to this process: write the code into the file.")


def _show_in_pager(shell: InteractiveShell, data: Any, start: int = 0, screen_lines: int = 0) -> None:
    """IPython's hook: print what it would show in a pager, since there is none."""
    text = data.get("text/plain", "") if isinstance(data, dict) else data
    print(shell.painted("\n".join(text.splitlines()[start:])))
