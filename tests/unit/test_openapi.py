"""What is described is what is served: the document follows the routes, is valid, and is checked in as it is."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import schemathesis

from saleops.services import openapi
from saleops.services.openapi import document, openapi_json, public_services
from saleops.services.problems import PROBLEMS
from saleops.services.web import Request, Response, Route, Service

ROOT = Path(__file__).parents[2]
CHECKED_IN = ROOT / "docs" / "api" / "openapi.json"
GUIDE = ROOT / "docs" / "api" / "README.md"
SLUG_CALLS = {"problem": 1, "Refusal": 1, "_failed": 1}  # function -> position of its slug


class Thing(msgspec.Struct):
    """A thing with a ``name``."""

    name: str


async def handler(request: Request) -> Response:
    raise AssertionError("nothing is served here")


def route(**changes: Any) -> Route:
    given: dict[str, Any] = {
        "method": "GET",
        "path": "/things/{thing_id}",
        "handler": handler,
        "summary": "A thing",
        "operation_id": "getThing",
        "tag": "things",
        "answers": {200: Thing},
    }
    return Route(**(given | changes))


def described(*routes: Route) -> dict[str, Any]:
    return document([Service("things", routes)], version="1")


@pytest.fixture(scope="module")
def api() -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(openapi_json())
    return whole


def operations(api: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def slugs_in(source: str) -> Iterator[str]:
    """The slugs of all problems that ``source`` answers with."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        at = SLUG_CALLS.get(name)
        if at is not None and len(node.args) > at and isinstance(node.args[at], ast.Constant):
            yield str(node.args[at].value)


def test_the_checked_in_document_is_current() -> None:
    assert CHECKED_IN.read_bytes() == openapi_json(), (
        "run: python -m saleops.services.openapi > docs/api/openapi.json"
    )


def test_the_document_is_valid_openapi(api: dict[str, Any]) -> None:
    schemathesis.openapi.from_dict(api).validate()


def test_every_route_of_every_service_is_described(api: dict[str, Any]) -> None:
    served = {f"{r.method} {r.path}" for service in public_services() for r in service.routes}
    assert served == {name for name, _ in operations(api)}
    assert "POST /orders" in served
    assert not {"GET /livez", "GET /readyz", "GET /metrics"} & served


def test_a_buyers_operations_want_a_token_and_say_401(api: dict[str, Any]) -> None:
    for name, operation in operations(api):
        private = bool(operation["security"])
        assert private == ("401" in operation["responses"]), name
        assert private == (operation["tags"] != ["catalog"] or name.startswith("POST")), name


def test_the_checkout_wants_an_idempotency_key(api: dict[str, Any]) -> None:
    [key] = api["paths"]["/orders"]["post"]["parameters"]
    assert (key["name"], key["in"], key["required"]) == ("Idempotency-Key", "header", True)


def test_every_path_part_is_a_parameter(api: dict[str, Any]) -> None:
    for name, operation in operations(api):
        parts = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
        assert parts == {part[:-1] for part in name.split("{")[1:] for part in [part.split("/")[0]]}


def test_every_reference_leads_somewhere(api: dict[str, Any]) -> None:
    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for key, inner in value.items():
                if key == "$ref":
                    yield inner
                yield from references(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from references(inner)

    for reference in references(api):
        at: Any = api
        for part in reference.removeprefix("#/").split("/"):
            at = at[part]


def test_problems_are_problem_json_and_say_when_to_come_again(api: dict[str, Any]) -> None:
    for name, response in api["components"]["responses"].items():
        assert list(response["content"]) == ["application/problem+json"], name
    for name in ("Problem429", "Problem503"):
        assert "Retry-After" in api["components"]["responses"][name]["headers"]


def test_what_a_route_declares_is_in_its_operation() -> None:
    api = described(
        route(
            problems=(404,),
            authenticated=True,
            description="More.",
            path_params={"thing_id": {"type": "integer"}},
            query_params={"after": (False, {"type": "string"}, "Where to go on.")},
            header_params={"if-none-match": (True, {"type": "string"}, "Known version.")},
        ),
        route(method="PUT", operation_id="putThing", body=Thing, answers={204: None}),
    )
    schemathesis.openapi.from_dict(api).validate()
    get, put = api["paths"]["/things/{thing_id}"].values()

    assert [(p["name"], p["in"], p["required"]) for p in get["parameters"]] == [
        ("thing_id", "path", True),
        ("after", "query", False),
        ("If-None-Match", "header", True),
    ]
    assert list(get["responses"]) == ["200", "401", "404", "429", "502", "503", "504"]
    assert list(put["responses"]) == ["204", "400", "413", "422", "429", "502", "503", "504"]
    assert "content" not in put["responses"]["204"]
    assert put["requestBody"]["required"]
    assert api["components"]["schemas"]["Thing"]["description"] == "A thing with a `name`."


@pytest.mark.parametrize(
    "routes",
    [
        (route(), route(path="/others", operation_id="getThing")),
        (route(), route(operation_id="another")),
        (route(path_params={"other_id": {"type": "string"}}),),
    ],
)
def test_a_declaration_that_contradicts_itself_is_a_mistake(routes: tuple[Route, ...]) -> None:
    with pytest.raises(ValueError, match=r"two routes|has no part"):
        described(*routes)


def test_services_made_for_their_description_serve_nothing() -> None:
    with pytest.raises(AssertionError):
        openapi._Absent().orders.place()


def test_every_problem_the_services_answer_with_is_explained_and_no_other() -> None:
    used = {
        slug
        for path in (ROOT / "services").rglob("*.py")
        for slug in slugs_in(path.read_text(encoding="utf-8"))
    }
    assert {"sold-out", "unauthorized", "too-many-requests", "try-again"} <= used
    assert used == PROBLEMS.keys()


@pytest.mark.parametrize("slug", PROBLEMS)
def test_an_explanation_begins_with_its_status_and_ends_as_a_sentence(slug: str) -> None:
    status, _, text = PROBLEMS[slug].partition(". ")
    assert 400 <= int(status) <= 599
    assert text.endswith(".")


def test_the_guide_names_every_operation_and_every_problem(api: dict[str, Any]) -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    missing = [name for name, _ in operations(api) if f"`{name}`" not in guide]
    missing += [slug for slug in PROBLEMS if f"`{slug}`" not in guide]
    assert missing == []
