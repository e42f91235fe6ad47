"""The profile: how a sale's cloud is built, where the sale file says what the sale needs.

One YAML beside the sale file, shared by every sale of a team, read as strictly: one error names every wrong field with its
place. Everything has a default but what only its owner knows: the domain at the edge, its origin, the nodes' key pair.
It holds no secrets: passwords come from the environment (SALEOPS_DATABASE_PASSWORD, SALEOPS_NODE_PASSWORD).
"""

from ipaddress import IPv4Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from saleops.config.domain_name import Domain
from saleops.config.engines import Engines
from saleops.config.field_errors import explain
from saleops.config.fields import FileModel, Rate, Seconds, Share, Zone
from saleops.config.kubernetes import Kubernetes
from saleops.config.yaml_lines import Document, read_yaml
from saleops.errors import ConfigError

DATABASE_PASSWORD_VARIABLE = "SALEOPS_DATABASE_PASSWORD"  # noqa: S105  # the name of a variable
NODE_PASSWORD_VARIABLE = "SALEOPS_NODE_PASSWORD"  # noqa: S105  # the name of a variable

_PRIVATE = tuple(ip_network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))

InstanceType = Annotated[str, StringConstraints(pattern=r"^ecs\.[a-z0-9.-]{3,40}$")]
Label = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_./-]{0,120}[A-Za-z0-9])?$")
]
LabelValue = Annotated[
    str, StringConstraints(pattern=r"^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$")
]
UrlPath = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9/_.~-]{0,200}$")]
ChargeType = Literal["PayByTraffic", "PayByBandwidth"]


def _block(cidr: str, low: int, high: int) -> str:
    try:
        block = ip_network(cidr)
    except ValueError as error:
        raise ValueError(f"{cidr!r} is no block of addresses like 10.16.0.0/16: {error}") from None
    if not isinstance(block, IPv4Network) or not low <= block.prefixlen <= high:
        raise ValueError(f"{cidr} has to be an IPv4 block with a mask of {low} to {high} bits")
    if not any(block.subnet_of(one) for one in _PRIVATE if isinstance(one, IPv4Network)):
        raise ValueError(f"{cidr} is no private block (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16)")
    return str(block)


class Network(FileModel):
    """The VPC and the way out of it."""

    vpc_cidr: str = Field(
        default="10.16.0.0/16",
        description="All of the VPC: pod and node vSwitches of every zone. Mask 8 to 24; 16 or longer is advised.",
    )
    service_cidr: str = Field(
        default="172.19.0.0/20",
        description="Addresses of Kubernetes Services, outside of the VPC. Mask 16 to 24. Cannot be changed later.",
    )
    eip_bandwidth_mbps: Annotated[int, Field(strict=True, ge=1, le=500)] = Field(
        default=100, description="Of the way out, Mbit/s. Buyers do not come in by it."
    )
    eip_charge: ChargeType = Field(default="PayByTraffic", description="How the EIP is billed.")

    @field_validator("vpc_cidr")
    @classmethod
    def _vpc(cls, cidr: str) -> str:
        return _block(cidr, 8, 24)

    @field_validator("service_cidr")
    @classmethod
    def _services(cls, cidr: str) -> str:
        return _block(cidr, 16, 24)

    @model_validator(mode="after")
    def _fits(self) -> "Network":
        if ip_network(self.vpc_cidr).overlaps(ip_network(self.service_cidr)):
            raise ValueError(f"service_cidr {self.service_cidr} overlaps vpc_cidr {self.vpc_cidr}")
        if self.eip_charge == "PayByTraffic" and self.eip_bandwidth_mbps > 200:
            raise ValueError(
                f"eip_bandwidth_mbps {self.eip_bandwidth_mbps}: PayByTraffic goes to 200 "
                "(did you mean eip_charge: PayByBandwidth?)"
            )
        return self


class Cluster(FileModel):
    """The ACK cluster."""

    spec: Literal["ack.pro.small", "ack.pro.xlarge", "ack.pro.2xlarge", "ack.pro.4xlarge"] = Field(
        default="ack.pro.small", description="Edition and size of the control plane."
    )
    version: str = Field(
        default="",
        pattern=r"^([0-9]+\.[0-9]+(\.[0-9]+)?(-[a-z0-9.]+)?)?$",
        description="Kubernetes version as the service writes it, 1.32.1-aliyun.1; empty: its default.",
    )
    key_pair: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9_:.-]{0,128}$",
        description="Name of the key pair to log in to nodes with; without one SALEOPS_NODE_PASSWORD is used.",
    )
    deletion_protection: bool = Field(default=True, description="destroy takes it off first.")
    public_endpoint: bool = Field(
        default=False, description="Whether the cluster's API can be reached from the internet."
    )
    log_days: Annotated[int, Field(strict=True, ge=0, le=365)] = Field(
        default=0, description="Days that control plane logs are kept (and billed); 0: none are."
    )
    timezone: str = Field(
        default="Asia/Shanghai",
        pattern=r"^[A-Za-z]+(/[A-Za-z_+-]+){0,2}$",
        description="Of the cluster.",
    )
    addons: tuple[Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{2,60}$")], ...] = Field(
        default=(), description="Add-ons beside Terway, by the names that ListAddons gives."
    )


class Taint(FileModel):
    """A taint of the burst nodes."""

    key: Label
    value: LabelValue = ""
    effect: Literal["NoSchedule", "NoExecute", "PreferNoSchedule"] = "PreferNoSchedule"


class Disk(FileModel):
    """The system disk of a node."""

    category: Literal[
        "cloud_efficiency", "cloud_ssd", "cloud_essd", "cloud_auto", "cloud_essd_entry"
    ] = "cloud_essd"
    size_gib: Annotated[int, Field(strict=True, ge=40, le=500)] = Field(
        default=120, description="GiB."
    )
    performance_level: Literal["", "PL0", "PL1", "PL2", "PL3"] = Field(
        default="", description="Of a cloud_essd disk; empty: the service's default."
    )


class Nodes(FileModel):
    """How nodes are bought."""

    instance_types: Annotated[tuple[InstanceType, ...], Field(max_length=10)] = Field(
        default=(), description="ECS types, the preferred first; empty: the sale's."
    )
    spot_share: Share | None = Field(
        default=None, description="Of the burst nodes; empty: the sale's."
    )
    core_share: Share = Field(
        default=0.0,
        description="Share of all nodes in the core pool, which is never spot; one a zone at least.",
    )
    on_demand_base: Annotated[int, Field(strict=True, ge=0, le=1000)] = Field(
        default=0, description="Burst nodes that are on demand before the rest is shared out."
    )
    price_limits: dict[InstanceType, Rate] = Field(
        default={},
        description="The most to pay for a spot node, per hour in the account's currency, by type.",
    )
    max_share_of_list_price: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="The same as a share of the list price, for types without a price limit.",
    )
    disk: Disk = Field(default_factory=dict, validate_default=True)
    labels: dict[Label, LabelValue] = Field(default={}, description="Of every node.")
    taints: tuple[Taint, ...] = Field(default=(), description="Of the burst nodes.")


class Database(FileModel):
    """The PolarDB cluster. Its password comes from SALEOPS_DATABASE_PASSWORD only."""

    node_class: str = Field(
        default="polar.mysql.x4.large",
        pattern=r"^polar\.mysql\.[a-z0-9.]{2,40}$",
        description="Of every node.",
    )
    read_nodes: Annotated[int, Field(strict=True, ge=0, le=15)] = Field(
        default=1, description="Nodes that only read, beside the primary."
    )
    version: Literal["5.6", "5.7", "8.0"] = Field(default="8.0", description="Of MySQL.")
    consistency: Literal["eventual", "session", "global"] = Field(
        default="session", description="What a read through the endpoint sees of earlier writes."
    )
    name: str = Field(
        default="saleops",
        pattern=r"^[a-z]([a-z0-9_-]{0,62}[a-z0-9])?$",
        description="Of the database.",
    )
    account: str = Field(
        default="saleops",
        pattern=r"^[a-z][a-z0-9_]{0,14}[a-z0-9]$",
        description="Of the shop in it.",
    )
    deletion_protection: bool = Field(default=True, description="destroy takes it off first.")


class Cache(FileModel):
    """The Tair instance that holds stock and pages."""

    instance_class: str = Field(
        default="tair.rdb.4g", pattern=r"^tair\.[a-z0-9.]{2,60}$", description="Of every shard."
    )
    shards: Annotated[int, Field(strict=True, ge=1, le=32)] = Field(
        default=4, description="1: one node; 2 to 32: a cluster."
    )
    version: Literal["5.0", "6.0", "7.0"] = Field(
        default="7.0", description="Of the Redis protocol."
    )
    allow: tuple[str, ...] = Field(
        default=(), description="Addresses and blocks that may call, beside the nodes and pods."
    )

    @field_validator("allow")
    @classmethod
    def _closed(cls, blocks: tuple[str, ...]) -> tuple[str, ...]:
        return _allowed(blocks)


def _allowed(blocks: tuple[str, ...]) -> tuple[str, ...]:
    for block in blocks:
        try:
            found = ip_network(block)
        except ValueError as error:
            raise ValueError(f"{block!r} is neither an address nor a block: {error}") from None
        if not isinstance(found, IPv4Network) or found.prefixlen == 0:
            raise ValueError(f"{block} would let in the whole world")
    return blocks


class Queue(FileModel):
    """The RocketMQ 5 instance."""

    series: Literal["standard", "professional", "ultimate"] = Field(
        default="standard", description="Edition."
    )
    sub_series: Literal["cluster_ha", "single_node"] = Field(
        default="cluster_ha", description="single_node is for trying only."
    )
    spec: str = Field(
        default="rmq.s2.2xlarge",
        pattern=r"^rmq\.[a-z0-9.]{2,40}$",
        description="What it can send and receive.",
    )
    retention_h: Annotated[int, Field(strict=True, ge=1, le=720)] = Field(
        default=72, description="Hours messages are kept: a rebuild reads them again."
    )

    @model_validator(mode="after")
    def _goes_together(self) -> "Queue":
        if self.series == "ultimate" and self.sub_series != "cluster_ha":
            raise ValueError("the ultimate series has only cluster_ha")
        return self


class Edge(FileModel):
    """The DCDN domain. Without a domain and an origin there is no edge."""

    domain: Domain | None = Field(default=None, description="What buyers type: shop.example.com.")
    origin: Domain | None = Field(
        default=None, description="Where DCDN fetches from: the load balancer's DNS name."
    )
    origin_port: Literal[80, 443] = Field(default=443, description="Of the origin.")
    scope: Literal["domestic", "overseas", "global"] | None = Field(
        default=None, description="Where it serves; domestic wants a filing. Empty: by the region."
    )
    static_types: tuple[Annotated[str, StringConstraints(pattern=r"^[a-z0-9]{1,10}$")], ...] = (
        Field(
            default=(
                "js",
                "css",
                "png",
                "jpg",
                "jpeg",
                "gif",
                "svg",
                "webp",
                "avif",
                "ico",
                "woff2",
            ),
            min_length=1,
            description="File types that live for static_ttl_s.",
        )
    )
    static_ttl_s: Seconds = Field(
        default=2_592_000.0, description="Seconds; name files by their contents."
    )
    page_paths: tuple[UrlPath, ...] = Field(
        default=("/products",), description="Paths of pages, which live for page_ttl_s."
    )
    page_ttl_s: Seconds | None = Field(
        default=None,
        gt=0,
        description="Seconds. Empty: as the sale's cache says, an hour at the least.",
    )
    never_cache_paths: tuple[UrlPath, ...] = Field(
        default=("/cart", "/checkout", "/orders", "/payments", "/account"),
        min_length=1,
        description="Never kept at the edge, whatever their file type.",
    )


_DEFAULTS: Any = Field(default_factory=dict, validate_default=True)


class Profile(FileModel):
    """How a sale's cloud is built."""

    apiVersion: Literal["saleops/profile/v1"]  # noqa: N815  # the file's own spelling
    region: Zone | None = Field(
        default=None, description="Instead of the sale's; its zones go with it."
    )
    zones: tuple[Zone, ...] = Field(default=(), description="Instead of the sale's.")
    network: Network = _DEFAULTS
    cluster: Cluster = _DEFAULTS
    nodes: Nodes = _DEFAULTS
    database: Database = _DEFAULTS
    cache: Cache = _DEFAULTS
    queue: Queue = _DEFAULTS
    edge: Edge = _DEFAULTS
    kubernetes: Kubernetes = _DEFAULTS
    engines: Engines = _DEFAULTS

    @model_validator(mode="after")
    def _zones_of_region(self) -> "Profile":
        strangers = [
            zone for zone in self.zones if self.region and not zone.startswith(self.region)
        ]
        if strangers:
            raise ValueError(f"zones: {', '.join(strangers)}: not of the region {self.region}")
        if len(set(self.zones)) != len(self.zones):
            raise ValueError("zones: a zone is there twice")
        if len(self.zones) > 8:
            raise ValueError("zones: a node pool takes 8 at the most")
        return self


def default_profile() -> Profile:
    """What is built where nobody wrote a profile."""
    return Profile.model_validate({"apiVersion": "saleops/profile/v1"})


def load_profile(path: Path | str) -> Profile:
    """The profile in the file ``path``. Raises one ConfigError that names every wrong field."""
    path = Path(path)
    if not path.exists():
        raise ConfigError(
            f"{path}: there is no such file",
            hint="A profile begins with `apiVersion: saleops/profile/v1`; `saleops help profile` shows one, "
            "`saleops schema --profile` describes it.",
        )
    return profile_of(read_yaml(path))


def profile_of(document: Document) -> Profile:
    """As :func:`load_profile`, of a document that has been read already."""
    if not isinstance(document.value, dict):
        raise ConfigError(
            f"{document.where(())}: a profile is a mapping (network: ..., cluster: ...)",
            hint="`saleops schema --profile` describes every field.",
        )
    try:
        return Profile.model_validate(document.value)
    except ValidationError as error:
        raise ConfigError(
            "\n".join(explain(document, error, Profile)),
            hint="`saleops schema --profile` describes every field; nothing was changed.",
        ) from None


def profile_schema() -> dict[str, Any]:
    """The JSON Schema of a profile, for editors."""
    schema = Profile.model_json_schema(mode="validation")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "saleops profile",
        **{key: value for key, value in schema.items() if key != "title"},
    }
