"""The cloud's part of a rehearsal: all of it runs and nothing is left; what does not come up is named and decides."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from provision_cloud import cloud_on
from saleops.adapters.memory_cloud_journal import MemoryCloudJournal
from saleops.config.profile import load_profile
from saleops.config.sale import load_sale
from saleops.domain.verdict import verdict_of
from saleops.errors import Refused
from saleops.operations.provision.blueprint import blueprint
from saleops.operations.rehearse_cloud import CloudFigures, CloudRehearsal, Practice, cloud_checks
from saleops.wiring import open_cloud

EXAMPLE = Path(__file__).parents[2] / "examples" / "midnight-drop"
SALE = load_sale(EXAMPLE / "sale.yaml")
PROFILE = load_profile(EXAMPLE / "profile.yaml")

pytestmark = pytest.mark.timeout(90)


def rehearsed(folder: Path, settings: dict[str, Any]) -> CloudFigures:
    """A day on a cloud with ``settings``."""

    @contextmanager
    def opened() -> Iterator[Practice]:
        plan = blueprint(SALE, PROFILE, password=lambda: "Correct-horse-7")
        with open_cloud(file_region=SALE.region, endpoint="local", state_dir=folder) as cloud:
            yield Practice(SALE, cloud, MemoryCloudJournal(), plan)

    async def day() -> CloudFigures:
        cloud = CloudRehearsal(opened, seed=1)
        try:
            cloud.begin()
            await cloud.made()
            return await cloud.destroy()
        finally:
            await cloud.close()

    with cloud_on(folder) as local:
        local.control.call("PUT", "settings", settings)
        figures = asyncio.run(day())
        left = local.control.call("GET", "state/vpc")
        assert not figures.left or left
    return figures


def test_everything_runs_and_nothing_is_left(tmp_path: Path) -> None:
    figures = rehearsed(tmp_path / "state", {})

    assert figures.ready == figures.resources == 46
    assert (figures.failed, figures.left, figures.second_plan_writes) == ([], [], 0)
    assert figures.cloud_s > 300
    assert all(one.ok for one in cloud_checks(figures))


def test_what_does_not_come_up_is_named_and_makes_it_a_no_go_and_is_taken_away_all_the_same(
    tmp_path: Path,
) -> None:
    figures = rehearsed(tmp_path / "state", {"quotas": {"vpc.eips": 0}})

    checks = {one.name: one for one in cloud_checks(figures)}
    assert verdict_of([*checks.values()]) == "NO-GO"
    assert "EIP" in checks["the cloud is provisioned"].value
    assert checks["nothing is left of it"].ok
    account = checks["the preflight of the practice account"]
    assert not account.ok
    assert not account.decides
    assert "1 wanted, 0 free, 1 missing" in account.value


def test_a_cloud_that_cannot_be_opened_stops_the_rehearsal_and_leaves_nothing_open() -> None:
    @contextmanager
    def opened() -> Iterator[Practice]:
        raise Refused("somebody has it")
        yield

    async def day() -> None:
        cloud = CloudRehearsal(opened, seed=1)
        cloud.begin()
        try:
            await cloud.made()
        finally:
            await cloud.close()

    with pytest.raises(Refused, match="somebody has it"):
        asyncio.run(day())
