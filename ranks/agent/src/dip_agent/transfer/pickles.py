"""How variables are pickled.

One pickle has the values of all variables, so that what they share stays shared. Functions and classes of the namespace
are pickled by value (cloudpickle). On the receiver's side their globals are the receiver's namespace, as if their `def`
had been run there. A class that comes only because something needs it is the receiver's own if that has the same one.
"""

from __future__ import annotations

import functools
import itertools
import os
import pickle
import types
from collections.abc import Collection, Sequence
from typing import Any, Callable, NamedTuple

import cloudpickle
from IPython import get_ipython

from ..bindings import Bindings
from ..snapshots import SourcePath, note_class, of_class, reduce_code
from ..spawned import cached, with_slots
from ..wire import text
from . import classes
from .arrays import Reducers
from .explain import Place, TransferError, locate, reason
from .parts import Collector, Parts

PROTOCOL = 5

_ABSENT = object()
_LRUCache = type(functools.lru_cache(len))


class Pickled(NamedTuple):
    """A pickle in the chunks in which it was written, its buffers, and the tensors and arrays in it."""

    chunks: list[Any]
    buffers: list[pickle.PickleBuffer]
    parts: Parts


class _Variable:
    """A value on its way into the pickle. When the pickler comes to it, it notes which value that is."""

    def __init__(self, index: int, value: Any):
        self.index = index
        self.value = value


class _Mark:
    """Comes right before a value, and has the receiver note which value comes next."""

    def __init__(self, index: int):
        self.index = index


class _Cell:
    """A closure's cell without its content. That may refer to the function, so it comes after the function."""


class _Namespace:
    """Stands for the receiver's namespace."""


_NAMESPACE = _Namespace()


class _Pickler(cloudpickle.Pickler):
    """Pickles values of `namespace`. Functions take along the globals that they use, except the `withheld` ones.

    The `sent` values are the variables' own. A class among them replaces the receiver's.
    """

    def __init__(
        self,
        pickled: Pickled,
        namespace: dict[str, Any],
        withheld: dict[str, str],
        sent: Collection[Any],
        check: Callable[[], None] | None,
    ):
        write = pickled.chunks.append  # this does not copy a long `bytes` object
        file = types.SimpleNamespace(write=write if check is None else lambda chunk: (check(), write(chunk)))
        super().__init__(file, protocol=PROTOCOL, buffer_callback=pickled.buffers.append)
        self.index = 0  # of the value that is being pickled
        self.last: Any = None  # the object that the pickler came to last: the culprit if it fails
        self._namespace = namespace
        self._withheld = withheld
        self._known = _shell_names(namespace)
        self._arrays = Reducers()
        self._parts = Collector(pickled.parts)
        self._cells: dict[int, _Cell] = {}
        self._sent = {id(value) for value in sent}
        self._fingerprints = classes.Fingerprints()

    def reducer_override(self, value: Any) -> Any:
        """See `pickle.Pickler.reducer_override`."""
        kind = type(value)
        if kind is _Variable:
            self.index = value.index
            return _value, (_Mark(value.index), value.value)
        if kind is _Mark:
            return _reached, (value.index,)
        if kind is _Cell:
            return types.CellType, ()
        if kind is _Namespace:
            return _receiver, ()
        if kind is SourcePath:
            return value.with_text()
        self.last = value
        if issubclass(kind, self._parts.kinds):
            self._parts.see(value)
        if (reduced := self._arrays.reduce(value)) is not NotImplemented:
            return reduced
        if kind is _LRUCache and (
            getattr(value, "__module__", "") == "__main__" or "<locals>" in getattr(value, "__qualname__", "<locals>")
        ):
            # Otherwise it would be pickled by name, and the receiver may have something else under that, or nothing.
            return cached, (value.cache_parameters(), value.__wrapped__)
        if kind is types.CodeType:
            return reduce_code(value, self.dispatch_table[kind])
        if kind is functools.cached_property:
            state = {name: part for name, part in vars(value).items() if name != "lock"}  # before Python 3.12
            return functools.cached_property, (value.func,), state
        reduced = super().reducer_override(value)
        if kind is types.FunctionType and value.__globals__ is self._namespace:
            return self._in_namespace(value, reduced)
        if isinstance(value, type):
            return self._class(value, reduced)
        return reduced

    def _class(self, cls: type, reduced: Any) -> Any:
        """Rewrite cloudpickle's reduction of a class. It may become the receiver's own, and can be undone otherwise."""
        if not isinstance(reduced, tuple) or len(reduced) != 6 or reduced[5] is None:
            return reduced  # it goes by its name, or in a way of some other cloudpickle
        make, arguments, state, items, pairs, finish = reduced
        arguments = with_slots(cls, make, arguments)
        if id(cls) in self._sent or not classes.is_named(cls):
            return make, arguments, (finish, state, of_class(cls)), items, pairs, _finish_class
        name = cls.__qualname__
        version = _version(name, cls) if self._namespace.get(name) is cls else ""
        wanted = name, self._fingerprints.of(cls), version
        state = finish, state, of_class(cls)
        return _own_class, (*wanted, make, arguments), state, items, pairs, _finish_unless_own

    def _in_namespace(self, function: types.FunctionType, reduced: Any) -> Any:
        """Rewrite cloudpickle's reduction of a function so that its globals become the receiver's namespace."""
        try:
            _, (code, _, name, defaults, _), (attributes, slots), _, _, _ = reduced
            used = slots["__globals__"]
        except (TypeError, ValueError, KeyError):
            return reduced  # it goes by its name, or in a way of some other cloudpickle
        slots = {key: slot for key, slot in slots.items() if key not in ("__globals__", "__closure__")}
        lent = {
            key: (used[key], _version(key, used[key]))
            for key in used
            if key not in self._withheld and not self._is_shells(key)
        }
        missing = {key: self._withheld[key] for key in used if key in self._withheld}
        cells = function.__closure__
        closure = None if cells is None else tuple(self._cells.setdefault(id(cell), _Cell()) for cell in cells)
        state = attributes, slots, _contents(cells or ()), lent, missing
        return types.FunctionType, (code, _NAMESPACE, name, defaults, closure), state, None, None, _finish_function

    def _is_shells(self, name: str) -> bool:
        return self._known.get(name, _ABSENT) is self._namespace.get(name)


class _Loading:
    """A pickle that is being read: which value it is at, and what it has changed in the namespace and in classes.

    Unless `keep` is called, these changes are undone, at the latest when this object is freed.
    """

    _lent: Sequence[tuple[str, Any, str, Any]] = ()  # of one whose making was interrupted
    _classes: Sequence[tuple[type, dict[str, Any]]] = ()

    def __init__(self, namespace: dict[str, Any]):
        self.namespace = namespace
        self.index = 0
        self._lent = []
        self._classes = []
        self._own: dict[int, type] = {}  # by id
        self._fingerprints = classes.Fingerprints()

    def own_class(self, qualname: str, fingerprint: str) -> type | None:
        """Return the namespace's class of that name if it has the same fingerprint."""
        found = classes.find(self.namespace, qualname)
        if found is None or self._fingerprints.of(found) != fingerprint:
            return None
        return self._own.setdefault(id(found), found)

    def is_outdated(self, name: str, version: str) -> bool:
        """Whether the namespace has an object under a name that was lent in another version."""
        return version != "" and _lent.get(name, self.namespace.get(name)) not in ("", version)

    def is_own(self, cls: type) -> bool:
        """Whether a class is one that `own_class` has returned."""
        return id(cls) in self._own

    def lend(self, names: dict[str, tuple[Any, str]]) -> None:
        """Give the namespace the globals that functions use if it lacks them, or has a version that was lent before."""
        for name, (value, version) in names.items():
            if name not in self.namespace or self.is_outdated(name, version):
                self._lent.append((name, value, version, self.namespace.get(name, _ABSENT)))
                self.namespace[name] = value

    def about_to_change(self, cls: type) -> None:
        """Remember a class as it is, since the pickle is about to update it."""
        self._classes.append((cls, dict(vars(cls))))

    def keep(self) -> None:
        """Keep the changes to namespace and classes."""
        lent, self._lent, self._classes = self._lent, (), ()
        for name, value, version, _ in lent:
            _lent.note(name, value, version)

    def undo(self) -> None:
        """Undo the changes to namespace and classes. If an interrupt ends it in the middle, it can be called again."""
        for name, value, _, before in self._lent:
            if self.namespace.get(name, _ABSENT) is not value:
                continue
            if before is _ABSENT:
                del self.namespace[name]
            else:
                self.namespace[name] = before
        for cls, before in reversed(self._classes):
            now = dict(vars(cls))
            for name in now.keys() - before.keys():
                type.__delattr__(cls, name)
            for name, value in before.items():
                if now.get(name, _ABSENT) is not value:
                    type.__setattr__(cls, name, value)
        self._lent = self._classes = ()

    def __del__(self) -> None:
        self.undo()


class Loaded:
    """Values that were unpickled and are not bound yet."""

    def __init__(self, names: Sequence[str], values: Sequence[Any], loading: _Loading):
        self.values = dict(zip(names, values))
        self._loading: _Loading | None = loading

    def commit(self) -> None:
        """Bind all names."""
        if self._loading is not None:
            try:
                self._loading.namespace.update(self.values)
            finally:  # even if an interrupt comes; the update itself is one step
                self._loading.keep()
                self._loading = None
            for name in self.values:
                _lent.forget(name)

    def abort(self) -> None:
        """Forget the values and undo the changes that came with them."""
        if self._loading is not None:
            self._loading.undo()
            self._loading = None
            self.values = {}


_loading: _Loading | None = None  # the pickle that the main thread reads

# Globals that were received with functions, and those that were sent, each with its version. Another object under the
# name is another version. An object that was changed is not, or the receiver would lose its own changes to it.
_lent = Bindings()
_sent = Bindings()
_versions = itertools.count()


def prune(namespace: dict[str, Any]) -> None:
    """Let go of lent objects whose names in the process's namespace are now bound to something else."""
    _lent.prune(namespace)
    _sent.prune(namespace)


def dump(variables: dict[str, Any], namespace: dict[str, Any], check: Callable[[], None] | None = None) -> Pickled:
    """Pickle the values of variables. Raises TransferError, with the name of the one at fault.

    If a global that a function uses cannot be pickled, it is left out, since the receiver may have its own.
    """
    names = list(variables)
    withheld: dict[str, str] = {}
    while True:
        pickled = Pickled([], [], {})
        pickler = _Pickler(pickled, namespace, withheld, variables.values(), check)
        try:
            pickler.dump([_Variable(index, value) for index, value in enumerate(variables.values())])
            return pickled
        except Exception as err:
            name = names[pickler.index]
            place = locate(pickler.last, name, variables[name], namespace) or Place(name)
            problem = f"{place} cannot be pickled: {reason(err, text)}"
            if place.through in withheld or not place.through:
                raise TransferError(name, problem) from err
            withheld[place.through] = problem


def load(data: Any, buffers: Sequence[Any], names: Sequence[str], namespace: dict[str, Any]) -> Loaded:
    """Unpickle the values of variables. Raises TransferError, with the name of the one at fault, and leaves nothing."""
    loading = _Loading(namespace)
    try:
        values = _loads(data, buffers, loading)
        if len(values) != len(names):
            raise ValueError(f"{len(values)} values came for {len(names)} names")
        return Loaded(names, values, loading)
    except TransferError as err:
        loading.undo()
        raise TransferError(names[loading.index], f"{names[loading.index]} cannot be used here: {err}") from None
    except Exception as err:
        loading.undo()
        name = names[min(loading.index, len(names) - 1)]
        problem = f"{name} cannot be unpickled: {type(err).__name__}: {text(err)}{_advice(err)}"
        raise TransferError(name, problem) from err
    except BaseException:
        loading.undo()
        raise


def _advice(err: Exception) -> str:
    """Return advice about an object that only ranks can have, such as DistributedDataParallel."""
    if "process group has not been initialized" not in text(err):
        return ""
    return " What DistributedDataParallel has wrapped can travel: its .module"


def _loads(data: Any, buffers: Sequence[Any], loading: _Loading) -> list[Any]:
    global _loading
    outer, _loading = _loading, loading  # unpickling a value may run code that pulls others
    try:
        return pickle.loads(data, buffers=buffers)  # noqa: S301 - from a process of the same user, see docs/wire.md
    finally:
        _loading = outer


# What the pickle has the receiver call, in that order.


def _reached(index: int) -> None:
    _loading.index = index


def _value(_: None, value: Any) -> Any:
    return value


def _receiver() -> dict[str, Any]:
    return _loading.namespace


def _finish_function(function: types.FunctionType, state: tuple[Any, ...]) -> None:
    attributes, slots, contents, lent, missing = state
    function.__dict__.update(attributes)
    for index, value in contents.items():
        function.__closure__[index].cell_contents = value
    for name, value in slots.items():
        if name != "_cloudpickle_submodules":  # it is there only so that modules are imported
            setattr(function, name, value)
    for name, problem in missing.items():
        if name not in function.__globals__:
            raise TransferError("", f"{problem}. Define {name!r} here first")
    _loading.lend(lent)


def _own_class(qualname: str, fingerprint: str, version: str, make: Any, arguments: tuple[Any, ...]) -> type:
    outdated = _loading.is_outdated(qualname, version)
    own = None if outdated else _loading.own_class(qualname, fingerprint)
    if own is not None:
        return own
    made = make(*arguments)
    if outdated:
        _loading.lend({qualname: (made, version)})
    return made


def _finish_unless_own(cls: type, state: tuple[Any, ...]) -> None:
    if not _loading.is_own(cls):
        _finish_class(cls, state)


def _finish_class(cls: type, state: tuple[Any, ...]) -> None:
    finish, original, path = state
    _loading.about_to_change(cls)
    finish(cls, original)
    if path is not None:
        note_class(cls, path)


def _version(name: str, value: Any) -> str:
    version = _sent.get(name, value)
    if not version:
        version = f"{os.getpid()}.{next(_versions)}"
        _sent.note(name, value, version)
    return version


def _contents(cells: Sequence[types.CellType]) -> dict[int, Any]:
    found = {}
    for index, cell in enumerate(cells):
        try:
            found[index] = cell.cell_contents
        except ValueError:
            pass  # the cell is empty
    return found


def _shell_names(namespace: dict[str, Any]) -> dict[str, Any]:
    """Return the names that IPython gives every namespace, such as `get_ipython`. The receiver has its own."""
    shell = get_ipython()
    return shell.user_ns_hidden if shell is not None and shell.user_ns is namespace else {}
