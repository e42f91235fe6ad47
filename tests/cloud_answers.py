"""Asking the answerers of the local cloud by hand, on a clock that tests turn, and holding answers to the vendor's shapes.

``asked("vpc", "CreateVpc", world, CidrBlock="10.0.0.0/8")`` calls the one answerer with values that were "checked" already, as
the core does, and holds the document against the response shape of ``contracts/alibaba/_schemas`` where that folder is
beside the repository: an unknown field or a wrong type fails the test. Without it, only that the document is JSON is held.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from saleops.cloudapi.model import Api, Product
from saleops.services.cloud.answers import ANSWERERS, ApiError, LocalCall
from saleops.services.cloud.products import load_product
from saleops.services.cloud.world import World

SCHEMAS = Path(__file__).parents[1].parent / "shared" / "contracts" / "alibaba" / "_schemas"
REGION = "ap-southeast-1"
START_MS = 1_794_300_000_000  # 2026-11-10T08:00:00Z

_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


@dataclass
class HandClock:
    """A clock that stands still until somebody turns it."""

    at_ms: int = START_MS

    def now_ms(self) -> int:
        return self.at_ms

    def pass_s(self, seconds: float) -> None:
        self.at_ms += round(seconds * 1000)


def empty_world(seed: str = "test") -> tuple[World, HandClock]:
    clock = HandClock()
    return World(clock=clock, seed=seed), clock


def call_of(
    product: str,
    api: str,
    *,
    region: str = REGION,
    path: dict[str, str] | None = None,
    body: Any = None,
    **params: Any,
) -> LocalCall:
    """A call as the core hands it over: values in Python's own types."""
    style = "ROA" if product in ("cs", "rocketmq") else "RPC"
    described = Api(Product(product, "", style, ""), api, "POST", "", {})  # type: ignore[arg-type]  # a literal of two
    return LocalCall(
        described, region, params, path or {}, body, "6A9A2C5E-0000", account="1234567890123456"
    )


def asked(product: str, api: str, world: World, **given: Any) -> dict[str, Any]:
    """The answer's document, held against its shape. Keywords are ``call_of``'s."""
    load_product(product)
    answer = ANSWERERS[product, api](call_of(product, api, **given), world)
    problems = shape_problems(product, api, answer)
    assert not problems, f"{product} {api}: " + "; ".join(problems)
    assert json.loads(json.dumps(answer)) == answer
    json.dumps([t.data for things in world.things.values() for t in things.values()])
    return answer


def refused(product: str, api: str, world: World, **given: Any) -> ApiError:
    """The refusal; an answer that does not refuse fails the test."""
    with pytest.raises(ApiError) as raised:
        asked(product, api, world, **given)
    error = raised.value
    assert 400 <= error.status < 600
    assert error.code
    assert error.message
    return error


def shape_problems(product: str, api: str, answer: Any) -> list[str]:
    """What in ``answer`` the vendor's response shape does not have: unknown fields, wrong types; empty where none is known."""
    shape = _shape(product, api)
    if shape is None:
        return []
    return _differences(answer, shape, "")


@cache
def _shape(product: str, api: str) -> dict[str, Any] | None:
    file = SCHEMAS / product / f"{api}.json"
    if not file.is_file():
        return None
    body = json.loads(file.read_text())["response_body"]
    if body is None:
        return None
    if isinstance(body.get("type"), str):  # a document that is no object, such as a JSON array
        return dict(body)
    return {"type": "object", "properties": body}


def _differences(value: Any, shape: dict[str, Any], where: str) -> list[str]:
    kind = shape.get("type", "any")
    allowed = _PYTHON_TYPES.get(kind)
    if value is None or allowed is None:
        return []
    if not isinstance(value, allowed) or (
        isinstance(value, bool) and kind in ("integer", "number")
    ):
        return [f"{where or 'the answer'} is {type(value).__name__} {value!r:.60}, not {kind}"]
    if isinstance(value, dict) and shape.get("properties"):
        known = shape["properties"]
        return [
            problem
            for name, inner in value.items()
            for problem in (
                _differences(inner, known[name], f"{where}.{name}".lstrip("."))
                if name in known
                else [f"{where}.{name}".lstrip(".") + " is not a field of the answer"]
            )
        ]
    if isinstance(value, list) and shape.get("items"):
        return [
            problem
            for index, inner in enumerate(value)
            for problem in _differences(inner, shape["items"], f"{where}[{index}]")
        ]
    return []
