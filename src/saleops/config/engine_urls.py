"""Which engines somebody named: a flag first, then the environment, then the sale file. What nobody named is embedded."""

from __future__ import annotations  # the sale file's type is named, not loaded

import os
from pathlib import Path
from typing import TYPE_CHECKING

from saleops.errors import ConfigError

if TYPE_CHECKING:
    from saleops.config.engines import Engines

REDIS_SCHEMES = ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster")
REDIS_VARIABLE = "SALEOPS_REDIS_URL"
DATABASE_VARIABLE = "SALEOPS_DATABASE_URL"
BROKER_VARIABLE = "SALEOPS_BROKER_URL"
REPLICA_VARIABLE = "SALEOPS_REPLICA_URL"

_SCHEMES = {
    "redis": REDIS_SCHEMES,
    "database": ("sqlite", "mysql"),
    "broker": (*REDIS_SCHEMES, "rocketmq"),
}
_EXAMPLES = {
    "redis": "redis://127.0.0.1:6379/0",
    "database": "mysql://shop@127.0.0.1:3306/shop",
    "broker": "redis://127.0.0.1:6379/0",
}


def named_engines(
    *,
    redis: str | None = None,
    database: str | None = None,
    broker: str | None = None,
    engines: Engines | None = None,
) -> dict[str, tuple[str, str]]:
    """name -> (URL, origin) of the engines that flags, environment and sale file name; the broker follows the Redis it was
    not told apart from. Raises ConfigError."""
    given: dict[str, tuple[str, str]] = {}
    for name, flag, variable in (
        ("redis", redis, REDIS_VARIABLE),
        ("database", database, DATABASE_VARIABLE),
        ("broker", broker, BROKER_VARIABLE),
    ):
        candidates = (
            (flag, "flag"),
            (os.environ.get(variable, ""), "environment"),
            (getattr(engines, name, None), "sale file"),
        )
        for url, origin in candidates:
            if url:
                given[name] = (_checked_url(name, url), origin)
                break
    if "redis" in given and "broker" not in given:
        given["broker"] = given["redis"]
    return given


def named_replica(flag: str = "") -> str:
    """The read replica of the orders database that a flag or SALEOPS_REPLICA_URL names; empty for none. Raises ConfigError."""
    url = flag or os.environ.get(REPLICA_VARIABLE, "")
    return _checked_url("database", url) if url else ""


def _checked_url(name: str, url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator or not rest or scheme not in _SCHEMES[name]:
        known = ", ".join(f"{one}://" for one in _SCHEMES[name])
        raise ConfigError(
            f"the {name} URL does not start with one of {known}; nothing was started",
            hint=f"Example: --{name} {_EXAMPLES[name]}",
        )
    if scheme == "sqlite" and not rest.startswith("//"):
        # Relative to where we are now: other processes may be elsewhere when they read it.
        return f"sqlite:///{Path(rest.removeprefix('/')).absolute()}"
    return url
