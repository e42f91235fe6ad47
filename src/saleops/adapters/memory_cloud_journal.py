"""A cloud journal in memory: for tests, and what the one in a file is built on."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from saleops.domain.cloud.journal import Acceptance, Action, History, Outcome, history_of


class MemoryCloudJournal:
    """``lines`` are what was written by this run; ``before``, the lines of earlier ones, are counted in."""

    def __init__(
        self,
        before: Iterable[Mapping[str, Any]] = (),
        *,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.lines: list[dict[str, Any]] = []
        self._history = history_of(before)
        self._wall_ms = wall_ms

    @property
    def history(self) -> History:
        return self._history

    def begin(self, *, command: str, who: str, cloud: str) -> None:
        self._add({"type": "run", "command": command, "who": who, "cloud": cloud})

    def intend(
        self, key: str, action: Action, call: Mapping[str, Any], *, token: str, at_ms: int
    ) -> int:
        number = self._history.last_number + 1
        line = {"type": "intent", "number": number, "key": key, "action": action}
        self._add({**line, "call": call, "token": token, "at_ms": at_ms}, sync=True)
        return number

    def conclude(self, number: int, outcome: Outcome, *, at_ms: int) -> None:
        self._add({"type": "outcome", "number": number, "at_ms": at_ms, **_short(outcome)})

    def note_read(self, call: Mapping[str, Any], outcome: Outcome, *, at_ms: int) -> None:
        self._add({"type": "read", "call": call, "at_ms": at_ms, **_short(outcome)})

    def accept(self, acceptance: Acceptance) -> None:
        self._add({"type": "accepted", **asdict(acceptance)}, sync=True)

    def _add(self, line: dict[str, Any], *, sync: bool = False) -> None:
        at = datetime.fromtimestamp(self._wall_ms() / 1000, UTC).isoformat(timespec="milliseconds")
        line = {"type": line["type"], "t": at.replace("+00:00", "Z"), **line}
        self._write(line, sync=sync)
        self._history.take(line)

    def _write(self, line: dict[str, Any], *, sync: bool) -> None:
        self.lines.append(line)


def _short(outcome: Outcome) -> dict[str, Any]:
    """The fields of ``outcome`` that say something."""
    return {
        name: value
        for name, value in asdict(outcome).items()
        if value not in ("", 0, {}) or name == "ok"
    }
