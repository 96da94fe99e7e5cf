"""How wide the screen of whoever reads the output is.

Code learns it as in a terminal: from COLUMNS, which `shutil.get_terminal_size` and most libraries ask first.
"""

from __future__ import annotations

import os
from typing import Any

_ours = ""  # what we have set


def learn(content: dict[str, Any]) -> None:
    """Set COLUMNS to what a message says, unless the user has set it. Any thread may call it."""
    global _ours
    columns = content.get("columns")
    if isinstance(columns, int) and columns > 0 and str(columns) != _ours and os.environ.get("COLUMNS", "") == _ours:
        _ours = str(columns)
        os.environ["COLUMNS"] = _ours


def is_ours(name: bytes, value: bytes | None) -> bool:
    """Whether we have set a variable to this value."""
    return name == b"COLUMNS" and value is not None and os.fsdecode(value) == _ours
