"""What the local cloud's process is told, and what it tells about itself.

Settings go into the process's environment as JSON, like those of the services; the address comes back as a file in the state
directory, for its owner's eyes, because it holds the access key.
"""

import os
from typing import Any, Literal

import msgspec

from saleops.errors import ConfigError

CLOUD_VARIABLE = "SALEOPS_CLOUD_SETTINGS"
DEFAULT_CLOUD_PORT = 8400
DEFAULT_REGION = "ap-southeast-1"
SPEED_MAX = 100_000.0

ClockMode = Literal["virtual", "real"]


class CloudSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``folder`` is ``<state dir>/cloud``. ``faults`` is a plan as ``PUT /_local/faults`` takes it."""

    folder: str
    port: int = 0  # 0: a free one
    region: str = DEFAULT_REGION
    clock: ClockMode = "virtual"
    speed: float = 1.0  # cloud seconds a second, where the clock is real
    list_lag_ms: int = 3_000
    faults: dict[str, Any] = {}
    reset: bool = False
    kept: bool = False  # `serve cloud`: other commands may use it; else it belongs to the command that started it


class CloudAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a local cloud is, and the key it takes. Its repr names no secret."""

    url: str
    pid: int
    region: str
    access_key_id: str
    access_key_secret: str
    clock: ClockMode
    speed: float
    kept: bool = False

    @property
    def host(self) -> str:
        """Host and port, as SDKs want an endpoint."""
        return self.url.partition("://")[2]

    def __repr__(self) -> str:
        return f"CloudAddress({self.url!r}, pid {self.pid}, {self.clock} time)"


def load_cloud_settings() -> CloudSettings:
    """The settings in the environment. Raises ConfigError when they are missing or wrong."""
    text = os.environ.get(CLOUD_VARIABLE)
    if not text:
        raise ConfigError(
            f"{CLOUD_VARIABLE} is not set; the local cloud was not started",
            hint="Start it with `saleops serve cloud`.",
        )
    try:
        return msgspec.json.decode(text, type=CloudSettings)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise ConfigError(f"{CLOUD_VARIABLE}: {error}; the local cloud was not started") from error
