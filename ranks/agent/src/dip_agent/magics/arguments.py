"""Arguments of magics: what a magic takes, its help, and errors that guess what was meant."""

from __future__ import annotations

import re
import sys
import textwrap
import unicodedata
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Callable, NamedTuple

from IPython.core.error import UsageError

_WIDTH = 100  # columns of a help text
_WORD = re.compile(r"""(?:'[^']*'|"[^"]*"|[^\s'"])+""")
_QUOTED = re.compile(r"""'([^']*)'|"([^"]*)\"""")
_GPUS = re.compile(r"all|\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*")
_ON_HOSTS = re.compile(r"host:|each:", re.IGNORECASE)
_RANKS = re.compile(r"all|\d+(?:-\d+)?|-\d+|-?\d*:(?:-?\d*)(?::\d*)?|host:[^\s,:]+|each:-?\d+", re.IGNORECASE)


class Word(NamedTuple):
    """A word of a magic's line."""

    raw: str  # as written
    text: str  # without quotes


@dataclass(frozen=True)
class Flag:
    """A flag of a magic.

    `read` turns the text after the flag into the value. It raises ValueError, which says what is expected.
    """

    names: tuple[str, ...]  # the long one last, which gives the value its name
    help: str
    value: str = ""  # what the help calls its value; "" if it takes none
    read: Callable[[str], Any] = str
    default: Any = None
    ranks: bool = False  # it also takes the words after the first that look like ranks
    otherwise: Any = None  # the value if none is written; None if one must be written
    const: Any = True  # the value of a flag that takes none
    dest: str = ""  # the value's name, if not the flag's

    @property
    def key(self) -> str:
        """The name of the value."""
        return self.dest or self.names[-1].lstrip("-").replace("-", "_")

    @property
    def usage(self) -> str:
        value = f" [{self.value}]" if self.otherwise is not None else f" {self.value}"
        return f"[{self.names[0]}{value if self.value else ''}]"

    @property
    def spelling(self) -> str:
        value = f" [{self.value}]" if self.otherwise is not None else f" {self.value}"
        return ", ".join(self.names) + (value if self.value else "")


_HELP = Flag(("-h", "--help"), "show this help")


@dataclass(frozen=True)
class Parser:
    """Parses a magic's line, and knows its help."""

    spelling: str  # "%dipush"
    purpose: str  # one sentence
    flags: tuple[Flag, ...] = ()
    words: str = ""  # the usage's name for words that are not flags; "" if there are none
    words_help: str = ""
    raw: bool = False  # the line is not parsed here
    notes: str = ""
    examples: tuple[str, ...] = ()
    hidden: tuple[Flag, ...] = field(default=())  # accepted, but without effect, and the user is told so

    @property
    def usage(self) -> str:
        """The usage text, `usage: …`, in short lines."""
        parts = [self.spelling, *(flag.usage for flag in self.flags), *self.words.split()]
        unbroken = " ".join(part.replace(" ", "\0") for part in parts)
        lines = textwrap.fill(
            f"usage: {unbroken}", _WIDTH, subsequent_indent=" " * len("usage: "), break_on_hyphens=False
        )
        return lines.replace("\0", " ")

    @property
    def help(self) -> str:
        """The text of `%NAME?`."""
        rows = [(self.words, self.words_help)] if self.words_help else []
        rows += [(flag.spelling, flag.help) for flag in (*self.flags, _HELP)]
        parts = [
            f"{self.spelling}: {self.purpose}",
            self.usage,
            _table(rows),
            textwrap.fill(self.notes, _WIDTH),
            "\n".join(
                ["example:" if len(self.examples) == 1 else "examples:", *(f"  {line}" for line in self.examples)]
            ),
        ]
        return "\n\n".join(filter(None, parts))

    def fail(self, message: str) -> UsageError:
        """Return the error for a wrong line."""
        return UsageError(f"{message}\n{self.usage}\n{self.spelling}? tells more.")

    def misuse(self, message: str) -> UsageError:
        """Print the help and return the error for a line that lacks something essential."""
        print(self.help)
        return UsageError(message)

    def split(self, line: str) -> list[Word]:
        """Split at blanks outside of quotes. A '#' that begins a word begins a comment. Raises UsageError."""
        words, at = [], 0
        line = line.replace("\\\n", " ")
        while (rest := line[at:].lstrip()) and not rest.startswith("#"):
            at = len(line) - len(rest)
            match = _WORD.match(line, at)
            if match is None or line[match.end() : match.end() + 1] in ("'", '"'):
                raise self.fail(f"{self.spelling}: the quote in {rest!r} is never closed.")
            at = match.end()
            words.append(_word(match[0]))
        return words

    def parse(self, line: str) -> SimpleNamespace | None:
        """Return the flags' values by name, and the other words as `words`. None if help is asked for.

        Raises UsageError.
        """
        found = self._defaults()
        words = deque(self.split(line))
        while words:
            word = words.popleft()
            if len(word.raw) > 1 and word.raw[0] == "-":
                flag, value = self._flag(word)
                if flag is _HELP:
                    return None
                self._take(found, flag, value, words)
            elif self.words:
                found.words.append(word.text)
            else:
                raise self.fail(f"{self.spelling} takes flags only, not {word.raw}.")
        return found

    def parse_front(self, line: str) -> tuple[SimpleNamespace, str] | None:
        """Return the values of the flags that stand before code, and the code. None if help is asked for.

        Only words that begin with "--" are flags, since a single "-" may begin code. Raises UsageError.
        """
        found = self._defaults()
        while (line := line.lstrip()).startswith("--"):
            word, line = _first_word(line)
            flag, value = self._flag(word)
            if flag is _HELP:
                return None
            words = deque()
            if flag.value and value is None and (rest := line.lstrip()):
                word, line = _first_word(rest)
                words.append(word)
            self._take(found, flag, value, words)
        return found, line

    def _defaults(self) -> SimpleNamespace:
        return SimpleNamespace(words=[], **{flag.key: flag.default for flag in self.flags})

    def _take(self, found: SimpleNamespace, flag: Flag, value: str | None, words: deque[Word]) -> None:
        value = self._value(flag, value, words)
        if flag in self.flags:
            setattr(found, flag.key, value)
        else:
            effect = "has no effect: output is shown in its own order, as it comes"
            print(f"{self.spelling}: {flag.names[-1]} {effect}.", file=sys.stderr)

    def _flag(self, word: Word) -> tuple[Flag, str | None]:
        """Return the flag that a word is, and its value if the word has that, too: `--ranks=0` or `-r0`."""
        flags = {name: flag for flag in (*self.flags, *self.hidden, _HELP) for name in flag.names}
        name, equals, value = word.text.partition("=")
        if name in flags:
            return flags[name], value if equals else None
        short = flags.get(word.text[:2])
        if short is not None and short.value and word.text[1] != "-":
            return short, word.text[2:]
        raise self.fail(f"{self.spelling} has no flag {name}{_hint(name, list(flags))}")

    def _value(self, flag: Flag, text: str | None, rest: deque[Word]) -> Any:
        if not flag.value:
            if text is not None:
                raise self.fail(f"{self.spelling}: {flag.names[-1]} takes no value.")
            return flag.const
        if text is None:
            text = self._next(flag, rest)
        if text is None:
            return flag.otherwise
        try:
            return flag.read(text)
        except ValueError as err:
            hint = f"; {self.spelling} takes its line as it is" if text.startswith(("{", "$")) else ""
            raise self.fail(f"{self.spelling}: {flag.names[-1]} {text}: {err}{hint}.") from None

    def _next(self, flag: Flag, rest: deque[Word]) -> str | None:
        """Take the value of a flag from the words after it. None if it is optional and left out."""
        if flag.otherwise is not None:
            return rest.popleft().text if rest and _is_truth(rest[0].text) else None
        if not rest or (rest[0].raw[0] == "-" and not rest[0].raw[1:2].isdigit()):
            raise self.fail(f"{self.spelling}: {flag.names[-1]} needs a value, {flag.value}.")
        text = rest.popleft().text
        while flag.ranks and rest and (_goes_on(rest[0].text) or text.endswith(",")):
            text += " " + rest.popleft().text
        return text


def _goes_on(word: str) -> bool:
    """Whether a word goes on with a list of ranks."""
    return word[0:1].isdigit() or word == "," or _ON_HOSTS.match(word) is not None


def _word(raw: str) -> Word:
    return Word(raw, _QUOTED.sub(lambda quoted: quoted[1] or quoted[2] or "", raw))


def _first_word(line: str) -> tuple[Word, str]:
    """Return the word that a line begins with, and the rest."""
    match = _WORD.match(line)
    end = match.end() if match is not None else len(line)  # a quote that is never closed
    return _word(line[:end]), line[end:]


def gpus(text: str) -> str:
    """Return a list of GPUs, "all" or such as "0,2-3", without blanks. Raises ValueError."""
    joined = ",".join(part for part in re.split(r"[\s,]+", text.strip().lower()) if part)
    if not _GPUS.fullmatch(joined):
        raise ValueError("write all, or numbers such as 0,2-3")
    return joined


def ranks(text: str) -> str:
    """Return a list of ranks, "all" or such as "0,2-3", without blanks.

    It may also have ipyparallel's targets: -1, 1:3, ::2, [0, -1], and ranks by their hosts: host:NAME, each:0.
    Raises ValueError.
    """
    inner = text.strip()
    if inner.startswith("[") and inner.endswith("]"):
        inner = inner[1:-1]
    parts = [_spelled(part) for part in re.split(r"[\s,]+", inner) if part]
    if not parts or not all(map(_RANKS.fullmatch, parts)) or ("all" in parts and len(parts) > 1):
        raise ValueError(
            "write all, numbers such as 0,2-3, -1 for the last one, a slice such as ::2, host:NAME, or each:0"
        )
    return ",".join(parts)


def _spelled(part: str) -> str:
    """Return a part of a list in lower case, but for the name of a host."""
    kind, colon, which = part.partition(":")
    return f"{kind.lower()}{colon}{which}" if _ON_HOSTS.match(part) else part.lower()


def name(text: str) -> str:
    """Return the name of a variable. Raises ValueError."""
    text = unicodedata.normalize("NFKC", text)
    if not text.isidentifier():
        raise ValueError("the name of a variable is needed")
    return text


def count(text: str) -> int:
    """Return a whole number above 0. Raises ValueError."""
    if not text.isdecimal() or int(text) < 1:
        raise ValueError("a whole number above 0 is needed")
    return int(text)


def seconds(text: str) -> float:
    """Return a number of seconds above 0. Raises ValueError."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ValueError("a number of seconds above 0 is needed")
    return number


def seed(text: str) -> int:
    """Return a seed, or -1 for `none`. Raises ValueError."""
    if text.lower() == "none":
        return -1
    if not text.isdecimal() or int(text) >= 1 << 32:
        raise ValueError("a whole number from 0 to 4294967295 is needed, or none")
    return int(text)


def truth(text: str) -> bool:
    """Return a truth value. Raises ValueError."""
    if not _is_truth(text):
        raise ValueError("write True or False")
    return text.lower() in _TRUE


def names(words: list[str], parser: Parser) -> list[str]:
    """Return names of variables, separated by blanks or commas, each once. Raises UsageError."""
    found = [unicodedata.normalize("NFKC", name) for word in words for name in word.split(",") if name]
    for name in found:
        if not name.isidentifier():
            hint = " and no value is put in its place; code has %dipper" if name.startswith(("{", "$")) else ""
            raise parser.fail(f"{parser.spelling}: {name!r} is not the name of a variable{hint}.")
    return list(dict.fromkeys(found))


_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


def _is_truth(text: str) -> bool:
    return text.lower() in _TRUE | _FALSE


def _hint(name: str, known: list[str]) -> str:
    """Return the known flag that may be meant, or all of them."""
    near = nearest(name, known)
    return f"; did you mean {near}?" if near else f"; it has {' '.join(known)}."


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known word that may be meant, "" if none may. The rule is that of the editors' diagnostics."""
    near = [(_edits(name, word), word) for word in known if abs(len(name) - len(word)) <= 2]
    distance, word = min(near, default=(len(name), ""))
    return word if distance <= min(2, len(name) // 2) else ""


def _edits(a: str, b: str) -> int:
    """Count the insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`."""
    rows = [list(range(len(b) + 1))]
    for i, have in enumerate(a, 1):
        row = [i]
        for j, want in enumerate(b, 1):
            row.append(min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (have != want)))
            if i > 1 and j > 1 and (have, a[i - 2]) == (b[j - 2], want):
                row[j] = min(row[j], rows[-2][j - 2] + 1)
        rows.append(row)
    return rows[-1][-1]


def _table(rows: list[tuple[str, str]]) -> str:
    width = max(len(left) for left, _ in rows)
    margin = " " * (width + 4)
    return "\n".join(
        textwrap.fill(right, _WIDTH, initial_indent=f"  {left:{width}}  ", subsequent_indent=margin)
        for left, right in rows
    )
