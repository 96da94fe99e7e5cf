"""`input()` and `getpass()`: the server asks whoever can type, in an editor or at a terminal."""

from __future__ import annotations

from typing import Any, Callable

from .asking import Questions
from .interrupts import Interrupts

AT_A_BREAKPOINT = "Split the cell there: what it has set can be looked at after each part, on every rank."

_LONGEST = 1000  # characters of a prompt; of a longer one the end is asked with, once all of it has been printed


class NoKeyboardError(RuntimeError):
    """`input()` or the like was called where nobody can type."""

    def __init__(self, what: str, advice: str):
        super().__init__(f"{what} cannot work here: no keyboard is connected to this process. {advice}")


def no_keyboard(what: str, advice: str) -> Callable[..., Any]:
    """Return a replacement for a function that would wait for somebody to type."""

    def refuse(*_: Any, **__: Any) -> None:
        raise NoKeyboardError(what, advice)

    return refuse


_ADVICE = "Put the value into the file, into an environment variable or on the command line."


class Keyboard:
    """Asks for a line, on any thread, while a cell runs."""

    def __init__(self, post: Callable[[str, dict[str, Any]], None], interrupts: Interrupts):
        """`post(type, content)` sends a message."""
        self._questions = Questions("input", post, interrupts)
        self._interrupts = interrupts
        self.answer = self._questions.answer  # takes a reply; called by the thread that has received it
        self.connected = False  # a cell runs, whose user may be asked; set by the main thread

    def input(self, prompt: object = "", /) -> str:
        """Read a line, as the built-in function does: without its end. Raises EOFError and NoKeyboardError."""
        return self._ask("input()", str(prompt), False)

    def getpass(self, prompt: str = "Password: ", stream: Any = None, **_: Any) -> str:
        """Read a line that is not shown while it is typed, as `getpass.getpass` does."""
        return self._ask("getpass()", str(prompt), True)

    def _ask(self, what: str, prompt: str, password: bool) -> str:
        if not self.connected or self._questions.in_fork:
            raise NoKeyboardError(what, _ADVICE)
        if self._interrupts.wanted:  # otherwise a loop that catches KeyboardInterrupt, as pdb's, could not be left
            raise EOFError("this run was interrupted, so nothing more is asked")
        printed, _, line = prompt.rpartition("\n")
        if len(line) > _LONGEST:
            printed, line = prompt, line[-_LONGEST:]
        if printed:
            print(printed)
        reply = self._questions.ask(self._questions.number(), prompt=line, password=password)
        if reply.get("status") == "ok":
            return str(reply.get("value", ""))
        if reply.get("status") == "error":
            raise NoKeyboardError(what, _ADVICE)
        raise EOFError("no more is typed" if reply.get("status") == "eof" else "the cell that asked has ended")
