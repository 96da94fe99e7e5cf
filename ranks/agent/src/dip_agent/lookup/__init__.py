"""What a namespace holds, for editors: completion, hover and a list of variables.

The messages are Jupyter's (`complete_request`, `inspect_request`), and ours (`variables_request`, `table_request`).
IPython's completer is not used, since it does things that must not happen while somebody only types. It imports
packages. It swallows the interrupt that bounds it, and prints a traceback instead. And it does not look into objects
with a `__getattr__`, which every `torch.nn.Module` has.

All of this runs on the main thread, while no cell does. It runs as little user code as possible (`__repr__`,
`__dir__`), and an interrupt ends it at any moment. Properties, `__getattr__`, calls, imports and items of the user's
own containers are never evaluated.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator
from typing import Any

from .completion import complete
from .describe import describe, explain, explain_computed, unread
from .evaluate import Computed, chain_at, evaluate
from .members import digest, has_members, members
from .table import NotShown, page

MIME = "application/vnd.dipls.object+json"  # under it the data of an inspect_reply has what is known of an object
MAX_VARIABLES = 1000


class Lookups:
    """Answers requests about one shell's namespace. KeyboardInterrupt may end every method."""

    def __init__(self, shell: Any):
        self._shell = shell

    def complete(self, content: dict[str, Any]) -> dict[str, Any]:
        """Return a complete_reply: what may stand at `cursor_pos` of `code`."""
        code, cursor = _place(content)
        with _no_warnings():
            found = complete(self._shell, code[:cursor])
        return {
            "matches": [match.text for match in found.matches],
            "cursor_start": found.start,
            "cursor_end": cursor,
            "metadata": {
                "_jupyter_types_experimental": [
                    {"start": found.start, "end": cursor, "text": match.text, "type": match.type, "signature": ""}
                    for match in found.matches
                ],
                "incomplete": found.incomplete,
            },
        }

    def inspect(self, content: dict[str, Any]) -> dict[str, Any]:
        """Return an inspect_reply: what the dotted name at `cursor_pos` of `code` is."""
        chain = chain_at(*_place(content))
        not_found = {"found": False, "data": {}, "metadata": {}}
        if not chain:
            return not_found
        with _no_warnings():
            try:
                value = evaluate(chain, self._shell.user_ns)
                facts = explain(value)
            except Computed as err:
                facts = explain_computed(err.descriptor)
            except Exception:
                return not_found
            facts = {"name": chain, **facts}
        return {"found": True, "data": {"text/plain": facts["text"], MIME: facts}, "metadata": {}}

    def variables(self, content: dict[str, Any]) -> dict[str, Any]:
        """Return a variables_reply: the variables of the namespace, by name. If time runs out, values are left out.

        With `of`, they are what that value consists of, in its own order; with `digest`, that value and its digest.
        """
        if of := str(content.get("of") or ""):
            with _no_warnings():
                return self._members(of, bool(content.get("digest")))
        space = self._shell.user_ns
        hidden = self._shell.user_ns_hidden
        names = sorted(
            name
            for name, value in list(space.items())
            if isinstance(name, str) and not name.startswith("_") and hidden.get(name, hidden) is not value
        )
        found: list[dict[str, Any]] = []
        late = False
        with _no_warnings():
            for name in names[:MAX_VARIABLES]:
                late = _tell(found, name, space[name], late)
        return {"variables": found, "more": max(0, len(names) - MAX_VARIABLES)}

    def _members(self, of: str, wants_digest: bool) -> dict[str, Any]:
        found: list[dict[str, Any]] = []
        try:
            value = evaluate(of, self._shell.user_ns)
            held, more = ([], 0) if wants_digest else members(value)
        except Exception:  # it is not there, or another thread changes it
            return {"variables": found, "more": 0}
        if wants_digest:
            _tell(found, of, value, False)
            found[0]["digest"] = digest(value)
        late = False
        for step, member, leads in held:
            late = _tell(found, step, member, late)
            if not leads:
                found[-1].pop("members", None)
        return {"variables": found, "more": more}

    def table(self, content: dict[str, Any]) -> dict[str, Any]:
        """Return a table_reply: a page of the table or array that a name stands for, or why there is none."""
        with _no_warnings():
            try:
                value = evaluate(str(content.get("name") or ""), self._shell.user_ns)
            except Exception:
                return {"found": False, "reason": "it is not defined"}
            try:
                return page(value, content)
            except NotShown as err:
                return {"found": False, "reason": str(err)}
            except Exception as err:  # of pandas, or of a value's own text
                return {"found": False, "reason": f"{type(err).__name__}: {err}"}


def _tell(found: list[dict[str, Any]], name: str, value: Any, late: bool) -> bool:
    """Add what is known of a value, without its text if time has run out; return whether it has."""
    try:
        facts = unread(value) if late else describe(value)
    except KeyboardInterrupt:
        if late:
            raise
        late = True
        facts = unread(value)
    found.append({"name": name, **facts, **({"members": True} if has_members(value) else {})})
    return late


def _place(content: dict[str, Any]) -> tuple[str, int]:
    code = str(content.get("code") or "")
    cursor = content.get("cursor_pos")
    return code, min(max(cursor, 0), len(code)) if isinstance(cursor, int) else len(code)


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """Drop this thread's warnings, since the user has not run the code that they are about.

    Unlike `warnings.catch_warnings`, this does not affect other threads, nor which warnings Python has shown already.
    """
    show, me = warnings.showwarning, threading.get_ident()

    def show_others(*args: Any, **options: Any) -> None:
        if threading.get_ident() != me:
            show(*args, **options)

    warnings.showwarning = show_others
    try:
        yield
    finally:
        warnings.showwarning = show
