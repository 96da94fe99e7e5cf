"""The report that faulthandler writes of a process that a signal kills, made readable: the user's line comes first.

faulthandler writes the stacks of all threads, newest first, and stops none of them. If the struck thread has released
the GIL, another one may run meanwhile, and change its stack while that is read. faulthandler may then be struck itself,
and the report ends before it comes to the struck thread. That is rare, and such a report says so; `first_signal` tells
what struck first.

Python offers no way to have the struck thread written first and the others after it: faulthandler allows one handler
for a fatal signal, and what comes after that handler must be C. Nor is `all_threads=False` a way out: when a native
thread is struck, such as NCCL's watchdog, only the other threads show where the user's code was.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig

_FRAME = re.compile(r'^ +File "(?P<file>.*)", line (?P<line>\d+|\?\?\?) in (?P<name>.*)$')
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})|\\u([0-9a-f]{4})|\\U([0-9a-f]{8})")
_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_INSTALLED = re.compile(r"[/\\](?:site|dist)-packages[/\\]")
_BOOTSTRAP = f"{os.sep}threading.py"
_SHELL = re.compile(r"[/\\]IPython[/\\]core[/\\]")
_MAX = 1 << 20  # bytes that are read of a report
_HEAD = "Fatal Python error: "
_SIGNALS = {
    "Segmentation fault": "SIGSEGV",
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
    "Illegal instruction": "SIGILL",
    "Floating point exception": "SIGFPE",
    "Floating-point exception": "SIGFPE",
}
CUT = "(cut short: faulthandler crashed while it read the stack of another thread, which was running)"


def read(fd: int) -> str:
    """Return the readable form of the report in a file; "" if there is none."""
    text = _text(fd)
    return readable(_ESCAPE.sub(_character, text)) if text.strip() else ""


def first_signal(fd: int) -> str:
    """Return the name of the signal that struck first, if faulthandler was struck afterwards; otherwise ""."""
    _, *heads = _text(fd).split(_HEAD)
    return _SIGNALS.get(heads[0].partition("\n")[0], "") if len(heads) > 1 else ""


def _text(fd: int) -> str:
    return os.pread(fd, _MAX, 0).decode("utf-8", "replace")


def _character(escape: re.Match[str]) -> str:
    """Return the character that faulthandler has escaped. It escapes all that are not ASCII."""
    code = int(escape[1] or escape[2] or escape[3], 16)
    # A surrogate stands for a byte of a file name that is not UTF-8, and stays escaped.
    return escape[0] if 0xD800 <= code <= 0xDFFF or code > sys.maxunicode else chr(code)


def readable(report: str) -> str:
    """Return a report without our threads and frames; its first line names the user's line that matters."""
    report, cut = _whole(report)
    blocks = [block.split("\n") for block in report.strip("\n").split("\n\n")]
    kept: list[list[str]] = []
    threads = frames = 0
    where = ""
    for block in blocks:
        if not block[0].endswith("(most recent call first):") or not all(_FRAME.match(line) for line in block[1:]):
            kept.append(block)  # no stack of Python's: the first line, modules, native stacks
            continue
        shown = block[: 1 + _ends(block[1:])]
        if len(shown) == 1 and len(block) > 1:
            threads += 1
            continue
        frames += len(block) - len(shown)
        if block[0].startswith("Current thread"):
            where = _place(shown[1:])
            kept.insert(1, shown)
        else:
            kept.append(shown)
    if where:
        kept[0][0] += f", at {where}"
    left_out = [f"{n} {what}{'s' if n > 1 else ''}" for n, what in ((threads, "thread"), (frames, "frame")) if n]
    if left_out:
        kept.append([f"({' and '.join(left_out)} of dipls and IPython left out)"])
    if cut:
        kept.append([CUT])
    return "\n\n".join("\n".join(block) for block in kept) + "\n"


def _whole(report: str) -> tuple[str, bool]:
    """Return a report without the stack of a running thread in which it breaks off, and whether there was one."""
    again = report.find(_HEAD, len(_HEAD))
    text = report if again < 0 else report[:again]
    before, _, last = text.rpartition("\n\n")
    head, *frames = last.rstrip("\n").split("\n")
    cut = head.startswith("Thread ") and (again >= 0 or not all(map(_FRAME.match, frames)))
    return (before, True) if cut else (text, False)


def _ends(lines: list[str]) -> int:
    """Return how many frames of a stack to show: the user's and what they called, but not ours, which come first."""
    frames = [match.group("file", "name") for match in map(_FRAME.match, lines) if match]
    for index in reversed(range(len(frames))):
        file, name = frames[index]
        if name == "run_code" and _ours(file):  # a cell runs
            return _above(frames[:index])
    began = len(frames)
    while began and frames[began - 1][0].endswith(_BOOTSTRAP):
        began -= 1
    return _above(frames[:began]) if began and _ours(frames[began - 1][0]) else len(frames)


def _above(frames: list[tuple[str, str]]) -> int:
    while frames and (_ours(frames[-1][0]) or _SHELL.search(frames[-1][0])):
        frames = frames[:-1]
    return len(frames)


def _ours(file: str) -> bool:
    return file.startswith((_HERE + os.sep, "<frozen runpy"))


def _place(lines: list[str]) -> str:
    """Name the innermost frame that is in a file of the user's, or else the innermost one."""
    library = sysconfig.get_path("stdlib")
    found = [match for match in map(_FRAME.match, lines) if match and not _ours(match["file"])]
    mine = (
        match
        for match in found
        if not (match["file"].startswith((library + os.sep, "<frozen ")) or _INSTALLED.search(match["file"]))
    )
    match = next(mine, found[0] if found else None)
    return f"{match['file']}, line {match['line']}, in {match['name']}" if match else ""
