"""The public keys that buyers' tokens are checked with: a JWKS from a file or an https URL.

A key set is an immutable snapshot; a refresh swaps in a whole new one. The request path never waits for the network:
a token that names an unknown key starts a refresh in a thread of its own (at most one each ``UNKNOWN_KID_PAUSE_S``, so
that made-up key ids cannot make us hammer the issuer) and is told to come again. A set older than ``MAX_AGE_S`` is
refreshed in the same way while it goes on working, so a key that its issuer announces before using it is never
unknown. When a refresh fails the old keys stay.

Each key verifies exactly one algorithm, fixed by its type (RSA: RS256, EC P-256: ES256, Ed25519: EdDSA). Symmetric keys
in a JWKS are ignored: whoever can read the set could sign with them.
"""

import ipaddress
import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import msgspec

from saleops.errors import ConfigError, SaleopsError, UpstreamError

log = logging.getLogger("saleops.tokens")

ALGORITHMS = ("RS256", "ES256", "EdDSA")
UNKNOWN_KID_PAUSE_S = 30.0
MAX_AGE_S = 600.0
FETCH_TIMEOUT_S = 3.0  # for each read and for connecting
FETCH_LIMIT_S = 10.0  # for the whole fetch, so that a dripping server cannot hold it for ever
JWKS_MAX_BYTES = 1024 * 1024

Fetch = Callable[[str], bytes]
Spawn = Callable[[Callable[[], None]], None]


def fetch_jwks(url: str) -> bytes:
    """The body behind ``url``. Redirects are not followed. Raises UpstreamError."""
    import httpx

    # It logs every URL it asks, with the password and the query in it.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    deadline = time.monotonic() + FETCH_LIMIT_S
    loopback = _is_loopback(urlsplit(url).hostname or "")
    parts: list[bytes] = []
    size = 0
    try:
        with (
            httpx.Client(
                timeout=FETCH_TIMEOUT_S,
                transport=httpx.HTTPTransport(retries=2) if loopback else None,
                trust_env=not loopback,
            ) as client,
            client.stream("GET", url, headers={"accept": "application/json"}) as response,
        ):
            if response.status_code != 200:
                raise _fetch_failed(url, f"status {response.status_code}")
            for part in response.iter_bytes():
                size += len(part)
                if size > JWKS_MAX_BYTES:
                    raise _fetch_failed(url, f"more than {JWKS_MAX_BYTES} bytes")
                if time.monotonic() > deadline:
                    raise _fetch_failed(url, f"not finished after {FETCH_LIMIT_S:g} s")
                parts.append(part)
    except httpx.HTTPError as error:
        raise _fetch_failed(url, type(error).__name__) from error
    return b"".join(parts)


def _fetch_failed(url: str, why: str) -> UpstreamError:
    return UpstreamError(
        f"cannot fetch the token keys from {_shown(url)}: {why}",
        hint="Check that the address answers with a JWKS (`curl` it), or give a JWKS file.",
    )


def _shown(url: str) -> str:
    """The address without user, password or query: those may be secrets."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class KeySet:
    """A snapshot of usable keys, by key id and algorithm."""

    __slots__ = ("_keys", "text")

    def __init__(self, keys: Mapping[tuple[str, str], jwt.PyJWK], text: bytes) -> None:
        self._keys = keys
        self.text = text

    def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The key ``kid`` for ``algorithm``; without a ``kid`` (the header may leave it out) the only one there is."""
        if kid is not None:
            return self._keys.get((kid, algorithm))
        fitting = [key for (_, name), key in self._keys.items() if name == algorithm]
        return fitting[0] if len(fitting) == 1 else None


def parse_jwks(text: bytes, *, source: str) -> KeySet:
    """The usable keys of a JWKS document; others are left out and logged. Raises ConfigError where there are none."""
    hint = 'It should look like {"keys": [{"kty": "RSA", "kid": "...", "n": "...", "e": "AQAB"}]}.'
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source} is not JSON: {error}", hint=hint) from error
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ConfigError(f"{source} is not a JWKS: it has no list `keys`", hint=hint)
    keys: dict[tuple[str, str], jwt.PyJWK] = {}
    left_out: list[str] = []
    for place, entry in enumerate(entries):
        key, why = _usable(entry)
        if key is None:
            left_out.append(f"keys[{place}]: {why}")
        else:
            keys.setdefault((key.key_id or "", key.algorithm_name), key)
    if not keys:
        why = "; ".join(left_out) or "the list is empty"
        raise ConfigError(
            f"{source} holds no key that can verify tokens ({why})",
            hint="Publish a public RSA (2048 bits or more), EC P-256 or Ed25519 key with use=sig.",
        )
    for note in left_out:
        log.warning("%s: left out %s", source, note)
    return KeySet(keys, text)


def _usable(entry: Any) -> tuple[jwt.PyJWK | None, str]:
    """The key in one JWKS entry, or why it cannot be used."""
    if not isinstance(entry, dict):
        return None, "not an object"
    kid = entry.get("kid", "")
    if not isinstance(kid, str):
        return None, "kid is not a string"
    algorithm = {
        ("RSA", None): "RS256",
        ("EC", "P-256"): "ES256",
        ("OKP", "Ed25519"): "EdDSA",
    }.get((str(entry.get("kty")), entry.get("crv") if entry.get("kty") != "RSA" else None))
    if algorithm is None:
        return None, f"kty {entry.get('kty')} {entry.get('crv') or ''}".rstrip() + " is not used"
    if entry.get("alg", algorithm) != algorithm:
        return None, f"alg {entry['alg']} is not used (only {', '.join(ALGORITHMS)})"
    if "d" in entry:
        # A private key that is served to the world is compromised; trusting it would trust everybody.
        return None, "it is a private key"
    operations = entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or (
        isinstance(operations, list) and "verify" not in operations
    ):
        return None, "it is not for verifying signatures"
    try:
        key = jwt.PyJWK(entry, algorithm)
        too_short = key.Algorithm.check_key_length(key.key)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
        return None, f"malformed ({type(error).__name__})"
    if too_short:
        return None, "the key is too short"
    return key, ""


def in_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="jwks-refresh", daemon=True).start()


class JwksKeys:
    """The key set behind a path or URL, kept fresh. ``on_change`` hears of each new one, in the refreshing thread."""

    def __init__(
        self,
        source: str,
        *,
        on_change: Callable[[KeySet], None],
        fetch: Fetch = fetch_jwks,
        monotonic_s: Callable[[], float] = time.monotonic,
        spawn: Spawn = in_thread,
    ) -> None:
        """Loads the keys. Raises ConfigError for a bad source or document, UpstreamError when a URL does not answer."""
        self._source = source
        self._is_url = _checked_source(source)
        self._shown = _shown(source) if self._is_url else source
        self._on_change = on_change
        self._fetch = fetch
        self._monotonic_s = monotonic_s
        # A file is read at once, in microseconds; a URL never in the caller's thread.
        self._spawn: Spawn = spawn if self._is_url else lambda work: work()
        self._refreshing = threading.Lock()
        self._current = self._load()
        self._tried_s = monotonic_s()

    @property
    def current(self) -> KeySet:
        return self._current

    def want(self, *, max_age_s: float) -> bool:
        """Start a refresh unless one was tried less than ``max_age_s`` ago. True while one is under way."""
        now_s = self._monotonic_s()
        if now_s - self._tried_s < max_age_s:
            return self._refreshing.locked()
        if not self._refreshing.acquire(blocking=False):
            return True
        self._tried_s = now_s
        try:
            self._spawn(self._refresh)
        except RuntimeError:  # no thread to be had: the keys we hold go on working
            self._refreshing.release()
            log.warning("no thread to refresh the token keys with", exc_info=True)
        return self._refreshing.locked()

    def _refresh(self) -> None:
        try:
            fresh = self._load()
        except SaleopsError as error:
            log.warning("%s; the keys we hold stay in use", error.message)
        else:
            if fresh.text != self._current.text:
                self._current = fresh
                self._on_change(fresh)
                log.info("new token keys from %s", self._shown)
        finally:
            self._refreshing.release()

    def _load(self) -> KeySet:
        if self._is_url:
            text = self._fetch(self._source)
        else:
            try:
                text = Path(self._source).read_bytes()
            except OSError as error:
                raise ConfigError(
                    f"cannot read the token keys in {self._source}: {error.strerror}",
                    hint="Give the path of a JWKS file, or its https:// URL.",
                ) from error
        return parse_jwks(text, source=self._shown)


def _checked_source(source: str) -> bool:
    """True for a URL to fetch keys from, False for a path. Raises ConfigError for a URL that can be tampered with."""
    if "://" not in source:
        return False
    parts = urlsplit(source)
    if parts.scheme == "https" and parts.hostname:
        return True
    if parts.scheme == "http" and _is_loopback(parts.hostname or ""):
        return True
    raise ConfigError(
        f"token keys cannot come from {_shown(source)}: anybody on the way could put in their own",
        hint="Use an https:// URL or the path of a JWKS file.",
    )
