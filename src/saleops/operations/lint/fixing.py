"""Mends what can be mended by itself: findings that come with edits.

Edits change single places of a text, so comments, order and layout stay. A finding's edits are made together or not at all;
where two findings want the same place the first one gets it and the next round the other, until nothing is left to do. A file
that could not be read any more is left alone and named; the others go on. Files are replaced whole, and only if they are as they
were read.
"""

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import unified_diff
from pathlib import Path

from saleops.domain.lint.findings import Edit, Finding
from saleops.errors import ConfigError, Refused
from saleops.operations.lint.parsed import Parsed
from saleops.operations.lint.parsing import parse_text, syntax_of
from saleops.operations.lint.reading import Documents, Texts

ROUNDS_MAX = 20

_YAML_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_BREAK = re.compile("\n")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")


@dataclass(frozen=True, slots=True)
class FileFix:
    """A file before and after."""

    file: str
    before: str
    after: str
    ids: tuple[str, ...]  # of the findings that are mended, one each

    @property
    def diff(self) -> str:
        """As `patch` takes it."""
        lines = unified_diff(
            _LINE.findall(self.before),
            _LINE.findall(self.after),
            f"a/{self.file}",
            f"b/{self.file}",
        )
        shown = (
            line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
            for line in lines
        )
        return "".join(shown)


@dataclass(frozen=True, slots=True)
class FixPlan:
    """What ``--fix`` would write, and the files whose edits broke them, which stay as they are."""

    fixes: tuple[FileFix, ...] = ()
    left_alone: tuple[str, ...] = ()


def plan_fixes(texts: Texts, findings_of: Callable[[Texts], Iterable[Finding]]) -> FixPlan:
    """What ``--fix`` would write. ``findings_of`` lints texts: once before and once after each round."""
    now = dict(texts.texts)
    mended: dict[str, list[str]] = {}
    broken: list[str] = []
    findings = list(findings_of(texts))
    for _ in range(ROUNDS_MAX):
        changed = False
        for file, wanted in _by_file(findings).items():
            if file not in now or file in broken:
                continue
            text, ids = edited(now[file], wanted, yaml=syntax_of(file, now[file]) != "lua")
            if text == now[file]:
                continue
            if breaks(file, parse_text(file, now[file]), text):
                broken.append(file)
                now[file] = texts.texts[file]
                continue
            now[file], changed = text, True
            mended.setdefault(file, []).extend(ids)
        if not changed:
            break
        findings = list(findings_of(Texts(dict(now), list(texts.troubles))))
    fixes = tuple(
        FileFix(file, texts.texts[file], text, tuple(mended.get(file, ())))
        for file, text in now.items()
        if text != texts.texts[file]
    )
    return FixPlan(fixes, tuple(broken))


def breaks(file: str, before: Parsed, after: str) -> bool:
    """Whether ``after`` can be read less well than ``before``: more is wrong with it, or it holds other documents."""
    now = parse_text(file, after)
    return len(now.troubles) > len(before.troubles) or [one.format for one in now.documents] != [
        one.format for one in before.documents
    ]


def mendable(texts: Texts, parsed: Documents, findings: Iterable[Finding]) -> list[Finding]:
    """``findings``, without the edits that cannot be made: those that would break their file, or whose place is not there."""
    kept = list(findings)
    by_file = _by_file(kept)
    before = {file: Parsed() for file in by_file}
    for document in parsed.documents:
        if document.file in before:
            before[document.file].documents.append(document)
    for one in parsed.troubles:
        if one.document.file in before:
            before[one.document.file].troubles.append(one)
    for file, wanted in by_file.items():
        text = texts.texts.get(file, "")
        yaml = syntax_of(file, text) != "lua"
        after, ids = edited(text, wanted, yaml=yaml)
        if len(ids) == len(wanted) and after != text and not breaks(file, before[file], after):
            continue
        for finding in wanted:
            after, ids = edited(text, [finding], yaml=yaml)
            if not ids or after == text or breaks(file, before[file], after):
                kept[kept.index(finding)] = replace(finding, edits=())
    return kept


def _by_file(findings: Iterable[Finding]) -> Mapping[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for one in findings:
        if one.edits:
            found.setdefault(one.file, []).append(one)
    return found


def edited(text: str, findings: Iterable[Finding], *, yaml: bool = True) -> tuple[str, list[str]]:
    """``text`` with the edits of ``findings`` that do not overlap, and the ids of those that were mended."""
    starts = [0, *(one.end() for one in (_YAML_BREAK if yaml else _BREAK).finditer(text))]
    taken: list[tuple[int, int, str]] = []
    ids: list[str] = []
    for finding in findings:
        spans = [_span(one, starts, len(text)) for one in finding.edits]
        wanted = [
            (span[0], span[1], one.text)
            for span, one in zip(spans, finding.edits, strict=True)
            if span is not None
        ]
        if len(wanted) < len(spans):
            continue  # a place that is not there
        if all(one in taken for one in wanted):
            ids.append(finding.id)  # another finding mends it in the same way
        elif not any(_overlap(one, other) for one in wanted for other in taken):
            taken += wanted
            ids.append(finding.id)
    for start, end, new in sorted(taken, reverse=True):
        text = text[:start] + new + text[end:]
    return text, ids


def _span(edit: Edit, starts: list[int], length: int) -> tuple[int, int] | None:
    places = []
    for line, column in ((edit.line, edit.column), (edit.end_line, edit.end_column)):
        if line == len(starts) + 1 and column == 1:
            places.append(length)  # behind a last line without a line break
            continue
        if not 1 <= line <= len(starts) or column < 1:
            return None
        end = starts[line] if line < len(starts) else length
        places.append(min(starts[line - 1] + column - 1, end))
    return (places[0], places[1]) if places[0] <= places[1] else None


def _overlap(one: tuple[int, int, str], other: tuple[int, int, str]) -> bool:
    """Touching is no overlap, but two insertions at one place are: nobody knows their order."""
    if one[0] == one[1] and other[0] == other[1]:
        return one[0] == other[0]
    return one[0] < other[1] and other[0] < one[1]


def apply_fixes(fixes: Iterable[FileFix]) -> None:
    """Writes every file of ``fixes``, each whole or not at all. Raises Refused where one has changed since it was read."""
    for fix in fixes:
        path = Path(fix.file).resolve()  # a symbolic link stays one
        try:
            data = path.read_bytes()
            mark = b"\xef\xbb\xbf" if data.startswith(b"\xef\xbb\xbf") else b""
            if data.removeprefix(mark).decode("utf-8", "replace") != fix.before:
                raise Refused(
                    f"{fix.file} has changed since it was read; it was not changed",
                    hint="Run the same command again.",
                )
            _replace(path, mark + fix.after.encode("utf-8"))
        except OSError as error:
            raise ConfigError(
                f"cannot write {fix.file}: {error.strerror or error}",
                hint="Name files that you may write.",
            ) from error


def _replace(path: Path, data: bytes) -> None:
    mode = path.stat().st_mode & 0o7777
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
