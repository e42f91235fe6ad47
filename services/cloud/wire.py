"""What travels: a request as it arrived, which API it calls, and an answer in the form that API's product uses.

Three spellings arrive here. V3 names its action and version in headers; RPC V1 names them in the query or the form; ROA V1 names
neither, so a ROA call is always told by method and path. Everything is a string still: cloudapi/wire.py makes values of it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, quote

from saleops.cloudapi import Api, find_roa, products
from saleops.cloudapi.tables_reader import find_rpc
from saleops.services.cloud.answers import ApiError

BODY_MAX = 4 * 1024 * 1024
FIELDS_MAX = 5_000
FORM = "application/x-www-form-urlencoded"

Scheme = Literal["v3", "rpc1", "roa1", "none"]


@dataclass(frozen=True, slots=True)
class WireRequest:
    """One HTTP request. ``path`` is percent-decoded, ``query`` is not; header names are lower-case."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def header(self, name: str) -> str:
        return self.headers.get(name, "").strip()

    @property
    def content_type(self) -> str:
        return self.header("content-type").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class WireResponse:
    """One HTTP answer, sent after ``after_ms`` of real time. A ``lost`` one never arrives: the connection is closed instead."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    lost: bool = False
    after_ms: float = 0.0

    def document(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Routed:
    """A request whose API is known. ``fields`` is the query and, for RPC, the form, merged; all strings still."""

    api: Api
    scheme: Scheme
    fields: Mapping[str, str]
    path: Mapping[str, str]


def query_pairs(query: str) -> list[tuple[str, str]]:
    """The pairs of a query string or form; what is no UTF-8 becomes U+FFFD, and then no signature fits."""
    try:
        return parse_qsl(query, keep_blank_values=True, errors="replace", max_num_fields=FIELDS_MAX)
    except ValueError:
        raise ApiError(
            400, "InvalidParameter", f"A request may have {FIELDS_MAX} parameters."
        ) from None


def form_pairs(request: WireRequest) -> list[tuple[str, str]]:
    if request.content_type != FORM or not request.body:
        return []
    return query_pairs(request.body.decode("utf-8", "replace"))


def scheme_of(request: WireRequest, fields: Mapping[str, str]) -> Scheme:
    """How the request says who sent it."""
    authorization = request.header("authorization")
    if authorization.startswith("ACS3-"):
        return "v3"
    if authorization.startswith("acs "):
        return "roa1"
    if "Signature" in fields or "AccessKeyId" in fields:
        return "rpc1"
    return "none"


def route(request: WireRequest) -> Routed:
    """The API that ``request`` calls. Raises ApiError: nobody answers it."""
    query = query_pairs(request.query)
    fields = dict(query)
    if request.path not in ("", "/"):
        return _route_roa(request, fields, scheme_of(request, fields))
    fields.update(form_pairs(request))
    scheme = scheme_of(request, fields)
    if request.header("x-acs-action"):
        action, version = request.header("x-acs-action"), request.header("x-acs-version")
    else:
        action, version = fields.get("Action", ""), fields.get("Version", "")
    api = _rpc_api(action, version)
    if request.method not in ("GET", "POST"):
        raise ApiError(405, "UnsupportedHTTPMethod", "This http method is not supported.")
    return Routed(api, scheme, fields, {})


def _rpc_api(action: str, version: str) -> Api:
    if not action:
        raise ApiError(400, "MissingAction", "Action is mandatory for this action.")
    if not version:
        raise ApiError(400, "MissingVersion", "Version is mandatory for this action.")
    if all(one.version != version for one in products()):
        raise ApiError(
            400, "InvalidVersion", f"Specified parameter Version {version[:60]!r} is not valid."
        )
    api = find_rpc(action, version)
    if api is None:
        raise ApiError(
            404,
            "InvalidAction.NotFound",
            f"Specified api is not found: version {version} has no {action[:100]!r} over RPC; "
            "please check your url and method.",
        )
    return api


def _route_roa(request: WireRequest, fields: Mapping[str, str], scheme: Scheme) -> Routed:
    # The table's matcher takes a path as it travels.
    action, version = request.header("x-acs-action"), request.header("x-acs-version")
    found = find_roa(request.method, quote(request.path, safe="/~", errors="replace"), version)
    if (
        found is None
        or (scheme == "v3" and action and action != found[0].name)
        or (version and version != found[0].product.version)
    ):
        raise ApiError(
            404,
            "InvalidAction.NotFound",
            f"Specified api is not found: {request.method} {request.path[:200]}"
            f"{f' is not {action}' if found and action != found[0].name else ''}; "
            "please check your url and method.",
        )
    return Routed(found[0], scheme, fields, found[1])


def answer(api: Api, document: Any, *, request_id: str) -> WireResponse:
    """A success: ``document`` in the envelope of the API's product."""
    code = api.product.code
    if not isinstance(document, dict):
        body = document  # a few of ACK's answers are lists
    elif code == "rocketmq":
        body = {
            "requestId": request_id,
            "success": True,
            "code": "200",
            "message": "Success",
            "httpStatusCode": 200,
            "dynamicCode": "",
            "dynamicMessage": "",
            **document,
        }
    elif code == "mse":
        body = {
            "RequestId": request_id,
            "Success": True,
            "Code": 200,
            "HttpStatusCode": 200,
            "Message": "OK",
            **document,
        }
    elif code == "cs":
        body = {**document, "request_id": document.get("request_id") or request_id}
    else:
        body = {"RequestId": request_id, **document}
    return _json(200, body, request_id)


def refusal(
    api: Api | None, error: ApiError, *, request_id: str, host: str, at_gateway: bool = False
) -> WireResponse:
    """A failure. What the gateway refuses (signatures, throttling) is spelled as RPC whatever the product."""
    code = "" if at_gateway or api is None else api.product.code
    if code == "cs":
        body = {
            "code": error.code,
            "message": error.message,
            "requestId": request_id,
            "status": error.status,
        }
    elif code == "rocketmq":
        body = {
            "requestId": request_id,
            "success": False,
            "code": error.code,
            "message": error.message,
            "httpStatusCode": error.status,
            "data": None,
            "dynamicCode": "",
            "dynamicMessage": "",
        }
    elif code == "mse":
        body = {
            "RequestId": request_id,
            "Success": False,
            "Code": error.code,
            "HttpStatusCode": error.status,
            "Message": error.message,
        }
    else:
        body = {
            "RequestId": request_id,
            "HostId": host,
            "Code": error.code,
            "Message": error.message,
            "Recommend": f"http://{host}/_local/calls?request_id={request_id}",
        }
    extra = dict(error.extra)
    headers = {str(k): str(v) for k, v in extra.pop("headers", {}).items()}
    return _json(error.status, {**body, **extra}, request_id, headers)


def _json(
    status: int, body: Any, request_id: str, headers: Mapping[str, str] | None = None
) -> WireResponse:
    return WireResponse(
        status,
        (
            ("content-type", "application/json;charset=utf-8"),
            ("x-acs-request-id", request_id),
            *(headers or {}).items(),
        ),
        json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"),
    )
