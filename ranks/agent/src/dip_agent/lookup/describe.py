"""What an object is, in a few words: type, value, and for arrays and tensors shape, dtype and device."""

from __future__ import annotations

import collections
import contextlib
import functools
import inspect
import reprlib
import sys
import types
from typing import Any

SHORT = 120  # characters of a variable's value in a list
LONG = 2000  # characters of a value
LINES = 25  # of a value
DOC = 3000  # characters of a docstring
SAMPLE = 6  # elements to show of an array that is large or on a GPU

_FUNCTIONS = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.MethodDescriptorType,
    types.MethodWrapperType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
    staticmethod,
    classmethod,
)
_PROPERTIES = (property, types.GetSetDescriptorType, types.MemberDescriptorType)
_CONTAINERS = (dict, list, tuple, set, frozenset, collections.deque)
_HUGE = 1000  # items; a container with more is not asked for the text of all


def describe(value: Any) -> dict[str, Any]:
    """Return type, kind and text (one short line), and shape, dtype, device, length and bytes if it has them."""
    facts = {**unread(value), **_array_facts(value)}
    facts["text"] = _clip(" ".join(_text(value, facts, SHORT).split()), SHORT)
    return facts


def explain(value: Any) -> dict[str, Any]:
    """Return what `describe` does with a longer text, and for what can be called its signature and documentation."""
    facts = {**unread(value), **_array_facts(value)}
    facts["text"] = _clip_lines(_text(value, facts, LONG))
    if facts["kind"] in ("function", "class"):
        try:
            facts["signature"] = _clip(str(inspect.signature(value)), LONG)
        except (ValueError, TypeError):
            pass  # many built-in ones have none
    if facts["kind"] != "instance":
        facts["doc"] = _clip(inspect.getdoc(value) or "", DOC)
    return facts


def explain_computed(descriptor: Any) -> dict[str, Any]:
    """Return what is known of an attribute that is computed on access: its documentation."""
    known = type(descriptor) in (property, functools.cached_property)
    doc = _clip(inspect.getdoc(descriptor) or "", DOC) if known else ""
    return {"type": type_name(descriptor), "kind": "property", "text": "", "doc": doc}


def unread(value: Any) -> dict[str, Any]:
    """Return what can be told without running user code: type, kind, and the length of built-in containers."""
    facts: dict[str, Any] = {"type": type_name(value), "kind": kind_of(value), "text": ""}
    if type(value) in (*_CONTAINERS, str, bytes, bytearray):
        facts["length"] = len(value)
    return facts


def type_name(value: Any) -> str:
    """Return the name of an object's type, with its module unless that is obvious."""
    cls = type(value)
    module = cls.__module__
    if not isinstance(module, str) or module in ("builtins", "__main__"):
        return cls.__qualname__
    return f"{module}.{cls.__qualname__}"


def kind_of(value: Any) -> str:
    """Return "module", "class", "function", "property" or "instance"."""
    cls = type(value)  # not isinstance: it asks for __class__, at which a proxy may import or compute something
    for kind, classes in (
        ("module", types.ModuleType),
        ("class", type),
        ("function", _FUNCTIONS),
        ("property", _PROPERTIES),
    ):
        if issubclass(cls, classes):
            return kind
    return "instance"


def _array_facts(value: Any) -> dict[str, Any]:
    cls = type(value)
    if issubclass(cls, type) or not _has(cls, "shape"):
        return {}
    shape = getattr(value, "shape", None)
    if not isinstance(shape, tuple) or not all(isinstance(n, int) for n in shape):
        return {}
    facts: dict[str, Any] = {"shape": [int(n) for n in shape]}
    if _has(cls, "dtype"):
        facts["dtype"] = _clip(str(getattr(value, "dtype", "")).replace("torch.", ""), 80)
    device = getattr(value, "device", None)
    if device is not None and not callable(device) and not cls.__module__.startswith("numpy"):
        facts["device"] = _clip(str(device), 80)
    with contextlib.suppress(Exception):  # a sparse tensor does not say
        size = getattr(value, "nbytes", None)
        if isinstance(size, int):
            facts["bytes"] = int(size)
        elif _is_torch(value):
            facts["bytes"] = value.numel() * value.element_size()
    return facts


def _has(cls: type, name: str) -> bool:
    return any(name in vars(base) for base in cls.__mro__)


def _text(value: Any, facts: dict[str, Any], limit: int) -> str:
    """Return the value as text. Raises nothing but interrupts."""
    try:
        if facts["kind"] in ("module", "function", "class"):
            return "" if facts["kind"] == "function" else repr(value)
        if "dtype" in facts and not type(value).__module__.startswith("pandas."):
            return _elements(value)
        return _Repr(limit).repr(value)
    except Exception as err:
        return f"<its repr raised {type(err).__name__}>"


def _elements(array: Any) -> str:
    """Return the elements of an array, or some of them. Returns "" if one would have to wait for a device."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None and isinstance(array, (numpy.ndarray, numpy.generic)):
        with numpy.printoptions(threshold=100, edgeitems=3, linewidth=100):
            return repr(array)
    if torch is None or type(array) not in (torch.Tensor, torch.nn.Parameter) or array.layout is not torch.strided:
        return ""
    if array.device.type == "cuda":
        if _gpu_is_busy(array.device):
            return "(the GPU is busy)"
    elif array.device.type != "cpu" or array.is_quantized:
        return ""
    elif array.numel() <= 100:
        return repr(array)
    with torch.no_grad():
        row = array.detach()
        while row.dim() > 1 and row.numel():
            row = row[0]
        shown = row[:SAMPLE].tolist() if row.dim() else row.item()
    if not row.dim():
        return str(shown)
    return (
        "["
        + ", ".join(f"{x:.4g}" if isinstance(x, float) else str(x) for x in shown)
        + (", …]" if array.numel() > len(shown) else "]")
    )


def _is_torch(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and type(value) in (torch.Tensor, torch.nn.Parameter)


def _gpu_is_busy(device: Any = None) -> bool:
    """Whether a GPU, by default torch's current one, still has work to do.

    Copying from it would wait for that work, which may be a collective that never ends, and nothing could end the wait.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return False
    return not torch.cuda.current_stream(device).query()


def _outline(name: str, facts: dict[str, Any]) -> str:
    """Return an array without its elements: `<Tensor (2, 3) float32 cuda:0>`."""
    parts = (name, tuple(facts["shape"]), facts["dtype"], facts.get("device", ""))
    return f"<{' '.join(str(part) for part in parts if part != '')}>"


class _Repr(reprlib.Repr):
    """A `repr` that writes no more than is shown, and no elements of arrays within other objects."""

    def __init__(self, limit: int):
        super().__init__()
        self.maxlevel = 4
        self.maxstring = self.maxother = self.maxlong = limit
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = self.maxdeque = max(
            6, limit // 50
        )

    def repr1(self, x: Any, level: int) -> str:
        cls = type(x)
        if cls in (bytes, bytearray) and len(x) > self.maxstring:
            return repr(x[: self.maxstring]) + "..."
        if cls is int and x.bit_length() > 4 * self.maxlong:
            return f"<int of {x.bit_length()} bits>"
        facts = _array_facts(x)
        if "dtype" in facts:
            return (not facts["shape"] and _elements(x)) or _outline(cls.__name__, facts)
        if issubclass(cls, _CONTAINERS) and cls not in _CONTAINERS and len(x) > _HUGE:
            return f"<{cls.__name__} of {len(x)} items>"
        return super().repr1(x, level)

    def repr_instance(self, x: Any, level: int) -> str:
        if type(x).__module__ != "builtins" and _gpu_is_busy():
            return f"<{type(x).__name__}>"  # its repr may read a tensor
        text = repr(x)
        return text if level == self.maxlevel else _clip(text, SHORT)  # the lines of the outermost object are cut later


def _clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _clip_lines(text: str) -> str:
    lines = text.split("\n")
    if len(lines) > LINES:
        lines = [*lines[: LINES - 1], "…"]
    return _clip("\n".join(lines), LONG)
