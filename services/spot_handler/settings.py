"""What the handler is told, all of it in the environment; the DaemonSet's manifest sets what differs from the defaults.

NODE_NAME                       its node; without it the node is found by the instance's id
SALEOPS_SPOT_MODE               drain | cordon-only | dry-run
SALEOPS_SPOT_POLL_S             how often the metadata service is asked
SALEOPS_SPOT_MARGIN_S           pods have ended this long before the machine does
SALEOPS_SPOT_SURGE_S            how long evictions wait for replacements
SALEOPS_SPOT_GRACE_MAX_S        a longer grace is cut to this; 0: only to the time left
SALEOPS_SPOT_LOCAL_DATA         evict | leave: pods with an emptyDir
SALEOPS_SPOT_TICK_S             how often a drain looks again
SALEOPS_SPOT_ADMIN_HOST, _PORT  /livez, /readyz, /metrics
SALEOPS_METADATA_URL            for tests and rehearsals: another metadata service, on loopback
KUBECONFIG                      outside a pod
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args
from urllib.parse import urlsplit

from saleops.domain.spot_drain import DrainRules
from saleops.errors import ConfigError

METADATA_URL = "http://100.100.100.200"
ADMIN_PORT = 9817

Mode = Literal["drain", "cordon-only", "dry-run"]


@dataclass(frozen=True, slots=True)
class Settings:
    node: str = ""
    mode: Mode = "drain"
    poll_s: float = 5.0
    tick_s: float = 2.0
    rules: DrainRules = field(default_factory=DrainRules)
    metadata_url: str = METADATA_URL
    admin_host: str = "127.0.0.1"  # the manifest names the node's address, where the kubelet asks
    admin_port: int = ADMIN_PORT


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Raises ConfigError that names every wrong value."""
    wrong: list[str] = []

    def number(name: str, default: float, least: float, most: float) -> float:
        text = environ.get(name, "").strip()
        if not text:
            return default
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            wrong.append(f"{name}={text!r}: use a number from {least:g} to {most:g}")
            return default
        return value

    def word(name: str, words: tuple[str, ...]) -> str:
        text = environ.get(name, "").strip() or words[0]
        if text not in words:
            wrong.append(f"{name}={text!r}: use {', '.join(words[:-1])} or {words[-1]}")
            return words[0]
        return text

    url = environ.get("SALEOPS_METADATA_URL", "").strip().rstrip("/") or METADATA_URL
    if url != METADATA_URL and not _is_loopback(url):
        wrong.append(
            f"SALEOPS_METADATA_URL={url!r}: a metadata service other than {METADATA_URL} has to be on loopback"
        )
    settings = Settings(
        node=environ.get("NODE_NAME", "").strip(),
        mode=word("SALEOPS_SPOT_MODE", get_args(Mode)),  # type: ignore[arg-type]  # one of them
        poll_s=number("SALEOPS_SPOT_POLL_S", 5.0, 0.1, 60),
        tick_s=number("SALEOPS_SPOT_TICK_S", 2.0, 0.1, 30),
        rules=DrainRules(
            margin_s=number("SALEOPS_SPOT_MARGIN_S", 30.0, 0, 240),
            surge_s=number("SALEOPS_SPOT_SURGE_S", 90.0, 0, 240),
            grace_max_s=int(number("SALEOPS_SPOT_GRACE_MAX_S", 0, 0, 3600)),
            leave_local_data=word("SALEOPS_SPOT_LOCAL_DATA", ("evict", "leave")) == "leave",
        ),
        metadata_url=url,
        admin_host=environ.get("SALEOPS_SPOT_ADMIN_HOST", "").strip() or "127.0.0.1",
        admin_port=int(number("SALEOPS_SPOT_ADMIN_PORT", ADMIN_PORT, 0, 65535)),
    )
    if wrong:
        raise ConfigError(
            "; ".join(wrong) + "; the spot handler was not started",
            hint="See the environment of the spot handler in docs/how-to/spot.md.",
        )
    return settings


def _is_loopback(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme == "http"
            and (parts.hostname or "") in ("127.0.0.1", "localhost", "::1")
            and (parts.port is None or parts.port > 0)
            and not parts.path
        )
    except ValueError:
        return False
