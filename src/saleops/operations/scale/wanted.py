"""What a sale wants: pods, nodes, read nodes and shards, and how long each takes. From its two files, nothing is asked."""

from __future__ import annotations  # the files' types are named, not loaded

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING

from saleops.domain.lead_times import LeadTimes, overridden
from saleops.domain.scaling import WantedPods
from saleops.errors import ConfigError
from saleops.operations.render_k8s import manifests_of

if TYPE_CHECKING:
    from saleops.config.profile import Profile
    from saleops.config.sale import Sale

NO_IMAGES = "images.invalid/none"
NAMESPACE_PATTERN = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"


@dataclass(frozen=True)
class Wants:
    """``zone`` is the one the sale's clock is shown in: that of the cluster's controllers."""

    sale: str
    opens: datetime
    closes: datetime
    zone: tzinfo
    namespace: str
    pods: tuple[WantedPods, ...]
    times: LeadTimes
    why: tuple[str, ...]


def wants_of(
    sale: Sale,
    profile: Profile,
    *,
    namespace: str = "",
    overrides: Mapping[str, float] | None = None,
) -> Wants:
    """The pods are those `saleops render k8s` writes. Raises ConfigError."""
    from zoneinfo import ZoneInfo

    if namespace and re.fullmatch(NAMESPACE_PATTERN, namespace) is None:
        raise ConfigError(
            f"--namespace {namespace!r} is no name of a namespace; nothing was done",
            hint="Lower-case letters, digits and dashes, at most 63: --namespace shop",
        )
    planned = manifests_of(sale, profile, images=profile.kubernetes.images or NO_IMAGES)
    times = LeadTimes(image_mib=float(profile.kubernetes.image_mib))
    try:
        times = overridden(times, overrides or {})
    except ValueError as error:
        raise ConfigError(
            f"--lead: {error}; nothing was done", hint="Example: --lead node_batch_s=300"
        ) from error
    pods = tuple(
        WantedPods(app.name, one.workload.name, one.workload.peak, one.workload.most)
        for app in planned.apps
        for one in app.scaled
    )
    zone = ZoneInfo(profile.cluster.timezone)
    return Wants(
        sale.name,
        sale.window.opens.astimezone(zone),
        sale.window.closes.astimezone(zone),
        zone,
        namespace or planned.namespace,
        pods,
        times,
        tuple(one.workload.why for app in planned.apps for one in app.scaled),
    )
