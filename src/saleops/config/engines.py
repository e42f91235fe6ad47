"""The engines that a file names by URL."""

import re

from pydantic import Field, ValidationInfo, field_validator

from saleops.config.fields import FileModel

_SCHEMES = {
    "redis": ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster"),
    "database": ("mysql", "sqlite"),
    "broker": ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster", "rocketmq"),
}


# A colon before the @, whatever else the secret is made of; or an option that is called after one.
_SECRET = re.compile(r"://[^@?]*:.*@|[?&][^=&]*(password|secret)[^=&]*=", re.IGNORECASE)


class Engines(FileModel):
    """URLs of real engines; left out, the embedded ones are used. No passwords here: use the environment."""

    redis: str | None = Field(
        default=None,
        description="redis://, rediss://, unix://, redis+cluster://host:6379,host:6379 ...",
    )
    database: str | None = Field(default=None, description="mysql://user@host:3306/database ...")
    broker: str | None = Field(
        default=None, description="redis://, rocketmq://host:8081?namesrv=host:9876 ..."
    )

    @field_validator("redis", "database", "broker")
    @classmethod
    def _usable(cls, url: str | None, info: ValidationInfo) -> str | None:
        # The URL itself stays out of the messages: it may hold a password.
        if url is None:
            return None
        schemes = _SCHEMES[info.field_name or "redis"]
        if url.partition("://")[0] not in schemes or "://" not in url:
            known = ", ".join(f"{scheme}://" for scheme in schemes)
            raise ValueError(f"a URL is wanted here that begins with one of {known}")
        if not url.isprintable() or " " in url or len(url) > 2000:
            raise ValueError("a URL has no spaces or control characters, and at most 2000 others")
        if _SECRET.search(url):
            raise ValueError(
                "a password does not belong into a file that is shared: "
                "set SALEOPS_REDIS_URL, SALEOPS_DATABASE_URL or SALEOPS_BROKER_URL instead, or for RocketMQ "
                "SALEOPS_ROCKETMQ_ACCESS_KEY and SALEOPS_ROCKETMQ_SECRET_KEY"
            )
        return url
