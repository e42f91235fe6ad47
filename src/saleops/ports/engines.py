"""Which engines a command talks to, and what ``serve`` leaves on disk so that others find them."""

import msgspec


class EngineUrls(msgspec.Struct, frozen=True, kw_only=True):
    """The three engines. ``embedded`` says that the Valkey is ours; ``origins`` where each URL came from:
    "flag", "environment", "sale file", "serve" or "embedded"."""

    redis_url: str
    database_url: str
    broker_url: str
    embedded: bool
    origins: dict[str, str] = {}

    def masked(self) -> dict[str, str]:
        """The URLs as they may be shown."""
        return {
            "redis": mask_url(self.redis_url),
            "database": mask_url(self.database_url),
            "broker": mask_url(self.broker_url),
        }


class ServeState(msgspec.Struct, frozen=True, kw_only=True):
    """``serve.json`` in the state directory, mode 0600: a running serve, for other commands on the same state."""

    pid: int
    sale: str
    redis_url: str
    database_url: str
    broker_url: str
    embedded: bool
    url: str = ""
    urls: dict[str, str] = {}
    schema: str = "saleops/serve-state/v1"


def mask_url(url: str) -> str:
    """``url`` with its password, if it has one, replaced by ``***``; also one given as ``?password=`` or ``?secret=``.

    Works on text, not on a parsed URL: a password that was not percent-encoded must not show through either.
    """
    scheme, separator, rest = url.partition("://")
    rest, question, query = rest.partition("?")
    if "?" not in rest and "@" in query:
        # A raw "?" inside the password: what follows belongs to it.
        rest, question, query = f"{rest}?{query}", "", ""
    account, at, place = rest.rpartition("@")
    if at and ":" in account:
        rest = f"{account.partition(':')[0]}:***@{place}"
    if question:
        pairs = [
            f"{name}=***" if _names_a_secret(name) else f"{name}{equals}{value}"
            for name, equals, value in (pair.partition("=") for pair in query.split("&"))
        ]
        query = "&".join(pairs)
    return f"{scheme}{separator}{rest}{question}{query}"


def _names_a_secret(option: str) -> bool:
    return any(word in option.lower() for word in ("password", "secret"))


def has_password(url: str) -> bool:
    """Whether ``url`` carries a password that must not be shown."""
    return mask_url(url) != url
