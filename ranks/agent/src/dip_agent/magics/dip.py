"""Ddip's magics."""

from __future__ import annotations

import re
from collections import ChainMap
from types import SimpleNamespace
from typing import Any

from .arguments import Flag, Parser, count, gpus, name, names, ranks, seconds, seed, truth
from .client import ALL, Client, autodip_state
from .magic import Magic

_RANKS = "all, 0,2-3, host:NAME, or each:0"

_MAKEDIP = Parser(
    "%makedip",
    "make, restart, end or describe the pool of ranks.",
    (
        Flag(
            ("-g", "--gpus"),
            "a rank on each of these GPUs, all or numbers such as 0,2",
            "IDS",
            gpus,
            ranks=True,
        ),
        Flag(("-n", "--ranks"), "number of ranks, of all hosts", "N", count, 0),
        Flag(
            ("-H", "--hosts"),
            "hosts of the ranks: gpu1,gpu2:4 (ssh), slurm, 'slurm -N 2', 'exec[gpu1] COMMAND'; '' is this machine",
            "HOSTS",
        ),
        Flag(("--ranks-per-host",), "number of ranks on each host that does not say so itself", "N", count, 0),
        Flag(
            ("-a", "--app"),
            "what frames the pool's life: torch, none, fastai, accelerate, or a Python module or file of yours",
            "APP",
            default="",
        ),
        Flag(("-r", "--restart"), "end the pool that there is and start anew", default=False),
        Flag(("--shrink",), "with -r: without the hosts that are lost", default=False),
        Flag(
            ("--sync",),
            "bring changed Python files of the project to the hosts before each run",
            default=False,
        ),
        Flag(("-k", "--kill"), "end the pool", default=False),
        Flag(("-i", "--info"), "show the ranks: process, device, state, memory", default=False),
        Flag(("-v", "--verbose"), "have the app tell what it does", "True|False", truth, otherwise=True),
        Flag(("-t", "--timeout"), "give the start up after so many seconds", "SECONDS", seconds, 0),
        Flag(("--seed",), "where random generators begin: rank r with N + r; none: anywhere", "N", seed),
        Flag(("--check",), "have torch raise where the ranks call different collectives", default=False),
        Flag(
            ("--group-timeout",),
            "how long a collective waits for other ranks (default: a day)",
            "SECONDS",
            seconds,
            0,
        ),
    ),
    notes="Without flags: describe the pool, or make one with a rank for every GPU if there is none. Without a GPU the "
    "ranks run on the CPU. What --check has torch do costs time; a restart without it ends that.",
    examples=("%makedip -g all", "%makedip -r -n 4 -a torch", "%makedip -H gpu1,gpu2 -n 16", "%makedip -i"),
)


def _makedip(client: Client, given: SimpleNamespace, _: Any) -> None:
    if given.restart and given.kill:
        raise _MAKEDIP.fail("%makedip: --restart starts a pool and --kill ends it; write one of the two.")
    if given.kill and (given.gpus or given.ranks):
        raise _MAKEDIP.fail("%makedip: --kill ends the pool; to make another one write --restart.")
    said = given.verbose is not None or given.seed is not None or given.check or given.group_timeout
    said = said or given.hosts is not None or given.ranks_per_host or given.shrink or given.sync
    asked = any((given.gpus, given.ranks, given.app, given.restart, given.kill, said))
    if not asked:
        info = client.info()
        if given.info or info["state"] not in ("none", "stopped"):
            print(info)
            return
    reply = client.commands.ask(
        "make",
        gpus=given.gpus,
        ranks=given.ranks,
        app=given.app,
        restart=given.restart,
        kill=given.kill,
        timeout=given.timeout,
        verbose=given.verbose,
        seed=given.seed,
        check=given.check,
        group_timeout=given.group_timeout,
        hosts=given.hosts,
        ranks_per_host=given.ranks_per_host,
        shrink=given.shrink,
        sync=given.sync,
    )
    if reply["text"]:
        print(reply["text"])
    if given.info:
        print(client.info())


_DIPUSH = Parser(
    "%dipush",
    "push variables of the local namespace to the ranks.",
    (Flag(("-r", "--ranks"), f"to these ranks, {_RANKS} (default: all)", "RANKS", ranks, ALL),),
    "NAMES…",
    "variables, separated by blanks or commas",
    notes="The ranks get copies, under the same names: all of them get all of the variables, or, if something fails, "
    "none gets any. Functions and classes of the file can be pushed like any other value. What belongs together, such "
    "as a model and its optimizer, goes in one push: in two, each would have parameters of its own.",
    examples=("%dipush foobar var_printer", "%dipush -r 0 table", "%dipush -r host:gpu2 table"),
)


def _dipush(client: Client, given: SimpleNamespace, local_ns: dict[str, Any]) -> None:
    wanted = names(given.words, _DIPUSH)
    if not wanted:
        raise _DIPUSH.misuse("%dipush: which variables?")
    client.push(find(wanted, ChainMap(local_ns, client.shell.user_ns)), given.ranks)


def find(wanted: list[str], namespace: Any) -> dict[str, Any]:
    """Return the variables `wanted` of a namespace. Raises NameError, which names all that are missing."""
    missing = [name for name in wanted if name not in namespace]
    if missing:
        listed = ", ".join(map(repr, missing))
        are = f"name {listed} is" if len(missing) == 1 else f"names {listed} are"
        raise NameError(f"{are} not defined in the local namespace; nothing was pushed")
    return {name: namespace[name] for name in wanted}


_DIPULL = Parser(
    "%dipull",
    "pull variables of a rank into the local namespace.",
    (
        Flag(
            ("-r", "--ranks"),
            "from this rank (default: 0); from all, 0,2-3, host:NAME or each:0 each name becomes a list by rank",
            "RANK",
            ranks,
            "0",
        ),
    ),
    "NAMES…",
    "variables, separated by blanks or commas",
    notes="The variables become variables of the local namespace under the same names: all of them, or, if something "
    "fails, none.",
    examples=("%dipull loss", "%dipull -r 1 loss model", "%dipull -r all loss", "%dipull -r each:0 loss"),
)


def _dipull(client: Client, given: SimpleNamespace, _: Any) -> None:
    wanted = names(given.words, _DIPULL)
    if not wanted:
        raise _DIPULL.misuse("%dipull: which variables?")
    client.pull(wanted, given.ranks, bind=True)


def transfer(client: Client, wanted: dict[str, Any]) -> None:
    """Do what %dipush or %dipull does, as `wanted`, the `transfer` of an execute_request, says."""
    named = list(dict.fromkeys(map(name, wanted["names"])))
    if wanted["pull"]:
        client.pull(named, wanted["ranks"], bind=True)
    else:
        client.push(find(named, client.shell.user_ns), wanted["ranks"])


_AUTODIP = Parser(
    "%autodip",
    "have the cells that follow run on the ranks, or not.",
    (),
    "on|off [flags of %%dip]",
    "on: cells that do not say themselves where they run, run on the ranks, with these flags. off: they run in the "
    "local namespace. Neither: say which of the two holds",
    raw=True,
    notes="The flags may also stand in quotes after -a or --args, as in Ddip. A cell runs locally all the same if its "
    "first line is #dip_locally, %%dip local, or another magic.",
    examples=("%autodip on", "%autodip on --see all", '%autodip on -a "--see all"', "%autodip off"),
)


def _autodip(client: Client, line: str, _: Any) -> None:
    words = _AUTODIP.split(line)
    said = [word for word in words if word.raw.lower() in ("on", "off")]
    if not words:
        print(autodip_state(client.autodip()))
        return
    if len(said) != 1:
        raise _AUTODIP.fail(f"%autodip: write on or off{' first' if not said else ', not both'}.")
    on = said[0].raw.lower() == "on"
    words.remove(said[0])
    if words and not on:
        raise _AUTODIP.fail("%autodip: off takes no flags.")
    print(autodip_state(client.autodip(on, flags=_dip_flags(words))))


def _dip_flags(words: list[Any]) -> str:
    """Return flags in the form of %%dip. Ddip has them in quotes, after a flag that in %%dip is the app's command."""
    found = []
    rest = iter(words)
    for word in rest:
        name, equals, attached = word.text.partition("=")
        if name not in ("-a", "--args") or (name == "-a" and equals):
            found.append(word.raw)
            continue
        if equals:
            found.append(attached)
            continue
        value = next(rest, None)
        if value is None:
            raise _AUTODIP.fail(f"%autodip: {name} needs a value, flags of %%dip in quotes.")
        if name == "--args" or value.text.startswith("-"):
            found.append(value.text)
        else:
            found += [word.raw, value.raw]
    return " ".join(filter(None, found))


_SEE = Flag(("-S", "--see"), f"show the output of these ranks, {_RANKS} (default: 0)", "RANKS", ranks, "", ranks=True)
_QUIET = Flag(("-q", "--quiet"), "show errors at once, and what is printed at the end", default=False)
_APPCMD = Flag(("-a", "--appcmd"), "a command for the pool's app, given before the cell", "APPCMD", default="")
_ONLY = Flag(("-r", "--ranks"), f"run on these ranks only, {_RANKS}", "RANKS", ranks, ALL, ranks=True)
_ANYWAY = Flag(("--anyway",), "run also on ranks that are out of step after an earlier run", default=False)

_DIP = Parser(
    "%%dip",
    "run a cell on the ranks, in the local namespace, or in both.",
    (_SEE, _QUIET, _APPCMD, _ONLY, _ANYWAY),
    "[remote|local|everywhere]",
    "remote: on the ranks, as without it. local or locally: in the local namespace. everywhere: in the local "
    "namespace, then on the ranks",
    notes="It is the first line of the cell, or, commented, the line under the cell's marker. An error is shown "
    "whichever rank it comes from.",
    examples=("%%dip", "%%dip everywhere", "%%dip --see all -r 0-3"),
)

_TARGET = re.compile(r"(?P<where>remote|local|locally|everywhere|ranks)(?::(?P<ranks>.+))?")


def _dip(client: Client, given: SimpleNamespace, body: str) -> None:
    where, ranks_ = _target(given.words)
    place = client.shell.compile.where()
    if where in ("local", "locally", "everywhere"):
        client.run_here(body)
    if where in ("remote", "everywhere"):
        on = given.ranks if ranks_ is None else ranks_
        shown = {"see": given.see, "quiet": given.quiet}
        client.run(body, place=place, ranks=on, app_command=given.appcmd, anyway=given.anyway, **shown)


def _target(words: list[str]) -> tuple[str, str | None]:
    """Return "remote", "local" or "everywhere", and the ranks of `ranks:0-3` or `everywhere:0-3`. Raises UsageError."""
    if not words:
        return "remote", None
    match = _TARGET.fullmatch(words[0])
    if match is None or len(words) > 1 or (match["where"] == "ranks") > bool(match["ranks"]):
        raise _DIP.fail(f"%%dip: {' '.join(words)!r} is no target; write remote, local, everywhere, or ranks:0-3.")
    listed = match["ranks"]
    if listed is not None:
        if match["where"] not in ("ranks", "everywhere"):
            raise _DIP.fail(f"%%dip: {match['where']} has no ranks; write ranks:{listed} or everywhere:{listed}.")
        try:
            listed = ranks(listed)
        except ValueError as err:
            raise _DIP.fail(f"%%dip: {words[0]}: {err}.") from None
    return ("remote" if match["where"] == "ranks" else match["where"]), listed


_RANK = Parser(
    "%%rank",
    "run a cell on some ranks only, as %%dip -r does.",
    (_SEE, _QUIET, _APPCMD, _ANYWAY),
    "RANKS",
    f"the ranks: {_RANKS}",
    examples=("%%rank 0", "%%rank 0,2-3 --see all"),
)


def _rank(client: Client, given: SimpleNamespace, body: str) -> None:
    try:
        on = ranks(",".join(word.strip(",") for word in given.words))
    except ValueError as err:
        raise _RANK.fail(f"%%rank: {err}.") from None
    shown = {"see": given.see, "quiet": given.quiet}
    client.run(
        body,
        place=client.shell.compile.where(),
        ranks=on,
        app_command=given.appcmd,
        anyway=given.anyway,
        **shown,
    )


MAGICS = (
    Magic(_MAKEDIP, _makedip),
    Magic(_DIPUSH, _dipush),
    Magic(_DIPULL, _dipull),
    Magic(_AUTODIP, _autodip),
    Magic(_DIP, _dip),
    Magic(_RANK, _rank),
)
