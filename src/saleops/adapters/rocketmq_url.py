"""A ``rocketmq://`` URL taken apart: where the proxies and the name server are, and how to get in."""

import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from saleops.errors import ConfigError
from saleops.ports.engines import mask_url

PORT = 8081
NAMESRV_PORT = 9876
ACCESS_KEY_VARIABLE = "SALEOPS_ROCKETMQ_ACCESS_KEY"
SECRET_KEY_VARIABLE = "SALEOPS_ROCKETMQ_SECRET_KEY"  # noqa: S105  # the variable's name, no secret
NOT_ADMITTED = f"Are {ACCESS_KEY_VARIABLE} and {SECRET_KEY_VARIABLE} (or KEY:SECRET@ in the URL) right, and may they do this?"
_EXAMPLE = "Example: rocketmq://127.0.0.1:8081?namesrv=127.0.0.1:9876"
_SWITCHES = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class RocketmqUrl:
    endpoints: str  # as the client wants them: host:port;host:port
    place: str  # for people; no secret in it
    namesrv: str = ""
    tls: bool = False
    ca: str = ""  # a file with the certificates to trust; empty: those of the machine
    access_key: str = ""
    secret_key: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str) -> "RocketmqUrl":
        """``rocketmq://[key:secret@]host[:8081][;host2[:8081]][?namesrv=host:9876&tls=true&ca=/path/ca.pem]``.

        Credentials may come from the environment instead: SALEOPS_ROCKETMQ_ACCESS_KEY and _SECRET_KEY. Raises ConfigError
        for what cannot be right, and where ``ca`` cannot be read.
        """
        scheme, _, rest = url.partition("://")
        if scheme != "rocketmq":
            raise ConfigError(f"{mask_url(url)} is no rocketmq:// URL", hint=_EXAMPLE)
        account, at, rest = rest.rpartition("@")
        rest, _, query = rest.partition("?")
        key, colon, secret = account.partition(":")
        if at and not (key and colon and secret):
            raise _bad_url(url, "credentials are ACCESS_KEY:SECRET_KEY before the @")
        hosts = [host for host in rest.rstrip("/").split(";") if host]
        if not hosts:
            raise _bad_url(url, "there is no host in it")
        endpoints = [_host_port(url, host, PORT) for host in hosts]
        if len(endpoints) > 1 and not all(_is_ipv4(one) for one in endpoints):
            raise _bad_url(url, "several proxies need IPv4 addresses; a name may stand alone only")
        options = dict(parse_qsl(query, keep_blank_values=True))
        tls = _switch(url, options, "tls")
        namesrv, ca = options.pop("namesrv", ""), options.pop("ca", "")
        if options:
            raise _bad_url(url, f"it has unknown options: {', '.join(sorted(options))}")
        if namesrv:
            namesrv = ";".join(_host_port(url, one, NAMESRV_PORT) for one in namesrv.split(";"))
        environment = os.environ
        parsed = cls(
            endpoints=";".join(endpoints),
            place=f"rocketmq://{';'.join(endpoints)}",
            namesrv=namesrv,
            tls=tls,
            ca=ca,
            access_key=unquote(key) or environment.get(ACCESS_KEY_VARIABLE, ""),
            secret_key=unquote(secret) or environment.get(SECRET_KEY_VARIABLE, ""),
        )
        if ca:
            if not tls:
                raise _bad_url(url, "ca= is for TLS: add tls=true")
            parsed.tls_context()
        return parsed

    @property
    def credentials(self) -> tuple[str, str] | None:
        return (self.access_key, self.secret_key) if self.access_key else None

    def tls_context(self) -> ssl.SSLContext | None:
        """For the remoting protocol; None without TLS. Raises ConfigError where ``ca`` cannot be used."""
        if not self.tls:
            return None
        try:
            return ssl.create_default_context(cafile=self.ca or None)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise self._bad_ca(error) from error

    def ca_pem(self) -> bytes | None:
        """The same certificates, for gRPC; None for those of the machine."""
        if not self.ca:
            return None
        try:
            return Path(self.ca).read_bytes()
        except OSError as error:
            raise self._bad_ca(error) from error

    def _bad_ca(self, error: Exception) -> ConfigError:
        return ConfigError(
            f"the certificates in {self.ca} cannot be used for {self.place}: {error}; nothing was started",
            hint="ca= names a file of PEM certificates that this user can read.",
        )


def _bad_url(url: str, why: str) -> ConfigError:
    return ConfigError(f"{mask_url(url)} cannot be used: {why}; nothing was started", hint=_EXAMPLE)


def _host_port(url: str, text: str, default: int) -> str:
    host, colon, port = text.partition(":")
    if ":" in port or not host or any(char in host for char in "/ \\"):
        raise _bad_url(url, "a host is a name or an IPv4 address")
    if colon and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):
        raise _bad_url(url, f"{port or 'nothing'!r} is no port")
    return f"{host}:{port or default}"


def _is_ipv4(endpoint: str) -> bool:
    parts = endpoint.partition(":")[0].split(".")
    return len(parts) == 4 and all(part.isdigit() and int(part) < 256 for part in parts)


def _switch(url: str, options: dict[str, str], name: str) -> bool:
    text = options.pop(name, "false").lower()
    if text not in _SWITCHES:
        raise _bad_url(url, f"{name} is true or false")
    return _SWITCHES[text]
