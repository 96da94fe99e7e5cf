"""What cells define, in processes that user code starts by spawn or forkserver, as pools of workers do.

Such a process usually runs the file of `__main__` once more, to get what that defines. With a file of cells it would
run cells that nobody asked for, magics that are no Python, and side effects a second time. So `__main__` says that
there is nothing to run, as IPython's does. The functions and classes that it defines are pickled by value (cloudpickle)
rather than by name. In the new process they, and the globals that functions use, become names of `__main__`, as if the
cells had run there.

This module imports only the standard library, since the started processes import it, too.
"""

from __future__ import annotations

import builtins
import copyreg
import functools
import io
import itertools
import os
import pickle
import sys
import types
import typing
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from typing import Any

from .bindings import Bindings
from .snapshots import SourcePath, note_class, of_class, reduce_code

_LRUCache = type(functools.lru_cache(len))
_AGENT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# `multiprocessing.spawn` does not run a main module whose name ends like this.
_NOTHING = ModuleSpec("dipls.__main__", None)


class Main(types.ModuleType):
    """The module `__main__` of cells.

    Its `__spec__` is None, as any script's. `multiprocessing.spawn` and its relatives get one with nothing to run.
    """

    def __getattribute__(self, name: str) -> Any:  # not a property: Python 3.14 does not ask it
        if name == "__spec__":
            caller = sys._getframe(1)
            if str(caller.f_globals.get("__name__")).endswith(".spawn"):
                return _starting(caller)
        return super().__getattribute__(name)


def _starting(caller: types.FrameType) -> ModuleSpec:
    """Prepare for a process that `multiprocessing.spawn`, or a relative of it, starts."""
    data = caller.f_locals.get("d")  # the dict that the new process is sent
    if isinstance(data, dict) and isinstance(data.get("sys_path"), list) and _AGENT not in data["sys_path"]:
        data["sys_path"].append(_AGENT)
    if caller.f_globals["__name__"] == "multiprocessing.spawn":
        _install()
    return _NOTHING


# In the process that starts another one: pickling.

_sent = Bindings()
_versions = itertools.count()


def _install() -> None:
    """Have `multiprocessing` pickle by value what cells define. Does nothing the second time."""
    from multiprocessing.reduction import ForkingPickler

    if "reducer_override" in vars(ForkingPickler):
        return
    import cloudpickle

    for kind, reduce in cloudpickle.Pickler._dispatch_table.items():
        if kind not in ForkingPickler._extra_reducers:
            ForkingPickler.register(kind, reduce)
    ForkingPickler.register(types.CodeType, _reduce_code)
    ForkingPickler.reducer_override = _reduce


def _reduce_code(code: types.CodeType) -> Any:
    import cloudpickle

    return reduce_code(code, cloudpickle.Pickler._dispatch_table[types.CodeType])


def _reduce(pickler: Any, value: Any) -> Any:
    """See `pickle.Pickler.reducer_override`."""
    kind = type(value)
    if kind is types.FunctionType:
        if value.__module__ == "__main__" or value.__globals__ is _namespace():
            return _reduce_function(pickler, value)
    elif isinstance(value, type):
        if value.__module__ == "__main__":
            return _reduce_class(value)
        if value.__module__ == "builtins" and getattr(builtins, value.__name__, None) is not value:
            return _by_value(value)  # such as `types.MappingProxyType`, which cannot be found by its name
    elif kind is _LRUCache:
        if getattr(value, "__module__", "") == "__main__":
            return cached, (value.cache_parameters(), value.__wrapped__)
    elif kind is SourcePath:
        return value.with_text()
    return NotImplemented


def _reduce_function(pickler: Any, function: types.FunctionType) -> Any:
    reduced = _by_value(function)
    if function.__globals__ is not _namespace():
        return reduced  # made by a decorator, with the name of what it decorates
    _, (code, *_, closure), (attributes, slots), *_ = reduced
    name = _global_name(function)
    used = slots.pop("__globals__")
    used.pop(name, None)
    state = attributes, {**slots, "__closure__": dict(enumerate(function.__closure__ or ()))}, _lend(pickler, used)
    return _function, (name, _version(name, function), code, closure), state, None, None, _finish


def _reduce_class(cls: type) -> Any:
    reduced = _by_value(cls)
    if not isinstance(reduced, tuple) or len(reduced) != 6 or reduced[5] is None:
        return reduced
    make, arguments, state, items, pairs, finish = reduced
    arguments = with_slots(cls, make, arguments)
    name = _global_name(cls)
    state = finish, state, of_class(cls)
    return _class, (name, _version(name, cls), make, arguments), state, items, pairs, _finish_class


def _by_value(value: Any) -> Any:
    import cloudpickle

    return cloudpickle.Pickler(io.BytesIO()).reducer_override(value)


def _global_name(value: Any) -> str:
    """Return the name that a function or class has in `__main__`, "" if it has none."""
    name = value.__qualname__
    return name if _namespace().get(name) is value else ""


def _lend(pickler: Any, used: dict[str, Any]) -> dict[str, tuple[str, bytes]]:
    """Return version and pickle, by name, of globals and of those that functions among them use.

    In one pickle each comes once. Globals that cannot be pickled are left out: if a function needs one after all, it
    raises NameError.
    """
    if hasattr(pickler, "wanted"):  # this is one of `_pickle`'s
        pickler.wanted.update(used)
        return {}
    hidden = _hidden()
    done = vars(pickler).setdefault("lent", set())
    lent = {}
    wanted = dict(used)
    while wanted:
        name, value = wanted.popitem()
        if name in done or name in hidden:
            continue
        done.add(name)
        pickled = _pickle(value, wanted)
        if pickled is not None:
            lent[name] = _version(name, value), pickled
    return lent


def _hidden() -> dict[str, Any]:
    """Return what IPython gives every namespace, such as `get_ipython`."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return {} if shell is None else shell.user_ns_hidden


def _pickle(value: Any, wanted: dict[str, Any]) -> bytes | None:
    """Pickle a global and add those that it needs to `wanted`. Returns None if it cannot be pickled.

    A tensor is copied. `multiprocessing` itself would share its memory, so that both processes change it.
    """
    from multiprocessing.reduction import ForkingPickler

    import cloudpickle

    known = ForkingPickler._extra_reducers.items()

    table = {**copyreg.dispatch_table, **{kind: one for kind, one in known if not _is_torchs(one)}}

    class Pickler(cloudpickle.Pickler):
        dispatch_table = table

        def reducer_override(self, value: Any) -> Any:
            reduced = _reduce(self, value)
            return super().reducer_override(value) if reduced is NotImplemented else reduced

    file = io.BytesIO()
    pickler = Pickler(file)
    pickler.wanted = {}
    try:
        pickler.dump(value)
    except Exception:
        return None
    wanted.update(pickler.wanted)
    return file.getvalue()


def _is_torchs(reduce: Any) -> bool:
    return str(getattr(reduce, "__module__", "")).startswith("torch.")


def _version(name: str, value: Any) -> str:
    """Return a text that tells this object from any other that has the same name at another time."""
    version = _sent.get(name, value) if name else ""
    if name and not version:
        version = f"{os.getpid()}.{next(_versions)}"
        _sent.note(name, value, version)
    return version


def with_slots(cls: type, make: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments with which `make` makes a class that has the slots of `cls`.

    cloudpickle 3.1 leaves them out, and instances of such a class could not be unpickled for the original.
    """
    if "__slots__" not in vars(cls) or make.__name__ != "_make_skeleton_class":
        return arguments
    needed = {**arguments[3], "__slots__": cls.__slots__}
    if typing.NamedTuple in vars(cls).get("__orig_bases__", ()):  # it makes its slots itself
        del needed["__slots__"]
        needed["__module__"] = cls.__module__  # cloudpickle 2 leaves it out
    return (*arguments[:3], needed, *arguments[4:])


# In the process that was started: what its pickle calls, in that order.

_lent = Bindings()  # the versions of the globals that have come
_kept: dict[int, Any] = {}  # by id: functions and classes that were there already, and stay as they are
_mains: list[types.ModuleType] = []  # earlier modules `__main__`, whose names may still be in use


def _namespace() -> dict[str, Any]:
    """Return the namespace of `__main__`. In a new process the module, which is the starting program's, is replaced."""
    main = sys.modules["__main__"]
    if not isinstance(main, Main) and main.__name__ == "__main__" and _is_new_process():
        _mains.append(main)
        main = sys.modules["__main__"] = sys.modules["__mp_main__"] = Main("__main__")
        main.__builtins__ = builtins  # as the namespace of a script has it
    return vars(main)


def _is_new_process() -> bool:
    process = sys.modules.get("multiprocessing.process")
    if process is None:
        return False
    return hasattr(process.current_process(), "_inheriting") or process.parent_process() is not None


def _own(name: str, version: str) -> Any:
    """Return what has that name, if it is of that version or was inherited by a fork."""
    value = _namespace().get(name) if name else None
    if value is not None and _lent.get(name, value) in ("", version):
        _kept[id(value)] = value
        return value
    return None


def _bind(name: str, value: Any, version: str) -> None:
    if name:
        _namespace()[name] = value
        _lent.note(name, value, version)


def _function(name: str, version: str, code: types.CodeType, closure: Any) -> Any:
    made = _own(name, version)
    if made is None:
        made = types.FunctionType(code, _namespace(), None, None, closure)
        _bind(name, made, version)
    return made


def _finish(function: types.FunctionType, state: tuple[Any, ...]) -> None:
    attributes, slots, lent = state
    if _kept.pop(id(function), None) is None:
        function.__dict__.update(attributes)
        for index, cell in slots.pop("__closure__").items():
            try:
                function.__closure__[index].cell_contents = cell.cell_contents
            except ValueError:
                pass  # the cell has no value yet
        for name, value in slots.items():
            if name != "_cloudpickle_submodules":  # it is there only so that modules are imported
                setattr(function, name, value)
    namespace = _namespace()
    for name, (version, pickled) in lent.items():
        if name not in namespace or _lent.get(name, namespace[name]) not in ("", version):
            _bind(name, pickle.loads(pickled), version)  # noqa: S301 - from the process that has started this one


def _class(name: str, version: str, make: Callable[..., type], arguments: tuple[Any, ...]) -> Any:
    made = _own(name, version)
    if made is None:
        made = make(*arguments)
        _bind(name, made, version)
    return made


def _finish_class(cls: type, state: tuple[Any, ...]) -> None:
    if _kept.pop(id(cls), None) is not None:
        return
    finish, original, path = state
    finish(cls, original)
    if path is not None:
        note_class(cls, path)


def cached(parameters: dict[str, Any], function: Any) -> Any:
    return functools.lru_cache(**parameters)(function)
