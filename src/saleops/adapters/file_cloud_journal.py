"""The cloud journal as JSON lines in a file of the state directory, for its owner's eyes alone.

A line of an intent is on the disk before the call leaves; an outcome follows when it is known. A crash may tear the last line:
whoever opens the file to write cuts it off and says so, for what was torn had not happened yet (an intent) or is looked
up again (an outcome). One process at a time writes, by ``flock``; the kernel drops the lock with the process.
"""

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from saleops.adapters.memory_cloud_journal import MemoryCloudJournal
from saleops.errors import ConfigError, Refused, UpstreamError

FOLDER = "provision"
LOCK_ATTEMPTS = 6
POLL_S = 0.05


def journal_path(state_dir: Path, sale: str, place: str) -> Path:
    """The journal of ``sale`` in ``place``: a region, or "local", or the address of an endpoint."""
    bare = place.partition("://")[2] or place
    return state_dir / FOLDER / f"{sale}@{re.sub(r'[^A-Za-z0-9.-]+', '-', bare).strip('-')}.jsonl"


class FileCloudJournal(MemoryCloudJournal):
    """Appends to an open file. Use :func:`open_cloud_journal`."""

    def __init__(self, path: Path, handle: int, before: Iterable[dict[str, Any]]) -> None:
        super().__init__(before)
        self.path = path
        self._handle = handle

    def _write(self, line: dict[str, Any], *, sync: bool) -> None:
        append_line(self.path, self._handle, line, sync=sync)


def append_line(path: Path, handle: int, line: dict[str, Any], *, sync: bool) -> None:
    """Add ``line`` at the end; with ``sync`` it is on the disk afterwards. Raises UpstreamError."""
    text = json.dumps(line, ensure_ascii=False, separators=(",", ":"), default=str) + "\n"
    left = memoryview(text.encode("utf-8", "backslashreplace"))
    try:
        while left:
            left = left[os.write(handle, left) :]
        if sync:
            os.fsync(handle)
    except OSError as error:
        raise UpstreamError(
            f"cannot write {path}: {error.strerror}; no call was sent that is not in it",
            hint="Make room there, then run the same command again: it goes on from here.",
        ) from error


@contextmanager
def open_cloud_journal(
    path: Path, *, mended: Callable[[str], None] = lambda text: None
) -> Iterator[FileCloudJournal]:
    """Own the journal ``path`` for the length of the block, making it if need be. ``mended`` hears of a torn last line.

    Raises Refused, naming the process, where another one writes it; ConfigError where it cannot be a journal.
    """
    with owned_lines(path, mended=mended) as (handle, before):
        yield FileCloudJournal(path, handle, before)


@contextmanager
def owned_lines(
    path: Path, *, mended: Callable[[str], None] = lambda text: None
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Own the file ``path`` for the length of the block: a handle that appends, and the whole lines it holds."""
    with _usable(path):
        for folder in (path.parent.parent, path.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(
            path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
    try:
        with _locked(path):
            before = list(_lines(path, _mend(path, handle, mended)))
            with _usable(
                path
            ):  # the file's own entry must be on the disk before the first intent counts
                folder_handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(folder_handle)
                finally:
                    os.close(folder_handle)
            yield handle, before
    finally:
        os.close(handle)


def read_cloud_journal(path: Path) -> list[dict[str, Any]]:
    """All whole lines of the journal ``path``, without owning it; none where there is no file. Raises ConfigError."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    whole = text[: text.rfind(b"\n") + 1]
    return list(_lines(path, whole))


def _lines(path: Path, text: bytes) -> Iterator[dict[str, Any]]:
    for number, raw in enumerate(text.splitlines(), start=1):
        try:
            line = json.loads(raw)
            if not isinstance(line, dict) or "type" not in line:
                raise ValueError("no record")
        except (ValueError, RecursionError) as error:
            raise ConfigError(
                f"{path}:{number} is no line of a journal; nothing was changed",
                hint="Move the file away to start a new one; what is in the cloud is found by its tags all the same.",
            ) from error
        yield line


def _mend(path: Path, handle: int, mended: Callable[[str], None]) -> bytes:
    """The whole lines of the file; what follows the last of them is cut off."""
    with _usable(path):
        text = path.read_bytes()
        whole = text.rfind(b"\n") + 1
        if whole == len(text):
            return text
        os.ftruncate(handle, whole)
        os.fsync(handle)
    mended(
        f"the last line of {path} was torn by a crash and has been cut off ({len(text) - whole} bytes); "
        "what it spoke of is looked up in the cloud"
    )
    return text[:whole]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = path.with_suffix(".lock")
    with _usable(path):
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        for attempt in range(LOCK_ATTEMPTS):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if attempt + 1 < LOCK_ATTEMPTS:
                    time.sleep(POLL_S)
        else:
            pid = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
            who = f"pid {pid}" if pid else "another process"
            raise Refused(
                f"{path} is being written by {who}; nothing was changed",
                hint="Wait until it is done; two runs for one sale would make things twice."
                + (
                    f" `kill {pid}` stops it, and what it began can be gone on with." if pid else ""
                ),
            )
        with _usable(path):
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.ftruncate(handle, 0)
    finally:
        os.close(handle)


@contextmanager
def _usable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"the journal {path} cannot be used: {error.strerror}; nothing was changed",
            hint="Name another folder with --state-dir.",
        ) from error
