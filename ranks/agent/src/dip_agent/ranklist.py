"""Sets of ranks as they are written: "0,2-4", and in sentences "rank 2" or "ranks 0,2-4"."""

from __future__ import annotations

from collections.abc import Iterable


def spans(ranks: Iterable[int]) -> str:
    """Return ascending ranks as "0-2,4"."""
    runs: list[list[int]] = []
    for rank in ranks:
        if runs and runs[-1][1] == rank - 1:
            runs[-1][1] = rank
        else:
            runs.append([rank, rank])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def name(ranks: Iterable[int]) -> str:
    """Return "rank 2" or "ranks 0,2-4"."""
    ordered = sorted(ranks)
    return f"rank{'s' * (len(ordered) != 1)} {spans(ordered)}"
