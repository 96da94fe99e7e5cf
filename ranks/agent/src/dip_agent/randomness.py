"""The random state of a process: one of its own, as if it had not been forked.

All forks begin with the random state of their node, so all ranks would draw the same numbers. `renew` gives a process
what fresh imports would have given it: new states where these come from the system's entropy, and the same ones where
code has set a seed. It touches only packages that are loaded, and imports none.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import random
import sys
import weakref
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from typing import Any, Callable

log = logging.getLogger(__name__)

_TYPED_BY_SOMEBODY = 1 << 64  # a smaller seed was chosen by somebody: NumPy's own seeds have 128 bits
_TYPED_FOR_TORCH = 1 << 32  # the same for torch, whose own seeds have 53 bits
_TORCH_DEFAULT = 67280421310721  # in every process, the seed of a torch.Generator that was given none


class Generators:
    """The generators that modules make as they are imported, besides the global ones.

    `shared` has a sentence on each from which all forks draw the same numbers although nobody wanted that.
    """

    def __init__(self) -> None:
        self.shared: list[str] = []
        self._pythons: dict[int, weakref.ref[random.Random]] = {}  # by id; those to which nobody has given a seed
        self._bits: list[Any] = []  # NumPy's BitGenerators, likewise
        self._states: list[Any] = []  # NumPy's RandomStates, each of which may keep a normal number for later
        self._torchs: list[Any] = []

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Find the generators that are made within the block."""
        before = gc.get_objects()  # kept, so that no new object has the id of an old one
        modules = set(sys.modules)
        seed = random.Random.seed

        def noting(generator: random.Random, *args: Any, **options: Any) -> None:
            seed(generator, *args, **options)
            if (args[0] if args else options.get("a")) is None:
                self._pythons[id(generator)] = weakref.ref(generator)
            else:
                self._pythons.pop(id(generator), None)

        random.Random.seed = noting  # type: ignore[method-assign]
        try:
            yield
        finally:
            random.Random.seed = seed  # type: ignore[method-assign]
            known = set(map(id, before))
            self._add([one for one in gc.get_objects() if id(one) not in known], sys.modules.keys() - modules)

    def reseed(self, source: random.Random) -> None:
        """Reseed each generator to which nobody has given a seed, with numbers from `source`."""
        for reference in self._pythons.values():
            if (generator := reference()) is not None:
                generator.seed(source.getrandbits(128))
        for bits in self._bits:
            _reseed_bits(bits, source.getrandbits(128))
        for state in self._states:
            state.set_state({**state.get_state(legacy=False), "has_gauss": 0, "gauss": 0.0})
        for generator in self._torchs:
            generator.manual_seed(source.getrandbits(53))

    def _add(self, objects: Sequence[Any], modules: set[str]) -> None:
        numpy = sys.modules.get("numpy.random")
        if numpy is not None:
            own = sys.modules["numpy.random.mtrand"]._rand
            for one in objects:
                # By the type, not `__class__`: an object may run code to answer that.
                if issubclass(type(one), numpy.BitGenerator) and one is not own._bit_generator and _is_fresh(one):
                    self._bits.append(one)
                elif issubclass(type(one), numpy.RandomState) and one is not own and _is_fresh(one._bit_generator):
                    self._states.append(one)
        torch = sys.modules.get("torch")
        kind = getattr(torch, "Generator", None)
        if kind is None:
            return
        # The garbage collector does not track them, but it tracks the objects that refer to them.
        found = {id(one): one for one in gc.get_referents(*objects) if type(one) is kind}
        for one in found.values():
            if one is torch.default_generator:
                continue
            seed = one.initial_seed()
            if seed == _TORCH_DEFAULT:
                name = _name(one, modules) or "a generator of a preloaded module"
                self.shared.append(f"all ranks draw the same numbers from {name}: a torch.Generator without a seed")
            elif seed >= _TYPED_FOR_TORCH:
                self._torchs.append(one)


def renew(seed: int | None, generators: Generators | None) -> list[str]:
    """Give this process a random state of its own: from the seed or, if that is None, from the system's entropy.

    `generators` are those of the node from which it was forked; None if it was not forked. Returns sentences on what
    could not be done.
    """
    if seed is None and generators is None:
        return []  # everything is fresh
    source = random.Random(seed)
    problems = []
    if seed is not None:
        random.seed(seed)  # otherwise Python itself has reseeded it after the fork
        sys.meta_path.insert(0, _SeedsWhenImported(seed))  # type: ignore[arg-type]
    for name, reseed in _GLOBAL.items():
        if name in sys.modules:
            with _telling(name, problems):
                reseed(seed)
    if generators is not None:
        with _telling("generators of preloaded modules", problems):
            generators.reseed(source)
        problems += generators.shared
        _forget_random_node()
    return problems


@contextlib.contextmanager
def _telling(what: str, problems: list[str]) -> Iterator[None]:
    try:
        yield
    except Exception as err:
        log.warning("no random state of its own: %s", what, exc_info=True)
        problems.append(f"ranks may draw the same random numbers from {what}: {type(err).__name__}: {err}")


def _reseed_numpy(seed: int | None) -> None:
    module = sys.modules["numpy.random"]
    try:
        module.seed(None if seed is None else seed % (1 << 32))
    except TypeError:  # np.random.set_bit_generator has replaced the Mersenne Twister
        _reseed_bits(module.mtrand._rand._bit_generator, random.Random(seed).getrandbits(128))


def _reseed_torch(seed: int | None) -> None:
    torch = sys.modules["torch"]
    if seed is None:
        torch.default_generator.seed()
    else:
        torch.default_generator.manual_seed(seed)
    # CUDA's generators are made later, with seeds from entropy unless a seed waits for them.
    waiting = getattr(torch.cuda, "_lazy_seed_tracker", None)
    if seed is not None or (waiting is not None and waiting.get_calls()):
        torch.cuda.manual_seed_all(torch.initial_seed())


_GLOBAL: dict[str, Callable[[int | None], None]] = {"numpy.random": _reseed_numpy, "torch": _reseed_torch}


class _SeedsWhenImported:
    """Finds packages as the other finders do, and seeds them once they are imported."""

    def __init__(self, seed: int):
        self._seed = seed

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in _GLOBAL:
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)  # before Python 3.12 some have none
            if find is not None and (found := find(name, path, target)) is not None:
                self._seed_after(found)
                return found
        return None

    def _seed_after(self, spec: ModuleSpec) -> None:
        loader = spec.loader
        execute = getattr(loader, "exec_module", None)
        if execute is None:
            return

        def exec_module(module: Any) -> None:
            execute(module)
            with _telling(spec.name, []):
                _GLOBAL[spec.name](self._seed)

        loader.exec_module = exec_module  # type: ignore[union-attr, method-assign]


def _is_fresh(bits: Any) -> bool:
    """Whether a BitGenerator has its seed from the system's entropy rather than from somebody."""
    sequence = getattr(bits, "_seed_seq", None)
    entropy = getattr(sequence, "entropy", None)
    return isinstance(entropy, int) and entropy >= _TYPED_BY_SOMEBODY


def _reseed_bits(bits: Any, seed: int) -> None:
    """Give a BitGenerator of NumPy another seed."""
    sequence = getattr(bits, "_seed_seq", None)
    if sequence is not None:
        sequence.__init__(seed)  # in place, since others are spawned from it
    bits.state = type(bits)(seed if sequence is None else sequence).state


def _name(value: Any, modules: set[str]) -> str:
    """Return the name under which a module has a value, "" if none has."""
    for module in sorted(modules):
        for name, found in list(vars(sys.modules[module]).items()) if module in sys.modules else ():
            if found is value:
                return f"{module}.{name}"
    return ""


def _forget_random_node() -> None:
    """Have uuid1 make up a new node id if it made up the present one, which has a bit set then."""
    uuid = sys.modules.get("uuid")
    node = getattr(uuid, "_node", None)
    if node is not None and node >> 40 & 1:
        uuid._node = None  # type: ignore[union-attr]
