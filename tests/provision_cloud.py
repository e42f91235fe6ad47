"""A local cloud that outlives the commands that use it, for tests of ``saleops provision`` as a process."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from saleops.wiring import LocalCloudAccess, open_local_cloud


@contextmanager
def cloud_on(state_dir: Path) -> Iterator[LocalCloudAccess]:
    """``serve cloud`` in virtual time: it outlives the commands that use it."""
    state_dir.mkdir(exist_ok=True)
    words = ["serve", "cloud", "--virtual", "--port", "0", "--state-dir", str(state_dir), "-q"]
    with subprocess.Popen(
        [sys.executable, "-m", "saleops", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            deadline = time.monotonic() + 30
            while not (state_dir / "cloud" / "address.json").exists():
                assert server.poll() is None, server.stderr and server.stderr.read()
                assert time.monotonic() < deadline, "the local cloud does not come up"
                time.sleep(0.05)
            with open_local_cloud(state_dir) as local:
                yield local
        finally:
            server.terminate()
            server.communicate(timeout=30)
