"""Undo files on disk: made once, readable by their owner alone, on the disk before anything else happens. What became of
each step is added at their end.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from saleops.errors import ConfigError, Refused, UpstreamError

SIZE_MAX = 256 * 2**20


def write_undo(path: Path, text: bytes) -> None:
    """Make ``path`` with mode 0600. Raises Refused where it is there already, UpstreamError where the disk refuses."""
    hint = "Name another file with --undo-file."
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise Refused(
            f"{path} is there already; an undo file is never written over, nothing was changed",
            hint=hint,
        ) from error
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}; nothing was changed", hint=hint
        ) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise UpstreamError(
            f"cannot write {path}: {error.strerror}; nothing was changed", hint=hint
        ) from error


def read_undo(path: Path) -> bytes:
    """What is in ``path``. Raises ConfigError."""
    hint = "Name the undo file that `saleops reconcile --repair --yes` wrote."
    try:
        # Without O_NONBLOCK the mere opening of a pipe waits for a writer.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(f"{path} is no regular file; nothing was changed", hint=hint)
            text = file.read(SIZE_MAX + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}; nothing was changed", hint=hint
        ) from error
    if len(text) > SIZE_MAX:
        raise ConfigError(f"{path} is too long for an undo file; nothing was changed", hint=hint)
    return text


class UndoLog:
    """Adds lines to an undo file, each at once."""

    def __init__(self, path: Path, handle: int) -> None:
        self._path = path
        self._handle = handle

    def add(self, line: bytes, *, sync: bool = False) -> None:
        """With ``sync`` it is on the disk, and what was added before. Raises UpstreamError."""
        try:
            left = memoryview(line)
            while left:
                left = left[os.write(self._handle, left) :]
            if sync:
                os.fsync(self._handle)
        except OSError as error:
            raise UpstreamError(
                f"cannot write {self._path}: {error.strerror}; what was done so far stays done",
                hint="Make room there; `saleops reconcile` says how things stand.",
            ) from error


@contextmanager
def open_undo_log(path: Path) -> Iterator[UndoLog]:
    """Add to the undo file ``path``, which is there. Raises ConfigError."""
    try:
        flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        handle = os.open(path, flags)
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}; nothing was changed",
            hint="What becomes of each step is written into the undo file: make it writable.",
        ) from error
    try:
        yield UndoLog(path, handle)
    finally:
        os.close(handle)
