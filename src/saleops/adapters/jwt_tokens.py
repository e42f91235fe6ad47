"""Buyers' tokens are JWTs: checked without any state but the keys, by PyJWT.

Development shares one HS256 secret; everything else gives a JWKS (see jwt_keys.py). The two never mix: with a JWKS the
secret is not even read, and each key is bound to one algorithm when it is loaded, so a token cannot choose how it is
verified (RFC 8725, 2.1 and 3.1). Times are compared with the caller's clock, not the machine's.

Verifying costs 30 to 100 microseconds, so a token that passed is remembered by its whole text and only its expiry is
looked at again. A refused token is not remembered: nobody can fill memory with rubbish. A new key set forgets them all.
"""

import math
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import jwt
import msgspec

from saleops.adapters.jwt_keys import (
    ALGORITHMS,
    MAX_AGE_S,
    UNKNOWN_KID_PAUSE_S,
    Fetch,
    JwksKeys,
    KeySet,
    Spawn,
    fetch_jwks,
    in_thread,
)
from saleops.config.settings import JwtSettings
from saleops.errors import ConfigError
from saleops.ports.tokens import Identity, KeysNotReady, TokenRefused

TOKEN_MAX_CHARS = 8 * 1024
SECRET_MIN_BYTES = 32  # RFC 7518, 3.2: an HS256 key is at least as long as the hash
REMEMBERED_MAX = 100_000
HEADERS_MAX = 64
REMEMBERED_MAX_CHARS = 64 * 1024 * 1024

_BUYER = re.compile(r"[A-Za-z0-9._:@|+=~/-]{1,128}")  # ids, mails and "provider|id" subjects
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
_decode_claims = msgspec.json.Decoder(dict[str, Any]).decode
_OPTIONS: Any = {
    # The three times are ours to check: PyJWT would read the machine's clock.
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "enforce_minimum_key_length": True,
}


class _Remembered:
    """Tokens that passed under one key set, oldest out first when there are too many."""

    __slots__ = ("chars", "headers", "identities")

    def __init__(self) -> None:
        self.identities: dict[str, Identity] = {}
        self.headers: dict[str, jwt.PyJWK] = {}  # the first part of tokens that passed -> their key
        self.chars = 0

    def add(self, token: str, identity: Identity) -> None:
        self.identities[token] = identity
        self.chars += len(token)
        while len(self.identities) > REMEMBERED_MAX or self.chars > REMEMBERED_MAX_CHARS:
            self.forget(next(iter(self.identities)))

    def forget(self, token: str) -> None:
        if self.identities.pop(token, None) is not None:
            self.chars -= len(token)


class JwtVerifier:
    """The TokenVerifier of the services."""

    def __init__(
        self,
        settings: JwtSettings,
        *,
        fetch: Fetch = fetch_jwks,
        monotonic_s: Callable[[], float] = time.monotonic,
        spawn: Spawn = in_thread,
    ) -> None:
        """Raises ConfigError for settings that would let nobody or everybody in, UpstreamError when a URL fails."""
        if not settings.audience:
            raise ConfigError(
                "jwt.audience is empty: a token made for any other service would be taken",
                hint="Name the audience that your issuer puts into `aud`.",
            )
        if settings.leeway_s < 0:
            raise ConfigError("jwt.leeway_s is below 0", hint="Use 0 to 60 seconds.")
        self._audience = settings.audience
        self._issuer = settings.issuer or None
        self._leeway_s = settings.leeway_s
        self._remembered = _Remembered()
        self._jwks: JwksKeys | None = None
        self._secret: jwt.PyJWK | None = None
        if settings.jwks:
            self._jwks = JwksKeys(
                settings.jwks,
                on_change=self._forget_all,
                fetch=fetch,
                monotonic_s=monotonic_s,
                spawn=spawn,
            )
        else:
            self._secret = _secret_key(settings.hs256_secret)

    def verify(self, token: str, *, now_s: float) -> Identity:
        """The identity behind ``token``. Raises TokenRefused, whose text says why (for the log)."""
        remembered = self._remembered  # one snapshot: a new key set may swap it while we verify
        known = remembered.identities.get(token)
        if known is not None:
            if now_s < known.expires_s + self._leeway_s:
                return known
            remembered.forget(token)
            raise TokenRefused("expired")
        identity = self._verify(token, now_s)
        remembered.add(token, identity)
        return identity

    def _forget_all(self, keys: KeySet) -> None:
        self._remembered = _Remembered()

    def _verify(self, token: str, now_s: float) -> Identity:
        if len(token) > TOKEN_MAX_CHARS:
            raise TokenRefused("too long")
        if not token.isascii():
            raise TokenRefused("not a JWT")
        if self._jwks is not None:
            self._jwks.want(max_age_s=MAX_AGE_S)
        known = self._remembered.headers
        header, _, rest = token.partition(".")
        key = known.get(header)
        if key is not None:
            return self._identity(self._claims_under(key, token, rest), now_s)
        try:
            key = self._key_for(token)
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=self._audience,
                issuer=self._issuer,
                options=_OPTIONS,
            )
        except jwt.PyJWTError as error:
            raise TokenRefused(f"{type(error).__name__}: {error}") from None
        identity = self._identity(claims, now_s)
        if len(known) < HEADERS_MAX:
            known[header] = key
        return identity

    def _claims_under(self, key: jwt.PyJWK, token: str, rest: str) -> dict[str, Any]:
        """The claims of a token whose header PyJWT has taken before, to the letter: what is left to check is the
        signature, by PyJWT's own algorithm under the same key, and what PyJWT checks of the claims.

        An issuer's tokens share one header, and parsing it again is most of what a verification costs.
        """
        payload, dot, signature = rest.partition(".")
        if not dot or "." in signature:
            raise TokenRefused("not a JWT")
        try:
            signed = token[: -len(signature) - 1].encode()
            if not key.Algorithm.verify(signed, key.key, _unpadded(signature)):
                raise TokenRefused("its signature does not fit")
            claims = _decode_claims(_unpadded(payload))
        except (ValueError, msgspec.DecodeError) as error:
            raise TokenRefused(f"not a JWT: {error}") from None
        audience = claims.get("aud")
        if audience != self._audience and not (
            isinstance(audience, list)
            and self._audience in audience
            and all(isinstance(one, str) for one in audience)
        ):
            raise TokenRefused("made for another audience")
        if self._issuer is not None and claims.get("iss") != self._issuer:
            raise TokenRefused("made by another issuer")
        return claims

    def _key_for(self, token: str) -> jwt.PyJWK:
        if self._secret is not None:
            return self._secret
        assert self._jwks is not None
        header = jwt.get_unverified_header(token)
        algorithm, kid = header.get("alg"), header.get("kid")
        # The header only says which key to look for; that key then insists on its own algorithm.
        if algorithm not in ALGORITHMS:
            raise TokenRefused("its algorithm is not used here")
        key = self._jwks.current.find(kid, algorithm)
        if key is None:
            on_its_way = self._jwks.want(max_age_s=UNKNOWN_KID_PAUSE_S)
            key = self._jwks.current.find(kid, algorithm)
            if key is None and on_its_way:
                raise KeysNotReady("unknown key, a fresh key set is being fetched")
        if key is None:
            raise TokenRefused("unknown key")
        return key

    def _identity(self, claims: dict[str, Any], now_s: float) -> Identity:
        buyer = claims.get("sub")
        if not isinstance(buyer, str) or not _BUYER.fullmatch(buyer):
            raise TokenRefused("sub is missing or no buyer id")
        expires_s = _time_claim(claims, "exp")
        if expires_s is None:
            raise TokenRefused("exp is missing")
        if now_s >= expires_s + self._leeway_s:
            raise TokenRefused("expired")
        for name in ("nbf", "iat"):
            starts_s = _time_claim(claims, name)
            if starts_s is not None and now_s < starts_s - self._leeway_s:
                raise TokenRefused(f"not valid yet ({name})")
        return Identity(buyer, math.floor(expires_s))


def _unpadded(text: str) -> bytes:
    """The bytes behind unpadded base64url (RFC 7515, 2). Raises ValueError for anything else."""
    if not _BASE64URL.fullmatch(text):
        raise ValueError("not base64url")
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _time_claim(claims: dict[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519: a JSON number, fractions allowed), None where it is missing."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise TokenRefused(f"{name} is no time")
    return float(value)


def _secret_key(secret: str) -> jwt.PyJWK:
    size = len(secret.encode())
    if size == 0:
        raise ConfigError(
            "there is nothing to check tokens with: neither jwt.jwks nor jwt.hs256_secret is set",
            hint="Give the JWKS of your issuer (a file or an https:// URL).",
        )
    if size < SECRET_MIN_BYTES:
        raise ConfigError(
            f"the HS256 secret has {size} bytes: it could be guessed (at least {SECRET_MIN_BYTES})",
            hint='Make one with: python -c "import secrets; print(secrets.token_urlsafe(48))"',
        )
    encoded = urlsafe_b64encode(secret.encode()).rstrip(b"=").decode()
    return jwt.PyJWK({"kty": "oct", "k": encoded, "alg": "HS256"}, "HS256")


def issue_dev_token(
    secret: str, buyer: str, *, ttl_s: int, audience: str, now_s: float, issuer: str = ""
) -> str:
    """A token for ``buyer``, good for ``ttl_s`` seconds, signed with the shared secret of a development setup.

    Raises ConfigError for a weak secret and ValueError for what could never be a buyer.
    """
    if not _BUYER.fullmatch(buyer):
        raise ValueError(f"{buyer!r} is no buyer id")
    if ttl_s < 1:
        raise ValueError(f"a token cannot live {ttl_s} s")
    now = int(now_s)
    claims: dict[str, Any] = {"sub": buyer, "aud": audience, "iat": now, "exp": now + ttl_s}
    if issuer:
        claims["iss"] = issuer
    return jwt.encode(claims, _secret_key(secret), algorithm="HS256")
