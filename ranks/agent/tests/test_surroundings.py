"""What ranks inherit of the local namespace: environment, working directory, where imports look."""

from __future__ import annotations

import pytest

SHOW = "import os, sys; print([os.environ.get(n) for n in 'ABC'], os.getcwd(), sys.path)"


def news(local):
    """Return what the local namespace has told of its surroundings, and forget it."""
    found = [message.content for message in local.inbox if message.type == "surroundings"]
    local.inbox[:] = [message for message in local.inbox if message.type != "surroundings"]
    return found


@pytest.fixture
def quiet(make_node, tmp_path):
    """A node of the test's own with A and B in its environment, and its local namespace."""
    (tmp_path / "two").mkdir()
    (tmp_path / "train.py").write_text("")
    node = make_node(script=str(tmp_path / "train.py"), env={"A": "a", "B": "b"})
    (local,) = node.spawn()
    return node, local


def change(local, code):
    request = local.start(code)
    assert local.reply(request, "execute_reply")["status"] == "ok"
    return news(local)


def test_the_local_namespace_tells_what_it_has_changed(quiet, tmp_path):
    _, local = quiet
    assert change(local, "import os, sys; x = 1") == []
    assert change(local, "os.environ['A'] = 'ü 1'; del os.environ['B']") == [{"env": {"A": "ü 1", "B": None}}]
    assert change(local, "os.environ['A'] = 'ü 1'") == []
    (told,) = change(local, "os.chdir('two'); os.environ.update(A='a', C='c')\n%env B=x")
    assert told == {"env": {"A": "a", "B": "x", "C": "c"}, "cwd": str(tmp_path / "two")}
    start = local.run("print(len(sys.path))").text()
    (told,) = change(local, "sys.path.append('/last'); sys.path.insert(0, '/first')")
    assert (told["path"][:2], told["path"][-1]) == (["/first", None], "/last")
    assert len(told["path"]) == int(start) + 2
    # Another file's folder is no change of the user's.
    request = local.start("pass", path=str(tmp_path / "two" / "other.py"))
    assert local.reply(request, "execute_reply")["status"] == "ok"
    assert news(local) == []
    (told,) = change(local, f"os.chdir({str(tmp_path)!r}); del sys.path[0]; sys.path.remove('/last')")
    assert (told["cwd"], told["path"][0], len(told["path"])) == (str(tmp_path), None, int(start))


def test_a_command_comes_after_what_has_changed_before_it(quiet):
    _, local = quiet
    local.start("import os; os.environ['A'] = '1'\n%makedip -n 2")
    command = local.wait(lambda message: message.type == "command_request")
    assert news(local) == [{"env": {"A": "1"}}]
    local.send("command_reply", {"id": command.content["id"], "status": "ok", "text": ""})


def test_text_that_is_no_utf8(quiet):
    _, local = quiet
    (told,) = change(local, "import os; os.environb[b'A'] = b'\\xff'")
    assert told == {"env": {"A": "\udcff"}}


def test_what_is_no_environment_and_no_path(quiet):
    _, local = quiet
    (told,) = change(local, "import os, sys, pathlib; sys.path += [7, None, pathlib.Path('/p'), b'/b']")
    assert told["path"][-1] == "/p"
    (told,) = change(local, "os.environ = {'A': 'other'}")
    assert told["env"]["A"] == "other"
    assert change(local, "os.environ = 3; sys.path = None") == []
    assert local.run("print('still here')").text() == "still here\n"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_ranks_that_are_made_later(quiet, tmp_path, method):
    node, local = quiet
    (told,) = change(
        local, "import os, sys; os.environ.update(A='1', RANK='7', X='é'); del os.environ['B']; os.chdir('two')"
    )
    assert told["env"]["RANK"] == "7"  # the server leaves that out; what it sets itself would win in any case
    (path,) = change(local, "sys.path.insert(0, '/first')")
    (rank, *_) = node.spawn(2, method=method, surroundings=path)
    shown = rank.run(SHOW).text()
    assert shown.startswith(f"['1', None, None] {tmp_path / 'two'} ['/first', {str(tmp_path)!r}, ")
    assert rank.run("print(os.environ['RANK'], os.environ['X'])").text() == "0 é\n"


@pytest.mark.parametrize("request_type", ["execute_request", "app_request"])
def test_ranks_that_are_there_take_it_over_with_a_request(quiet, tmp_path, request_type):
    node, _ = quiet
    (rank,) = node.spawn(1)
    before = rank.run("import sys; print(sys.path)").text()
    changes = {"env": {"A": "1", "B": None}, "cwd": str(tmp_path / "two"), "path": ["/first", None, "/last"]}
    if request_type == "app_request":
        assert rank.ask("app_request", {"app": None, "verbose": None, "surroundings": changes})["status"] == "ok"
        shown = rank.run(SHOW).text()
    else:
        shown = rank.run(SHOW, surroundings=changes).text()
    assert shown == f"['1', None, None] {tmp_path / 'two'} {['/first', str(tmp_path), '/last']}\n"
    assert before != shown
    lost = rank.run(SHOW, surroundings={"env": {"A": "2", "bad=": "x"}, "cwd": str(tmp_path / "gone")})
    assert lost.text("stdout").startswith(f"['2', None, None] {tmp_path / 'two'} ")
    assert "working directory cannot be taken over" in lost.text("stderr")
    assert "bad= cannot be taken over" in lost.text("stderr")


WIDTH = "import os, shutil; print(os.environ.get('COLUMNS'), shutil.get_terminal_size((7, 7)).columns)"


def test_the_width_of_the_screen_is_no_change_of_the_users(quiet):
    _, local = quiet
    assert local.run(WIDTH).text() == "None 7\n"
    local.send("columns", {"columns": 120})
    assert local.run(WIDTH).text() == "120 120\n"
    running = local.start("while shutil.get_terminal_size().columns == 120: pass\nprint('seen')")
    local.send("columns", {"columns": 60})
    assert local.finish(running).text() == "seen\n"
    assert local.run(WIDTH).text() == "60 60\n"
    assert news(local) == []
    assert change(local, "os.environ['COLUMNS'] = '200'") == [{"env": {"COLUMNS": "200"}}]
    local.send("columns", {"columns": 90})
    assert local.run(WIDTH).text() == "200 200\n"  # whoever has set it counts


def test_a_width_that_the_user_has_set_before(make_node):
    (local,) = make_node(env={"COLUMNS": "33"}).spawn()
    local.send("columns", {"columns": 120})
    assert local.run(WIDTH).text() == "33 33\n"
