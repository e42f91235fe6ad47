"""The API for strangers: an OpenAPI 3.1 document made from the routes that serve it.

A route's declaration (web.Route) and the msgspec types of its bodies are all there is: what is served and what is
described cannot drift apart. The document is served at /openapi.json and checked in as docs/api/openapi.json;
``python -m saleops.services.openapi`` prints it.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any, cast

import msgspec

from saleops import __version__
from saleops.config.settings import JwtSettings, ServiceSettings
from saleops.services.web import PROBLEM_JSON, Problem, Route, Service

GATEWAY_PROBLEMS = (429, 502, 503, 504)  # what the one public port may answer for any of them
_REF = "#/components/schemas/{name}"

_ABOUT = """\
Product pages, a cart, orders, payments and parcels of one sale.

Every request of a buyer carries `Authorization: Bearer <JWT>`. Errors are `application/problem+json` (RFC 9457):
programs read `type`, which links to an explanation, people read `title` and `detail`. A 429 or 503 says in `Retry-After` when
to come again. Money is in whole hundredths of the currency (`_fen`), times are Unix milliseconds (`_ms`).
"""

_TAGS = {
    "catalog": "What is for sale. Public and cacheable.",
    "cart": "What a buyer means to order. Nothing is held for it.",
    "orders": "The checkout, and what became of it.",
    "payments": "Paying an order by hand.",
    "parcels": "What was sent.",
}

_MEANINGS = {
    400: "The request cannot be understood.",
    401: "No valid token.",
    402: "The payment was declined.",
    403: "Not allowed: another buyer's order, or outside the sale's hours.",
    404: "There is no such thing.",
    409: "It cannot be done as things stand, e.g. sold out.",
    413: "The body is too large.",
    422: "The request was understood and does not fit.",
    429: "Too many requests.",
    502: "A service broke off. An order may be repeated with the same Idempotency-Key.",
    503: "Not now. An order may be repeated with the same Idempotency-Key.",
    504: "No answer in time. An order may be repeated with the same Idempotency-Key.",
}

_RETRY_AFTER = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}}
}
_CHALLENGE = {
    "WWW-Authenticate": {"description": "Bearer", "schema": {"type": "string", "const": "Bearer"}}
}
_HEADERS = {401: _CHALLENGE, 429: _RETRY_AFTER, 503: _RETRY_AFTER}


def document(services: Sequence[Service], *, version: str) -> dict[str, Any]:
    """The OpenAPI document of ``services`` behind one base URL, in plain JSON types.

    Raises ValueError when two routes share an operation id, or a method and path: each must be one operation.
    """
    routes = [route for service in services for route in service.routes]
    _check_distinct(route.operation_id for route in routes)
    _check_distinct(f"{route.method} {route.path}" for route in routes)
    schema_of, components = _schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema_of)
    used = {route.tag for route in routes}
    statuses = sorted({status for route in routes for status in _problems_of(route)})
    return {
        "openapi": "3.1.0",
        "info": {"title": "saleops shop", "version": version, "description": _ABOUT},
        "servers": [{"url": "/", "description": "The gateway that serves this document."}],
        "tags": [
            {"name": name, "description": text} for name, text in _TAGS.items() if name in used
        ],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {
                f"Problem{status}": _problem_response(status, schema_of) for status in statuses
            },
            "securitySchemes": {
                "buyer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A token whose `sub` is the buyer. `saleops serve` prints one for development.",
                }
            },
        },
    }


def _check_distinct(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"two routes are {name}")
        seen.add(name)


def _schemas(routes: Sequence[Route]) -> tuple[dict[Any, dict[str, Any]], dict[str, Any]]:
    """The schema of each type that a route names, and the components that these refer to."""
    types: list[Any] = [Problem]
    for route in routes:
        types += [one for one in (*route.answers.values(), route.body) if one is not None]
    unique = list(dict.fromkeys(types))
    schemas, components = msgspec.json.schema_components(unique, ref_template=_REF)
    for component in components.values():
        if "description" in component:  # a docstring: its code marks become Markdown's
            component["description"] = component["description"].replace("``", "`")
    return dict(zip(unique, schemas, strict=True)), dict(sorted(components.items()))


def _operation(route: Route, schema_of: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation_id,
        "summary": route.summary,
        "tags": [route.tag],
    }
    if route.description:
        operation["description"] = route.description
    if parameters := _parameters(route):
        operation["parameters"] = parameters
    if route.body is not None:
        content = {"application/json": {"schema": schema_of[route.body]}}
        operation["requestBody"] = {"required": True, "content": content}
    operation["responses"] = {
        str(status): answer for status, answer in sorted(_responses(route, schema_of).items())
    }
    operation["security"] = [{"buyer": []}] if route.authenticated else []
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    """Path, query and header parameters. Raises ValueError for a schema of a part that the path does not have."""
    parts = re.findall(r"{(\w+)}", route.path)
    if strange := set(route.path_params) - set(parts):
        raise ValueError(f"{route.path} has no part {', '.join(sorted(strange))}")
    found: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": route.path_params.get(name, {"type": "string", "minLength": 1}),
        }
        for name in parts
    ]
    for place, params in (("query", route.query_params), ("header", route.header_params)):
        for name, (required, schema, description) in params.items():
            found.append(
                {
                    "name": _header_name(name) if place == "header" else name,
                    "in": place,
                    "required": required,
                    "schema": schema,
                    "description": description,
                }
            )
    return found


def _header_name(name: str) -> str:
    return "-".join(part.capitalize() for part in name.split("-"))


def _responses(route: Route, schema_of: dict[Any, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    answers: dict[int, dict[str, Any]] = {}
    for status, body in route.answers.items():
        answers[status] = {"description": HTTPStatus(status).phrase}
        if body is not None:
            answers[status]["content"] = {"application/json": {"schema": schema_of[body]}}
    for status in _problems_of(route):
        answers[status] = {"$ref": f"#/components/responses/Problem{status}"}
    return answers


def _problems_of(route: Route) -> set[int]:
    """Every status that answers with a problem: what the route says, and what its shape and the gateway add."""
    problems = {*route.problems, *GATEWAY_PROBLEMS}
    if route.authenticated:
        problems.add(401)
    if route.body is not None:
        problems |= {400, 413, 422}
    return problems - route.answers.keys()


def _problem_response(status: int, schema_of: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": _MEANINGS.get(status, HTTPStatus(status).phrase),
        "content": {PROBLEM_JSON: {"schema": schema_of[Problem]}},
    }
    if status in _HEADERS:
        response["headers"] = _HEADERS[status]
    return response


class _Absent:
    """A port that is not there: it may be handed on and looked into, never called."""

    def __getattr__(self, name: str) -> "_Absent":
        return self

    def __call__(self, *args: object, **options: object) -> None:
        raise AssertionError("services made for their description serve nothing")


def public_services() -> list[Service]:
    """The services behind the gateway, for their routes alone: their ports are absent and nothing may be served."""
    from saleops.services.catalog.app import create_app as catalog
    from saleops.services.order.app import create_app as order
    from saleops.services.payment.app import create_app as payment
    from saleops.services.shipping.app import create_app as shipping

    absent = cast(Any, _Absent())
    settings = ServiceSettings(
        sale="", redis_url="", database_url="", broker_url="", jwt=JwtSettings()
    )
    return [
        catalog(absent, absent, settings, authenticate=absent),
        order(settings, stock=absent, book=absent, broker=absent, carts=absent, identify=absent),
        payment(book=absent, broker=absent, provider=absent, identify=absent),
        shipping(book=absent, broker=absent, identify=absent),
    ]


def openapi_json() -> bytes:
    """The document of the whole public API as indented JSON."""
    text = msgspec.json.encode(document(public_services(), version=__version__))
    return msgspec.json.format(text, indent=2) + b"\n"


if __name__ == "__main__":
    sys.stdout.buffer.write(openapi_json())
