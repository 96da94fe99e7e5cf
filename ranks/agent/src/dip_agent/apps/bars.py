"""fastprogress draws fastai's bars and tables. Rank 0 shows them as text, the other ranks not at all."""

from __future__ import annotations

from typing import Any

from fastprogress import fastprogress

from .patches import Patches


class _SilentMasterBar(fastprogress.MasterBar):
    """Counts but shows nothing, as fastprogress's ProgressBar does without a display."""

    pcls = fastprogress.ProgressBar

    def __init__(self, gen: Any, total: int | None = None, **_: Any):
        super().__init__(gen, fastprogress.ProgressBar, total)

    def write(self, *_: Any, **__: Any) -> None:
        pass

    def show_imgs(self, *_: Any, **__: Any) -> None:
        pass

    def update_graph(self, *_: Any, **__: Any) -> None:
        pass


def install(patches: Patches, shown: bool) -> None:
    """Replace `master_bar` and `progress_bar` in every module that has them."""
    if shown:
        master_bar, progress_bar = fastprogress.ConsoleMasterBar, fastprogress.ConsoleProgressBar
    else:
        master_bar, progress_bar = _SilentMasterBar, fastprogress.ProgressBar
    patches.rebind("master_bar", fastprogress.master_bar, master_bar)
    patches.rebind("progress_bar", fastprogress.progress_bar, progress_bar)
