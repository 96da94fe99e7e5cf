"""Variables in files: `.npy`, `.npz`, `.pt` and `.json`.

Nothing that is read can run code, and a file is written whole or not at all. The namespace gets what was asked for, and
nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import secrets
import stat
import sys
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO, Callable

CODE = "it holds Python objects, which are not read, because that could run code"


class FileError(Exception):
    """A file cannot be read or written, or cannot hold a value."""

    __module__ = "builtins"  # where it is raised means nothing to the user

    def _render_traceback_(self) -> list[str]:
        """IPython's hook: show only the sentence. The stack is ours, and torch's own error advises to run the code."""
        return [f"FileError: {self}"]


def serve(namespace: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Do what `wanted`, the `file` of an execute_request, says."""
    path, names = os.fspath(wanted["path"]), list(dict.fromkeys(wanted["names"]))
    if wanted.get("write"):
        write(path, names, namespace)
    else:
        (name,) = names
        namespace[name] = read(path)


def read(path: str) -> Any:
    """Return what a file holds: an array, a mapping, or whatever a `.pt` or `.json` has."""
    reader, _ = _format(path)
    try:
        with open(path, "rb") as file:
            return reader(file)
    except OSError as err:
        raise FileError(f"{path}: {err.strerror or err}") from None  # which says all
    except FileError as err:
        raise FileError(f"{path}: {err}") from err.__cause__


def write(path: str, names: list[str], namespace: dict[str, Any]) -> None:
    """Write variables to a file: one as it is, several as a mapping. `.npz` always holds a mapping."""
    _, writer = _format(path)
    if missing := [name for name in names if name not in namespace]:
        raise NameError(f"name {missing[0]!r} is not defined")
    values = {name: namespace[name] for name in names}
    try:
        with _whole(path) as file:
            writer(file, values)
    except OSError as err:
        raise FileError(f"{path}: {err.strerror or err}") from None  # which says all


@contextlib.contextmanager
def _whole(path: str) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` once everything is written, and leaves nothing behind otherwise."""
    mode = None
    with contextlib.suppress(FileNotFoundError):
        known = os.lstat(path)
        if stat.S_ISLNK(known.st_mode):
            raise FileError(f"{path} is a link to {os.readlink(path)}; name the file itself")
        if not stat.S_ISREG(known.st_mode):
            raise FileError(f"{path} is there already, and is no file")
        mode = stat.S_IMODE(known.st_mode)
    folder, base = os.path.split(path)
    beside = os.path.join(folder, f".{base[:100]}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        raise


def _read_npy(file: BinaryIO) -> Any:
    import numpy as np

    if file.read(6) != b"\x93NUMPY":
        raise FileError("it is no .npy file")
    file.seek(0)
    return _without_objects(lambda: np.load(file, allow_pickle=False))


def _read_npz(file: BinaryIO) -> Any:
    import numpy as np

    if not zipfile.is_zipfile(file):
        raise FileError("it is no .npz file")
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        return _without_objects(lambda: {name: arrays[name] for name in arrays.files})


def _without_objects(load: Callable[[], Any]) -> Any:
    try:
        return load()
    except ValueError as err:
        raise FileError(CODE if "allow_pickle" in str(err) else str(err)) from err


def _read_pt(file: BinaryIO) -> Any:
    torch = _torch()
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except TypeError as err:
        raise FileError("this torch cannot read weights only; 1.13 and later can") from err
    except Exception as err:  # of many kinds, by version
        # What torch says advises to run the code.
        if f"Unsupported operand {pickle.BINFLOAT[0]}" in str(err):  # torch 1.13
            raise FileError(
                f"it holds a float outside of a tensor, and torch {torch.__version__} reads none from a .pt; "
                "a later torch does, and .json and tensors hold floats"
            ) from err
        raise FileError(f"{CODE}; or it is no .pt file, or of a torch that {torch.__version__} cannot read") from err


def _read_json(file: BinaryIO) -> Any:
    try:
        return json.load(file)
    except ValueError as err:
        raise FileError(f"it is no JSON: {err}") from err


def _write_npy(file: BinaryIO, values: dict[str, Any]) -> None:
    import numpy as np

    if len(values) > 1:
        raise FileError(f".npy takes one variable, not {len(values)}; .npz takes several")
    ((name, value),) = values.items()
    np.lib.format.write_array(file, _array(name, value, ".npy"), allow_pickle=False)


def _write_npz(file: BinaryIO, values: dict[str, Any]) -> None:
    import numpy as np

    arrays = {name: _array(name, value, ".npz") for name, value in values.items()}
    with zipfile.ZipFile(file, "w") as archive:  # `numpy.savez` takes no variable that is called "file"
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _array(name: str, value: Any, suffix: str) -> Any:
    """Return a value as an array of numbers, text or times."""
    import numpy as np

    torch = sys.modules.get("torch")
    try:
        if torch is not None and isinstance(value, torch.Tensor):
            return value.detach().cpu().numpy()
        array = np.asarray(value)
    except Exception as err:
        raise FileError(f"{name}: {suffix} cannot hold it: {err}; .pt may") from err
    if array.dtype.hasobject:
        holds = "arrays, and what becomes an array of numbers or text"
        raise FileError(
            f"{name}: {suffix} holds {holds}, but no {type(value).__name__}; .pt and .json hold other things"
        )
    return array


def _write_pt(file: BinaryIO, values: dict[str, Any]) -> None:
    torch = _torch()
    import collections

    plain = (type(None), bool, int, float, complex, str, torch.Size, torch.dtype, torch.device)

    def check(name: str, value: Any) -> None:
        kind = type(value)
        if kind in (dict, collections.OrderedDict):
            for key, item in value.items():
                check(name, key)
                check(name, item)
        elif kind in (list, tuple):
            for item in value:
                check(name, item)
        elif kind not in plain and kind not in (torch.Tensor, torch.nn.Parameter):
            advice = "take its state_dict()" if isinstance(value, torch.nn.Module) else ".npy and .npz hold arrays"
            holds = "tensors, numbers, text, and lists, tuples and dictionaries of them"
            raise FileError(f"{name}: .pt holds {holds}, but no {kind.__name__}; {advice}")

    for name, value in values.items():
        check(name, value)
    torch.save(_one_or_all(values), file)


def _write_json(file: BinaryIO, values: dict[str, Any]) -> None:
    def check(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                if not isinstance(key, str):
                    raise FileError(f"{name}: the keys of .json are text, not {type(key).__name__}; .pt holds others")
                check(name, item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                check(name, item)
        elif value is not None and not isinstance(value, (bool, int, float, str)):
            torch = sys.modules.get("torch")
            if torch is not None and isinstance(value, torch.Tensor):
                advice = "its .tolist() is fine, and .npy and .pt hold it"
            else:
                advice = "its .tolist() is fine, and .npy holds it" if hasattr(value, "tolist") else ".pt may hold it"
            holds = "numbers, text, None, and lists and dictionaries of them"
            raise FileError(f"{name}: .json holds {holds}, but no {type(value).__name__}; {advice}")

    for name, value in values.items():
        check(name, value)
    try:
        written = json.dumps(_one_or_all(values), ensure_ascii=False, allow_nan=False)
    except ValueError as err:
        raise FileError(
            ".json holds no nan and no infinity, and nothing that contains itself; .npy and .pt hold nan"
        ) from err
    file.write(written.encode(errors="surrogatepass") + b"\n")


def _one_or_all(values: dict[str, Any]) -> Any:
    return next(iter(values.values())) if len(values) == 1 else values


def _torch() -> Any:
    try:
        import torch
    except ImportError as err:
        raise FileError(".pt needs torch, which this interpreter does not have") from err
    return torch


_FORMATS: dict[str, tuple[Callable[[BinaryIO], Any], Callable[[BinaryIO, dict[str, Any]], None]]] = {
    ".npy": (_read_npy, _write_npy),
    ".npz": (_read_npz, _write_npz),
    ".pt": (_read_pt, _write_pt),
    ".json": (_read_json, _write_json),
}


def _format(path: str) -> tuple[Callable[[BinaryIO], Any], Callable[[BinaryIO, dict[str, Any]], None]]:
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in _FORMATS:
        raise FileError(f"{os.path.basename(path)}: the end of a file's name says its format: {', '.join(_FORMATS)}")
    return _FORMATS[suffix]
