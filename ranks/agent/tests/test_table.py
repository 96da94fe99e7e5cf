"""Pages of tables and arrays."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dip_agent.lookup.table import MAX_ROWS, NotShown, page


def cells(value: Any, **content: Any) -> list[list[str]]:
    return page(value, content)["cells"]


def test_page_of_a_data_frame() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"name": ["b", "a", "Ä", None], "loss": [0.5, 2.0, float("nan"), 1.5], 3: [1, 2, 3, 4]})
    frame.index = ["w", "x", "y", "z"]
    whole = page(frame, {})
    assert (whole["shape"], whole["total"], whole["columns"]) == ([4, 3], 4, 3)
    assert [column["name"] for column in whole["names"]] == ["name", "loss", "3"]
    assert (whole["labels"], whole["cells"][0]) == (["w", "x", "y", "z"], ["b", "0.5", "1"])
    # Sorted: what has no value is the last, both ways.
    assert page(frame, {"sort": 1})["labels"] == ["w", "z", "x", "y"]
    assert page(frame, {"sort": 1, "descending": True})["labels"] == ["x", "z", "w", "y"]
    assert page(frame, {"sort": 0})["labels"] == ["x", "w", "y", "z"]
    # Filtered: all conditions hold. What has no value passes no comparison with a text.
    assert page(frame, {"filters": [{"column": 1, "text": "> 0.5"}]})["labels"] == ["x", "z"]
    both = [{"column": 2, "text": ">=2"}, {"column": 0, "text": "ä"}]
    assert (page(frame, {"filters": both})["labels"], page(frame, {"filters": both})["total"]) == (["y"], 1)
    assert page(frame, {"filters": [{"column": 0, "text": "!= b"}]})["labels"] == ["x", "y"]
    # A part, in the order as sorted.
    part = page(frame, {"sort": 2, "descending": True, "start": 1, "rows": 2, "first_column": 2, "columns": 1})
    assert (part["labels"], part["cells"], part["names"]) == (["y", "x"], [["3"], ["2"]], [whole["names"][2]])
    assert page(frame["loss"], {})["cells"] == [["0.5"], ["2.0"], ["nan"], ["1.5"]]
    assert page(frame.iloc[:0], {})["cells"] == []


def test_page_of_an_array() -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(24).reshape(2, 3, 4)
    assert cells(array, place=[1], start=2) == [["20", "21", "22", "23"]]
    assert cells(array[0, 0]) == [["0"], ["1"], ["2"], ["3"]]
    assert cells(numpy.array(7)) == [["7"]]
    with pytest.raises(NotShown, match="no entry 2"):
        page(array, {"place": [2]})
    records = numpy.array([(1, "a"), (2, "b")], dtype=[("n", int), ("s", "U1")])
    assert cells(records, sort=0, descending=True) == [["2", "b"], ["1", "a"]]
    big = numpy.zeros((10_000_000, 1), dtype=numpy.int8)
    assert len(cells(big, start=9_999_000, rows=10_000)) == MAX_ROWS
    with pytest.raises(NotShown, match="too many to sort"):
        page(big, {"sort": 0})


def test_page_of_a_tensor() -> None:
    torch = pytest.importorskip("torch")
    weight = torch.nn.Linear(2, 3).weight
    assert page(weight, {})["shape"] == [3, 2]
    half = torch.tensor([[1.5, 2.5]], dtype=torch.bfloat16, requires_grad=True)
    assert (cells(half), page(half, {})["names"][0]["dtype"]) == ([["1.5", "2.5"]], "bfloat16")
    assert cells(torch.tensor(3)) == [["3"]]
    for other in (torch.eye(2).to_sparse(), torch.empty(2, device="meta"), [1, 2]):
        with pytest.raises(NotShown, match="not shown"):
            page(other, {})


def test_page_of_a_wide_array_looks_only_at_its_columns() -> None:
    numpy = pytest.importorskip("numpy")
    wide = numpy.broadcast_to(numpy.int8(1), (500, 1 << 28))  # 128 GiB, if its rows were copied
    shown = page(wide, {"first_column": (1 << 28) - 1})
    assert (len(shown["cells"]), shown["cells"][0], shown["columns"]) == (500, ["1"], 1 << 28)
    assert shown["names"] == [{"name": str((1 << 28) - 1), "dtype": "int8"}]


def test_no_page_of_a_tensor_on_a_busy_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """To copy would wait for the GPU, and nothing can end that. Here is no GPU: a tensor says that it is on one."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: SimpleNamespace(query=lambda: False))
    assert cells(torch.ones(1)) == [["1.0"]]
    monkeypatch.setattr(torch.Tensor, "device", SimpleNamespace(type="cuda"))
    with pytest.raises(NotShown, match="the GPU is busy"):
        page(torch.ones(1), {})
