"""An edge to prewarm: the local cloud in this process, behind the port that operations use, with a domain that serves."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from local_cloud import AnswerLost, CloudRefusal, InProcessCloud, local_cloud
from saleops.adapters.aliyun_errors import error_of
from saleops.adapters.file_edge_journal import MemoryEdgeJournal
from saleops.domain.cloud.calls import Answer, Call
from saleops.errors import CloudError
from saleops.operations.edge_plan import EdgeWork, plan_edge
from saleops.operations.edge_report import EdgeReport
from saleops.operations.edge_tasks import Edge
from saleops.operations.edge_urls import EdgeUrl
from saleops.operations.prewarm_edge import apply_edge
from saleops.services.cloud.faults import FaultPlan

DOMAIN = "shop.example.com"
PAGE_LIVES_S = 86_400.0


class Clock:
    def __init__(self, local: InProcessCloud) -> None:
        self._local = local

    def now_ms(self) -> int:
        return self._local.world.now_ms()

    def sleep(self, seconds: float) -> None:
        self._local.advance(seconds)


class Killed(BaseException):
    """kill -9: nothing of the program runs after it."""


@dataclass
class EdgeCloud:
    """``kill_at`` is the number of the writing call that is the program's last act, "before" or "after" the cloud acts."""

    local: InProcessCloud
    kill_at: int = 0
    phase: str = "after"
    writes: int = 0
    name: str = "the local cloud"
    region: str = "ap-southeast-1"
    sent: list[Call] = field(default_factory=list)

    @property
    def clock(self) -> Clock:
        return Clock(self.local)

    def send(self, call: Call, *, token: str = "") -> Answer:
        writing = call.api.startswith(("Preload", "Refresh"))
        self.writes += writing
        deadly = writing and self.writes == self.kill_at
        if deadly and self.phase == "before":
            raise Killed
        try:
            answer: Mapping[str, Any] = self.local.call(call.product, call.api, params=call.params)
        except CloudRefusal as refusal:
            document = refusal.document if isinstance(refusal.document, dict) else {}
            raise error_of(call, document, status=refusal.status) from refusal
        except AnswerLost as lost:
            raise CloudError(f"{call}: no answer", kind="unknown") from lost
        if deadly:
            raise Killed
        if writing:
            self.sent.append(call)
        return answer


def edge_cloud(
    *, scope: str = "overseas", faults: FaultPlan | None = None, seed: str = "test"
) -> EdgeCloud:
    """A cloud whose domain is online; ``faults`` begin after that."""
    local = local_cloud(seed=seed)
    source = [{"content": "alb.example.com", "type": "domain", "port": 443}]
    local.call("dcdn", "AddDcdnDomain", DomainName=DOMAIN, Sources=json.dumps(source), Scope=scope)
    local.advance(600)
    if faults is not None:
        plan = {name: getattr(faults, name) for name in ("throttle", "fail", "lose", "seed")}
        local.control("PUT", "faults", plan)
    return EdgeCloud(local)


def urls(count: int, *, mark: str = "1") -> list[EdgeUrl]:
    return [EdgeUrl(f"https://{DOMAIN}/products/{number}", mark) for number in range(count)]


def opened(cloud: EdgeCloud, journal: MemoryEdgeJournal | None = None) -> Edge:
    return Edge(cloud, journal or MemoryEdgeJournal(), DOMAIN, Random(1))


def planned(edge: Edge, wanted: Iterable[EdgeUrl], **more: Any) -> EdgeWork:
    choices = {
        "sale": "sale",
        "region": "ap-southeast-1",
        "lives_s": lambda url: PAGE_LIVES_S,
        **more,
    }
    return plan_edge(edge, list(wanted), **choices)


def prewarmed(
    edge: Edge, wanted: Iterable[EdgeUrl], *, deadline_s: float = 2_700, **more: Any
) -> EdgeReport:
    return apply_edge(planned(edge, wanted, **more), edge, deadline_s=deadline_s)


def tasks_of(cloud: EdgeCloud, kind: str = "preload") -> list[str]:
    """The URLs that the cloud has tasks for, one entry a task."""
    return [
        thing.data["path"]
        for thing in cloud.local.world.each("dcdn_task")
        if thing.data["type"] == kind
    ]
