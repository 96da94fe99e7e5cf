"""The process's event loop: cells that await run on it, and their tasks go on between cells.

A script that calls `asyncio.run` must find no loop running. So a cell that does not await runs outside of the loop, and
`asyncio.create_task` makes its task for later: it goes on once the cell has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import traceback
from collections.abc import Coroutine
from typing import Any, Callable

_GRACE = 1.0  # seconds for tasks to end that were cancelled


class Tasks:
    """The loop and its tasks. All but what `wake` returns is for the main thread."""

    def __init__(self, show: Callable[[BaseException], None]):
        """`show` shows the exception of a task that nobody awaits."""
        self._show = show
        self._loop: asyncio.AbstractEventLoop | None = None  # made when it is first needed
        self._live = 0  # tasks of the loop that have not ended
        self._quiet: asyncio.Future[None] | None = None  # ends `between`

    def install(self) -> None:
        """Have `asyncio.create_task` work outside of a loop, as it does in a notebook."""
        original = asyncio.create_task
        main = threading.get_ident()

        def create_task(coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
            """Schedule a coroutine, in a cell that does not await for when it has ended."""
            if asyncio._get_running_loop() is not None or threading.get_ident() != main:
                return original(coro, **options)
            return self.loop().create_task(coro, **options)

        create_task.__doc__ = original.__doc__
        asyncio.create_task = asyncio.tasks.create_task = create_task

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop."""
        if self._loop is None or self._loop.is_closed():
            self._loop, self._live = asyncio.new_event_loop(), 0
            self._loop.set_task_factory(self._make)
            asyncio.set_event_loop(self._loop)
        return self._loop

    @property
    def pending(self) -> bool:
        """Whether there are tasks that have not ended."""
        return self._loop is not None and bool(self._all())

    def run(self, coroutine: Coroutine[Any, Any, Any], interrupted: Callable[[], None]) -> Any:
        """Run a cell's coroutine. If an interrupt strikes the loop itself, call `interrupted` and end the cell."""
        loop = self.loop()
        task = loop.create_task(coroutine)
        try:
            return loop.run_until_complete(task)
        except BaseException:
            if task.done():
                raise
            # It must end, too, or it would go on in the next cell's loop.
            interrupted()
            task.cancel()
            return loop.run_until_complete(task)

    def between(self, waking: Callable[[Callable[[], None] | None], None], wanted: Callable[[], Any]) -> None:
        """Let tasks go on until all have ended or `wanted` is true.

        `waking` is told what another thread is to call when `wanted` has become true, and None at the end.
        """
        loop = self.loop()

        async def until() -> None:
            done = self._quiet = loop.create_future()
            waking(lambda: loop.call_soon_threadsafe(lambda: done.done() or done.set_result(None)))
            try:
                while not wanted() and not done.done() and (tasks := self._all()):
                    # `_ended` sees the end of the last one. It knows of none that a factory of the user's has made.
                    await asyncio.wait([done] if self._live else [done, *tasks], return_when=asyncio.FIRST_COMPLETED)
                for _ in range(3):  # `_ended`, who awaits a task that has failed, and `_look`, each have their turn
                    await asyncio.sleep(0)
            finally:
                waking(None)

        task = asyncio.Task(until(), loop=loop)  # not counted
        try:
            loop.run_until_complete(task)
        except BaseException:  # of a task: KeyboardInterrupt, SystemExit; or somebody has stopped the loop
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
            raise

    def cancel(self) -> None:
        """Cancel all tasks, and give them a moment to end. What they raise is printed."""
        if not self.pending:
            return
        tasks = self._all()
        for task in tasks:
            task.cancel()

        async def ends() -> None:
            await asyncio.wait(tasks, timeout=_GRACE)

        try:
            self.loop().run_until_complete(ends())
        except BaseException:
            traceback.print_exc()

    def _all(self) -> set[asyncio.Task[Any]]:
        tasks = asyncio.all_tasks(self._loop)
        with contextlib.suppress(RuntimeError):  # no loop runs
            tasks.discard(asyncio.current_task())
        return tasks

    def _make(
        self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=loop, **options)
        self._live += 1
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._live -= 1
        if not self._live and self._quiet is not None and not self._quiet.done():
            self._quiet.set_result(None)
        if not task.cancelled() and task._log_traceback:
            self._loop.call_soon(self._look, task)  # first, those who await it go on

    def _look(self, task: asyncio.Task[Any]) -> None:
        if task._log_traceback:  # nobody has asked for its result
            self._show(task.exception())
