"""Validate what a language server has sent, by the types of lsprotocol, made from LSP's meta model.

    validate.py MESSAGES PREFIX…

MESSAGES has a line of JSON for each message: the message, and its method or, of an answer, that of the request. Methods
that begin with a PREFIX are extensions: of those only the frame is checked.

lsprotocol's own converters read liberally (they turn 5 into "5" and skip what they do not know), so its classes are
walked here: a field that a class does not have, one that is missing and a value of another type are errors, and so is
a null where there should be nothing.
"""

import collections.abc
import enum
import functools
import json
import sys
import typing

import attrs
from lsprotocol import types as lsp

PROGRESS = {"begin": lsp.WorkDoneProgressBegin, "report": lsp.WorkDoneProgressReport, "end": lsp.WorkDoneProgressEnd}


class Misfit(Exception):
    """A value that is not of its type: where it stands, and why; whether it has not even the fields of it."""

    def __init__(self, path, why, alien=False):
        super().__init__(f"{path or 'the message'}: {why}")
        self.nearness = (not alien, path.count(".") + path.count("["))


def camel(name):
    head, *tail = name.strip("_").split("_")
    return head + "".join(word.title() for word in tail)


@functools.cache
def fields(cls):
    """By JSON name: type, attribute, whether it must be there, whether it may be null."""
    attrs.resolve_types(cls, vars(lsp))
    found = {}
    for field in attrs.fields(cls):
        special = lsp.is_special_property(cls, field.name)
        required = field.default is attrs.NOTHING or (special and field.default is not None)
        anything = typing.Any in typing.get_args(field.type)
        unread = field.name == "id"  # JSON-RPC: what could not be read is answered without one
        nullable = special or required or anything or unread
        found[camel(field.name)] = (field.type, field, required, nullable)
    return found


def check(value, type_, path):
    """Raise Misfit unless a JSON value is of a type."""
    if isinstance(type_, (str, typing.ForwardRef)):
        type_ = getattr(lsp, type_ if isinstance(type_, str) else type_.__forward_arg__)
    origin, args = typing.get_origin(type_), typing.get_args(type_)
    if type_ in (typing.Any, object, lsp.LSPObject):
        return
    if origin is typing.Union:
        check_union(value, args, path)
    elif origin is typing.Literal:
        if value not in args:
            raise Misfit(path, f"{value!r} is not one of {args}")
    elif origin is tuple:
        if not isinstance(value, list) or len(value) != len(args):
            raise Misfit(path, f"{brief(value)} is no list of {len(args)}")
        for i, (item, item_type) in enumerate(zip(value, args)):
            check(item, item_type, f"{path}[{i}]")
    elif origin in (collections.abc.Sequence, list):
        if not isinstance(value, list):
            raise Misfit(path, f"{brief(value)} is no list")
        for i, item in enumerate(value):
            check(item, args[0], f"{path}[{i}]")
    elif origin in (collections.abc.Mapping, dict):
        if not isinstance(value, dict):
            raise Misfit(path, f"{brief(value)} is no object")
        for key, item in value.items():
            check(item, args[1], f"{path}.{key}")
    elif attrs.has(type_):
        check_object(value, type_, path)
    elif issubclass(type_, enum.Enum):
        check_enum(value, type_, path)
    else:
        check_primitive(value, type_, path)


def check_union(value, args, path):
    """What fits none of a union's types is told by the one that it comes nearest to."""
    misfits = []
    for arg in args:
        try:
            return check(value, arg, path)
        except Misfit as misfit:
            misfits.append(misfit)
    raise max(misfits, key=lambda misfit: misfit.nearness)


def check_object(value, cls, path):
    if not isinstance(value, dict):
        raise Misfit(path, f"{brief(value)} is no {cls.__name__}")
    known = fields(cls)
    for key in value:
        if key not in known:
            raise Misfit(f"{path}.{key}", f"{cls.__name__} has no such field", alien=True)
    for key, (type_, field, required, nullable) in known.items():
        where = f"{path}.{key}"
        if key not in value:
            if required:
                raise Misfit(where, f"{cls.__name__} must have it", alien=True)
            continue
        if value[key] is None and not nullable:
            raise Misfit(where, "null, where it should be left out")
        check(value[key], type_, where)
        if field.validator is not None and isinstance(value[key], (str, int, float)):
            try:
                field.validator(None, field, value[key])
            except (ValueError, TypeError) as error:
                raise Misfit(where, str(error.args[0])) from None
    if cls is lsp.DocumentSymbol and not inside(value["selectionRange"], value["range"]):
        raise Misfit(path, "selectionRange is not inside of range")


def check_enum(value, cls, path):
    if value in [member.value for member in cls] and not isinstance(value, bool):
        return
    # lsprotocol does not mark the sets to which LSP lets programs add values.
    if cls in (lsp.CodeActionKind, lsp.FoldingRangeKind) and isinstance(value, str):
        return
    raise Misfit(path, f"{brief(value)} is no {cls.__name__}")


def check_primitive(value, cls, path):
    fits = {
        str: isinstance(value, str),
        bool: isinstance(value, bool),
        int: isinstance(value, int) and not isinstance(value, bool),
        float: isinstance(value, (int, float)) and not isinstance(value, bool),
        type(None): value is None,
    }
    if not fits[cls]:
        raise Misfit(path, f"{brief(value)} is no {cls.__name__}")


def inside(inner, outer):
    def place(position):
        return position["line"], position["character"]

    return place(outer["start"]) <= place(inner["start"]) <= place(inner["end"]) <= place(outer["end"])


def brief(value):
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:80] + "…"


def check_message(method, message, prefixes):
    """Check a message. `method` is its own, or that of the request that it answers."""
    if message.get("jsonrpc") != "2.0":
        raise Misfit(".jsonrpc", "not 2.0")
    if "error" in message:
        return check_object(message, lsp.ResponseErrorMessage, "")
    ours = method.startswith(prefixes)
    if method not in lsp.METHOD_TO_TYPES:
        if not ours:
            raise Misfit(".method", f"LSP has no {method}")
        return check_frame(message)
    request, response, _, _ = lsp.METHOD_TO_TYPES[method]
    if "method" not in message:
        if "result" not in message:
            raise Misfit(".result", "an answer has a result or an error")
        return check_object(message, response, "")
    if lsp.message_direction(method) == "clientToServer":
        raise Misfit(".method", f"{method} is the client's to send")
    check_object(message, request, "")
    if method == "$/progress":
        value = message["params"]["value"]
        check_object(value, PROGRESS[value["kind"]], ".params.value")


def check_frame(message):
    if unknown := message.keys() - {"jsonrpc", "id", "method", "params", "result"}:
        raise Misfit(f".{min(unknown)}", "a message has no such field")
    if not isinstance(message.get("params", {}), (dict, list)):
        raise Misfit(".params", f"{brief(message['params'])} is neither an object nor a list")


def main(path, *prefixes):
    count, wrong = 0, {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            count += 1
            try:
                check_message(record["method"], record["message"], prefixes)
            except Misfit as misfit:
                # The same fault in many messages is told once.
                key = (record["method"], str(misfit))
                wrong.setdefault(key, record["message"])
    for (method, why), message in list(wrong.items())[:50]:
        print(f"{method}: {why}\n    {json.dumps(message, ensure_ascii=False)[:600]}")
    print(f"{count} messages, {len(wrong)} kinds of faults")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
