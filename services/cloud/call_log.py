"""What was called: the last calls in memory, all of them in ``calls.jsonl``, which starts anew when it is full.

Secrets never get here: a parameter whose name speaks of a password, a secret, a token or a key is written as ``***``.
"""

import json
import os
import re
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

KEPT = 5_000
FILE_MAX = 32 * 1024 * 1024
TEXT_MAX = 500
_SECRET = re.compile(
    r"passw|passwd|secret|securitytoken|security_token|oidctoken|authorization|signature"
    r"|accesskeyid|user_?data|private_?key",
    re.IGNORECASE,
)


class CallLog:
    def __init__(self, file: Path | None = None, *, file_max: int = FILE_MAX) -> None:
        """With ``file`` each call is a JSON line there; when it is full, it becomes ``FILE.1``."""
        self._file = file
        self._file_max = file_max
        self._out: TextIO | None = None
        self._size = 0
        self.calls: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.count = 0

    def add(self, call: dict[str, Any]) -> None:
        self.count += 1
        entry = {"n": self.count, **call}
        self.calls.append(entry)
        if self._file is None:
            return
        line = json.dumps(entry, ensure_ascii=True, separators=(",", ":")) + "\n"
        if self._out is None:
            self._out = _append_private(self._file)
            self._size = self._out.tell()
        elif self._size + len(line) > self._file_max:
            self._out.close()
            self._file.replace(self._file.with_name(self._file.name + ".1"))
            self._out = _append_private(self._file)
            self._size = 0
        self._out.write(line)
        self._out.flush()
        self._size += len(line)

    def clear(self) -> None:
        self.calls.clear()
        self.count = 0

    def close(self) -> None:
        if self._out is not None:
            self._out.close()
            self._out = None


def masked(value: Any, name: str = "", depth: int = 0) -> Any:
    """``value`` fit for a log: no secrets, no endless texts, no bottomless nesting."""
    if name and _SECRET.search(name) and value not in ("", None):
        return "***"
    if depth > 12:
        return "..."
    if isinstance(value, Mapping):
        return {str(key)[:100]: masked(one, str(key), depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [masked(one, name, depth + 1) for one in value[:100]]
    if isinstance(value, str) and len(value) > TEXT_MAX:
        return value[:TEXT_MAX] + f"... ({len(value)} characters)"
    return value


def _append_private(file: Path) -> TextIO:
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    return os.fdopen(handle, "a", encoding="ascii")
