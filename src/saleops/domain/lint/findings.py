"""What lint says: a finding with its place, what happens on sale day, the fix and the source of the rule."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the text from (line, column) up to (end_line, end_column), both from 1, the end excluded, by ``text``."""

    line: int
    column: int
    end_line: int
    end_column: int
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """``why`` is what happens on sale day, with the arithmetic; ``fix`` what to write instead; mechanical ones have ``edits``."""

    id: str
    severity: Severity
    file: str
    line: int
    column: int
    message: str
    why: str
    fix: str
    source: str
    edits: tuple[Edit, ...] = ()
