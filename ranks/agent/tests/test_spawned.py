"""Processes that user code starts by other means than a fork: they run no cell, and know what cells define."""

from __future__ import annotations

import textwrap

import pytest

METHODS = ["spawn", "forkserver"]

LEDGER = """
# %% Happens once
with open("ledger.txt", "a") as f: f.write("charged\\n")
%pwd
# %% Never asked for
with open("ledger.txt", "a") as f: f.write("charged\\n")
"""


def src(text: str) -> str:
    return textwrap.dedent(text).strip("\n")


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


@pytest.fixture
def run(make_node, tmp_path, method):
    """A function that runs a cell of a file in a local namespace and returns what it prints."""
    path = tmp_path / "file of cells.py"
    path.write_text(LEDGER, encoding="utf-8")
    node = make_node(script=str(path))
    (local,) = node.spawn()
    line = 10

    def cell(code: str) -> str:
        nonlocal line
        code = src(code)
        result = local.run(code, str(path), line)
        line += code.count("\n") + 2
        assert result.status == "ok", "\n".join([*result.error["traceback"], result.text("stderr")])
        return result.text("stdout")

    cell(f"import multiprocessing as mp\nctx = mp.get_context({method!r})")
    cell('with open("ledger.txt", "a") as f: f.write("charged\\n")\n%pwd')
    yield cell
    assert (tmp_path / "ledger.txt").read_text() == "charged\n"


def test_functions_of_a_library(run):
    assert run("import math\nwith ctx.Pool(2) as pool: print(pool.map(math.sqrt, [1, 4, 9]))") == "[1.0, 2.0, 3.0]\n"


def test_what_cells_define(run):
    run(
        """
        import collections, dataclasses, enum, functools, math
        scale = 10
        Point = collections.namedtuple("Point", "x y")

        class Kind(enum.Enum):
            A = 1

        @dataclasses.dataclass
        class Result:
            value: int
            kind: Kind = Kind.A
            def twice(self): return Result(helper(self.value))

        class Slots:
            __slots__ = ("a",)

        class Worse(Exception): pass

        def helper(x): return 2 * x * scale
        def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
        def work(x): return Result(helper(x) + fib(x))
        def fail(x): raise Worse(x)
        @functools.lru_cache
        def cached(x): return Point(x, math.floor(x))
        def make(n):
            def inner(x): return x + n
            return inner
        def slots(one): one.a += 1; return one
        """
    )
    assert run(
        """
            from concurrent.futures import ProcessPoolExecutor
            with ProcessPoolExecutor(2, mp_context=ctx) as pool:
                print(list(pool.map(work, [1, 2])), type(next(pool.map(work, [1]))) is Result)
                print(pool.submit(cached, 1.5).result(), pool.submit(make(3), 4).result())
                print(pool.submit(lambda x: -x, 1).result())
                print(pool.submit(Result.twice, Result(1)).result(), pool.submit(Result(3).twice).result())
                one = Slots(); one.a = 1
                print(pool.submit(slots, one).result().a)
                try: pool.submit(fail, 3).result()
                except Worse as err: print(repr(err))
                scale = 100
                def helper(x): return 3 * x * scale
                print(pool.submit(work, 1).result())
            """
    ).splitlines() == [
        "[Result(value=21, kind=<Kind.A: 1>), Result(value=41, kind=<Kind.A: 1>)] True",
        "Point(x=1.5, y=1) 7",
        "-1",
        "Result(value=20, kind=<Kind.A: 1>) Result(value=60, kind=<Kind.A: 1>)",
        "2",
        "Worse(3)",
        "Result(value=301, kind=<Kind.A: 1>)",
    ]


def test_what_an_initializer_sets_is_there_for_tasks(run):
    code = """
    def begin(x):
        global shared
        shared = x
    def main(x): return shared + x
    with ctx.Pool(1, begin, (5,)) as pool: print(pool.map(main, [1, 2]))
    """
    assert run(code) == "[6, 7]\n"


def test_queues_and_locks_of_globals_and_arguments(run):
    code = """
    queue, lock = ctx.Queue(), ctx.Lock()
    def work(given):
        with lock: queue.put(given)
    process = ctx.Process(target=work, args=(3,))
    process.start()
    print(queue.get())
    process.join()
    """
    assert run(code) == "3\n"


def test_processes_of_processes(run):
    code = """
    def leaf(x): return x + 1
    def branch(x):
        import concurrent.futures, multiprocessing
        here = multiprocessing.get_context(ctx.get_start_method())
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=here) as pool:
            return pool.submit(leaf, x).result() * 10
    from concurrent.futures import ProcessPoolExecutor
    with ProcessPoolExecutor(1, mp_context=ctx) as pool: print(pool.submit(branch, 1).result())
    """
    assert run(code) == "20\n"


def test_a_failure_in_a_process_is_at_its_line(run):
    code = """
    def fail(x):
        y = x
        return y / 0  # here
    with ctx.Pool(1) as pool:
        try: pool.map(fail, [1])
        except ZeroDivisionError as err: print(err.__cause__)
    """
    text = run(code)
    assert 'file of cells.py", line 18, in fail' in text
    assert "return y / 0  # here" in text


def test_forked_processes_go_on_by_name(run):
    code = """
    state = []
    def work(x): return state is not None and id(state), x
    with ctx.Pool(1) as pool: pool.map(work, [1])
    with mp.get_context("fork").Pool(1) as pool:
        print(pool.map(work, [1]) == [(id(state), 1)])
    """
    assert run(code) == "True\n"


def test_main_is_a_script_for_all_others(run):
    assert run(
        "import __main__, sys\nprint(__main__.__spec__, __main__.__file__ == __file__, '__spec__' in globals())"
    ) == ("None True True\n")
    assert run("with ctx.Pool(1) as pool: pool.map(abs, [1])\nprint([p for p in sys.path if 'agent' in p])") == "[]\n"
    spec = """
    from multiprocessing import spawn
    for _ in range(9): print({"init_main_from_name", "init_main_from_path"} & set(spawn.get_preparation_data("")))
    """
    assert run(spec) == "{'init_main_from_name'}\n" * 9


@pytest.mark.parametrize("method", ["spawn"], indirect=True)
def test_joblib(run):
    pytest.importorskip("joblib")
    run("import joblib\ndef work(x): return x * factor\nfactor = 2")
    assert run("print(joblib.Parallel(2)(joblib.delayed(work)(x) for x in (1, 2)))") == "[2, 4]\n"


def test_data_loaders_of_ranks(torch_node, spawn):
    (rank,) = spawn(torch_node, 1)
    code = src(
        """
        import torch
        class Squares(torch.utils.data.Dataset):
            def __len__(self): return 4
            def __getitem__(self, i): return torch.tensor(power(i))
        def power(i): return i ** 2
        loader = torch.utils.data.DataLoader(Squares(), 2, num_workers=2, multiprocessing_context="forkserver")
        print([batch.tolist() for batch in loader])
        """
    )
    result = rank.run(code, "/home/u/train.py", 3)
    assert result.status == "ok", result.error["evalue"]
    assert result.text("stdout") == "[[0, 1], [4, 9]]\n"
