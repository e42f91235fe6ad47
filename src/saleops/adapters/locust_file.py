"""The buyers of a load test. Runs locust in a process of its own, never imported by saleops itself.

    python -m saleops.adapters.locust_file JOB

JOB is the path of a JSON file (a ``LocustJob``). The process prints one line of JSON a second on standard output (a
``LoadTick``) and writes a ``LoadResult`` to the job's ``result`` file at the end.

Requests come when the sale's shape says, not when earlier answers allow: request number n is due at a fixed moment, and
user i of N takes the numbers i, i + N, i + 2N ... A user who is held up catches up at once; what is later than
``LATE_MAX_S`` is left out, and is missing from the achieved rate. Everything a user draws comes from one random sequence
of its own, the same number of draws whatever the services answer, so a seed makes the same demand again.

A buyer looks at pages, refreshes, and now and then orders. An order that gets no clear answer is sent again under the
same Idempotency-Key, as a shop's page does; after a 201 the buyer reads the order back and expects to see it. A few
buyers send an order twice on purpose: the second answer must be the same order. Sold out is an answer, not an error.

Each user has one connection of geventhttpclient, under locust's own client, which costs three times as much CPU a
request (cookies, redirects, statistics we keep ourselves).
"""

import gevent
from locust import User, task
from locust.env import Environment
from locust.exception import StopUser

# locust patches the standard library when it is imported; everything else comes after it.
import math  # isort: skip
import os  # isort: skip
import random  # isort: skip
import sys  # isort: skip
import time  # isort: skip
from collections.abc import Mapping  # isort: skip
from pathlib import Path  # isort: skip
from typing import Any, NoReturn  # isort: skip
from urllib.parse import quote, urlsplit  # isort: skip

import jwt  # isort: skip
import msgspec  # isort: skip
from geventhttpclient import HTTPClient  # isort: skip
from geventhttpclient.response import HTTPParseError  # isort: skip

from saleops.adapters.locust_job import LocustJob  # isort: skip
from saleops.domain.latency import Histogram  # isort: skip
from saleops.domain.traffic import Demand  # isort: skip
from saleops.ports.load import LoadRequest, LoadResult, LoadTick  # isort: skip

USER_RPS = 4.0
"""What one simulated buyer sends a second at the peak, so that users = peak rps / USER_RPS."""

USERS_MAX = 10_000
LATE_MAX_S = 1.0
TRIES = 6
ERROR_TEXTS_MAX = 20
CONNECTION_TIMEOUT_S = 5.0
NETWORK_TIMEOUT_S = 10.0
LAST_ANSWERS_S = 12.0
"""How long past the end of the load answers are waited for, and orders are sent again."""

_NO_HEADERS: Mapping[str, str] = {}
_UNCLEAR = (0, 429, 502, 503, 504)


class Answer:
    """An answer of the services; ``status`` 0 is none at all, and ``body`` then says why."""

    __slots__ = ("body", "retry_after", "status")

    def __init__(self, status: int, body: bytes, retry_after: object = None) -> None:
        self.status = status
        self.body = body
        self.retry_after = retry_after

    def words(self) -> str:
        """The same for the same kind of failure: the problem's type where there is one, else the beginning."""
        if not self.status:
            return f"no answer ({self.body.decode(errors='replace')})"
        try:
            problem = msgspec.json.decode(self.body)
            kind = str(problem["type"]).rpartition("/")[2] if isinstance(problem, dict) else ""
        except (msgspec.DecodeError, KeyError):
            kind = ""
        return f"{self.status} {kind or self.body[:60].decode(errors='replace')}".strip()

    def is_problem(self, slug: bytes) -> bool:
        return b"/problems/" + slug + b'"' in self.body


class Load:
    """One load test: what it is about, and what happened so far."""

    def __init__(self, request: LoadRequest, demand: Demand) -> None:
        self.request = request
        self.shape = request.shape
        self.demand = demand
        self.prefix = urlsplit(request.base_url).path.rstrip("/")
        self.users = min(USERS_MAX, max(1, math.ceil(self.shape.peak_rps / USER_RPS)))
        self.total = self.shape.requests_by(self.shape.duration_s)
        self.result = LoadResult()
        self.pages = Histogram()
        self.checkouts = Histogram()
        self.started = time.perf_counter()
        self.first = 0

    def begin(self) -> None:
        """Wait for the moment to begin, or find out how late it is."""
        now = time.perf_counter()
        self.started = now
        if self.request.opens_ms:
            opens_s = self.request.opens_ms / 1000
            self.started = now + (opens_s - self.shape.lead_s - time.time())
        if self.started > now:
            gevent.sleep(self.started - now)
        self.first = math.ceil(self.shape.requests_by(self.second - 0.05))

    @property
    def second(self) -> float:
        return time.perf_counter() - self.started

    def count(self, histogram: Histogram, seconds: float) -> None:
        histogram.record(seconds)
        result = self.result
        result.requests += 1
        per_second = result.requests_each_second
        now = int(time.perf_counter() - self.started)
        while len(per_second) <= now:
            per_second.append(0)
        per_second[now] += 1

    def error(self, text: str) -> None:
        self.result.errors += 1
        known = self.result.error_samples
        if text not in known and len(known) >= ERROR_TEXTS_MAX:
            text = "others"
        known[text] = known.get(text, 0) + 1

    def token_for(self, buyer: str) -> str:
        request = self.request
        claims = {"sub": buyer, "aud": request.audience, "exp": int(time.time()) + 3600}
        if request.issuer:
            claims["iss"] = request.issuer
        return jwt.encode(claims, request.hs256_secret, algorithm="HS256")


class Buyer(User):
    """One connection and the buyers that take turns on it: every order is a new buyer's."""

    load: Load
    numbers = 0

    def on_start(self) -> None:
        self.number = Buyer.numbers
        Buyer.numbers += 1
        request = self.load.request
        self.rng = random.Random(f"{request.seed}:{self.number}")
        self.jitter = random.Random(f"{request.seed}:{self.number}:jitter")
        self.orders = 0
        self.sent = 0
        self.client = HTTPClient.from_url(
            request.base_url,
            concurrency=1,
            connection_timeout=CONNECTION_TIMEOUT_S,
            network_timeout=NETWORK_TIMEOUT_S,
            headers={"user-agent": "saleops-loadtest", "accept": "application/json"},
        )

    def on_stop(self) -> None:
        self.client.close()

    @task
    def live(self) -> NoReturn:
        """Take one due request after the other until the load is over."""
        load, users = self.load, self.load.users
        due = load.first + (self.number - load.first) % users
        second_of, total = load.shape.second_of, load.total
        while due < total:
            moment = second_of(due)
            early = moment - load.second
            if early < -LATE_MAX_S:
                due += users
                continue
            if early > 0:
                gevent.sleep(early)
            self.sent = 0
            self.act(moment)
            due += users * max(1, self.sent)  # an order is several requests of those that are due
        raise StopUser

    def act(self, moment: float) -> None:
        """One thing a buyer does at second ``moment``. Draws the same from ``rng`` whatever comes of it."""
        request, draw = self.load.request, self.rng.random
        what, which, hot, page, units, pays, repeats = (draw() for _ in range(7))
        if what * (request.page_views_per_order + 1) < 1.0 and moment >= self.load.shape.lead_s:
            self.order(
                self.load.demand.draw(which),
                units=2 if units < request.two_units_share else 1,
                token="" if pays < request.unpaid_share else "tok_visa",
                again=repeats < request.replay_share,
            )
        elif self.load.shape.storms_at(moment) and hot < request.storm_share:
            hottest = self.load.demand.hottest
            self.look(hottest[int(which * len(hottest))], page)
        else:
            self.look(self.load.demand.draw(which), page)

    def look(self, sku: str, page: float) -> None:
        below = "/reviews" if page < 0.1 else "/recommendations" if page < 0.2 else ""
        answer = self.send(self.load.pages, "GET", f"/products/{quote(sku, safe='')}{below}")
        if answer.status != 200:
            self.load.error(f"GET /products/{{sku}}{below}: {answer.words()}")

    def send(
        self,
        histogram: Histogram,
        method: str,
        path: str,
        headers: Mapping[str, str] = _NO_HEADERS,
        body: bytes = b"",
    ) -> Answer:
        began = time.perf_counter()
        self.sent += 1
        try:
            found = self.client.request(method, self.load.prefix + path, body=body, headers=headers)
            content = bytes(found.read())
            answer = Answer(found.status_code, content, found.get("retry-after"))
        except (OSError, HTTPParseError, gevent.Timeout) as error:
            said = getattr(error, "strerror", None) or str(error) or type(error).__name__
            answer = Answer(0, said.encode())
        self.load.count(histogram, time.perf_counter() - began)
        return answer

    def order(self, sku: str, *, units: int, token: str, again: bool) -> None:
        """A new buyer orders once, sending again until there is a clear answer."""
        load = self.load
        self.orders += 1
        buyer = f"r{load.request.seed}-{load.request.run}-{self.number}-{self.orders}"
        headers = {
            "authorization": f"Bearer {load.token_for(buyer)}",
            "idempotency-key": f"{buyer}-1",
            "content-type": "application/json",
        }
        body = msgspec.json.encode({"sku": sku, "units": units, "payment_token": token})
        for attempt in range(1, TRIES + 1):
            answer = self.send(load.checkouts, "POST", "/orders", headers, body)
            if answer.status == 201:
                return self.ordered(answer, headers, body, again=again)
            if answer.status == 409 and answer.is_problem(b"reservation-expired"):
                headers["idempotency-key"] = (
                    f"{buyer}-{attempt + 1}"  # "order again with a new key"
                )
            elif answer.status == 409:
                if answer.is_problem(b"over-limit"):
                    load.result.refused += 1
                else:
                    load.result.sold_out += 1
                return None
            elif answer.status not in _UNCLEAR:
                return load.error(f"POST /orders: {answer.words()}")
            wait_s = self.pause_s(answer, attempt)
            if attempt == TRIES or load.second + wait_s > load.shape.duration_s + LAST_ANSWERS_S:
                break
            load.result.retries += 1
            gevent.sleep(wait_s)
        return load.error(f"POST /orders: no clear answer in the end: {answer.words()}")

    def pause_s(self, answer: Answer, attempt: int) -> float:
        try:
            asked_s = float(str(answer.retry_after or 0.2))
        except ValueError:
            asked_s = 0.2  # a date, or two of them: not from our services
        return min(max(asked_s, 0.0), 2.0) * self.jitter.uniform(0.5, 1.0) * (1 + attempt / 2)

    def ordered(self, answer: Answer, headers: dict[str, str], body: bytes, *, again: bool) -> None:
        load = self.load
        order_id, units = _order_in(answer.body)
        if not order_id:
            return load.error("POST /orders: 201 without an order")
        load.result.orders += 1
        load.result.units += units
        if again:
            repeated = self.send(load.checkouts, "POST", "/orders", headers, body)
            load.result.replays += 1
            if repeated.status not in (*_UNCLEAR, 201):
                load.error(f"POST /orders again: {repeated.words()}")
            elif repeated.status == 201 and _order_in(repeated.body)[0] != order_id:
                load.error("POST /orders again: another order")
        who = {"authorization": headers["authorization"]}
        mine = self.send(load.pages, "GET", "/orders", who)
        if mine.status != 200:
            load.error(f"GET /orders: {mine.words()}")
        elif order_id.encode() not in mine.body:
            load.error("GET /orders: the order just placed is not in the list")
        return None


def _order_in(body: bytes) -> tuple[str, int]:
    """(order id, units) of the order in ``body``; ("", 0) when there is none."""
    try:
        order = msgspec.json.decode(body)
        return str(order["order_id"]), int(order["units"])
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return "", 0


def tick_each_second(load: Load) -> None:
    while True:
        gevent.sleep(1.0)
        result = load.result
        tick = LoadTick(
            second=load.second,
            wanted_rps=load.shape.rps_at(load.second),
            requests=result.requests,
            orders=result.orders,
            sold_out=result.sold_out,
            errors=result.errors,
        )
        try:
            print(msgspec.json.encode(tick).decode(), flush=True)  # noqa: T201  # the protocol with our parent
        except BrokenPipeError:
            os._exit(1)  # nobody listens any more: no reason to go on sending


def run(load: Load) -> LoadResult:
    """Send the load to its end."""
    Buyer.load = load
    environment = Environment(user_classes=[Buyer], catch_exceptions=False)
    runner: Any = environment.create_local_runner()
    load.begin()
    ticking = gevent.spawn(tick_each_second, load)
    runner.start(load.users, spawn_rate=load.users)
    while load.second < load.shape.duration_s or runner.user_count:
        if load.second > load.shape.duration_s + LAST_ANSWERS_S + NETWORK_TIMEOUT_S:
            break
        gevent.sleep(0.05)
    load.result.seconds = load.second
    ticking.kill()
    runner.quit()
    result = load.result
    result.pages, result.checkouts = load.pages, load.checkouts
    result.both.merge(load.pages)
    result.both.merge(load.checkouts)
    return result


def main() -> None:
    job = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=LocustJob)
    weights = msgspec.json.decode(Path(job.demand).read_bytes(), type=list[tuple[str, float]])
    result = run(Load(job.request, Demand(weights)))
    draft = Path(f"{job.result}.new")
    draft.write_bytes(msgspec.json.encode(result))
    draft.replace(job.result)


if __name__ == "__main__":
    main()
