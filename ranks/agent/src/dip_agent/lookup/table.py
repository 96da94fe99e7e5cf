"""A page of a table or an array: some of its rows and columns as text, sorted and filtered.

Only what is shown becomes text, and only the columns that are sorted by or filtered become Python values.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any

from .describe import _gpu_is_busy, type_name

MAX_ROWS = 500  # of a page
MAX_COLUMNS = 200  # of a page
MAX_TEXT = 200  # characters of a cell
MAX_ORDERED = 2_000_000  # rows that are sorted or filtered

_COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}


class NotShown(Exception):
    """Why there is no page, as a sentence."""


class _Frame:
    """A DataFrame of pandas."""

    def __init__(self, frame: Any):
        self._frame = frame
        self.shape = [int(n) for n in frame.shape]
        self.length, self.width = self.shape

    def names(self, columns: slice) -> list[tuple[str, str]]:
        frame = self._frame.iloc[:, columns]
        return [(str(name), str(dtype)) for name, dtype in zip(frame.columns, frame.dtypes)]

    def column(self, index: int) -> list[Any]:
        return self._frame.iloc[:, index].tolist()

    def page(self, rows: Sequence[int], columns: slice) -> list[list[Any]]:
        part = self._frame.iloc[:, columns].iloc[list(rows)]  # columns first: those of a slice are not copied
        return [list(row) for row in zip(*(part.iloc[:, i].tolist() for i in range(part.shape[1])))]

    def labels(self, rows: Sequence[int]) -> list[str]:
        return [str(label) for label in self._frame.index[list(rows)]]


class _Polars:
    """A DataFrame of polars."""

    def __init__(self, frame: Any):
        self._frame = frame
        self.shape = [int(n) for n in frame.shape]
        self.length, self.width = self.shape

    def names(self, columns: slice) -> list[tuple[str, str]]:
        return [(name, str(dtype)) for name, dtype in zip(self._frame.columns[columns], self._frame.dtypes[columns])]

    def column(self, index: int) -> list[Any]:
        return self._frame.to_series(index).to_list()

    def page(self, rows: Sequence[int], columns: slice) -> list[list[Any]]:
        return [list(row) for row in self._frame[list(rows), columns].rows()]

    def labels(self, rows: Sequence[int]) -> list[str]:
        return [str(row) for row in rows]


class _Array:
    """An array of numpy or a tensor of torch: its last two dimensions, at a place in the others."""

    def __init__(self, array: Any, place: Sequence[int]):
        self.shape = [int(n) for n in array.shape]
        for axis, size in enumerate(self.shape[:-2]):
            at = place[axis] if axis < len(place) else 0
            if not 0 <= at < size:
                raise NotShown(f"dimension {axis} has {size} entries, and no entry {at}")
            array = array[at]
        if len(array.shape) < 2:
            array = array.reshape(-1, 1)
        self._array = array
        names = getattr(array.dtype, "names", None)  # the fields of a structured array
        self._fields = names if names and self.shape[1:] == [] else None
        self.length = int(array.shape[0])
        self.width = len(self._fields) if self._fields else int(array.shape[1])

    def names(self, columns: slice) -> list[tuple[str, str]]:
        dtype = self._array.dtype
        if self._fields:
            return [(name, str(dtype[name])) for name in self._fields[columns]]
        return [(str(index), str(dtype).replace("torch.", "")) for index in range(self.width)[columns]]

    def column(self, index: int) -> list[Any]:
        return _values(self._array[self._fields[index]][:, 0] if self._fields else self._array[:, index])

    def page(self, rows: Sequence[int], columns: slice) -> list[list[Any]]:
        if self._fields:
            return [list(row[0])[columns] for row in _values(self._array[list(rows)])]
        return _values(self._array[:, columns][list(rows)])  # columns first: those of a slice are not copied

    def labels(self, rows: Sequence[int]) -> list[str]:
        return [str(row) for row in rows]


def _values(array: Any) -> Any:
    """Return an array's elements as Python values. A part of a tensor on a GPU is copied for that."""
    return (array.detach().cpu() if hasattr(array, "detach") else array).tolist()


def page(value: Any, content: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a table_reply that is about a value."""
    table = _table(value, content.get("place") or [])
    rows: Sequence[int] = range(table.length)
    sort, filters = content.get("sort"), content.get("filters") or []
    if (sort is not None or filters) and table.length > MAX_ORDERED:
        raise NotShown(f"{table.length:,} rows are too many to sort or filter (at most {MAX_ORDERED:,})")
    for condition in filters:
        passes = _condition(str(condition["text"]))
        column = table.column(_column(table, condition["column"]))
        rows = [row for row in rows if passes(column[row])]
    if sort is not None:
        rows = _sorted(rows, table.column(_column(table, sort)), bool(content.get("descending")))
    start = max(0, int(content.get("start") or 0))
    first = max(0, int(content.get("first_column") or 0))
    shown = rows[start : start + min(int(content.get("rows") or MAX_ROWS), MAX_ROWS)]
    columns = slice(first, first + min(int(content.get("columns") or MAX_COLUMNS), MAX_COLUMNS))
    return {
        "found": True,
        "type": type_name(value),
        "shape": table.shape,
        "total": len(rows),
        "start": start,
        "first_column": first,
        "columns": table.width,
        "names": [{"name": name[:MAX_TEXT], "dtype": dtype} for name, dtype in table.names(columns)],
        "labels": table.labels(shown),
        "cells": [[_text(cell) for cell in row] for row in table.page(shown, columns)] if len(shown) else [],
    }


def _table(value: Any, place: Sequence[int]) -> Any:
    cls = type(value)  # a subclass, such as a DTensor, may do anything when it is indexed
    pandas, polars, numpy, torch = (sys.modules.get(name) for name in ("pandas", "polars", "numpy", "torch"))
    if pandas and cls is pandas.DataFrame:
        return _Frame(value)
    if pandas and cls is pandas.Series:
        return _Frame(value.to_frame())
    if polars and cls is polars.DataFrame:
        return _Polars(value)
    if polars and cls is polars.Series:
        return _Polars(value.to_frame())
    if numpy and cls is numpy.ndarray:
        return _Array(value, place)
    if torch and cls in (torch.Tensor, torch.nn.Parameter):
        if value.layout is not torch.strided or value.is_meta:
            raise NotShown("a tensor that is sparse, or has no data, is not shown as a table")
        if value.device.type == "cuda" and _gpu_is_busy(value.device):
            raise NotShown("the GPU is busy")
        return _Array(value.detach(), place)
    raise NotShown(f"a {type_name(value)} is not shown as a table")


def _column(table: Any, index: Any) -> int:
    if not isinstance(index, int) or not 0 <= index < table.width:
        raise NotShown("there is no such column any more")
    return index


def _condition(text: str) -> Callable[[Any], bool]:
    """Return a condition: a comparison such as `>= 3`, or a text that a cell contains, in any case."""
    text = text.strip()
    for sign, compare in _COMPARED.items():
        if text.startswith(sign):
            return _comparison(compare, text[len(sign) :].strip())
    wanted = text.casefold()
    return lambda value: wanted in str(value).casefold()


def _comparison(compare: Callable[[Any, Any], Any], text: str) -> Callable[[Any], bool]:
    try:
        number: float | None = float(text)
    except ValueError:
        number = None

    def passes(value: Any) -> bool:
        if number is not None and isinstance(value, (int, float)):
            return bool(compare(value, number))
        return not _missing(value) and bool(compare(str(value), text))

    return passes


def _missing(value: Any) -> bool:
    return (
        value is None or (isinstance(value, float) and value != value) or type(value).__name__ in ("NAType", "NaTType")
    )


def _sorted(rows: Sequence[int], column: list[Any], descending: bool) -> list[int]:
    """Return rows by their values in a column; those without a value are the last."""
    there = [row for row in rows if not _missing(column[row])]
    try:
        there.sort(key=column.__getitem__, reverse=descending)
    except TypeError:  # values that cannot be compared with each other
        there.sort(key=lambda row: str(column[row]), reverse=descending)
    return there + [row for row in rows if _missing(column[row])]


def _text(value: Any) -> str:
    text = repr(value) if isinstance(value, float) else str(value)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
