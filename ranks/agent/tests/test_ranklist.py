"""Lists of ranks are read and named as the Go code and the extension do: testdata/ranklist.json has the examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dip_agent import ranklist
from dip_agent.magics import arguments

EXAMPLES: dict[str, Any] = json.loads((Path(__file__).parents[3] / "testdata" / "ranklist.json").read_text())


@pytest.mark.parametrize("example", EXAMPLES["lists"], ids=lambda example: repr(example["text"]))
def test_lists(example):
    for parse in (arguments.gpus, arguments.ranks):
        parsed = parse(example["text"])
        if example["ranks"] is None:
            assert parsed == example["list"] == "all"
        else:
            spans = [part.split("-") for part in parsed.split(",")]
            ranks = [rank for span in spans for rank in range(int(span[0]), int(span[-1]) + 1)]
            assert ranklist.name(ranks) == ranklist.name(example["ranks"]) == example["name"]


@pytest.mark.parametrize(
    "example", EXAMPLES["from_the_end"] + EXAMPLES["by_host"], ids=lambda example: repr(example["text"])
)
def test_lists_that_only_a_pool_tells(example):
    parsed = arguments.ranks(example["text"])
    assert sorted(parsed.split(",")) == sorted(example["list"].split(","))


@pytest.mark.parametrize("text", EXAMPLES["no_lists"])
def test_what_is_no_list(text):
    with pytest.raises(ValueError, match="write all"):
        arguments.gpus(text)


@pytest.mark.parametrize("text", EXAMPLES["no_ranks"])
def test_what_are_no_ranks(text):
    with pytest.raises(ValueError, match="write all"):
        arguments.ranks(text)


@pytest.mark.parametrize(
    "example", [e for e in EXAMPLES["processes"] if not e["local"]], ids=lambda example: example["name"]
)
def test_names(example):
    assert ranklist.name(example["ranks"]) == example["name"]
