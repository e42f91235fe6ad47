"""Files for their owner's eyes, written whole or not at all."""

import os
from pathlib import Path


def write_private(file: Path, content: bytes) -> None:
    """Raises OSError; then the old file stands."""
    draft = file.with_name(f"{file.name}.{os.getpid()}.new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(content)
        draft.replace(file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
