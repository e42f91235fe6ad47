"""The sale's RocketMQ 5: an instance, a topic for each kind of message, and the groups that read them.

A topic takes messages of its own type only, so half messages have a TRANSACTION topic and whatever waits a DELAY topic. A
group's dead letters go to a topic of their own, which is there before the group. Topics and groups have no tags; they are
ours because the instance is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from saleops.domain.cloud.calls import Call
from saleops.domain.cloud.network import VPC, node_vswitch
from saleops.domain.cloud.ours import Scope, condition_of, pick, rows_in, text
from saleops.domain.cloud.paging import QUEUES, every_page
from saleops.domain.cloud.resources import Found, Group, Known, Look, Patience, Resource
from saleops.domain.topics import TopicType
from saleops.errors import CloudError

QUEUE = "queue"
ATTEMPTS_MAX = 16


def topic_key(topic: str) -> str:
    return f"queue/topic/{topic}"


@dataclass(frozen=True, slots=True)
class QueueWishes:
    series: str
    sub_series: str
    spec: str
    retention_h: int
    zones: tuple[str, ...]


class Queue(Resource):
    group: ClassVar[Group] = "queue"
    kind: ClassVar[str] = "RocketMQ instance"
    patience: ClassVar[Patience] = Patience(first_s=240, every_s=10, timeout_s=2100)
    on_failure: ClassVar[str] = (
        "ListAvailableZones says where the series is sold; change `queue` in the profile."
    )

    def __init__(self, scope: Scope, wishes: QueueWishes) -> None:
        self.scope = scope
        self.wishes = wishes
        self.key, self.name = QUEUE, scope.named("queue")
        self.needs = (VPC, *(node_vswitch(zone) for zone in wishes.zones))

    def look(self, known: Known) -> Look:
        rows = yield from every_page(Call("rocketmq", "ListInstances"), "data.list", QUEUES)
        alive = [row for row in rows if row.get("status") != "RELEASED"]
        one = pick(
            self.scope, alive, name=self.name, name_field="instanceName", id_field="instanceId"
        )
        if one is None:
            return None
        id, row = text(one.row.get("instanceId")), one.row
        if not one.foreign and not one.twins:
            try:
                answer = yield Call("rocketmq", "GetInstance", path={"instanceId": id})
            except CloudError as error:
                if error.kind != "missing":
                    raise
                return None
            row = answer.get("data") or row
        state = text(row.get("status"))
        if state == "RELEASED":
            return None
        product: Mapping[str, Any] = row.get("productInfo") or {}
        inside = next(
            (
                text(one.get("endpointUrl"))
                for one in rows_in(row.get("networkInfo") or {}, "endpoints")
                if "VPC" in text(one.get("endpointType")).upper()
            ),
            "",
        )
        return one.found(
            id,
            state=state,
            condition=condition_of(state, ready=("RUNNING",), failed=("STOPPED",)),
            outputs={"endpoint": inside},
            fields={
                "series": text(row.get("seriesCode")),
                "spec": text(product.get("msgProcessSpec")),
                "retention_h": int(product.get("messageRetentionTime") or 0),
            },
            problem="it is stopped: look at the account's balance" if state == "STOPPED" else "",
        )

    def desired(self, known: Known) -> Mapping[str, Any]:
        return {
            "series": self.wishes.series,
            "spec": self.wishes.spec,
            "retention_h": self.wishes.retention_h,
        }

    def create(self, known: Known) -> Call:
        wishes = self.wishes
        switches = [{"vSwitchId": known(node_vswitch(zone))} for zone in wishes.zones]
        return Call(
            "rocketmq",
            "CreateInstance",
            body={
                "serviceCode": "rmq",
                "seriesCode": wishes.series,
                "subSeriesCode": wishes.sub_series,
                "paymentType": "PayAsYouGo",
                "instanceName": self.name,
                "networkInfo": {
                    "vpcInfo": {"vpcId": known(VPC), "vSwitches": switches},
                    "internetInfo": {"internetSpec": "disable", "flowOutType": "uninvolved"},
                },
                "productInfo": {
                    "msgProcessSpec": wishes.spec,
                    "messageRetentionTime": wishes.retention_h,
                },
                "tags": self.scope.roa_tags,
            },
        )

    def change(self, known: Known, found: Found, fields: Sequence[str]) -> Sequence[Call]:
        if "retention_h" not in fields:
            return ()
        return [
            Call(
                "rocketmq",
                "UpdateInstance",
                path={"instanceId": found.outputs["id"]},
                body={"productInfo": {"messageRetentionTime": self.wishes.retention_h}},
            )
        ]

    def delete(self, known: Known, found: Found) -> Sequence[Call]:
        return [Call("rocketmq", "DeleteInstance", path={"instanceId": found.outputs["id"]})]


class Topic(Resource):
    group: ClassVar[Group] = "queue"
    kind: ClassVar[str] = "topic"
    patience: ClassVar[Patience] = Patience(first_s=1, every_s=3, timeout_s=300)

    def __init__(self, scope: Scope, topic: str, type: TopicType) -> None:
        self.scope = scope
        self.type = type
        self.key, self.name, self.needs = topic_key(topic), topic, (QUEUE,)

    def _path(self, known: Known) -> dict[str, str]:
        return {"instanceId": known(QUEUE), "topicName": self.name}

    def look(self, known: Known) -> Look:
        try:
            answer = yield Call("rocketmq", "GetTopic", path=self._path(known))
        except CloudError as error:
            if error.kind != "missing":
                raise
            return None
        row = answer.get("data")
        if not row:
            return None
        state = text(row.get("status"))
        return Found(
            condition_of(state, ready=("RUNNING",)),
            state,
            {"id": self.name, "instance": known(QUEUE)},
            {"type": text(row.get("messageType"))},
        )

    def desired(self, known: Known) -> Mapping[str, Any]:
        return {"type": self.type.value}

    def create(self, known: Known) -> Call:
        return Call(
            "rocketmq",
            "CreateTopic",
            path=self._path(known),
            body={"messageType": self.type.value, "remark": f"sale {self.scope.sale}"},
        )

    def delete(self, known: Known, found: Found) -> Sequence[Call]:
        path = {"instanceId": found.outputs["instance"], "topicName": self.name}
        return [Call("rocketmq", "DeleteTopic", path=path)]


class ConsumerGroup(Resource):
    group: ClassVar[Group] = "queue"
    kind: ClassVar[str] = "consumer group"
    patience: ClassVar[Patience] = Patience(first_s=1, every_s=3, timeout_s=300)

    def __init__(self, scope: Scope, group: str, dead_letters: str) -> None:
        self.scope = scope
        self.dead_letters = dead_letters
        self.key, self.name = f"queue/group/{group}", group
        self.needs = (QUEUE, topic_key(dead_letters))

    def _path(self, known: Known) -> dict[str, str]:
        return {"instanceId": known(QUEUE), "consumerGroupId": self.name}

    def look(self, known: Known) -> Look:
        try:
            answer = yield Call("rocketmq", "GetConsumerGroup", path=self._path(known))
        except CloudError as error:
            if error.kind != "missing":
                raise
            return None
        row = answer.get("data")
        if not row:
            return None
        state = text(row.get("status"))
        policy: Mapping[str, Any] = row.get("consumeRetryPolicy") or {}
        return Found(
            condition_of(state, ready=("RUNNING",)),
            state,
            {"id": self.name, "instance": known(QUEUE)},
            {
                "delivery": text(row.get("deliveryOrderType")),
                "attempts": int(policy.get("maxRetryTimes") or 0),
                "dead_letters": text(policy.get("deadLetterTargetTopic")),
            },
        )

    def desired(self, known: Known) -> Mapping[str, Any]:
        return {
            "delivery": "Concurrently",
            "attempts": ATTEMPTS_MAX,
            "dead_letters": self.dead_letters,
        }

    @property
    def _policy(self) -> dict[str, Any]:
        return {
            "deliveryOrderType": "Concurrently",
            "consumeRetryPolicy": {
                "retryPolicy": "DefaultRetryPolicy",
                "maxRetryTimes": ATTEMPTS_MAX,
                "deadLetterTargetTopic": self.dead_letters,
            },
        }

    def create(self, known: Known) -> Call:
        return Call(
            "rocketmq",
            "CreateConsumerGroup",
            path=self._path(known),
            body={**self._policy, "remark": f"sale {self.scope.sale}"},
        )

    def change(self, known: Known, found: Found, fields: Sequence[str]) -> Sequence[Call]:
        return [Call("rocketmq", "UpdateConsumerGroup", path=self._path(known), body=self._policy)]

    def delete(self, known: Known, found: Found) -> Sequence[Call]:
        path = {"instanceId": found.outputs["instance"], "consumerGroupId": self.name}
        return [Call("rocketmq", "DeleteConsumerGroup", path=path)]
