"""The local cloud as a process on this machine: the one that runs on a state directory, or a child for the length of a block.

A running one is believed only when its address and the owner of the folder's lock are the same process: a file without a living
owner is a crash's leftover. A cloud that belongs to another command ends with that command, so it is waited for and never shared.
"""

import contextlib
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from saleops.adapters.file_state import open_state_dir, owner_of
from saleops.adapters.local_processes import LocalProcess
from saleops.config.local_cloud import CLOUD_VARIABLE, CloudAddress, CloudSettings
from saleops.errors import ConfigError, Refused, SaleopsError, UpstreamError

ADDRESS = "address.json"
COMMAND = (sys.executable, "-m", "saleops.services.cloud.process")
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
WAIT_S = 10.0  # for a cloud that is starting, or belongs to a command that is ending
POLL_S = 0.02


def cloud_folder(state_dir: Path) -> Path:
    return state_dir / "cloud"


def running_cloud(folder: Path) -> CloudAddress | None:
    """The cloud that runs on ``folder`` now and has said where."""
    owner = owner_of(folder)
    if owner is None:
        return None
    with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
        address = msgspec.json.decode((folder / ADDRESS).read_bytes(), type=CloudAddress)
        if address.pid == owner.pid:
            return address
    return None


def find_cloud(folder: Path, *, wait_s: float = WAIT_S) -> CloudAddress | None:
    """The ``serve cloud`` that runs on ``folder``; None when nobody has it. Raises Refused while another command keeps it."""
    deadline = time.monotonic() + wait_s
    while True:
        address = running_cloud(folder)
        if address is not None and address.kept:
            return address
        owner = owner_of(folder)
        if owner is None:
            return None
        if time.monotonic() > deadline:
            raise Refused(
                f"the local cloud in {folder} belongs to pid {owner.pid} (saleops {owner.command}); nothing was done",
                hint="Wait until that command is done, or share one cloud: run `saleops serve cloud`.",
            )
        time.sleep(POLL_S)


class LocalCloudProcess:
    """A child. It ends with us, however we end."""

    def __init__(
        self,
        settings: CloudSettings,
        *,
        log: Path | None = None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._folder = Path(settings.folder)
        self._process = LocalProcess(
            "the local cloud",
            command,
            environment={CLOUD_VARIABLE: msgspec.json.encode(settings).decode()},
            log=log,
            reports=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_ready(self, *, timeout_s: float = START_TIMEOUT_S) -> CloudAddress:
        """Where it is. Raises the error that kept it from starting, or UpstreamError."""
        deadline = time.monotonic() + timeout_s
        file = self._folder / ADDRESS
        while time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
                address = msgspec.json.decode(file.read_bytes(), type=CloudAddress)
                if address.pid == self.pid:
                    return address
            if self._process.wait_blocking(POLL_S) is not None:
                raise self._error()
        self.stop()
        raise UpstreamError(
            f"the local cloud was not up after {timeout_s:g} s; it was stopped",
            hint="Is this machine overloaded? Try again, or look at its log in the state directory.",
        )

    def _error(self) -> SaleopsError:
        failure = self._process.failure()
        if failure is None:
            code = self._process.wait_blocking(0)
            return UpstreamError(f"the local cloud ended with exit code {code} as it started")
        kind = {2: ConfigError, 5: Refused}.get(failure.exit_code, UpstreamError)
        return kind(failure.message, hint=failure.hint)

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code; None while it still runs after ``timeout_s``."""
        return self._process.wait_blocking(timeout_s)

    def stop(self) -> None:
        """End it in an orderly way; after a while, in any way."""
        if self._process.wait_blocking(0) is not None:
            return
        self._process.send(signal.SIGTERM)
        if self._process.wait_blocking(STOP_TIMEOUT_S) is None:
            self._process.send(signal.SIGKILL)
            self._process.wait_blocking(STOP_TIMEOUT_S)


@contextlib.contextmanager
def cloud_for_a_while(settings: CloudSettings) -> Iterator[CloudAddress]:
    """The ``serve cloud`` that runs on ``settings.folder``, else a child with ``settings`` for the length of the block."""
    folder = open_state_dir(Path(settings.folder))
    found = find_cloud(folder)
    if found is not None:
        yield found
        return
    child = LocalCloudProcess(settings, log=folder / "cloud.log")
    try:
        yield child.wait_until_ready()
    finally:
        child.stop()
