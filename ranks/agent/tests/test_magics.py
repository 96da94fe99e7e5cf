"""Magics of the local namespace: what they ask of the server, what they print, what they bind, and how they fail."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest
from harness import Node, Process
from server import PATH, Ranks, answer, command, failing, run, transfer

MAGICS = (
    "%makedip",
    "%dipush",
    "%dipull",
    "%autodip",
    "%%dip",
    "%px",
    "%%px",
    "%autopx",
    "%pxconfig",
    "%pxresult",
    "%dipper",
)

OK = {"run": "r-1", "run_status": "ok", "parts": [{"rank": 0, "status": "ok"}, {"rank": 1, "status": "ok"}]}
PIECES = {"run": "r-1", "run_status": "error"}
POOL = {
    "state": "ready",
    "reason": "",
    "size": 2,
    "backend": "gloo",
    "app": "torch",
    "method": "fork",
    "verbose": False,
    "autodip": "%%dip --see all",
    "ranks": [
        {"rank": 0, "pid": 4711, "device": "cpu", "state": "ready", "host_bytes": 183500800, "gpu_bytes": None},
        {"rank": 1, "pid": 4712, "device": "cuda:1", "state": "busy", "host_bytes": None, "gpu_bytes": 20 << 30},
    ],
    "local": {"pid": 4700, "host_bytes": 91750400},
}
AWAY = {
    **POOL,
    "ranks": [{**rank, "host": f"gpu{i}"} for i, rank in enumerate(POOL["ranks"])],
    "local": {**POOL["local"], "host": "laptop"},
    "hosts": [
        {"host": "gpu0", "state": "reachable", "clock": 0.1},
        {"host": "gpu1", "state": "lost", "reason": "host gpu1 lost: no answer for 60 s", "clock": 0},
    ],
}
NO_POOL = {"state": "none", "reason": "", "size": 0, "ranks": [], "autodip": ""}


def uncoloured(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def plain(error: dict[str, Any]) -> str:
    return uncoloured("\n".join(error["traceback"]))


def value(result: Any) -> Any:
    (content,) = result.all("execute_result")
    return ast.literal_eval(content["data"]["text/plain"])


def made(**said: Any) -> dict[str, Any]:
    nothing = {"gpus": None, "ranks": 0, "app": "", "restart": False, "kill": False, "timeout": 0, "verbose": None}
    nothing.update(seed=None, check=False, group_timeout=0, hosts=None, ranks_per_host=0, shrink=False, sync=False)
    return {"command": "make", **nothing, **said}


def ran(**said: Any) -> dict[str, Any]:
    usual = {"path": PATH, "line": 10, "ranks": "all", "see": "all", "quiet": False, "app_command": "", "anyway": False}
    return {"command": "run", **usual, "wait": True, **said}


def px(**said: Any) -> dict[str, Any]:
    return ran(**{"px": True, "ranks": "", "wait": None, "verbose": None, **said})


def parts(*ranks: dict[str, Any], **reply: Any) -> dict[str, Any]:
    return {**PIECES, "parts": [{"rank": number, **part} for number, part in enumerate(ranks)], **reply}


@pytest.fixture
def ranks(node: Node, spawn: Any) -> list[Process]:
    """Two real ranks."""
    return spawn(node, 2)


# Help.


@pytest.mark.parametrize("spelling", MAGICS)
def test_help(local, spelling):
    text = local.run(f"{spelling}?").text("stdout")
    assert text.startswith(f"{spelling}: ")
    assert f"\nusage: {spelling}" in text
    assert "-h, --help" in text
    assert re.search(rf"\nexamples?:\n  .*{spelling.lstrip('%')}", text)
    assert max(map(len, text.splitlines())) <= 100
    body = "\nx = 1" if spelling.startswith("%%") else ""
    for flag in ("-h", "--help"):
        assert local.run(f"{spelling} {flag}{body}").text("stdout") == text
    assert local.run(f"?{spelling}").text("stdout") == text
    assert local.run(f"x = 1\n{spelling}??").text("stdout") == text


def test_help_without_percent_signs_and_on_ranks(local, node, spawn):
    assert local.run("dipush?").text().startswith("%dipush: ")
    assert local.run("dip?").text().startswith("%%dip: ")
    assert "Signature:" in uncoloured(local.run("def px(): 'Mine.'\npx?").text())
    (rank,) = spawn(node, 1)
    assert rank.run("%dipush?").text().startswith("%dipush: ")


def test_help_on_other_things_is_displayed(make_node):
    (local,) = make_node(env={"TERM": "xterm-256color", "PAGER": "false"}).spawn()
    assert "number of items" in local.run("len?").text()
    assert "def dumps(obj" in uncoloured(local.run("import json\njson.dumps??").text())
    assert "Object `nosuch` not found." in local.run("nosuch?").text()


@pytest.mark.parametrize("name", ["Ddip", "ddipp", "ipyparallel"])
def test_predecessors_need_no_loading(local, name):
    for line in (f"%load_ext {name}", f"%reload_ext {name}  # as in the guide"):
        assert local.run(line).text() == f"{name}: nothing needs loading, dipls has its magics built in.\n"
    assert local.run("%load_ext nosuch").content["ename"] == "ModuleNotFoundError"


# Lines that cannot be.


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("%dipush --rank 0 x", "%dipush has no flag --rank; did you mean --ranks?\nusage: %dipush [-r RANKS] NAMES…"),
        ("%makedip --gpu all", "%makedip has no flag --gpu; did you mean --gpus?\nusage: %makedip [-g IDS]"),
        ("%makedip --bogus 3", "%makedip has no flag --bogus; it has -g --gpus -n --ranks"),
        ("%makedip --rnaks 3", "%makedip has no flag --rnaks; did you mean --ranks?"),
        ("%makedip -", "%makedip takes flags only, not -."),
        ("%makedip --", "%makedip has no flag --; did you mean"),
        ("%makedip --colour red", "%makedip has no flag --colour; it has -g --gpus"),
        ("%makedip all", "%makedip takes flags only, not all."),
        ("%makedip -g", "--gpus needs a value, IDS."),
        ("%makedip -g -n 2", "--gpus needs a value, IDS."),
        ("%makedip -g some", "--gpus some: write all, or numbers such as 0,2-3."),
        ("%makedip -n 0", "--ranks 0: a whole number above 0 is needed."),
        ("%makedip -n two", "--ranks two: a whole number above 0 is needed."),
        ("%makedip -t -1", "--timeout -1: a number of seconds above 0 is needed."),
        ("%makedip -t nan", "--timeout nan: a number of seconds above 0 is needed."),
        ("%makedip --verbose=maybe", "--verbose maybe: write True or False."),
        ("%makedip --kill=yes", "--kill takes no value."),
        ("%makedip -r -k", "write one of the two"),
        ("%makedip -k -n 4", "to make another one write --restart"),
        ("%makedip -a 'torch", 'the quote in "\'torch" is never closed.'),
        ("%dipush x[0]", "'x[0]' is not the name of a variable."),
        ("%dipush", "%dipush: which variables?"),
        ("%dipush -r 0 # x", "%dipush: which variables?"),
        ("%dipull", "%dipull: which variables?"),
        ("%dipull -r one x", "--ranks one: write all, numbers such as 0,2-3, -1 for the last one, a slice"),
        ("%autodip maybe", "%autodip: write on or off first."),
        ("%autodip --see all", "%autodip: write on or off first."),
        ("%autodip on off", "%autodip: write on or off, not both."),
        ("%autodip off --see all", "off takes no flags."),
        ("%autodip on --args", "--args needs a value"),
        ("%%dip nowhere\nx = 1", "'nowhere' is no target; write remote, local, everywhere, or ranks:0-3."),
        ("%%dip local remote\nx = 1", "'local remote' is no target"),
        ("%%dip ranks:one\nx = 1", "ranks:one: write all, numbers such as 0,2-3, -1 for"),
        ("%%dip local:1\nx = 1", "local has no ranks; write ranks:1 or everywhere:1."),
        ("%%dip --sea all\nx = 1", "%%dip has no flag --sea; did you mean --see?"),
        ("%%dip", "the cell body is empty"),
        ("%px", "%px: which code?"),
        ("%%px --target 0\nx = 1", "%%px has no flag --target; did you mean --targets?"),
        ("%pxconfig --no-block", "%pxconfig has no flag --no-block; did you mean --noblock?"),
        ("%pxresult now", "%pxresult takes flags only, not now."),
        ("%px --noblok x", "%px has no flag --noblok; did you mean --noblock?"),
        ("%px --targets", "%px: --targets needs a value, RANKS."),
        (
            "%px --targets one x",
            "%px: --targets one: write all, numbers such as 0,2-3, -1 for the last one, a slice",
        ),
        ("%px --block=1 x", "%px: --block takes no value."),
        ("%px --block", "%px: which code?"),
        ("%dippush x", "Line magic function `%dippush` not found; did you mean %dipush?"),
        ("%makdip", "Line magic function `%makdip` not found; did you mean %makedip?"),
        ("%pwdd", "Line magic function `%pwdd` not found; did you mean %pwd?"),
        ("%%dpi\nx = 1", "Cell magic `%%dpi` not found; did you mean %%dip?"),
        ("%%dipush x\ny", "did you mean"),
        ("%dip", "Line magic function `%dip` not found (But cell magic `%%dip` exists, did you mean"),
        ("%nothingLikeIt", "Line magic function `%nothingLikeIt` not found."),
        ("%dipper a b", "one name is enough"),
        ("%dipper a.b", "'a.b' is not the name of a variable."),
    ],
)
def test_misuse(local, code, words):
    result = run(local, code)
    assert (result.content["ename"], result.asked) == ("UsageError", [])
    assert words in result.error["evalue"]
    assert plain(result.error) == f"UsageError: {result.error['evalue']}"


def test_misuse_without_anything_shows_the_help(local):
    for spelling in ("%dipush", "%dipull", "%px"):
        assert f"usage: {spelling}" in local.run(spelling).text("stdout")


@pytest.mark.parametrize("spelling", MAGICS)
def test_ranks_say_where_magics_work(node, spawn, spelling):
    (rank,) = spawn(node, 1)
    result = rank.run(f"{spelling} x" + ("\nx = 1" if spelling.startswith("%%") else ""), PATH)
    assert plain(result.error) == (
        f"UsageError: {spelling} works in the local namespace, not on a rank: put it into a cell without %%dip, or "
        "with %%dip local while autodip is on."
    )


# %makedip.


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-g all", {"gpus": "all"}),
        ("-g 0 2", {"gpus": "0,2"}),
        ("-g 0,2", {"gpus": "0,2"}),
        ("-g 0, 2", {"gpus": "0,2"}),
        ("-g 0 , 2", {"gpus": "0,2"}),
        ("-g0-3", {"gpus": "0-3"}),
        ("--gpus=0,2 --restart", {"gpus": "0,2", "restart": True}),
        ("--gpus '0 2'", {"gpus": "0,2"}),
        ("-n 4", {"ranks": 4}),
        ("-n4", {"ranks": 4}),
        ("--ranks 3 --app torch", {"ranks": 3, "app": "torch"}),
        ("-a 'my app.py'", {"app": "my app.py"}),
        ("-a größe.py", {"app": "größe.py"}),
        ("-r", {"restart": True}),
        ("-k", {"kill": True}),
        ("--kill -t 2.5", {"kill": True, "timeout": 2.5}),
        ("-v", {"verbose": True}),
        ("-v True", {"verbose": True}),
        ("-v false -n 2", {"verbose": False, "ranks": 2}),
        ("-g all -a fastai_v1 --verbose True", {"gpus": "all", "app": "fastai_v1", "verbose": True}),
        ("-r -g all --verbose False  # again", {"gpus": "all", "restart": True, "verbose": False}),
        ("-n 2 \\\n  -r", {"ranks": 2, "restart": True}),
        ("--seed 0", {"seed": 0}),
        ("-r --seed 4294967295", {"restart": True, "seed": 2**32 - 1}),
        ("-r --seed=none", {"restart": True, "seed": -1}),
        ("-r --check", {"restart": True, "check": True}),
        ("--group-timeout 90", {"group_timeout": 90.0}),
        ("-H gpu1,gpu2:4 -n 8", {"hosts": "gpu1,gpu2:4", "ranks": 8}),
        ("-H gpu1 --sync", {"hosts": "gpu1", "sync": True}),
        ("--hosts 'slurm -N 2' --ranks-per-host 4", {"hosts": "slurm -N 2", "ranks_per_host": 4}),
        ("-H ''", {"hosts": ""}),
        ("-r --shrink", {"restart": True, "shrink": True}),
    ],
)
def test_makedip(local, line, said):
    result = run(local, f"%makedip {line}", make={"text": "2 ranks on the CPU."})
    assert (result.asked, result.text()) == ([made(**said)], "2 ranks on the CPU.\n")


def test_makedip_info(local):
    result = run(local, "%makedip -i", info={"pool": POOL})
    assert result.asked == [{"command": "info"}]
    assert result.text().splitlines() == [
        "pool: 2 ranks, ready, app torch, backend gloo, started by fork, verbose off, autodip %%dip --see all",
        " rank   pid  device  state  host memory  GPU memory",
        "    0  4711     cpu  ready      175 MiB           -",
        "    1  4712  cuda:1   busy            ?    20.0 GiB",
        "local  4700                      88 MiB",
    ]
    assert run(local, "%makedip -i", info={"pool": AWAY}).text().splitlines()[1:] == [
        " rank    host   pid  device  state  host memory  GPU memory",
        "    0    gpu0  4711     cpu  ready      175 MiB           -",
        "    1    gpu1  4712  cuda:1   busy            ?    20.0 GiB",
        "local  laptop  4700                      88 MiB",
        "gpu1 is lost: host gpu1 lost: no answer for 60 s",
    ]
    died = {**POOL, "state": "dead", "reason": "rank 1 was killed by SIGKILL"}
    text = run(local, "%makedip", info={"pool": died}).text()
    assert "2 ranks, dead (rank 1 was killed by SIGKILL)," in text
    assert text.endswith("\nrestart it with %makedip -r\n")


def test_makedip_without_a_pool(local):
    result = run(local, "%makedip -i", info={"pool": NO_POOL})
    assert result.text() == "no pool; make one with %makedip -n 4 or -g all\n"
    gone = {**NO_POOL, "state": "stopped", "reason": "ended; make one with %makedip", "autodip": "%%dip"}
    result = run(local, "%makedip -i", info={"pool": gone})
    assert result.text() == "no pool: ended; make one with %makedip\nautodip: %%dip\n"
    starting = {**NO_POOL, "state": "starting", "size": 4}
    assert run(local, "%makedip -i", info={"pool": starting}).text().startswith("pool: 4 ranks, starting, ")
    waits = {**NO_POOL, "state": "starting", "text": "job 4711 waits: Resources"}
    text = run(local, "%makedip -i", info={"pool": waits}).text()
    assert text.startswith("pool: starting (job 4711 waits: Resources), ")
    result = run(local, "%makedip", info={"pool": NO_POOL}, make={"text": "1 rank."})
    assert (result.asked, result.text()) == ([{"command": "info"}, made()], "1 rank.\n")
    result = run(local, "%makedip", info={"pool": POOL})
    assert (result.asked, result.text().startswith("pool: 2 ranks")) == ([{"command": "info"}], True)
    result = run(local, "%makedip -n 2 -i", info={"pool": POOL}, make={"text": "2 ranks."})
    assert result.asked == [made(ranks=2), {"command": "info"}]
    assert result.text().startswith("2 ranks.\npool: 2 ranks")


def test_makedip_fails(local):
    result = run(local, "%makedip -g 9", make=failing("GPUError", "there is no GPU 9; there are 0-1"))
    assert plain(result.error) == "GPUError: there is no GPU 9; there are 0-1"
    assert (result.error["frames"][-1]["line"], result.error["frames"][-1]["file"]) == (10, PATH)


# %dipush and %dipull.


def test_push(local, ranks):
    server = Ranks(ranks)
    local.run("a, b, größe = 1, [2], 'drei'\ndef double(x): return 2 * x", PATH)
    result = run(local, "%dipush a, b größe,double a", push=server.push)
    assert (result.status, result.text(), result.all("execute_result")) == ("ok", "", [])
    (asked,) = result.asked
    assert (asked["names"], asked["ranks"]) == (["a", "b", "größe", "double"], "all")
    for rank in ranks:
        assert value(rank.run("a, b, größe, double(4)")) == (1, [2], "drei", 8)


@pytest.mark.parametrize(("flags", "on"), [("-r 0", "0"), ("-r 0,2-3", "0,2-3"), ("--ranks all", "all"), ("-r1", "1")])
def test_push_to_some(local, flags, on):
    local.run("x = 1")
    assert run(local, f"%dipush {flags} x", push={"ranks": [0]}).asked[0]["ranks"] == on
    assert run(local, f"%dipush x {flags}", push={"ranks": [0]}).asked[0]["ranks"] == on


def test_push_what_is_not_there(local):
    local.run("x = 1")
    result = run(local, "\n%dipush x y z")
    assert (result.asked, result.content["ename"]) == ([], "NameError")
    assert result.content["evalue"] == "names 'y', 'z' are not defined in the local namespace; nothing was pushed"
    assert "dip_agent" not in plain(result.error)
    assert result.error["frames"] == [{"file": PATH, "line": 11, "name": "<module>"}]


def test_push_what_cannot_be_pickled(local):
    result = run(local, "import threading; good = 1; bad = {'k': threading.Lock()}\n%dipush good bad")
    assert result.asked == []
    assert re.fullmatch(r"TransferError: bad\['k'\] cannot be pickled: .*; nothing was pushed", plain(result.error))


def test_push_that_a_rank_refuses(local, ranks):
    local.run("class Odd:\n    def __reduce__(self): return exec, ('1 / 0',)\nodd, x = Odd(), 1")
    memory = "import os; sorted(e.name for e in os.scandir('/proc/self/fd') if 'memfd' in os.readlink(e.path))"
    before = value(local.run(memory))
    result = run(local, "%dipush x odd", push=Ranks(ranks).push)
    assert (result.status, result.content["ename"]) == ("error", "TransferError")
    assert "nothing was pushed" in plain(result.error)
    assert [rank.run("x").content["ename"] for rank in ranks] == ["NameError"] * 2
    assert value(local.run(memory)) == before


def test_pull(local, ranks):
    server = Ranks(ranks)
    for number, rank in enumerate(ranks):
        rank.run(f"x, y = {number}, 'y{number}'\ndef f(): return helper()\ndef helper(): return x")
    result = run(local, "%dipull x,y", pull=server.pull)
    assert (result.status, result.text(), result.all("execute_result")) == ("ok", "", [])
    assert result.asked == [{"command": "pull", "names": ["x", "y"], "ranks": "0"}]
    assert len(result.all("command_end")) == 1
    assert value(local.run("x, y")) == (0, "y0")
    run(local, "%dipull -r 1 x y", pull=server.pull)
    assert value(local.run("x, y")) == (1, "y1")
    result = run(local, "%dipull -r all x y", pull=server.pull)
    assert value(local.run("x, y")) == ([0, 1], ["y0", "y1"])
    run(local, "%dipull -r 0,1 x", pull=server.pull)
    assert value(local.run("x")) == [0, 1]
    run(local, "%dipull x f", pull=server.pull)
    assert value(local.run("f(), helper()")) == (0, 0)


def test_pull_of_what_pulls(local, ranks):
    code = """
class Curious:
    def __setstate__(self, state):
        get_ipython().run_line_magic("dipull", "inner")
        self.function = state
def f(): return helper()
def helper(): return inner
"""
    ranks[0].run(
        f"{code}\nx, inner = Curious(), 5\nx.state = f\ndef reduce(self): return Curious, (), self.state\n"
        "Curious.__reduce__ = reduce"
    )
    run(local, "%dipull x", pull=Ranks(ranks).pull)
    assert value(local.run("x.function(), inner")) == (5, 5)


def test_pull_that_fails(local, ranks):
    server = Ranks(ranks)
    local.run("x = 'mine'")
    ranks[0].run("x = 1")
    result = run(local, "%dipull x y", pull=server.pull)
    assert plain(result.error) == "TransferError: rank 0: name 'y' is not defined; nothing was pulled"
    assert value(local.run("x")) == "mine"

    # One that is there, but not for long enough, from the second of two ranks.
    def gone(content):
        reply = server.pull(content)
        if reply.get("payloads"):
            reply["payloads"][1]["payload"] = {
                **reply["payloads"][1]["payload"],
                "host": "",
                "files": [{"path": "/proc/1/fd/99", "inode": 1, "size": 1}],
            }
        return reply

    ranks[1].run("x = 2")
    result = run(local, "%dipull -r all x", pull=gone)
    assert re.match(r"TransferError: rank 1: .*; nothing was pulled", plain(result.error))
    assert len(result.all("command_end")) == 1
    assert value(local.run("x")) == "mine"


# What they do comes without a line, too.


def test_transfers_without_a_line(local, ranks):
    server = Ranks(ranks)
    local.run("x, größe = [1], 2", PATH)
    result = transfer(local, "push", ["x", "größe", "x"], "all", push=server.push)
    assert (result.status, result.text(), result.all("error")) == ("ok", "", [])
    (asked,) = result.asked
    assert (asked["command"], asked["names"], asked["ranks"]) == ("push", ["x", "größe"], "all")
    ranks[1].run("x.append(größe)")
    result = transfer(local, "pull", ["x"], "1", pull=server.pull)
    assert (result.status, result.asked) == ("ok", [{"command": "pull", "names": ["x"], "ranks": "1"}])
    assert value(local.run("x")) == [1, 2]


def test_transfers_without_a_line_fail(local):
    result = transfer(local, "push", ["x", "y"], "all")
    sentence = "NameError: names 'x', 'y' are not defined in the local namespace; nothing was pushed"
    assert (result.status, result.asked, plain(result.error).splitlines()[-1]) == ("error", [], sentence)
    assert "dip_agent" not in plain(result.error)
    result = transfer(local, "pull", ["x"], "0", pull=failing("NameError", "no x on rank 0; nothing was pulled"))
    assert plain(result.error) == "NameError: no x on rank 0; nothing was pulled"
    result = transfer(local, "pull", ["x; import os"], "0")
    assert (result.content["ename"], result.asked) == ("ValueError", [])


def test_interrupt_of_a_transfer_without_a_line(local):
    request = local.start("", transfer={"pull": True, "names": ["x"], "ranks": "0"})
    asked = command(local)
    local.ask("interrupt_request", {"parent": request})
    ended = local.wait(lambda m: m.type == "command_end", "command_end")
    assert ended.content["id"] == asked.content["id"]
    answer(local, asked, status="aborted")
    result = local.finish(request)
    assert (result.content["ename"], result.error["ename"]) == ("KeyboardInterrupt", "KeyboardInterrupt")
    assert "dip_agent" not in plain(result.error)


# Where magics stand.


def test_places(local):
    code = """
def f():
    inner = 1
    %dipush inner
    get_ipython().run_line_magic("dipush", "inner outer")
outer = 2
f()
if outer: x = %autodip
print(x)
"""
    result = run(local, code, push={"ranks": []}, autodip={"autodip": ""})
    assert (result.status, result.text()) == ("ok", "Autodip: off\nNone\n")
    names = [asked["names"] for asked in result.asked if asked["command"] == "push"]
    assert names == [["inner"], ["inner", "outer"]]


def test_what_a_later_push_shares_is_told(local):
    """An optimizer that comes after its model moves nothing on the ranks, and no error says so."""
    pytest.importorskip("torch")

    def push(line, pool=1, ranks=(0, 1)):
        return run(local, f"%dipush {line}", push={"ranks": list(ranks), "pool": pool}).text()

    local.run(
        "import torch, numpy as np\nmodel = torch.nn.Linear(2, 2)\nopt = torch.optim.SGD(model.parameters(), lr=1)"
    )
    local.run("table = np.zeros(4)\nview = table[:2]\nother = np.zeros(2)")
    assert push("model") == ""
    text = push("opt")
    assert "opt shares 2 tensors and arrays with what was pushed earlier (model)" in text
    assert text.endswith("%dipush model opt\n")
    assert push("model opt") == ""
    assert "(opt)" in push("model")  # the optimizer there has the old parameters
    assert push("model opt", pool=2) == ""
    assert push("opt", pool=3) == ""  # a new pool has nothing yet
    assert push("table other") == ""
    assert "view shares a tensor or array" in push("view")
    local.run("table = np.zeros(4)")
    assert push("table") == ""  # another one
    assert push("-r 0 model", pool=4, ranks=[0]) + push("-r 1 opt", pool=4, ranks=[1]) == ""


# %%dip and %%px.


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", {}),
        ("remote", {}),
        ("--see all", {"see": "all"}),
        ("-S 0 2 remote", {"see": "0,2"}),
        ("-q", {"quiet": True}),
        ("-a 'lr 0.1'", {"app_command": "lr 0.1"}),
        ("-r 0-3", {"ranks": "0-3"}),
        ("--anyway", {"anyway": True}),
        ("ranks:0,1 --quiet", {"ranks": "0,1", "quiet": True}),
    ],
)
def test_dip_on_ranks(local, line, said):
    result = run(local, f"\n\n%%dip {line}\nx = 1\nx", run=OK)
    assert (result.status, result.messages[1:]) == ("ok", [])
    assert result.asked == [ran(**{"code": "x = 1\nx\n", "line": 13, "see": "", **said})]


def test_dip_here(local):
    for word in ("local", "locally"):
        result = run(local, f"%%dip {word}\nx = '{word}'\nx")
        assert (result.asked, value(result), value(local.run("x"))) == ([], word, word)
    result = run(local, "\n%%dip local\n\nx = 1\n1 / 0")
    assert result.error["frames"][-1] == {"file": PATH, "line": 14, "name": "<module>"}
    assert "dip_agent" not in plain(result.error)


def test_dip_everywhere(local):
    result = run(local, "%%dip everywhere --see all\nprint('here')", run=OK)
    assert (result.text(), result.asked) == ("here\n", [ran(code="print('here')\n", line=11)])
    result = run(local, "%%dip everywhere:1\nx = 5", run=OK)
    assert (value(local.run("x")), result.asked[0]["ranks"]) == (5, "1")
    result = run(local, "%%dip everywhere\n1 / 0", run=OK)
    assert (result.content["ename"], result.asked) == ("ZeroDivisionError", [])


def test_cell_magics_from_code_and_inside_each_other(local):
    code = "for on in ('0', '1'):\n    get_ipython().run_cell_magic('dip', f'-r {on}', 'print(1)')"
    result = run(local, code, run=OK)
    assert result.asked == [ran(code="print(1)", path="", line=1, see="", ranks=on) for on in ("0", "1")]
    result = run(local, "get_ipython().run_cell_magic('dip', 'local', '1 / 0')")
    assert re.search(r"In ?\[\d+\]", plain(result.error))
    result = run(local, "    %%dip\n    x = 1\n\n    if x:\n        y = 2", run=OK)
    assert result.asked == [ran(code="x = 1\n\nif x:\n    y = 2\n", line=11, see="")]
    result = run(local, "%%capture out\n%%dip\nx = 1", run=OK)
    assert result.asked == [ran(code="x = 1\n", line=12, see="")]
    result = run(local, "%%dip local\n%px x = 2", run=OK)
    assert result.asked == [px(code="x = 2", line=11)]
    result = run(local, "%%dip\nx = 1", path="", run=OK)
    assert result.asked == [ran(code="x = 1\n", path="", line=1, see="")]


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (
            parts(*[{"status": "error", "ename": "NameError", "evalue": "name 'x' is not defined"}] * 3),
            "NameError: name 'x' is not defined — ranks 0-2",
        ),
        (
            parts({"status": "ok"}, {"status": "error", "ename": "ValueError", "evalue": "one\ntwo"}),
            "ValueError: one — rank 1",
        ),
        (
            parts(
                {"status": "error", "ename": "E", "evalue": ""},
                {"status": "interrupted"},
                {"status": "error", "ename": "E", "evalue": ""},
                run_status="error",
            ),
            "E — ranks 0,2; interrupted — rank 1",
        ),
        (
            parts({"status": "ok"}, {"status": "died"}, run_status="died", reason="rank 1 was killed by SIGKILL"),
            "rank 1 was killed by SIGKILL",
        ),
        (parts(run_status="error", reason="the pool has no rank 7"), "the pool has no rank 7"),
    ],
)
def test_failures_on_ranks(local, reply, text):
    for code in ("%%dip\nx", "%px x", "%%px\nx", "d = %dipper\nd.run('x')"):
        result = run(local, code, run=reply)
        assert result.content["ename"] == "RankError"
        assert plain(result.error) == f"RankError: {text}"
        assert result.error["frames"][-1]["file"] == PATH


def test_failures_on_ranks_can_be_caught(local):
    code = """
d = %dipper
try:
    %px x
except d.RankError as err:
    caught = err.run, err.status, err.parts[1]["ename"]
caught
"""
    result = run(local, code, run=parts({"status": "ok"}, {"status": "error", "ename": "NameError", "evalue": "x"}))
    assert value(result) == ("r-1", "error", "NameError")


# ipyparallel's.


def test_px(local):
    result = run(local, "y = 'value'\nif y:\n    %px x = '{y} $y'", run=OK)
    assert (result.asked, result.text()) == ([px(code="x = '{y} $y'", line=12)], "")
    for line, said in (
        ("--noblock 40 + 2", {"code": "40 + 2", "wait": False}),
        ("--targets 0 1 + 1", {"code": "1 + 1", "ranks": "0"}),
        ("--targets=0,1 --block -x", {"code": "-x", "ranks": "0,1", "wait": True}),
        ("--targets '0 1' print('--noblock')", {"code": "print('--noblock')", "ranks": "0,1"}),
        ("--targets -1 --verbose x", {"code": "x", "ranks": "-1", "verbose": True}),
        ("--targets ::2 --no-verbose x", {"code": "x", "ranks": "::2", "verbose": False}),
        ("--targets [0,-1] x", {"code": "x", "ranks": "0,-1"}),
        ("-x - -y", {"code": "-x - -y"}),
        ("x --noblock 'open", {"code": "x --noblock 'open"}),
    ):
        assert run(local, f"%px {line}", run=OK).asked == [px(**said)]
    assert local.run("%px --targets 0 --help").text().startswith("%px: ")
    result = run(local, "%%px --targets 0-1\nx = f'{y}'", run=OK)
    assert result.asked == [px(code="x = f'{y}'\n", line=11, ranks="0-1")]
    result = run(local, "%%px --local\nx = 'both'\nx", run=OK)
    assert (value(result), len(result.asked)) == ("both", 1)


def test_px_gives_a_handle(local):
    done = parts({"status": "ok", "output": "one\n", "result": "42"}, run="r-2", run_status="ok")
    result = run(local, "ar = %px --noblock f()\nar.id, ar.wait()[0]['result']", run={"run": "r-2"}, result=done)
    assert value(result) == ("r-2", "42")
    assert result.asked == [px(code="f()", wait=False), {"command": "result", "run": "r-2"}]
    result = run(local, "x = %px f()\nx", run=OK)
    assert not result.all("execute_result")  # it has been waited for
    for line in ("%px --out kept f()", "%%px -o kept\nf()"):
        run(local, line, run=OK)
        assert value(local.run("kept.id")) == "r-1"
        local.run("del kept")
    run(local, "%pxresult -o last", result=done)
    assert value(local.run("last.id")) == "r-2"


@pytest.mark.parametrize("line", ["%px --group-outputs=engine f()", "%%px -e\nf()", "%pxconfig --no-stream"])
def test_flags_without_effect_say_so(local, line):
    config = {"targets": "all", "block": True, "verbose": False}
    assert "has no effect: output is shown in its own order" in run(local, line, run=OK, pxconfig=config).text("stderr")


def test_pxconfig(local):
    config = {"targets": "0,2", "block": False, "verbose": True}
    result = run(local, "%pxconfig", pxconfig=config)
    assert (result.asked, result.text()) == ([{"command": "pxconfig"}], "%pxconfig --targets 0,2 --noblock --verbose\n")
    for line, said in (
        ("--targets 0 2 --verbose --noblock", {"targets": "0,2", "verbose": True, "block": False}),
        ("-t [0, -1] -b", {"targets": "0,-1", "block": True}),
        ("-t ::2 --no-verbose", {"targets": "::2", "verbose": False}),
    ):
        result = run(local, f"%pxconfig {line}", pxconfig=config)
        assert (result.asked, result.text()) == ([{"command": "pxconfig", **said}], "")


def test_pxresult(local):
    reply = parts(
        {"status": "ok", "output": "one\ntwo\n", "result": "42"},
        {"status": "ok", "output": "one\n"},
        {"status": "error", "ename": "ValueError", "evalue": "no", "result": "", "output": ""},
        {"status": "died"},
        run_status="died",
        reason="rank 3 is gone",
    )
    result = run(local, "%pxresult", result=reply)
    assert result.asked == [{"command": "result", "run": ""}]
    assert result.text().splitlines() == [
        "[stdout:0]",
        "one",
        "two",
        "Out[0]: 42",
        "[stdout:1] one",
        "[error:2] ValueError: no",
        "[error:3] rank 3 is gone",
    ]
    result = run(local, "%pxresult", result=OK)
    assert result.text() == "Nothing was printed or returned on ranks 0-1: ok.\n"
    reply = parts(
        {"status": "ok", "output": "seen", "result": "42", "shown": True},
        {"status": "ok", "output": "unseen", "result": "43"},
    )
    result = run(local, "%pxresult", result=reply)
    assert result.text().splitlines() == ["Out[0]: 42", "[stdout:1] unseen", "Out[1]: 43"]
    result = run(local, "%pxresult", result=parts({"status": "ok", "output": "seen", "shown": True}, run_status="ok"))
    assert result.text() == "Nothing more was printed, and nothing returned on rank 0: ok.\n"
    result = run(local, "%pxresult", result=parts(run_status="died", reason="the pool has no rank 7"))
    assert result.text() == "It came to no rank: the pool has no rank 7.\n"


def test_pxresult_without_a_run(local):
    result = run(local, "%pxresult", result=failing("UsageError", "nothing has run on the ranks yet"))
    assert plain(result.error) == "UsageError: %pxresult: nothing has run on the ranks yet"


def test_autopx(local):
    for before, on in (("", True), ("%%dip", False)):
        replies = iter([before, "%%px" if on else ""])
        result = run(local, "%autopx", autodip=lambda _, replies=replies: {"autodip": next(replies)})
        switch = {"command": "autodip", "on": on, **({"px": True} if on else {})}
        assert result.asked == [{"command": "autodip", "on": None}, switch]
        assert result.text() == ("Autodip: on, cells run as %%px\n" if on else "Autodip: off\n")


# %autodip.


@pytest.mark.parametrize(
    ("line", "on", "flags"),
    [
        ("", None, ""),
        ("on", True, ""),
        ("ON", True, ""),
        ("off", False, ""),
        ("off # for now", False, ""),
        ("on --see all", True, "--see all"),
        ("--see all on", True, "--see all"),
        ("on -S 0 2 everywhere -q", True, "-S 0 2 everywhere -q"),
        ('on -a "--see all"', True, "--see all"),
        ("on --args '--see all -q'", True, "--see all -q"),
        ('on --args="--see all"', True, "--see all"),
        ('on -a "lr 0.1" -q', True, '-a "lr 0.1" -q'),
    ],
)
def test_autodip(local, line, on, flags):
    result = run(local, f"%autodip {line}", autodip={"autodip": "%%dip --see all" if on else ""})
    assert result.asked == [{"command": "autodip", "on": on, **({} if on is None else {"flags": flags})}]
    assert result.text() == ("Autodip: on, cells run as %%dip --see all\n" if on else "Autodip: off\n")


def test_autodip_shows_what_the_server_says_of_flags(local):
    answer = failing("UsageError", "%%dip has no flag --sea; did you mean --see?")
    result = run(local, "%autodip on --sea all", autodip=answer)
    assert plain(result.error) == "UsageError: %autodip: %%dip has no flag --sea; did you mean --see?"


# %dipper.


def test_dipper_push_and_pull(local, ranks):
    server = Ranks(ranks)
    local.run("a = 1")
    code = """
%dipper d
d.push('a', b=[2])
d.push(c=3, ranks=[0, 1])
d.pull('a'), d.pull('b', 'c', rank=1), d.pull('a', rank='all'), d.pull('a', 'a')
"""
    result = run(local, code, push=server.push, pull=server.pull)
    assert value(result) == (1, ([2], 3), [1, 1], (1, 1))
    assert [asked["ranks"] for asked in result.asked] == ["all", "0,1", "0", "1", "all", "0"]
    assert local.run("b").content["ename"] == "NameError"
    assert value(ranks[1].run("a, b, c")) == (1, [2], 3)


def test_dipper_runs(local):
    local.run("%dipper d")
    result = run(local, "d.run('print(1)'); d.run('x', ranks=[0, 2], see=0)", run=OK)
    assert [(asked["code"], asked["ranks"], asked["see"], asked["path"]) for asked in result.asked] == [
        ("print(1)", "all", "all", ""),
        ("x", "0,2", "0", ""),
    ]
    assert result.all("execute_result") == []
    result = run(local, "run = d.run('x', wait=False)\nrun.id, repr(run)", run={"run": "r-3"})
    assert value(result) == ("r-3", "<run r-3 on the ranks; .wait() waits for its end>")
    result = run(local, "run.wait()[0]['output']", result=parts({"status": "ok", "output": "o"}, run_status="ok"))
    assert (value(result), result.asked) == ("o", [{"command": "result", "run": "r-3"}])
    result = run(local, "run.wait()", result=parts({"status": "error", "ename": "E", "evalue": "e"}))
    assert plain(result.error) == "RankError: E: e — rank 0"


def test_dipper_tells(local):
    result = run(local, "d = %dipper\nd.ranks, d.interrupt()", info={"pool": POOL}, interrupt={"interrupted": 1})
    assert value(result) == ([0, 1], 1)
    assert value(run(local, "d.ranks", info={"pool": NO_POOL})) == []
    (content,) = run(local, "d.info()", info={"pool": POOL}).all("execute_result")
    assert content["data"]["text/plain"].startswith("pool: 2 ranks, ready")
    assert value(run(local, "d.info()['ranks'][1]['pid']", info={"pool": POOL})) == 4712
    (content,) = local.run("%dipper").all("execute_result")
    assert content["data"]["text/plain"].startswith("<dipper: .ranks")
    assert "Push variables of the local namespace" in local.run("help(d)").text()


@pytest.mark.parametrize(
    ("code", "ename", "words"),
    [
        ("d.push('nosuch')", "NameError", "nothing was pushed"),
        ("d.push()", "TypeError", "which variables?"),
        ("d.push(d)", "TypeError", "names of variables are strings"),
        ("d.pull()", "TypeError", "which variables?"),
        ("d.pull('x', rank='first')", "ValueError", "'first' are no ranks; write all"),
        ("d.run(d)", "TypeError", "code is a string, not Dipper"),
    ],
)
def test_dipper_misused(local, code, ename, words):
    result = run(local, f"%dipper d\n{code}")
    assert (result.content["ename"], result.asked) == (ename, [])
    assert words in result.content["evalue"]


def test_ipythons_colours_are_for_those_who_want_them(local):
    local.run("def f():\n    'Mine.'\n", "/project/train.py", 1)
    coloured = ["f?", "%psource f", "try:\n    1 / 0\nexcept Exception:\n    get_ipython().showtraceback()"]
    for code in coloured:
        assert "\x1b[" in local.run(code).text()
    assert "\x1b[" in "".join(local.run("1 / 0").error["traceback"])
    local.run("import os; os.environ['NO_COLOR'] = '1'")
    for code in coloured:
        text = local.run(code).text()
        assert text
        assert "\x1b" not in text
    assert "\x1b" not in "".join(local.run("1 / 0").error["traceback"])
    assert local.run("print('\\x1b[31mmine')").text() == "\x1b[31mmine\n"


def test_store(local):
    assert "(int)" in local.run("dip_test_store = 42\n%store dip_test_store").text()
    try:
        result = local.run("del dip_test_store\n%store -r dip_test_store\ndip_test_store")
        assert result.all("execute_result")[0]["data"]["text/plain"] == "42"
    finally:
        assert local.run("%store -d dip_test_store").status == "ok"


def test_what_wants_an_input_line_says_that_there_is_none(local, tmp_path):
    (tmp_path / "more.py").write_text("y = 1\n")
    local.run("x = 1")
    for code in (f"%load {tmp_path}/more.py", f"%loadpy {tmp_path}/more.py", "%recall 1", "%rep 1"):
        error = local.run(code).error
        assert error["ename"] == "UsageError"
        assert "no input line" in error["evalue"]
    assert "no editor" in local.run("%edit").error["evalue"]
    assert local.run("get_ipython().set_next_input('x')").status == "ok"
    assert local.run(f"%run {tmp_path}/more.py\ny").status == "ok"
