"""The registry of rules. A rule is a function over the whole fleet of documents that yields hits.

A module of rules registers each with ``@rule``; ``RULES`` has them once the modules are imported (``operations/lint`` does).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from saleops.domain.lint.documents import KeyPath, LintDocument
from saleops.domain.lint.findings import Edit, Severity
from saleops.domain.lint.fleet import Fleet


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule broken at ``path`` of ``document`` (at its key where ``key``). Empty texts are the rule's own."""

    document: LintDocument
    path: KeyPath
    message: str
    why: str = ""
    fix: str = ""
    severity: Severity | None = None
    key: bool = False
    edits: tuple[Edit, ...] = ()


Check = Callable[[Fleet], Iterator[Hit]]


@dataclass(frozen=True, slots=True)
class Rule:
    """``why``, ``fix`` and ``source`` are what ``lint explain`` prints; ``bad`` and ``good`` are short examples."""

    id: str
    severity: Severity
    title: str
    why: str
    fix: str
    source: str
    check: Check
    bad: str = ""
    good: str = ""


RULES: dict[str, Rule] = {}


def rule(
    id: str,
    severity: Severity,
    title: str,
    *,
    why: str,
    fix: str,
    source: str,
    bad: str = "",
    good: str = "",
) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        if id in RULES:
            raise ValueError(f"rule {id} is there twice")
        RULES[id] = Rule(id, severity, title, why, fix, source, check, bad, good)
        return check

    return register
