"""Push and pull between two real processes of one node."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Node, Process, wait_until

# What the magics do, minus the server: the test plays that.
PACK = """
import json as _json, dip_agent.transfer as _transfer
_held = _transfer.pack({{name: globals()[name] for name in {names!r}}}, globals())
print(_json.dumps([_held.payload, _held.notice]))
"""


class Pair:
    """A local namespace and a rank."""

    def __init__(self, local: Process, rank: Process):
        self.local = local
        self.rank = rank

    def pack(self, *names: str) -> dict[str, Any]:
        """Pack variables of the local namespace, where they stay until `drop`."""
        result = self.local.run(PACK.format(names=names), silent=True)
        assert result.status == "ok", result.error
        payload, self.notice = json.loads(result.text("stdout"))
        return payload

    def drop(self) -> None:
        """Let the local namespace close what it has packed."""
        assert self.local.run("_held.close(); del _held", silent=True).status == "ok"

    def push(self, *names: str, commit: bool = True) -> dict[str, Any]:
        """Push variables to the rank, return its reply."""
        reply = self.rank.ask("push_request", {"names": names, "payload": self.pack(*names)})
        self.drop()
        if reply["status"] == "ok":
            self.rank.send("push_commit", {"commit": commit})
        return reply

    def pull(self, *names: str) -> dict[str, Any]:
        """Pull variables of the rank into the local namespace, return the rank's reply."""
        request = self.rank.send("pull_request", {"names": names})
        reply = self.rank.reply(request, "pull_reply")
        if reply["status"] == "ok":
            code = f"import dip_agent.transfer as _t\n_t.unpack({names!r}, {reply['payload']!r}, globals()).commit()"
            result = self.local.run(code, silent=True)
            assert result.status == "ok", result.error
        self.rank.send("pull_release", {"parent": request})
        return reply


@pytest.fixture
def pair(node: Node, spawn: Callable[..., list[Process]]) -> Pair:
    return Pair(*spawn(node), *spawn(node, 1))


def value(process: Process, expression: str) -> Any:
    """Return what an expression is worth in a process, by its repr."""
    result = process.run(f"print(repr(({expression})))", silent=True)
    assert result.status == "ok", result.error
    return eval(result.text("stdout"))  # noqa: S307 - the test's own expression


def ok(process: Process, code: str) -> None:
    result = process.run(code)
    assert result.status == "ok", result.error


def test_variables_go_to_the_rank_and_come_back(pair: Pair) -> None:
    ok(pair.local, "import numpy\nx = 41\na = numpy.arange(1 << 18)\nb = [a]")
    assert pair.push("x", "a", "b")["status"] == "ok"
    assert value(pair.rank, "x, int(a.sum()), a is b[0]") == (41, sum(range(1 << 18)), True)
    ok(pair.rank, "x += 1; a[0] = 7")
    assert pair.pull("x", "b", "a")["status"] == "ok"
    assert value(pair.local, "x, int(a[0]), a is b[0]") == (42, 7, True)


DEFINITIONS = '''
import collections, dataclasses, enum, functools, typing

K = 10

def helper(x): return x + K

def calls(x): return helper(x) * 2

def even(n): return n == 0 or odd(n - 1)

def odd(n): return n != 0 and even(n - 1)

def factorial(n): return 1 if n < 2 else n * factorial(n - 1)

def twice(function):
    @functools.wraps(function)
    def wrapper(*args): return [function(*args)] * 2
    return wrapper

@twice
def decorated(x: int, *, y: "int" = 2) -> int:
    """Adds."""
    return x + K

def counter():
    n = 0
    def increment():
        nonlocal n
        n += 1
        return n
    def look(): return n
    return increment, look

increment, look = counter()

def generate(n):
    for i in range(n): yield i + K

async def asynchronous(): return K

größe = lambda x: x * K

@functools.lru_cache(maxsize=None, typed=True)
def fibonacci(n): return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

added = functools.lru_cache(functools.partial(lambda a, b: a + b, 1))

class Caching:
    @functools.lru_cache
    def twice(self): return self.once * 2
    @functools.cached_property
    def once(self): return K

class Base:
    def name(self): return "base"

class Derived(Base):
    count = 0
    def __init__(self): super().__init__(); self.k = K
    def name(self): return "derived " + super().name()
    @property
    def helped(self): return helper(1)
    @staticmethod
    def static(): return K
    @classmethod
    def make(cls): return cls()

@dataclasses.dataclass
class Point:
    x: int
    rest: list = dataclasses.field(default_factory=list)

class Colour(enum.Enum):
    RED = 1
    GREEN = 2

class Pair(typing.NamedTuple):
    a: int
    b: str = "b"

class Bare:
    __slots__ = ()

class Slotted(Bare):
    __slots__ = ("a", "__weakref__")

slotted = Slotted()
slotted.a = slotted
'''

# (names, an expression, what it is worth)
BEHAVIOUR = [
    (["calls"], "calls(1)", 22),
    (["even"], "even(10), odd(10)", (True, False)),
    (["factorial"], "factorial(5)", 120),
    (
        ["decorated"],
        "decorated(1), decorated.__doc__, decorated.__annotations__['x'] is int",
        ([11, 11], "Adds.", True),
    ),
    (["increment", "look"], "increment(), increment(), look()", (1, 2, 2)),
    (["generate"], "list(generate(2))", [10, 11]),
    (["asynchronous"], "__import__('asyncio').run(asynchronous())", 10),
    (["größe"], "größe(2)", 20),
    (
        ["fibonacci"],
        "fibonacci(30), fibonacci.cache_info().misses, fibonacci.cache_parameters()",
        (832040, 31, {"maxsize": None, "typed": True}),
    ),
    (["Caching", "added"], "Caching().twice(), added(2)", (20, 3)),
    (
        ["Derived"],
        "(lambda d: (d.name(), d.k, d.helped, d.static(), d.count))(Derived.make())",
        ("derived base", 10, 11, 10, 0),
    ),
    (["Point"], "repr(Point(1, [2])), Point(1) == Point(1)", ("Point(x=1, rest=[2])", True)),
    (["Colour"], "Colour(2) is Colour.GREEN, len(Colour)", (True, 2)),
    (["Pair"], "tuple(Pair(1)), Pair(1).b", ((1, "b"), "b")),
    (["slotted"], "slotted.a is slotted", True),
]


@pytest.mark.parametrize(("names", "expression", "worth"), BEHAVIOUR, ids=[item[0][0] for item in BEHAVIOUR])
def test_functions_and_classes_do_the_same_there_and_back(
    pair: Pair, names: list[str], expression: str, worth: Any
) -> None:
    ok(pair.local, DEFINITIONS)
    assert pair.push(*names)["status"] == "ok"
    ok(pair.local, f"del {', '.join(names)}")
    assert pair.pull(*names)["status"] == "ok"
    assert value(pair.rank, expression) == worth
    assert value(pair.local, expression) == worth


def test_a_function_sees_the_names_of_the_rank_and_overwrites_none(pair: Pair) -> None:
    ok(pair.rank, "K = 1000\nimport builtins")
    ok(pair.local, DEFINITIONS)
    assert pair.push("calls")["status"] == "ok"
    assert value(pair.rank, "K, calls(1), calls.__globals__ is globals()") == (1000, 2002, True)
    ok(pair.rank, "def helper(x): return 5")
    assert value(pair.rank, "calls(1), __builtins__ is builtins") == (10, True)


LENDING = """
CONFIG = {{"lr": {number}}}
class Table: number = {number}
def helper(): return {number}
def f(): return CONFIG["lr"], helper(), Table.number
"""


def test_what_a_function_has_brought_along_is_brought_up_to_date(pair: Pair) -> None:
    ok(pair.local, LENDING.format(number=1))
    assert pair.push("f")["status"] == "ok"
    assert value(pair.rank, "f()") == (1, 1, 1)
    ok(pair.local, LENDING.format(number=2))
    assert pair.push("f", commit=False)["status"] == "ok"
    assert value(pair.rank, "f()") == (1, 1, 1)
    assert pair.push("f")["status"] == "ok"
    assert value(pair.rank, "f()") == (2, 2, 2)
    ok(pair.local, LENDING.format(number=5) + "table = Table()")
    assert pair.push("table")["status"] == "ok"
    assert value(pair.rank, "isinstance(table, Table), f()") == (True, (2, 2, 5))
    ok(pair.rank, "def helper(): return 'mine'")
    ok(pair.local, LENDING.format(number=3))
    assert pair.push("f")["status"] == "ok"
    assert value(pair.rank, "f()") == (3, "mine", 3)
    assert pair.push("helper")["status"] == "ok"  # by its name: from now on the rank's own
    ok(pair.local, LENDING.format(number=4))
    assert pair.push("f")["status"] == "ok"
    assert value(pair.rank, "f()") == (4, 3, 4)
    ok(pair.rank, "del CONFIG")
    assert pair.push("f")["status"] == "ok"
    assert value(pair.rank, "f()") == (4, 3, 4)


def test_what_the_rank_has_made_of_a_lent_object_stays(pair: Pair) -> None:
    ok(pair.local, "model = {'trained': False}\ndef f(): return model")
    assert pair.push("f")["status"] == "ok"
    ok(pair.rank, "model['trained'] = True")
    ok(pair.local, "def f(): return model, 'edited'")
    assert pair.push("f")["status"] == "ok"
    assert value(pair.rank, "f()") == ({"trained": True}, "edited")


def test_a_lent_object_that_was_replaced_is_freed(pair: Pair) -> None:
    ok(pair.local, "big = [bytes(1 << 22)]\ndef f(): return big")
    assert pair.push("f")["status"] == "ok"
    code = "import gc\nlists = [x for x in gc.get_objects() if type(x) is list and x and type(x[0]) is bytes]\n"
    code += "print(sum(len(x[0]) >> 22 for x in lists)); del lists"
    for process in (pair.local, pair.rank):
        assert process.run(code, silent=True).text() == "1\n"
        ok(process, "big = None")
        assert process.run(code, silent=True).text() == "0\n"


def test_an_aborted_push_leaves_no_trace(pair: Pair) -> None:
    ok(pair.local, DEFINITIONS + "\nthing = Derived()")
    assert pair.push("thing", "Derived")["status"] == "ok"
    before = value(pair.rank, "sorted(globals())")
    ok(pair.local, "Derived.count = 1; Derived.extra = 2\ndef fresh(): return increment, thing.name(), generate")
    assert pair.push("fresh", "thing", "Derived", commit=False)["status"] == "ok"
    assert value(pair.rank, "[n for n in globals() if n in ('fresh', 'increment', 'generate')]") == []
    assert value(pair.rank, "Derived.count, hasattr(Derived, 'extra'), thing.name()") == (0, False, "derived base")
    assert set(value(pair.rank, "sorted(globals())")) - set(before) <= {"_i", "_ii", "_iii", "_i1", "_i2", "_i3", "_"}
    assert pair.push("fresh", "thing", "Derived")["status"] == "ok"
    assert value(pair.rank, "Derived.count, Derived.extra, fresh()[1]") == (1, 2, "derived base")


def test_a_new_push_takes_the_place_of_one_that_waits(pair: Pair) -> None:
    ok(pair.local, "x, y = 1, 2")
    first = pair.pack("x")
    assert pair.rank.ask("push_request", {"names": ["x"], "payload": first})["status"] == "ok"
    pair.drop()
    second = pair.pack("y")
    assert pair.rank.ask("push_request", {"names": ["y"], "payload": second})["status"] == "ok"
    pair.drop()
    pair.rank.send("push_commit", {"commit": True})
    assert value(pair.rank, "'x' in globals(), y") == (False, 2)


def test_a_name_given_twice_goes_once(pair: Pair) -> None:
    ok(pair.rank, "x, y = [1], 2")
    assert pair.pull("x", "y", "x")["status"] == "ok"
    assert value(pair.local, "x, y") == ([1], 2)


def test_instances_know_their_class_again(pair: Pair) -> None:
    ok(pair.local, DEFINITIONS + "\np, c = Point(1), Colour.RED\nlist_of = [p, p]; list_of.append(list_of)")
    assert pair.push("Point", "Colour")["status"] == "ok"
    assert pair.push("p", "c", "list_of")["status"] == "ok"
    assert value(pair.rank, "isinstance(p, Point), c is Colour.RED") == (True, True)
    assert value(pair.rank, "list_of[0] is list_of[1] is p, list_of[2] is list_of") == (True, True)
    ok(pair.rank, "p.x = 2; q = Point(3)")
    assert pair.pull("p", "q", "c")["status"] == "ok"
    assert value(pair.local, "isinstance(q, Point), p.x, c is Colour.RED") == (True, 2, True)


EVERYWHERE = """
import abc, dataclasses, enum, functools, typing

def logged(times):
    def decorate(function):
        @functools.wraps(function)
        def wrapper(*args, **options): return [function(*args, **options)] * times
        return wrapper
    return decorate

class Meta(type):
    def __call__(cls, *args): return super().__call__(*args)

class Shape(abc.ABC):
    kinds = frozenset({"round", "edgy", "größe"})
    @abc.abstractmethod
    def area(self): ...
    def is_known(self, kind="round"): return kind in {"round", "edgy", "größe"}

class Named(metaclass=Meta):
    def __init__(self, name): self.name = name
    def told(self): return "named " + self.name

class Square(Named):
    made = 0
    def __init__(self, name, side=2):
        super(Square, self).__init__(name)
        self.side = side
        Square.made += 1
    def told(self): return super().told() + ", a square"
    @property
    def area(self): return self.side ** 2
    @classmethod
    def unit(cls): return cls("unit", 1)
    @logged(2)
    def twice(self): return self.side
    @functools.lru_cache(maxsize=None)
    def cached(self): return lambda: self.side
    @functools.cached_property
    def once(self): return [x for x in range(self.side)]
    class Inner:
        def __init__(self): self.outer = Square

class Disc(Shape):
    def __init__(self): self.radius = 1
    def area(self): return 3

@dataclasses.dataclass(order=True)
class Point:
    x: int
    y: float = 0.5
    rest: list = dataclasses.field(default_factory=list)

class Colour(enum.Enum):
    RED = 1
    GREEN = "grün"
    def told(self): return self.name.lower()

class Mode(enum.Flag):
    READ = 1
    WRITE = 2
    BOTH = READ | WRITE

class Pair(typing.NamedTuple):
    a: int
    b: str = "b"

class Slotted:
    __slots__ = ("a", "__weakref__")
    def __init__(self): self.a = 1

things = [Square("größe"), Square.Inner(), Disc(), Point(1), Colour.GREEN, Mode.BOTH, Pair(1), Slotted()]
"""
KINDS = "[Square, Square.Inner, Disc, Point, Colour, Mode, Pair, Slotted]"


def test_instances_of_what_both_have_run_are_the_receivers(node: Node, spawn: Callable[..., list[Process]]) -> None:
    # Spawned, since forks share the order of sets.
    pair = Pair(*spawn(node), *spawn(node, 1, method="spawn"))
    ok(pair.local, EVERYWHERE)
    ok(pair.rank, "class Point: pass\n\n\n" + EVERYWHERE)
    known = f"[type(thing) is kind for thing, kind in zip(things, {KINDS})]"
    for move, here in ((pair.push, pair.rank), (pair.pull, pair.local)):
        before = value(here, "Square.made")
        assert move("things")["status"] == "ok"
        assert value(here, known) == [True] * 8
        assert value(here, "Square.made") == before
        assert value(here, "things[0].told(), things[0].twice(), things[0].cached()(), things[0].once") == (
            "named größe, a square",
            [2, 2],
            2,
            [0, 1],
        )
        assert value(here, "things[1].outer is Square, things[4] is Colour.GREEN, things[3] == Point(1)") == (
            True,
            True,
            True,
        )
        assert value(here, "isinstance(things[2], Shape), things[2].is_known()") == (True, True)


def test_data_of_the_receivers_class_stays(pair: Pair) -> None:
    code = "class Net:\n    seen = {0}\n    def name(self): return type(self).__name__\nnet = Net()"
    ok(pair.local, code.format("[]"))
    ok(pair.rank, code.format("['here']") + "\nold = Net(); Net.extra = 1")
    assert pair.push("net")["status"] == "ok"
    assert value(pair.rank, "isinstance(net, Net), type(old) is type(net), net.seen, net.extra, net.name()") == (
        True,
        True,
        ["here"],
        1,
        "Net",
    )
    assert pair.push("net", commit=False)["status"] == "ok"
    assert value(pair.rank, "net.seen, Net.extra") == (["here"], 1)


NET = """
class Base:
    {base}
class Net(Base):
    {net}
net = Net()
"""
SAME = {"base": "def run(self): return 'base'", "net": "def __init__(self, a=1): super().__init__()"}
OTHERS = [
    {"base": "def run(self): return 'other'"},
    {"net": "def __init__(self, a=2): super().__init__()"},
    {"net": "def __init__(self, a): super().__init__()\nNet = __import__('functools').partial(Net, 1)"},
    {"net": "__init__ = lambda self, a=1: super(Net, self).__init__()"},
    {"net": "__slots__ = ('b',)\n    def __init__(self, a=1): super().__init__()"},
    {"net": SAME["net"] + "\n    @property\n    def more(self): pass"},
]


@pytest.mark.parametrize("other", OTHERS)
def test_instances_of_a_class_that_has_changed_bring_it(pair: Pair, other: dict[str, str]) -> None:
    ok(pair.rank, NET.format(**SAME))
    ok(pair.local, NET.format(**{**SAME, **other}))
    assert pair.push("net")["status"] == "ok"
    assert value(pair.rank, "isinstance(net, Net), isinstance(net, Base)") == (False, "base" not in other)
    assert value(pair.rank, "net.run()") == value(pair.local, "net.run()")
    ok(pair.local, NET.format(**SAME))
    assert pair.push("net")["status"] == "ok"
    assert value(pair.rank, "isinstance(net, Net), net.run()") == (True, "base")


def test_an_enum_with_other_members_comes_along(pair: Pair) -> None:
    code = "import enum\nclass Colour(enum.Enum):\n    RED = 1\n"
    ok(pair.rank, code)
    ok(pair.local, code + "    BLUE = 2\nblue = Colour.BLUE")
    assert pair.push("blue")["status"] == "ok"
    assert value(pair.rank, "blue.name, isinstance(blue, Colour)") == ("BLUE", False)


def test_a_class_that_is_named_replaces_the_receivers(pair: Pair) -> None:
    code = "class Net:\n    seen = {}\n    def name(self): return 'net'\nnet = Net()"
    ok(pair.local, code.format(1))
    ok(pair.rank, code.format(2) + "\nold = Net")
    assert pair.push("net", "Net")["status"] == "ok"
    assert value(pair.rank, "isinstance(net, Net), Net is old, Net.seen, old.seen") == (True, False, 1, 2)
    ok(pair.local, "Net.seen = 3")
    assert pair.push("Net")["status"] == "ok"
    assert value(pair.rank, "isinstance(net, Net), net.seen") == (True, 3)
    ok(pair.rank, code.format(4))
    ok(pair.local, "net = Net()")
    assert pair.push("net")["status"] == "ok"
    assert value(pair.rank, "isinstance(net, Net), net.seen") == (True, 4)


def test_a_pull_of_an_undefined_name(pair: Pair) -> None:
    ok(pair.rank, "x = 1")
    reply = pair.pull("x", "größe")
    assert (reply["ename"], reply["evalue"], reply["name"]) == ("NameError", "name 'größe' is not defined", "größe")


UNPICKLABLE = [
    ("x = threading.Lock()", "x cannot be pickled: cannot pickle '_thread.lock' object"),
    ("x = Thing(); x.hooks = [0, Thing()]; x.hooks[1].lock = threading.Lock()", "x.hooks[1].lock cannot"),
    ("x = {'größe': {1: (threading.Lock(),)}}", "x['größe'][1][0] cannot"),
    (
        "x = {(1, 2): {Thing: [i for i in [1]], 'g': (i for i in [1])}}",
        "x[(1, 2)]['g'] cannot be pickled: cannot pickle 'generator'",
    ),
    (
        "def make():\n    lock = threading.Lock()\n    return lambda: lock\nx = make()",
        "x's closure variable 'lock' cannot",
    ),
    ("class C:\n    lock = threading.Lock()\nx = C()", "x.__class__.lock cannot"),
    ("x = functools.partial(print, threading.Lock())", "x.args[0] cannot"),
    ("x = []\nfor _ in range(100000): x = [x]", "x cannot be pickled: it is nested too deeply"),
    (
        "class R:\n    def __reduce__(self): raise ValueError('not me')\nx = [R()]",
        "x[0] cannot be pickled: ValueError: not me",
    ),
]


@pytest.mark.parametrize(("code", "says"), UNPICKLABLE)
def test_an_unpicklable_part_is_pointed_at(pair: Pair, code: str, says: str) -> None:
    ok(pair.rank, f"import threading, functools\nclass Thing: pass\ny = 1\n{code}")
    reply = pair.pull("y", "x")
    assert (reply["ename"], reply["name"]) == ("TransferError", "x")
    assert says in reply["evalue"]
    assert pair.pull("y")["status"] == "ok"


def test_an_unpicklable_global_is_the_receivers_own(pair: Pair) -> None:
    ok(pair.local, "import threading\nlock = threading.Lock()\ndef locked():\n    with lock: return 1")
    reply = pair.push("locked")
    assert reply["name"] == "locked"
    assert "global 'lock' of locked cannot be pickled: cannot pickle '_thread.lock' object" in reply["evalue"]
    assert "Define 'lock' here first" in reply["evalue"]
    assert value(pair.rank, "'locked' in globals(), 'threading' in globals()") == (False, False)
    ok(pair.rank, "import threading\nlock = threading.Lock()")
    assert pair.push("locked")["status"] == "ok"
    assert value(pair.rank, "locked()") == 1


def test_what_ipython_gives_every_process_stays_there(pair: Pair) -> None:
    ok(pair.local, "def shell(): return get_ipython(), In")
    assert pair.push("shell")["status"] == "ok"
    assert value(pair.rank, "shell()[0] is get_ipython(), shell()[1] is In") == (True, True)


def test_a_variable_that_the_rank_cannot_unpickle_binds_none(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "only_here.py").write_text("class Thing: pass")
    ok(
        pair.local,
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport only_here\nx, y = 1, [only_here.Thing()]",
    )
    reply = pair.push("x", "y")
    assert reply["name"] == "y"
    assert "y cannot be unpickled: ModuleNotFoundError: No module named 'only_here'" in reply["evalue"]
    assert value(pair.rank, "'x' in globals()") is False


def test_memory_that_is_gone_is_an_error(pair: Pair) -> None:
    ok(pair.local, "x = 1")
    payload = pair.pack("x")
    pair.drop()
    reply = pair.rank.ask("push_request", {"names": ["x"], "payload": payload})
    assert reply["ename"] == "TransferError"
    assert "x cannot be received" in reply["evalue"]


def descriptors(process: Process) -> list[str]:
    """Return the shared files that a process has open."""
    links = []
    for fd in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            links.append(os.readlink(fd))
    return [link for link in links if "memfd:dipls variables" in link]


def mappings(process: Process) -> int:
    return Path(f"/proc/{process.pid}/maps").read_text().count("memfd:dipls variables")


def test_a_release_frees_what_was_pulled(pair: Pair) -> None:
    ok(pair.rank, "x = bytes(1 << 22)")
    first = pair.rank.send("pull_request", {"names": ["x"]})
    assert pair.rank.reply(first, "pull_reply")["status"] == "ok"
    second = pair.rank.send("pull_request", {"names": ["x"]})
    assert pair.rank.reply(second, "pull_reply")["status"] == "ok"
    held = len(descriptors(pair.rank))
    pair.rank.send("pull_release", {"parent": first})
    wait_until(lambda: len(descriptors(pair.rank)) == held / 2)
    pair.rank.send("pull_release", {"parent": second})
    wait_until(lambda: not descriptors(pair.rank))


BLOCK = """
import threading
class Block:
    def __reduce__(self):
        {sending}
        return Unblock, ()
def Unblock():
    print("unpickling", flush=True)
    threading.Event().wait()
x, big, y = 1, bytearray(1 << 22), Block()
"""


def test_an_interrupted_pull_leaves_nothing_and_its_release_may_come_first(pair: Pair) -> None:
    ok(pair.rank, BLOCK.format(sending="print('pickling'); threading.Event().wait()"))
    request = pair.rank.send("pull_request", {"names": ["big", "y"]})
    pair.rank.wait_output("pickling")
    pair.rank.send("pull_release", {"parent": request})
    pair.rank.send("interrupt_request", {"parent": request})
    assert pair.rank.reply(request, "pull_reply")["ename"] == "KeyboardInterrupt"
    assert descriptors(pair.rank) == []
    assert pair.pull("x")["status"] == "ok"


def test_a_pull_that_was_released_before_its_end_is_not_kept(pair: Pair, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    ok(pair.rank, BLOCK.format(sending=f"print('pickling'); open({str(gate)!r}).read()"))
    request = pair.rank.send("pull_request", {"names": ["big", "y"]})
    pair.rank.wait_output("pickling")
    pair.rank.send("pull_release", {"parent": request})
    pair.rank.ask("status_request", reply="status")  # so the release has been seen
    gate.write_text("go on")
    assert pair.rank.reply(request, "pull_reply")["status"] == "ok"
    wait_until(lambda: descriptors(pair.rank) == [])


def test_an_interrupted_push_leaves_nothing(pair: Pair) -> None:
    ok(pair.local, BLOCK.format(sending="pass") + "def f(): return x\n")
    payload = pair.pack("big", "f", "y")
    request = pair.rank.send("push_request", {"names": ["big", "f", "y"], "payload": payload})
    pair.rank.wait_output("unpickling")
    assert mappings(pair.rank) > 0
    pair.rank.send("interrupt_request", {"parent": request})
    assert pair.rank.reply(request, "push_reply")["ename"] == "KeyboardInterrupt"
    pair.drop()
    wait_until(lambda: mappings(pair.rank) == 0)
    assert value(pair.rank, "[n for n in ('x', 'big', 'f', 'y') if n in globals()]") == []


def test_one_array_of_a_push_is_freed_alone(pair: Pair) -> None:
    ok(pair.local, "import numpy\na, b = numpy.ones(1 << 17), numpy.ones(1 << 17)")
    assert pair.push("a", "b")["status"] == "ok"
    assert descriptors(pair.local) + descriptors(pair.rank) == []
    both = mappings(pair.rank)
    ok(pair.rank, "del a")
    assert mappings(pair.rank) == both - 1
    ok(pair.rank, "del b")
    assert mappings(pair.rank) == 0


def smaps(process: Process, what: str) -> dict[str, int]:
    """Return the sizes, in bytes, of the mappings with `what` in their name."""
    figures: dict[str, int] = {}
    wanted = False
    for line in Path(f"/proc/{process.pid}/smaps").read_text().splitlines():
        name, *rest = line.split()
        if not name.endswith(":"):
            wanted = what in line
        elif wanted and rest[-1] == "kB":
            figures[name[:-1]] = figures.get(name[:-1], 0) + int(rest[0]) * 1024
    return figures


def test_an_array_is_not_copied(pair: Pair) -> None:
    size = 64 << 20
    ok(pair.local, f"import numpy\na = numpy.ones({size}, 'u1')\nb = numpy.full(({size} // 64, 64), 2, 'u1')[:, ::2]")
    payload = pair.pack("a", "b")
    assert payload["pickle"][2] < 4096
    assert payload["bytes"] < size * 1.5 + 8192
    assert pair.rank.ask("push_request", {"names": ["a", "b"], "payload": payload})["status"] == "ok"
    pair.rank.send("push_commit", {"commit": True})
    pair.drop()
    assert value(pair.rank, "int(a.sum()), a.flags.writeable") == (size, True)
    assert smaps(pair.rank, "memfd:dipls variables")["Anonymous"] == 0
    ok(pair.rank, "a[:1 << 20] = 3")
    assert 1 << 20 <= smaps(pair.rank, "memfd:dipls variables")["Anonymous"] < 4 << 20


def test_eight_ranks_share_the_memory_of_one_push(node: Node, spawn: Callable[..., list[Process]]) -> None:
    size = 256 << 20
    (local,), ranks = spawn(node), spawn(node, 8)
    pair = Pair(local, ranks[0])
    ok(local, f"import numpy\na = numpy.ones({size}, 'u1')")
    payload = pair.pack("a")
    requests = [rank.send("push_request", {"names": ["a"], "payload": payload}) for rank in ranks]
    for rank, request in zip(ranks, requests):
        assert rank.reply(request, "push_reply")["status"] == "ok"
        rank.send("push_commit", {"commit": True})
    pair.drop()
    for rank in ranks:
        assert value(rank, "int(a.sum())") == size
    shares = [smaps(rank, "memfd:dipls variables") for rank in ranks]
    assert all(share["Rss"] >= size for share in shares)
    assert abs(sum(share["Pss"] for share in shares) - size) < size * 0.05


def test_a_shutdown_forgets_what_waits(node: Node, spawn: Callable[..., list[Process]]) -> None:
    pair = Pair(*spawn(node), *spawn(node, 1))
    ok(pair.local, "def f(): return helper\ndef helper(): pass")
    ok(pair.rank, "import atexit; atexit.register(lambda: print('at exit', 'helper' in globals(), flush=True))")
    assert pair.rank.ask("push_request", {"names": ["f"], "payload": pair.pack("f")})["status"] == "ok"
    pair.drop()
    assert pair.rank.ask("shutdown_request", {"restart": False})["status"] == "ok"
    assert "at exit False" in pair.rank.text()


SHORTENED = """
import cloudpickle, types
_reduce = cloudpickle.Pickler._dispatch_table[types.CodeType]
cloudpickle.Pickler._dispatch_table[types.CodeType] = lambda code: _reduce(code.replace(co_filename="<dynamic-code>"))
"""


@pytest.fixture(params=["", SHORTENED], ids=["", "no-file"])  # cloudpickle leaves the file out from 3.1.3 on
def sourced(pair: Pair, request: pytest.FixtureRequest) -> Pair:
    """A pair of processes. The local one has defined things on lines of a file that is not on the disk."""
    ok(pair.local, request.param)
    code = (
        "import dataclasses\n"
        "def boom(x):\n    y = x * 2\n    return y / 0\n"
        "class Plain:\n    a = 1\n"
        "@dataclasses.dataclass\nclass Full:\n    x: int\n    def get(self): return lambda: self.x / 0\n"
        "def scripted(x):\n    return x + 1\n"
    )
    assert pair.local.run(code, "/home/u/träin.py", 3, run="r-7").status == "ok"
    assert pair.local.run("# nothing\n" * 30, "/home/u/träin.py", 1).status == "ok"
    assert pair.push("boom", "Plain", "Full", "scripted")["status"] == "ok"
    return pair


def test_what_was_pushed_keeps_file_line_and_source(sourced: Pair) -> None:
    result = sourced.rank.run("boom(1)", "/home/u/träin.py", 50, run="r-8")
    assert result.error["frames"] == [
        {"file": "/home/u/träin.py", "line": 50, "name": "<module>", "run": "r-8"},
        {"file": "/home/u/träin.py", "line": 6, "name": "boom", "run": "r-7"},
    ]
    for process in (sourced.rank, sourced.local):  # the pulled variable has not changed, either
        ok(process, "import inspect")
        assert value(process, "inspect.getsource(boom)") == "def boom(x):\n    y = x * 2\n    return y / 0\n"
        assert value(process, "inspect.getsourcelines(Plain)") == (["class Plain:\n", "    a = 1\n"], 7)
        assert value(process, "inspect.getsourcelines(Full)[1]") == 9
        assert value(process, "inspect.getsourcefile(Full(1).get())") == "/home/u/träin.py"
        assert sourced.pull("boom", "Plain", "Full")["status"] == "ok"
    result = sourced.rank.run("Full(1).get()()")
    assert result.error["frames"][-1] == {"file": "/home/u/träin.py", "line": 12, "name": "<lambda>", "run": "r-7"}


def test_a_pushed_function_can_be_scripted(sourced: Pair) -> None:
    pytest.importorskip("torch")
    ok(sourced.rank, "import torch, warnings; warnings.simplefilter('ignore')")
    assert value(sourced.rank, "torch.jit.script(scripted)(torch.tensor(1)).item()") == 2


def test_a_pushed_function_can_be_a_kernel(sourced: Pair) -> None:
    pytest.importorskip("triton")
    ok(sourced.rank, "import triton")
    assert value(sourced.rank, "triton.jit(scripted).src") == "def scripted(x):\n    return x + 1\n"
