"""Passwords that saleops makes up for what it provisions: made once a sale and place, kept in a file for its owner's eyes.

A run that goes on after a crash must send the same password again, so it cannot be made up anew each time.
"""

import json
import os
import secrets
import string
from pathlib import Path

from saleops.errors import ConfigError, UpstreamError

LENGTH = 24
_MARKS = "!@#%^*()-_+="
_KINDS = (string.ascii_uppercase, string.ascii_lowercase, string.digits, _MARKS)


def passwords_path(journal: Path) -> Path:
    """Where the passwords of a journal's sale and place are."""
    return journal.with_suffix(".passwords.json")


def known_passwords(path: Path) -> dict[str, str]:
    """What is in ``path``; nothing where there is no file. Raises ConfigError."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot read the passwords in {path}; nothing was changed",
            hint="Restore the file, or set SALEOPS_DATABASE_PASSWORD and SALEOPS_NODE_PASSWORD.",
        ) from error
    if not isinstance(kept, dict) or not all(isinstance(one, str) for one in kept.values()):
        raise ConfigError(
            f"{path} holds no passwords; nothing was changed", hint="Restore the file."
        )
    return kept


def kept_password(path: Path, what: str) -> str:
    """The password for ``what``, made if there is none yet, on the disk when this returns."""
    kept = known_passwords(path)
    if what not in kept:
        kept[what] = _made()
        draft = path.with_name(f"{path.name}.{os.getpid()}.new")
        try:
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(kept, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise UpstreamError(
                f"cannot write {path}: {error.strerror}; nothing was changed",
                hint="Make room there, or name another folder with --state-dir.",
            ) from error
    return kept[what]


def _made() -> str:
    """Letters, digits and marks, at least one of each; it begins with a letter."""
    chance = secrets.SystemRandom()
    picked = [chance.choice(kind) for kind in _KINDS[1:]]
    picked += [chance.choice("".join(_KINDS)) for _ in range(LENGTH - 4)]
    chance.shuffle(picked)
    return chance.choice(string.ascii_uppercase) + "".join(picked)
