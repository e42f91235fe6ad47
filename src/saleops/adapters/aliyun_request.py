"""A call as it goes over the wire: checked against its table, the token where the API wants it, parameters flat.

How names are flattened is cloudapi's knowledge (``cloudapi.wire``), for the local cloud reads what this writes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from saleops.cloudapi import Api, api_of
from saleops.cloudapi.checks import problems
from saleops.cloudapi.wire import flatten
from saleops.domain.cloud.calls import Call


@dataclass(frozen=True, slots=True)
class WireCall:
    """``query`` is all text. ``body`` is a JSON document or, where the API wants a ``form``, flat text for one."""

    api: Api
    path: str
    query: Mapping[str, str]
    body: Any = None


def wire_of(call: Call, token: str = "") -> WireCall:
    """``call`` with ``token``, ready to be signed. Raises ValueError, naming every bad field, for what its API does not take."""
    try:
        api = api_of(call.product, call.api)
    except LookupError as error:
        raise ValueError(f"{call} cannot be sent: {error}") from error
    full = with_token(call, api, token)
    found = problems(api, params=full.params, path=full.path, body=full.body)
    if found:
        raise ValueError(f"{call} cannot be sent: {'; '.join(str(one) for one in found)}")
    flat = flatten(api, full.params)
    if api.product.style == "RPC":
        return WireCall(api, "/", {}, flat or None) if api.form else WireCall(api, "/", flat)
    path = api.path
    for name, value in full.path.items():
        path = path.replace(f"[{name}]", quote(value, safe="~"))
    return WireCall(api, path, flat, full.body)


def with_token(call: Call, api: Api, token: str) -> Call:
    """``call`` with ``token`` in the field that ``api`` has for it; as it is where there is none."""
    if not token or not api.token:
        return call
    name = api.token.removeprefix("body.")
    if name != api.token:
        return replace(call, body={**(call.body or {}), name: token})
    return replace(call, params={**call.params, name: token})
