"""What a service process is told when it starts.

The supervisor writes it as JSON into the environment of the process (never into its arguments: URLs may hold
passwords, and arguments are public). In a cluster the same variable comes from a Secret.
"""

import os

import msgspec

from saleops.errors import ConfigError

SETTINGS_VARIABLE = "SALEOPS_SERVICE_SETTINGS"
FAULTS_VARIABLE = "SALEOPS_FAULTS"


class JwtSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How buyers' tokens are checked: a shared HS256 secret (development) or a JWKS by file or URL."""

    audience: str = "saleops"
    issuer: str = ""  # empty: any
    hs256_secret: str = ""
    jwks: str = ""  # path or https:// URL of a JWKS with RS256 or EdDSA keys
    leeway_s: int = 5


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """Limits at the door, per worker process. 0 means no limit."""

    per_buyer_rps: float = 20.0
    per_ip_rps: float = 0.0
    queue_max: int = (
        4096  # orders that wait for a group commit before others hear 503 with Retry-After
    )


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Something that goes wrong on purpose, for the crash matrix (adapters/faults.py has the points and the actions)."""

    point: str
    action: str
    at: int = 1  # it strikes when the point is passed for this time
    length_ms: int = 2_000  # how long "slow", "late" and "down" last
    mark: str = ""  # a file made when it strikes; while it is there, it strikes nobody


class ServiceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a service needs; times are Unix milliseconds, lengths are in the unit their name ends with."""

    sale: str
    redis_url: str
    database_url: str
    broker_url: str
    jwt: JwtSettings
    opens_ms: int = 0
    closes_ms: int = 2**53
    reservation_ttl_ms: int = 60_000
    payment_ttl_ms: int = 900_000
    page_ttl_ms: int = 300_000
    page_ttl_jitter: float = 0.2  # a page lives page_ttl_ms x (1 ± jitter)
    batch_max: int = 256  # orders in one group commit
    batch_wait_ms: float = 2.0  # how long a commit in progress lets the next batch grow
    check_after_ms: int = 6_000  # a half message this old and silent is asked about
    announce_after_ms: int = (
        600_000  # a commit whose message nobody saw for this long; above 15 check-backs of 30 s
    )
    replica_url: str = ""  # a lagging read replica of the orders database, if reads should use one
    admission: Admission = Admission()
    upstreams: dict[str, str] = {}  # gateway only: service name -> base URL
    faults: tuple[
        Fault, ...
    ] = ()  # never in production: SALEOPS_FAULTS, refused unless the engines are local


def load_settings() -> ServiceSettings:
    """The settings in the environment. Raises ConfigError when they are missing or wrong."""
    text = os.environ.get(SETTINGS_VARIABLE)
    if not text:
        raise ConfigError(
            f"{SETTINGS_VARIABLE} is not set; the service was not started",
            hint="Start services with `saleops serve`.",
        )
    try:
        settings = msgspec.json.decode(text, type=ServiceSettings)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise ConfigError(f"{SETTINGS_VARIABLE}: {error}; the service was not started") from error
    faults = os.environ.get(FAULTS_VARIABLE)
    if not faults:
        return settings
    try:
        wanted = msgspec.json.decode(faults, type=tuple[Fault, ...])
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise ConfigError(f"{FAULTS_VARIABLE}: {error}; the service was not started") from error
    return msgspec.structs.replace(settings, faults=wanted)
