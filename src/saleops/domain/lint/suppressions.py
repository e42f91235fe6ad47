"""Findings that somebody has decided to live with: a comment beside the line, or an entry for files and rules.

    # saleops: ignore ALB002 until 2026-12-31 reason: the old class goes with the next release
    kubernetes.io/ingress.class: alb

A comment covers its own line; alone on a line it covers the next one that says something (and the one below that, where the
next one only opens a block). Each names its rules, a day it ends on and a reason. In Lua the comment begins with ``--``.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

_COMMENT = re.compile(r"(?:#|--|//)\s*saleops:\s*ignore\b(?P<rest>[^\n]*)")
_ID = re.compile(r"[A-Z]{2,6}[0-9]{3}[a-z]?")
_REST = re.compile(
    r"^(?P<ids>.*?)(?:\buntil\b\s*(?P<until>\S*)\s*)?(?:\breason\b\s*:?\s*(?P<reason>.*))?$"
)

Span = tuple[tuple[int, int], tuple[int, int]]
"""Line and column of the beginning, and of the end, which is outside."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """``lines`` are the covered ones of ``file`` for a comment; None covers all files that match ``glob``."""

    ids: tuple[str, ...]
    until: date | None
    reason: str
    file: str  # where it is written
    line: int
    column: int
    lines: frozenset[int] | None = None
    glob: str = ""
    wrong: str = ""  # what keeps it from being one: no reason, no day, no rule

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    def covers(self, id: str, file: str, line: int) -> bool:
        """Whether a finding of rule ``id`` at ``file:line`` is meant."""
        if self.wrong or id not in self.ids:
            return False
        if self.lines is not None:
            return file == self.file and line in self.lines
        return matches(self.glob, file)


def comments(file: str, text: str, within: Sequence[Span] = ()) -> Iterator[Suppression]:
    """The suppressions that are written into ``text``, but for those that are ``within`` a value: they are data."""
    if "saleops:" not in text:
        return
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        found = _COMMENT.search(line)
        if found is None:
            continue
        at = (number, found.start() + 1)
        if any(begin <= at < end for begin, end in within):
            continue
        alone = not line[: found.start()].strip()
        covered = _below(lines, number) if alone else frozenset({number})
        yield written(found["rest"], file, number, found.start() + 1, covered)


def _below(lines: list[str], number: int) -> frozenset[int]:
    """The next line after ``number`` that says something, and the one below where that one opens a block."""
    covered: set[int] = set()
    for below in range(number + 1, len(lines) + 1):
        words = lines[below - 1].strip()
        if not words or words.startswith(("#", "--", "//")):
            if words.startswith("---"):
                break
            continue
        covered.add(below)
        if not words.endswith((":", "{", "[", "-")) or len(covered) > 1:
            break
    return frozenset(covered)


def written(
    rest: str, file: str, line: int, column: int, lines: frozenset[int] | None
) -> Suppression:
    """What stands after ``ignore``."""
    parts = _REST.match(rest.strip().removesuffix("*/").strip())
    named, day, reason = (parts["ids"], parts["until"], parts["reason"]) if parts else ("", "", "")
    ids = tuple(_ID.findall(named))
    until = _day(day or "")
    return Suppression(
        ids,
        until,
        (reason or "").strip(),
        file,
        line,
        column,
        lines,
        wrong=_wrong(ids, until, day or "", (reason or "").strip()),
    )


def entry(
    id: str, glob: str, reason: str, expires: str, file: str, line: int, column: int
) -> Suppression:
    """An entry of the lint file."""
    until = _day(expires)
    wrong = _wrong((id,), until, expires, reason)
    return Suppression((id,), until, reason, file, line, column, None, glob, wrong)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _wrong(ids: tuple[str, ...], until: date | None, day: str, reason: str) -> str:
    missing = []
    if not ids:
        missing.append("names no rule")
    if until is None:
        missing.append(f"ends on {day!r}, which is no day" if day else "has no day it ends on")
    if not reason:
        missing.append("has no reason")
    return " and ".join(missing)


def matches(glob: str, file: str) -> bool:
    """``**`` stands for any folders, ``*`` for anything but a slash; a glob without a slash is held to the file's name."""
    file = file.replace("\\", "/").removeprefix("./")
    if "/" not in glob:
        file = file.rpartition("/")[2]
    parts = re.split(r"(\*\*/?|\*|\?)", glob.removeprefix("./"))
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.fullmatch("".join(known.get(one, re.escape(one)) for one in parts), file) is not None
