"""Real workers, killed (SIGKILL, by themselves) at named points of the order path, on real engines.

Buyers order through the gateway of a real ``saleops serve`` while one worker after another ends in the middle of an act;
the supervisor starts it again. Afterwards every order that was answered 201 is there, and ``saleops reconcile`` finds a
ledger that balances. CI kills at a sample of the points; ``make crash-real`` at every one that real time can reach.
"""

import json
import os
import random
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import msgspec
import pytest

from saleops import wiring
from saleops.adapters.fault_points import POINTS
from saleops.adapters.jwt_tokens import issue_dev_token
from saleops.config.settings import FAULTS_VARIABLE, Fault
from saleops.domain.orders import OrderState

SALE = "crash-points"
SALEOPS = (sys.executable, "-m", "saleops")
STRIKE_WITHIN_S = 60.0
QUIET_WITHIN_S = 120.0
BUYERS_AT_ONCE = 8
SHOP_POINTS = 16  # of `make crash-real` in one shop
TOKENS = ("tok_visa", "tok_visa", "tok_visa", "tok_flaky_2", "tok_declined", "")
PERIODIC = ("epoch.", "board.", "loans.", "announce.", "sweep.expired", "receive")
"""Passed all the time, and first before the worker is up: killed there it would count as one that cannot start."""

RARELY = ("loans.", "announce.")
"""Every 5 and 15 s of a worker's life, and its life is short here."""

ROUNDABOUT = {
    "sweep.fence": "order.half.before",
    "sweep.confirm": "order.confirm.before",
    "sweep.release": "order.half.before",
    "order.rollback": "order.place.before",
    "checkback.": "order.place.before",
    "payment.retry": "payment.begin.before",
    "shipping.retry": "shipping.ship.before",
    "deadline.retry": "deadline.cancel.before",
}
"""Where a point begins with this, a request that is lost at that one leads there."""

OUT_OF_REACH = (
    *("order.tx-state", "order.release", "order.settle", "order.borrow", "order.lend"),
    *("loans.borrow", "loans.settle.", "epoch.has-orders", "epoch.marks", "halves.", "orders-of"),
    *(
        "shipping.orders",
        "deadline.orders",
        "publish-retry",
        "deadline.publish-deadline",
        "board.buyers",
    ),
)
"""Needs a loan, a reply lost inside a driver or an outage of minutes: simulated time has them, tests/crash."""

REACHABLE = tuple(point for point in POINTS if not any(part in point for part in OUT_OF_REACH))
EVERYTHING = os.environ.get("CRASH_POINTS") == "all"

UNANSWERED = ("order.half.after", "order.commit.before")
"""Killed here, a half message stays silent: on RocketMQ its own check-back must end it, and CI sees that each time."""


@dataclass(frozen=True)
class Engines:
    """URLs of one set of engines; ``broker`` is the stock store's, unless it is RocketMQ."""

    redis: str
    database: str
    broker: str


ENGINES = (
    "valkey+sqlite",
    *(["redis+mysql"] if EVERYTHING else []),  # in CI the next one stands for both
    pytest.param("redis+mysql+rocketmq", marks=pytest.mark.xdist_group("rocketmq")),
)


@pytest.fixture(params=ENGINES)
def engines(request: pytest.FixtureRequest) -> Engines:
    redis, database, *broker = request.param.split("+")
    redis_url = request.getfixturevalue(f"{redis}_url")
    broker_url = request.getfixturevalue("rocketmq").url if broker else redis_url
    return Engines(redis_url, request.getfixturevalue(f"{database}_url"), broker_url)


def sample(name: str) -> list[list[str]]:
    """The points to kill at, a shop each: all that can be reached, or a few of CRASH_SEED's choice."""
    points = list(REACHABLE)
    random.Random(f"{os.environ.get('CRASH_SEED', '1')} {name}").shuffle(points)
    if EVERYTHING:
        return [points[at : at + SHOP_POINTS] for at in range(0, len(points), SHOP_POINTS)]
    if "rocketmq" in name:
        return [[*UNANSWERED, *(point for point in points if point not in UNANSWERED)][:7]]
    return [points[:8]]


@pytest.mark.timeout(3600 if EVERYTHING else 240)
def test_workers_killed_at_named_points_lose_nothing(
    engines: Engines, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    began_s, shops, killed = time.monotonic(), sample(request.node.name), 0
    for number, points in enumerate(shops):
        folder = tmp_path / str(number)
        folder.mkdir()
        shop = Shop(engines, folder, points)
        shop.seed(anew=number > 0)
        with shop.serving():
            shop.sell_until_struck()
            killed += len(shop.struck())
            print(f"killed at {', '.join(sorted(shop.struck()))}", flush=True)
            shop.wait_until_balanced()
            shop.check_promises()
    took_s = time.monotonic() - began_s
    print(
        f"points {killed} of {sum(map(len, shops))}, runs {len(shops)}, violations 0, {took_s:.0f} s"
    )


class Shop:
    """A ``saleops serve`` whose workers die at ``points``, once each, and its buyers."""

    def __init__(self, engines: Engines, folder: Path, points: Sequence[str]) -> None:
        self.engines = engines
        self.folder = folder
        self.points = points
        self.promised: set[str] = set()
        self._marks = folder / "marks"
        self._marks.mkdir()
        self._numbers = count()
        self._sale_file = folder / "sale.yaml"
        example = Path(__file__).parents[2] / "examples" / "midnight-drop" / "sale.yaml"
        text = example.read_text().replace("name: midnight-drop", f"name: {SALE}")
        self._sale_file.write_text(
            text.replace("ttl_s: 10 #", "ttl_s: 3 #").replace("ttl_s: 15 #", "ttl_s: 5 #")
        )
        (folder / "items.csv").write_text(
            "sku,name,price,stock,limit_per_buyer,popularity\n"
            "hot,Hot,9.00,4000,0,900\nfew,Rare,2.50,40,2,20\nplain,Plain,1.00,4000,0,1\n"
        )

    @property
    def _engine_flags(self) -> list[str]:
        its = self.engines
        urls = ["--redis", its.redis, "--broker", its.broker, "--database", its.database]
        return [*urls, "--state-dir", str(self.folder / "state")]

    def _faults(self) -> list[Fault]:
        faults = []
        rng = random.Random(" ".join(self.points))
        for point in self.points:
            often = any(part in point for part in PERIODIC)
            at = rng.randrange(4, 12) if often else rng.randrange(1, 4)
            at = 2 if point.startswith(RARELY) else at
            way = next((way for start, way in ROUNDABOUT.items() if point.startswith(start)), "")
            if way:
                mark = str(self._marks / f"way to {point}")
                faults.append(Fault(point=way, action="lost-request", at=at, mark=mark))
                at = 1
            mark = str(self._marks / point)
            faults.append(Fault(point=point, action="kill", at=at, mark=mark))
        # A commit that never reaches its broker, with nobody dying: check-back ends that half too.
        mark, point = str(self._marks / "lost commit"), "order.commit.before"
        faults.append(Fault(point=point, action="lost-request", at=4, mark=mark))
        return faults

    def seed(self, *, anew: bool) -> None:
        """Put the sale on sale; ``anew``: in place of the one before it on these engines."""
        if not anew:
            self.command("seed")
            return
        with wiring.open_order_book(self.engines.database) as book:
            before = book.sale(SALE)
        assert before is not None
        self.command("seed", "--replace", before.epoch, "--yes")

    def command(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*SALEOPS, *words, str(self._sale_file), *self._engine_flags],
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    @contextmanager
    def serving(self) -> Iterator[None]:
        faults = msgspec.json.encode(self._faults()).decode()
        log_path = self.folder / "serve.log"
        flags = ["--sale", str(self._sale_file), "--open-now", "--port", "0", "-ojson"]
        with (
            log_path.open("w") as log,
            subprocess.Popen(
                [*SALEOPS, "serve", *flags, *self._engine_flags],
                env={**_environment(), FAULTS_VARIABLE: faults},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            ) as process,
        ):
            try:
                assert process.stdout is not None
                text = ""
                while line := process.stdout.readline():
                    text += line
                    if line == "}\n":
                        break
                assert text, log_path.read_text()[-3000:]
                self._url = json.loads(text)["url"]
                self._secret = wiring.running_shop(self.folder / "state").hs256_secret
                yield
            finally:
                process.terminate()
                try:
                    process.wait(40)
                finally:
                    process.kill()

    def struck(self) -> set[str]:
        return {path.name for path in self._marks.iterdir() if path.name in self.points}

    def sell_until_struck(self) -> None:
        """Orders from many buyers, each sent until it has an answer, until every worker died where it was to."""
        deadline = time.monotonic() + STRIKE_WITHIN_S
        with ThreadPoolExecutor(BUYERS_AT_ONCE) as buyers:
            while self.struck() != set(self.points):
                missing = sorted(set(self.points) - self.struck())
                if EVERYTHING and time.monotonic() > deadline:
                    print(f"nobody came to {', '.join(missing)}")
                    return
                assert time.monotonic() < deadline, f"nobody came to {missing}"
                list(buyers.map(self._buy, [next(self._numbers) for _ in range(16)]))

    def _buy(self, number: int) -> None:
        rng = random.Random(number)
        buyer = f"buyer-{number}"
        body = {"sku": rng.choice(("hot", "hot", "plain", "few")), "units": rng.choice((1, 2))}
        if payment := rng.choice(TOKENS):
            body["payment_token"] = payment
        token = issue_dev_token(
            self._secret, buyer, ttl_s=3600, audience="saleops", now_s=time.time()
        )
        request = urllib.request.Request(
            f"{self._url}/orders",
            json.dumps(body).encode(),
            {
                "authorization": f"Bearer {token}",
                "content-type": "application/json",
                "idempotency-key": f"key-{number}",
            },
        )
        for attempt in range(rng.choice((1, 12, 12))):  # some give up at once and never come back
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    self.promised.add(json.load(answer)["order_id"])
                    return
            except urllib.error.HTTPError as error:
                error.close()
                if error.code not in (502, 503):
                    return
            except OSError:
                pass
            time.sleep(0.1 * (1 + attempt))

    def wait_until_balanced(self) -> None:
        """The ledger as the command sees it, asked until it balances: what was in flight comes again after 30 s."""
        deadline = time.monotonic() + QUIET_WITHIN_S
        while True:
            ledger = self.command("reconcile", check=False)
            if ledger.returncode == 0:
                return
            assert time.monotonic() < deadline, ledger.stdout + ledger.stderr
            time.sleep(1)

    def check_promises(self) -> None:
        with wiring.open_order_book(self.engines.database) as book:
            ids = sorted(self.promised)
            assert ids
            there = book.orders(ids)
        assert [one for one in ids if one not in there] == []
        assert [one for one in ids if there[one].state == OrderState.TOMBSTONE] == []


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SALEOPS_")}
