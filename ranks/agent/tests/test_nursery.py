"""What forks need not import, because the nursery has."""

from __future__ import annotations

import json

import pytest

WITNESS = """
import os, sys
at_fork = set()
os.register_at_fork(after_in_child=lambda: at_fork.update(sys.modules))
"""
NEW = "import json, sys, witness; print(json.dumps(sorted(set(sys.modules) - witness.at_fork)))"


def new_modules(process):
    """Return the modules that a process has imported itself."""
    return json.loads(process.run(NEW).text())


@pytest.fixture
def nursery(make_node, tmp_path):
    """A function that starts a node with imported modules, one of which notes what exists when it forks."""
    (tmp_path / "witness.py").write_text(WITNESS)

    def start(modules=(), **options):
        node = make_node()
        reply = node.ask("preload_request", {"modules": ["witness", *modules], **options})
        assert (reply["failed"], reply["fork_safe"], reply["reason"]) == ([], True, "")
        return node

    return start


def test_ranks_import_nothing_for_what_all_cells_do(nursery):
    (rank,) = nursery().spawn(1)
    first = set(new_modules(rank))
    assert rank.run("def f(x): return 1 / x\nf(0)", "/t.py").error["ename"] == "ZeroDivisionError"
    assert rank.run("class Ä(Exception): pass\ntry: f(0)\nexcept ArithmeticError: raise Ä('x')").error["ename"] == "Ä"
    assert rank.run("1 +").error["ename"] == "SyntaxError"
    assert rank.run("[1, 2]").all("execute_result")
    assert rank.run("print('x')").text() == "x\n"
    assert "zip" in rank.ask("complete_request", {"code": "zi", "cursor_pos": 2, "timeout": 60})["matches"]
    assert rank.ask("inspect_request", {"code": "f", "cursor_pos": 1, "timeout": 60})["found"]
    assert rank.ask("variables_request", {"timeout": 60})["variables"]
    assert new_modules(rank) == sorted(first)
    assert len(first) <= 2, first  # the process itself


def test_rehearsal_leaves_nothing(nursery):
    (rank,) = nursery().spawn(1)
    names = "[name for name in ('wrong', 'path', 'err', '_rehearsal') if name in globals()]"
    result = rank.run(f"print([_, Out, {names}]); get_ipython().execution_count")
    assert result.text() == "['', {}, []]\n"
    assert result.all("execute_result")[0]["execution_count"] == 1
    rank.run("import linecache")
    assert rank.run("print([path for path in linecache.cache if 'rehearsal' in path])").text() == "[]\n"


@pytest.mark.parametrize(
    ("app", "packages"), [("accelerate", {"accelerate"}), ("fastai", {"fastai", "fastcore", "accelerate"})]
)
def test_modules_of_apps(nursery, app, packages):
    pytest.importorskip("torch.distributed")
    pytest.importorskip(app)
    ranks = nursery(["torch"], app=app).spawn(2, app=app)
    for rank in ranks:
        assert rank.hello["app"].startswith(app), rank.hello
        packages = {name.partition(".")[0] for name in new_modules(rank)}
        assert not packages & {"torch", "accelerate", "fastai", "fastcore", "numpy", "pandas", "matplotlib", "PIL"}
        if app == "fastai":  # which imports pyplot
            assert shown(rank) == ["image/png"]


def shown(process):
    """Return what kinds of picture a process shows of a plot."""
    result = process.run("import matplotlib.pyplot as plt\nplt.plot([1, 2])")
    return [kind for display in result.all("display_data") for kind in display["data"] if kind.startswith("image")]


@pytest.mark.parametrize("code", ["", "plt.plot([1]); plt.close()"], ids=["imports pyplot", "plots"])
def test_plots_are_shown_although_the_nursery_has_pyplot(nursery, tmp_path, code):
    pytest.importorskip("matplotlib_inline")
    pytest.importorskip("matplotlib")
    (tmp_path / "plots.py").write_text(f"import matplotlib.pyplot as plt\n{code}")
    node = nursery(["plots"])
    for process in (*node.spawn(2), *node.spawn()):
        assert shown(process) == ["image/png"]
        assert "matplotlib.pyplot" not in new_modules(process)


def test_a_backend_that_the_user_has_chosen_stays(make_node, tmp_path):
    pytest.importorskip("matplotlib")
    node = make_node(env={"MPLBACKEND": "svg"})
    assert node.ask("preload_request", {"modules": ["matplotlib.pyplot"]})["failed"] == []
    (rank,) = node.spawn(1)
    assert rank.run("import matplotlib; print(matplotlib.get_backend())").text() == "svg\n"


def test_an_app_that_is_not_there_keeps_nothing_from_starting(nursery):
    for app in ("fastai_v9", "no.such.module", "/no/such/file.py", "none", "torch"):
        nursery(app=app)


def test_gpus_are_left_to_ranks(nursery, monkeypatch):
    pytest.importorskip("accelerate")
    # Where there are GPUs, an app may take one while it is imported.
    from dip_agent import nursery as module

    monkeypatch.setattr(module.os.path, "exists", lambda path: path == "/dev/nvidiactl")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    imported = []
    monkeypatch.setattr(module, "import_app", imported.append)
    module.Nursery(set(), "").preload([], "accelerate")
    assert imported == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    module.Nursery(set(), "").preload([], "accelerate")
    assert imported == ["accelerate"]
