"""How long tests of random moments run: seconds in `make test`, minutes in `make stress`.

Such a test is called `test_stress_…`, so that `make stress` finds it.
"""

from __future__ import annotations

import os
import random


def rounds(short: int, long: int) -> int:
    """Return `short` in `make test` and `long` under `make stress`, which sets DIPLS_STRESS."""
    return long if os.environ.get("DIPLS_STRESS") else short


def choices() -> random.Random:
    """Return a source of random choices. A failed test shows its seed; DIPLS_STRESS_SEED sets it."""
    seed = int(os.environ.get("DIPLS_STRESS_SEED") or random.SystemRandom().getrandbits(63))
    print(f"DIPLS_STRESS_SEED={seed} makes the same choices again")
    return random.Random(seed)
