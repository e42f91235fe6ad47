"""Where each product of Alibaba Cloud answers: a host a product and region, or whatever somebody said instead.

The rule of each product is in its API table ("ecs.{region}.aliyuncs.com"); here is how an address that people write is read.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from saleops.cloudapi import Product, product_of, products
from saleops.errors import ConfigError

_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+(-[a-z0-9]+)*\Z")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?\Z")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``host`` is what goes into the signed ``host`` header: with the port where it is no usual one."""

    host: str
    protocol: Literal["https", "http"] = "https"

    @property
    def url(self) -> str:
        return f"{self.protocol}://{self.host}"

    @property
    def name(self) -> str:
        """The host without its port."""
        return urlsplit(self.url).hostname or self.host

    @property
    def is_loopback(self) -> bool:
        if self.name == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.name).is_loopback
        except ValueError:
            return False

    def is_same_door(self, other: "Endpoint") -> bool:
        """Whether both are one: on this machine a port is, by whichever name of it."""
        if self.is_loopback and other.is_loopback:
            return urlsplit(self.url).port == urlsplit(other.url).port
        return self.url == other.url


def parse_endpoint(text: str) -> Endpoint:
    """An address that somebody wrote: "https://host", "http://127.0.0.1:8400", or a bare host (HTTPS, on loopback HTTP).

    Raises ConfigError; plain HTTP leaves this machine for nobody, for a session token would travel readable.
    """
    full = text if "://" in text else f"//{text}"
    try:
        parts = urlsplit(full)
        port = parts.port
    except ValueError as error:
        raise _no_address(text, str(error)) from error
    host = parts.hostname or ""
    bare = host if ":" not in host else f"[{host}]"
    if not host or not (_HOST.match(host) or ":" in host):
        raise _no_address(text, "it names no host")
    if parts.username or parts.password or parts.path not in ("", "/") or parts.query:
        raise _no_address(text, "it is more than a host and a port")
    if parts.scheme not in ("", "http", "https"):
        raise _no_address(text, "only http and https are spoken")
    address = f"{bare}:{port}" if port else bare
    near = Endpoint(address, "http")
    if parts.scheme == "http" and not near.is_loopback:
        raise _no_address(text, "plain http is for this machine alone")
    if parts.scheme == "http" or (parts.scheme == "" and near.is_loopback):
        return near
    return Endpoint(address)


def _no_address(text: str, why: str) -> ConfigError:
    return ConfigError(
        f"{text!r} is no address of a cloud: {why}; nothing was sent",
        hint="Write https://HOST, http://127.0.0.1:PORT, or `local` for the one that runs on this machine.",
    )


def check_region(region: str) -> str:
    """``region`` if it can be one. Raises ConfigError."""
    if _REGION.match(region):
        return region
    raise ConfigError(
        f"{region!r} is no region of Alibaba Cloud; nothing was sent",
        hint="Regions read like ap-southeast-1 or cn-shanghai: https://www.alibabacloud.com/help/en/ecs/product-overview/regions",
    )


def parse_overrides(text: str) -> dict[str, Endpoint]:
    """``SALEOPS_CLOUD_ENDPOINTS``: "ecs=ecs-vpc.ap-southeast-1.aliyuncs.com,cs=https://host". Raises ConfigError."""
    found: dict[str, Endpoint] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        code, sign, address = part.partition("=")
        if not sign:
            raise ConfigError(
                f"SALEOPS_CLOUD_ENDPOINTS: {part!r} is no PRODUCT=HOST; nothing was sent",
                hint="For example ecs=ecs-vpc.ap-southeast-1.aliyuncs.com,vpc=vpc-vpc.ap-southeast-1.aliyuncs.com",
            )
        found[_code(code.strip())] = parse_endpoint(address.strip())
    return found


def overrides_of(named: Mapping[str, str]) -> dict[str, Endpoint]:
    """Product -> address, as a profile has them. Raises ConfigError."""
    return {_code(code): parse_endpoint(address) for code, address in named.items()}


def _code(text: str) -> str:
    product = product_of(text)
    if product is None:
        raise ConfigError(
            f"{text!r} is no product that saleops calls; nothing was sent",
            hint=f"There are {', '.join(one.code for one in products())}.",
        )
    return product.code


def endpoint_of(
    product: Product, region: str, overrides: Mapping[str, Endpoint] | None = None
) -> Endpoint:
    """Where ``product`` answers for ``region``."""
    if overrides and product.code in overrides:
        return overrides[product.code]
    return Endpoint(product.host(region))
