"""Edits of single values in a YAML or JSON text, so that comments and order stay: replace a scalar, add a key beside one.

None is made where the text is meant at another path too (an anchor, an alias, a merge), or where a value cannot be read: what a
placeholder becomes nobody here knows.
"""

import json
import re

from saleops.domain.lint.documents import KeyPath, LintDocument
from saleops.domain.lint.findings import Edit
from saleops.domain.lint.plain_values import whole

_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
"""What ends a line in YAML."""


def lines_of(document: LintDocument) -> list[str]:
    """The lines that places count, without what ends them."""
    return _BREAK.split(document.text)


def line_break(document: LintDocument) -> str:
    """What ends the lines of the file: the first break in it."""
    found = _BREAK.search(document.text)
    return found[0] if found else "\n"


def in_syntax(document: LintDocument, written: str) -> str:
    """A key or value of YAML as ``document`` has to write it: in JSON words are quoted."""
    if not document.json:
        return written
    try:
        json.loads(written)
    except ValueError:
        return json.dumps(written)
    return written


def scalar_span(document: LintDocument, path: KeyPath) -> tuple[int, int, int] | None:
    """(line, column, end column) of the scalar at ``path``; None where it is not written on one line or not there."""
    if path not in document.places or document.places[path] == document.keys.get(path):
        return None
    line, column = document.places[path]
    lines = lines_of(document)
    if not 1 <= line <= len(lines):
        return None
    text = lines[line - 1]
    begin = column - 1
    if not 0 <= begin < len(text):
        return None
    first = text[begin]
    if first in "\"'":
        end = text.find(first, begin + 1)
        while first == "'" and end != -1 and text[end + 1 : end + 2] == "'":
            end = text.find("'", end + 2)
        while first == '"' and end != -1 and text[end - 1] == "\\":
            end = text.find('"', end + 1)
        return None if end == -1 else (line, column, end + 2)
    if first in "|>&*!{[":
        return None
    end = len(text)
    comment = text.find(" #", begin)
    if comment != -1:
        end = comment
    if _in_flow(document, path, lines):
        stops = [at for mark in ",}]" if (at := text.find(mark, begin)) != -1]
        end = min([end, *stops])
    return line, column, begin + len(text[begin:end].rstrip()) + 1


def _in_flow(document: LintDocument, path: KeyPath, lines: list[str]) -> bool:
    """Whether the value stands in a ``{...}`` or ``[...]``: some collection above it begins with one."""
    for length in range(len(path) - 1, -1, -1):
        place = document.places.get(path[:length])
        if place is None:
            continue
        line, column = place
        if 1 <= line <= len(lines) and lines[line - 1][column - 1 : column] in ("{", "["):
            return True
    return False


def replaced(document: LintDocument, path: KeyPath, text: str) -> tuple[Edit, ...]:
    """Write ``text`` where the scalar at ``path`` stands; nothing where that cannot be done safely."""
    if not document.owns(path) or (whole(text) is not None and whole(document.at(*path)) is None):
        return ()
    span = scalar_span(document, path)
    new = in_syntax(document, text)
    return () if span is None else (Edit(span[0], span[1], span[0], span[2], new),)


def added_beside(document: LintDocument, path: KeyPath, key: str, text: str) -> tuple[Edit, ...]:
    """``key: text`` after the scalar at ``path``, in the same mapping."""
    span = scalar_span(document, path) if document.owns(path) else None
    if span is None:
        return ()
    line, _, end = span
    entry = f"{in_syntax(document, key)}: {in_syntax(document, text)}"
    lines = lines_of(document)
    if _in_flow(document, path, lines):
        return (Edit(line, end, line, end, f", {entry}"),)
    place = document.keys.get(path)
    if place is None or place[0] != line:
        return ()
    after = len(lines[line - 1]) + 1  # behind a comment on the same line
    indent = " " * (place[1] - 1)
    return (Edit(line, after, line, after, f"{line_break(document)}{indent}{entry}"),)
