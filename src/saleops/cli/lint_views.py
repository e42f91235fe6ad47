"""How a lint run looks: grouped by file on a terminal, a line a finding in a pipe, its document for machines."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar

from saleops.cli.sheets import Sheet, as_rich
from saleops.cli.words import harmless
from saleops.domain.lint.findings import Finding, Severity
from saleops.operations.lint.explaining import Explanation, RuleList
from saleops.operations.lint.linting import LintReport

_COLORS = {"error": "bold red", "warning": "yellow", "info": "cyan"}


@dataclass(frozen=True, slots=True)
class FindingRow:
    """``fixable``: --fix mends it."""

    id: str
    severity: Severity
    file: str
    line: int
    column: int
    message: str
    why: str
    fix: str
    source: str
    fixable: bool


@dataclass(frozen=True, slots=True)
class SuppressedRow:
    """``by`` is the file and line of the suppression."""

    id: str
    file: str
    line: int
    message: str
    reason: str
    until: str
    by: str


@dataclass(frozen=True, slots=True)
class FixedRow:
    """``ids`` are the rules that were obeyed; ``diff`` is empty where the file was written."""

    file: str
    ids: tuple[str, ...]
    diff: str


@dataclass(frozen=True)
class LintResult:
    """The document of a run."""

    schema: ClassVar[str] = "saleops/lint/v1"
    findings: tuple[FindingRow, ...]
    suppressed: tuple[SuppressedRow, ...]
    fixed: tuple[FixedRow, ...]
    files: int
    documents: int
    errors: int
    warnings: int
    infos: int
    seconds: float


def result_of(report: LintReport, fixed: tuple[FixedRow, ...], seconds: float) -> LintResult:
    return LintResult(
        tuple(_row(one) for one in report.findings),
        tuple(
            SuppressedRow(
                one.finding.id,
                one.finding.file,
                one.finding.line,
                one.finding.message,
                one.reason,
                one.until.isoformat(),
                one.by,
            )
            for one in report.suppressed
        ),
        fixed,
        report.files,
        report.documents,
        report.count("error"),
        report.count("warning"),
        report.count("info"),
        round(seconds, 3),
    )


def _row(one: Finding) -> FindingRow:
    return FindingRow(
        one.id,
        one.severity,
        one.file,
        one.line,
        one.column,
        one.message,
        one.why,
        one.fix,
        one.source,
        bool(one.edits),
    )


def count(number: int, noun: str) -> str:
    return f"1 {noun}" if number == 1 else f"{number:,} {noun}s"


def summary(result: LintResult) -> str:
    """The last line, for people."""
    said = f"{count(result.errors, 'error')}, {count(result.warnings, 'warning')}"
    if result.infos:
        said += f", {result.infos:,} to know"
    if result.suppressed:
        said += f", {len(result.suppressed):,} suppressed"
    read = f"{count(result.files, 'file')} in {result.seconds:.2f} s"
    fixable = sum(one.fixable for one in result.findings)
    more = f"; --fix mends {fixable:,}" if fixable else ""
    return f"{said} in {read}{more}"


class _Findings:
    """Drawn by rich on a terminal; ``plain_lines`` are its lines in a pipe."""

    def __init__(self, result: LintResult) -> None:
        self._result = result

    def plain_lines(self) -> Iterator[str]:
        for one in self._result.findings:
            yield f"{one.file}:{one.line}:{one.column}: {one.severity} {one.id}: {one.message}"

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.padding import Padding
        from rich.text import Text

        for file, rows in groupby(self._result.findings, key=lambda one: one.file):
            yield Text(harmless(file), style="bold underline")
            for one in rows:
                head = Text(f"{one.line}:{one.column}  ", style="dim")
                head.append(one.severity, style=_COLORS[one.severity])
                head.append(f"  {one.id}  ", style="bold")
                head.append(harmless(one.message))
                yield Padding(head, (0, 0, 0, 2))
                yield Padding(Text(harmless(one.why), style="dim"), (0, 0, 0, 6))
                fix = Text("fix: ", style="green")
                fix.append(harmless(one.fix, keep="\n"))
                yield Padding(fix, (0, 0, 0, 6))
            yield Text("")
        style = "bold red" if self._result.errors else "bold green"
        yield Text(summary(self._result), style=style)


@as_rich.register
def _(result: LintResult) -> Any:
    return _Findings(result)


@as_rich.register
def _(rules: RuleList) -> Sheet:
    rows = [(one.id, one.severity, one.title) for one in rules.rules]
    return Sheet(("rule", "severity", "title"), rows, whole=("rule", "severity"))


@as_rich.register
def _(one: Explanation) -> Any:
    parts = [
        f"{one.id} ({one.severity}): {one.title}",
        f"On sale day: {one.why}",
        f"Write instead: {one.fix}",
    ]
    if one.bad:
        parts.append(f"Bad:\n{_indented(one.bad)}")
    if one.good:
        parts.append(f"Good:\n{_indented(one.good)}")
    return [*parts, f"Source: {one.source}"]


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
