"""The profile's section ``kubernetes``: what `saleops render k8s` cannot know from the sale."""

from ipaddress import IPv4Network, ip_network
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from saleops.config.fields import FileModel, Zone

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
IMAGES_PATTERN = (
    r"^[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*){0,6}$"
)
REFERENCE_PATTERN = (
    r"^[a-z0-9][a-z0-9._:/-]{0,250}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|@sha256:[0-9a-f]{64})$"
)

VSwitchId = Annotated[str, StringConstraints(pattern=r"^vsw-[a-z0-9]{1,40}$")]
Namespace = Annotated[str, StringConstraints(pattern=rf"^{_LABEL}$")]
Image = Annotated[str, StringConstraints(pattern=REFERENCE_PATTERN)]


class Kubernetes(FileModel):
    """What runs in the cluster beside the sale, and where its images are."""

    images: str = Field(
        default="",
        pattern=rf"^$|{IMAGES_PATTERN}",
        description="Registry and repository prefix: registry.example.com/shop. --images goes before it.",
    )
    tag: str = Field(
        default="",
        pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|sha256:[0-9a-f]{64})?$",
        description="Of our image, or better its digest, sha256:...; empty: saleops' version.",
    )
    pull_secret: str = Field(
        default="",
        pattern=rf"^({_LABEL})?$",
        description="Name of a Secret to pull images with; empty: none.",
    )
    image_mib: Annotated[int, Field(strict=True, ge=1, le=20_000)] = Field(
        default=120, description="MiB a node pulls, compressed: part of the lead time."
    )
    vswitches: dict[Zone, VSwitchId] = Field(
        default={},
        description="Of the load balancer, by zone; empty: those that provision made, where its journal is here.",
    )
    certificate_id: str = Field(
        default="",
        pattern=r"^([0-9]+-[a-z0-9-]+)?$",
        description="As the certificate service writes it, 13905564-ap-southeast-1; empty: found by the domain's name.",
    )
    edge_cidrs: tuple[str, ...] = Field(
        default=(),
        description="Addresses the edge calls from: only their X-Forwarded-For is believed.",
    )
    log_project: str = Field(
        default="",
        pattern=r"^([a-z0-9][a-z0-9-]{1,61}[a-z0-9])?$",
        description="Log Service project for the load balancer's access log; empty: none.",
    )
    prepull: Literal["kruise", "daemonset"] = Field(
        default="daemonset",
        description="How images get to nodes early; kruise wants OpenKruise in the cluster.",
    )
    pause_image: Image = Field(
        default="registry.k8s.io/pause:3.10", description="For pods that only hold room."
    )
    proxysql: bool = Field(
        default=False, description="Put ProxySQL between the services and the database."
    )
    proxysql_image: Image = Field(default="proxysql/proxysql:2.7.3", description="ProxySQL's.")
    monitoring_namespace: Namespace = Field(
        default="monitoring", description="Where Prometheus runs: it may read metrics."
    )
    otlp_endpoint: str = Field(
        default="",
        pattern=rf"^(http://{_LABEL}\.{_LABEL}(\.svc(\.cluster\.local)?)?:[0-9]{{2,5}})?$",
        description="OpenTelemetry collector in the cluster, http://collector.observability:4317; empty: none.",
    )

    @field_validator("edge_cidrs")
    @classmethod
    def _closed(cls, blocks: tuple[str, ...]) -> tuple[str, ...]:
        for block in blocks:
            try:
                found = ip_network(block)
            except ValueError as error:
                raise ValueError(f"{block!r} is no block of addresses: {error}") from None
            if not isinstance(found, IPv4Network) or found.prefixlen == 0:
                raise ValueError(f"{block} would believe the whole world")
        return blocks
