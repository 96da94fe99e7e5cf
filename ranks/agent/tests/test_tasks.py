"""Tasks of asyncio: made by cells that do not await, they go on between cells."""

from __future__ import annotations

import asyncio

import pytest
from harness import wait_until
from server import PATH

from dip_agent.tasks import Tasks

TICKS = """
import asyncio, os
ticks = 0
async def tick(pause=0.002):
    global ticks
    while True:
        ticks += 1
        await asyncio.sleep(pause)
"""


def test_tasks_go_on_between_cells(local):
    assert local.run(TICKS + "task = asyncio.create_task(tick())", PATH).status == "ok"

    def ticked() -> bool:
        result = local.run("print(ticks)")
        return int(result.text()) > 5

    wait_until(ticked, "ticks between cells")
    assert local.run("asyncio.create_task(tick(), name='named').get_name()").status == "ok"
    assert local.run("task.cancel(); _ = await asyncio.wait([task]); print(task.cancelled())").text() == "True\n"
    assert local.ask("complete_request", {"code": "tick", "cursor_pos": 4})["status"] == "ok"  # beside the other one


def test_scripts_run_loops_of_their_own_as_before(local):
    code = TICKS + "asyncio.create_task(tick())\nasync def f(): return 7\nprint(asyncio.run(f()))"
    assert local.run(code, PATH).text() == "7\n"
    assert (
        local.run("loop = asyncio.new_event_loop(); print(loop.run_until_complete(f())); loop.close()").text() == "7\n"
    )
    assert local.run("print(await f())").text() == "7\n"


def test_a_task_that_nobody_awaits_fails_visibly(local):
    code = """
import asyncio
async def fail():
    await asyncio.sleep(0)
    raise ValueError("in the background")
async def fail_at_once():
    raise ValueError("in the background")
asyncio.create_task(fail())
kept = asyncio.create_task(fail_at_once())
"""
    assert local.run(code, PATH, 10).status == "ok"
    wait_until(
        lambda: local.poll() or local.text("stderr").count("A task has failed that nobody awaits") == 2,
        "both tracebacks",
    )
    local.wait_output(f"{PATH}:14")
    awaited = "t = asyncio.create_task(fail())\ntry:\n    await t\nexcept ValueError as err:\n    print('caught', err)"
    assert local.run(awaited, PATH).text("stdout") == "caught in the background\n"
    assert local.text("stderr").count("A task has failed") == 2


def test_an_interrupt_hits_no_task_between_cells(local):
    local.run(TICKS + "task = asyncio.create_task(tick())", PATH)
    local.ask("interrupt_request", {"parent": ""})
    assert local.run("print(task.done())").text() == "False\n"
    request = local.start("import time\nprint('begun', flush=True)\ntime.sleep(100)", PATH)
    local.wait_output("begun")
    local.ask("interrupt_request", {"parent": request})
    assert local.finish(request).content["ename"] == "KeyboardInterrupt"
    assert local.run("print(task.cancelled())").text() == "True\n"


@pytest.mark.parametrize("raised", ["SystemExit(3)", "KeyboardInterrupt"])
def test_what_a_task_raises_ends_no_process(local, raised):
    code = f"import asyncio\nasync def leave():\n    raise {raised}\n_ = asyncio.create_task(leave())"
    assert local.run(code, PATH).status == "ok"
    assert local.run("print('alive')").text().endswith("alive\n")


def test_the_end_cancels_tasks(local):
    code = """
import asyncio
async def last():
    try:
        await asyncio.sleep(1000)
    finally:
        print("cleaned up", flush=True)
_ = asyncio.create_task(last())
await asyncio.sleep(0)
"""
    assert local.run(code, PATH).status == "ok"
    local.send("shutdown_request", {"restart": False, "wait": True})
    local.wait(lambda m: m.type == "shutdown_reply", "shutdown_reply")
    assert "cleaned up\n" in local.text()


BLOCKING = """
import asyncio, time
async def block(catching=False):
    try:
        await asyncio.sleep(0 if not catching else 1000)
    except asyncio.CancelledError:
        pass
    print("blocks", flush=True)
    while True:
        time.sleep(0.01)
"""


def test_an_interrupt_of_a_cell_that_a_task_keeps_waiting_ends_the_task(local):
    local.run(BLOCKING + "task = asyncio.create_task(block())", PATH)
    local.wait_output("blocks")
    request = local.start("print('begun')")
    local.ask("interrupt_request", {"parent": ""})
    local.ask("interrupt_request", {"parent": request})
    assert local.finish(request).status == "aborted"
    assert local.run("print(task.done())").text("stdout") == "True\n"
    assert "KeyboardInterrupt" in local.text("stderr")


def test_another_interrupt_ends_a_task_that_blocks_as_it_is_cancelled(local):
    local.run(BLOCKING + "task = asyncio.create_task(block(True))\nawait asyncio.sleep(0)", PATH)
    request = local.start("print('begun', flush=True)\ntime.sleep(100)", PATH)
    local.wait_output("begun")
    local.ask("interrupt_request", {"parent": request})
    local.wait_output("blocks")
    local.ask("interrupt_request", {"parent": request})
    assert local.finish(request).content["ename"] == "KeyboardInterrupt"
    assert local.run("print(task.done())").text("stdout") == "True\n"


def test_many_tasks_are_not_all_looked_at_whenever_one_ends(monkeypatch):
    calls, wait = [], asyncio.wait
    monkeypatch.setattr(
        asyncio, "wait", lambda awaited, **options: calls.append(len(awaited)) or wait(awaited, **options)
    )
    tasks = Tasks(print)
    loop = tasks.loop()
    try:
        ends = [loop.create_task(asyncio.sleep(number / 10_000)) for number in range(200)]
        tasks.between(lambda wake: None, lambda: False)
        assert all(task.done() for task in ends)
        assert calls == [1]
        # Those that a factory of the user's makes are waited for, too.
        loop.set_task_factory(None)
        other = loop.create_task(asyncio.sleep(0.01))
        tasks.between(lambda wake: None, lambda: False)
        assert other.done()
    finally:
        loop.close()
        asyncio.set_event_loop(None)
