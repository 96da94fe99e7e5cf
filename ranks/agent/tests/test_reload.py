"""Modules of the project that were edited: which files a process tells of, and how it reloads them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def module(tmp_path: Path) -> Path:
    folder = tmp_path / "pröj ekt"
    folder.mkdir()
    file = folder / "edited.py"
    file.write_text("def f(): return 'old'\nclass C:\n    def m(self): return 'old'\n")
    return file


def test_reload(local, module):
    imports = "import edited, json\nfrom edited import f\nc = edited.C()"
    code = f"import sys; sys.path.insert(0, {str(module.parent)!r})\n{imports}"
    result = local.run(code, autoreload=True)
    (imported,) = [one for one in result.content["imported"] if one["path"] == str(module)]
    stat = os.stat(module)
    assert (imported["mtime"], imported["size"]) == (stat.st_mtime, stat.st_size)
    assert not any("json" in one["path"] or "site-packages" in one["path"] for one in result.content["imported"])
    assert not local.run("1", autoreload=True).content.keys() & {"imported", "reloaded"}

    module.write_text(module.read_text().replace("old", "newer"))
    result = local.run("print(f(), edited.f(), c.m())", autoreload=True, reload=[str(module)])
    assert result.text() == "newer newer newer\n"
    assert result.content["reloaded"] is True
    (again,) = result.content["imported"]
    assert again["size"] == os.stat(module).st_size

    module.write_text("def f(): return 'broken'\n1 +\n")
    result = local.run("print(f(), edited.f(), c.m())", reload=[str(module), "/no/such/file.py"])
    assert result.text("stdout") == "newer newer newer\n"
    assert "edited was edited and cannot be imported, so it stays as it was: SyntaxError" in result.text("stderr")


def test_a_reload_can_be_interrupted(local, module):
    local.run(f"import sys; sys.path.insert(0, {str(module.parent)!r})\nimport edited")
    module.write_text("import time\nprint('begun', flush=True)\ntime.sleep(1000)\n")
    request = local.start("print('unreached')", reload=[str(module)])
    local.wait_output("begun")
    local.ask("interrupt_request", {"parent": request})
    content = local.finish(request).content
    assert content["ename"] == "KeyboardInterrupt"
    assert "reloaded" not in content
    result = local.run("print(edited.f())")
    assert result.text() == "old\n", result.messages
