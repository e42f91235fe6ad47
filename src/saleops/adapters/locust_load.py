"""Load by locust, headless, as a child process.

locust patches the standard library (gevent), so it never shares a process with us. It is told what to do by a file in a
private folder (the file holds the secret that signs buyers' tokens, so neither arguments nor environment do), says
once a second how far it is, and leaves its result in the same folder.
"""

import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from saleops.adapters.locust_job import LocustJob
from saleops.errors import UpstreamError
from saleops.ports.load import LoadRequest, LoadResult, LoadTick

GRACE_S = 30.0
"""How long past its own duration a load test may take before it is stopped: start-up and last answers."""

KNOCK_TIMEOUT_S = 5.0
_MODULE = "saleops.adapters.locust_file"


class LocustLoad:
    """Runs ``LoadRequest`` as simulated buyers. Traffic goes to ``request.base_url`` alone."""

    async def run(self, request: LoadRequest, on_tick: Callable[[LoadTick], None]) -> LoadResult:
        await _knock(request.base_url)
        with tempfile.TemporaryDirectory(prefix="saleops-load-") as folder:  # mode 0700
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
        lead_s = max(0.0, request.opens_ms / 1000 - time.time())
        with log.open("wb") as messages:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", _MODULE, str(job)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=messages,
                start_new_session=True,  # Ctrl-C is ours to pass on
            )
            try:
                async with asyncio.timeout(lead_s + request.shape.duration_s + GRACE_S):
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


async def _knock(base_url: str) -> None:
    """Raises UpstreamError when nobody listens at ``base_url``: better now than as thousands of errors."""
    parts = urlsplit(base_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(KNOCK_TIMEOUT_S):
            _, writer = await asyncio.open_connection(parts.hostname, port)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    except (OSError, TimeoutError) as error:
        why = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise UpstreamError(
            f"nobody listens at {base_url} ({why}); nothing was sent",
            hint="Start the shop with `saleops serve`, or name another URL with --url.",
        ) from error


def _read_result(result: Path, log: Path, status: int) -> LoadResult:
    if not result.exists():
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        said = log.read_text(errors="replace").strip().splitlines()[-3:]
        raise UpstreamError(
            f"locust ended {how} and without a result: {' | '.join(said) or 'no message'}",
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
