"""The preflight of what holds a sale's data, of its edge, and of the money for all of it."""

from __future__ import annotations

from math import ceil

from saleops.domain.capacity import SURGE
from saleops.domain.cloud.cache import Cache
from saleops.domain.cloud.database import Database
from saleops.domain.cloud.edge import EdgeDomain
from saleops.domain.cloud.preflight import REVIEWED, Check, QuotaName, enough, stated
from saleops.domain.cloud.queue import Queue
from saleops.operations.provision.preflight_facts import Unseen
from saleops.operations.provision.preflight_shapes import Checks

TAIRS = QuotaName("kvstore", (("instances",),))
QUEUES = QuotaName("rocketmq", (("instances",),))
DOMAINS = QuotaName("dcdn", (("domains",),))


class DataChecks(Checks):
    def database(self) -> list[Check]:
        checks = []
        wishes = self._of(Database)[0].wishes
        lacks = self._lacking(Database)
        if lacks:
            checks.append(
                self._offer(
                    f"PolarDB {wishes.node_class} in {wishes.zone}",
                    "database",
                    "polardb DescribeDBClusterAvailableResources",
                    self._facts.database_classes(wishes.zone, wishes.version),
                    wishes.node_class,
                    wanted=wishes.nodes,
                    todo="Choose another class (database.node_class), or put another zone first.",
                )
            )
            checks.append(self._connections(wishes.node_class))
        return checks

    def _connections(self, node_class: str) -> Check:
        plan = self._blueprint.capacity
        rolling = ceil(plan.connections * (1 + SURGE))
        name = f"connections of {node_class}"
        most = self._facts.connections(node_class)
        if isinstance(most, Unseen):
            return self._unseen(name, "database", "quota", rolling, most)
        if most is None:
            nobody = Unseen(
                "polardb DescribeClassList", f"{node_class} is not in the list of classes"
            )
            return self._unseen(name, "database", "quota", rolling, nobody)
        return enough(
            name,
            "database",
            "quota",
            asked="polardb DescribeClassList",
            wanted=rolling,
            available=most,
            unit="connections",
            why=f"{plan.connections:,} of all pods, and a quarter more while they roll; buyers see errors beyond it",
            todo="Choose a larger database.node_class, or fewer services.NAME.connections_per_pod.",
        )

    def cache(self) -> list[Check]:
        wishes = self._of(Cache)[0].wishes
        lacks = self._lacking(Cache)
        checks = [
            self._quota("Tair instances", "cache", TAIRS, lacks, why="stock has nowhere to be")
        ]
        if lacks:
            sold = self._facts.cache_classes()
            checks += [
                self._offer(
                    f"Tair {wishes.instance_class} in {zone}",
                    "cache",
                    "r-kvstore DescribeAvailableResource",
                    sold if isinstance(sold, Unseen) else sold.get(zone, set()),
                    wishes.instance_class,
                    wanted=wishes.shards,
                    todo="Choose another class (cache.instance_class), or other zones.",
                )
                for zone in (wishes.zone, wishes.secondary_zone)
                if zone
            ]
        return checks

    def queue(self) -> list[Check]:
        lacks = self._lacking(Queue)
        return [
            self._quota("RocketMQ instances", "queue", QUEUES, lacks, why="orders have no queue")
        ]

    def edge(self) -> list[Check]:
        lacks = self._lacking(EdgeDomain)
        urls = self._sale.items_source.summary().items_count
        name, asked = "URLs to preload today", "dcdn DescribeDcdnRefreshQuota"
        found = self._facts.preloads()
        if isinstance(found, Unseen):
            preloads = self._unseen(name, "edge", "quota", urls, found)
        else:
            total, left = found
            preloads = enough(
                name,
                "edge",
                "quota",
                asked=asked,
                wanted=urls,
                available=left,
                unit="URLs",
                why="pages that are not preloaded are fetched from the origin by the first buyers",
                todo="Preload the hottest alone (`saleops prewarm edge --hottest N`), on several days, or apply for more "
                f"in {REVIEWED}.",
                # Of a domain that is there, today's part may be used up by its own preloads.
                decides=bool(lacks) or total < urls,
            )
        domains = self._quota("DCDN domains", "edge", DOMAINS, lacks, why="there is no edge")
        return [domains, preloads]

    def money(self) -> list[Check]:
        name = "account balance"
        found = self._facts.balance()
        budget = self._sale.limits.budget
        amount, _, currency = (budget or "").partition(" ")
        floor = float(amount or 0)
        if isinstance(found, Unseen):
            return [self._unseen(name, "", "money", floor, found)]
        balance, paid_in = found
        why = "a postpaid account that runs dry has its instances stopped, in the middle of the sale too"
        asked, todo = "bssopenapi QueryAccountBalance", "Top up the account."
        if budget and currency != paid_in:
            told = f"{balance:,.2f} {paid_in}; the budget is {budget}, and nobody says what that is"
            ok = balance > 0
            return [
                stated(
                    name,
                    "",
                    "money",
                    asked=asked,
                    ok=ok,
                    said=told,
                    unit=paid_in,
                    why=why,
                    todo=todo,
                )
            ]
        if not budget:
            told = f"{balance:,.2f} {paid_in}; the sale file names no budget (limits.budget)"
            return [
                stated(
                    name,
                    "",
                    "money",
                    asked=asked,
                    ok=balance > 0,
                    said=told,
                    unit=paid_in,
                    why=why,
                    todo=todo,
                )
            ]
        return [
            enough(
                name,
                "",
                "money",
                asked=asked,
                wanted=floor,
                available=balance,
                unit=paid_in,
                why=why,
                todo=f"{todo} Or change limits.budget in the sale file.",
            )
        ]
