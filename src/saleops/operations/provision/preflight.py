"""Before anything is bought: does the account have what the sale needs, and does the cloud sell it now? Only reads.

Asked is for what the groups at hand still lack, so that a finished cloud costs a call or two. What nobody could see is named
and is a NO-GO like a shortfall: an answer of last week, or none, proves nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from saleops.domain.cloud.preflight import Check, PreflightReport, stated, unseen, verdict_of
from saleops.errors import CloudError
from saleops.events import Finished, Observer, Started, silent
from saleops.operations.provision.preflight_data import DataChecks
from saleops.operations.provision.preflight_facts import Facts
from saleops.operations.provision.preflight_network import NetworkChecks
from saleops.operations.provision.preflight_nodes import NodeChecks
from saleops.operations.provision.survey import Read, Survey, survey

if TYPE_CHECKING:
    from saleops.config.sale import Sale
    from saleops.operations.provision.blueprint import Blueprint

TASK = "preflight"


def preflight(
    sale: Sale,
    blueprint: Blueprint,
    read: Read,
    *,
    cloud: str,
    groups: Collection[str],
    now_ms: int,
    seen: Survey | None = None,
    accepted: str = "",
    observe: Observer = silent,
) -> PreflightReport:
    """Check what ``groups`` lack. ``seen`` is a survey of just now; without one it is made. ``accepted``: why checks that nobody
    could make are let pass. Raises no CloudError: what the cloud does not tell is in the report."""
    facts = Facts(read, region=blueprint.region, now_ms=now_ms)
    checks: list[Check] = []
    try:
        seen = seen or survey(blueprint.resources, read, observe=observe)
    except CloudError as error:
        blank = stated("what is there already", "", "permission", asked="", ok=False, said="")
        checks.append(unseen(blank, error.message, retryable=error.retryable))
        accepted = ""  # without it nothing at all was checked
    else:
        observe(Started(TASK))
        checks += _checks(sale, blueprint, seen, facts, groups)
        verdict = verdict_of(checks, accepted=accepted)
        observe(Finished(TASK, f"{verdict}, {facts.calls_count} calls", ok=verdict == "GO"))
    return PreflightReport(
        sale=sale.name,
        cloud=cloud,
        region=blueprint.region,
        verdict=verdict_of(checks, accepted=accepted),
        asked_ms=now_ms,
        groups=tuple(groups),
        checks=tuple(checks),
        calls_count=facts.calls_count,
        accepted=accepted,
    )


def _checks(
    sale: Sale, blueprint: Blueprint, seen: Survey, facts: Facts, groups: Collection[str]
) -> list[Check]:
    network = NetworkChecks(sale, blueprint, seen, facts)
    data = DataChecks(sale, blueprint, seen, facts)
    found: list[Check] = []
    for group, checks in (
        ("network", network.network),
        ("cluster", network.cluster),
        ("nodepool", lambda: NodeChecks(sale, blueprint, seen, facts).checks()),
        ("database", data.database),
        ("cache", data.cache),
        ("queue", data.queue),
        ("edge", data.edge),
    ):
        if group in groups and blueprint.of(group):
            found += checks()
    if "nodepool" in groups and "network" not in groups:  # nodes fill vSwitches that are there
        found += network.addresses()
    return [*found, *data.money()]
