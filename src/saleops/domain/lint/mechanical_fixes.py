"""Edits that change one line of YAML or JSON and nothing else: comments, order and indentation stay.

Each returns () where the text is not laid out so that a line can be changed safely, and the finding then has no edit.
"""

from saleops.domain.lint.documents import KeyPath, LintDocument
from saleops.domain.lint.findings import Edit
from saleops.domain.lint.scalars import in_syntax, line_break, lines_of


def insert_key(document: LintDocument, parent: KeyPath, key: str, value: str) -> tuple[Edit, ...]:
    """``key: value`` as the first line of the mapping at ``parent``."""
    mapping = document.at(*parent)
    if not isinstance(mapping, dict) or not mapping or key in mapping:
        return ()
    if not document.owns(parent):
        return ()  # it would be inserted wherever the mapping is repeated
    starts = [
        at
        for child in mapping
        if isinstance(child, str)
        and (*parent, child) not in document.shared
        and (at := document.keys.get((*parent, child)))
    ]
    inherited = sum((*parent, child) in document.shared for child in mapping)
    if not starts or len(starts) + inherited != len(mapping):
        return ()
    line, column = min(starts)
    before = _line(document, line)[: column - 1]
    entry = f"{in_syntax(document, key)}: {in_syntax(document, value)}"
    if before.strip(" \t") not in ("", "-"):
        if not before.rstrip(" \t").endswith("{"):
            return ()
        return (Edit(line, column, line, column, f"{entry}, "),)
    if "\t" in before and not document.json:
        return ()
    if document.json:
        entry += ","
    indent = before.replace("-", " ")
    return (Edit(line, column, line, column, f"{entry}{line_break(document)}{indent}"),)


def delete_key(document: LintDocument, path: KeyPath) -> tuple[Edit, ...]:
    """Take the whole line of a key whose value is one word on that line; its parent's line too where nothing else is in it."""
    if document.json or not document.owns(path):
        return ()  # a line of JSON has a comma before it or behind it
    line = _own_line(document, path)
    value = document.at(*path)
    if line is None or not isinstance(value, str) or document.places.get(path, (0, 0))[0] != line:
        return ()
    body = _line(document, line)
    if not body.split(" #")[0].rstrip().rstrip("\"'").endswith(value.strip()) or not value.strip():
        return ()
    edits = [Edit(line, 1, line + 1, 1, "")]
    parent = document.at(*path[:-1])
    if isinstance(parent, dict) and len(parent) == 1:
        above = _own_line(document, path[:-1])
        if above is None or above != line - 1:
            return ()
        edits.insert(0, Edit(above, 1, above + 1, 1, ""))
    return tuple(edits)


def _own_line(document: LintDocument, path: KeyPath) -> int | None:
    """The line of a key that stands alone on it."""
    at = document.keys.get(path)
    if at is None or _line(document, at[0])[: at[1] - 1].strip(" "):
        return None
    return at[0]


def _line(document: LintDocument, line: int) -> str:
    lines = lines_of(document)
    return lines[line - 1] if 0 < line <= len(lines) else ""
