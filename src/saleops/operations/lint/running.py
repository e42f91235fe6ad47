"""Runs every rule over all documents of a run, and turns what they hit into findings.

A rule that raises is a bug of ours: it is said with the rule's name, the other rules' findings are kept, and the command ends
with exit code 1. What two rules say in the same words about the same place is said once.
"""

import importlib
import pkgutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from saleops.domain.lint.findings import Finding, Severity
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.rules import RULES, Hit, Rule

_PACKAGES = ("saleops.domain.lint", "saleops.operations.lint")
"""Their modules named rules_* register the rules. A new one needs no entry anywhere."""


@dataclass(frozen=True, slots=True)
class RuleBug:
    """A rule that raised. ``detail`` ends with the place in our code."""

    id: str
    detail: str


@dataclass(slots=True)
class Ran:
    """What the rules said, in the order of files and lines."""

    findings: list[Finding] = field(default_factory=list)
    bugs: list[RuleBug] = field(default_factory=list)


def load_rules() -> Mapping[str, Rule]:
    """All rules by id; their modules are imported now."""
    for package in _PACKAGES:
        for one in pkgutil.iter_modules(importlib.import_module(package).__path__):
            if one.name.startswith("rules_"):
                importlib.import_module(f"{package}.{one.name}")
    return RULES


def run_rules(
    fleet: Fleet,
    *,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    severities: Mapping[str, Severity] | None = None,
) -> Ran:
    """What the rules find in ``fleet``: all of them, or ``only`` some, without ``skip``."""
    ran = Ran()
    rules = load_rules()
    for id, rule in rules.items():
        if (only and id not in only) or id in skip:
            continue
        try:
            for hit in rule.check(fleet):
                ran.findings.append(_finding(rule, hit, (severities or {}).get(id)))
        except Exception as error:  # noqa: BLE001 - a bug in one rule must not hide what the others found
            ran.bugs.append(RuleBug(id, _detail(error)))
    ran.findings = tidied(ran.findings)
    return ran


def tidied(findings: Iterable[Finding]) -> list[Finding]:
    """``findings`` in the order of files, lines and columns, each said once."""
    said: dict[tuple[str, str, int, str], Finding] = {}
    for one in findings:
        said.setdefault((one.id, one.file, one.line, one.message), one)
    return sorted(said.values(), key=lambda one: (one.file, one.line, one.column, one.id))


def _finding(rule: Rule, hit: Hit, severity: Severity | None) -> Finding:
    line, column = hit.document.place(hit.path, key=hit.key)
    return Finding(
        rule.id,
        severity or hit.severity or rule.severity,
        hit.document.file,
        line,
        column,
        hit.message,
        hit.why or rule.why,
        hit.fix or rule.fix,
        rule.source,
        hit.edits,
    )


def _detail(error: Exception) -> str:
    import traceback

    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({where.filename.rpartition('/')[2]}:{where.lineno})"
