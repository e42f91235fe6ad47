"""What Terraform prints, line by line, as progress for us and as the message of an error."""

import json
import re
from collections.abc import Mapping
from typing import Any

from saleops.events import Advanced, Observer, Warned
from saleops.ports.terraform import PlannedChange

KEPT = 40
"""Lines of plain output that are kept, for the message of an error."""

_FRAME = "╷│╵ \t"
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class PlainWords:
    """Text for people; the last lines of it are kept."""

    def __init__(self, task: str, observe: Observer) -> None:
        self._task = task
        self._observe = observe
        self._lines: list[str] = []
        self._count = 0

    def __call__(self, line: str) -> None:
        line = _ANSI.sub("", line)
        self._lines = [*self._lines, line][-KEPT:]
        bare = line.strip(_FRAME)
        if self._task and bare:
            self._count += 1
            self._observe(Advanced(self._task, self._count, bare))

    @property
    def message(self) -> str:
        """From the first ``Error:`` on, without the frame it is drawn in."""
        lines = [line.strip(_FRAME) for line in self._lines]
        first = next((at for at, line in enumerate(lines) if line.startswith("Error")), 0)
        return "\n".join(line for line in lines[first:] if line)


class JsonWords:
    """What ``-json`` tells, line by line."""

    def __init__(self, task: str, observe: Observer) -> None:
        self._task = task
        self._observe = observe
        self._other: list[str] = []
        self.planned: list[PlannedChange] = []
        self.errors: list[str] = []
        self.counts: Mapping[str, Any] = {}
        self.done = 0

    def __call__(self, line: str) -> None:
        try:
            said = json.loads(line)
            kind = said.get("type", "")
        except (ValueError, AttributeError):
            if line.strip():
                self._other = [*self._other, line.strip()][-KEPT:]
            return
        note = str(said.get("@message", ""))
        match kind:
            case "planned_change":
                change = said.get("change") or {}
                address = str((change.get("resource") or {}).get("addr", ""))
                self.planned.append(PlannedChange(address, str(change.get("action", ""))))
            case "change_summary":
                self.counts = said.get("changes") or {}
            case "diagnostic":
                self._diagnosed(said.get("diagnostic") or {})
            case "apply_complete":
                self.done += 1
                self._observe(Advanced(self._task, self.done, note))
            case "apply_start" | "apply_progress" | "refresh_start":
                self._observe(Advanced(self._task, self.done, note))

    def _diagnosed(self, diagnostic: Mapping[str, Any]) -> None:
        parts = [str(diagnostic.get(key) or "").strip() for key in ("summary", "detail")]
        told = ": ".join(part for part in parts if part)
        place = diagnostic.get("address") or ""
        told = f"{place}: {told}" if place else told
        if diagnostic.get("severity") == "error":
            self.errors.append(told)
        else:
            self._observe(Warned(told))

    @property
    def message(self) -> str:
        return "\n".join(self.errors or self._other)
