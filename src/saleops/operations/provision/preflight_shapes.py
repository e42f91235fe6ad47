"""What all checks of a preflight share: what of the sale is there, and the shapes of an answer."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from saleops.domain.cloud.preflight import (
    REVIEWED,
    Check,
    Kind,
    QuotaName,
    enough,
    figure,
    quota_in,
    stated,
    unseen,
)
from saleops.domain.cloud.resources import Condition, Found, Resource
from saleops.operations.provision.preflight_facts import Facts, Unseen
from saleops.operations.provision.survey import Survey

if TYPE_CHECKING:
    from saleops.config.sale import Sale
    from saleops.operations.provision.blueprint import Blueprint


class Checks:
    """The checks of some groups of ``blueprint``, of which ``seen`` is there."""

    def __init__(self, sale: Sale, blueprint: Blueprint, seen: Survey, facts: Facts) -> None:
        self._sale = sale
        self._blueprint = blueprint
        self._seen = seen
        self._facts = facts
        self._region = blueprint.region

    def _found(self, key: str) -> Found | None:
        found = self._seen.found.get(key)
        return None if found is None or found.condition is Condition.LEAVING else found

    def _of(self, kind: type[Resource]) -> list[Any]:
        return [one for one in self._blueprint.resources if isinstance(one, kind)]

    def _lacking(self, kind: type[Resource]) -> int:
        return sum(self._found(one.key) is None for one in self._of(kind))

    def _quota(
        self,
        name: str,
        group: str,
        quota: QuotaName,
        wanted: int,
        *,
        whole: bool = False,
        most: int | None = None,
        why: str = "",
    ) -> Check:
        """A quota of Quota Center. ``whole``: against all of it, not what others leave. ``most`` where it does not list it."""
        asked = f"quotas ListProductQuotas {quota.product}"
        if not wanted:
            return self._enough(name, group, asked, 0, 0)
        rows = self._facts.quotas(quota.product)
        if isinstance(rows, Unseen):
            return self._unseen(name, group, "quota", wanted, rows)
        found = quota_in(rows, quota)
        if found is None and most is None:
            nobody = Unseen(asked, f"Quota Center lists no such quota of {quota.product}")
            return self._unseen(name, group, "quota", wanted, nobody)
        free = float(most or 0) if found is None else found.total if whole else found.free
        code = f" {found.code}" if found and found.code else ""
        return enough(
            f"{name} in {self._region}",
            group,
            "quota",
            asked=asked,
            wanted=wanted,
            available=free,
            why=why,
            todo=f"Apply for more of {quota.product}{code} in {REVIEWED}.",
        )

    def _enough(
        self, name: str, group: str, asked: str, wanted: int, free: int, *, why: str = ""
    ) -> Check:
        return enough(
            f"{name} in {self._region}",
            group,
            "quota",
            asked=asked,
            wanted=wanted,
            available=free,
            why=why,
            todo=f"Apply for more in {REVIEWED}.",
        )

    def _offer(
        self,
        name: str,
        group: str,
        asked: str,
        offered: Collection[str] | Unseen,
        wanted_one: str,
        *,
        wanted: int = 1,
        todo: str,
    ) -> Check:
        if isinstance(offered, Unseen):
            return self._unseen(name, group, "offer", wanted, offered)
        ok = wanted_one in offered
        return stated(
            name,
            group,
            "offer",
            asked=asked,
            ok=ok,
            said="offered"
            if ok
            else f"{figure(wanted)} wanted, not offered there: {wanted} missing",
            wanted=wanted,
            why="its creation would be refused",
            todo=todo,
        )

    def _unseen(self, name: str, group: str, kind: Kind, wanted: float, why: Unseen) -> Check:
        blank = stated(name, group, kind, asked=why.asked, ok=False, said="", wanted=wanted)
        return unseen(blank, why.problem, retryable=why.retryable)
