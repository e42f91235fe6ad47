"""An independent signer of V3 requests, written from the documented scheme and the standard library alone."""

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from urllib.parse import quote, urlencode


def _enc(text: str) -> str:
    return quote(text, safe="~")


def signed_v3(
    *,
    method: str,
    path: str,
    query: Mapping[str, str],
    body: bytes,
    action: str,
    version: str,
    key_id: str,
    secret: str,
    host: str = "127.0.0.1:8400",
    token: str = "",
    content_type: str = "",
    at_s: float | None = None,
    nonce: str = "",
    extra: Mapping[str, str] | None = None,
) -> tuple[str, dict[str, str]]:
    """The query string and the headers of a signed request. ``path`` is percent-encoded."""
    headers = {
        "host": host,
        "x-acs-action": action,
        "x-acs-version": version,
        "x-acs-date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s)),
        "x-acs-signature-nonce": nonce or secrets.token_hex(16),
        "x-acs-content-sha256": hashlib.sha256(body).hexdigest(),
        **(extra or {}),
    }
    if content_type:
        headers["content-type"] = content_type
    if token:
        headers["x-acs-security-token"] = token
        headers["x-acs-accesskey-id"] = key_id
    names = sorted(headers)
    query_text = "&".join(f"{_enc(k)}={_enc(v)}" for k, v in sorted(query.items()))
    canonical = "\n".join(
        (
            method,
            path,
            query_text,
            "".join(f"{name}:{headers[name].strip()}\n" for name in names),
            ";".join(names),
            headers["x-acs-content-sha256"],
        )
    )
    to_sign = "ACS3-HMAC-SHA256\n" + hashlib.sha256(canonical.encode()).hexdigest()
    signature = hmac.new(secret.encode(), to_sign.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (
        f"ACS3-HMAC-SHA256 Credential={key_id},SignedHeaders={';'.join(names)},Signature={signature}"
    )
    return query_text, headers


def signed_rpc1(
    *,
    method: str,
    query: Mapping[str, str],
    form: Mapping[str, str],
    action: str,
    version: str,
    key_id: str,
    secret: str,
    token: str = "",
    at_s: float | None = None,
    nonce: str = "",
) -> tuple[str, bytes]:
    """The query string and the form body of an RPC request with an HMAC-SHA1 signature."""
    params = {
        **query,
        "Action": action,
        "Version": version,
        "Format": "JSON",
        "Timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s)),
        "SignatureMethod": "HMAC-SHA1",
        "SignatureVersion": "1.0",
        "SignatureType": "",
        "SignatureNonce": nonce or secrets.token_hex(16),
        "AccessKeyId": key_id,
    }
    if token:
        params["SecurityToken"] = token
    text = "&".join(f"{_enc(k)}={_enc(v)}" for k, v in sorted({**params, **form}.items()))
    to_sign = f"{method}&%2F&{_enc(text)}"
    digest = hmac.new(f"{secret}&".encode(), to_sign.encode(), hashlib.sha1).digest()
    params["Signature"] = base64.b64encode(digest).decode()
    return urlencode(params, quote_via=quote), urlencode(form, quote_via=quote).encode()


def signed_roa1(
    *,
    method: str,
    path: str,
    query: Mapping[str, str],
    body: bytes,
    version: str,
    key_id: str,
    secret: str,
    token: str = "",
    at_s: float | None = None,
) -> tuple[str, dict[str, str]]:
    """The query string and the headers of a ROA request with an HMAC-SHA1 signature."""
    headers = {
        "accept": "application/json",
        "date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(at_s)),
        "x-acs-version": version,
        "x-acs-signature-method": "HMAC-SHA1",
        "x-acs-signature-version": "1.0",
    }
    if body:
        headers["content-type"] = "application/json"
        headers["content-md5"] = base64.b64encode(hashlib.md5(body).digest()).decode()
    if token:
        headers["x-acs-security-token"] = token
    own = "".join(f"{k}:{headers[k]}\n" for k in sorted(headers) if k.startswith("x-acs-"))
    pairs = "&".join(f"{k}={v}" for k, v in sorted(query.items()))
    to_sign = (
        "\n".join(
            (
                method,
                headers["accept"],
                headers.get("content-md5", ""),
                headers.get("content-type", ""),
                headers["date"],
                "",
            )
        )
        + own
        + (f"{path}?{pairs}" if pairs else path)
    )
    digest = hmac.new(secret.encode(), to_sign.encode(), hashlib.sha1).digest()
    headers["authorization"] = f"acs {key_id}:{base64.b64encode(digest).decode()}"
    return urlencode(query, quote_via=quote), headers
