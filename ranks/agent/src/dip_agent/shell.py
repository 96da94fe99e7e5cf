"""IPython, publishing over our socket."""

from __future__ import annotations

import asyncio
import atexit
import base64
import builtins
import contextlib
import getpass
import io
import linecache
import math
import os
import re
import subprocess
import sys
import tokenize
import warnings
from collections.abc import Coroutine, Iterator
from typing import Any, Callable

from IPython.core.autocall import ExitAutocall
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.error import UsageError
from IPython.core.history import HistoryManager
from IPython.core.interactiveshell import ExecutionResult, InteractiveShell
from traitlets import Any as AnyTrait
from traitlets import Instance, Type, default
from traitlets.config import Config

from . import files, gpu, magics, paths, reload, snapshots, spawned, tracebacks
from .commands import Commands
from .interrupts import Interrupts
from .keyboard import AT_A_BREAKPOINT, Keyboard, no_keyboard
from .source import Compiler, Transformations, docstring
from .tasks import Tasks
from .wire import text

Publish = Callable[[str, "dict[str, Any]"], None]


class _ResultHook(DisplayHook):
    """Publishes the value of a cell's last expression as `execute_result`."""

    exec_result = None  # as in _History

    def write_output_prompt(self) -> None:
        """Write nothing: the prompt is made where the result is shown."""

    def write_format_data(self, format_dict: dict[str, Any], md_dict: dict[str, Any] | None = None) -> None:
        content = _display(format_dict, md_dict)
        self.shell.publish("execute_result", {**content, "execution_count": self.prompt_count})

    def log_output(self, format_dict: dict[str, Any]) -> None:
        """Keep the text of `_oh`'s representations, but no pictures: they would stay in memory for good."""
        if self.shell.history_manager is not None:
            self.shell.history_manager.output_hist_reprs[self.prompt_count] = format_dict.get("text/plain", "")

    def finish_displayhook(self) -> None:
        self._is_active = False


class _History(HistoryManager):
    """IPython's, but what every cell sets is no trait: checking and announcing it would take longer than all else."""

    _i00 = _i = _ii = _iii = ""


class _Publisher(DisplayPublisher):
    """Publishes what `display` gets."""

    def publish(
        self,
        data: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        source: Any = None,
        *,
        transient: dict[str, Any] | None = None,
        update: bool = False,
        **options: Any,
    ) -> None:
        self._validate_data(data, metadata)
        content = {**_display(data, metadata), "transient": _json_safe(transient or {})}
        self.shell.publish("update_display_data" if update else "display_data", content)

    def clear_output(self, wait: bool = False) -> None:
        self.shell.publish("clear_output", {"wait": bool(wait)})


class _Exit(ExitAutocall):
    """`exit` and `quit`, which end the cell like `sys.exit`."""

    def __call__(self, code: Any = None) -> None:
        raise SystemExit(code)


class Shell(InteractiveShell):
    """One namespace. It can be made before a fork; `attach` makes it a process's own."""

    compiler_class = Type(Compiler)
    displayhook_class = Type(_ResultHook)
    display_pub_class = Type(_Publisher)
    exiter = Instance(ExitAutocall)
    publish = AnyTrait()
    magics_client = AnyTrait()

    @default("exiter")
    def _make_exiter(self) -> _Exit:
        return _Exit(self)

    def __init__(self, **options: Any):
        self.tasks = Tasks(self._show_task)
        self._cancelled = False  # the running cell's coroutine was cancelled by an interrupt
        self._shown: BaseException | None = None  # the exception that was published last
        self._count = 1  # the execution count of the running cell
        self._about_to_run: Callable[[], None] | None = None
        self._file = ""  # whose cells run
        self._arguments: list[str] = []  # what we have put behind it in sys.argv
        self._first_line = 0  # of that file, from 1: the first line that is no comment
        self._body_error: BaseException | None = None  # the exception that ended the code that a magic runs
        self._shows = False  # the running magic only shows an exception
        self._interrupts: Interrupts | None = None
        self.plain = False  # nobody wants colours
        super().__init__(**options)  # runs magics, so what they need is here already

    @classmethod
    def make(cls) -> Shell:
        """Return the process's shell, without threads and without a history on disk."""
        config = Config()
        config.HistoryManager.enabled = False
        reload.watch()
        shell = cls.instance(config=config, user_module=spawned.Main("__main__"))
        # It would clear the namespace, which the app and other exit handlers may still need. `clear` does that later.
        atexit.unregister(shell.atexit_operations)
        shell.input_transformer_manager = Transformations()
        shell.magics_client = magics.register(shell)
        shell.loop_runner = shell.run_coroutine
        shell._connect_plots()
        import stack_data  # noqa: F401  IPython needs it at the first traceback, when the script's folder may have another

        return shell

    def attach(
        self,
        publish: Publish,
        script: str,
        keyboard: Keyboard,
        commands: Commands | None = None,
        interrupts: Interrupts | None = None,
    ) -> None:
        """Publish by `publish(type, content)`, and act as the script at `script`, if there is one.

        Magics ask the server by `commands`. A rank has none, and looks non-interactive to code.
        """
        self.publish = publish
        self._interrupts = interrupts
        self.magics_client.commands = commands
        if commands is not None:
            _be_interactive()
        if script:
            self.user_ns["__file__"] = script
        sys.argv = [script]
        self._file = script
        self._document(script)
        builtins.input = self.raw_input_original = keyboard.input
        getpass.getpass = keyboard.getpass
        self.tasks.install()
        sys.breakpointhook = no_keyboard("breakpoint()", AT_A_BREAKPOINT)
        # At every SystemExit IPython gives an advice that is only for terminals.
        warnings.filterwarnings("ignore", message="To exit: use 'exit', 'quit'")
        # Python 3.12 warns at every fork because of our I/O thread. A fork keeps nothing of that.
        warnings.filterwarnings("ignore", message=".* multi-threaded, use of fork", category=DeprecationWarning)

    def execute(
        self, request: dict[str, Any], about_to_run: Callable[[], None], around: contextlib.AbstractContextManager[Any]
    ) -> dict[str, Any]:
        """Run the cell of an execute_request within the context manager `around`. Returns the content of the reply.

        `about_to_run` is called once, just before the user's first line runs; what it raises ends the cell. Raises what
        strikes IPython itself rather than the cell, such as an interrupt, and what `around` raises. Pass that to
        `report`.
        """
        code = str(request.get("code", "")).replace("\r\n", "\n").replace("\r", "\n")
        path = str(request.get("path") or "")
        silent = bool(request.get("silent"))
        store = bool(request.get("store_history", True)) and not silent
        self._cancelled = False
        self._shown = None
        self._count = self.execution_count
        self._about_to_run = about_to_run
        with contextlib.ExitStack() as stack:
            if isinstance(arguments := request.get("args"), list) and arguments != self._arguments:
                self._arguments, sys.argv[1:] = arguments, arguments
            if os.path.isabs(path):  # otherwise it is the name of a document without a file
                self.user_ns["__file__"] = path
                if path != self._file:
                    self._act_as(path)
            if path:
                line, run = max(1, int(request.get("line") or 1)), str(request.get("run") or "")
                if line <= self._first_line:  # the file may have been edited
                    self.user_ns["__doc__"] = docstring(io.StringIO(code).readline)[0]
                stack.enter_context(self.compile.at(path, line, code, run))
            stack.enter_context(around)
            if edited := request.get("reload"):
                self._started()  # modules are user code
                reload.reload(edited)
            result = self.run_cell(code, store_history=store, silent=silent)
            snapshots.note_classes(None)
            if (err := result.error_before_exec or result.error_in_exec) is not None:
                # IPython only shows it, but `around` is to know.
                stack.pop_all().__exit__(type(err), err, err.__traceback__)
        self._started()
        if err is not None:
            return self.report(err)
        return {"status": "ok", "execution_count": self._count}

    def operate(self, request: dict[str, Any], about_to_run: Callable[[], None]) -> dict[str, Any]:
        """Do what an execute_request has in place of code. Returns the content of the reply.

        `about_to_run` is as in `execute`.
        """
        self._cancelled = False
        self._shown = None
        self._count = self.execution_count
        try:
            about_to_run()
            if wanted := request.get("transfer"):
                magics.transfer(self.magics_client, wanted)
            elif wanted := request.get("file"):
                files.serve(self.user_ns, wanted)
            else:
                print(gpu.give_back())
        except BaseException as err:
            return self.report(err)
        return {"status": "ok", "execution_count": self._count}

    def report(self, err: BaseException) -> dict[str, Any]:
        """Publish what ended the cell unless that was done already. Returns the content of the reply."""
        err = self._translate(err)
        code = tracebacks.exit_code(err)
        if code == 0:
            return {"status": "ok", "execution_count": self._count}
        if self._shown is not err:
            self._show(err, err.__traceback__)
        return {
            **({} if code is None else {"exit_code": code}),
            "status": "error",
            "execution_count": self._count,
            "ename": type(err).__name__,
            "evalue": text(err),
            "traceback": [],  # the error message has it
        }

    def rehearse(self) -> None:
        """Run a cell and describe exceptions, and leave nothing behind. What that imports, forks need not import."""
        path = "<rehearsal>"
        for wrong in ("1 / 0\n", "1 +\n"):
            linecache.cache[path] = (len(wrong), None, [wrong], path)
            try:
                exec(compile(wrong, path, "exec"), {})
            except Exception as err:
                tracebacks.describe(self, err, err.__traceback__)
        del linecache.cache[path]
        self.run_cell("pass", store_history=False, silent=True)
        self.last_execution_result = None

    def clear(self) -> None:
        """Let go of all that the namespace holds, in the order in which Python does so at its end."""
        sys.last_type = sys.last_value = sys.last_traceback = sys.last_exc = None
        self.last_execution_result = self._shown = self._body_error = None
        if self.history_manager is not None:
            self.history_manager.output_hist.clear()
        names = [name for name in self.user_ns if name != "__builtins__"]
        for name in sorted(names, key=lambda name: not name.startswith("_")):  # private names first, as Python does
            self.user_ns[name] = None
        self.atexit_operations()

    # IPython's hooks.

    @property
    def user_global_ns(self) -> dict[str, Any]:
        """As IPython's, but without asking `spawned.Main`, which would cost Python calls for every cell."""
        return object.__getattribute__(self.user_module, "__dict__")

    def init_history(self) -> None:
        """Keep the history as IPython does, at less cost for a cell."""
        self.history_manager = _History(shell=self, parent=self)
        self.configurables.append(self.history_manager)

    def init_prompts(self) -> None:
        """Leave out `sys.ps1`, which tells code that a person types: only the local namespace has it."""

    def init_virtualenv(self) -> None:
        """Leave sys.path alone. The interpreter has been chosen, and $VIRTUAL_ENV may name another one."""

    @contextlib.contextmanager
    def _tee(self, channel: str) -> Iterator[None]:
        """Keep no copy of the output in the history. IPython 9 does so, and it would fill the memory."""
        yield

    def _format_exception_for_storage(self, exception: BaseException, *_: Any, **__: Any) -> dict[str, Any]:
        """Keep no formatted copy of errors in the history. IPython 9 does so, but formatting is slow and may raise."""
        return {"ename": type(exception).__name__, "evalue": text(exception), "traceback": []}

    def system(self, cmd: str) -> None:
        """Run `!cmd` on our descriptors. IPython would give it a terminal, where it could wait for a keyboard."""
        code = subprocess.call(self.var_expand(cmd, depth=1), shell=True, executable=os.environ.get("SHELL"))
        self.user_ns["_exit_code"] = -(code - 128) if code > 128 else code

    def should_run_async(self, raw_cell: str, **known: Any) -> bool:
        """Whether a cell awaits at top level. IPython compiles it to find out, which is nearly always unnecessary."""
        cell = known.get("transformed_cell")
        if isinstance(cell, str) and "await" not in cell and "async" not in cell:
            return False
        return super().should_run_async(raw_cell, **known)

    async def run_code(self, code_obj: Any, result: Any = None, *, async_: bool = False) -> bool:
        self._started()
        return await super().run_code(code_obj, result, async_=async_)

    def transform_cell(self, raw_cell: str) -> str:
        cell = super().transform_cell(raw_cell)
        self.compile.transformed(raw_cell, cell)
        return cell

    def run_line_magic(self, magic_name: str, line: str, _stack_depth: int = 1) -> Any:
        hinting = magics.hinting(self, f"%{magic_name}")
        with self.compile.at_magic(line, 1, 0), self._failing_with_body(magic_name), hinting:
            return super().run_line_magic(magic_name, line, _stack_depth=_stack_depth + 1)

    def run_cell_magic(self, magic_name: str, line: str, cell: str) -> Any:
        hinting = magics.hinting(self, f"%%{magic_name}")
        with self.compile.at_magic(cell, 1, 1), self._failing_with_body(magic_name), hinting:
            return super().run_cell_magic(magic_name, line, cell)

    def run_cell(self, raw_cell: str, *args: Any, **options: Any) -> ExecutionResult:
        result = super().run_cell(raw_cell, *args, **options)
        if self.compile.is_body(raw_cell):
            self._body_error = result.error_before_exec or result.error_in_exec
        return result

    def set_next_input(self, s: str, replace: bool = False) -> None:
        """Refuse `%load` and `%recall`: there is no input line to put code into."""
        if self._caller() == "magic":
            raise UsageError(
                "no input line is here that code could be put into: write it into the file, or run one with %run FILE."
            )

    def enable_gui(self, gui: str | None = None) -> None:
        """Accept `%matplotlib inline`. There is no screen for anything else."""
        if gui not in (None, "inline"):
            raise UsageError(f"no screen is connected to this process: {gui!r} cannot work, `inline` does.")

    def showtraceback(
        self,
        exc_tuple: Any = None,
        filename: str | None = None,
        tb_offset: int | None = None,
        exception_only: bool = False,
        running_compiled_code: bool = False,
    ) -> None:
        """Publish an exception as the cell's error. If user code or `%tb` only wants it shown, print it to stderr."""
        try:
            _, err, tb = self._get_exc_info(exc_tuple)
        except ValueError:
            print("No traceback available to show.", file=sys.stderr)
            return
        caller = self._caller()
        if caller == "cell":
            told = self._translate(err)
            self._show(told, tb if told is err else told.__traceback__)
        elif caller == "magic" and not self._shows:
            self._body_error = err
        else:
            content = tracebacks.describe(self, err, tb)
            print("\n".join(content["traceback"]), file=sys.stderr)

    def showsyntaxerror(self, filename: str | None = None, running_compiled_code: bool = False) -> None:
        self.showtraceback()

    def run_coroutine(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a cell that awaits at top level on the process's event loop."""

        def interrupted() -> None:
            self._cancelled = True

        return self.tasks.run(coroutine, interrupted)

    # Ours.

    def painted(self, written: str) -> str:
        """Return text that IPython itself has written, without its colours where nobody wants any."""
        return _COLOURS.sub("", written) if self.plain or os.environ.get("NO_COLOR") else written

    def _connect_plots(self) -> None:
        """Have matplotlib's inline backend show figures through this shell if it was loaded before there was one."""
        backend = sys.modules.get("matplotlib_inline.backend_inline")
        if backend is not None and sys.modules["matplotlib"].get_backend() in (
            "inline",
            f"module://{backend.__name__}",
        ):
            self.enable_matplotlib("inline")

    def _act_as(self, path: str) -> None:
        """Act as another file from now on: its cells run next."""
        self._file = path
        sys.argv[:1] = [path]
        paths.act_as(path)
        self._document(path)

    def _document(self, path: str) -> None:
        """Give the namespace the docstring of a file."""
        doc, self._first_line = None, 0
        try:
            if path:
                with tokenize.open(path) as file:
                    doc, self._first_line = docstring(file.readline)
        except (OSError, SyntaxError, ValueError):
            pass  # it cannot be read
        self.user_ns["__doc__"] = doc

    def _started(self) -> None:
        about_to_run, self._about_to_run = self._about_to_run, None
        if about_to_run is not None:
            about_to_run()

    def _show(self, err: BaseException, tb: Any) -> None:
        if tracebacks.exit_code(err) == 0:  # `sys.exit()`: nothing has failed
            return
        if isinstance(err, KeyboardInterrupt) and isinstance(self._shown, KeyboardInterrupt):
            return  # a second interrupt, after the cell has ended
        held = self._interrupts.held if self._interrupts is not None else contextlib.nullcontext
        # A second interrupt would end the description of the first, and be shown with what it has struck. Only where
        # code of the user's takes part in that, which may take for ever, it may.
        alone = isinstance(err, KeyboardInterrupt) and err.__context__ is None and err.__cause__ is None
        with held() if alone else contextlib.nullcontext():
            content = tracebacks.describe(self, err, tb)
            with held():
                self.publish("error", content)
                self._shown = err

    def _translate(self, err: BaseException) -> BaseException:
        """Return KeyboardInterrupt, at the user's line, for an exception that an interrupt has turned into."""
        if isinstance(self._shown, KeyboardInterrupt) and not isinstance(err, SystemExit):
            return self._shown
        if self._cancelled and isinstance(err, asyncio.CancelledError):
            return KeyboardInterrupt().with_traceback(err.__traceback__)
        broken = self._interrupts is not None and self._interrupts.broken and not isinstance(err, SystemExit)
        # Torch's own stacks are long, and its files take a second to render: whoever interrupts waits for that.
        beyond = isinstance(err, KeyboardInterrupt) and (tracebacks.struck_machinery(err) or tracebacks.in_torch(err))
        if broken or beyond:
            return KeyboardInterrupt().with_traceback(tracebacks.place(err))
        return err

    def _show_task(self, err: BaseException) -> None:
        """Print the exception of a task that nobody awaits. It names the lines of the cell that made the task."""
        content = tracebacks.describe(self, err, err.__traceback__)
        print("A task has failed that nobody awaits:", *content["traceback"], sep="\n", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def _failing_with_body(self, magic_name: str) -> Iterator[None]:
        """Fail if the code that a magic runs fails. `%%capture`, `%run` and older `%time` would hide that and go on."""
        outer = self._body_error, self._shows
        self._body_error, self._shows = None, magic_name == "tb"
        try:
            yield
            if self._body_error is not None:
                raise self._body_error
        finally:
            self._body_error, self._shows = outer

    def _caller(self) -> str:
        """Return for whom IPython shows an exception: for "user" code, a "magic" or the "cell" itself."""
        frame = sys._getframe(2)
        while frame is not None:
            if frame.f_globals is self.user_ns:
                return "user"
            if frame.f_code in _MAGICS:
                return "magic"
            frame = frame.f_back
        return "cell"


_MAGICS = frozenset({Shell.run_line_magic.__code__, Shell.run_cell_magic.__code__})


def _be_interactive() -> None:
    """Tell code that looks for `sys.ps1` that a person uses this process, as in a notebook."""
    sys.ps1, sys.ps2, sys.ps3 = "In : ", "...: ", "Out: "  # IPython's
    # Lightning looks only while it is imported, which may have been in the nursery.
    for name, module in list(sys.modules.items()):
        if "lightning" in name and "_IS_INTERACTIVE" in getattr(module, "__dict__", {}):
            module._IS_INTERACTIVE = True


_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")


def _display(data: dict[str, Any], metadata: dict[str, Any] | None) -> dict[str, Any]:
    return {"data": _json_safe(data), "metadata": _json_safe(metadata or {})}


def _json_safe(value: Any) -> Any:
    """Return `value` in a form that JSON can hold: bytes as base64, NaN as null, anything unknown as text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _json_safe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_safe(item) for item in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode("ascii")
    return str(value)
