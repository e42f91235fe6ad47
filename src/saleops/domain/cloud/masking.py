"""Calls as documents that may be read by others: what an API takes as a password is not in them."""

from collections.abc import Mapping, Sequence
from typing import Any

from saleops.domain.cloud.calls import Call

HIDDEN = "***"
_SECRETS = ("password", "secret", "privatekey", "sslpri", "userdata", "token")
_TOKENS = {"clienttoken", "client_token", "nexttoken", "next_token"}


def document_of(call: Call) -> dict[str, Any]:
    """``call`` in the types of JSON, without its secrets; what it has not is left out."""
    document: dict[str, Any] = {"product": call.product, "api": call.api}
    if call.path:
        document["path"] = dict(call.path)
    if call.params:
        document["params"] = masked(call.params)
    if call.body is not None:
        document["body"] = masked(call.body)
    return document


def masked(value: Any) -> Any:
    """``value`` with the same shape; None values are left out, as they are when a call is sent."""
    if isinstance(value, Mapping):
        return {
            str(name): HIDDEN if is_secret(str(name)) and one else masked(one)
            for name, one in value.items()
            if one is not None
        }
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [masked(one) for one in value]
    return value


def is_secret(name: str) -> bool:
    """Whether a parameter called ``name`` holds something nobody else may read."""
    folded = name.replace("-", "").replace("_", "").lower()
    return name.lower() not in _TOKENS and any(word in folded for word in _SECRETS)
