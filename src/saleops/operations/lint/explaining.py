"""``lint explain`` and ``lint rules``: what a rule is about, with a bad and a good example."""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import ClassVar

from saleops.domain.lint.findings import Severity
from saleops.errors import ConfigError
from saleops.operations.lint.running import load_rules


@dataclass(frozen=True, slots=True)
class RuleRow:
    id: str
    severity: Severity
    title: str


@dataclass(frozen=True)
class RuleList:
    """All rules, by id."""

    schema: ClassVar[str] = "saleops/lint-rules/v1"
    rules: tuple[RuleRow, ...]


@dataclass(frozen=True)
class Explanation:
    """One rule. ``bad`` and ``good`` are short examples, empty where words do better."""

    schema: ClassVar[str] = "saleops/lint-rule/v1"
    id: str
    severity: Severity
    title: str
    why: str
    fix: str
    source: str
    bad: str
    good: str


def rule_list() -> RuleList:
    rows = [RuleRow(one.id, one.severity, one.title) for one in load_rules().values()]
    return RuleList(tuple(sorted(rows, key=lambda one: one.id)))


def explain(id: str) -> Explanation:
    """Raises ConfigError for an id that is none, with the nearest one that is."""
    known_id(id)
    one = load_rules()[_spelled(id)]
    return Explanation(
        one.id, one.severity, one.title, one.why, one.fix, one.source, one.bad, one.good
    )


def known_id(id: str) -> str:
    """``id`` as the rules spell it. Raises ConfigError for one that is none."""
    rules = load_rules()
    spelled = _spelled(id)
    if spelled in rules:
        return spelled
    near = get_close_matches(spelled, rules, 1, 0.6)
    meant = f" (did you mean {near[0]}?)" if near else ""
    raise ConfigError(
        f"there is no rule {id!r}{meant}; nothing was checked",
        hint="`saleops lint rules` lists them.",
    )


def _spelled(id: str) -> str:
    folded = id.strip().lower()
    return next((one for one in load_rules() if one.lower() == folded), id.strip())
