"""Cells: values, errors, lines, magics, displays."""

import ast
import itertools
import re
import textwrap

import pytest
from harness import plain

PATH = "/project/train.py"


def frames(error: dict) -> list[tuple[str, int, str]]:
    return [(frame["file"], frame["line"], frame["name"]) for frame in error["frames"]]


def value(result) -> str:
    (content,) = result.all("execute_result")
    return content["data"]["text/plain"]


def test_namespace_and_results(local):
    local.run("def double(x): return 2 * x")
    result = local.run("double(21)")
    assert result.content["execution_count"] == 2
    (content,) = result.all("execute_result")
    assert (content["data"]["text/plain"], content["execution_count"]) == ("42", 2)
    assert value(local.run("_ + 1, _2, Out[2], In[1][:10]")) == "(43, 42, 42, 'def double')"
    assert local.run("double(1);").messages == []
    assert value(local.run("__name__, 'rank' in dir(), 'world_size' in dir()")) == "('__main__', False, False)"


def test_last_inputs(local):
    for code in ("a = 1", "b = 2", "c = 3"):
        local.run(code)
    assert value(local.run("_i, _ii, _iii, _i1")) == "('c = 3', 'b = 2', 'a = 1', 'a = 1')"


def test_silent_and_unstored(local):
    assert local.run("x = 5; x", silent=True).messages == []
    assert local.run("x", store_history=False).all("execute_result")[0]["data"]["text/plain"] == "5"
    assert local.run("1").content["execution_count"] == 1


def test_empty_cells(local):
    for code in ("", "\n\n", "# only a comment", "   ", "pass"):
        assert local.run(code, PATH).status == "ok"


def test_error_has_real_lines(local):
    code = "\n\n# a comment\ndef f(x):\n    return 1 / x\n\nf(0)\n"
    result = local.run(code, PATH, 100)
    assert frames(result.error) == [(PATH, 106, "<module>"), (PATH, 104, "f")]
    assert result.error["ename"] == result.content["ename"] == "ZeroDivisionError"
    assert result.error["evalue"] == result.content["evalue"] == "division by zero"
    text = plain(result.error)
    assert f"File {PATH}:106" in text
    assert f"File {PATH}:104" in text
    assert "--> 104     return 1 / x" in text
    assert "IPython" not in text
    assert "dip_agent" not in text


def test_error_in_a_function_of_an_earlier_cell(local):
    local.run("def f():\n    raise KeyError('k')", PATH, 10)
    local.run("y = 1", PATH, 30)
    error = local.run("f()", PATH, 50).error
    assert frames(error) == [(PATH, 50, "<module>"), (PATH, 11, "f")]
    assert "raise KeyError('k')" in plain(error)


def test_windows_line_ends(local):
    error = local.run("\r\nx = 1\r\nif x:\r\n    1 / 0\r\n", PATH, 5).error
    assert frames(error) == [(PATH, 8, "<module>")]


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("x = (", 20),
        ("\n\nx = 1\nif x:\ny = 2", 24),
        ("x = 1\nreturn 5", 21),
        ("x = 1\n  y = 2", 21),
        ("\n%%time\n\nx = )", 23),
        ("def f():\n    await = 1", 21),
    ],
)
def test_syntax_errors(local, code, line):
    result = local.run(code, PATH, 20)
    assert issubclass(getattr(__builtins__, result.error["ename"], SyntaxError), SyntaxError)
    assert frames(result.error)[-1] == (PATH, line, "<module>")
    assert f"{line}" in plain(result.error)


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("%%time\nx = 1\n1 / 0", 22),
        ("\n\n%%time\n\n\nx = 1\n1 / 0", 26),
        ("%%capture\nx = 1\n1 / 0", 22),
        ("%%capture out\n%%time\nx = 1\n1 / 0", 23),
        ("%%timeit -n1 -r1\n1 / 0", 21),
        ("x = 1\n%time 1 / 0", 21),
        ("x = 1\nif x:\n    %time 1 / 0", 22),
        ("x = %time 1 / 0", 20),
        ("!echo a \\\n  b \\\n  c\n1 / 0", 23),
        ("files = !echo a \\\n  b\n1 / 0", 22),
        ("print?\n1 / 0", 21),
        ("%matplotlib inline\n\n1 / 0", 22),
        ("import asyncio\nawait asyncio.sleep(0)\n1 / 0", 22),
        ("@lambda f: f()\ndef f():\n    1 / 0", 22),
        ("async def f():\n    1 / 0\nawait f()", 21),
        ("'''\nmany\nlines\n'''; 1 / 0", 23),
        (">>> x = 1\n>>> 1 / 0", 21),
        ("    x = 1\n    1 / 0", 21),
        ("x = [i for i in range(3)\n     if 1 / 0]", 21),
    ],
)
def test_real_lines_everywhere(local, code, line):
    result = local.run(code, PATH, 20)
    assert result.error["ename"] == "ZeroDivisionError", result.messages
    assert frames(result.error)[-1][:2] == (PATH, line)
    assert all(file == PATH or "<magic" not in file for file, _, _ in frames(result.error))


def test_document_without_a_file(local):
    name = "untitled:Untitled-1"
    result = local.run("import inspect\ndef f():\n    1 / 0\nprint(inspect.getsource(f))\nf()", name, 7)
    assert [frame[:2] for frame in frames(result.error)] == [(name, 11), (name, 9)]
    assert result.text("stdout") == "def f():\n    1 / 0\n\n"
    assert re.search(r"-> 9 +1 / 0", re.sub(r"\x1b\[[\d;]*m", "", "\n".join(result.error["traceback"])))
    assert value(local.run("'__file__' in globals()", name, 1)) == "False"


def test_code_objects_and_warnings(local):
    code = """

def f():
    '''Doc.'''
    return 1
class C:
    x = f
import inspect, warnings
warnings.warn("careful")
print(inspect.getsource(f)); print(inspect.getsourcelines(C)[1])
f.__code__.co_filename, f.__code__.co_firstlineno, __file__
"""
    result = local.run(code, PATH, 7)
    assert value(result).startswith(f"('{PATH}', 9")
    assert result.text("stdout") == "def f():\n    '''Doc.'''\n    return 1\n\n12\n"
    assert f"{PATH}:15: UserWarning: careful" in result.text("stderr")
    assert '  warnings.warn("careful")' in result.text("stderr")


def test_file_and_arguments(make_node, tmp_path):
    (tmp_path / "beside.py").write_text("here = True")
    script = tmp_path / "train.py"
    (process,) = make_node(script=str(script)).spawn()
    shown = value(process.run("import beside, sys; __file__, sys.argv, beside.here"))
    assert ast.literal_eval(shown) == (str(script), [str(script)], True)


def test_cells_without_a_path(local):
    local.run("def f(): 1 / 0")
    error = local.run("f()").error
    assert len(error["frames"]) == 2
    assert re.search(r"In ?\[1\]", plain(error))


def test_code_that_user_code_runs_keeps_its_own_place(local):
    code = "x = 1\nget_ipython().run_cell('1 / 0')\nprint('still here')"
    result = local.run(code, PATH, 30)
    assert (result.status, result.messages[0].type) == ("ok", "stream")
    assert "ZeroDivisionError" in result.text("stderr")
    assert result.text("stdout") == "still here\n"


def test_magics_that_show_or_hide_errors(local, tmp_path):
    local.run("1 / 0", PATH, 8)
    shown = local.run("%tb\nprint('after')")
    assert (shown.status, shown.text("stdout")) == ("ok", "after\n")
    assert "ZeroDivisionError" in shown.text("stderr")
    script = tmp_path / "script.py"
    script.write_text("x = 1\n{}['key']\n")
    result = local.run(f"%run {script}\nprint('never')", PATH, 8)
    assert (result.content["ename"], result.text("stdout")) == ("KeyError", "")
    assert frames(result.error)[-1] == (str(script), 2, "<module>")


def test_chained_exceptions_and_causes(local):
    code = "try:\n    1 / 0\nexcept ZeroDivisionError as err:\n    raise ValueError('outer') from err"
    error = local.run(code, PATH, 40).error
    text = plain(error)
    assert frames(error) == [(PATH, 43, "<module>")]
    assert text.index("ZeroDivisionError") < text.index("ValueError: outer")


@pytest.mark.parametrize(
    ("code", "name", "words"),
    [
        ("import sys; sys.exit(3)", "SystemExit", "The process lives on"),
        ("exit(True)", "SystemExit", "The process lives on"),
        ("exit(4)", "SystemExit", "SystemExit: 4"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", "KeyboardInterrupt"),
        ("class B(BaseException): pass\nraise B('b')", "B", "B: b"),
        ("def f(): f()\nf()", "RecursionError", "maximum recursion depth"),
        ("raise MemoryError", "MemoryError", "MemoryError"),
        ("x = bytearray(1 << 62)", "MemoryError", "MemoryError"),
        ("class E(Exception):\n    def __str__(self): 1 / 0\nraise E", "E", "E"),
        ("class R:\n    def __repr__(self): raise SystemExit(2)\nR()", "SystemExit", "SystemExit"),
        ("class R:\n    def __repr__(self): raise KeyboardInterrupt\nR()", "KeyboardInterrupt", ""),
        ("breakpoint()", "NoKeyboardError", "no keyboard"),
        ("%nosuchmagic", "UsageError", "not found"),
        ("%dipush nosuch", "NameError", "nothing was pushed"),
        ("%makedip --gpu all", "UsageError", "did you mean --gpus?"),
        ("%%dip nowhere\nx = 1", "UsageError", "'nowhere' is no target"),
        ("%%px --target 0\nx = 1", "UsageError", "did you mean --targets?"),
        ("%load_ext nosuchthing", "ModuleNotFoundError", "nosuchthing"),
    ],
)
def test_errors_that_must_not_end_the_process(local, code, name, words):
    result = local.run(code, PATH, 3)
    assert (result.status, result.content["ename"], result.error["ename"]) == ("error", name, name)
    assert words in plain(result.error)
    assert "To exit: use" not in result.text()
    after = local.run("print('alive')")
    assert (after.status, after.text()) == ("ok", "alive\n")


_SUITE = """import unittest
class T(unittest.TestCase):
    def test(self): self.assert{}(True)
unittest.main()
"""


@pytest.mark.parametrize(
    "code",
    [
        "exit",
        "quit()",
        "raise SystemExit",
        "import sys; sys.exit(None)",
        "import sys; sys.exit(False)",
        "import sys; sys.exit(256)",
        "import argparse; argparse.ArgumentParser().parse_args(['--help'])",
        _SUITE.format("True"),
        "%%time\nimport sys; sys.exit(0)",
        "%%capture\nimport sys; sys.exit(0)",
        "import asyncio, sys\nawait asyncio.sleep(0)\nsys.exit(0)",
        "async def f(): exit()\nawait f()",
    ],
)
def test_exits_that_end_a_cell_well(local, code):
    result = local.run(code, PATH, 3)
    assert (result.status, result.all("error")) == ("ok", [])
    assert "exit_code" not in result.content
    assert "SystemExit" not in result.text()
    assert "never retrieved" not in local.run("import gc; gc.collect()").text()


@pytest.mark.parametrize(
    ("code", "exit_code", "shown"),
    [
        ("import sys; sys.exit(3)", 3, "SystemExit: 3"),
        ("import sys; sys.exit(-1)", 255, "SystemExit: -1"),
        ("import sys; sys.exit(2**70 + 256)", 255, "SystemExit: "),
        ("import sys; sys.exit('two\\nlines')", 1, "two\nlines"),
        ("import sys; sys.exit([1])", 1, "[1]"),
        ("import argparse; argparse.ArgumentParser().parse_args(['--nosuch'])", 2, "SystemExit: 2"),
        (_SUITE.format("False"), 1, "SystemExit: "),
        ("%%time\nimport sys; sys.exit(4)", 4, "SystemExit: 4"),
    ],
)
def test_exits_that_fail_a_cell_say_with_what_code(local, code, exit_code, shown):
    result = local.run(code, PATH, 3)
    assert (result.status, result.content["ename"]) == ("error", "SystemExit")
    assert result.content["exit_code"] == exit_code
    text = plain(result.error)
    assert text == shown or (text.startswith(shown) and "The process lives on" in text)


@pytest.mark.skipif("sys.version_info < (3, 11)")
def test_exception_groups(local):
    error = local.run("raise ExceptionGroup('many', [ValueError('v'), KeyError('k')])", PATH).error
    assert error["ename"] == "ExceptionGroup"
    assert "ValueError: v" in plain(error)
    assert "KeyError: 'k'" in plain(error)


def test_repr_that_raises(local):
    result = local.run("class R:\n    def __repr__(self): 1 / 0\nR()", PATH)
    assert "ZeroDivisionError" in result.text("stderr")
    assert local.run("1").status == "ok"


def test_standard_input_is_empty(local):
    assert value(local.run("import sys; sys.stdin.read()")) == "''"
    assert local.run("!cat").status == "ok"


def test_load_ext(local):
    for name in ("Ddip", "ddipp", "ipyparallel"):
        assert "nothing needs loading" in local.run(f"%load_ext {name}").text()


def test_magics_and_shell_commands(local):
    assert "hello\n" in local.run("!echo hello").text()
    assert value(local.run("files = !echo one\nfiles")) == "['one']"
    assert "Wall time" in local.run("%time sum(range(10))").text()
    assert "no screen is connected" in local.run("%gui qt").text()
    assert value(local.run("%%capture out\nprint('in')\n") and local.run("out.stdout")) == "'in\\n'"
    assert "Docstring" in local.run("len?").text()
    assert value(local.run("%cd -q /\nimport os; os.getcwd()")) == "'/'"
    assert local.run("%%bash\necho from bash").text() == "from bash\n"
    assert "nothing here" not in local.run("%history").text()


def test_rich_display(local):
    code = """
from IPython.display import HTML, JSON, display, clear_output, update_display
display(HTML("<b>bold</b>"))
handle = display({"text/plain": "p", "application/x-y": {"n": float("nan"), "b": b"\\0"}}, raw=True, display_id="one")
update_display(HTML("<i>new</i>"), display_id="one")
clear_output(wait=True)
HTML("<b>last</b>")
"""
    result = local.run(code)
    first, second = result.all("display_data")
    assert first["data"]["text/html"] == "<b>bold</b>"
    assert second["data"] == {"text/plain": "p", "application/x-y": {"n": None, "b": "AA=="}}
    assert second["transient"] == {"display_id": "one"}
    (update,) = result.all("update_display_data")
    assert (update["data"]["text/html"], update["transient"]) == ("<i>new</i>", {"display_id": "one"})
    assert result.all("clear_output") == [{"wait": True}]
    assert result.all("execute_result")[0]["data"]["text/html"] == "<b>last</b>"


def test_displays_and_prints_keep_their_order(local):
    result = local.run("for i in range(5): print('p', i); display(i)")
    kinds = [kind for kind, _ in itertools.groupby(m.type for m in result.messages)]
    assert kinds == ["stream", "display_data"] * 5


def test_plots_are_pictures(local):
    result = local.run("import matplotlib.pyplot as plt\nplt.plot([1, 2, 3])\nplt.show()")
    (content,) = result.all("display_data")
    assert content["data"]["image/png"].startswith("iVBOR")
    result = local.run("fig, ax = plt.subplots(); ax.plot([3, 1]);")
    assert result.all("display_data")[0]["data"]["image/png"].startswith("iVBOR")


def test_top_level_await(local):
    code = """
import asyncio
async def f():
    await asyncio.sleep(0.001)
    return 7
task = asyncio.create_task(f())
await f()
"""
    assert value(local.run(code)) == "7"
    assert value(local.run("await task")) == "7"
    assert value(local.run("asyncio.run(f())")) == "7"


def test_history_keeps_nothing_big(local):
    local.run("print('x' * 1000); display('y' * 1000)")
    text = value(local.run("repr(dict(get_ipython().history_manager.__dict__.get('outputs', {})))"))
    assert "xxxx" not in ast.literal_eval(text)


def test_fresh_namespace(local):
    names = value(local.run("sorted(n for n in dir() if not n.startswith('_'))"))
    opens = ["open"] if "'open'" in names else []  # IPython's own, since 8.1
    assert ast.literal_eval(names) == ["In", "Out", "exit", "get_ipython", *opens, "quit"]


def test_compiler_flags_last(local):
    local.run("from __future__ import annotations")
    assert value(local.run("def f(x: Nope): ...\nf.__annotations__")) == "{'x': 'Nope'}"


def test_long_cell_at_a_high_line(local):
    code = (
        textwrap.dedent("""
        x = 0
        """)
        + "x += 1\n" * 3000
        + "1 / 0\n"
    )
    assert frames(local.run(code, PATH, 200_000).error) == [(PATH, 203_002, "<module>")]
