"""Cells that IPython's transformations leave alone, without asking them."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from IPython.core.inputtransformer2 import TransformerManager

from dip_agent import source
from dip_agent.source import Transformations

PIECES = [
    *(
        "x",
        "pass",
        "def",
        "12",
        "é",
        "=",
        "==",
        "!=",
        "%",
        "%%",
        "!",
        "!!",
        "?",
        "??",
        ",",
        ";",
        "/",
        ":",
        "@",
        "$",
        "\\",
    ),
    *(">", ">>>", "...", "....:", "In", "[1]:", "[nav]", "(", ")", "[", "]", "{", "}", "#", "'", '"', "'''", '"""'),
]
SPACES = [" ", "    ", "\t", "\n", "\n\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u00a0", "\ufeff"]
CELLS = st.lists(st.sampled_from(PIECES + 3 * SPACES), max_size=12).map("".join)


@settings(max_examples=3000, deadline=None)
@given(CELLS)
@example("")
@example("s = '''\n  \n'''")  # IPython takes the spaces off
@example("x = \\\n%pwd")
@example("if x:\n    !ls")
@example("print?\n")
@example("a\u2028%b")
def test_what_is_passed_over_would_stay_as_it_is(cell):
    if source._SPECIAL.search(cell):
        return
    try:
        expected = TransformerManager().transform_cell(cell)
    except (SyntaxError, SystemError):
        return  # it is not Python, and the compiler will say so, too
    assert Transformations().transform_cell(cell) == expected


@pytest.mark.parametrize(
    "cell",
    [
        "pass",
        "x = 1\nfor i in range(3):\n    print(i % 2, x != 2, f'{i!r}?')\n",
        "def f(x):\n    '''What?  Nothing.'''\n\n    return x / 2, x // 2\n",
        "x = (1,\n     2)\ny %= 3\n",
    ],
)
def test_an_ordinary_cell_is_passed_over(cell, monkeypatch):
    def fail(*_):
        raise AssertionError("IPython was asked")

    monkeypatch.setattr(TransformerManager, "transform_cell", fail)
    assert Transformations().transform_cell(cell) == cell.rstrip("\n") + "\n"


def test_what_users_add_is_asked():
    made = Transformations()
    made.line_transforms.append(lambda lines: [line.replace("ü", "ue") for line in lines])
    assert made.transform_cell("ü = 1") == "ue = 1\n"


def test_an_unknown_ipython_is_asked(monkeypatch):
    def shout(lines):
        return [line.upper() for line in lines]

    def newer(self):
        self.cleanup_transforms, self.token_transformers, self.line_transforms = [], [], [shout]

    monkeypatch.setattr(TransformerManager, "__init__", newer)
    assert Transformations().transform_cell("x") == "X\n"
