"""An app's hooks: how its module is found, how the hooks are called, and what the user is told when they fail."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import linecache
import os
import sys
import threading
import traceback
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any, NoReturn

from IPython.core.error import UsageError

from ..stacks import is_ours
from ..wire import text

NAMES = ("torch", "none", "fastai", "fastai_v1", "fastai_v2", "accelerate")  # the apps that come with dipls

_FASTAI = frozenset({"fastai", "fastai_v1", "fastai_v2"})
_BUILT_IN = _FASTAI | {"accelerate"}
_HOOKS = ("imports", "set_verbose", "initializer", "finalizer", "on_hang", "commands")


class AppError(Exception):
    """An app is at fault. The text continues "app NAME: ". The cause is what the app raised, if it raised anything."""


class Hooks:
    """The hooks of one app. Those that its module does not define do nothing."""

    def __init__(self, name: str, module: ModuleType, namespace: dict[str, Any]):
        """The imports go into `namespace`. Raises AppError if the module has no hook, or one of a wrong kind."""
        self.name = name
        self._file = getattr(module, "__file__", None) or ""
        self._namespace = namespace
        found = {hook: getattr(module, hook) for hook in _HOOKS if hasattr(module, hook)}
        if not found:
            raise AppError(f"{self._file or name} defines none of {', '.join(_HOOKS)}")
        self._imports = found.get("imports", [])
        if not isinstance(self._imports, (list, tuple)) or not all(isinstance(one, str) for one in self._imports):
            raise AppError(f"imports must be a list of import statements, not {self._imports!r}")
        self._commands = found.get("commands", {})
        if not isinstance(self._commands, dict) or not all(map(callable, self._commands.values())):
            raise AppError(f"commands must be a dictionary of functions, not {self._commands!r}")
        functions = ("set_verbose", "initializer", "finalizer", "on_hang")
        self._functions = {hook: found[hook] for hook in functions if hook in found}
        for hook, function in self._functions.items():
            if not callable(function):
                raise AppError(f"{hook} must be a function, not {function!r}")

    @classmethod
    def of(cls, name: str, script: str, namespace: dict[str, Any]) -> Hooks:
        """Return the hooks of the app `name`: an app of ours, an import path or a file. Raises AppError.

        A relative file is looked for in the working directory, and then beside `script`.
        """
        if name == "torch":
            raise AppError(_not_installed("torch"))
        try:
            if name in _FASTAI:
                name = _fastai(name)
            return cls(name, _module(name, script), namespace)
        except AppError:
            raise
        except KeyboardInterrupt:
            raise
        except BaseException as err:  # a module may even exit
            if isinstance(err, ModuleNotFoundError) and _names(name, err.name or ""):
                raise AppError(_unknown(name)) from None
            _fail(name, "the module", err)

    def enter(self, verbose: bool) -> str:
        """Run the imports and the initializer. Returns what the initializer says, if verbose.

        Raises AppError for what they raise, but an interrupt as it is.
        """
        for statement in self._imports:
            try:
                exec(compile(statement, f"<imports of {self.name}>", "exec", dont_inherit=True), self._namespace)
            except Exception as err:
                _fail(self.name, f"the import {statement!r}", err, self._file)
        self.set_verbose(verbose)
        said = self._call("initializer")
        return f"{said}" if verbose and said is not None else ""

    def set_verbose(self, verbose: bool) -> None:
        """Tell the app whether to be verbose. Raises AppError."""
        self._call("set_verbose", verbose)

    def leave(self) -> None:
        """Run the finalizer. Raises AppError."""
        self._call("finalizer")

    def tell_hang(self, finding: dict[str, Any]) -> None:
        """Call `on_hang` on a thread of its own, since the main thread may be waiting. What it raises is printed."""
        if "on_hang" not in self._functions:
            return

        def tell() -> None:
            try:
                self._call("on_hang", finding)
            except AppError as err:
                print(f"app {self.name}: {err}", file=sys.stderr)

        threading.Thread(target=tell, name="on_hang", daemon=True).start()

    def command(self, line: str) -> contextlib.AbstractContextManager[Any]:
        """See AppRunner.command."""
        if not self._commands:
            raise no_commands(self.name)
        name, _, argument = line.strip().partition(" ")
        if name not in self._commands:
            known = ", ".join(map(str, self._commands)) + _hint(name, self._commands)
            raise UsageError(f"the app {self.name} has no command {name!r}; it has: {known}")
        made = self._commands[name](argument.strip())
        is_context = hasattr(type(made), "__enter__") and hasattr(type(made), "__exit__")
        return made if is_context else contextlib.nullcontext()

    def _call(self, hook: str, *args: Any) -> Any:
        function = self._functions.get(hook)
        if function is None:
            return None
        try:
            return function(*args)
        except (Exception, SystemExit) as err:
            _fail(self.name, hook, err, self._file)


def import_app(name: str) -> None:
    """Import what the app `name` imports, if the app is one of ours. Raises what the imports raise, and AppError."""
    if name in _FASTAI:
        name = _fastai(name)
    if name in _BUILT_IN:
        for statement in _module(name, "").imports:
            exec(statement, {})


def no_commands(app: str) -> UsageError:
    """Return the error of a command given to an app that has none."""
    return UsageError(f"the app {app} has no commands: leave out -a, or make the pool with an app that has some")


class _FreshLoader(SourceFileLoader):
    """Reads the file each time. A cached compilation may be out of date if the file was saved in the same second."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _module(name: str, script: str) -> ModuleType:
    """Import the module of an app. Raises AppError and whatever the import raises."""
    if name in _BUILT_IN:
        return importlib.import_module(f"{__package__}.{name}")
    if not name.endswith(".py"):
        if name.startswith("."):
            raise AppError(_unknown(name))
        return importlib.import_module(name)
    path = _find_file(name, script)
    linecache.checkcache(path)
    # Not the file's name: that may be a package's, which must not be hidden.
    module_name = f"dip_app_{os.path.basename(path)[:-3]}"
    spec = importlib.util.spec_from_file_location(module_name, path, loader=_FreshLoader(module_name, path))
    assert isinstance(spec, ModuleSpec)
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and pickle look for it there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module


def _names(app: str, module: str) -> bool:
    """Whether `module` is on the import path `app`, or at its end."""
    return app not in _BUILT_IN and not app.endswith(".py") and f"{app}.".startswith(f"{module}.")


def _find_file(name: str, script: str) -> str:
    path = os.path.expanduser(name)
    folders = [os.getcwd()]
    if script:
        folders.append(os.path.dirname(os.path.abspath(script)))
    for folder in folders:
        if os.path.isfile(found := os.path.join(folder, path)):
            return found
    if os.path.isabs(path):
        raise AppError("there is no such file")
    raise AppError(f"there is no such file in {' or '.join(dict.fromkeys(folders))}")


def _fastai(wanted: str) -> str:
    """Return the name of the app for the fastai that is installed. Raises AppError if another one is wanted."""
    import importlib.metadata  # takes 5 ms, and few ranks need it

    try:
        version = importlib.metadata.version("fastai")
    except importlib.metadata.PackageNotFoundError:
        if importlib.util.find_spec("fastai") is None:
            raise AppError(_not_installed("fastai")) from None
        version = importlib.import_module("fastai").__version__
    name = "fastai_v1" if version.startswith("1.") else "fastai_v2"
    if wanted not in ("fastai", name):
        raise AppError(f"fastai {version} is installed; its app is {name}")
    return name


def _not_installed(package: str) -> str:
    python = sys.executable
    return f"the package {package} is not installed in {python} (install it with: {python} -m pip install {package})"


def _unknown(name: str) -> str:
    return f"there is no app or module of that name{_hint(name, NAMES)}"


def _hint(name: str, known: Any) -> str:
    import difflib

    near = difflib.get_close_matches(name, [one for one in known if isinstance(one, str)], 1)
    return f"; did you mean {near[0]}?" if near else ""


def _fail(app: str, what: str, err: BaseException, file: str = "") -> NoReturn:
    """Raise an AppError that says that `what` of an app raised `err`, and where."""
    if app in _BUILT_IN and isinstance(err, ModuleNotFoundError) and err.name and "." not in err.name:
        raise AppError(_not_installed(err.name)) from err
    words = err.msg if isinstance(err, SyntaxError) else text(err)  # its text would name the place as well
    raise AppError(f"{what} raised {type(err).__name__}: {words}{_place(err, file)}") from err


def _place(err: BaseException, file: str) -> str:
    """Return file and line of the innermost frame in the app's file or, if there is none, of the innermost not ours."""
    frames = traceback.extract_tb(err.__traceback__)
    places = [(frame.filename, frame.lineno) for frame in frames if not is_ours(frame.filename)]
    if isinstance(err, SyntaxError) and err.filename:
        places.append((err.filename, err.lineno))
    places = [place for place in places if place[0] == file] or places
    places = [place for place in places if not place[0].startswith("<")]
    return f" ({places[-1][0]}, line {places[-1][1]})" if places else ""
