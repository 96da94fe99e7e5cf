"""What is beside the script is imported by the processes that run its cells, and by no node."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from harness import AGENT_DIR

SEEN = "import os; open(os.path.join(os.path.dirname(__file__), 'seen'), 'a').write(__name__ + ' ')\n"
SHADOWS = ("json", "bdb", "code", "zmq", "IPython", "html", "executing", "numpy", "torch", "usercode")


@pytest.fixture
def folder(tmp_path):
    """A folder with a script, and files that have the names of modules; `seen` has those that were imported."""
    folder = tmp_path / "a folder ü"
    folder.mkdir()
    for name in SHADOWS:
        (folder / f"{name}.py").write_text(SEEN)
    (folder / "train.py").write_text("")
    return folder


def seen(folder):
    file = folder / "seen"
    return file.read_text().split() if file.exists() else []


def test_a_node_imports_nothing_of_the_folder(make_node, folder, tmp_path):
    pytest.importorskip("numpy")
    # The working directory is on PYTHONPATH, as an empty entry has it, and so is the folder.
    (tmp_path / "queue.py").write_text("raise SystemExit('queue.py of the working directory')")
    node = make_node(script=str(folder / "train.py"), env={"PYTHONPATH": f":{folder}"})
    assert node.ready.get("ready"), (node.ready, node.log())
    modules = ["numpy", *(["torch"] if "torch" in node.facts["packages"] else [])]
    reply = node.ask("preload_request", {"modules": modules})
    assert reply["failed"] == []
    (rank,) = node.spawn(1, method="fork")
    assert seen(folder) == []
    # The rank has them all, first the folder.
    path = json.loads(rank.run("import json, sys; print(json.dumps(sys.path))").text())
    assert path[0] == str(folder)
    assert path.count(str(tmp_path)) == 1
    assert path.count(str(folder)) == 2
    assert rank.run("import usercode, numpy; numpy.array([1]).sum()").status == "ok"
    assert seen(folder) == ["usercode"]
    told = node.spawned["notices"]
    assert f"import numpy gives the installed numpy, not {folder}/numpy.py: rename that file to use it" in told
    assert not any("usercode" in notice for notice in told)
    node.spawn(1, method="fork")
    assert node.spawned["notices"] == []  # once is enough


def test_spawned_processes_import_nothing_of_the_folder_for_us(make_node, folder):
    node = make_node(script=str(folder / "train.py"), env={"PYTHONPATH": f":{folder}"})
    (local,) = node.spawn(method="spawn")
    assert seen(folder) == []
    assert local.run("import usercode").status == "ok"
    assert local.run("1 / 0").error["ename"] == "ZeroDivisionError"
    assert seen(folder) == ["usercode"]


def test_preloading_takes_from_the_folder_what_is_named(make_node, folder):
    """Found are the named module and what it imports, but nothing that libraries look for."""
    (folder / "mine.py").write_text(SEEN + "import helper, library, numpy\n")
    (folder / "helper.py").write_text(SEEN + "import deeper.inner\n")
    (folder / "deeper").mkdir()
    (folder / "deeper" / "__init__.py").write_text(SEEN.replace("'seen'", "'..', 'seen'"))
    (folder / "deeper" / "inner.py").write_text("")
    (folder / "optional.py").write_text(SEEN)
    libraries = folder / ".venv" / "lib" / "site-packages"
    libraries.mkdir(parents=True)
    (libraries / "library.py").write_text("try: import optional\nexcept ImportError: pass\nelse: raise RuntimeError")
    node = make_node(script=str(folder / "train.py"), env={"PYTHONPATH": str(libraries)})
    assert node.ask("preload_request", {"modules": ["library"]})["failed"] == []
    assert seen(folder) == []
    reply = node.ask("preload_request", {"modules": ["mine", "json", "optional.not_there"]})
    assert [failed["module"] for failed in reply["failed"]] == ["optional.not_there"]
    assert seen(folder) == ["mine", "helper", "deeper", "numpy", "optional"]
    (rank,) = node.spawn(1, method="fork")
    assert rank.run("import sys; assert {'mine', 'helper', 'deeper.inner'} <= set(sys.modules)").status == "ok"


def test_an_error_names_the_file_that_hides_a_module(make_node, folder):
    pytest.importorskip("numpy")
    node = make_node(script=str(folder / "train.py"))
    (local,) = node.spawn(method="spawn")
    hint = f"{folder}/numpy.py hides the installed numpy ("
    for code in ("import numpy\nnumpy.array", "from numpy import array", "import numpy.linalg"):
        error = local.run(code).error
        if sys.version_info >= (3, 13) and "renaming" in error["evalue"]:
            continue
        assert hint in error["evalue"]
        assert hint in error["traceback"][-1]
    for other in ("import usercode\nusercode.x", "import not_there", "import json\njson.no"):
        assert "rename" not in local.run(other).error["evalue"]


@pytest.fixture
def two(tmp_path):
    """Two folders with a script and modules, three of which have the same names, and a link to the second folder."""
    scripts = []
    for name in ("one ü", "two"):
        folder = tmp_path / name
        (folder / "package").mkdir(parents=True)
        (folder / "package" / "__init__.py").write_text("from .part import who")
        (folder / "package" / "part.py").write_text(f"who = {name!r}")
        (folder / "plain").mkdir()  # a package without __init__.py
        (folder / "plain" / "part.py").write_text(f"who = {name!r}")
        (folder / "model.py").write_text(f"who = {name!r}")
        (folder / f"only_{name[:3]}.py").write_text(f"who = {name!r}")
        (folder / "train.py").write_text("")
        scripts.append(folder / "train.py")
    link = tmp_path / "linked.py"
    link.symlink_to(scripts[1])
    return [str(script) for script in (*scripts, link)]


WHO = "import sys, model, package, package.part, plain.part; print(sys.argv[0] == __file__, __file__, sys.path[0], "
WHO += "model.who, package.who, package.part.who, plain.part.who)"


@pytest.mark.parametrize("ranks", [0, 2])
@pytest.mark.parametrize("first", [0, 1, 2])
def test_a_second_file_from_another_folder(make_node, two, ranks, first):
    (process, *_) = make_node(script=two[first]).spawn(ranks)
    names = ["one ü", "two", "two"]
    for index in (first, 1 - bool(first), first, 2, 0):
        file, name = two[index], names[index]
        folder = os.path.dirname(os.path.realpath(file))
        for _ in range(2):
            assert process.run(WHO, path=file).text() == f"True {file} {folder} {name} {name} {name} {name}\n"
    # What the other file has beside it is there, too, for what was defined by its cells.
    assert (
        process.run("import only_two, only_one; print(only_two.who, only_one.who)", path=two[0]).text() == "two one ü\n"
    )
    paths = json.loads(process.run("import json; print(json.dumps(sys.path))").text())
    assert [paths.count(os.path.dirname(script)) for script in two[:2]] == [1, 1]


def test_arguments_and_path_of_the_users_own(make_node, two):
    (local,) = make_node(script=two[0]).spawn()
    local.run("import sys; sys.argv[:] = ['x', '--lr', '1']; sys.path.insert(0, '/first')", path=two[0])
    assert local.run("print(sys.argv)", path=two[0]).text() == "['x', '--lr', '1']\n"
    folders = [os.path.dirname(script) for script in two[:2]]
    code = "print(sys.argv, sys.path[:3])"
    assert local.run(code, path=two[1]).text() == f"{[two[1], '--lr', '1']} {['/first', *reversed(folders)]}\n"
    shown = local.run(code, path="untitled:Untitled-1").text()  # a document without a file
    assert shown == f"{[two[1], '--lr', '1']} {['/first', *reversed(folders)]}\n"
    local.run("sys.path.remove(sys.path[1]); sys.argv.clear()", path=two[1])
    assert local.run("print(sys.argv, sys.path[:2])", path=two[0]).text() == f"{[two[0]]} {[folders[0], '/first']}\n"


def test_a_working_directory_that_was_removed(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"""
import os, sys
os.chdir({str(gone)!r})
os.rmdir({str(gone)!r})
sys.path[:] = [{str(AGENT_DIR)!r}, "", *sys.path]
from dip_agent import paths
paths.hide(*"".split(os.pathsep))
paths.hide(paths.folder_of({str(tmp_path / "a.py")!r}), "")
with paths.Finder({str(tmp_path)!r}, "not_there"):
    try:
        import not_there
    except ImportError as err:
        assert paths.hint(err) == ""
paths.show({str(tmp_path / "a.py")!r})
assert sys.path[0] == {str(tmp_path)!r}, sys.path
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_arguments_that_come_with_a_cell(make_node, two):
    for process in (*make_node(script=two[0]).spawn(), *make_node(script=two[0]).spawn(1)):
        show = "import sys; print(sys.argv)"
        lr = ["--lr", "3e-4", "wörk dir"]
        assert process.run(show, path=two[0], args=lr).text() == f"{[two[0], *lr]}\n"
        mine = f"{[two[1], *lr, 'mine']}\n"
        assert process.run("sys.argv.append('mine'); print(sys.argv)", path=two[1]).text() == mine
        assert process.run(show, path=two[1], args=lr).text() == mine  # the same arguments as before
        assert process.run(show, path=two[1], args=[]).text() == f"{[two[1]]}\n"


def test_a_relative_path_that_is_not_there(make_node, tmp_path):
    (local,) = make_node().spawn()
    local.run(f"import os, subprocess; os.chdir({str(tmp_path)!r})")
    hint = f"no such ü.csv is relative to the working directory, {tmp_path}"
    for code in ("open('no such ü.csv')", "import pathlib; pathlib.Path('no such ü.csv').read_text()"):
        error = local.run(code).error
        assert error["evalue"] == f"[Errno 2] No such file or directory: 'no such ü.csv'; {hint}"
        assert error["traceback"][-1] == hint
    for other in ("open('/no such')", "subprocess.run(['no-such-program'])", "raise FileNotFoundError('mine')"):
        assert "working directory" not in local.run(other).error["evalue"]
