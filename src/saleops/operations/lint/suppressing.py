"""Suppressions of a run: found before the rules run, applied to what they say, and complained about where they are wrong."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from pathlib import Path

from saleops.config.yaml_stream import scalar_spans
from saleops.domain.lint.findings import Finding, Severity
from saleops.domain.lint.fleet import Trouble
from saleops.domain.lint.suppressions import Span, Suppression, comments, entry
from saleops.operations.lint.parsed import trouble
from saleops.operations.lint.parsing import syntax_of
from saleops.operations.lint.reading import Texts


@dataclass(frozen=True, slots=True)
class Suppressed:
    """A finding that somebody has decided to live with, and the reason given."""

    finding: Finding
    reason: str
    until: date
    by: str  # file:line of the comment or of the entry
    external: bool  # from the lint file, not from a comment


@dataclass(frozen=True, slots=True)
class LintSettings:
    """What the lint file says."""

    severities: dict[str, Severity]
    off: frozenset[str]
    suppressions: tuple[Suppression, ...]


def read_settings(path: Path) -> LintSettings:
    """Raises ConfigError for whatever is wrong with the lint file ``path``."""
    from saleops.config.lint_file import load_lint_file

    file, document = load_lint_file(path)
    suppressions = []
    for number, one in enumerate(file.ignore):
        line, column = document.places[("ignore", number)]
        suppressions.append(
            entry(one.id, one.path, one.reason, one.expires, str(path), line, column)
        )
    severities: dict[str, Severity] = {id: said for id, said in file.rules.items() if said != "off"}
    off = frozenset(id for id, said in file.rules.items() if said == "off")
    return LintSettings(severities, off, tuple(suppressions))


def suppressions_of(texts: Texts, settings: LintSettings | None) -> list[Suppression]:
    """All of a run: the comments of its files and the entries of its lint file."""
    found = [
        one
        for name, text in texts.texts.items()
        if "saleops:" in text
        for one in comments(name, text, _values(name, text))
    ]
    return [*found, *(settings.suppressions if settings else ())]


def _values(name: str, text: str) -> list[Span]:
    return scalar_spans(text) if syntax_of(name, text) in ("yaml", "json") else []


def complaints(
    suppressions: Iterable[Suppression], known: Collection[str], today: date
) -> list[Trouble]:
    """What is wrong with ``suppressions`` by themselves."""
    found: list[Trouble] = []
    for one in suppressions:
        place = (one.file, one.line, one.column)
        if one.wrong:
            found.append(trouble("SUP001", *place, f"The suppression {one.wrong}"))
            continue
        for id in one.ids:
            if id not in known:
                near = get_close_matches(id, known, 1)
                meant = f" (did you mean {near[0]}?)" if near else ""
                found.append(trouble("SUP004", *place, f"There is no rule {id}{meant}"))
        if one.until is not None and one.until < today:
            days = (today - one.until).days
            ago = "1 day ago" if days == 1 else f"{days:,} days ago"
            message = f"The suppression of {', '.join(one.ids)} ended on {one.until}, {ago}"
            found.append(trouble("SUP002", *place, message))
    return found


def apply(
    findings: Iterable[Finding], suppressions: Iterable[Suppression], today: date
) -> tuple[list[Finding], list[Suppressed], set[Suppression]]:
    """What is left of ``findings``, what is suppressed and by what, and the suppressions that cover something."""
    valid = [one for one in suppressions if not one.wrong and one.until is not None]
    kept: list[Finding] = []
    hidden: list[Suppressed] = []
    used: set[Suppression] = set()
    for finding in findings:
        covering = [one for one in valid if one.covers(finding.id, finding.file, finding.line)]
        used.update(covering)
        active = [one for one in covering if one.until is not None and one.until >= today]
        if active and active[0].until is not None and not finding.id.startswith("SUP"):
            by = active[0]
            hidden.append(
                Suppressed(finding, by.reason, active[0].until, by.where, by.lines is None)
            )
        else:
            kept.append(finding)
    return kept, hidden, used


def unused(
    suppressions: Iterable[Suppression], used: Collection[Suppression], ran: Collection[str]
) -> list[Trouble]:
    """Those that cover nothing, though every rule they name has run."""
    return [
        trouble(
            "SUP003", one.file, one.line, one.column, f"Nothing here breaks {', '.join(one.ids)}"
        )
        for one in suppressions
        if not one.wrong and one not in used and all(id in ran for id in one.ids)
    ]
