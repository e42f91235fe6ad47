"""The scale journal: JSON lines in a file of the state directory, one writer at a time; or in memory for who only reads."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from saleops.adapters.file_cloud_journal import append_line, owned_lines, read_cloud_journal
from saleops.domain.scale_records import Record, records_of, without_user

FOLDER = "scale"


def scale_journal_path(state_dir: Path, sale: str, cluster: str) -> Path:
    """The journal of ``sale`` in ``cluster``, whose name is made fit for a file."""
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", without_user(cluster)).strip("-")
    return state_dir / FOLDER / f"{sale}@{name}.jsonl"


class MemoryScaleJournal:
    """What is added stays in memory."""

    def __init__(self, before: Iterable[Mapping[str, Any]] = ()) -> None:
        self.lines: list[dict[str, Any]] = [dict(one) for one in before]

    @property
    def records(self) -> Mapping[str, Record]:
        return records_of(self.lines)

    def begin(self, *, command: str, who: str, cluster: str) -> None:
        self._add({"type": "run", "command": command, "who": who, "cluster": without_user(cluster)})

    def record(self, key: str, record: Record) -> None:
        self._add({"type": "recorded", "key": key, "record": record.document})

    def note(self, text: str) -> None:
        self._add({"type": "note", "text": text})

    def restored(self, key: str) -> None:
        self._add({"type": "restored", "key": key})

    def _add(self, line: dict[str, Any]) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"type": line["type"], "t": at, **line}
        self._write(line)
        self.lines.append(line)

    def _write(self, line: dict[str, Any]) -> None:
        """For those who keep it."""


class FileScaleJournal(MemoryScaleJournal):
    """Appends to an open file. Use :func:`open_scale_journal`."""

    def __init__(self, path: Path, handle: int, before: Iterable[Mapping[str, Any]]) -> None:
        super().__init__(before)
        self._path = path
        self._handle = handle

    def _write(self, line: dict[str, Any]) -> None:
        append_line(self._path, self._handle, line, sync=True)


@contextmanager
def open_scale_journal(
    path: Path, *, mended: Callable[[str], None] = lambda text: None
) -> Iterator[FileScaleJournal]:
    """Own the journal ``path`` for the length of the block. Raises Refused, naming the process, where another one writes it."""
    with owned_lines(path, mended=mended) as (handle, before):
        yield FileScaleJournal(path, handle, before)


def read_scale_journal(path: Path) -> MemoryScaleJournal:
    """What the journal says so far, without owning it."""
    return MemoryScaleJournal(read_cloud_journal(path))
