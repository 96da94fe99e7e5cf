"""Low limits are named as what they are, before anything is started where they can be known."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from dip_agent import limits

SOURCE = str(Path(limits.__file__).parents[1])

CODE = """
import json, os, resource, sys
sys.path.insert(0, sys.argv[1])
from dip_agent import limits
user, kind, limit = json.loads(sys.argv[2])
if user:
    os.setuid(user)
resource.setrlimit(getattr(resource, kind), (limit, limit))
print(json.dumps([limits.shortage(4), limits.shortage(400)]))
"""


def shortages(kind: str, limit: int, user: int = 0) -> list[str]:
    argv = [sys.executable, "-c", CODE, SOURCE, json.dumps([user, kind, limit])]
    return json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)


def test_open_files():
    few, many = shortages("RLIMIT_NOFILE", 128)
    assert few == ""
    assert many.startswith("the limit on open files (ulimit -n) is 128, and 400 processes need about ")


def test_address_space():
    few, many = shortages("RLIMIT_AS", 150 << 20)
    assert few == many
    assert few.startswith("the limit on address space (ulimit -v) is 150 MiB, and a process needs at least ")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how many threads there are")
def test_processes_and_threads():
    if os.geteuid() != 0:
        pytest.skip("the limit is of a user, and only root may be another one")
    few, many = shortages("RLIMIT_NPROC", 400, user=54321)
    assert few == ""
    words = "the limit on processes and threads of this user (ulimit -u) is 400, of which 1 are taken, and 400 "
    assert many.startswith(words)


def test_no_limits():
    assert limits.shortage(4) == ""


def test_a_pool_that_the_limits_do_not_allow(make_node):
    node = make_node()
    _, hard = resource.prlimit(node.popen.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(node.popen.pid, resource.RLIMIT_NOFILE, (40, hard))
    assert not node.spawn(8)
    reply = node.spawned
    assert (reply["status"], reply["ename"]) == ("error", "RuntimeError")
    assert reply["evalue"].startswith("the limit on open files (ulimit -n) is 40, and 8 processes need about ")
    resource.prlimit(node.popen.pid, resource.RLIMIT_NOFILE, (1024, hard))
    assert node.spawn(2)[0].run("1").status == "ok"


@pytest.mark.parametrize(
    ("err", "kind", "words"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "RLIMIT_NOFILE", "open files (ulimit -n)"),
        (RuntimeError("can't start new thread"), "RLIMIT_NPROC", "processes and threads of this user (ulimit -u)"),
        (BlockingIOError(errno.EAGAIN, "no"), "RLIMIT_NPROC", "processes and threads of this user (ulimit -u)"),
        (MemoryError(), "RLIMIT_AS", "address space (ulimit -v)"),
        (ImportError("x.so: failed to map segment from shared object"), "RLIMIT_AS", "address space (ulimit -v)"),
        (OSError(errno.EFBIG, "File too large"), "RLIMIT_FSIZE", "files (ulimit -f)"),
        (ValueError("something else"), None, ""),
    ],
)
def test_explain(monkeypatch, err, kind, words):
    limit = {getattr(resource, kind): 1 << 30} if kind else {}
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit.get(which, resource.RLIM_INFINITY),) * 2)
    told = limits.explain(err)
    assert told.startswith(str(err))
    assert (f"the limit on {words} is " in told) == bool(words)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY,) * 2)
    assert limits.explain(err) == str(err)
