"""``make soak``: sell for ten minutes while everything is killed in turn, then hold the ledger against every promise.

    python tests/soak/run.py                      capacity, 10 minutes at 70 % of it, a kill every 20 s; writes docs/soak.md
    python tests/soak/run.py --minutes 2 --peak 150 --no-page

Engines: RocketMQ, MariaDB and Redis of this machine, started here on loopback. The load is ``saleops loadtest``; beside it a
prober orders all the time and remembers every 201. Exits 0 only if nothing was oversold, orphaned or charged twice and
every order that anybody was promised is durable.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "soak.md"
sys.path[:0] = [str(HERE), str(HERE.parent)]

from prober import Prober  # noqa: E402 # the line before makes it found
from targets import Target, engine, worker, workers_of  # noqa: E402

from rocketmq_server import RocketmqServer  # noqa: E402
from saleops.config.settings import JwtSettings  # noqa: E402
from saleops.wiring import dev_token, open_order_book, running_shop  # noqa: E402
from servers import MariadbServer, RedisServer  # noqa: E402

KILL_EVERY_S = 20.0
CAPACITY_S = 15
CAPACITY_TRIED = (100, 150, 200, 250, 300, 400, 500, 600, 800, 1000, 1200, 1500, 2000)
SHARE = 0.7
QUIET_WITHIN_S = 180.0
SKUS, UNITS, LIMITED_UNITS = 60, 200_000, 400
SALE = """\
apiVersion: saleops/v1
name: soak
window: {opens: 2026-11-27T00:00:00+08:00, closes: 2026-11-27T02:00:00+08:00}
region: ap-southeast-1
zones: [ap-southeast-1a]
currency: USD
items: {file: items.csv}
traffic: {baseline_rps: 400, peak_rps: 4000, step_s: 5, peak_orders_per_s: 500, page_views_per_order: 4}
services:
  order: {rps_per_pod: 450, connections_per_pod: 1, cpu: "1", memory: 1Gi}
  catalog: {rps_per_pod: 4000, connections_per_pod: 1, cpu: "1", memory: 1Gi}
  payment: {rps_per_pod: 300, connections_per_pod: 1, cpu: "1", memory: 1Gi}
  shipping: {rps_per_pod: 300, connections_per_pod: 1, cpu: "1", memory: 1Gi}
nodes: {instance_types: [ecs.c7.xlarge], spot_share: 0.7}
limits: {budget: 5000 USD, database_connections: 8000}
objectives: {checkout_p99_ms: 1000, error_rate: 0.001, oversold_units: 0, orphan_orders: 0}
reservations: {ttl_s: 10}
payment: {ttl_s: 30}
cache: {ttl_s: 300, jitter: 0.2}
"""


@dataclass(frozen=True)
class Kill:
    """One kill: when (seconds into the load), until the process was there again, and until buyers were served again."""

    name: str
    at_s: float
    back_s: float
    served_s: float


@dataclass(frozen=True)
class Shop:
    sale: Path
    state: Path
    environment: dict[str, str]
    database_url: str
    serve: "subprocess.Popen[bytes]"

    def saleops(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "saleops", *words, "--state-dir", str(self.state)],
            env=self.environment,
            capture_output=True,
            text=True,
            check=check,
        )


def write_sale(folder: Path) -> Path:
    rows = ["sku,name,department,category,price,stock,limit_per_buyer,popularity"]
    for number in range(SKUS):
        # The three hottest run out: sold-out answers and shards that lend belong to a sale.
        units = LIMITED_UNITS if number < 3 else UNITS
        rows.append(
            f"soak-{number:03d},Thing {number},Shop,Things,{1 + number}.50,{units},,{1000 // (number + 1)}"
        )
    (folder / "items.csv").write_text("\n".join(rows) + "\n")
    path = folder / "sale.yaml"
    path.write_text(SALE)
    return path


@contextmanager
def shop(folder: Path, redis: RedisServer, mariadb: MariadbServer, rocketmq: Any) -> Iterator[Shop]:
    """A seeded shop that sells on the three engines."""
    sale, state = write_sale(folder), folder / "state"
    database_url = mariadb.create_database("soak")
    environment = {
        **os.environ,
        "SALEOPS_REDIS_URL": redis.url,
        "SALEOPS_DATABASE_URL": database_url,
        "SALEOPS_BROKER_URL": rocketmq.url,
    }
    subprocess.run(
        [sys.executable, "-m", "saleops", "seed", str(sale), "--state-dir", str(state)],
        env=environment,
        check=True,
    )
    with (folder / "serve.log").open("wb") as log:
        serve = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "saleops",
                "serve",
                "--sale",
                str(sale),
                "--open-now",
                "--port",
                "0",
                "--state-dir",
                str(state),
            ],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            deadline = time.monotonic() + 90
            while not (state.is_dir() and running_shop(state).url):
                if serve.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(
                        f"serve did not start:\n{(folder / 'serve.log').read_text()[-3000:]}"
                    )
                time.sleep(0.1)
            yield Shop(sale, state, environment, database_url, serve)
        finally:
            serve.send_signal(signal.SIGTERM)
            serve.wait(60)


def start_load(one: Shop, *, seconds: float, peak: float, seed: int) -> "subprocess.Popen[str]":
    words = ["-o", "json", "loadtest", str(one.sale), "--duration", f"{seconds:g}"]
    words += ["--peak", f"{peak:g}", "--seed", str(seed), "--state-dir", str(one.state)]
    return subprocess.Popen(
        [sys.executable, "-m", "saleops", "--quiet", *words],
        env=one.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def report_of(load: "subprocess.Popen[str]") -> dict[str, Any]:
    """What the load test says when it is over, whatever its verdict."""
    out, errors = load.communicate(timeout=1200)
    if load.returncode not in (0, 3):
        raise RuntimeError(f"loadtest ended with {load.returncode}: {errors[-2000:]}")
    report: dict[str, Any] = json.loads(out)
    return report


def capacity(one: Shop) -> int:
    """The highest rate tried that the sale's objectives survive."""
    best = 0
    for seed, peak in enumerate(CAPACITY_TRIED, 100):
        report = report_of(start_load(one, seconds=CAPACITY_S, peak=peak, seed=seed))
        load = report["load"]
        print(
            f"  {peak} rps: {report['verdict']}, {load['achieved_rps']:.0f} rps, p99 {load['checkout_p99_ms']:.0f} ms,"
            f" {load['errors']} errors",
            flush=True,
        )
        if report["verdict"] != "GO":
            break
        best = peak
    if not best:
        raise RuntimeError("the shop does not even carry the lowest rate")
    return best


def sell_and_kill(
    one: Shop, targets: Sequence[Target], *, minutes: float, peak: float
) -> tuple[dict[str, Any], list[Kill], Prober]:
    running = running_shop(one.state)
    tokens = [
        dev_token(running.hs256_secret, f"prober-{i}", ttl_s=36_000, settings=JwtSettings())
        for i in range(200)
    ]
    skus = [f"soak-{number:03d}" for number in range(3, SKUS)]
    marks: list[tuple[str, float, float]] = []
    with Prober(running.url, tokens, skus) as prober:
        load = start_load(one, seconds=minutes * 60, peak=peak, seed=7)
        begun = time.monotonic()
        time.sleep(KILL_EVERY_S / 2)
        while time.monotonic() - begun < minutes * 60 - KILL_EVERY_S and load.poll() is None:
            target = targets[len(marks) % len(targets)]
            at = time.monotonic()
            target.kill()
            marks.append((target.name, at, time.monotonic() - at))
            print(
                f"  {at - begun:5.0f} s  {target.name} killed, back after {marks[-1][2]:.1f} s",
                flush=True,
            )
            time.sleep(max(0.0, at + KILL_EVERY_S - time.monotonic()))
        report = report_of(load)
    kills = [
        Kill(name, at - begun, back, prober.out_s(at, at + KILL_EVERY_S))
        for name, at, back in marks
    ]
    return report, kills, prober


def wait_quiet(one: Shop) -> tuple[float, dict[str, Any]]:
    """Until the ledger balances with nothing on its way, at most QUIET_WITHIN_S: seconds and the last ledger."""
    begun = time.monotonic()
    while True:
        done = one.saleops("-o", "json", "reconcile", str(one.sale), check=False)
        ledger = json.loads(done.stdout) if done.returncode in (0, 3) else {}
        waited = time.monotonic() - begun
        if done.returncode == 0 and not ledger["reserved"]:
            return waited, ledger
        if waited > QUIET_WITHIN_S:
            if not ledger:
                raise RuntimeError(f"reconcile ended with {done.returncode}: {done.stderr[-2000:]}")
            return waited, ledger
        time.sleep(2)


def missing_orders(one: Shop, promised: Sequence[str]) -> list[str]:
    with open_order_book(one.database_url) as book:
        found: set[str] = set()
        for at in range(0, len(promised), 500):
            found |= book.orders(promised[at : at + 500]).keys()
    return [order_id for order_id in promised if order_id not in found]


def _capacity(best: int) -> str:
    """``best`` in words; the highest rate that was tried says only that there is more."""
    at_least = "at least " if best >= CAPACITY_TRIED[-1] else ""
    return f"{at_least}{best} requests/s"


def page(
    *,
    minutes: float,
    best: int,
    peak: float,
    report: dict[str, Any],
    kills: Sequence[Kill],
    prober: Prober,
    quiet_s: float,
    ledger: dict[str, Any],
    lost: Sequence[str],
) -> str:
    load = report["load"]
    tried = len(prober.tries)
    unserved = prober.unserved()
    served = (tried - sum(unserved.values())) / max(tried, 1)
    statuses = ", ".join(f"{n} x {status or 'no answer'}" for status, n in sorted(unserved.items()))
    by_name: dict[str, list[Kill]] = defaultdict(list)
    for kill in kills:
        by_name[kill.name].append(kill)
    lines = [
        "# Load with faults",
        "",
        f"Written by `make soak` on {datetime.now(UTC):%Y-%m-%d}: {minutes:g} minutes of `saleops loadtest` on "
        f"{os.cpu_count()} cores that carry RocketMQ, MariaDB, Redis, all services and the load itself, while one process "
        f"after the other is killed (SIGKILL) every {KILL_EVERY_S:g} s. Capacity: {_capacity(best)}; load: "
        f"{peak:.0f} requests/s.",
        "",
        "| What | Figure |",
        "|---|---|",
        f"| requests of the load | {load['requests']:,} ({load['rps']:.0f}/s), {load['orders']:,} orders |",
        f"| errors buyers saw | {load['errors']:,} ({load['error_rate']:.3%}); sent again without a clear answer: "
        f"{load['retries']:,} |",
        f"| the prober beside it | {tried:,} orders tried without any retry, {served:.2%} served "
        f"({statuses or 'every one'}) |",
        f"| orders promised to the prober and not in the database | {len(lost)} of {len(prober.promised):,} |",
        f"| quiet after the load | {quiet_s:.0f} s |",
        f"| ledger | {'balanced' if ledger['balanced'] else 'BROKEN'}: {ledger['seeded']:,} seeded = {ledger['left']:,} left + "
        f"{ledger['reserved']:,} reserved + {ledger['sold']:,} sold |",
        f"| oversold units | {ledger['oversold_units']} |",
        f"| orphans (orders, reservations, messages) | {ledger['orphan_orders']}, "
        f"{ledger['orphan_reservations']}, {ledger['ghost_messages']} |",
        f"| double charges, double parcels | {ledger['double_charges']}, {ledger['duplicate_parcels']} |",
        f"| messages delivered twice (allowed: consumers are idempotent) | {ledger['duplicate_messages']} |",
        "",
        "Time to recover, per kind of kill: until the process was there again, and until the last order of the prober that was "
        "not served (0: buyers noticed nothing).",
        "",
        "| Killed | Times | Process back after (median, worst) | Buyers served again after (median, worst) |",
        "|---|---|---|---|",
    ]
    for name, ones in sorted(by_name.items()):
        back = sorted(kill.back_s for kill in ones)
        out = sorted(kill.served_s for kill in ones)
        middle = len(ones) // 2
        lines.append(
            f"| {name} | {len(ones)} | {back[middle]:.1f} s, {back[-1]:.1f} s | {out[middle]:.1f} s, {out[-1]:.1f} s |"
        )
    if load["error_samples"]:
        lines += ["", "What the errors were:", "", "| Times | Answer |", "|---|---|"]
        lines += [
            f"| {n} | `{text[:120]}` |"
            for text, n in sorted(load["error_samples"].items(), key=lambda it: -it[1])[:12]
        ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--peak", type=float, help="skip measuring the capacity and load this much")
    parser.add_argument(
        "--targets", nargs="+", help="what to kill, in this order; default: everything"
    )
    parser.add_argument("--no-page", action="store_true")
    parser.add_argument(
        "--keep", type=Path, help="where logs and state go; default: a temporary folder"
    )
    given = parser.parse_args()
    if given.minutes * 60 < 3 * KILL_EVERY_S:
        parser.error("at least one minute")
    folder = given.keep or Path(tempfile.mkdtemp(prefix="so-soak-", dir="/tmp"))
    folder.mkdir(parents=True, exist_ok=True)
    redis, mariadb, rocketmq = RedisServer(), MariadbServer(), RocketmqServer()
    servers = (redis, mariadb, rocketmq)
    try:
        for server in servers:
            server.start()
        with shop(folder, redis, mariadb, rocketmq) as one:
            if given.peak:
                best, peak = round(given.peak / SHARE), given.peak
            else:
                print("capacity:", flush=True)
                best = capacity(one)
                peak = SHARE * best
            print(f"{given.minutes:g} minutes at {peak:.0f} rps:", flush=True)
            targets = [worker(one.serve.pid, name) for name in sorted(workers_of(one.serve.pid))]
            targets += [
                engine("redis", redis),
                engine("mariadb", mariadb),
                engine("rocketmq", rocketmq),
            ]
            if given.targets:
                by_name = {target.name: target for target in targets}
                targets = [by_name[name] for name in given.targets]
            report, kills, prober = sell_and_kill(one, targets, minutes=given.minutes, peak=peak)
            quiet_s, ledger = wait_quiet(one)
            lost = missing_orders(one, prober.promised)
        text = page(
            minutes=given.minutes,
            best=best,
            peak=peak,
            report=report,
            kills=kills,
            prober=prober,
            quiet_s=quiet_s,
            ledger=ledger,
            lost=lost,
        )
    finally:
        for server in reversed(servers):
            server.close()
    print(text)
    for one_break in ledger["breaks"][:20]:
        print("break:", one_break)
    if not given.no_page:
        PAGE.write_text(text)
    return 0 if ledger["balanced"] and not lost else 1


if __name__ == "__main__":
    sys.exit(main())
