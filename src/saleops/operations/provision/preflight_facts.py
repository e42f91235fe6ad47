"""What a preflight asks the cloud: one reading call (or one list) for each fact, and nothing twice.

A call that is refused leaves ``Unseen`` in the place of its fact. A product that does not answer at all is not asked again: each
of its calls would wait as long as the first.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from saleops.domain.cloud.calls import Answer, Call
from saleops.domain.cloud.ours import rows_in, text
from saleops.domain.cloud.paging import CLUSTERS, TOKENED, every_page
from saleops.errors import CloudError
from saleops.operations.provision.survey import Read

_Fact = TypeVar("_Fact")
HISTORY_H = 3
"""Prices change by the hour; older ones say nothing about now."""


@dataclass(frozen=True, slots=True)
class Unseen:
    """Why nobody knows."""

    asked: str
    problem: str
    retryable: bool = False  # the cloud failed, or was too busy


@dataclass(frozen=True, slots=True)
class SpotPrice:
    """The last one of a type in a zone, and the list price, per hour."""

    price: float
    list_price: float
    currency: str


class Facts:
    """Facts of ``region`` at ``now_ms``, each asked for when first wanted. ``calls_count``: answered or refused."""

    def __init__(self, read: Read, *, region: str, now_ms: int) -> None:
        self._read = read
        self._region = region
        self._now_ms = now_ms
        self._known: dict[str, Any] = {}
        self._down: dict[str, str] = {}
        self.calls_count = 0

    def quotas(self, product: str) -> list[Mapping[str, Any]] | Unseen:
        """The quotas of ``product`` that Quota Center lists."""
        call = Call(
            "quotas",
            "ListProductQuotas",
            {
                "ProductCode": product,
                "Dimensions": [{"Key": "regionId", "Value": self._region}],
            },
        )
        return self._fact(f"quotas {product}", every_page(call, "Quotas", TOKENED))

    def account(self) -> dict[str, int] | Unseen:
        """What ECS says of the account: the most and the used vCPUs of each way to buy, and security groups."""
        names = [f"{what}-{way}-instance-vcpu-count" for what in ("max", "used") for way in _WAYS]
        call = Call(
            "ecs",
            "DescribeAccountAttributes",
            {"RegionId": self._region, "AttributeName": [*names, "max-security-groups"]},
        )
        return self._fact("account", _once(call, _attributes))

    def security_groups(self) -> int | Unseen:
        call = Call("ecs", "DescribeSecurityGroups", {"RegionId": self._region})
        return self._fact(
            "security groups", _counted(every_page(call, "SecurityGroups.SecurityGroup"))
        )

    def stock(self, *, spot: bool) -> dict[tuple[str, str], str] | Unseen:
        """(type, zone) -> the service's word for its stock: WithStock, ClosedWithStock, WithoutStock."""
        call = Call(
            "ecs",
            "DescribeAvailableResource",
            {
                "RegionId": self._region,
                "DestinationResource": "InstanceType",
                "InstanceChargeType": "PostPaid",
                "SpotStrategy": "SpotAsPriceGo" if spot else "NoSpot",
            },
        )
        return self._fact(f"stock {spot}", _once(call, _stock))

    def spot_advice(self, types: Sequence[str]) -> dict[tuple[str, str], float] | Unseen:
        """(type, zone) -> percent of spot nodes that were taken back."""
        call = Call(
            "ecs",
            "DescribeSpotAdvice",
            {"RegionId": self._region, "InstanceTypes": [*types]},
        )
        return self._fact("advice", _once(call, _advice))

    def spot_prices(self, type: str) -> dict[str, SpotPrice] | Unseen:
        """zone -> what a spot node of ``type`` costs there now."""
        now = datetime.fromtimestamp(self._now_ms / 1000, UTC)
        call = Call(
            "ecs",
            "DescribeSpotPriceHistory",
            {
                "RegionId": self._region,
                "NetworkType": "vpc",
                "InstanceType": type,
                "StartTime": f"{now - timedelta(hours=HISTORY_H):%Y-%m-%dT%H:%M:%SZ}",
                "EndTime": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            },
        )
        return self._fact(f"prices {type}", _once(call, _prices))

    def cluster_quota(self) -> Answer | Unseen:
        return self._fact("user quota", _once(Call("cs", "DescribeUserQuota"), _user_quota))

    def clusters(self) -> int | Unseen:
        """Clusters of the account, in all regions."""
        rows = every_page(Call("cs", "DescribeClustersV1"), "clusters", CLUSTERS)
        return self._fact("clusters", _alive(rows))

    def roles(self, names: Sequence[str]) -> list[str] | Unseen:
        """Those of the service roles ``names`` that were not granted."""
        call = Call("cs", "CheckServiceRole", body={"roles": [{"name": one} for one in names]})
        return self._fact(
            "roles",
            _once(
                call,
                lambda answer: [
                    text(one.get("name"))
                    for one in rows_in(answer, "roles")
                    if not one.get("granted")
                ],
            ),
        )

    def versions(self) -> list[str] | Unseen:
        """Kubernetes versions that a new cluster can have."""
        call = Call(
            "cs",
            "DescribeKubernetesVersionMetadata",
            {"Region": self._region, "ClusterType": "ManagedKubernetes"},
        )
        return self._fact("versions", _once(call, _versions))

    def addons(self) -> list[str] | Unseen:
        call = Call(
            "cs", "ListAddons", {"region_id": self._region, "cluster_type": "ManagedKubernetes"}
        )
        return self._fact(
            "addons",
            _once(
                call, lambda answer: [text(one.get("name")) for one in rows_in(answer, "addons")]
            ),
        )

    def nat_zones(self) -> list[str] | Unseen:
        call = Call("vpc", "ListEnhanhcedNatGatewayAvailableZones", {"RegionId": self._region})
        return self._fact(
            "nat zones",
            _once(
                call, lambda answer: [text(one.get("ZoneId")) for one in rows_in(answer, "Zones")]
            ),
        )

    def database_classes(self, zone: str, version: str) -> set[str] | Unseen:
        """Node classes that PolarDB sells in ``zone``."""
        call = Call(
            "polardb",
            "DescribeDBClusterAvailableResources",
            {
                "RegionId": self._region,
                "ZoneId": zone,
                "DBType": "MySQL",
                "DBVersion": version,
                "PayType": "Postpaid",
            },
        )
        return self._fact(
            "database classes",
            _once(call, lambda answer: _classes(answer.get("AvailableZones"), "DBNodeClass", zone)),
        )

    def connections(self, node_class: str) -> int | Unseen | None:
        """Connections that one node of ``node_class`` takes; None for a class that is not in the list."""
        mainland = self._region.startswith("cn-") and self._region != "cn-hongkong"
        code = "polardb_payg" if mainland else "polardb_payg_intl"
        call = Call(
            "polardb", "DescribeClassList", {"RegionId": self._region, "CommodityCode": code}
        )
        return self._fact(
            "class list", _once(call, lambda answer: _connections(answer, node_class))
        )

    def cache_classes(self) -> dict[str, set[str]] | Unseen:
        """zone -> Tair classes sold there."""
        call = Call(
            "r-kvstore",
            "DescribeAvailableResource",
            {
                "RegionId": self._region,
                "Engine": "Redis",
                "ProductType": "Tair_rdb",
                "InstanceChargeType": "PostPaid",
            },
        )
        return self._fact("cache classes", _once(call, _cache_classes))

    def preloads(self) -> tuple[int, int] | Unseen:
        """URLs that may be preloaded in a day, and how many of them today are left."""
        call = Call("dcdn", "DescribeDcdnRefreshQuota")
        return self._fact(
            "preloads",
            _once(
                call,
                lambda answer: (
                    int(answer.get("PreloadQuota") or 0),
                    int(answer.get("PreloadRemain") or 0),
                ),
            ),
        )

    def balance(self) -> tuple[float, str] | Unseen:
        """What the account can spend, credit included, and its currency."""
        call = Call("bssopenapi", "QueryAccountBalance")
        return self._fact("balance", _once(call, _balance))

    def _fact(self, name: str, reading: Generator[Call, Answer, _Fact]) -> "_Fact | Unseen":
        if name not in self._known:
            self._known[name] = self._ask(reading)
        known: _Fact | Unseen = self._known[name]
        return known

    def _ask(self, reading: Generator[Call, Answer, _Fact]) -> "_Fact | Unseen":
        call = Call("", "")
        try:
            call = next(reading)
            while True:
                if call.product in self._down:
                    return Unseen(str(call), self._down[call.product], True)
                self.calls_count += 1
                call = reading.send(self._read(call))
        except StopIteration as end:
            fact: _Fact = end.value
            return fact
        except CloudError as error:
            if error.retryable:  # it was asked often enough by now
                self._down[call.product] = error.message
            return Unseen(str(call), error.message, error.retryable)
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            return Unseen(str(call), f"{call} answered what we cannot read: {error}")
        finally:
            reading.close()


_WAYS = ("postpaid", "spot")


def _once(call: Call, read: Callable[[Answer], _Fact]) -> Generator[Call, Answer, _Fact]:
    return read((yield call))


def _counted(rows: Generator[Call, Answer, list[Any]]) -> Generator[Call, Answer, int]:
    return len((yield from rows))


def _alive(rows: Generator[Call, Answer, list[Any]]) -> Generator[Call, Answer, int]:
    return sum(row.get("state") != "deleted" for row in (yield from rows))


def _attributes(answer: Answer) -> dict[str, int]:
    found = {}
    for item in rows_in(answer, "AccountAttributeItems", "AccountAttributeItem"):
        values = [one.get("Value") for one in rows_in(item, "AttributeValues", "ValueItem")]
        if values:
            found[text(item.get("AttributeName"))] = int(values[0] or 0)
    return found


def _stock(answer: Answer) -> dict[tuple[str, str], str]:
    return {
        (text(value.get("Value")), text(zone.get("ZoneId"))): text(value.get("StatusCategory"))
        or {"Available": "WithStock"}.get(text(value.get("Status")), "WithoutStock")
        for zone in rows_in(answer, "AvailableZones", "AvailableZone")
        for kind in rows_in(zone, "AvailableResources", "AvailableResource")
        for value in rows_in(kind, "SupportedResources", "SupportedResource")
    }


def _advice(answer: Answer) -> dict[tuple[str, str], float]:
    return {
        (text(one.get("InstanceType")), text(zone.get("ZoneId"))): float(
            one.get("InterruptionRate") or 0
        )
        for zone in rows_in(answer, "AvailableSpotZones", "AvailableSpotZone")
        for one in rows_in(zone, "AvailableSpotResources", "AvailableSpotResource")
    }


def _prices(answer: Answer) -> dict[str, SpotPrice]:
    latest: dict[str, tuple[str, SpotPrice]] = {}
    for row in rows_in(answer, "SpotPrices", "SpotPriceType"):
        zone, at = text(row.get("ZoneId")), text(row.get("Timestamp"))
        if zone not in latest or at > latest[zone][0]:
            price = SpotPrice(
                float(row.get("SpotPrice") or 0),
                float(row.get("OriginPrice") or 0),
                text(answer.get("Currency")),
            )
            latest[zone] = (at, price)
    return {zone: price for zone, (_, price) in latest.items()}


def _user_quota(answer: Answer) -> Answer:
    """Where there is a map of quotas, that one holds (reference 4.1)."""
    inner = answer.get("quotas")
    if not isinstance(inner, Mapping):
        return answer
    named: dict[str, Any] = dict(answer)
    for name, value in inner.items():
        named[str(name)] = value.get("value", value) if isinstance(value, Mapping) else value
    return named


def _versions(answer: Answer) -> list[str]:
    return [text(one.get("version")) for one in rows_in(answer, "") if one.get("creatable", True)]


def _classes(zones: Any, field: str, zone: str) -> set[str]:
    found = set()
    for one in zones or ():
        if one.get("ZoneId") == zone:
            found |= _values(one, field)
    return found


def _values(document: Any, field: str) -> set[str]:
    """Every value of ``field``, however deep."""
    if isinstance(document, Mapping):
        own = {text(document[field])} if field in document else set()
        return own.union(*(_values(one, field) for one in document.values()))
    if isinstance(document, list):
        return set().union(*(_values(one, field) for one in document))
    return set()


def _cache_classes(answer: Answer) -> dict[str, set[str]]:
    return {
        text(zone.get("ZoneId")): _values(zone, "InstanceClass")
        for zone in rows_in(answer, "AvailableZones", "AvailableZone")
    }


def _connections(answer: Answer, node_class: str) -> int | None:
    for row in rows_in(answer, "Items"):
        if row.get("ClassCode") == node_class:
            return int(row.get("MaxConnections") or 0)
    return None


def _balance(answer: Answer) -> tuple[float, str]:
    data: Mapping[str, Any] = answer.get("Data") or {}
    return float(text(data.get("AvailableAmount")).replace(",", "")), text(data.get("Currency"))
