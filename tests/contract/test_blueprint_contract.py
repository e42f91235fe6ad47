"""Every call of every resource, held against the vendor's own metadata: no unknown field, none missing, none of a wrong type."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from saleops.cloudapi import api_of
from saleops.cloudapi.checks import problems
from saleops.config.profile import load_profile
from saleops.config.sale import load_sale
from saleops.domain.cloud.calls import Answer, Call
from saleops.domain.cloud.resources import Condition, Found, Resource
from saleops.errors import CloudError
from saleops.operations.provision.blueprint import blueprint

ROOT = Path(__file__).parents[2]
CONTRACTS = ROOT.parent / "shared" / "contracts" / "alibaba"
EXAMPLE = ROOT / "examples" / "midnight-drop"
PASSWORD = "Correct-horse-7"  # of nothing
PYTHON = {"string": str, "integer": int, "boolean": bool, "number": (int, float), "array": list}


def known(key: str, output: str = "id") -> str:
    return f"{key.replace('/', '-')}-{output}"


PLAN = blueprint(
    load_sale(EXAMPLE / "sale.yaml"),
    load_profile(EXAMPLE / "profile.yaml"),
    password=lambda: PASSWORD,
)


class Everything(dict[str, str]):
    """Outputs of a resource that was found: whatever is asked for is there."""

    def __missing__(self, key: str) -> str:
        return f"some-{key}"


def reads(resource: Resource) -> list[Call]:
    """The reading calls of ``resource``, where everything it asks about is missing, and where it is there."""
    seen = []
    for there in (False, True):
        look = resource.look(known)
        try:
            call = next(look)
            for _ in range(20):
                seen.append(call)
                missing = CloudError("not there", kind="missing")
                call = look.send(answer_to(resource, call)) if there else look.throw(missing)
        except (StopIteration, CloudError):
            look.close()
    return seen


def answer_to(resource: Resource, call: Call) -> Answer:
    """The least that a list may say so that ``look`` reads on."""
    row = {"name": resource.name, "cluster_id": "c-1", "state": "running"}
    row |= {"tags": [{"key": "saleops:sale", "value": "midnight-drop"}]}
    queue = {"instanceName": resource.name, "instanceId": "rmq-1", "status": "RUNNING"}
    queue |= {"tags": [{"key": "saleops:sale", "value": "midnight-drop"}]}
    return {
        "clusters": [row],
        "data": {"list": [queue]},
        "DomainDetail": {"DomainName": resource.name, "DomainStatus": "online"},
    }


def writes(resource: Resource) -> list[Call]:
    """Every call that may change something: creating, changing each field alone and all of them, deleting."""
    calls = [resource.create(known)]
    wanted = resource.desired(known)
    drifted = {name: _other(value) for name, value in wanted.items()}
    found = Found(Condition.READY, "x", Everything(readers="a,b", locked="1"), drifted)
    more = Found(Condition.READY, "x", Everything(readers="a,b,c"), {**drifted, "nodes": 9})
    for fields in (*([name] for name in wanted), list(wanted)):
        calls += resource.change(known, found, fields)
        calls += resource.change(known, more, fields)
    return [*calls, *resource.delete(known, found)]


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return max(0, value - 1)
    if isinstance(value, list):
        return ["ALL -1/-1 0.0.0.0/0"]
    return {} if isinstance(value, dict) else "another"


CASES = [
    pytest.param(call, id=f"{resource.key}-{number}-{call.api}")
    for resource in PLAN.resources
    for number, call in enumerate([*reads(resource), *writes(resource)])
]


@pytest.mark.parametrize("call", CASES)
def test_our_own_tables_take_every_call(call: Call) -> None:
    api = api_of(call.product, call.api)

    assert problems(api, params=call.params, path=call.path, body=call.body) == []


@pytest.mark.skipif(not CONTRACTS.is_dir(), reason="the vendor's metadata is not here")
@pytest.mark.parametrize("call", CASES)
def test_the_vendors_own_metadata_takes_every_call(call: Call) -> None:
    meta = json.loads((CONTRACTS / call.product / f"{call.api}.json").read_text())
    schema = json.loads((CONTRACTS / "_schemas" / call.product / f"{call.api}.json").read_text())
    request: Mapping[str, Any] = schema["request"]
    given = {name: value for name, value in call.params.items() if value is not None}
    positions = {one["name"]: one for one in meta["parameters"]}
    paths = {name for name, one in positions.items() if one["position"] == "Path"}

    assert set(call.path) == paths
    unknown = [
        name
        for name in given
        if name not in positions and name not in request and name != "RegionId"
    ]
    assert unknown == []
    body = call.body if isinstance(call.body, dict) else {}
    missing = [
        name
        for name, one in positions.items()
        if one.get("required") and one["position"] == "Query" and name not in given
    ]
    missing += [
        name
        for name, field in request.items()
        if field.get("required") and name not in {**given, **body, **call.path}
    ]
    assert missing == []
    assert _wrong_types({**given, **body}, request) == []


def _wrong_types(given: Mapping[str, Any], fields: Mapping[str, Any], at: str = "") -> list[str]:
    wrong = []
    for name, value in given.items():
        field = fields.get(name)
        if field is None:
            if at or name != "RegionId":
                wrong.append(f"{at}{name}: unknown")
            continue
        kind = field.get("type", "")
        if kind == "array":
            if not isinstance(value, list):
                wrong.append(f"{at}{name}: {value!r} is no list")
                continue
            inner = field.get("items", {})
            for one in value:
                if inner.get("type") == "object":
                    wrong += _wrong_types(one, inner["properties"], f"{at}{name}[].")
                elif not isinstance(one, PYTHON.get(inner.get("type"), object)):
                    wrong.append(f"{at}{name}[]: {one!r}")
        elif kind == "object":
            wrong += _wrong_types(value, field["properties"], f"{at}{name}.")
            wrong += [
                f"{at}{name}.{inner}: missing"
                for inner, one in field["properties"].items()
                if one.get("required") and inner not in value
            ]
        elif kind in PYTHON and (
            not isinstance(value, PYTHON[kind]) or (kind == "integer" and isinstance(value, bool))
        ):
            wrong.append(f"{at}{name}: {value!r} is no {kind}")
    return wrong
