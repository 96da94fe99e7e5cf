"""Cells that are compiled before the first of them runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import dip_agent
from dip_agent import check
from dip_agent.shell import Shell


@pytest.fixture(scope="module")
def shell():
    yield Shell.make()
    Shell.clear_instance()


def found(shell, *cells):
    """Check cells of `a.py`, each ten lines below the one before; return where something is wrong, and what."""
    asked = [{"code": code, "path": "/a.py", "line": 10 * index + 1} for index, code in enumerate(cells)]
    faults = list(check.faults(shell, asked))
    return [(fault["cell"], fault["frames"][-1]["line"], fault["ename"]) for fault in faults]


@pytest.mark.parametrize(
    "cell",
    [
        "",
        "x = await f()\nasync with a: pass\n[i async for i in a()]",
        "!ls $x {y}\nfiles = !ls\nx = %pwd\n%time f(x)\nprint?\n?print",
        "%%bash\nfor i in *; do echo $i; done",
        "%%html\n<p>",
        "%%nobody_knows\nnot python",
        "\n\n%%time\nx = 1",
        "%%timeit -n 1 x = 1\nx + 1",
        "pip install torch",
        "ls -l",
        ">>> x = 1\n>>> y",
        "    indented = 1\n    alike = 2",
        "x = 1\nfrom __future__ import annotations",
        "x = 1\nglobal x",
        "x is 1\n'\\d'",
    ],
)
def test_what_ipython_runs_is_right(shell, cell):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert found(shell, cell) == []


@pytest.mark.parametrize(
    ("cell", "line"),
    [
        ("x = = 1", 1),
        ("\n\nx = 1\ny = (", 4),
        ("x = 1\nreturn", 2),
        ("def f():\n    await g()", 2),
        ("for x in y:\npass", 2),
        ("!ls \\\n  -l\nx = = 1", 3),
        ("%%time\nx = 1\ny = = 1", 3),
        ("\n%%capture out\n\n%%time\ny = = 1", 5),
        ("print 'x'\nx = 1", 1),
    ],
)
def test_what_is_no_python_is_told_at_its_line(shell, cell, line):
    ename = "IndentationError" if "pass" in cell else "SyntaxError"
    assert found(shell, "x = 1", cell, "y = = 1") == [(1, 10 + line, ename), (2, 21, "SyntaxError")]


@pytest.mark.parametrize(
    ("above", "cell"),
    [
        ("get_ipython().input_transformers_cleanup.append(f)", "turn into python"),
        ("%load_ext coconut", "1 |> print"),
        ("@register_line_magic\ndef train(line): pass", "train slowly"),
        ("%autocall 1", "print x"),
    ],
)
def test_what_a_cell_may_give_a_meaning_to_is_right(shell, above, cell):
    assert found(shell, cell) == [(0, 1, "SyntaxError")]
    assert found(shell, above, cell) == []


def test_nothing_is_wrong_where_the_user_has_transformations(shell):
    shell.input_transformers_post.append(lambda lines: lines)
    try:
        assert found(shell, "x = = 1") == []
    finally:
        shell.input_transformers_post.pop()


def test_nothing_has_run_and_nothing_is_left(shell):
    before = shell.execution_count, dict(shell.user_ns)
    assert found(shell, "import antigravity\nx = 1", "class A: pass", "%load_ext nothing", "x = = 1") == []
    assert (shell.execution_count, dict(shell.user_ns)) == before


def test_extensions_that_change_no_text_are_known(shell):
    assert found(shell, "%load_ext autoreload\n%autoreload 2", "x = = 1") == [(1, 11, "SyntaxError")]


def test_the_request_is_utf_8_whatever_the_locale_says():
    cell = {"code": "größe = 1", "path": "/a.py", "line": 1}
    request = json.dumps(
        {"files": [{"path": "/a.py", "cells": [cell]}], "extra_path": sys.path[1:]}, ensure_ascii=False
    )
    answer = subprocess.run(
        [sys.executable, Path(dip_agent.__file__).parents[1], "check"],
        input=request.encode(),
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONIOENCODING": "iso-8859-1"},
        check=True,
        timeout=60,
    )
    assert json.loads(answer.stdout) == {"faults": [[]]}
