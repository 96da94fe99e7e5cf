"""Source found by code: whatever has been edited, run again or run in part since."""

from __future__ import annotations

import inspect
import io
import re
import sys
import textwrap

import pytest

from dip_agent.source import docstring

FILE = "/home/u/träin me.py"


def src(text: str) -> str:
    return textwrap.dedent(text).strip("\n")


@pytest.fixture
def rerun(local):
    """A process where a function stood on lines 11 to 13 until the cell above it grew."""
    local.run("def above():\n    return 'above'", FILE, 7)
    local.run("def below(x):\n    y = 2 * x\n    return y / 0", FILE, 11)
    grown = "def above():\n    a = 1\n    b = 2\n    c = 3\n    d = 4\n    return 'grown'\n# end"
    local.run(grown, FILE, 7)
    return local


def printed(result) -> str:
    assert result.status == "ok", result.error
    return result.text()


def test_source_of_a_function_when_another_cell_has_grown_over_it(rerun):
    code = "import inspect; print(inspect.getsource(below), end=''); print(inspect.getsourcelines(below)[1])"
    assert printed(rerun.run(code, FILE, 30)) == "def below(x):\n    y = 2 * x\n    return y / 0\n11\n"
    assert printed(rerun.run("print(inspect.getsource(above), end='')", FILE, 30)).endswith("return 'grown'\n")


def test_tracebacks_show_the_lines_that_ran_and_nothing_of_other_cells(rerun):
    result = rerun.run("below(1)", FILE, 20)
    text = "\n".join(result.error["traceback"])
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert "    return y / 0" in text
    assert "grown" not in text
    assert "c = 3" not in text
    assert [frame["line"] for frame in result.error["frames"]] == [20, 13]
    code = "import traceback\ntry:\n    below(1)\nexcept ZeroDivisionError:\n    traceback.print_exc()"
    assert "    return y / 0\n" in printed(rerun.run(code, FILE, 20))


def test_lines_above_are_those_of_the_file_if_it_is_as_it_was(local, tmp_path):
    path = tmp_path / "train.py"
    path.write_text("# %%\nseen = 1\n# %%dip\n1 / 0\n# below\n")

    def lines() -> str:
        result = local.run("1 / 0", str(path), 4)
        return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(result.error["traceback"]))

    assert "      2 seen = 1\n" in lines()
    assert "below" not in lines()
    path.write_text("# %%\nother = 1\n# %%dip\n\n1 / 0\n")
    assert "other" not in lines()


def test_a_magic_in_a_comment_looks_as_in_the_file(local, tmp_path):
    path = tmp_path / "train.py"
    path.write_text("# %%\ndef f():\n    # %pwd\n    return 1 / 0\n\n# %%\nf()\n")
    local.run("def f():\n    %pwd\n    return 1 / 0\n\n", str(path), 2)
    code = "import inspect; print(inspect.getsource(f), end='')"
    assert printed(local.run(code, str(path), 9)) == "def f():\n    # %pwd\n    return 1 / 0\n"
    text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(local.run("f()", str(path), 7).error["traceback"]))
    assert "      3     # %pwd\n" in text


@pytest.mark.parametrize("directive", ["# %%dip --see all", "#dip_locally"])
def test_the_directive_of_a_cell_looks_as_in_the_file(local, tmp_path, directive):
    path = tmp_path / "train.py"
    path.write_text(f"# %%\n{directive}\n1 / 0\n\n# %%\n# %%dip\nother()\n")
    text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(local.run("\n1 / 0\n\n", str(path), 2).error["traceback"]))
    assert f"      1 # %%\n      2 {directive}\n----> 3 1 / 0\n\nZeroDivisionError" in text


def test_a_line_that_came_into_the_file_later_is_not_shown(local, tmp_path):
    path = tmp_path / "train.py"
    path.write_text("# %%\nx = 1\nother()\n1 / 0\n")
    text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(local.run("x = 1\n\n1 / 0\n", str(path), 2).error["traceback"]))
    assert "other" not in text


def test_a_selection_inside_a_function_leaves_its_source(local):
    local.run("def f():\n    x = 1\n    return x", FILE, 3)
    local.run("x = 1", FILE, 4)
    assert printed(local.run("import inspect; print(inspect.getsource(f))", FILE, 9)) == (
        "def f():\n    x = 1\n    return x\n\n"
    )


def test_warnings_show_the_line_that_ran(local):
    local.run("import warnings\ndef f():\n    warnings.warn('take care')", FILE, 3)
    local.run("a\u00e4 = 1\nb = 2\nc = 3\nd = 4", FILE, 2)
    out = printed(local.run("f()", FILE, 20))
    assert f"{FILE}:5: UserWarning: take care\n  warnings.warn('take care')\n" in out


def test_pdb_shows_the_lines_that_ran(local):
    local.run("def f():\n    x = 1\n    return x", FILE, 3)
    local.run("a = 1\nb = 2\nc = 3\nd = 4", FILE, 2)
    code = src(
        """
        import io, pdb
        out = io.StringIO()
        commands = io.StringIO("step\\nnext\\nwhere\\nlonglist\\nlist 3,5\\nquit\\n")
        debugger = pdb.Pdb(stdin=commands, stdout=out, nosigint=True)
        debugger.use_rawinput = False
        try:
            debugger.runcall(f)
        except BaseException:
            pass
        print(out.getvalue())
        """
    )
    out = printed(local.run(code, FILE, 40))
    assert re.search("-> (return x|x = 1)", out)
    assert out.count("    return x") >= 2
    assert "c = 3" not in out


@pytest.mark.parametrize("profiler", ["cProfile", "profile"])
def test_profiles_can_be_saved(local, tmp_path, profiler):
    local.run("def f():\n    return 1", FILE, 3)
    code = f"import {profiler}, pstats\n{profiler}.run('f()', {str(tmp_path / 'p')!r})\n"
    code += f"print([key for key in pstats.Stats({str(tmp_path / 'p')!r}).stats if key[2] == 'f'])"
    assert printed(local.run(code, FILE, 9)) == f"[({FILE!r}, 3, 'f')]\n"


def test_code_can_be_marshalled(local):
    local.run("def f(a):\n    return lambda: a + 1", FILE, 3)
    code = "import marshal, types\ncode = marshal.loads(marshal.dumps(f.__code__))\n"
    code += "print(types.FunctionType(code, {})(1)(), code.co_filename, type(code.co_filename) is str)\n"
    code += "try:\n    marshal.dumps(object())\nexcept ValueError as err:\n    print(err)"
    assert printed(local.run(code, FILE, 9)) == f"2 {FILE} True\nunmarshallable object\n"


def test_source_of_classes(local):
    full = "class Full:\n    def m(self):\n        return 1\n    class Inner:\n        def n(self): ..."
    local.run(f"class Plain:\n    a = 1\n\n{full}", FILE, 3)
    local.run("%pwd\ndef no(): ...\nclass Magic:\n    b = 1", FILE, 20)
    local.run("\n".join(f"a{i} = {i}" for i in range(30)), FILE, 1)
    code = "import inspect\nfor cls in (Plain, Full, Full.Inner, Magic):\n    print(inspect.getsourcelines(cls))"
    assert printed(local.run(code, FILE, 60)).splitlines() == [
        r"(['class Plain:\n', '    a = 1\n'], 3)",
        str(([line + "\n" for line in full.split("\n")], 6)),
        r"(['    class Inner:\n', '        def n(self): ...\n'], 9)",
        r"(['class Magic:\n', '    b = 1\n'], 22)",
    ]


def test_the_file_name_is_the_path_in_every_other_way(local):
    local.run("def f(): ...", FILE, 3)
    code = src(
        """
        import copy, json, os, pickle
        name = f.__code__.co_filename
        print(name == __file__, {__file__: 1}[name], os.path.dirname(name), json.dumps(name))
        for one in (pickle.loads(pickle.dumps(name)), copy.deepcopy(name), str(name)):
            print(type(one) is str, one == name)
        """
    )
    out = printed(local.run(code, FILE, 9))
    assert out == 'True 1 /home/u "/home/u/tr\\u00e4in me.py"\n' + "True True\n" * 3


def test_a_text_is_freed_with_the_last_code_that_needs_it(local):
    local.run("import gc, inspect, weakref\nkept, texts = [], []", FILE, 1)
    for last in "0", "0", "1":
        code = "def f():\n    return 1 / 0\nkept.append(f)\ntexts.append(weakref.ref(f.__code__.co_filename))\n"
        local.run(f"{code}1 / {last}", FILE, 3)
        local.run("try: f()\nexcept ZeroDivisionError as err: text = inspect.getsource(f)", FILE, 9)
    alive = "gc.collect(); print([text() is not None for text in texts])"
    assert printed(local.run(alive, FILE, 30)) == "[True, True, True]\n"
    printed(local.run("del kept[1:]", FILE, 30))
    # IPython remembers the last exception of a cell, and with it that cell's code.
    local.run("1 / 0", FILE, 40)
    assert printed(local.run(alive, FILE, 30)) == "[True, False, True]\n"


@pytest.mark.parametrize("main", ["sys.modules['__main__'] = object()", "del sys.modules['__main__']"])
def test_classes_without_a_main_module(local, main):
    assert local.run(f"import sys\n{main}", FILE, 1).status == "ok"
    for _ in range(2):
        assert printed(local.run("class A: pass\nprint(A.__module__)", FILE, 3)) == "__main__\n"


def test_torch_scripts_the_function_that_was_defined(torch_node, spawn):
    (local,) = spawn(torch_node)
    local.run("import torch\ndef f(x):\n    return x + 1", FILE, 10)
    local.run("\n".join(["def other(x):", "    return x - 1"] * 10), FILE, 1)
    assert printed(local.run("print(torch.jit.script(f)(torch.tensor(1)))", FILE, 40)).endswith("tensor(2)\n")


DOCSTRINGS = [
    ('# %% Title\n\n"""What it\n  does."""  # so\nimport os\n', "What it\n  does."),
    ("r'a\\b' 'c'; x = 1\n", "a\\bc"),
    ("'a' + 'b'\n", None),
    ("f'{1 / 0}'\n", None),
    ("rf'{1 / 0}'\n", None),
    ("b'bytes'\n", None),
    ("Rb'bytes'\n", None),
    (r"'a\d'", r"a\d"),
    ("%matplotlib inline\n'late'\n", None),
    ("'''open\n", None),
    ("# nothing\n", None),
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("text", "doc"), DOCSTRINGS)
def test_the_docstring_of_a_file(text, doc):
    found, _ = docstring(io.StringIO(text).readline)
    assert found == (inspect.cleandoc(doc) if doc and sys.version_info >= (3, 13) else doc)


def test_the_docstring_follows_edits_and_files(make_node, tmp_path):
    paths = [str(tmp_path / name) for name in ("a.py", "b.py")]
    for path, text in zip(paths, ("# %%\n'old'\n", "'b'\n")):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    node = make_node(script=paths[0])
    (local,), (rank,) = node.spawn(), node.spawn(1)
    assert printed(rank.run("print(__doc__)", paths[0], 9)) == "old\n"
    assert printed(local.run("'new'\nprint(__doc__)", paths[0], 2)) == "new\n"
    assert printed(local.run("print(__doc__)", paths[0], 9)) == "new\n"
    assert printed(local.run("print(__doc__)", paths[1], 9)) == "b\n"
    assert printed(local.run("print(__doc__)", paths[1], 1)) == "None\n"
