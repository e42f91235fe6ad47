"""The whole example, killed at every one of its writes: a chain of runs in one process, so that all groups can afford it.

The local cloud answers in-process, through signatures, checks and tokens; the journal is a file, as in a real run. A kill is an
exception that nothing but a process's end would survive, thrown before a write leaves or after the cloud has acted.
"""

from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from local_cloud import REGION, AnswerLost, CloudRefusal, InProcessCloud, local_cloud
from saleops.adapters.file_cloud_journal import open_cloud_journal
from saleops.cloudapi import api_of
from saleops.config.profile import load_profile
from saleops.config.sale import load_sale
from saleops.domain.cloud.calls import Answer, Call
from saleops.domain.cloud.resources import Resource
from saleops.errors import CloudError
from saleops.operations.provision.applying import apply_provision
from saleops.operations.provision.blueprint import blueprint
from saleops.operations.provision.courier import Courier
from saleops.operations.provision.planning import plan_provision
from saleops.operations.provision.report import ProvisionReport
from saleops.operations.provision.survey import survey

EXAMPLE = Path(__file__).parents[2] / "examples" / "midnight-drop"
RUNS_MAX = 90


class Killed(BaseException):
    """The process is gone."""


class Clock:
    def __init__(self, cloud: InProcessCloud) -> None:
        self._cloud = cloud

    def now_ms(self) -> int:
        return self._cloud.time.now_ms()

    def sleep(self, seconds: float) -> None:
        self._cloud.advance(seconds)


class Wire:
    """The port over the in-process cloud. It dies at the write numbered ``at`` (1 is the first), never for 0."""

    name = "the local cloud"
    region = REGION

    def __init__(self, cloud: InProcessCloud, *, at: int, phase: str) -> None:
        self.clock = Clock(cloud)
        self._cloud, self._at, self._phase = cloud, at, phase
        self._writes = 0

    def send(self, call: Call, *, token: str = "") -> Answer:
        api = api_of(call.product, call.api)
        mine = False
        if not api.reads:
            self._writes += 1
            mine = self._writes == self._at
        if mine and self._phase == "before":
            raise Killed
        answer = self._answer(call, token, api.token)
        if mine:
            raise Killed
        return answer

    def _answer(self, call: Call, token: str, field: str) -> Answer:
        params = {"RegionId": REGION} if "RegionId" in api_of(call.product, call.api).params else {}
        params |= {name: value for name, value in call.params.items() if value is not None}
        body = call.body
        if token and field.startswith("body."):
            body = {**body, field.removeprefix("body."): token}
        elif token and field:
            params[field] = token
        try:
            answer = self._cloud.call(
                call.product, call.api, params=params, path=call.path, body=body
            )
        except AnswerLost as error:
            raise CloudError(str(error), kind="unknown") from error
        except CloudRefusal as error:
            missing = error.status == 404 or "NotFound" in error.code or "NotExist" in error.code
            busy = any(word in error.code for word in ("Conflict", "Status", "Processing", "Busy"))
            kind = "missing" if missing else "busy" if busy else "failed"
            raise CloudError(str(error), kind=kind, code=error.code, status=error.status) from error
        found: Answer = answer if isinstance(answer, dict) else {"items": answer}
        return found


def resources() -> tuple[Resource, ...]:
    sale = load_sale(EXAMPLE / "sale.yaml")
    profile = load_profile(EXAMPLE / "profile.yaml")
    return blueprint(sale, profile, password=lambda: "Sale-Day-2026").resources


def provisioned(
    cloud: InProcessCloud, file: Path, *, at: int = 0, phase: str = "after"
) -> ProvisionReport:
    parts = resources()
    own = frozenset(one.key for one in parts)
    wire = Wire(cloud, at=at, phase=phase)
    with open_cloud_journal(file, mended=pytest.fail) as journal:
        courier = Courier(wire, journal, random=Random(1))
        courier.settle()
        seen = survey(parts, courier.read)
        plan = plan_provision(
            parts, own, seen, journal.history, sale="midnight-drop", cloud=wire.name, region=REGION
        )
        return apply_provision(plan, parts, seen, courier)


def world_of(cloud: InProcessCloud) -> Mapping[str, int]:
    """How many things of each kind there are, but for the records of what went on."""
    things: Mapping[str, Mapping[str, Any]] = cloud.world.things
    return {
        kind: sum(1 for _ in cloud.world.each(kind))
        for kind in things
        if not kind.endswith(("task", "activity", "event", "job"))
    }


@pytest.mark.parametrize("phase", ["before", "after"])
def test_killed_at_every_write_of_the_whole_example_nothing_is_there_twice(
    tmp_path: Path, phase: str
) -> None:
    undisturbed = local_cloud()
    provisioned(undisturbed, tmp_path / "undisturbed.jsonl")
    cloud = local_cloud()
    # "before": its first write never leaves, so the first of the next run is the same one; it dies at the second.
    at = 1 if phase == "after" else 2
    kills = 0
    while kills < RUNS_MAX:
        try:
            report = provisioned(cloud, tmp_path / "killed.jsonl", at=at, phase=phase)
            break
        except Killed:
            kills += 1

    assert kills >= 44  # all writes but the last, and without one that was never sent
    assert report.of("failed", "blocked", "left alone", "replace needed") == []
    assert world_of(cloud) == world_of(undisturbed)
    again = provisioned(cloud, tmp_path / "killed.jsonl")
    assert again.calls.writes == 0
    assert {step.result for step in again.steps} == {"no change"}
