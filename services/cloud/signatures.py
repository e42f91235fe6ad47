"""Who sent a request: the three signatures that SDKs and the command line use, verified as the gateway does.

ACS3-HMAC-SHA256 (today's SDKs, for RPC and ROA), HMAC-SHA1 in the query (older RPC) and ``acs key:signature`` in the
Authorization header (older ROA). A signature covers its time and its nonce: a request older than 15 minutes, or seen
before, is refused. Times here are the machine's own, never the cloud's, whose clock may be virtual.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote

from saleops.services.cloud.answers import ApiError
from saleops.services.cloud.wire import Routed, WireRequest, form_pairs, query_pairs

STALE_MS = 15 * 60_000
NONCES_MAX = 200_000
V3 = "ACS3-HMAC-SHA256"
_SIGNED_ALWAYS = ("host", "x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256")
_V3_HEADER = re.compile(
    r"ACS3-HMAC-SHA256 +Credential=([^,\s]+), *SignedHeaders=([^,\s]+), *Signature=([0-9a-fA-F]+)"
)


@dataclass(frozen=True, slots=True)
class Key:
    """One access key. ``token`` and ``expires_ms`` (wall clock) belong to temporary ones."""

    id: str
    secret: str
    arn: str
    principal: str
    kind: str = "Account"  # "Account", "RAMUser" or "AssumedRoleUser"
    token: str = ""
    expires_ms: int = 0
    role_id: str = ""

    def __repr__(self) -> str:
        return f"Key({self.id!r}, {self.kind})"


KeyOf = Callable[[str], Key | None]


class Verifier:
    """Verifies signatures and remembers nonces for as long as they could be replayed."""

    def __init__(self, key_of: KeyOf, *, wall_ms: Callable[[], int]) -> None:
        self._key_of = key_of
        self._wall_ms = wall_ms
        self._nonces: OrderedDict[tuple[str, str], int] = OrderedDict()  # -> when it may go

    def verify(self, request: WireRequest, routed: Routed) -> Key:
        """The key that signed ``request``. Raises ApiError."""
        if routed.scheme == "v3":
            return self._v3(request)
        if routed.scheme == "rpc1":
            return self._rpc1(request, routed.fields)
        if routed.scheme == "roa1":
            return self._roa1(request)
        raise ApiError(
            400,
            "IncompleteSignature",
            "The request is not signed: it has neither an Authorization header nor a Signature parameter.",
        )

    def _v3(self, request: WireRequest) -> Key:
        match = _V3_HEADER.fullmatch(request.header("authorization"))
        if match is None:
            raise _incomplete(
                f"Authorization is not of the form {V3} Credential=,SignedHeaders=,Signature="
            )
        key_id, names_text, signature = match.groups()
        names = names_text.lower().split(";")
        unsigned = [name for name in _SIGNED_ALWAYS if name not in names]
        unsigned += [
            name
            for name in ("x-acs-action", "x-acs-version")
            if name in request.headers and name not in names
        ]
        if unsigned:
            raise _incomplete(f"These headers have to be signed: {', '.join(unsigned)}")
        missing = [name for name in names if name not in request.headers]
        if missing:
            raise _incomplete(f"Signed headers are not there: {', '.join(missing)[:500]}")
        payload = request.header("x-acs-content-sha256").lower()
        if payload != hashlib.sha256(request.body).hexdigest():
            raise _mismatch("x-acs-content-sha256 is not the hash of the body")
        key = self._key(
            key_id, request.header("x-acs-security-token"), request.header("x-acs-accesskey-id")
        )
        pairs = sorted(query_pairs(request.query))
        canonical_query = "&".join(f"{_encoded(name)}={_encoded(value)}" for name, value in pairs)
        headers = "".join(f"{name}:{request.header(name)}\n" for name in sorted(names))
        for path in _spellings(request.path):
            canonical = "\n".join(
                (request.method, path, canonical_query, headers, ";".join(sorted(names)), payload)
            )
            to_sign = f"{V3}\n{hashlib.sha256(_bytes(canonical)).hexdigest()}"
            expected = hmac.new(_bytes(key.secret), _bytes(to_sign), hashlib.sha256).hexdigest()
            if hmac.compare_digest(expected, signature.lower()):
                break
        else:
            raise _mismatch(f"the server's canonical request was {canonical!r}"[:2000])
        self._fresh(
            key, request.header("x-acs-date"), request.header("x-acs-signature-nonce"), "x-acs-date"
        )
        return key

    def _rpc1(self, request: WireRequest, fields: Mapping[str, str]) -> Key:
        missing = [
            name
            for name in ("AccessKeyId", "Signature", "SignatureNonce", "Timestamp")
            if not fields.get(name)
        ]
        if missing:
            raise _incomplete(f"These parameters are missing: {', '.join(missing)}")
        method = fields.get("SignatureMethod", "HMAC-SHA1")
        if method.upper() != "HMAC-SHA1" or fields.get("SignatureVersion", "1.0") != "1.0":
            raise ApiError(
                400,
                "InvalidParameter.SignatureMethod",
                f"Signatures of version 1.0 are made with HMAC-SHA1, not with {method[:40]!r}.",
            )
        key = self._key(fields["AccessKeyId"], fields.get("SecurityToken", ""))
        pairs = [*query_pairs(request.query), *form_pairs(request)]
        sorted_pairs = sorted((name, value) for name, value in pairs if name != "Signature")
        canonical = "&".join(f"{_encoded(name)}={_encoded(value)}" for name, value in sorted_pairs)
        to_sign = f"{request.method}&%2F&{_encoded(canonical)}"
        if not _fits(fields["Signature"], key.secret + "&", to_sign):
            raise _mismatch(f"the server's string to sign was {to_sign!r}"[:2000])
        self._fresh(key, fields["Timestamp"], fields["SignatureNonce"], "Timestamp")
        return key

    def _roa1(self, request: WireRequest) -> Key:
        key_id, colon, signature = request.header("authorization")[4:].strip().partition(":")
        if not colon or not key_id or not signature:
            raise _incomplete("Authorization is not of the form acs <key id>:<signature>")
        method = request.header("x-acs-signature-method") or "HMAC-SHA1"
        if method.upper() != "HMAC-SHA1":
            raise ApiError(
                400,
                "InvalidParameter.SignatureMethod",
                f"Signatures of version 1.0 are made with HMAC-SHA1, not with {method[:40]!r}.",
            )
        key = self._key(
            key_id, request.header("x-acs-security-token"), request.header("x-acs-accesskey-id")
        )
        declared = request.header("content-md5")
        if declared and declared != base64.b64encode(_md5(request.body)).decode():
            raise _mismatch("Content-MD5 is not the hash of the body")
        head = "".join(
            f"{request.header(name)}\n"
            for name in ("accept", "content-md5", "content-type", "date")
        )
        own = "".join(
            f"{name}:{request.headers[name]}\n"
            for name in sorted(request.headers)
            if name.startswith("x-acs-")
        )
        tried = [f"{request.method}\n{head}{own}{resource}" for resource in _roa_resources(request)]
        if not any(_fits(signature, key.secret, to_sign) for to_sign in tried):
            raise _mismatch(f"the server's string to sign was {tried[0]!r}"[:2000])
        # SDKs of this age send no nonce with ROA calls: then its date alone limits how long a request may be repeated.
        self._fresh(key, request.header("date"), request.header("x-acs-signature-nonce"), "Date")
        return key

    def _key(self, key_id: str, token: str, declared: str = "") -> Key:
        key = self._key_of(key_id)
        if key is None or (declared and declared != key_id):
            raise ApiError(
                404,
                "InvalidAccessKeyId.NotFound",
                "Specified access key is not found. The local cloud knows its own keys alone: "
                "`saleops serve cloud` prints them.",
            )
        if not key.token:
            if token:
                raise ApiError(
                    400,
                    "InvalidSecurityToken.MismatchWithAccessKey",
                    "Specified SecurityToken mismatches the access key.",
                )
            return key
        if not token:
            raise ApiError(
                400, "MissingSecurityToken", "SecurityToken is mandatory for this action."
            )
        if not hmac.compare_digest(_bytes(key.token), _bytes(token)):
            raise ApiError(
                400,
                "InvalidSecurityToken.MismatchWithAccessKey",
                "Specified SecurityToken mismatches the access key.",
            )
        if key.expires_ms <= self._wall_ms():
            raise ApiError(
                400, "InvalidSecurityToken.Expired", "Specified SecurityToken is expired."
            )
        return key

    def _fresh(self, key: Key, text: str, nonce: str, name: str) -> None:
        at_ms = _time_ms(text)
        if at_ms is None:
            raise ApiError(
                400,
                "InvalidTimeStamp.Format",
                f"Specified time stamp or date value is not well formatted: {name} {text[:60]!r}.",
            )
        now_ms = self._wall_ms()
        if abs(now_ms - at_ms) > STALE_MS:
            raise ApiError(
                400,
                "InvalidTimeStamp.Expired",
                f"Specified time stamp or date value is expired: {name} is {text[:60]}, "
                f"this machine says {datetime.fromtimestamp(now_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}.",
            )
        if not nonce:
            if name == "Date":
                return
            raise _incomplete("The nonce is empty")
        while self._nonces:
            first, until_ms = next(iter(self._nonces.items()))
            if until_ms > now_ms and len(self._nonces) < NONCES_MAX:
                break
            del self._nonces[first]
        if (key.id, nonce) in self._nonces:
            raise ApiError(400, "SignatureNonceUsed", "Specified signature nonce was used already.")
        self._nonces[key.id, nonce] = now_ms + 2 * STALE_MS


def temporary_key(*, arn: str, role_id: str, session: str, expires_ms: int) -> Key:
    """A key that works with its token until ``expires_ms``."""
    return Key(
        id=f"STS.{secrets.token_hex(12)}",
        secret=secrets.token_hex(22),
        arn=arn,
        principal=f"{role_id}:{session}",
        kind="AssumedRoleUser",
        token=base64.b64encode(secrets.token_bytes(180)).decode(),
        expires_ms=expires_ms,
        role_id=role_id,
    )


def _incomplete(why: str) -> ApiError:
    return ApiError(
        400,
        "IncompleteSignature",
        f"The request signature does not conform to the standard. {why}.",
    )


def _mismatch(why: str) -> ApiError:
    return ApiError(
        400,
        "SignatureDoesNotMatch",
        f"Specified signature does not match our calculation: {why}.",
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _encoded(text: str) -> str:
    return quote(text, safe="~", errors="surrogatepass")


def _md5(content: bytes) -> bytes:
    return hashlib.md5(content, usedforsecurity=False).digest()


def _fits(signature: str, secret: str, to_sign: str) -> bool:
    expected = base64.b64encode(hmac.new(_bytes(secret), _bytes(to_sign), hashlib.sha1).digest())
    return hmac.compare_digest(expected, _bytes(signature))


def _spellings(path: str) -> Iterator[str]:
    """What a client may have signed: the path as it is sent, or as it reads."""
    encoded = quote(path or "/", safe="/~", errors="surrogatepass")
    yield encoded
    if encoded != path:
        yield path


def _roa_resources(request: WireRequest) -> Iterable[str]:
    """Path and query, not encoded; older SDKs disagree on whether an empty value keeps its equals sign."""
    pairs = sorted(query_pairs(request.query))
    for path in _spellings(request.path):
        for bare in (False, True):
            query = "&".join(
                name if bare and not value else f"{name}={value}" for name, value in pairs
            )
            yield f"{path}?{query}" if query else path


def _time_ms(text: str) -> int | None:
    """``2026-11-23T18:06:40Z`` or an HTTP date, as Unix milliseconds."""
    try:
        at = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        try:
            at = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
    try:
        return round(at.timestamp() * 1000)
    except (OverflowError, ValueError, OSError):
        return None
