"""Apps: a user's module around a pool's life, its commands, and what the user is told if it is at fault."""

from __future__ import annotations

import itertools
import textwrap
from typing import Any

import pytest

pytest.importorskip("torch.distributed")

_numbers = itertools.count()

JOINED = {"status": "ok", "notices": [], "backend": "gloo", "device": "cpu"}  # in every app_reply

GOOD = """
import torch.distributed as dist
imports = ["import math", "from os import path as p"]
log = []
def set_verbose(verbose): log.append(verbose)
def initializer():
    log.append(dist.is_initialized())
    return "hello from the app"
def finalizer(): print("joined at the end:", dist.is_initialized())
"""


@pytest.fixture
def write(torch_node):
    """A function that writes a file of the node's working directory and returns its name, never the same twice."""

    def to_file(code):
        path = torch_node.runtime_dir.parent / f"hooks_{next(_numbers)}.py"
        path.write_text(textwrap.dedent(code), encoding="utf-8")
        return path.name

    return to_file


@pytest.fixture
def start(torch_node, spawn, write):
    """A function that takes an app's code and starts a rank with it."""

    def with_app(code, **options):
        (rank,) = spawn(torch_node, 1, app=write(code), **options)
        assert rank.hello["status"] == "ok", rank.hello
        return rank

    return with_app


def change(rank, **content):
    return rank.ask("app_request", {"app": None, "verbose": None, **content})


def test_hooks_in_their_order(torch_node, start):
    rank = start(GOOD, verbose=True)
    assert rank.hello["app"].startswith("hooks_")
    assert rank.hello["notices"] == [f"app {rank.hello['app']}: hello from the app"]
    assert rank.hello["backend"] == "gloo"
    name = rank.hello["app"][:-3]
    result = rank.run(f"import sys; print(math.pi > 3, p.sep, sys.modules['dip_app_{name}'].log)")
    assert result.text() == "True / [True, True]\n"
    assert rank.ask("shutdown_request")["status"] == "ok"
    torch_node.bury(rank)
    assert rank.text().endswith("joined at the end: True\n")


def said(rank: Any) -> str:
    """Return what a rank has printed, but for what some builds of gloo say of themselves."""
    return "".join(line for line in rank.text().splitlines(keepends=True) if not line.startswith("[./gloo/"))


def test_a_silent_app_says_nothing(start):
    rank = start(GOOD)
    assert rank.run("print('cell')").status == "ok"
    assert said(rank) == "cell\n"


def test_an_import_path(torch_node, spawn, write):
    module = write(GOOD)[:-3]
    (rank,) = spawn(torch_node, 1, app=module)
    assert (rank.hello["app"], rank.hello["notices"]) == (module, [])


def test_a_file_beside_the_script(make_node, tmp_path):
    folder = tmp_path / "näher dran"
    folder.mkdir()
    (folder / "train.py").write_text("")
    (folder / "hooks.py").write_text("def initializer(): return 'found'", encoding="utf-8")
    node = make_node(script=str(folder / "train.py"))
    (rank,) = node.spawn(1, app="hooks.py", verbose=True)
    assert (rank.hello["app"], rank.hello["notices"]) == ("hooks.py", ["app hooks.py: found"])
    (rank,) = node.spawn(1, app="nowhere.py")
    assert rank.hello["notices"] == [
        f"app nowhere.py: there is no such file in {tmp_path} or {folder}; the pool runs as torch"
    ]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def initializer(): pass\n1 +", "the module raised SyntaxError: invalid syntax ({file}, line 2)"),
        ("\nimport no_such", "the module raised ModuleNotFoundError: No module named 'no_such' ({file}, line 2)"),
        ("raise SystemExit('later')", "the module raised SystemExit: later ({file}, line 1)"),
        ("def initializer():\n  1/0", "initializer raised ZeroDivisionError: division by zero ({file}, line 2)"),
        (
            "import json\ndef initializer():\n  json.loads('x')",
            "initializer raised JSONDecodeError: Expecting value: line 1 column 1 (char 0) ({file}, line 3)",
        ),
        ("def set_verbose(v):\n  raise OSError('ü')", "set_verbose raised OSError: ü ({file}, line 2)"),
        (
            "imports = ['import no_such']",
            "the import 'import no_such' raised ModuleNotFoundError: No module named 'no_such'",
        ),
        ("imports = 'import os'", "imports must be a list of import statements, not 'import os'"),
        ("initializer = 1", "initializer must be a function, not 1"),
        ("commands = {'a': 1}", "commands must be a dictionary of functions, not {{'a': 1}}"),
        (
            "def initialise(): pass",
            "{file} defines none of imports, set_verbose, initializer, finalizer, on_hang, commands",
        ),
    ],
)
def test_an_app_that_fails_is_a_notice(torch_node, start, code, words):
    rank = start(code)
    (notice,) = rank.hello["notices"]
    files = list(torch_node.runtime_dir.parent.glob("hooks_*.py"))
    (app,) = [file for file in files if f"app {file.name}: " in notice]
    assert notice == f"app {app.name}: {words.format(file=app)}; the pool runs as torch"
    assert rank.hello["app"] == "torch"
    assert rank.run("import torch.distributed as dist; print(dist.is_initialized())").text() == "True\n"
    assert rank.ask("shutdown_request")["status"] == "ok"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fastia", "there is no app or module of that name; did you mean fastai?"),
        ("acelerate", "there is no app or module of that name; did you mean accelerate?"),
        ("no.such.module", "there is no app or module of that name"),
        (".relative", "there is no app or module of that name"),
        ("ein wörtchen", "there is no app or module of that name"),
        ("/no/such.py", "there is no such file"),
    ],
)
def test_an_app_that_is_not_there(torch_node, spawn, name, words):
    (rank,) = spawn(torch_node, 1, app=name)
    assert rank.hello["notices"] == [f"app {name}: {words}; the pool runs as torch"]
    assert (rank.hello["status"], rank.hello["app"]) == ("ok", "torch")


def test_an_app_whose_package_is_missing(make_node, tmp_path):
    for package in ("fastai", "accelerate"):
        # A package of that name may be installed here.
        (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError('gone', name={package!r})")
    node = make_node(env={"PYTHONPATH": str(tmp_path)})
    for app, package in (("fastai_v2", "fastai"), ("accelerate", "accelerate")):
        (rank,) = node.spawn(1, app=app)
        python = rank.run("import sys; print(sys.executable, end='')").text()
        assert rank.hello["notices"] == [
            f"app {app}: the package {package} is not installed in {python} "
            f"(install it with: {python} -m pip install {package}); the pool runs as torch"
        ]
        assert (rank.hello["status"], rank.hello["app"]) == ("ok", "torch")


def test_a_finalizer_that_fails_is_told(start):
    rank = start("def finalizer():\n  raise ValueError('no')")
    reply = rank.ask("shutdown_request")
    assert reply["status"] == "error"
    assert reply["evalue"].startswith(f"app {rank.hello['app']}: finalizer raised ValueError: no (")
    assert reply["evalue"].endswith(f"{rank.hello['app']}, line 2)")


COMMANDS = """
import contextlib, time
def greet(text): print("hello", repr(text))
@contextlib.contextmanager
def frame(text):
    print("<")
    try:
        yield
    except Exception as err:
        print("saw", type(err).__name__)
        raise
    finally:
        print(">")
def swallow(text): return contextlib.suppress(Exception)
def fail(text): raise LookupError(text)
@contextlib.contextmanager
def between(text):
    if text == "before": fail(text)
    yield
    fail(text)
def wait(text):
    print("waiting")
    time.sleep(600)
commands = {"greet": greet, "frame": frame, "swallow": swallow, "fail": fail, "wait": wait, "between": between}
"""


def test_commands(start):
    rank = start(COMMANDS)
    assert rank.run("print(1)", app_command="greet  you  all ").text() == "hello 'you  all'\n1\n"
    assert rank.run("print(1)", app_command="greet").text() == "hello ''\n1\n"
    assert rank.run("print(1)", app_command="frame").text() == "<\n1\n>\n"
    assert rank.run("2", app_command="frame").all("execute_result")[0]["data"] == {"text/plain": "2"}


def test_a_context_manager_sees_the_cells_error(start):
    rank = start(COMMANDS)
    result = rank.run("1/0", app_command="frame", path="/p/train.py", line=7)
    assert result.text() == "<\nsaw ZeroDivisionError\n>\n"
    assert (result.status, result.error["ename"]) == ("error", "ZeroDivisionError")
    assert result.error["frames"] == [{"file": "/p/train.py", "line": 7, "name": "<module>"}]
    result = rank.run("1/0", app_command="swallow")
    assert (result.status, result.error["ename"]) == ("error", "ZeroDivisionError")


def test_a_command_that_fails_fails_the_cell(start):
    rank = start(COMMANDS)
    result = rank.run("print('ran')", app_command="fail x")
    assert (result.status, result.error["ename"], result.error["evalue"]) == ("error", "LookupError", "x")
    assert [frame["name"] for frame in result.error["frames"]] == ["fail"]
    assert result.text() == ""
    for when, output in (("before", ""), ("after", "ran\n")):
        result = rank.run("print('ran')", app_command=f"between {when}")
        assert (result.status, result.error["evalue"], result.text()) == ("error", when, output)
        assert [frame["name"] for frame in result.error["frames"]] == ["between", "fail"]
    assert rank.run("print('ran')").text() == "ran\n"


def test_a_command_that_there_is_not(start, spawn, torch_node):
    rank = start(COMMANDS)
    result = rank.run("print('ran')", app_command="gret you")
    app = rank.hello["app"]
    assert result.error["traceback"] == [
        f"UsageError: the app {app} has no command 'gret'; it has: greet, frame, swallow, fail, wait, between; "
        "did you mean greet?"
    ]
    assert (result.status, result.text()) == ("error", "")
    for rank in (start(GOOD), *spawn(torch_node, 1, app="torch"), *spawn(torch_node, 1, app="none")):
        result = rank.run("print('ran')", app_command="greet")
        app = rank.hello["app"]
        assert result.error["evalue"].startswith(f"the app {app} has no commands: ")
        assert (result.status, result.text()) == ("error", "")


def test_a_command_can_be_interrupted(start):
    rank = start(COMMANDS)
    request = rank.start("print('ran')", app_command="wait")
    rank.wait_output("waiting")
    assert rank.ask("interrupt_request", {"parent": request})["status"] == "ok"
    assert rank.finish(request).content["ename"] == "KeyboardInterrupt"
    assert "ran" not in said(rank)
    request = rank.start("import time\nprint('in the cell')\ntime.sleep(600)", app_command="frame")
    rank.wait_output("in the cell")
    rank.ask("interrupt_request", {"parent": request})
    assert rank.finish(request).content["ename"] == "KeyboardInterrupt"
    assert rank.text().endswith("in the cell\n>\n")


def test_another_app_takes_the_place_of_the_first(start, write):
    rank = start(GOOD)
    other = write("def initializer(): return 'the other'\ndef set_verbose(v): print('verbose', v)")
    assert change(rank, app=other, verbose=True) == {**JOINED, "app": other, "notices": [f"app {other}: the other"]}
    rank.wait_output("joined at the end: True\nverbose True\n")
    assert change(rank, verbose=False) == {**JOINED, "app": other}
    rank.wait_output("verbose False\n")
    assert change(rank, app="none") == {**JOINED, "app": "none"}
    assert change(rank, app="") == {**JOINED, "app": "torch"}


def test_a_changed_file_is_read_again(start, torch_node):
    rank = start("def initializer(): return 'one'", verbose=True)
    assert rank.hello["notices"] == [f"app {rank.hello['app']}: one"]
    file = torch_node.runtime_dir.parent / rank.hello["app"]
    file.write_text(file.read_text().replace("one", "two"))  # in the same second, of the same size
    assert change(rank, app=rank.hello["app"])["notices"] == [f"app {rank.hello['app']}: two"]


def test_a_finalizer_that_fails_keeps_no_app(start):
    rank = start("def finalizer():\n  raise ValueError('no')")
    reply = change(rank, app="torch")
    assert (reply["status"], reply["app"]) == ("ok", "torch")
    (notice,) = reply["notices"]
    assert notice.startswith(f"app {rank.hello['app']}: finalizer raised ValueError: no (")
    assert change(rank, app="torch")["notices"] == []


def test_an_app_for_ranks_that_had_none(torch_node, spawn):
    ranks = spawn(torch_node, 2, app="none")
    assert ranks[0].hello["backend"] == ""
    requests = [rank.send("app_request", {"app": "torch"}) for rank in ranks]
    for rank, request in zip(ranks, requests):
        assert rank.reply(request, "app_reply") == {**JOINED, "app": "torch"}
    code = "import torch, torch.distributed as dist; t = torch.ones(1); dist.all_reduce(t); print(t.item())"
    requests = [rank.start(code) for rank in ranks]
    assert [rank.finish(request).text() for rank, request in zip(ranks, requests)] == ["2.0\n"] * 2


def test_a_change_can_be_interrupted(start, write):
    rank = start(GOOD)
    slow = write("import time\ndef initializer():\n  print('slow')\n  time.sleep(600)")
    request = rank.send("app_request", {"app": slow})
    rank.wait_output("slow")
    rank.ask("interrupt_request", {"parent": request})
    reply = rank.reply(request, "app_reply")
    assert (reply["status"], reply["ename"]) == ("error", "KeyboardInterrupt")
    assert change(rank, verbose=True)["app"] == "torch"
    assert rank.run("1").status == "ok"


def test_a_verbose_app_shows_tracebacks(start):
    for code, name in (("def initializer():\n  1/0", "initializer"), ("\n1/0", "<module>")):
        rank = start(code, verbose=True)
        (notice,) = rank.hello["notices"]
        first, *shown = notice.splitlines()
        assert first.endswith("; the pool runs as torch")
        assert shown[0] == "Traceback (most recent call last):"
        assert [line for line in shown if line.startswith("  File")] == [shown[1]]
        assert shown[1].endswith(f", line 2, in {name}")
        assert shown[-1] == "ZeroDivisionError: division by zero"
        assert said(rank) == ""


def test_the_local_namespace_has_no_app(local):
    reply = change(local, app="torch")
    assert (reply["status"], reply["evalue"]) == ("error", "the local namespace has no app: apps are for the ranks")
    assert "has no commands" in local.run("1", app_command="x").error["evalue"]


def test_an_app_is_told_of_a_hang_while_the_rank_waits(start):
    rank = start(
        """
        import os, threading
        waits, told = threading.Event(), []
        def on_hang(finding):
            told.append((finding["text"], threading.current_thread() is threading.main_thread()))
            waits.set()
            if not finding["waiting"]: raise ValueError("nobody")
        """
    )
    name = rank.hello["app"][:-3]
    request = rank.start(f"import sys; app = sys.modules['dip_app_{name}']; print('waits'); app.waits.wait()")
    rank.wait_output("waits")
    rank.send("hang", {"event": "hang", "text": "rank 0 waits", "waiting": [{"ranks": [0]}]})
    assert rank.finish(request).status == "ok"
    assert rank.run("print(app.told)").text() == "[('rank 0 waits', False)]\n"
    rank.send("hang", {"event": "hang", "text": "again", "waiting": []})
    rank.wait_output(f"app {rank.hello['app']}: on_hang raised ValueError: nobody")


def test_an_app_without_on_hang_is_not_told(start):
    rank = start(GOOD)
    rank.send("hang", {"event": "hang", "text": "rank 0 waits", "waiting": []})
    threads = "[t.name for t in threading.enumerate()]"
    assert rank.run(f"import threading; print('on_hang' in {threads})").text() == "False\n"
