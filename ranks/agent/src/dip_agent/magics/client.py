"""What magics do once their lines are parsed: ask the server, move variables, run bodies here."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from .. import ranklist
from ..commands import CommandError, Commands
from ..transfer import Pushed, TransferError, pack, unpack

ALL = "all"


class RankError(RuntimeError):
    """Code failed on ranks, whose tracebacks have been shown.

    `run` is the run's id, `status` says how it ended ("error", "interrupted" or "died"), and `parts` has
    `{"rank", "status", "ename", "evalue"}` for each rank.
    """

    def __init__(self, reply: Mapping[str, Any]):
        self.run = reply["run"]
        self.status = reply["run_status"]
        self.parts = list(reply.get("parts") or [])
        super().__init__(_failure(self.parts, reply.get("reason") or self.status))

    def _render_traceback_(self) -> list[str]:
        """IPython's hook: show one line, since the ranks' own tracebacks have been shown."""
        return [f"RankError: {self}"]


class Info(dict):
    """The server's description of the pool: docs/wire.md, "Commands". Prints as a table."""

    def __repr__(self) -> str:
        ranks = self.get("ranks") or []
        if self["state"] == "starting":
            return self._headline()
        if not ranks:
            return self._none()
        hosts = self.get("hosts") or []

        def at(host: str | None) -> tuple[str, ...]:  # a column of its own, if there are several
            return (host or "",) if hosts else ()

        rows = [("rank", *at("host"), "pid", "device", "state", "host memory", "GPU memory")]
        rows += [
            (
                str(rank["rank"]),
                *at(rank.get("host")),
                str(rank["pid"]),
                rank["device"],
                rank["state"],
                _size(rank.get("host_bytes")),
                "-" if rank["device"] == "cpu" else _size(rank.get("gpu_bytes")),
            )
            for rank in ranks
        ]
        if local := self.get("local"):
            rows.append(
                ("local", *at(local.get("host")), str(local["pid"]), "", "", _size(local.get("host_bytes")), "")
            )
        lines = [self._headline(), *_columns(rows)]
        lines += [
            f"{host['host']} is {host['state']}" + (f": {host['reason']}" if host.get("reason") else "")
            for host in hosts
            if host["state"] != "reachable"
        ]
        if self["state"] == "dead":
            lines.append("restart it with %makedip -r")
        return "\n".join(lines)

    def _none(self) -> str:
        text = f"no pool: {self['reason']}" if self.get("reason") else "no pool"
        if "%makedip" not in text:
            text += "; make one with %makedip -n 4 or -g all"
        return f"{text}\nautodip: {self['autodip']}" if self.get("autodip") else text

    def _headline(self) -> str:
        size = self["size"]
        facts = [
            f"{size} rank{'s' * (size != 1)}" if size or self["state"] != "starting" else "",
            self["state"] + (f" ({why})" if (why := self.get("reason") or self.get("text")) else ""),
            f"app {self.get('app') or 'none'}",
            f"backend {self.get('backend') or 'none'}",
            f"started by {self['method']}" if self.get("method") else "",
            f"verbose {'on' if self.get('verbose') else 'off'}",
            f"autodip {self.get('autodip') or 'off'}",
        ]
        return "pool: " + ", ".join(filter(None, facts))


class Client:
    """The local namespace's side. Made with the shell, before the fork that gives it its `commands`."""

    def __init__(self, shell: InteractiveShell):
        self.shell = shell
        self.commands: Commands | None = None  # a rank has none
        self._pushed = Pushed()
        self._unpacking = threading.RLock()  # one thread at a time unpickles

    def require(self, spelling: str) -> None:
        """Raise UsageError if `spelling` cannot work in this process."""
        if self.commands is None:
            raise UsageError(
                f"{spelling} works in the local namespace, not on a rank: put it into a cell without %%dip, or with "
                "%%dip local while autodip is on."
            )

    def push(self, variables: dict[str, Any], ranks: str = ALL) -> None:
        """Bind variables on ranks, all or none of them. Raises CommandError."""
        try:
            outgoing = pack(variables, self.shell.user_ns)
        except TransferError as err:
            raise CommandError("TransferError", f"{err}; nothing was pushed") from err
        with outgoing:
            reply = self.commands.ask("push", names=list(variables), ranks=ranks, payload=outgoing.payload)
        shared = self._pushed.add(reply.get("pool", 0), reply["ranks"], variables, outgoing.parts)
        for notice in filter(None, (outgoing.notice, shared)):
            print(notice)

    def pull(self, names: list[str], ranks: str, bind: bool) -> dict[str, Any]:
        """Return variables of ranks by name: the value if `ranks` is one number, otherwise a list by rank.

        With `bind` they become variables of the local namespace. If it raises CommandError, nothing has changed.
        """
        with self.commands.holding("pull", names=names, ranks=ranks) as reply, self._unpacking:
            return self._take(names, reply["payloads"], ranks.removeprefix("-").isdecimal(), bind)

    def _take(self, names: list[str], payloads: list[dict[str, Any]], single: bool, bind: bool) -> dict[str, Any]:
        incoming = []
        try:
            for part in payloads:
                rank = part["rank"]
                incoming.append(unpack(names, part["payload"], self.shell.user_ns))
            by_rank = [one.values for one in incoming]
            values = by_rank[0] if single else {name: [found[name] for found in by_rank] for name in names}
            for one in incoming:
                one.values = {}  # bound below, all at once; the globals that came with functions stay in any case
                one.commit()
            if bind:
                self.shell.user_ns.update(values)
            return values
        except BaseException as err:
            for one in reversed(incoming):
                one.abort()
            if isinstance(err, TransferError):
                raise CommandError("TransferError", f"rank {rank}: {err}; nothing was pulled") from err
            raise

    def run(self, code: str, *, place: tuple[str, int] = ("", 1), **how: Any) -> tuple[str, bool]:
        """Run code on ranks. Returns the run's id, and whether its end was waited for.

        `place` is path and line of the code. `how` may have the command's `ranks`, `see`, `quiet`, `app_command`,
        `anyway`, `wait`, `px` and `verbose`. Raises CommandError, or RankError if the code fails.
        """
        path, line = place
        options = {"ranks": ALL, "see": "", "quiet": False, "app_command": "", "anyway": False, "wait": True, **how}
        reply = self.commands.ask("run", code=code, path=path, line=line, **options)
        waited = bool(reply.get("run_status"))
        if waited:
            check(reply)
        return reply["run"], waited

    def run_here(self, code: str) -> None:
        """Run the body of the running magic in the local namespace. Raises what that raises."""
        self.shell.run_cell(code, store_history=False).raise_error()

    def result(self, run: str) -> dict[str, Any]:
        """Wait for the end of a run, "" being the last one on the ranks. Returns the reply, which has "parts"."""
        return self.commands.ask("result", run=run)

    def info(self) -> Info:
        """Return a description of the pool."""
        return Info(self.commands.ask("info")["pool"])

    def pxconfig(self, **said: Any) -> dict[str, Any]:
        """Set the defaults of %px. Returns those that now hold: `targets`, `block`, `verbose`."""
        return self.commands.ask("pxconfig", **said)

    def autodip(self, on: bool | None = None, **how: Any) -> str:
        """Switch autodip, or with None only ask. Returns the directive by which cells run, "" if it is off.

        `how` may have `flags`, those of a %%dip, or `px`, by which cells run as %%px.
        """
        return self.commands.ask("autodip", on=on, **how)["autodip"]


class Run:
    """A run that was started on ranks. `id` is its id."""

    def __init__(self, client: Client, run: str):
        self._client = client
        self.id = run

    def wait(self) -> list[dict[str, Any]]:
        """Wait for its end. Raises RankError if it failed.

        Returns `{"rank", "status", "output", "result"}` for each rank: what it printed, and its value as text.
        """
        reply = self._client.result(self.id)
        check(reply)
        return reply["parts"]

    def __repr__(self) -> str:
        return f"<run {self.id} on the ranks; .wait() waits for its end>"


def autodip_state(directive: str) -> str:
    """Return a sentence about the directive that `Client.autodip` has returned."""
    return f"Autodip: on, cells run as {directive}" if directive else "Autodip: off"


def check(reply: Mapping[str, Any]) -> None:
    """Raise RankError if a run has failed."""
    if reply["run_status"] != "ok":
        raise RankError(reply)


def describe_failure(part: Mapping[str, Any], reason: str = "") -> str:
    """Return one line about a failed part of a run."""
    if not part.get("ename"):
        return reason or part["status"]
    text = str(part.get("evalue", "")).partition("\n")[0]
    return f"{part['ename']}: {text}" if text else part["ename"]


def _failure(parts: list[dict[str, Any]], reason: str) -> str:
    groups: dict[str, list[int]] = {}
    for part in parts:
        if part["status"] != "ok":
            groups.setdefault(describe_failure(part), []).append(part["rank"])
    if not groups or any(part["status"] == "died" for part in parts):
        return reason  # it names the ranks that died; the others may then end in any way
    return "; ".join(f"{text} — {ranklist.name(on)}" for text, on in groups.items())


def _size(count: int | None) -> str:
    if count is None:
        return "?"
    mebibytes = count / (1 << 20)
    return f"{mebibytes:.0f} MiB" if mebibytes < 10_000 else f"{mebibytes / 1024:.1f} GiB"


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
