"""What can be killed: the processes of a running ``saleops serve``, and the engines under it."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from servers import Server

READY_WITHIN_S = 60.0
LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class Target:
    """``kill`` ends it with SIGKILL and brings it back if nobody else does; it returns when the process is there again.
    What it serves may take longer."""

    name: str
    kill: Callable[[], None]


def workers_of(serve_pid: int) -> dict[str, int]:
    """Worker name ("order-1") -> pid of the processes that a serve runs now."""
    found: dict[str, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError, IndexError):  # it ended while we looked
            continue
        if parent == serve_pid and b"saleops.services.worker" in words:
            service = words[words.index(b"saleops.services.worker") + 1].decode()
            found.setdefault(service, []).append(int(entry.name))
    return {
        f"{service}-{number}": pid
        for service, pids in found.items()
        for number, pid in enumerate(sorted(pids), 1)
    }


def worker(serve_pid: int, name: str) -> Target:
    """A worker of ``serve``, whose supervisor brings it back."""
    service = name.partition("-")[0]

    def kill() -> None:
        before = workers_of(serve_pid)
        os.kill(before[name], signal.SIGKILL)
        wanted = sum(one.startswith(service) for one in before)
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            now = workers_of(serve_pid)
            alive = [pid for one, pid in now.items() if one.startswith(service)]
            if before[name] not in alive and len(alive) == wanted:
                return
            time.sleep(LOOK_EVERY_S)
        raise RuntimeError(f"{name} did not come back within {READY_WITHIN_S:g} s")

    return Target(name, kill)


def engine(name: str, server: Server) -> Target:
    """An engine: started again at once, on the data it left."""

    def kill() -> None:
        server.kill()
        server.start()

    return Target(name, kill)
