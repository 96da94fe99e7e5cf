"""The handle by which code of the local namespace reaches the ranks without magics."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from .arguments import Parser, names, ranks
from .client import ALL, Client, Info, RankError, Run
from .dip import find
from .magic import Magic


class Dipper:
    """The ranks, for code.

    `ranks` in its methods is "all", a number, numbers, or a list such as "0,2-3" or "host:gpu2". Methods may be
    called from any thread.
    """

    RankError = RankError

    def __init__(self, client: Client):
        self._client = client

    @property
    def ranks(self) -> list[int]:
        """The ranks of the pool: `[0, 1, …]`. Empty before there is one."""
        return [rank["rank"] for rank in self.info().get("ranks") or []]

    def push(self, *names: str, ranks: Any = ALL, **values: Any) -> None:
        """Push variables of the local namespace by name, and `values` under their names.

        All ranks get all of it, or none gets any. Raises NameError or CommandError.
        """
        variables = {**find(_named(names, "push"), self._client.shell.user_ns), **values}
        if not variables:
            raise TypeError("push: which variables?")
        self._client.push(variables, _listed(ranks))

    def pull(self, *names: str, rank: Any = 0) -> Any:
        """Return the value of a variable of a rank, or a tuple of several.

        With `rank="all"`, or several ranks, each is a list by rank. Raises CommandError.
        """
        wanted = _named(names, "pull")
        if not wanted:
            raise TypeError("pull: which variables?")
        values = self._client.pull(wanted, _listed(rank), bind=False)
        found = tuple(values[name] for name in names)
        return found[0] if len(names) == 1 else found

    def run(self, code: str, ranks: Any = None, see: Any = ALL, wait: bool = True) -> Run | None:
        """Run code on the ranks, all if none are given, and show the output of those in `see`.

        Waits for the end and raises RankError if it fails; with `wait=False` it returns a `Run` at once.
        """
        if not isinstance(code, str):
            raise TypeError(f"run: code is a string, not {type(code).__name__}")
        on = ALL if ranks is None else _listed(ranks)
        run, waited = self._client.run(code, ranks=on, see=_listed(see), wait=bool(wait))
        return None if waited else Run(self._client, run)

    def interrupt(self) -> int:
        """Interrupt what runs on the ranks. Returns how many runs these were."""
        return self._client.commands.ask("interrupt")["interrupted"]

    def info(self) -> Info:
        """Return what `%makedip -i` shows, as a dict that prints like that."""
        return self._client.info()

    def __repr__(self) -> str:
        return "<dipper: .ranks .push() .pull() .run() .interrupt() .info()>"


def _named(given: Iterable[Any], method: str) -> list[str]:
    for name in given:
        if not isinstance(name, str) or not name.isidentifier():
            raise TypeError(f"{method}: names of variables are strings such as 'x', not {name!r}")
    return list(dict.fromkeys(given))


def _listed(given: Any) -> str:
    """Return ranks in the form that the server reads. Raises ValueError."""
    if isinstance(given, Iterable) and not isinstance(given, str):
        given = ",".join(map(str, given))
    try:
        return ranks(str(given))
    except ValueError as err:
        raise ValueError(f"{given!r} are no ranks; {err}") from None


_DIPPER = Parser(
    "%dipper",
    "get a handle on the ranks, for code that is no magic.",
    words="[NAME]",
    words_help="the variable that the handle is bound to; without it, it is returned",
    notes="The handle has .ranks, .push(*names, **values), .pull(*names, rank=0), .run(code), .interrupt() and "
    ".info(); help(NAME) tells about them.",
    examples=("%dipper d", 'd.push(lr=0.1); d.run("print(lr)")', 'losses = d.pull("loss", rank="all")'),
)


def _dipper(client: Client, given: SimpleNamespace, _: Any) -> Dipper | None:
    wanted = names(given.words, _DIPPER)
    if len(wanted) > 1:
        raise _DIPPER.fail("%dipper: one name is enough.")
    handle = Dipper(client)
    if not wanted:
        return handle
    client.shell.push({wanted[0]: handle})
    return None


MAGICS = (Magic(_DIPPER, _dipper),)
