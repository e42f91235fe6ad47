"""The state directory: who uses it now, where a running ``serve`` can be found, and the secret of its dev tokens.

One process at a time owns a state directory, by ``flock`` on ``serve.lock``: the kernel drops the lock with the process,
however it ends, so a crash never leaves a lock behind. The file's text names the owner for the one who is refused.
Everything here is readable by its owner alone: URLs may hold passwords.
"""

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from saleops.errors import ConfigError, Refused, UpstreamError
from saleops.ports.engines import ServeState

try:
    import fcntl
except ImportError as error:  # pragma: no cover - Windows
    raise ConfigError(
        "a state directory needs a POSIX system; nothing was started",
        hint="On Windows run saleops under WSL, or give --redis and --database.",
    ) from error

LOCK = "serve.lock"
STATE = "serve.json"
JWT_SECRET = "jwt.secret"  # noqa: S105 - a file name
POLL_S = 0.05
LOCK_ATTEMPTS = 6


class Owner(msgspec.Struct, frozen=True):
    """Who holds a state directory."""

    pid: int
    command: str


def open_state_dir(path: Path) -> Path:
    """``path``, made if need be. Raises ConfigError when it is no directory of ours."""
    try:
        # mkdir(parents=True) would leave the parents it makes open to everybody.
        for folder in (*reversed(path.absolute().parents), path):
            if not folder.exists():
                folder.mkdir(exist_ok=True, mode=0o700)
        path.mkdir(exist_ok=True, mode=0o700)
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return path.resolve()
    except OSError as error:
        raise ConfigError(
            f"the state directory {path} cannot be used: {error.strerror}; nothing was started",
            hint="Name another one with --state-dir.",
        ) from error


@contextlib.contextmanager
def _writable(path: Path) -> Iterator[None]:
    """What the disk refuses is the folder's fault, not a bug of ours."""
    try:
        yield
    except OSError as error:
        raise UpstreamError(
            f"the state directory {path} cannot be written: {error.strerror}; nothing was started",
            hint="Make room there, or name another one with --state-dir.",
        ) from error


@contextlib.contextmanager
def lock_state_dir(path: Path, *, command: str) -> Iterator[None]:
    """Own ``path`` for the length of the block. Raises Refused, naming the owner, when somebody else does."""
    with _writable(path):
        handle = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(handle, path)
        with _writable(path):
            os.ftruncate(handle, 0)
            os.pwrite(handle, msgspec.json.encode(Owner(os.getpid(), command)), 0)
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                (path / STATE).unlink()
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)  # and with it the lock goes


def _take(handle: int, path: Path) -> None:
    # Somebody who only asks for the owner holds the lock for an instant too: hence a few attempts.
    for attempt in range(LOCK_ATTEMPTS):
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt + 1 < LOCK_ATTEMPTS:
                time.sleep(POLL_S)
    owner = _read_owner(handle)
    who = f"pid {owner.pid} (saleops {owner.command})" if owner else "another process"
    stop = f"Stop it with `kill {owner.pid}`" if owner else "Try again"
    raise Refused(
        f"the state directory {path} is in use by {who}; nothing was started",
        hint=f"{stop}, or name another one with --state-dir.",
    )


def owner_of(path: Path) -> Owner | None:
    """Who holds ``path`` now; None when nobody does."""
    try:
        handle = os.open(path / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_owner(handle) or Owner(0, "")
    finally:
        os.close(handle)
    return None


def _read_owner(handle: int) -> Owner | None:
    # The owner writes its name an instant after it took the lock: an empty file is read once more.
    for _ in range(5):
        try:
            return msgspec.json.decode(os.pread(handle, 4096, 0), type=Owner)
        except msgspec.DecodeError:
            time.sleep(POLL_S)
    return None


def write_state(path: Path, state: ServeState) -> None:
    """Say where the running serve is: whole or not at all, for its owner's eyes."""
    _write_private(path / STATE, msgspec.json.format(msgspec.json.encode(state), indent=2))


def read_state(path: Path, *, wait_s: float = 15.0) -> ServeState | None:
    """The running serve on ``path``; None when there is none.

    A file without a living owner is a crash's leftover and does not count. A serve that is just starting
    has the lock and no file yet: it gets ``wait_s``. Raises Refused when the owner is no serve or stays silent.
    """
    deadline = time.monotonic() + wait_s
    while owner := owner_of(path):
        if not owner.command.startswith("serve") and owner.pid:
            raise Refused(
                f"the state directory {path} is in use by pid {owner.pid} (saleops {owner.command}); "
                "nothing was changed",
                hint="Wait until it is done, or name another one with --state-dir.",
            )
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
            state = msgspec.json.decode((path / STATE).read_bytes(), type=ServeState)
            if state.pid == owner.pid:
                return state
        if time.monotonic() > deadline:
            raise Refused(
                f"the serve with pid {owner.pid} on {path} is not up after {wait_s:g} s; "
                "nothing was changed",
                hint=f"Look at its output, or stop it with `kill {owner.pid}`.",
            )
        time.sleep(POLL_S)
    return None


def dev_secret(path: Path) -> str:
    """The HS256 secret of this state directory's dev tokens, made once: 256 random bits in hex."""
    if secret := known_secret(path):
        return secret
    secret = secrets.token_hex(32)
    _write_private(path / JWT_SECRET, secret.encode())
    return secret


def known_secret(path: Path) -> str:
    """As :func:`dev_secret`, empty where none was made yet."""
    with contextlib.suppress(FileNotFoundError):
        secret = (path / JWT_SECRET).read_text(encoding="ascii").strip()
        if len(secret) >= 32:
            return secret
    return ""


def _write_private(file: Path, content: bytes) -> None:
    draft = file.with_name(f"{file.name}.{os.getpid()}.new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
