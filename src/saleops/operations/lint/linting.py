"""One lint run, from texts to a report."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from saleops.domain.lint.documents import LintDocument
from saleops.domain.lint.findings import SEVERITIES, Finding, Severity
from saleops.domain.lint.fleet import Fleet, SaleFacts
from saleops.operations.lint.fixing import mendable
from saleops.operations.lint.reading import Texts, parse_texts
from saleops.operations.lint.running import RuleBug, load_rules, run_rules, tidied
from saleops.operations.lint.suppressing import (
    LintSettings,
    Suppressed,
    apply,
    complaints,
    suppressions_of,
    unused,
)

Trials = Callable[[Sequence[LintDocument]], Mapping[str, Sequence[Any]]]
"""Runs the Lua scripts among the documents; what each showed, by its file."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a run is asked to say. ``only`` and ``skip`` are rule ids."""

    only: Collection[str] = ()
    skip: Collection[str] = ()
    least: Severity = "info"
    severities: Mapping[str, Severity] = field(default_factory=dict)

    def ids(self) -> frozenset[str]:
        """The rules that run."""
        return frozenset(self.only or load_rules()) - frozenset(self.skip)


@dataclass(frozen=True)
class LintReport:
    """What a run found. ``files`` counts those that were read; ``bugs`` are rules that failed themselves."""

    findings: tuple[Finding, ...]
    suppressed: tuple[Suppressed, ...]
    files: int
    documents: int
    bugs: tuple[RuleBug, ...] = ()

    def count(self, severity: Severity) -> int:
        return sum(one.severity == severity for one in self.findings)

    def fails(self, on: Severity) -> bool:
        """Whether there is a finding of severity ``on`` or worse."""
        worst = SEVERITIES[: SEVERITIES.index(on) + 1]
        return any(one.severity in worst for one in self.findings)


def lint(
    texts: Texts,
    *,
    today: date,
    sale: SaleFacts | None = None,
    choice: Choice | None = None,
    settings: LintSettings | None = None,
    trials: Trials | None = None,
) -> LintReport:
    """Everything that is wrong with ``texts``. ``today`` decides which suppressions have expired."""
    choice = choice or Choice()
    if settings is not None:
        choice = replace(
            choice,
            skip={*choice.skip, *(settings.off - set(choice.only))},
            severities={**settings.severities, **choice.severities},
        )
    parsed = parse_texts(texts)
    suppressions = suppressions_of(texts, settings)
    troubles = [*parsed.troubles, *complaints(suppressions, load_rules(), today)]
    documents = tuple(parsed.documents)
    shown = trials([one for one in documents if one.format == "lua"]) if trials else {}
    ran = run_rules(
        Fleet(documents, sale=sale, trials=shown, troubles=tuple(troubles)),
        only=choice.only,
        skip=choice.skip,
        severities=choice.severities,
    )
    kept, hidden, used = apply(ran.findings, suppressions, today)
    if not ran.bugs:
        idle = Fleet((), troubles=tuple(unused(suppressions, used, choice.ids())))
        kept += run_rules(idle, only=choice.ids() & {"SUP003"} or {"-"}).findings
    return LintReport(
        tuple(_said(tidied(mendable(texts, parsed, kept)), choice.least)),
        tuple(hidden),
        len(texts.texts),
        len(documents),
        tuple(ran.bugs),
    )


def _said(findings: Iterable[Finding], least: Severity) -> Iterable[Finding]:
    worst = SEVERITIES[: SEVERITIES.index(least) + 1]
    return (one for one in findings if one.severity in worst)
