"""What rules may know of a sale, worked out from its file and its profile."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from saleops.domain.lint.fleet import SaleFacts
from saleops.errors import ConfigError

if TYPE_CHECKING:
    from saleops.config.profile import Profile
    from saleops.config.sale import Sale


def facts_of(sale: "Sale", profile: "Profile", *, now: datetime | None = None) -> SaleFacts:
    """Pods and nodes are those of the capacity plan; where the sale cannot be sized (no zones yet) they are left out."""
    from saleops.operations.provision.blueprint import capacity_of

    pods: dict[str, int] = {}
    nodes = 0
    try:
        capacity = capacity_of(sale, profile)
    except ConfigError:
        capacity = None  # provision says what is missing; the other facts hold all the same
    if capacity is not None:
        pods = {one.service: one.pods for one in capacity.services}
        nodes = capacity.nodes
    return SaleFacts(
        name=sale.name,
        opens=sale.window.opens,
        closes=sale.window.closes,
        zone=profile.cluster.timezone,
        peak_rps=sale.traffic.peak_rps,
        baseline_rps=sale.traffic.baseline_rps,
        pods=pods,
        rps_per_pod={
            name: size.rps_per_pod for name, size in sale.services.items() if size.rps_per_pod
        },
        connections_per_pod={
            name: size.connections_per_pod for name, size in sale.services.items()
        },
        connections_limit=sale.limits.database_connections,
        nodes_max=nodes,
        checkout_p99_ms=sale.objectives.checkout_p99_ms or 0.0,
        now=now,
    )


def read_facts(path: Path, profile_path: Path | None, *, now: datetime) -> SaleFacts:
    """Of the sale file ``path`` and of the profile, or of the one beside it. Raises ConfigError."""
    from saleops.config.profile import default_profile, load_profile
    from saleops.config.sale import PROFILE_FILE, load_sale

    sale = load_sale(path)
    beside = path.parent / PROFILE_FILE
    if profile_path is not None:
        profile = load_profile(profile_path)
    else:
        profile = load_profile(beside) if beside.exists() else default_profile()
    return facts_of(sale, profile, now=now)
