"""Connections: how many all pods together open at the size of the sale, against what the database takes.

A pool that is right for 10 pods is wrong for 500: the database counts connections, not pods. What a dead-letter audit does not
see is here too, because it is the same mistake: a limit that somebody believes in and that is somewhere else.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from saleops.domain.lint.documents import KeyPath, LintDocument
from saleops.domain.lint.estate import PodCount, estate_of
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.plain_values import scalar, table, tables, text, walk, whole
from saleops.domain.lint.pod_settings import Setting, of_pods, settings_of
from saleops.domain.lint.rules import Hit, rule

LIMITS = {
    "x4.medium": 6_000,
    "x4.large": 8_000,
    "x4.xlarge": 10_000,
    "x8.xlarge": 16_000,
    "x8.2xlarge": 32_000,
    "x8.4xlarge": 64_000,
    "x8.8xlarge": 64_000,
    "x8.12xlarge": 100_000,
    "g2.medium": 1_800,
    "g4.medium": 2_000,
    "g2.large": 3_000,
    "g4.large": 6_000,
    "g2.xlarge": 6_000,
    "g4.xlarge": 10_000,
    "g4.2xlarge": 16_000,
    "g4.4xlarge": 32_000,
}
"""Connections that one PolarDB MySQL node of a class takes; read nodes do not add to the primary's."""
ROOM = 0.7
"""Share of the limit that pods may take: the rest is for rollouts (pods that exist twice), migrations and people."""
PROXYSQL_DEFAULT = 1_000

_POOL = re.compile(
    r"(hikari\w*[_.-]?(maximum|max)[_.-]?pool[_.-]?size"
    r"|(db|database|mysql|polardb|sql|jdbc|datasource|mariadb|order_db)\w*?[_.-](?:\w+[_.-])*?(max[_.-]?)?(pool|conn(ection)?s?)"
    r"[_.-]?(max[_.-]?)?(size|max|limit|count|total|active|open)?"
    r"|(max[_.-]?open[_.-]?conn(ection)?s?|maximum[_.-]?pool[_.-]?size|max[_.-]?active)"
    r"|saleops_\w*connections\w*)$",
    re.I,
)
_NOT_POOL = re.compile(
    r"redis|tair|jedis|lettuce|http|kafka|rocket|timeout|idle|min|life|url|host|name|ttl|_ms$|retry|string|wait",
    re.I,
)
_DLQ = re.compile(r"%DLQ%|\bdlq\b|_dlq_|dlq_|_dlq|dead[_\s-]?letter", re.I)
_CHECKED_OUT = "TRANS_CHECK_MAX_TIME_TOPIC"


@dataclass(frozen=True, eq=False)
class Pool:
    """What one workload opens: ``pods`` x ``size``."""

    name: str
    pods: PodCount
    size: int
    document: LintDocument
    path: KeyPath

    @property
    def total(self) -> int:
        return self.pods.count * self.size


@dataclass(frozen=True, slots=True)
class Limit:
    connections: int
    why: str


@rule(
    "POOL001",
    "error",
    "More connections than the database takes",
    why="A connection above the limit is refused (1040 Too many connections): the pods that start last, which are those "
    "that the sale was "
    "scaled up by, get none and fail every checkout.",
    fix="Lower the pool: limit x 0.7 / pods. A checkout of 10 ms on the database needs 1 connection for 100 orders a "
    "second. A proxy "
    "helps only where it multiplexes: ProxySQL, or PolarProxy with ConnectionPersist Transaction.",
    source="alibabacloud.com docs, PolarDB MySQL maximum connections; 70 % is an engineering default",
    bad="maxReplicas: 500 and DB_POOL_SIZE: 100 against polar.mysql.x4.large (8,000)",
    good="maxReplicas: 500 and DB_POOL_SIZE: 10",
)
def too_many(fleet: Fleet) -> Iterator[Hit]:
    limit = _limit(fleet)
    pools = list(_pools(fleet))
    if limit is None or not pools:
        return
    total = sum(one.total for one in pools)
    room = int(limit.connections * ROOM)
    if total <= room:
        return
    biggest = max(pools, key=lambda one: one.total)
    parts = sorted(pools, key=lambda one: -one.total)
    said = " + ".join(f"{one.pods.count:,} pods x {one.size:,} ({one.name})" for one in parts[:4])
    more = f" and {len(parts) - 4} more" if len(parts) > 4 else ""
    pooled = _multiplexes(fleet)
    beyond = total > limit.connections
    each = max(1, room // max(1, biggest.pods.count))
    yield Hit(
        biggest.document,
        biggest.path,
        f"{said}{more} = {total:,} connections against {limit.connections:,} ({limit.why})"
        + (f"; {pooled} multiplexes them" if pooled else ""),
        why=f"{biggest.pods.why}. {total:,} is {total / max(1, limit.connections):.1f} times the limit of "
        f"{limit.connections:,}, and "
        f"70 % of it, {room:,}, is what pods may plan with. Who comes too late is refused, and those are the pods of the sale.",
        fix=f"Set the pool of {biggest.name} to {each} or less ({room:,} / {biggest.pods.count:,} pods)."
        if biggest.pods.count <= room
        else "Put ProxySQL, or PolarProxy with ConnectionPersist Transaction, between: there are more pods than connections.",
        severity="info" if pooled else "error" if beyond else "warning",
    )


@rule(
    "POOL002",
    "warning",
    "A proxy that does not multiplex",
    why="ConnectionPersist off or Session keeps one connection to the database for every one that is open: 500 pods x 100 "
    "stay 50,000. "
    "Only Transaction gives a connection back at the end of each transaction.",
    fix='Set ConnectionPersist to "Transaction" (same user, database and session settings in all pods; no session state).',
    source="alibabacloud.com docs, PolarDB connection pools",
    bad='endpoint_config = { ConnectionPersist = "Session" }',
    good='endpoint_config = { ConnectionPersist = "Transaction" }',
)
def no_multiplexing(fleet: Fleet) -> Iterator[Hit]:
    opened = sum(one.total for one in _pools(fleet))
    for document, path, value in _persist(fleet):
        if value.lower() != "transaction":
            known = f": the {opened:,} connections of all pods stay {opened:,}" if opened else ""
            yield Hit(
                document,
                path,
                f"ConnectionPersist is {value or 'empty'}, which does not multiplex{known}",
            )


@rule(
    "POOL003",
    "error",
    "ProxySQL that passes the limit on",
    why="mysql-max_connections bounds clients; only max_connections of mysql_servers bounds what goes to the database, for "
    "each proxy. "
    "Beyond the database's limit ProxySQL marks the server as failing, and everybody loses it.",
    fix="Set max_connections of every mysql_servers entry to limit x 0.7 / proxies, and leave multiplexing on.",
    source="proxysql.com docs, mysql_servers and multiplexing",
    bad='mysql_servers = ( { address="db", max_connections=10000 } )   # 4 proxies, 8,000 allowed',
    good='mysql_servers = ( { address="db", max_connections=1400 } )',
)
def proxysql(fleet: Fleet) -> Iterator[Hit]:
    limit = _limit(fleet)
    for document, path, config in _proxysql(fleet):
        proxies = _proxies(fleet, document)
        servers = re.search(
            r"mysql_servers\s*=\s*\((.*?)\n?\s*\)\s*(?:\n|$|mysql_|admin_)", config, re.S
        )
        for entry in re.findall(r"\{([^{}]*)\}", servers[1] if servers else "")[:20]:
            found = re.search(r"max_connections\s*=\s*([0-9]{1,9})", entry)
            each = int(found[1]) if found else PROXYSQL_DEFAULT
            if limit and each * proxies > limit.connections:
                origin = "" if found else ", the default"
                yield Hit(
                    document,
                    path,
                    f"{proxies} proxies x max_connections {each:,}{origin} = {each * proxies:,} connections against "
                    f"{limit.connections:,} ({limit.why})",
                )
            elif not found:
                yield Hit(
                    document,
                    path,
                    f"A mysql_servers entry has no max_connections: {PROXYSQL_DEFAULT:,} a proxy",
                    severity="warning",
                )
        if re.search(r"\bmultiplexing\s*=\s*[\"']?(false|0)\b", config, re.I):
            yield Hit(
                document,
                path,
                "multiplexing is off: every client holds a connection to the database",
                severity="warning",
            )


@rule(
    "POOL004",
    "warning",
    "Nobody looks where lost half messages go",
    why="A half message that was asked about 15 times without an answer (6 s + 15 x 30 s, about 8 minutes) is moved to "
    "TRANS_CHECK_MAX_TIME_TOPIC and never delivered. It does not pass through any dead letter queue: an audit of those says "
    "that all is "
    "well while paid orders are missing.",
    fix="Alert on any message in TRANS_CHECK_MAX_TIME_TOPIC too; `saleops reconcile` compares orders, stock and messages.",
    source="RocketMQ broker source, BrokerConfig and transactional message check",
    bad='expr: rocketmq_group_dlq_messages{topic=~"%DLQ%.*"} > 0',
    good='expr: rocketmq_group_dlq_messages > 0 or rocketmq_topic_messages{topic="TRANS_CHECK_MAX_TIME_TOPIC"} > 0',
)
def dead_letters_only(fleet: Fleet) -> Iterator[Hit]:
    alerts = list(_alerts(fleet))
    if any(_CHECKED_OUT in said for _, _, said in alerts):
        return
    for document, path, said in alerts:
        if _DLQ.search(said):
            yield Hit(
                document,
                path,
                f"This watches dead letters, and nothing here watches {_CHECKED_OUT}",
            )
            return


# -- what is there -----------------------------------------------------------------------------------------------------


def _pools(fleet: Fleet) -> Iterator[Pool]:
    estate, seen = estate_of(fleet), set()
    for pods in estate.pods:
        if not pods.long_running:
            continue
        service = estate.sale_name(pods)
        seen.add(service)
        sizes = [(size, one) for one in of_pods(fleet, pods) if (size := _pool_size(one))]
        if sizes:
            size, setting = max(sizes, key=lambda one: one[0])
            yield Pool(pods.name, estate.count(pods), size, setting.document, setting.path)
        elif fleet.sale and (size := fleet.sale.connections_per_pod.get(service, 0)):
            count = estate.count(pods)
            yield Pool(pods.name, count, size, count.document, count.path)
    yield from _of_sale(fleet, seen)
    yield from _of_configs(fleet)


def _of_sale(fleet: Fleet, seen: set[str]) -> Iterator[Pool]:
    """Services that the sale sizes and no workload here is."""
    document = next(fleet.of_format("sale"), None)
    sale = fleet.sale
    if document is None or sale is None:
        return
    for service, size in sale.connections_per_pod.items():
        count = int(sale.pods.get(service, 0))
        if service not in seen and count and size:
            path: KeyPath = ("services", service, "connections_per_pod")
            why = f"{sale.name} needs {count} pods of {service} at its peak"
            yield Pool(service, PodCount(count, document, path, why), size, document, path)


def _of_configs(fleet: Fleet) -> Iterator[Pool]:
    """ConfigMaps that no workload here takes, where an autoscaler of the same name says how many pods there will be."""
    for owner, settings in settings_of(fleet).items():
        if not owner.startswith("ConfigMap "):
            continue
        sizes = [(size, one) for one in settings if (size := _pool_size(one))]
        if not sizes:
            continue
        size, setting = max(sizes, key=lambda one: one[0])
        stem = re.sub(r"[-_.](config|settings|env|cm|configmap)$", "", setting.document.name)
        for hpa in fleet.of_kind("HorizontalPodAutoscaler", "CronHorizontalPodAutoscaler"):
            target = text(table(hpa.at("spec", "scaleTargetRef")).get("name"))
            jobs = [whole(job.get("targetSize")) or 0 for _, job in tables(hpa.at("spec", "jobs"))]
            most = max([whole(hpa.at("spec", "maxReplicas")) or 0, *jobs])
            if (
                most
                and stem
                and target.startswith(stem)
                and hpa.namespace == setting.document.namespace
            ):
                why = f"{hpa.kind} {hpa.name} goes up to {most} pods"
                count = PodCount(most, hpa, ("spec",), why)
                yield Pool(target, count, size, setting.document, setting.path)
                break


def _pool_size(one: Setting) -> int:
    """The most connections a setting allows a pod; 0 where it is none of that kind."""
    if not _POOL.search(one.name) or _NOT_POOL.search(one.name):
        return 0
    size = whole(one.value)
    return size if size and 0 < size <= 1_000_000 else 0


def _limit(fleet: Fleet) -> Limit | None:
    """What the database takes: the sale's word for it first, else the smallest class of node that is named."""
    if fleet.sale and fleet.sale.connections_limit > 0:
        return Limit(fleet.sale.connections_limit, f"the limit of {fleet.sale.name}")
    for document in fleet.of_format("sale"):
        said = whole(document.at("limits", "database_connections"))
        if said and said > 0:
            return Limit(said, "limits.database_connections of the sale")
    found = []
    for document in fleet.of_format("terraform", "profile", "json"):
        for path, value in walk(document.value):
            if (
                path
                and path[-1] in ("db_node_class", "node_class", "DBNodeClass")
                and isinstance(value, str)
            ):
                known = LIMITS.get(value.removeprefix("polar.mysql."))
                if known:
                    found.append(Limit(known, value))
    return min(found, key=lambda one: one.connections, default=None)


def _persist(fleet: Fleet) -> Iterator[tuple[LintDocument, KeyPath, str]]:
    for document in fleet.of_format("terraform", "json", "yaml"):
        for path, value in walk(document.value):
            if path and path[-1] == "ConnectionPersist":
                yield document, path, scalar(value)
            elif isinstance(value, str) and '"ConnectionPersist"' in value and len(value) < 20_000:
                try:
                    config: Any = json.loads(value)
                except (ValueError, RecursionError):
                    continue
                if isinstance(config, dict):
                    yield document, path, scalar(config.get("ConnectionPersist"))


def _multiplexes(fleet: Fleet) -> str:
    if any(value.lower() == "transaction" for _, _, value in _persist(fleet)):
        return "PolarProxy (ConnectionPersist Transaction)"
    return "ProxySQL" if any(True for _ in _proxysql(fleet)) else ""


def _proxysql(fleet: Fleet) -> Iterator[tuple[LintDocument, KeyPath, str]]:
    for document in fleet.of_kind("ConfigMap", "Secret"):
        for holder in ("data", "stringData"):
            for key, value in table(document.at(holder)).items():
                if isinstance(value, str) and "mysql_servers" in value and len(value) < 200_000:
                    yield document, (holder, str(key)), value


def _proxies(fleet: Fleet, config: LintDocument) -> int:
    estate = estate_of(fleet)
    counts = [
        estate.count(pods).count
        for pods in estate.beside(config)
        if pods.long_running
        and "proxysql" in f"{pods.name} {scalar(table(pods.labels).get('app'))}".lower()
    ]
    return max(1, sum(counts))


def _alerts(fleet: Fleet) -> Iterator[tuple[LintDocument, KeyPath, str]]:
    """Expressions of alerts: of PrometheusRules, of rule files, of rule files in ConfigMaps, of metric rules in JSON."""
    for document in fleet.of_kind("PrometheusRule"):
        yield from _groups(document, ("spec", "groups"))
    for document in fleet.of_format("yaml"):
        yield from _groups(document, ("groups",))
    for document in fleet.of_kind("ConfigMap"):
        for key, value in table(document.at("data")).items():
            if isinstance(value, str) and re.search(r"^\s*-?\s*alert:", value, re.M):
                yield document, ("data", str(key)), value
    for document in fleet.of_format("json"):
        for path, value in walk(document.value):
            if (
                path
                and isinstance(value, str)
                and str(path[-1]) in ("MetricName", "Expression", "PromQL", "expr")
            ):
                yield document, path, value


def _groups(document: LintDocument, path: KeyPath) -> Iterator[tuple[LintDocument, KeyPath, str]]:
    for g, group in tables(document.at(*path)):
        for r, one in tables(group.get("rules")):
            yield (
                document,
                (*path, g, "rules", r, "expr"),
                f"{scalar(one.get('alert'))} {scalar(one.get('expr'))}",
            )
