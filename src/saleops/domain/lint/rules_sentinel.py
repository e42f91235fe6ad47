"""Sentinel rules as JSON arrays, in files, ConfigMaps and request bodies; and what is left of AHAS.

Sentinel drops a rule that it finds invalid with one line in a log, so that what was meant to protect the checkout is simply not
there. The validity checks are those of its rule managers (1.8).
"""

import re
from collections.abc import Iterator

from saleops.domain.lint.estate import estate_of
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.plain_values import scalar, walk
from saleops.domain.lint.rules import Hit, rule
from saleops.domain.lint.sentinel_json import SentinelRule, number, problems, sentinel_rules

SOURCE = "Sentinel 1.8 source, rule managers"
CHECKOUT = re.compile(r"checkout|order|pay(ment)?s?\b|submit|cart|inventory|stock|reserve", re.I)
FEATURES = re.compile(r"recommend|review|comment|search|suggest|banner|coupon|rank|ads?\b", re.I)
MIGRATION = "alibabacloud.com docs, AHAS traffic protection moved to MSE Microservices Governance"


@rule(
    "SEN001",
    "error",
    "A system rule to switch off one feature",
    why="A SystemRule looks at the whole process and rejects every inbound call of it: at its threshold the checkout is "
    "rejected "
    "together with the recommendations that were meant to go first.",
    fix="Use a DegradeRule or a FlowRule on the feature's own resource, with a fallback in the code; keep system rules for "
    "processes "
    "that sell nothing.",
    source=SOURCE,
    bad='[{"highestCpuUsage": 0.9}]',
    good='[{"resource": "recommendations", "grade": 0, "count": 500, "slowRatioThreshold": 0.5, "minRequestAmount": 20, '
    '"statIntervalMs": 10000, "timeWindow": 30}]',
)
def system_rule(fleet: Fleet) -> Iterator[Hit]:
    for one in sentinel_rules(fleet):
        if one.kind != "SystemRule":
            continue
        limits = {"highestSystemLoad", "highestCpuUsage", "qps", "avgRt", "maxThread"}
        found = [name for name in sorted(limits) if (number(one.body.get(name)) or -1) >= 0]
        if found:
            said = ", ".join(f"{name} {scalar(one.body[name])}" for name in found)
            yield Hit(
                one.document,
                one.at(found[0]),
                f"A SystemRule ({said}) rejects every inbound call of the process, checkout included",
            )


@rule(
    "SEN002",
    "warning",
    "A breaker that opens only when every call is slow",
    why="slowRatioThreshold is 1.0 where it is not set: with 99 of 100 calls slower than the limit the breaker stays "
    "closed, and the "
    "threads of the caller fill up.",
    fix="Set slowRatioThreshold to 0.5 with minRequestAmount 20.",
    source=SOURCE,
    bad='{"resource": "reviews", "grade": 0, "count": 500, "timeWindow": 30}',
    good='{"resource": "reviews", "grade": 0, "count": 500, "timeWindow": 30, "slowRatioThreshold": 0.5}',
)
def only_all_slow(fleet: Fleet) -> Iterator[Hit]:
    for one in sentinel_rules(fleet):
        if one.kind == "DegradeRule" and number(one.body.get("grade", 0)) == 0:
            ratio = number(one.body.get("slowRatioThreshold", 1.0))
            if ratio == 1.0:
                yield Hit(
                    one.document,
                    one.at("slowRatioThreshold"),
                    f"{one.name} opens only when 100 % of its calls are slow",
                )


@rule(
    "SEN003",
    "warning",
    "A breaker that keeps the checkout closed for long",
    why="For the whole timeWindow every call is rejected, whatever the service behind is doing; only then one probe is let "
    "through. A "
    "hiccup of one second costs that many seconds of sales.",
    fix="Set timeWindow to 5 to 10 seconds for what sells; a probe that fails opens it again.",
    source=SOURCE,
    bad='{"resource": "POST:/order", "grade": 1, "count": 0.5, "timeWindow": 300}',
    good='{"resource": "POST:/order", "grade": 1, "count": 0.5, "timeWindow": 10}',
)
def closed_for_long(fleet: Fleet) -> Iterator[Hit]:
    for one in sentinel_rules(fleet):
        window = number(one.body.get("timeWindow"))
        if (
            one.kind == "DegradeRule"
            and window is not None
            and window > 60
            and CHECKOUT.search(one.resource)
        ):
            sale = fleet.sale
            orders = (
                f", about {sale.peak_rps * window:,.0f} requests at the peak"
                if sale and sale.peak_rps
                else ""
            )
            yield Hit(
                one.document,
                one.at("timeWindow"),
                f"{one.name} rejects everything for {window:g} s{orders}",
            )


@rule(
    "SEN004",
    "warning",
    "Limits that do not fit together",
    why="A FlowRule counts in one pod: what the service lets through is its count times the pods there are at the sale. "
    "Above what the "
    "load balancer or the sale lets in it never acts; far below it buyers are turned away with pods idle.",
    fix="Set count to the peak divided by the pods, with 25 % on top, and the load balancer's traffic-limit-qps to the same "
    "product.",
    source=f"{SOURCE}; ALB Ingress annotations",
    bad='count: 150 on 100 pods = 15,000 behind traffic-limit-qps: "5000"',
    good='count: 150 on 100 pods = 15,000 behind traffic-limit-qps: "15000"',
)
def not_together(fleet: Fleet) -> Iterator[Hit]:
    limits = _alb_limits(fleet)
    for one in sentinel_rules(fleet):
        count = number(one.body.get("count"))
        per_pod = (
            one.kind == "FlowRule" and number(one.body.get("grade", 1)) == 1 and not _global(one)
        )
        if not per_pod or count is None or count <= 0 or not CHECKOUT.search(one.resource):
            continue
        pods, service = _pods_of(fleet, one)
        if not pods:
            continue
        total = count * pods
        said = f"{one.name} allows {count:g} x {pods} pods of {service} = {total:,.0f} a second"
        most = min(limits, default=0)
        if most and total > most * 1.5:
            yield Hit(
                one.document,
                one.at("count"),
                f"{said}; the load balancer lets {most:,} in: the rule never acts",
            )
        elif most and total < most * 0.5:
            yield Hit(
                one.document,
                one.at("count"),
                f"{said}; the load balancer lets {most:,} in: the rest is rejected in the pods",
            )
        sale = fleet.sale
        capacity = sale.rps_per_pod.get(service, 0.0) if sale else 0.0
        if capacity and count > capacity * 1.25:
            yield Hit(
                one.document,
                one.at("count"),
                f"{one.name} lets {count:g} a second into a pod that serves {capacity:g}: it queues before the rule acts",
            )


def _global(one: SentinelRule) -> bool:
    """Whether it counts over all pods: in cluster mode with a threshold for all of them."""
    config = one.body.get("clusterConfig")
    kind = number(config.get("thresholdType", 0)) if isinstance(config, dict) else 0
    return one.body.get("clusterMode") is True and kind == 1


def _pods_of(fleet: Fleet, one: SentinelRule) -> tuple[int, str]:
    """(pods, service) of what the rule guards, as its resource or its file names it."""
    sale = fleet.sale
    words = f"{one.resource} {one.document.file.rpartition('/')[2]} {one.document.name}".lower()
    for service, pods in sorted(sale.pods.items()) if sale else ():
        if service and service.lower() in words:
            return int(pods), service
    estate = estate_of(fleet)
    for found in estate.pods:
        name = found.name.removesuffix("-service")
        if found.long_running and name and name.lower() in words:
            return estate.count(found).count, found.name
    return 0, ""


def _alb_limits(fleet: Fleet) -> list[int]:
    found = []
    for ingress in fleet.of_kind("Ingress"):
        value = number(
            ingress.at("metadata", "annotations", "alb.ingress.kubernetes.io/traffic-limit-qps")
        )
        if value is not None and value >= 1:
            found.append(int(value))
    return found


@rule(
    "SEN005",
    "error",
    "AHAS is gone",
    why="Traffic protection of AHAS was moved to MSE Microservices Governance: calls of its API, its annotations and its "
    "agent do "
    "nothing, so that the degradation that the sale counts on is not there.",
    fix="Move to MSE (API version 2019-05-31): a flow rule is CreateFlowRule, a breaker CreateCircuitBreakerRule, isolation "
    "CreateIsolationRule. An active degradation becomes a flow or isolation rule with threshold 0, cluster flow control the "
    "cloud-native gateway's, a system rule the adaptive CPU protection.",
    source=MIGRATION,
    bad='annotations: {ahasPilotAutoEnable: "on"}',
    good='labels: {msePilotAutoEnable: "on"}',
)
def ahas(fleet: Fleet) -> Iterator[Hit]:
    files: dict[str, bool] = {}  # a file of a thousand objects is searched once
    for document in fleet.of_format("kubernetes", "json", "yaml", "terraform"):
        if document.text:
            if document.file not in files:
                files[document.file] = re.search("ahas", document.text, re.I) is not None
            if not files[document.file]:
                continue
        said: set[int] = set()
        for path, value in walk(document.value):
            key = str(path[-1]) if path else ""
            name = _ahas(key, value)
            line = document.place(path)[0]
            if not name or line in said:
                continue
            said.add(line)
            yield Hit(
                document,
                path,
                f"{name} belongs to AHAS, which no longer protects traffic: {_successor(name)} takes its place",
            )


_SUCCESSORS = (
    ("pilotautoenable", "the label msePilotAutoEnable"),
    ("pilotcreateappname", "the label msePilotCreateAppName"),
    ("flowrule", "CreateFlowRule of MSE"),
    ("degraderule", "CreateCircuitBreakerRule of MSE"),
    ("activedegrade", "CreateFlowRule of MSE with threshold 0"),
    ("isolationrule", "CreateIsolationRule of MSE"),
    ("hotparam", "a hot-parameter rule of MSE"),
    ("systemrule", "the adaptive CPU protection of MSE"),
    ("cluster", "flow control of the cloud-native gateway"),
)


def _ahas(key: str, value: object) -> str:
    """What names AHAS here; "" where nothing does."""
    if re.match(r"(aliyun\.com/)?ahas|.*[._/-]ahas|alicloud_ahas|AHAS", key):
        return key
    if isinstance(value, str) and len(value) < 4000:
        if key.lower() in ("product", "service", "productcode") and value.lower() in (
            "ahas",
            "ahas-openapi",
        ):
            return f"{key} {value}"
        found = re.search(
            r"[\w.-]*\bahas(?:-[a-z]+)?\.[a-z0-9.-]*aliyuncs\.com|\bahas-(?:sentinel-)?(?:pilot|agent|client|ack|java)[\w-]*|com\.alibaba\.csp\s*:\s*ahas[\w-]*",
            value,
            re.I,
        )
        if found:
            return found[0]
    return ""


def _successor(name: str) -> str:
    bare = re.sub(r"[^a-z]", "", name.lower())
    return next((new for word, new in _SUCCESSORS if word in bare), "MSE Microservices Governance")


@rule(
    "SEN006",
    "error",
    "A rule that Sentinel drops",
    why="Sentinel checks every rule when it is pushed and leaves out those that are not valid, with one line in a log file: "
    "the "
    "dashboard shows no error, and what was to be protected is not.",
    fix="Correct the field that the message names; codes and ranges are those of Sentinel's rule classes.",
    source=SOURCE,
    bad='{"resource": "reviews", "grade": 0, "count": 500, "timeWindow": 0}',
    good='{"resource": "reviews", "grade": 0, "count": 500, "timeWindow": 30, "slowRatioThreshold": 0.5}',
)
def dropped(fleet: Fleet) -> Iterator[Hit]:
    for one in sentinel_rules(fleet):
        for field, said in problems(one):
            yield Hit(
                one.document, one.at(field), f"{one.name} is dropped without an error: {said}"
            )
