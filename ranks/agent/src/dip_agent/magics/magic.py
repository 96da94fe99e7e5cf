"""One magic: an entry of our tables, and what IPython gets for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import no_var_expand

from ..commands import CommandError
from .arguments import Parser
from .client import Client


@dataclass(frozen=True)
class Magic:
    """A line or cell magic, with the parser's name.

    `serve(client, arguments, rest)` does its work. `arguments` are the parsed line, or the line itself if the parser
    leaves it raw. `rest` is a cell magic's body, or the local variables at the place where a line magic stands.
    """

    parser: Parser
    serve: Callable[[Client, Any, Any], Any]

    def register(self, shell: InteractiveShell, client: Client) -> None:
        """Make it a magic of the shell."""
        if self._is_cell:

            def function(line: str, cell: str) -> Any:
                return self._run(client, line, cell)
        else:

            def function(line: str, local_ns: dict[str, Any]) -> Any:
                return self._run(client, line, local_ns)

            function.needs_local_scope = True
        function.__doc__ = self.parser.help
        no_var_expand(function)  # text between braces is code for the ranks, or part of an f-string
        shell.register_magic_function(function, "cell" if self._is_cell else "line", self.parser.spelling.lstrip("%"))

    @property
    def _is_cell(self) -> bool:
        return self.parser.spelling.startswith("%%")

    def _run(self, client: Client, line: str, rest: Any) -> Any:
        if line.strip() in ("-h", "--help"):
            print(self.parser.help)
            return None
        client.require(self.parser.spelling)
        arguments = line if self.parser.raw else self.parser.parse(line)
        if arguments is None:
            print(self.parser.help)
            return None
        try:
            return self.serve(client, arguments, rest)
        except CommandError as err:
            if err.ename != "UsageError":
                raise
            raise UsageError(f"{self.parser.spelling}: {err}") from None
