"""Sets of ranks as they are written: "0,2-4", and in sentences "rank 2" or "ranks 0,2-4".

The Go package `internal/ranklist` writes them likewise; testdata/ranklist.json has the examples to which both are held.
"""

from __future__ import annotations

from collections.abc import Iterable

_MOST = 16  # pieces of a list in a sentence


def name(ranks: Iterable[int]) -> str:
    """Return "rank 2" or "ranks 0,2-4", or how many they are if that would take more than 16 pieces; "" for none."""
    runs: list[list[int]] = []
    for rank in sorted(set(ranks)):
        if runs and runs[-1][1] == rank - 1:
            runs[-1][1] = rank
        else:
            runs.append([rank, rank])
    count = sum(last - first + 1 for first, last in runs)
    if len(runs) > _MOST:
        return f"{count} ranks"
    pieces = [str(first) if first == last else f"{first}-{last}" for first, last in runs]
    return f"rank{'s' * (count > 1)} {','.join(pieces)}" if pieces else ""
