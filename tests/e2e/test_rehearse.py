"""``saleops rehearse`` as people and CI run it: the real command, real engines, real workers, and what it leaves behind.

One GO run is made for the whole module and its state kept; faults are planted in copies of that state. The sale lets
unpaid orders lapse after seconds, so that a run is over when its load is.
"""

import json
import os
import selectors
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from saleops.wiring import open_order_book
from servers import RedisServer, ValkeyServer

pytestmark = [pytest.mark.xdist_group("heavy"), pytest.mark.timeout(150)]

RUN_TIMEOUT_S = 100
LEDGER_KEYS = {
    "skus",
    "seeded",
    "left",
    "reserved",
    "sold",
    "oversold_units",
    "undersold_units",
    "orphan_reservations",
    "orphan_orders",
    "duplicate_orders",
    "unpaid_orders",
    "double_charges",
    "missing_parcels",
}
LOAD_KEYS = {
    "requests",
    "orders",
    "errors",
    "rps",
    "orders_per_s",
    "p50_ms",
    "p95_ms",
    "p99_ms",
    "target_rps",
    "achieved_rps",
}
CLOUD_KEYS = {
    "preflight",
    "short",
    "resources",
    "ready",
    "failed",
    "second_plan_writes",
    "left",
    "reads",
    "writes",
    "cloud_s",
    "seconds",
}
STEPS = [
    "seed",
    "prewarm",
    "provision",
    "services",
    "countdown",
    "load",
    "drain",
    "reconcile",
    "destroy",
]

SALE_FILE = """\
apiVersion: saleops/v1
name: dress-rehearsal
window: {opens: 2026-11-27T00:00:00+08:00, closes: 2026-11-27T02:00:00+08:00}
region: ap-southeast-1
zones: [ap-southeast-1a, ap-southeast-1b, ap-southeast-1c]
items:
  - {sku: HOT-1, name: Wanted by all, price: 9.90, stock: 40, popularity: 30, limit_per_buyer: 2}
  - {sku: WARM-1, name: Wanted by some, price: 19.00, stock: 400, popularity: 5}
  - {sku: WARM-2, name: Wanted by some, price: 29.00, stock: 400, popularity: 5}
  - {sku: COLD-1, name: Wanted by few, price: 99.00, stock: 50, popularity: 1}
traffic: {baseline_rps: 20, peak_rps: 300, step_s: 1}
objectives: {error_rate: 0.05}
reservations: {ttl_s: 3}
payment: {ttl_s: 3}
"""


@dataclass
class Run:
    """A rehearsal that is over."""

    code: int
    stdout: str
    stderr: str
    state: Path

    @property
    def report(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.stdout)
        return document


class Rehearsal:
    """A rehearsal under way, its stderr read line by line."""

    def __init__(self, folder: Path, sale: Path, *flags: str, **variables: str) -> None:
        self.state = folder / "state"
        self._out = folder / "stdout"
        self.lines: list[str] = []
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith("SALEOPS_")
        }
        command = [sys.executable, "-m", "saleops", "rehearse", str(sale)]
        command += ["--duration", "6", "--state-dir", str(self.state), "-o", "json", *flags]
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.PIPE,
                cwd=folder,
                env={**kept, **variables},
                start_new_session=True,
            )
        assert self.process.stderr is not None
        self._stderr = self.process.stderr
        self._deadline = time.monotonic() + RUN_TIMEOUT_S

    @property
    def folder(self) -> Path:
        """Where this rehearsal keeps its data."""
        [one] = (self.state / "rehearsals").iterdir()
        return one

    def read_until(self, seen: Callable[[str], bool]) -> str:
        """The first line of stderr that ``seen`` accepts; empty when there is none to the end."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._stderr, selectors.EVENT_READ)
            while selector.select(max(0.0, self._deadline - time.monotonic())):
                line = self._stderr.readline().decode()
                if not line:
                    return ""
                self.lines.append(line)
                if seen(line):
                    return line
        raise AssertionError(f"too slow:\n{''.join(self.lines)}")

    def end(self) -> Run:
        self.read_until(lambda line: False)
        code = self.process.wait(RUN_TIMEOUT_S)
        return Run(code, self._out.read_text(), "".join(self.lines), self.state)

    def close(self) -> None:
        """Leave nothing behind, whatever happened."""
        for pid in processes_of(self.process.pid, self.state):
            os.kill(pid, signal.SIGKILL)
        self.process.wait(10)
        self._stderr.close()


def processes_of(root: int, state: Path) -> set[int]:
    """``root``, all living processes below it, and whoever else names this state directory: orphans of a parent that died
    still do, in their command line or their environment.
    """
    parents: dict[int, int] = {}
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            known = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:  # it ended meanwhile
            continue
        if fields[0] == "Z":
            continue
        pid = int(entry.name)
        parents[pid] = int(fields[1])
        if pid == root or str(state).encode() in known:
            found.add(pid)
    while below := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= below
    return found


def words_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def start(sale: Path, *flags: str, **variables: str) -> Iterator[Rehearsal]:
    # Not tmp_path: the path of the engine's unix socket must stay short.
    with tempfile.TemporaryDirectory(prefix="so-") as folder:
        rehearsal = Rehearsal(Path(folder), sale, *flags, **variables)
        try:
            yield rehearsal
        finally:
            rehearsal.close()


@pytest.fixture(scope="module")
def sale(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sale") / "sale.yaml"
    path.write_text(SALE_FILE)
    return path


@pytest.fixture(scope="module")
def go(sale: Path) -> Iterator[Run]:
    """A GO run on the embedded engines, its state kept."""
    for rehearsal in start(sale, "--keep"):
        yield rehearsal.end()


def assert_go(run: Run) -> dict[str, Any]:
    assert run.code == 0, run.stderr
    report = run.report  # exactly one JSON document, or this fails
    assert next(iter(report)) == "schema"
    assert (report["schema"], report["verdict"]) == ("saleops/rehearse/v1", "GO")
    assert [step["name"] for step in report["steps"]] == STEPS
    assert {step["status"] for step in report["steps"]} == {"ok"}
    assert all(step["seconds"] >= 0 for step in report["steps"])
    ledger, load = report["ledger"], report["load"]
    assert set(ledger) >= LEDGER_KEYS
    assert set(load) >= LOAD_KEYS
    assert set(report["cache"]) >= {"misses", "db_queries"}
    cloud = report["cloud"]
    assert set(cloud) == CLOUD_KEYS
    assert cloud["ready"] == cloud["resources"] > 30
    assert cloud["preflight"] == "GO"
    assert (cloud["failed"], cloud["left"], cloud["second_plan_writes"]) == ([], [], 0)
    assert (ledger["skus"], ledger["seeded"]) == (4, 890)
    assert ledger["seeded"] == ledger["left"] + ledger["reserved"] + ledger["sold"]
    broken = LEDGER_KEYS - {"skus", "seeded", "left", "sold"}
    assert {key: ledger[key] for key in broken} == dict.fromkeys(broken, 0)
    assert ledger["sold"] > 0
    assert load["orders"] > 0
    assert load["sold_out"] > 0, "more buyers than units of the hot item"
    assert report["killed"]["back_after_s"] > 0
    return report


def test_a_sale_that_holds_is_a_go(go: Run) -> None:
    report = assert_go(go)

    assert "SIGKILL for order-" in go.stderr
    assert "is back after" in go.stderr
    assert Path(report["state_dir"]).is_dir(), "--keep"


def test_nothing_runs_on_after_a_go(go: Run) -> None:
    assert processes_of(-1, go.state) == set()


def test_the_state_is_for_its_owner_alone(go: Run) -> None:
    assert go.state.stat().st_mode & 0o077 == 0


def test_it_runs_on_real_engines_named_in_the_environment(
    sale: Path, redis_server: RedisServer, redis_url: str, mysql_url: str
) -> None:
    for rehearsal in start(sale, SALEOPS_REDIS_URL=redis_url, SALEOPS_DATABASE_URL=mysql_url):
        run = rehearsal.end()

        report = assert_go(run)
        with open_order_book(mysql_url) as book:
            charges = sum(1 for _ in book.every_charge())
        assert charges == report["ledger"]["paid_orders"] > 0
        with redis.Redis.from_url(redis_url) as client:
            assert client.dbsize() > 0
        assert "p@ss" not in run.stdout + run.stderr
        assert "p%40ss" not in run.stdout + run.stderr
        assert list((rehearsal.state / "rehearsals").iterdir()) == [], "a GO cleans up after itself"


# -- planted faults ------------------------------------------------------------------------------------------


@pytest.fixture
def kept(go: Run) -> Iterator[Path]:
    """A copy of the GO run's state, to break."""
    with tempfile.TemporaryDirectory(prefix="so-") as folder:
        copy = Path(folder) / "state"
        shutil.copytree(
            go.report["state_dir"], copy, ignore=shutil.ignore_patterns("*.sock", "serve.*")
        )
        yield copy


def reconcile(sale: Path, state: Path) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "saleops", "reconcile", str(sale)]
    done = subprocess.run(
        [*command, "--state-dir", str(state), "-o", "json"],
        env={name: value for name, value in os.environ.items() if not name.startswith("SALEOPS_")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def sql(state: Path, statement: str, *values: object) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(state / "orders.db")
    try:
        rows = connection.execute(statement, values).fetchall()
        connection.commit()
    finally:
        connection.close()
    return rows


def a_paid_order(state: Path) -> str:
    [(order_id,)] = sql(state, "SELECT order_id FROM parcels ORDER BY order_id LIMIT 1")
    return str(order_id)


def lose_its_parcel(state: Path) -> str:
    order_id = a_paid_order(state)
    sql(state, "DELETE FROM parcels WHERE order_id = ?", order_id)
    return order_id


def charge_it_twice(state: Path) -> str:
    order_id = a_paid_order(state)
    with open_order_book(f"sqlite:///{state}/orders.db") as book:
        [amount] = [one.amount_fen for one in book.every_charge() if one.order_id == order_id]
        book.charge([("another-key", order_id, amount)])
    return order_id


def lose_the_order_itself(state: Path) -> str:
    order_id = a_paid_order(state)
    sql(state, "DELETE FROM orders WHERE order_id = ?", order_id)
    return order_id


@pytest.mark.parametrize(
    ("plant", "kinds"),
    [
        (lose_its_parcel, {"missing-parcel"}),
        (charge_it_twice, {"double-charge"}),
        (lose_the_order_itself, set()),
    ],
)
def test_a_planted_fault_is_named_to_the_order(
    sale: Path, kept: Path, plant: Callable[[Path], str], kinds: set[str]
) -> None:
    order_id = plant(kept)

    code, ledger = reconcile(sale, kept)

    assert code == 3
    assert {one["id"] for one in ledger["breaks"] if one["id"]} == {order_id}
    if kinds:
        assert {one["kind"] for one in ledger["breaks"]} == kinds


def test_a_lost_reservation_is_named_to_the_order(sale: Path, kept: Path) -> None:
    order_id = a_paid_order(kept)
    forget_reservation(kept, order_id)

    code, ledger = reconcile(sale, kept)

    assert code == 3
    assert {one["id"] for one in ledger["breaks"] if one["id"]} == {order_id}


def forget_reservation(state: Path, order_id: str) -> None:
    """Remove one order from the reservations of the kept Valkey, as a lost write would."""
    server = ValkeyServer()
    try:
        shutil.copytree(state / "appendonlydir", server.folder / "appendonlydir")
        server.start()
        with redis.Redis.from_url(server.url) as client:
            removed = 0
            for key in client.scan_iter("*", _type="hash"):
                removed += client.hdel(key, order_id)
            assert removed == 1
        server.stop()
        shutil.rmtree(state / "appendonlydir")
        shutil.copytree(server.folder / "appendonlydir", state / "appendonlydir")
    finally:
        server.close()


def test_the_kept_state_balances_before_anybody_breaks_it(sale: Path, kept: Path) -> None:
    code, ledger = reconcile(sale, kept)

    assert (code, ledger["balanced"]) == (0, True)


def test_a_fault_in_the_middle_of_a_run_is_a_no_go_that_names_it(sale: Path) -> None:
    for rehearsal in start(sale):
        rehearsal.read_until(lambda line: "is back after" in line)
        # A provider that forgot the idempotency key, played on the running shop's own books.
        order_id = charge_it_twice(rehearsal.folder)
        run = rehearsal.end()

        assert run.code == 3, run.stderr
        report = json.loads(run.stdout)
        assert report["verdict"] == "NO-GO"
        assert report["ledger"]["double_charges"] == 1
        assert [(one["kind"], one["id"]) for one in report["ledger"]["breaks"]] == [
            ("double-charge", order_id)
        ]
        assert [one["name"] for one in report["checks"] if one["decides"] and not one["ok"]] == [
            "the ledger balances"
        ]
        error = json.loads(run.stderr.splitlines()[-1])["error"]
        assert error["exit_code"] == 3
        assert str(rehearsal.folder) in error["hint"]
        code, ledger = reconcile(sale, rehearsal.folder)
        assert code == 3, "its data is kept, and says the same"
        assert [one["id"] for one in ledger["breaks"]] == [order_id]


# -- interrupted ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_in_the_middle_it_leaves_no_process_and_says_where_its_data_is(
    sale: Path, number: signal.Signals, code: int
) -> None:
    for rehearsal in start(sale):
        rehearsal.read_until(lambda line: line.startswith("load: started ("))
        deadline = time.monotonic() + 30
        running: set[int] = set()
        # Six workers, engine, load generator and the command itself.
        while len(running) < 9 or not any("locust" in words_of(pid) for pid in running):
            assert time.monotonic() < deadline, [words_of(pid) for pid in running]
            time.sleep(0.05)
            running = processes_of(rehearsal.process.pid, rehearsal.state)
        rehearsal.process.send_signal(number)
        run = rehearsal.end()

        assert run.code == code, run.stderr
        assert run.stdout == ""
        assert f"What is left of the rehearsal is in {rehearsal.folder}" in run.stderr
        assert "Traceback" not in run.stderr
        assert processes_of(rehearsal.process.pid, rehearsal.state) == set()
        assert not [pid for pid in running if Path(f"/proc/{pid}").exists()]


# -- nothing was started -------------------------------------------------------------------------------------


def test_a_bad_sale_file_starts_nothing(tmp_path: Path) -> None:
    bad = tmp_path / "sale.yaml"
    bad.write_text(SALE_FILE.replace("stock: 400, popularity: 5}", "stock: -1}", 1))
    for rehearsal in start(bad):
        run = rehearsal.end()

        assert run.code == 2
        assert "sale.yaml:8" in run.stderr
        assert not rehearsal.state.exists()


def test_a_dry_run_starts_nothing_and_says_what_would_be(sale: Path) -> None:
    for rehearsal in start(sale, "--dry-run"):
        run = rehearsal.end()

        assert run.code == 0, run.stderr
        assert (run.report["schema"], run.report["items_count"]) == ("saleops/rehearse-plan/v1", 4)
        assert not rehearsal.state.exists()
