"""ipyparallel's magics."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from .. import ranklist
from .arguments import Flag, Parser, name, ranks
from .client import ALL, Client, Run, autodip_state, describe_failure
from .magic import Magic

_TARGETS = Flag(
    ("-t", "--targets"),
    "on these ranks: all, 0,2-3, -1 for the last one, ::2, host:NAME, each:0",
    "RANKS",
    ranks,
    ranks=True,
)
_BLOCK = Flag(("-b", "--block"), "wait for the end, as without it", dest="block")
_NOBLOCK = Flag(("-a", "--noblock"), "do not wait; %pxresult does", dest="block", const=False)
_VERBOSE = Flag(("--verbose",), "tell on which ranks the code runs", dest="verbose")
_NO_VERBOSE = Flag(("--no-verbose",), "do not", dest="verbose", const=False)
_OUT = Flag(
    ("-o", "--out"), "bind NAME to a handle on the run: NAME.wait() waits, and tells what came of it", "NAME", name
)

# Flags by which ipyparallel arranges its output.
_ARRANGING = (
    Flag(("-e",), ""),
    Flag(("-r",), ""),
    Flag(("--group-outputs",), "", "GROUP"),
    Flag(("--stream",), ""),
    Flag(("--no-stream",), ""),
    Flag(("--progress-after",), "", "SECONDS"),
)

_PX = Parser(
    "%px",
    "run a line of code on the ranks and show what all of them print.",
    tuple(replace(flag, names=flag.names[-1:]) for flag in (_TARGETS, _BLOCK, _NOBLOCK, _VERBOSE, _NO_VERBOSE, _OUT)),
    words="CODE",
    words_help="Python, or a magic such as %pwd",
    raw=True,
    notes="Flags stand before the code. What they do not say %pxconfig sets. What is not waited for is a handle: "
    "ar = %px --noblock train(), then ar.wait().",
    examples=("%px import torch", "%px --targets 0 torch.cuda.memory_allocated()"),
    hidden=_ARRANGING,
)


def _px(client: Client, line: str, _: Any) -> Run | None:
    parsed = _PX.parse_front(line)
    if parsed is None:
        print(_PX.help)
        return None
    given, code = parsed
    if not code.strip():
        raise _PX.misuse("%px: which code?")
    return _execute(client, code, given)


_CELL_PX = Parser(
    "%%px",
    "run a cell on the ranks and show what all of them print.",
    (
        _TARGETS,
        Flag(("--local",), "run it in the local namespace, too, and there first", default=False),
        _BLOCK,
        _NOBLOCK,
        _VERBOSE,
        _NO_VERBOSE,
        _OUT,
    ),
    notes="What the flags do not say %pxconfig sets.",
    examples=("%%px", "%%px --targets 0-1 --local"),
    hidden=_ARRANGING,
)


def _cell_px(client: Client, given: SimpleNamespace, body: str) -> Run | None:
    if given.local:
        client.run_here(body)
    return _execute(client, body, given)


def _execute(client: Client, code: str, given: SimpleNamespace) -> Run | None:
    """Run code on the ranks. Returns a handle on the run if it is not waited for."""
    said = {"ranks": given.targets or "", "wait": given.block, "verbose": given.verbose}
    run, waited = client.run(code, place=client.shell.compile.where(), see=ALL, px=True, **said)
    handle = Run(client, run)
    if given.out:
        client.shell.user_ns[given.out] = handle
    return None if waited else handle


_PXCONFIG = Parser(
    "%pxconfig",
    "set how %px, %%px and %autopx run code that does not say it itself.",
    (_TARGETS, _BLOCK, _NOBLOCK, _VERBOSE, _NO_VERBOSE),
    notes="Without flags it tells what is set.",
    examples=("%pxconfig --targets 0-1", "%pxconfig --noblock"),
    hidden=_ARRANGING,
)


def _pxconfig(client: Client, given: SimpleNamespace, _: Any) -> None:
    said = {key: value for key, value in vars(given).items() if key != "words" and value is not None}
    config = client.pxconfig(**said)
    if not said:
        waits = "--block" if config["block"] else "--noblock"
        print(f"%pxconfig --targets {config['targets']} {waits} {'--verbose' if config['verbose'] else '--no-verbose'}")


_PXRESULT = Parser(
    "%pxresult",
    "wait for the end of the last code on the ranks; show what it returned or how it failed.",
    (_OUT,),
    notes="What was printed is shown as it comes, and not again: of a cell with %%px that of all ranks. Of one with "
    "%%dip, where others than rank 0 are silent, this shows what those have printed.",
    examples=("%pxresult",),
    hidden=_ARRANGING,
)


def _pxresult(client: Client, given: SimpleNamespace, _: Any) -> None:
    reply = client.result("")
    if given.out:
        client.shell.user_ns[given.out] = Run(client, reply["run"])
    lines = [line for part in reply["parts"] for line in _shown(part, reply.get("reason", ""))]
    if not reply["parts"]:
        lines = [f"It came to no rank: {reply.get('reason') or reply['run_status']}."]
    elif not lines:
        on = ranklist.name(part["rank"] for part in reply["parts"])
        is_more = "more was printed, and nothing" if any(map(_was_shown, reply["parts"])) else "was printed or"
        lines = [f"Nothing {is_more} returned on {on}: {reply['run_status']}."]
    print("\n".join(lines))


def _was_shown(part: dict[str, Any]) -> bool:
    return bool(part.get("shown") and part.get("output"))


def _shown(part: dict[str, Any], reason: str) -> list[str]:
    rank = part["rank"]
    lines = []
    if not part.get("shown") and (output := part.get("output", "").rstrip("\n")):
        lines.append(f"[stdout:{rank}]{chr(10) if chr(10) in output else ' '}{output}")
    if part.get("result"):
        value = part["result"]
        lines.append(f"Out[{rank}]:{chr(10) if chr(10) in value else ' '}{value}")
    if part["status"] != "ok":
        lines.append(f"[error:{rank}] {describe_failure(part, reason)}")
    return lines


_AUTOPX = Parser(
    "%autopx",
    "switch autodip on, with the output of all ranks, or off if it is on.",
    notes="%pxconfig says on which ranks, and whether anything waits for them. %autodip tells more about it.",
    examples=("%autopx",),
)


def _autopx(client: Client, given: SimpleNamespace, _: Any) -> None:
    is_on = bool(client.autodip())
    print(autodip_state(client.autodip(False) if is_on else client.autodip(True, px=True)))


MAGICS = (
    Magic(_PX, _px),
    Magic(_CELL_PX, _cell_px),
    Magic(_PXCONFIG, _pxconfig),
    Magic(_PXRESULT, _pxresult),
    Magic(_AUTOPX, _autopx),
)
