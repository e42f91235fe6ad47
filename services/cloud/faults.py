"""What goes wrong on purpose: shares of calls that are throttled, fail, or lose their answer; rules for one API; rate limits.

Throttled and "unavailable" calls are refused before anything was done. Of a failure after acting (500) and a lost answer the
caller cannot know what became of the call: those are the ones a client has to be right about. Chance comes from one seed.
"""

import random
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from saleops.cloudapi import Api
from saleops.services.cloud.answers import ApiError

When = Literal["before", "after", "lost"]


class Rule(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The next ``times`` calls of ``api`` answer ``code``: "before" anything is done, "after" it, or are "lost" after it."""

    api: str  # "CreateVSwitch", "vpc.CreateVSwitch" or "*"
    times: int = 1
    when: When = "before"
    code: str = "OperationConflict"
    status: int = 400
    message: str = "The local cloud was told to answer this."
    skip: int = 0  # calls that pass first

    def __post_init__(self) -> None:
        if not self.api:
            raise ValueError("a rule names an api")
        if not 400 <= self.status <= 599:
            raise ValueError(f"status {self.status}: use 400 to 599")
        if self.times < 1 or self.skip < 0:
            raise ValueError("times is 1 or more, skip 0 or more")


class Limit(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """``per_s`` calls a second of cloud time, ``burst`` at once."""

    per_s: float
    burst: float = 0.0  # 0: as many as a second's

    def __post_init__(self) -> None:
        if not self.per_s > 0 or self.burst < 0:
            raise ValueError("per_s is above 0, burst 0 or more")


class FaultPlan(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Shares are 0 to 1 of all calls and add up to 1 at the most."""

    throttle: float = 0.0
    fail: float = 0.0  # one half 503 before acting, the other 500 after it
    lose: float = 0.0
    latency_ms: float = 0.0  # the mean wait of real time before an answer
    seed: int = 1
    rules: list[Rule] = []
    limits: dict[str, Limit] = {}  # "dcdn.PreloadDcdnObjectCaches" -> limit

    def __post_init__(self) -> None:
        for name in ("throttle", "fail", "lose"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name):g}: use a share from 0 to 1")
        if self.throttle + self.fail + self.lose > 1:
            raise ValueError("throttle, fail and lose add up to more than 1")
        if not 0 <= self.latency_ms <= 60_000:
            raise ValueError(f"latency_ms {self.latency_ms:g}: use 0 to 60000")


class Verdict(msgspec.Struct, frozen=True):
    """What happens to one call. ``before`` is raised instead of acting, ``after`` instead of the answer."""

    before: ApiError | None = None
    after: ApiError | None = None
    lost: bool = False
    after_ms: float = 0.0
    name: str = ""  # for the call log


CLEAR = Verdict()


class Faults:
    def __init__(self, plan: FaultPlan | None = None, *, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self.use(plan or FaultPlan())

    def use(self, plan: FaultPlan) -> None:
        """From now on ``plan`` decides; chance starts again at its seed."""
        self.plan = plan
        self._chance = random.Random(plan.seed)
        self._skipped: list[int] = [0] * len(plan.rules)
        self._given: list[int] = [0] * len(plan.rules)
        self._buckets: dict[str, tuple[float, int]] = {}

    def decide(self, api: Api) -> Verdict:
        """What happens to the next call of ``api``; counts it."""
        plan = self.plan
        after_ms = self._chance.expovariate(1 / plan.latency_ms) if plan.latency_ms else 0.0
        after_ms = min(after_ms, 10 * plan.latency_ms)
        limited = self._limited(api)
        ruled = None if limited else self._ruled(api)
        if limited or ruled:
            return msgspec.structs.replace(limited or ruled or CLEAR, after_ms=after_ms)
        draw = self._chance.random()
        if draw < plan.throttle:
            return Verdict(before=self._throttled(), after_ms=after_ms, name="throttled")
        draw -= plan.throttle
        if draw < plan.fail:
            if draw < plan.fail / 2:
                return Verdict(before=_unavailable(), after_ms=after_ms, name="unavailable")
            return Verdict(after=_failed(), after_ms=after_ms, name="failed after acting")
        draw -= plan.fail
        if draw < plan.lose:
            return Verdict(lost=True, after_ms=after_ms, name="answer lost")
        return Verdict(after_ms=after_ms) if after_ms else CLEAR

    def _ruled(self, api: Api) -> Verdict | None:
        for place, rule in enumerate(self.plan.rules):
            if rule.api not in ("*", api.name, f"{api.product.code}.{api.name}"):
                continue
            if self._given[place] >= rule.times:
                continue
            if self._skipped[place] < rule.skip:
                self._skipped[place] += 1
                continue
            self._given[place] += 1
            error = ApiError(rule.status, rule.code, rule.message)
            if rule.when == "before":
                return Verdict(before=error, name=f"rule: {rule.code}")
            if rule.when == "after":
                return Verdict(after=error, name=f"rule: {rule.code} after acting")
            return Verdict(lost=True, name="rule: answer lost")
        return None

    def _limited(self, api: Api) -> Verdict | None:
        name = f"{api.product.code}.{api.name}"
        limit = self.plan.limits.get(name) or self.plan.limits.get(api.product.code)
        if limit is None:
            return None
        if name not in self.plan.limits:
            name = api.product.code
        now_ms, room = self._now_ms(), limit.burst or max(1.0, limit.per_s)
        tokens, at_ms = self._buckets.get(name, (room, now_ms))
        tokens = min(room, tokens + (now_ms - at_ms) / 1000 * limit.per_s)
        if tokens < 1:
            self._buckets[name] = (tokens, now_ms)
            wait_ms = round((1 - tokens) / limit.per_s * 1000) + 1
            error = ApiError(
                429,
                "Throttling.Api",
                f"Request was denied due to api flow control: {limit.per_s:g} {name} a second.",
                headers={"x-acs-retry-after": wait_ms},
            )
            return Verdict(before=error, name="over its rate limit")
        self._buckets[name] = (tokens - 1, now_ms)
        return None

    def _throttled(self) -> ApiError:
        extra: dict[str, Any] = {}
        if self._chance.random() < 0.5:
            extra["headers"] = {"x-acs-retry-after": self._chance.randint(200, 2_000)}
        status = 400 if self._chance.random() < 0.5 else 429
        return ApiError(
            status, "Throttling.User", "Request was denied due to user flow control.", **extra
        )


def _unavailable() -> ApiError:
    return ApiError(
        503,
        "ServiceUnavailable",
        "The request has failed due to a temporary failure of the server.",
    )


def _failed() -> ApiError:
    return ApiError(
        500,
        "InternalError",
        "The request processing has failed due to some unknown error, exception or failure.",
    )
