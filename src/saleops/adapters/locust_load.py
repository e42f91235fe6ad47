"""Load by locust, headless, as a child process.

locust patches the standard library (gevent), so it never shares a process with us. It is told what to do by a file in a
private folder (the file holds the secret that signs buyers' tokens, so neither arguments nor environment do), says
once a second how far it is, and leaves its result in the same folder.
"""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from saleops.adapters.locust_job import LocustJob
from saleops.errors import UpstreamError
from saleops.ports.load import LoadRequest, LoadResult, LoadTick

GRACE_S = 30.0
"""How long past its own duration a load test may take before it is stopped: start-up and last answers."""

_FILE = Path(__file__).with_name("locust_file.py")


class LocustLoad:
    """Runs ``LoadRequest`` as simulated buyers. Traffic goes to ``request.base_url`` alone."""

    async def run(self, request: LoadRequest, on_tick: Callable[[LoadTick], None]) -> LoadResult:
        with tempfile.TemporaryDirectory(prefix="saleops-load-") as folder:
            job_file, demand, result = (Path(folder, name) for name in ("job", "demand", "result"))
            demand.write_bytes(msgspec.json.encode(list(request.demand)))
            bare = msgspec.structs.replace(request, demand=())
            job_file.touch(mode=0o600)
            job_file.write_bytes(msgspec.json.encode(LocustJob(bare, str(demand), str(result))))
            log = Path(folder, "log")
            status = await self._run(request, job_file, log, on_tick)
            return _read_result(result, log, status)

    async def _run(
        self, request: LoadRequest, job: Path, log: Path, on_tick: Callable[[LoadTick], None]
    ) -> int:
        command = [sys.executable, "-m", "locust", "-f", str(_FILE), "--headless"]
        command += ["--host", request.base_url, "--only-summary", "--loglevel", "WARNING"]
        with log.open("wb") as messages:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=messages,
                env={**os.environ, "SALEOPS_LOAD": str(job)},
                start_new_session=True,  # Ctrl-C is ours to pass on
            )
            try:
                async with asyncio.timeout(request.shape.duration_s + GRACE_S):
                    assert process.stdout is not None
                    async for line in process.stdout:
                        if line.startswith(b"{"):
                            on_tick(msgspec.json.decode(line, type=LoadTick))
                    return await process.wait()
            except TimeoutError:
                raise UpstreamError(
                    f"locust had not ended {GRACE_S:.0f} s after its time and was stopped",
                    hint="The machine may be too busy for this load: try a lower --peak.",
                ) from None
            finally:
                await _end(process)


def _read_result(result: Path, log: Path, status: int) -> LoadResult:
    if not result.exists():
        said = log.read_text(errors="replace").strip().splitlines()[-5:]
        raise UpstreamError(
            f"locust ended with {status} and without a result: {' | '.join(said) or 'no message'}",
            hint="Check the installation with `python -m locust --version`.",
        )
    return msgspec.json.decode(result.read_bytes(), type=LoadResult)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Stop a child that still runs: asked first, then made to."""
    if process.returncode is not None:
        return
    for signum, wait_s in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signum)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), timeout=wait_s)
            return
