"""``saleops render k8s``: everything a sale runs in its cluster, as files for kubectl.

The sale file and the profile become one value (domain/k8s/manifests.py), the templates under templates/k8s loop over it, and
what comes out is checked against Kubernetes' schemas before a byte is written. No secret is read or written: Secrets
are referenced, and ``secret.example.yaml`` shows their shape.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from saleops import __version__
from saleops.domain import capacity as sizes
from saleops.domain.k8s import network
from saleops.domain.k8s.manifests import Manifests, Settings, Toleration, plan_manifests
from saleops.domain.k8s.network import Engine
from saleops.errors import ConfigError
from saleops.operations.k8s_schemas import can_validate, check_texts
from saleops.operations.k8s_texts import texts_of, zone_named
from saleops.operations.provision.blueprint import (
    CONNECTIONS,
    addresses_of,
    capacity_of,
    region_of,
    zones_of,
)
from saleops.operations.rendered_files import FolderPlan, RenderedFile, plan_folder, write_folder

if TYPE_CHECKING:
    from saleops.config.profile import Profile
    from saleops.config.sale import Sale

IMAGE = "saleops"


@dataclass(frozen=True, slots=True)
class RenderedWorkload:
    """One Deployment: pods before the sale, during it, and at the most."""

    name: str
    base: int
    peak: int
    most: int
    on_demand: bool


@dataclass(frozen=True, slots=True)
class KubernetesFiles:
    """What was written, or would be. ``missing`` is what has to be known before the load balancer can be applied."""

    schema: ClassVar[str] = "saleops/render-k8s/v1"

    sale: str
    region: str
    zones: tuple[str, ...]
    folder: str
    image: str
    written: bool
    validated: bool
    files: tuple[RenderedFile, ...]
    workloads: tuple[RenderedWorkload, ...]
    scale_up_at: str
    scale_down_at: str
    lead_s: int
    why: tuple[str, ...]
    notes: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class RenderPlan:
    result: KubernetesFiles
    folder: FolderPlan


def plan_render(
    sale: "Sale",
    profile: "Profile",
    folder: Path,
    *,
    images: str = "",
    prepull: str = "",
    proxysql: bool | None = None,
    vswitches: Mapping[str, str] | None = None,
    force: bool = False,
) -> RenderPlan:
    """What writing ``sale`` into ``folder`` would do. Only reads. ``vswitches`` are those that are known to be there, by zone.

    Raises ConfigError for what the two files do not agree on or do not say, Refused for files that somebody edited.
    """
    if sale.name == "default" or sale.name.startswith("kube-"):
        raise ConfigError(
            f"the sale cannot be rendered: its namespace would be Kubernetes' own {sale.name!r}; nothing was written",
            hint="Give the sale another name: its namespace is called like it.",
        )
    planned = manifests_of(
        sale, profile, images=images, prepull=prepull, proxysql=proxysql, vswitches=vswitches
    )
    texts = texts_of(planned, sale)
    validated = can_validate()
    problems = check_texts(texts) if validated else []
    if problems:  # a bug of ours; nobody's cluster is the place to find out
        raise AssertionError("rendered documents are not valid: " + "; ".join(problems))
    files = plan_folder(folder, texts, force=force)
    notes = planned.notes
    if not validated:
        notes += (
            "documents were not checked against Kubernetes' schemas: `pip install kubernetes-validate`",
        )
    result = KubernetesFiles(
        sale=sale.name,
        region=planned.settings.region,
        zones=planned.settings.zones,
        folder=str(folder),
        image=planned.settings.image,
        written=False,
        validated=validated,
        files=files.files,
        workloads=tuple(
            RenderedWorkload(one.name, one.base, one.peak, one.most, one.core)
            for one in planned.workloads
        ),
        scale_up_at=planned.moments.up.isoformat(),
        scale_down_at=planned.moments.down.isoformat(),
        lead_s=planned.lead.lead_s,
        why=planned.why,
        notes=notes,
        missing=planned.missing,
    )
    return RenderPlan(result, files)


def apply_render(plan: RenderPlan) -> KubernetesFiles:
    """Write what ``plan`` says. Raises ConfigError where the folder cannot be written."""
    from dataclasses import replace

    return replace(plan.result, written=write_folder(plan.folder))


# -- the sale and its profile as one value ----------------------------------------------------------------------------


def manifests_of(
    sale: "Sale",
    profile: "Profile",
    *,
    images: str = "",
    prepull: str = "",
    proxysql: bool | None = None,
    vswitches: Mapping[str, str] | None = None,
) -> Manifests:
    """Everything to render. Raises ConfigError."""
    wanted = profile.kubernetes
    capacity = capacity_of(sale, profile)
    addresses = addresses_of(sale, profile, capacity)
    node_cidrs = tuple(one.node_cidr for one in addresses.zones)
    share = profile.nodes.spot_share
    limit = sale.limits.database_connections or CONNECTIONS.get(profile.database.node_class, 0)
    engines = sale.engines
    zones = zones_of(sale, profile)
    known = {**(vswitches or {}), **wanted.vswitches}  # what somebody wrote goes first
    zone_named(profile.cluster.timezone)
    settings = Settings(
        sale=sale.name,
        region=region_of(sale, profile),
        zones=zones,
        opens=sale.window.opens,
        closes=sale.window.closes,
        clock_zone=profile.cluster.timezone,
        version=__version__,
        image=_image(images or wanted.images, wanted.tag),
        pull_secret=wanted.pull_secret,
        image_mib=wanted.image_mib,
        pause_image=wanted.pause_image,
        prepull=prepull or wanted.prepull,
        spot_share=sale.nodes.spot_share if share is None else share,
        tolerations=tuple(
            Toleration(one.key, one.value, one.effect) for one in profile.nodes.taints
        ),
        new_nodes=capacity.nodes,
        connections_limit=limit,
        per_ip_rps=sale.limits.per_ip_rps,
        edge_domain=(profile.edge.domain or "") if profile.edge.origin else "",
        edge_cidrs=wanted.edge_cidrs,
        certificate=wanted.certificate_id,
        log_project=wanted.log_project,
        vswitches=tuple((zone, known[zone]) for zone in zones if zone in known),
        node_cidrs=node_cidrs,
        engines=(
            # A standby may take over in any zone, so the vSwitches of all of them.
            Engine(
                "database", node_cidrs, network.port_of(engines.database, network.DATABASE_PORT)
            ),
            Engine("cache", node_cidrs, network.port_of(engines.redis, network.CACHE_PORT)),
            Engine("queue", node_cidrs, network.port_of(engines.broker, network.QUEUE_PORT)),
        ),
        proxysql=wanted.proxysql if proxysql is None else proxysql,
        proxysql_image=wanted.proxysql_image,
        monitoring_namespace=wanted.monitoring_namespace,
        otlp_endpoint=wanted.otlp_endpoint,
        payment_ttl_s=sale.payment.ttl_s,
    )
    try:
        return plan_manifests(settings, _loads(sale))
    except ValueError as error:
        raise ConfigError(
            f"the sale cannot be rendered: {error}; nothing was written",
            hint="Change the sale file or the profile; `saleops schema --profile` describes every field.",
        ) from error


def _image(prefix: str, tag: str) -> str:
    from saleops.config.kubernetes import IMAGES_PATTERN

    if not prefix:
        raise ConfigError(
            "nobody said where the images are; nothing was written",
            hint="Add --images registry.example.com/shop, or `kubernetes: {images: ...}` to the profile.",
        )
    if re.fullmatch(IMAGES_PATTERN, prefix) is None:
        raise ConfigError(
            f"{prefix!r} is no place for images; nothing was written",
            hint="Write registry and path without a tag: --images registry.example.com/shop",
        )
    if tag.startswith("sha256:"):
        return f"{prefix}/{IMAGE}@{tag}"
    return f"{prefix}/{IMAGE}:{tag or __version__.replace('+', '-')}"


def _loads(sale: "Sale") -> list[tuple[sizes.Service, sizes.Service]]:
    """Each service with its load before the sale and at its peak."""
    traffic = sale.traffic
    named = {
        name: sizes.Service(
            name,
            0.0,
            size.rps_per_pod or 0.0,
            sizes.cpu_m(size.cpu),
            sizes.memory_mib(size.memory),
            size.connections_per_pod,
        )
        for name, size in sale.services.items()
    }
    views = traffic.page_views_per_order
    before = sizes.services_of(traffic.baseline_rps, None, views, named)
    peak = sizes.services_of(traffic.peak_rps, traffic.peak_orders_per_s, views, named)
    return list(zip(before, peak, strict=True))
