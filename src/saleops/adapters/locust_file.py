"""The buyers of a load test. Run by locust in a process of its own, never imported by saleops itself.

    python -m locust -f locust_file.py --headless --host http://127.0.0.1:8080

Reads its orders from the JSON file that ``SALEOPS_LOAD`` names (a ``LocustJob``), prints one line of JSON a second on
standard output (a ``LoadTick``) and writes a ``LoadResult`` to the job's ``result`` file at the end.

A buyer looks at pages, refreshes, and now and then orders. An order that gets no clear answer is sent again under the
same Idempotency-Key, as a shop's page does; after a 201 the buyer reads the order back and expects to see it. A few
buyers send an order twice on purpose: the second answer must be the same order. Sold out is an answer, not an error.
"""

import gevent
from locust import FastHttpUser, LoadTestShape, constant_throughput, events, task

# locust patches the standard library when it is imported; everything else comes after it.
import os  # isort: skip
import random  # isort: skip
import time  # isort: skip
from pathlib import Path  # isort: skip
from typing import Any  # isort: skip

import msgspec  # isort: skip

from saleops.adapters.locust_job import LocustJob  # isort: skip
from saleops.domain.latency import Histogram  # isort: skip
from saleops.domain.traffic import Demand  # isort: skip
from saleops.ports.load import LoadResult, LoadTick  # isort: skip

FILES = msgspec.json.decode(Path(os.environ["SALEOPS_LOAD"]).read_bytes(), type=LocustJob)
JOB = FILES.request
SHAPE = JOB.shape
DEMAND = Demand(msgspec.json.decode(Path(FILES.demand).read_bytes(), type=list[tuple[str, float]]))
USER_RPS = 4.0  # what one simulated buyer does a second, so that users = wanted rps / USER_RPS
TRIES = 6


class Tally:
    """What happened, in this process."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.result = LoadResult()
        self.pages = Histogram()
        self.checkouts = Histogram()
        self.both = Histogram()

    @property
    def second(self) -> float:
        return time.perf_counter() - self.started

    def request(self, kind: str, seconds: float) -> None:
        (self.checkouts if kind == "order" else self.pages).record(seconds)
        self.both.record(seconds)
        self.result.requests += 1
        per_second = self.result.requests_each_second
        now = int(self.second)
        while len(per_second) <= now:
            per_second.append(0)
        per_second[now] += 1

    def error(self, text: str) -> None:
        self.result.errors += 1
        known = self.result.error_samples
        if text in known or len(known) < 20:
            known[text] = known.get(text, 0) + 1


TALLY = Tally()


def token_for(buyer: str) -> str:
    import jwt

    claims = {"sub": buyer, "aud": JOB.audience, "exp": int(time.time()) + 3600}
    if JOB.issuer:
        claims["iss"] = JOB.issuer
    return jwt.encode(claims, JOB.hs256_secret, algorithm="HS256")


class Shape(LoadTestShape):
    """The sale's own shape, in users."""

    def tick(self) -> tuple[int, float] | None:
        second = TALLY.second
        if second >= SHAPE.duration_s:
            return None
        users = max(1, round(SHAPE.rps_at(second) / USER_RPS))
        return users, max(50.0, users)


class Buyer(FastHttpUser):
    wait_time = constant_throughput(USER_RPS)
    network_timeout = 10.0
    connection_timeout = 5.0
    max_retries = 0
    numbers = 0

    def on_start(self) -> None:
        Buyer.numbers += 1
        self.number = Buyer.numbers
        self.rng = random.Random(f"{JOB.seed}:{self.number}")
        self.orders = 0
        self.client_of = f"r{JOB.seed}-{JOB.run}-{self.number}"

    @task
    def act(self) -> None:
        if (
            self.rng.random() * (JOB.page_views_per_order + 1) < 1.0
            and TALLY.second >= SHAPE.lead_s
        ):
            self.order()
        else:
            self.look()

    def look(self) -> None:
        rng = self.rng
        if SHAPE.storms_at(TALLY.second) and rng.random() < JOB.storm_share:
            sku = rng.choice(DEMAND.hottest)
        else:
            sku = DEMAND.draw(rng.random())
        kind = rng.random()
        path = f"/products/{sku}"
        if kind < 0.1:
            path += "/reviews"
        elif kind < 0.2:
            path += "/recommendations"
        status, _, _ = self.send("page", "GET", path, {}, None)
        if status != 200:
            TALLY.error(f"GET {path.replace(sku, '{sku}')}: {status or 'no answer'}")

    def send(
        self, kind: str, method: str, path: str, headers: dict[str, str], body: str | None
    ) -> tuple[int, bytes, dict[str, str]]:
        """(status, body, headers); status 0 is no answer at all."""
        began = time.perf_counter()
        name = path.split("/")[1]
        with self.client.request(
            method, path, headers=headers, data=body, catch_response=True, name=name
        ) as answer:
            status, content = answer.status_code or 0, answer.content or b""
            found = dict(answer.headers or {})
            answer.success()  # we judge ourselves: 409 is a good answer here
        TALLY.request(kind, time.perf_counter() - began)
        return status, content, found

    def order(self) -> None:
        """A new buyer orders once, sending again until there is a clear answer."""
        self.orders += 1
        buyer = f"{self.client_of}-{self.orders}"
        sku = DEMAND.draw(self.rng.random())
        units = 2 if self.rng.random() < JOB.two_units_share else 1
        token = "" if self.rng.random() < JOB.unpaid_share else "tok_visa"
        headers = {
            "authorization": f"Bearer {token_for(buyer)}",
            "idempotency-key": f"{buyer}-1",
            "content-type": "application/json",
        }
        body = msgspec.json.encode({"sku": sku, "units": units, "payment_token": token}).decode()
        for attempt in range(TRIES):
            status, content, found = self.send("order", "POST", "/orders", headers, body)
            if status == 201:
                return self.ordered(content, headers, body)
            if status == 409:
                TALLY.result.sold_out += 1
                return None
            if status not in (0, 429, 502, 503, 504):
                return TALLY.error(
                    f"POST /orders: {status} {content[:120].decode(errors='replace')}"
                )
            TALLY.result.retries += 1
            wait_s = float(found.get("retry-after") or found.get("Retry-After") or 0.2)
            gevent.sleep(min(wait_s, 2.0) * self.rng.uniform(0.5, 1.0) * (1 + attempt / 2))
        return TALLY.error(f"POST /orders: no clear answer after {TRIES} tries (last {status})")

    def ordered(self, content: bytes, headers: dict[str, str], body: str) -> None:
        order = msgspec.json.decode(content)
        TALLY.result.orders += 1
        TALLY.result.units += order["units"]
        who = {"authorization": headers["authorization"]}
        if self.rng.random() < JOB.replay_share:
            status, again, _ = self.send("order", "POST", "/orders", headers, body)
            TALLY.result.replays += 1
            if status != 201 or msgspec.json.decode(again)["order_id"] != order["order_id"]:
                TALLY.error(f"POST /orders again: {status}, not the same order")
        status, mine, _ = self.send("page", "GET", "/orders", who, None)
        if status != 200:
            TALLY.error(f"GET /orders: {status or 'no answer'}")
        elif order["order_id"] not in [
            row["order_id"] for row in msgspec.json.decode(mine)["orders"]
        ]:
            TALLY.error("GET /orders: the order just placed is not in the list")


def tick_each_second() -> None:
    while True:
        gevent.sleep(1.0)
        result = TALLY.result
        tick = LoadTick(
            second=TALLY.second,
            wanted_rps=SHAPE.rps_at(TALLY.second),
            requests=result.requests,
            orders=result.orders,
            sold_out=result.sold_out,
            errors=result.errors,
        )
        print(msgspec.json.encode(tick).decode(), flush=True)  # noqa: T201  # the protocol with our parent


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def on_start(environment: Any, **_: Any) -> None:
    if JOB.opens_ms:
        # Early: wait for second 0. Late: begin in the middle of the shape, so that the doors open on time.
        wait_s = JOB.opens_ms / 1000 - SHAPE.lead_s - time.time()
        gevent.sleep(max(0.0, wait_s))
        TALLY.started = time.perf_counter() + min(0.0, wait_s)
    else:
        TALLY.started = time.perf_counter()
    gevent.spawn(tick_each_second)


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def on_quit(environment: Any, **_: Any) -> None:
    result = TALLY.result
    result.seconds = TALLY.second
    result.pages, result.checkouts, result.both = TALLY.pages, TALLY.checkouts, TALLY.both
    Path(FILES.result).write_bytes(msgspec.json.encode(result))
    environment.process_exit_code = (
        0  # our verdict is not locust's: thresholds are judged by the parent
    )
