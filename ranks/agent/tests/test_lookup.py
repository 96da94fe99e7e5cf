"""Completion, hover and variables of a process that is idle."""

from __future__ import annotations

import os
import zlib
from typing import Any

import pytest
from harness import Process, wait_until

from dip_agent.lookup.describe import describe
from dip_agent.lookup.members import _blocks, digest

MIME = "application/vnd.dipls.object+json"


def complete(process: Process, code: str, **options: Any) -> list[str]:
    reply = process.ask("complete_request", {"code": code, "cursor_pos": len(code), **options})
    assert reply["status"] == "ok", reply
    assert reply["cursor_end"] == len(code)
    for entry, text in zip(reply["metadata"]["_jupyter_types_experimental"], reply["matches"]):
        assert entry["text"] == text
    return [code[: reply["cursor_start"]] + text for text in reply["matches"]]


def kinds(process: Process, code: str) -> dict[str, str]:
    reply = process.ask("complete_request", {"code": code, "cursor_pos": len(code)})
    return {entry["text"]: entry["type"] for entry in reply["metadata"]["_jupyter_types_experimental"]}


def inspect(process: Process, code: str, cursor: int | None = None) -> dict[str, Any]:
    reply = process.ask("inspect_request", {"code": code, "cursor_pos": len(code) if cursor is None else cursor})
    assert reply["status"] == "ok", reply
    return reply["data"][MIME] if reply["found"] else {}


def variables(process: Process, **options: Any) -> dict[str, dict[str, Any]]:
    reply = process.ask("variables_request", options)
    assert reply["status"] == "ok", reply
    return {entry.pop("name"): entry for entry in reply["variables"]}


def test_completes_names(local):
    local.run("größe = 1; grund = 2; _geheim = 3\ndef grün(): pass")
    assert complete(local, "x = gr") == ["x = grund", "x = größe", "x = grün"]
    assert kinds(local, "gr") == {"grund": "instance", "größe": "instance", "grün": "function"}
    assert complete(local, "a\nif _geh") == ["a\nif _geheim"]
    assert {"while", "with"} <= set(kinds(local, "w"))
    assert kinds(local, "Valu")["ValueError"] == "class"
    assert "_geheim" not in kinds(local, "")


def test_completes_attributes_without_running_them(local):
    code = """
class Thing:
    limit = 1
    def __init__(self): self.name = "x"; self._hidden = 2
    def method(self): pass
    @property
    def costly(self): print("evaluated")
thing = Thing(); many = [thing]; by = {"k": thing}
"""
    local.run(code)
    wanted = {"costly": "property", "limit": "instance", "method": "function", "name": "instance"}
    for chain in ("thing", "many[0]", "by['k']", "many[-1].__init__.__self__"):
        assert kinds(local, f"print({chain}.") == wanted
    assert complete(local, "thing._h") == ["thing._hidden"]
    assert complete(local, "thing.M") == ["thing.method"]
    assert complete(local, "f().na") == complete(local, "missing.na") == complete(local, "by[0].na") == []
    assert local.text() == ""


def test_completes_keys_arguments_imports_and_magics(local):
    local.run(
        "import os.path, json\nd = {'alpha': 1, 'beta': 2, 3: 4, 'it\\'s': 5}\n"
        "def f(x, *args, factor=1, **options): pass"
    )
    assert complete(local, "d['") == ["d['alpha", "d['beta"]
    assert complete(local, 'print(d["al') == ['print(d["alpha']
    assert complete(local, "f(1, [2, 3], fac") == ["f(1, [2, 3], factor="]
    assert kinds(local, "f(")["x="] == "param"
    assert "factor=" not in kinds(local, "f(1)\nfac")
    assert complete(local, "from json import dump") == ["from json import dump", "from json import dumps"]
    assert "import os.path" in complete(local, "import os.pa")
    assert "%timeit" in complete(local, "%time")
    assert "%%timeit" in complete(local, "%%timei")


def test_imports_nothing(local, tmp_path):
    (tmp_path / "unseen.py").write_text("print('imported')\nname = 1\n")
    local.run(f"import sys; sys.path.insert(0, {str(tmp_path)!r})")
    for code in ("from unseen import ", "import unse", "unseen."):
        assert complete(local, code) == []
    assert inspect(local, "unseen.name") == {}
    assert local.text() == ""
    local.run("import unseen")
    assert complete(local, "from unseen import n") == ["from unseen import name"]


def test_module_getattr_is_left_alone(local):
    local.run(
        "import types; lazy = types.ModuleType('lazy'); lazy.a = 1\n"
        "lazy.__getattr__ = lambda name: print('imports', name)"
    )
    assert complete(local, "lazy.a") == ["lazy.a"]
    assert inspect(local, "lazy.sub") == {}
    assert local.text() == ""


def test_inspects(local):
    local.run("größe = [1, 2]\nclass A:\n    '''About A.'''\n    x = 3\n    def __init__(self, n=1): pass\na = A()")
    assert inspect(local, "größe") == {
        "name": "größe",
        "type": "list",
        "kind": "instance",
        "text": "[1, 2]",
        "length": 2,
    }
    assert inspect(local, "print(a.x + 1)", 7)["name"] == "a"
    assert inspect(local, "print(a.x + 1)", 9)["text"] == "3"
    assert inspect(local, "A") | {"text": ""} == {
        "name": "A", "type": "type", "kind": "class", "text": "", "signature": "(n=1)", "doc": "About A."
    }  # fmt: skip
    assert inspect(local, "len")["signature"] == "(obj, /)"
    for nothing in ("missing", "f().x", "1", "", "'a' "):
        assert inspect(local, nothing) == {}


def test_attributes_are_not_computed(local):
    local.run("""
import collections, enum, functools
class Descriptor:
    def __get__(self, thing, cls): print("computed"); return self
class Slotted:
    __slots__ = ("a",)
class Colour(enum.Enum):
    RED = 1
class Thing:
    odd = Descriptor()
    def __init__(self): self.plain, self.slotted = [1], Slotted(); self.slotted.a = 7
    @property
    def costly(self): 'Takes long.'; print("computed"); return self
    @functools.cached_property
    def once(self): 'Takes long once.'; return [print("computed")]
    @classmethod
    def make(cls, n): pass
    of_class = classmethod(property(lambda cls: print("computed")))
    @functools.lru_cache
    def cached(self, m): pass
    def method(self, k): pass
    def __getattr__(self, name): print("computed"); return name
class Proxy:
    def __getattribute__(self, name): print("computed"); return name
thing, proxy = Thing(), Proxy()
point = collections.namedtuple("Point", "x y")(3, 4)
""")
    texts = {
        "thing.plain": "[1]",
        "thing.slotted.a": "7",
        "point.y": "4",
        "Colour.RED": "<Colour.RED: 1>",
        "Thing.__name__": "'Thing'",
    }
    assert {code: inspect(local, code)["text"] for code in texts} == texts
    signatures = {"thing.method": "(k)", "Thing.method": "(self, k)", "thing.make": "(n)", "Thing.make": "(n)"}
    assert {code: inspect(local, code)["signature"] for code in signatures} == signatures
    docs = {"thing.costly": "Takes long.", "thing.once": "Takes long once.", "thing.odd": "", "thing.of_class": ""}
    for code, doc in docs.items():
        found = inspect(local, code)
        assert (found["kind"], found["text"], found["doc"]) == ("property", "", doc), code
    assert inspect(local, "thing.cached")["name"] == "thing.cached"
    for code in ("thing.costly.plain", "thing.unknown", "proxy.x"):
        assert inspect(local, code) == {}, code
    assert complete(local, "thing.costly.p") == []
    assert complete(local, "thing.slotted.a") == ["thing.slotted.a"]
    assert local.text() == ""
    local.run("thing.once")
    assert inspect(local, "thing.once")["text"] == "[None]"


def test_text_is_bounded(local):
    local.run("""
import collections
big = list(range(10**6)); text = "x" * 10**6; data = b"x" * 10**6; number = 10**100000; nested = [[[[[[1]]]]]]
table = collections.defaultdict(int, {n: n for n in range(10**5)})
class Bad:
    def __repr__(self): raise ValueError
class Long:
    def __repr__(self): return "line\\n" * 1000
bad, long = Bad(), Long()
""")
    found = variables(local)
    assert all(len(entry["text"]) <= 120 and "\n" not in entry["text"] for entry in found.values())
    assert found["big"]["length"] == 10**6
    assert found["big"]["text"] == "[0, 1, 2, 3, 4, 5, ...]"
    assert found["nested"]["text"] == "[[[[[...]]]]]"
    assert found["number"]["text"] == "<int of 332193 bits>"
    assert found["table"]["text"] == "<defaultdict of 100000 items>"
    assert found["bad"]["text"] == "<its repr raised ValueError>"
    assert {entry["kind"] for name, entry in found.items() if name in ("Bad", "collections")} == {"class", "module"}
    assert not {"In", "Out", "get_ipython", "exit", "__file__"} & set(found)
    assert inspect(local, "long")["text"].count("\n") == 24
    assert len(inspect(local, "text")["text"]) <= 2000


def test_arrays(local):
    pytest.importorskip("numpy")
    local.run("import numpy as np; a = np.zeros((3, 1000)); b = np.float64(2); c = [a]; d = {'k': np.arange(2)}")
    found = variables(local)
    assert {**found["a"], "text": ""} == {
        "type": "numpy.ndarray", "kind": "instance", "text": "", "shape": [3, 1000], "dtype": "float64", "bytes": 24000
    }  # fmt: skip
    assert found["a"]["text"].startswith("array([[0., 0., 0.,")
    assert found["c"]["text"] == "[<ndarray (3, 1000) float64>]"
    assert found["d"]["text"] == "{'k': <ndarray (2,) int64>}"
    assert found["b"]["shape"] == []


def test_tensors(torch_node, spawn):
    (process,) = spawn(torch_node)
    process.run("""
import torch
small = torch.eye(2); large = torch.arange(1000.).reshape(2, 500); scalar = torch.tensor(3)
meta = torch.empty(5, device="meta"); sparse = torch.eye(3).to_sparse(); grad = torch.ones(200, requires_grad=True)
model = torch.nn.Sequential(torch.nn.Linear(2, 3))
class Named(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(3, 2)
        self.register_buffer("mean", torch.zeros(4))
named = Named()
odd = small.transpose(0, 1)[:, :0]; holder = [large, scalar]
""")
    found = variables(process)
    assert found["large"] == {
        "type": "torch.Tensor", "kind": "instance", "text": "[0, 1, 2, 3, 4, 5, …]",
        "shape": [2, 500], "dtype": "float32", "device": "cpu", "bytes": 4000,
    }  # fmt: skip
    assert found["small"]["text"] == "tensor([[1., 0.], [0., 1.]])"
    assert found["scalar"]["text"] == "tensor(3)"
    assert (found["meta"]["device"], found["meta"]["text"]) == ("meta", "")
    assert (found["sparse"]["shape"], found["sparse"]["text"]) == ([3, 3], "")
    assert found["grad"]["text"] == "[1, 1, 1, 1, 1, 1, …]"
    assert found["odd"]["shape"] == [2, 0]
    assert found["holder"]["text"] == "[<Tensor (2, 500) float32 cpu>, tensor(3)]"
    assert "weight" in kinds(process, "model[0].w")
    assert inspect(process, "named.first.weight")["shape"] == [2, 3]
    assert inspect(process, "named.mean")["shape"] == [4]
    assert inspect(process, "small.shape")["text"] == "torch.Size([2, 2])"
    assert inspect(process, "model")["type"] == "torch.nn.modules.container.Sequential"
    # What a module imports when it is first asked for is not imported by a look at it.
    assert complete(process, "torch.no_gr") == ["torch.no_grad"]


SLOW = """
import time
class Slow:
    def __repr__(self):
        print("asked", flush=True)
        while True: time.sleep(0.01)
    __dir__ = __repr__
slow, a, z = Slow(), 1, 2
"""


def test_a_lookup_that_takes_too_long_is_ended(local):
    local.run(SLOW)
    assert local.ask("inspect_request", {"code": "slow", "cursor_pos": 4, "timeout": 0.05})["status"] == "aborted"
    assert local.ask("complete_request", {"code": "slow.", "cursor_pos": 5, "timeout": 0.05})["status"] == "aborted"
    found = variables(local, timeout=0.05)
    assert (found["a"]["text"], found["slow"]["text"], found["z"]["text"], found["z"]["type"]) == ("1", "", "", "int")
    assert local.run("print('on')").status == "ok"


def test_a_lookup_that_swallows_interrupts_is_ended(local):
    local.run("""
import time
class Stubborn:
    def __repr__(self):
        for _ in range(3):
            try: time.sleep(600)
            except KeyboardInterrupt: pass
stubborn = Stubborn()
""")
    reply = local.ask("inspect_request", {"code": "stubborn", "cursor_pos": 1, "timeout": 0.01})
    assert reply["data"][MIME]["text"] == "<its repr raised TypeError>"


def test_a_cell_ends_a_lookup(local):
    local.run(SLOW)
    lookups = [local.send("inspect_request", {"code": "slow", "cursor_pos": 1, "timeout": 600}) for _ in range(2)]
    local.wait_output("asked")
    result = local.run("print('cell')")
    assert (result.status, result.text()) == ("ok", "cell\n")
    assert [local.reply(request, "inspect_reply")["status"] for request in lookups] == ["aborted", "aborted"]


def test_a_lookup_spares_children(local, tmp_path):
    """Unlike the interrupt of a cell."""
    local.run(f"{SLOW}\nimport subprocess\nchild = subprocess.Popen(['sleep', '600'])")
    assert local.ask("inspect_request", {"code": "slow", "cursor_pos": 1, "timeout": 0.01})["status"] == "aborted"
    assert local.run("child.poll()").all("execute_result") == []
    local.run("child.kill(); child.wait()")


def test_refused_while_busy(local, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    request = local.start(f"x = 1\nopen({str(fifo)!r}).read()")
    wait_until(lambda: local.ask("status_request", reply="status")["msg_id"] == request, "a busy process")
    for kind in ("complete", "inspect", "variables"):
        assert local.ask(f"{kind}_request", {"code": "x", "cursor_pos": 1})["status"] == "aborted"
    with open(fifo, "w"):
        pass
    local.finish(request)
    assert inspect(local, "x")["text"] == "1"  # the reply to the cell means idle


def test_warnings_and_errors_stay_inside(local):
    local.run("""
import warnings
class Noisy:
    def __repr__(self): warnings.warn("old"); return "5"
    def __getattr__(self, name): raise RuntimeError(name)
noisy = Noisy()
""")
    assert inspect(local, "noisy")["text"] == "5"
    assert inspect(local, "noisy.other") == {}
    assert local.text() == ""
    assert "old" in local.run("noisy").text("stderr")


@pytest.mark.parametrize(
    "content", [{}, {"code": None}, {"code": 3, "cursor_pos": "x"}, {"code": "a", "cursor_pos": -7}]
)
def test_odd_content(local, content):
    for kind in ("complete", "inspect", "variables"):
        assert local.ask(f"{kind}_request", content)["status"] == "ok"


def test_nothing_is_read_from_a_busy_gpu(monkeypatch):
    """To read would wait for the GPU, and nothing can end that. Here is no GPU, so torch is told that one is busy."""
    torch = pytest.importorskip("torch")

    class Batch:
        def __repr__(self):
            raise AssertionError("read")

    class Stream:
        def query(self):
            return False

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: Stream())
    assert describe(Batch())["text"] == "<Batch>"
    assert describe([Batch(), 1])["text"] == "[<Batch>, 1]"
    assert describe(torch.ones(2))["text"] == "tensor([1., 1.])"


def members(process: Process, of: str, **options: Any) -> dict[str, dict[str, Any]]:
    reply = process.ask("variables_request", {"of": of, **options})
    assert reply["status"] == "ok", reply
    return {fact["name"]: fact for fact in reply["variables"]}


MEMBERS = """
import collections, dataclasses
@dataclasses.dataclass
class Config:
    lr: float
    names: list
    _hidden: int = 0
    @property
    def cost(self): raise SystemExit("a property was evaluated")
class Slots:
    __slots__ = ("a", "b")
class Sly(dict):
    def __getitem__(self, key): raise SystemExit("user code was run")
    def items(self): raise SystemExit("user code was run")
class Odd:
    @property
    def __dict__(self): raise SystemExit("user code was run")
    def __getattr__(self, name): raise SystemExit("user code was run")
config = Config(0.1, ["a", ["b"]])
slots = Slots(); slots.a = 1
sly = Sly(x=[1]); odd = Odd()
table = {"lr": [1, 2], 3: 4, (1, "x"): [5], "it's": [6], Odd: 7}
long = list(range(500)); queue = collections.deque([1, [2]])
empty = []; number = 3
"""


def test_what_values_consist_of(local: Process) -> None:
    local.run(MEMBERS)
    assert list(members(local, "config")) == [".lr", ".names", "._hidden"]
    assert members(local, "config.names")["[1]"]["members"] is True
    assert members(local, "config.names[1]")["[0]"]["text"] == "'b'"
    assert list(members(local, "slots")) == [".a"]
    assert {name: "members" in fact for name, fact in members(local, "table").items()} == {
        "['lr']": True,
        "[3]": False,
        "[(1, 'x')]": False,
        '["it\'s"]': False,
        "[type]": False,
    }
    assert [(name, "members" in fact) for name, fact in members(local, "sly").items()] == [("['x']", False)]
    assert members(local, "odd") == {}
    assert ["members" in fact for fact in members(local, "queue").values()] == [False, False]
    reply = local.ask("variables_request", {"of": "long"})
    assert len(reply["variables"]) == 200
    assert reply["more"] == 300
    assert members(local, "nothing") == members(local, "config.cost") == members(local, "number") == {}
    known = local.ask("variables_request", {})["variables"]
    opens = {fact["name"] for fact in known if "members" in fact}
    assert opens == {"config", "slots", "sly", "table", "long", "queue"}


def test_members_of_modules_and_digests(local: Process) -> None:
    pytest.importorskip("torch")
    local.run(
        "import torch; from torch import nn; torch.manual_seed(0)\n"
        "model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)); model.note = 'x'\n"
        "a = torch.ones(3, 4); b = torch.ones(3, 4); c = torch.full((3, 4), 1.5); half = a.to(torch.bfloat16)\n"
        "whole = torch.arange(5); row = c[:, 1]"
    )
    assert list(members(local, "model")) == ["[0]", "[1]", ".training", ".note"]
    fields = members(local, "model[0]")
    assert list(fields)[:2] == [".weight", ".bias"]
    assert fields[".weight"]["shape"] == [3, 2]
    assert ".running_mean" in members(local, "model[1]")
    digests = {
        name: members(local, name, digest=True)[name]["digest"] for name in ("a", "b", "c", "half", "whole", "row")
    }
    assert digests["a"] == digests["b"] != digests["c"]
    norms = {name: text.split(" · crc ")[0] for name, text in digests.items()}
    assert norms["a"] == norms["half"] == "norm 3.4641"
    assert (norms["whole"], norms["row"]) == ("norm 5.47723", "norm 2.59808")
    assert members(local, "model", digest=True)["model"]["digest"] == ""


def test_a_digest_is_made_of_one_block_after_the_other(monkeypatch) -> None:
    numpy, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    array = numpy.arange(60, dtype=numpy.int16).reshape(3, 4, 5)
    values = [array, array.transpose(2, 0, 1), array[:, ::2], array[:0], array > 3, array * 1j]
    for value in values:
        crc = zlib.crc32(numpy.ascontiguousarray(value).tobytes())
        expected = f"norm {numpy.linalg.norm(value.astype(complex).reshape(-1)):.6g} · crc {crc:08x}"
        for size in (1, 7, 15, 1 << 20):
            monkeypatch.setitem(_blocks.__globals__, "BLOCK", size)
            assert (digest(value), digest(torch.from_numpy(value))) == (expected, expected)
            assert max(len(block) for block in _blocks(torch.from_numpy(value))) <= size
    assert digest(numpy.array(["a"])) == digest(numpy.array([None])) == ""


def test_table(local: Process) -> None:
    local.run("import numpy\nspace = [numpy.arange(6).reshape(3, 2)]")
    reply = local.ask("table_request", {"name": "space[0]", "sort": 0, "descending": True, "rows": 2, "timeout": 20})
    assert (reply["found"], reply["cells"], reply["total"]) == (True, [["4", "5"], ["2", "3"]], 3)
    reply = local.ask("table_request", {"name": "nothing"})
    assert (reply["found"], reply["reason"]) == (False, "it is not defined")
