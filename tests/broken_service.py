"""A case of a rule: the good service with one thing wrong, and the one finding that has to come of it."""

from dataclasses import dataclass

from good_service import broken, findings_in, shown
from saleops.domain.lint.findings import Edit, Finding
from saleops.domain.lint.fleet import SaleFacts


@dataclass(frozen=True)
class Case:
    """``at`` is on the line that the finding names; ``says`` are parts of what it says. ``also`` are ids that come with it."""

    id: str
    severity: str
    file: str
    changes: tuple[tuple[str, str], ...]
    at: str
    says: tuple[str, ...]
    also: tuple[str, ...] = ()
    sale: SaleFacts | None = None

    def __str__(self) -> str:
        return f"{self.id}-{self.says[0]}"[:60]


def check(case: Case) -> Finding:
    """The one finding of the case's rule; its edits, where it has some, make it go."""
    texts = broken(case.file, *case.changes)
    findings = findings_in(texts, case.sale)
    mine = [one for one in findings if one.id == case.id]
    assert len(mine) == 1, shown(findings)
    found = mine[0]
    lines = [n for n, line in enumerate(texts[case.file].splitlines(), 1) if case.at in line]
    assert (found.severity, found.file) == (case.severity, case.file)
    assert found.line in lines, (found.line, lines, found.message)
    for part in case.says:
        assert part in f"{found.message} {found.why} {found.fix}"
    others = {one.id for one in findings} - {case.id}
    assert others == set(case.also), shown(findings)
    if found.edits:
        fixed = {**texts, case.file: apply(texts[case.file], found.edits)}
        assert case.id not in {one.id for one in findings_in(fixed, case.sale)}, fixed[case.file]
    return found


def apply(text: str, edits: tuple[Edit, ...]) -> str:
    """The text with the edits done, the last first."""
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    for one in sorted(edits, key=lambda edit: (edit.line, edit.column), reverse=True):
        begin = starts[one.line - 1] + one.column - 1
        text = text[:begin] + one.text + text[starts[one.end_line - 1] + one.end_column - 1 :]
    return text
