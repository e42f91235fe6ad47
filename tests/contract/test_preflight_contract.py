"""Every call of the preflight, held against our tables and the vendor's own metadata."""

import json
from pathlib import Path
from typing import Any

import pytest

from local_cloud import CloudRefusal, local_cloud
from saleops.cloudapi import api_of
from saleops.cloudapi.checks import problems
from saleops.config.profile import load_profile
from saleops.config.sale import load_sale
from saleops.domain.cloud.calls import Answer, Call
from saleops.domain.cloud.resources import GROUPS
from saleops.errors import CloudError
from saleops.operations.provision.blueprint import blueprint
from saleops.operations.provision.policy import EDGE, PREFLIGHT
from saleops.operations.provision.preflight import preflight
from saleops.operations.provision.survey import Survey

ROOT = Path(__file__).parents[2]
CONTRACTS = ROOT.parent / "shared" / "contracts" / "alibaba"
EXAMPLE = ROOT / "examples" / "midnight-drop"


def calls() -> list[Call]:
    """What a preflight with every wish asks an empty cloud."""
    cloud = local_cloud()
    sent: list[Call] = []

    def read(call: Call) -> Answer:
        sent.append(call)
        try:
            answer = cloud.call(
                call.product, call.api, params=call.params, path=call.path, body=call.body
            )
        except CloudRefusal as error:
            raise CloudError(str(error), kind="failed", code=error.code) from error
        return {"": answer} if isinstance(answer, list) else dict(answer)

    sale, profile = load_sale(EXAMPLE / "sale.yaml"), load_profile(EXAMPLE / "profile.yaml")
    wishes = profile.cluster.model_copy(update={"version": "1.33.3-aliyun.1", "log_days": 7})
    profile = profile.model_copy(update={"cluster": wishes})
    plan = blueprint(sale, profile, password=lambda: "Correct-horse-7")
    nothing = Survey(dict.fromkeys((one.key for one in plan.resources), None))
    report = preflight(
        sale,
        plan,
        read,
        cloud="x",
        groups=GROUPS,
        now_ms=cloud.world.now_ms(),
        seen=nothing,
    )
    assert report.verdict == "GO", report.against
    assert len(sent) == report.calls_count
    return sent


SENT = calls()
CASES = [pytest.param(call, id=f"{number}-{call.api}") for number, call in enumerate(SENT)]


@pytest.mark.parametrize("call", CASES)
def test_our_own_tables_take_every_call_and_it_only_reads(call: Call) -> None:
    api = api_of(call.product, call.api)

    assert api.reads
    assert problems(api, params=call.params, path=call.path, body=call.body) == []


@pytest.mark.skipif(not CONTRACTS.is_dir(), reason="the vendor's metadata is not here")
@pytest.mark.parametrize("call", CASES)
def test_the_vendors_own_metadata_takes_every_call(call: Call) -> None:
    meta = json.loads((CONTRACTS / call.product / f"{call.api}.json").read_text())
    schema = json.loads((CONTRACTS / "_schemas" / call.product / f"{call.api}.json").read_text())
    request: dict[str, Any] = schema["request"]
    listed = {one["name"]: one for one in meta["parameters"]}
    given = {**call.params, **(call.body or {})}

    assert [name for name in given if name not in listed and name not in request] == []
    required = [name for name, one in listed.items() if one.get("required")]
    required += [name for name, one in request.items() if one.get("required")]
    assert [name for name in required if name not in given and name != "body"] == []
    for name, value in given.items():
        words = request.get(name, {}).get("documented_values")
        if words and isinstance(value, str):
            assert value in words, name
        if words and isinstance(value, list):
            assert {one for one in value if isinstance(one, str)} <= set(words), name


def test_the_policy_allows_exactly_what_is_asked() -> None:
    listed = set()
    for lines in (*PREFLIGHT.values(), *EDGE.values()):
        for line in lines:
            product, *names = line.split()
            listed |= {(product, name) for name in names}
    edge = {pair for pair in listed if pair[0] == "dcdn"}

    asked = {(call.product, call.api) for call in SENT}

    assert asked - listed == set()
    assert listed - edge - asked == set()
