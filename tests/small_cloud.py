"""A cloud of a few lines, for tests of the engine alone: things with a name, states on a hand clock, lists that lag, and mishaps.

Its resources speak real APIs, so that tokens are where they are: ``Base`` is made with one, ``Topic`` without.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar

from saleops.adapters.memory_cloud_journal import MemoryCloudJournal
from saleops.cloudapi import api_of
from saleops.domain.cloud.calls import Answer, Call
from saleops.domain.cloud.resources import Condition, Found, Group, Known, Look, Patience, Resource
from saleops.errors import CloudError
from saleops.events import Event
from saleops.operations.provision.applying import apply_provision
from saleops.operations.provision.courier import Courier
from saleops.operations.provision.planning import ProvisionPlan, plan_provision
from saleops.operations.provision.report import ProvisionReport
from saleops.operations.provision.survey import Survey, survey

LAG_MS = 3_000
CONDITIONS = {
    "Running": Condition.READY,
    "Creating": Condition.PENDING,
    "Modifying": Condition.PENDING,
    "Deleting": Condition.LEAVING,
    "Broken": Condition.FAILED,
}


class Killed(BaseException):
    """kill -9: nothing of the program runs after it."""


class HandClock:
    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.ms

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.ms += round(seconds * 1000)


@dataclass
class SmallThing:
    id: str
    name: str
    born_ms: int
    ready_ms: int
    ours: bool
    settings: dict[str, Any]
    end: str = "Running"
    gone_ms: int | None = None
    call: Call | None = None


@dataclass
class SmallCloud:
    """``mishap(number, call, phase)`` is asked before ("out") and after ("back") each call, numbered from 1; it may raise."""

    clock: HandClock = field(default_factory=HandClock)
    things: list[SmallThing] = field(default_factory=list)
    log: list[tuple[Call, str]] = field(default_factory=list)
    mishap: Callable[[int, Call, str], None] = lambda number, call, phase: None
    takes_ms: dict[str, int] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    region: str = "ap-southeast-1"
    name: str = "the small cloud"

    @property
    def writes(self) -> list[Call]:
        return [call for call, _ in self.log if not api_of(call.product, call.api).reads]

    def send(self, call: Call, *, token: str = "") -> Answer:
        number = len(self.log) + 1
        self.log.append((call, token))
        self.mishap(number, call, "out")
        answer = self._answer(call, token)
        self.mishap(number, call, "back")
        return {"RequestId": f"R-{number}", **answer}

    def alive(self) -> list[SmallThing]:
        now_ms = self.clock.now_ms()
        return [one for one in self.things if one.gone_ms is None or one.gone_ms > now_ms]

    def thing(self, name: str) -> SmallThing:
        (one,) = [one for one in self.alive() if one.name == name]
        return one

    def state(self, one: SmallThing) -> str:
        if one.gone_ms is not None:
            return "Deleting"
        return one.end if one.ready_ms <= self.clock.now_ms() else "Creating"

    def _answer(self, call: Call, token: str) -> Answer:
        now_ms = self.clock.now_ms()
        names = {**call.params, **call.path, **(call.body or {})}
        name = str(names.get("name", ""))
        if api_of(call.product, call.api).reads:
            seen = [
                one for one in self.alive() if one.name == name and one.born_ms + LAG_MS <= now_ms
            ]
            rows = [
                {"id": one.id, "state": self.state(one), "ours": one.ours, **one.settings}
                for one in seen
            ]
            return {"rows": rows}
        if call.api.startswith("Create"):
            if token and token in self.tokens:
                return {"Id": self.tokens[token]}
            parent = names.get("parent")
            assert parent is None or parent in {one.id for one in self.alive()}, (
                f"no parent {parent}"
            )
            if call.api == "CreateTopic" and any(one.name == name for one in self.alive()):
                raise CloudError("it is there", kind="exists", code="Topic.Exists", status=409)
            one = SmallThing(
                f"id-{len(self.things) + 1}",
                name,
                now_ms,
                now_ms + self.takes_ms.get(name, 0),
                True,
                {"size": names.get("size", 1)},
                self.ends.get(name, "Running"),
                call=call,
            )
            self.things.append(one)
            if token:
                self.tokens[token] = one.id
            return {"Id": one.id}
        one = next((one for one in self.alive() if one.id == names.get("id")), None)  # type: ignore[assignment]
        if one is None:
            raise CloudError("not there", kind="missing", code="NotFound", status=404)
        if call.api.startswith("Delete"):
            standing = [
                o
                for o in self.alive()
                if o.call and {**o.call.params, **o.call.path}.get("parent") == one.id
            ]
            if standing:
                raise CloudError(
                    "something stands on it", kind="failed", code="DependencyViolation"
                )
            one.gone_ms = now_ms + 20_000
            return {}
        one.settings["size"] = names["size"]
        one.ready_ms = now_ms + 30_000
        return {}


class Base(Resource):
    """Made by CreateVpc, which takes a token."""

    group: ClassVar[Group] = "network"
    kind: ClassVar[str] = "base"
    patience: ClassVar[Patience] = Patience(first_s=2, every_s=5, timeout_s=600)
    on_failure: ClassVar[str] = "Look at the base."
    apis: ClassVar[tuple[tuple[str, str], ...]] = (
        ("vpc", "CreateVpc"),
        ("vpc", "DescribeVpcs"),
        ("vpc", "DeleteVpc"),
    )

    def __init__(
        self,
        key: str,
        *,
        parent: str | None = None,
        needs: Sequence[str] = (),
        size: int = 1,
        fixed: bool = False,
    ) -> None:
        self.key = key
        self.name = f"sale-{key}"
        self.parent = parent
        self.needs = (*((parent,) if parent else ()), *needs)
        self.size = size
        self.fixed = fixed

    def _call(self, which: int, **values: Any) -> Call:
        product, api = self.apis[which]
        return Call(product, api, {name: one for name, one in values.items() if one is not None})

    def look(self, known: Known) -> Look:
        if self.parent:
            known(self.parent)
        answer = yield self._call(1, name=self.name)
        rows = answer["rows"]
        if not rows:
            return None
        row = rows[0]
        condition = CONDITIONS[row["state"]] if row["ours"] else Condition.FOREIGN
        if len(rows) > 1:
            condition = Condition.FAILED
        problem = "it broke" if condition is Condition.FAILED else ""
        return Found(condition, row["state"], {"id": row["id"]}, {"size": row["size"]}, problem)

    def desired(self, known: Known) -> Mapping[str, Any]:
        return {"size": self.size}

    def create(self, known: Known) -> Call:
        parent = known(self.parent) if self.parent else None
        return self._call(0, name=self.name, parent=parent, size=self.size)

    def change(self, known: Known, found: Found, fields: Sequence[str]) -> Sequence[Call]:
        if self.fixed or not fields:
            return ()
        return [
            Call(
                "polardb", "ModifyDBClusterDeletion", {"id": found.outputs["id"], "size": self.size}
            )
        ]

    def delete(self, known: Known, found: Found) -> Sequence[Call]:
        return [self._call(2, id=found.outputs["id"])]


class Topic(Base):
    """Made by CreateTopic, which takes no token and refuses a name that is taken."""

    group: ClassVar[Group] = "queue"
    kind: ClassVar[str] = "topic"
    apis: ClassVar[tuple[tuple[str, str], ...]] = (
        ("rocketmq", "CreateTopic"),
        ("rocketmq", "GetTopic"),
        ("rocketmq", "DeleteTopic"),
    )


class Pool(Base):
    """Made by CreateClusterNodePool, which takes no token and would gladly make two."""

    group: ClassVar[Group] = "nodepool"
    kind: ClassVar[str] = "pool"
    apis: ClassVar[tuple[tuple[str, str], ...]] = (
        ("cs", "CreateClusterNodePool"),
        ("cs", "DescribeClusterNodePools"),
        ("cs", "DeleteClusterNodepool"),
    )


@dataclass
class Bench:
    """A cloud, a journal that outlives a crash, and the engine over them."""

    resources: Sequence[Resource]
    cloud: SmallCloud = field(default_factory=SmallCloud)
    journal: MemoryCloudJournal = field(
        default_factory=lambda: MemoryCloudJournal(wall_ms=lambda: 0)
    )
    events: list[Event] = field(default_factory=list)
    seed: int = 1

    def courier(self) -> Courier:
        return Courier(self.cloud, self.journal, random=Random(self.seed))

    def look(self, courier: Courier | None = None) -> Survey:
        courier = courier or self.courier()
        courier.settle()
        return survey(self.resources, courier.read)

    def plan(self, seen: Survey | None = None) -> ProvisionPlan:
        own = frozenset(one.key for one in self.resources)
        return plan_provision(
            self.resources,
            own,
            seen or self.look(),
            self.journal.history,
            sale="sale",
            cloud=self.cloud.name,
            region=self.cloud.region,
        )

    def apply(self, *, timeout_s: float | None = None) -> ProvisionReport:
        courier = self.courier()
        seen = self.look(courier)
        plan = self.plan(seen)
        return apply_provision(
            plan, self.resources, seen, courier, timeout_s=timeout_s, observe=self.events.append
        )


def results(report: ProvisionReport) -> dict[str, str]:
    return {step.key: step.result for step in report.steps}
