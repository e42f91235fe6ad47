"""What goes wrong on purpose: calls that are throttled, fail before or after acting, wait, or lose their answer.

A rule takes the next ``times`` calls that fit; the shares take any of the others, from one seed. Of a failure after acting and a
lost answer the caller cannot know what became of the call.
"""

import random
from typing import TYPE_CHECKING, Literal

import msgspec

from saleops.services.kube_api.refusals import KubeError

if TYPE_CHECKING:
    from saleops.services.kube_api.verbs import Target

TOO_MANY = "the server has received too many requests and has asked us to try again later"


class Rule(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """``verb`` and ``resource`` ("pods", "pods/eviction") may be "*". ``status`` 0 lets the call through, late or lost."""

    verb: str = "*"
    resource: str = "*"
    name: str = ""
    times: int = 1
    skip: int = 0
    when: Literal["before", "after", "lost"] = "before"
    status: int = 500
    message: str = "The API double was told to answer this."
    reason: str | None = None
    retry_after_s: int = 0
    after_s: float = 0.0

    def __post_init__(self) -> None:
        if self.status != 0 and not 400 <= self.status <= 599:
            raise ValueError(f"status {self.status}: use 400 to 599, or 0 for none")
        if self.times < 1 or self.skip < 0 or not 0 <= self.after_s <= 600:
            raise ValueError("times is 1 or more, skip 0 or more, after_s 0 to 600")


class FaultPlan(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Shares are 0 to 1 of all calls and add up to 1 at the most."""

    throttle: float = 0.0  # 429 with Retry-After 1
    fail: float = 0.0  # one half 503 before acting, the other 500 after it
    lose: float = 0.0  # the connection breaks after acting
    latency_s: float = 0.0  # the mean wait of real time before an answer
    seed: int = 1
    rules: list[Rule] = []

    def __post_init__(self) -> None:
        for name in ("throttle", "fail", "lose"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name):g}: use a share from 0 to 1")
        if self.throttle + self.fail + self.lose > 1:
            raise ValueError("throttle, fail and lose add up to more than 1")
        if not 0 <= self.latency_s <= 60:
            raise ValueError(f"latency_s {self.latency_s:g}: use 0 to 60")


class Verdict(msgspec.Struct, frozen=True):
    """What happens to one call. ``before`` is raised instead of acting, ``after`` instead of the answer."""

    before: KubeError | None = None
    after: KubeError | None = None
    lost: bool = False
    after_s: float = 0.0
    name: str = ""  # for the call log


class Faults:
    def __init__(self, plan: FaultPlan | None = None) -> None:
        self.use(plan or FaultPlan())

    def use(self, plan: FaultPlan) -> None:
        """From now on ``plan`` decides; chance starts again at its seed."""
        self.plan = plan
        self._chance = random.Random(plan.seed)
        self._seen = [0] * len(plan.rules)

    def add(self, rule: Rule) -> None:
        self.plan.rules.append(rule)
        self._seen.append(0)

    def decide(self, target: "Target") -> Verdict:
        """What happens to this call; counts it."""
        plan = self.plan
        after_s = self._chance.expovariate(1 / plan.latency_s) if plan.latency_s else 0.0
        after_s = min(after_s, 10 * plan.latency_s)
        for place, rule in enumerate(plan.rules):
            if not _fits(rule, target):
                continue
            self._seen[place] += 1
            if not rule.skip < self._seen[place] <= rule.skip + rule.times:
                continue
            return _ruled(rule, after_s)
        draw = self._chance.random()
        if draw < plan.throttle:
            return Verdict(before=throttled(1), after_s=after_s, name="throttled")
        draw -= plan.throttle
        if draw < plan.fail:
            if draw < plan.fail / 2:
                error = KubeError(503, "the server is currently unable to handle the request")
                return Verdict(before=error, after_s=after_s, name="503 before acting")
            error = KubeError(500, "Internal error occurred: etcdserver: request timed out")
            return Verdict(after=error, after_s=after_s, name="500 after acting")
        if plan.fail <= draw < plan.fail + plan.lose:
            return Verdict(lost=True, after_s=after_s, name="answer lost")
        return Verdict(after_s=after_s)


def throttled(retry_after_s: int) -> KubeError:
    return KubeError(429, TOO_MANY, details={"retryAfterSeconds": retry_after_s})


def _fits(rule: Rule, target: "Target") -> bool:
    return (
        rule.verb in ("*", target.verb)
        and rule.resource in ("*", target.resource)
        and rule.name in ("", target.name)
    )


def _ruled(rule: Rule, after_s: float) -> Verdict:
    wait_s = rule.after_s or after_s
    if rule.when == "lost":
        return Verdict(lost=True, after_s=wait_s, name="answer lost by rule")
    if rule.status == 0:
        return Verdict(after_s=wait_s, name="slow by rule")
    details = {"retryAfterSeconds": rule.retry_after_s} if rule.retry_after_s else {}
    error = KubeError(rule.status, rule.message, reason=rule.reason, details=details)
    if rule.when == "after":
        return Verdict(after=error, after_s=wait_s, name=f"{rule.status} after acting by rule")
    return Verdict(before=error, after_s=wait_s, name=f"{rule.status} by rule")
