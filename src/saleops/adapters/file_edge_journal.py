"""The edge journal: JSON lines in memory, or in a file of the state directory that one process at a time writes."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from saleops.adapters.file_cloud_journal import (
    append_line,
    journal_path,
    owned_lines,
    read_cloud_journal,
)
from saleops.domain.cloud.edge_history import Batch, EdgeHistory, TaskKind, UrlResult


def edge_journal_path(state_dir: Path, sale: str, place: str) -> Path:
    """Beside the journal of what was provisioned for ``sale`` in ``place``."""
    beside = journal_path(state_dir, sale, place)
    return beside.with_name(f"edge-{beside.name}")


class MemoryEdgeJournal:
    """``lines`` are what this run wrote; ``before`` is counted in."""

    def __init__(
        self,
        before: Iterable[Mapping[str, Any]] = (),
        *,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.lines: list[dict[str, Any]] = []
        self._history = EdgeHistory(before)
        self._wall_ms = wall_ms

    @property
    def history(self) -> EdgeHistory:
        return self._history

    def begin(self, *, command: str, who: str, cloud: str) -> None:
        self._add({"type": "run", "command": command, "who": who, "cloud": cloud})

    def submit(
        self, kind: TaskKind, urls: Sequence[str], marks: Sequence[str], *, at_ms: int
    ) -> Batch:
        number = self._history.last_number + 1
        line = {
            "type": "submit",
            "number": number,
            "kind": kind,
            "urls": [*urls],
            "marks": [*marks],
        }
        self._add({**line, "at_ms": at_ms}, sync=True)
        return self._history.batches[number]

    def submitted(
        self, batch: Batch, tasks: Sequence[str], *, urls: Sequence[str] | None = None, at_ms: int
    ) -> None:
        line: dict[str, Any] = {
            "type": "submitted",
            "number": batch.number,
            "tasks": [*tasks],
            "at_ms": at_ms,
        }
        self._add(line if urls is None else {**line, "urls": [*urls]}, sync=True)

    def not_carried_out(self, batch: Batch, why: str, *, at_ms: int) -> None:
        self._add({"type": "not carried out", "number": batch.number, "why": why, "at_ms": at_ms})

    def seen(self, batch: Batch, url: str, result: UrlResult) -> None:
        line = {"type": "seen", "number": batch.number, "url": url, "status": result.status}
        more = {"task": result.task, "note": result.note, "at_ms": result.at_ms}
        self._add({**line, **{name: value for name, value in more.items() if value != ""}})

    def _add(self, line: dict[str, Any], *, sync: bool = False) -> None:
        at = datetime.fromtimestamp(self._wall_ms() / 1000, UTC).isoformat(timespec="milliseconds")
        line = {"type": line["type"], "t": at.replace("+00:00", "Z"), **line}
        self._write(line, sync=sync)
        self._history.take(line)

    def _write(self, line: dict[str, Any], *, sync: bool) -> None:
        self.lines.append(line)


class FileEdgeJournal(MemoryEdgeJournal):
    """Appends to an open file. Use :func:`open_edge_journal`."""

    def __init__(self, path: Path, handle: int, before: Iterable[Mapping[str, Any]]) -> None:
        super().__init__(before)
        self.path = path
        self._handle = handle

    def _write(self, line: dict[str, Any], *, sync: bool) -> None:
        append_line(self.path, self._handle, line, sync=sync)


@contextmanager
def open_edge_journal(
    path: Path, *, mended: Callable[[str], None] = lambda text: None
) -> Iterator[FileEdgeJournal]:
    """Own the journal ``path`` for the length of the block. Raises Refused where another process writes it."""
    with owned_lines(path, mended=mended) as (handle, before):
        yield FileEdgeJournal(path, handle, before)


def recall_edge_journal(path: Path) -> MemoryEdgeJournal:
    """What ``path`` says so far; what is added stays in memory."""
    return MemoryEdgeJournal(read_cloud_journal(path))
