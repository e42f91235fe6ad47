"""Peak memory of ``saleops seed`` and ``saleops prewarm cache``, each a process of its own, on Redis and MariaDB."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from items import write_sale
from rows import Row

from servers import MariadbServer, RedisServer

HERE = Path(__file__).parent
GOAL_MB = 200
TIMEOUT_S = 1200


def _run(
    folder: Path, *command: str, urls: dict[str, str]
) -> tuple[float, float, dict[str, float]]:
    """Megabytes at the peak, seconds, and the report that was printed."""
    peak = folder / "peak"
    started = time.perf_counter()
    done = subprocess.run(
        [
            sys.executable,
            str(HERE / "peak_memory.py"),
            str(peak),
            "saleops",
            *command,
            "-o",
            "json",
        ],
        cwd=folder,
        env={**os.environ, **urls},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(
            f"saleops {' '.join(command)} ended with {done.returncode}:\n{done.stderr}"
        )
    return int(peak.read_text()) * 1024 / 1e6, seconds, json.loads(done.stdout)


def memory(folder: Path, *, count: int) -> list[Row]:
    home = folder / "memory"
    home.mkdir()
    write_sale(home, count=count)
    database, cache = MariadbServer(), RedisServer()
    try:
        database.start()
        cache.start()
        urls = {
            "SALEOPS_REDIS_URL": cache.url,
            "SALEOPS_DATABASE_URL": database.create_database("bench"),
        }
        seed_mb, seed_s, seeded = _run(home, "seed", "sale.yaml", urls=urls)
        assert seeded["new_rows"] == seeded["new_counters"] == count, seeded
        warm_mb, warm_s, warmed = _run(home, "prewarm", "cache", "sale.yaml", urls=urls)
        assert warmed["written"] == count, warmed
    finally:
        database.close()
        cache.close()

    def row(what: str, mb: float, note: str) -> Row:
        return Row(
            f"peak memory of `{what}` at {count:,} SKUs",
            f"{mb:.0f} MB RSS",
            "",
            "",
            f"< {GOAL_MB} MB",
            mb < GOAL_MB,
            note,
        )

    return [
        row(
            "saleops seed",
            seed_mb,
            f"{seed_s:.0f} s from start to end: every row of the CSV checked, then {seeded['skus_per_s']:,.0f} SKUs/s "
            "into Redis and MariaDB together.",
        ),
        row(
            "saleops prewarm cache",
            warm_mb,
            f"{warm_s:.0f} s from start to end, the proof included; {warmed['keys_per_s']:,.0f} pages/s from MariaDB.",
        ),
    ]
