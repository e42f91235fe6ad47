"""The local cloud's world on disk."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local_cloud import local_cloud, trust_of
from saleops.config.local_cloud import CloudSettings
from saleops.errors import ConfigError, UpstreamError
from saleops.services.cloud.app import open_cloud
from saleops.services.cloud.call_log import CallLog, masked
from saleops.services.cloud.cloud_time import CloudTime
from saleops.services.cloud.core import LocalCloud
from saleops.services.cloud.saving import WorldFile


def opened(folder: Path, **more: Any) -> LocalCloud:
    return open_cloud(CloudSettings(folder=str(folder), **more))


def test_a_world_is_there_again_after_a_restart(tmp_path: Path) -> None:
    cloud = opened(tmp_path)
    world = cloud.world
    thing = world.create(
        "vpc", world.new_id("vpc-"), {"Tags": [{"Key": "ü"}]}, [("Pending", 30), ("Available", 0)]
    )
    gone = world.create("vpc", world.new_id("vpc-"), {})
    world.remove(gone)
    world.settings["stock"] = {"ecs.c7.xlarge": 3}
    cloud.save_if_changed()

    again = opened(tmp_path)

    found = again.world.find("vpc", thing.id)
    assert found == thing
    assert again.world.state(found) == "Pending"
    assert again.world.find("vpc", gone.id) is None
    assert again.world.settings == world.settings
    assert again.world.now_ms() == world.now_ms()
    assert again.key == cloud.key
    assert again.world.new_id("vpc-") == world.new_id("vpc-")


def test_files_are_for_their_owners_eyes(tmp_path: Path) -> None:
    opened(tmp_path)

    modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()}

    assert modes == {"world.json": 0o600, "key.json": 0o600}


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"format":"other"}', b"half"],
)
def test_a_damaged_world_is_an_error_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    opened(tmp_path)
    file = tmp_path / "world.json"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if content == b"half" else content)

    with pytest.raises(ConfigError) as error:
        opened(tmp_path)

    assert str(file) in error.value.message
    assert "--reset" in str(error.value.hint)


def test_a_reset_keeps_what_was_there_under_another_name(tmp_path: Path) -> None:
    opened(tmp_path)
    (tmp_path / "world.json").write_bytes(b"damaged")

    opened(tmp_path, reset=True)

    assert (tmp_path / "world.json.before-reset").read_bytes() == b"damaged"
    assert json.loads((tmp_path / "world.json").read_bytes())["things"] == []


def test_a_damaged_key_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    opened(tmp_path)
    (tmp_path / "key.json").write_text("{")

    with pytest.raises(ConfigError, match=r"key\.json"):
        opened(tmp_path)


def test_an_answer_is_no_success_when_its_change_cannot_be_saved() -> None:
    cloud = local_cloud()
    trust = trust_of(cloud.world.account)

    def refuse(core: LocalCloud) -> None:
        raise UpstreamError("the disk is full")

    cloud.core._save = refuse
    params = {"RoleName": "saleops-x", "AssumeRolePolicyDocument": trust}
    request = cloud.request("ram", "CreateRole", params=params)

    assert cloud.core.handle(request).status == 507


def test_reading_saves_nothing() -> None:
    cloud = local_cloud()
    saved: list[int] = []
    save: Callable[[LocalCloud], None] = lambda core: saved.append(1)  # noqa: E731
    cloud.core._save = save

    cloud.call("sts", "GetCallerIdentity")

    assert saved == []


def test_what_is_long_gone_leaves_the_file(tmp_path: Path) -> None:
    cloud = local_cloud()
    thing = cloud.world.create("vpc", "vpc-1", {})
    cloud.world.remove(thing)
    cloud.core.save_if_changed()
    there = "vpc-1" in cloud.world.things["vpc"]
    cloud.advance(25 * 3600)
    cloud.core.mark_changed()
    cloud.core.save_if_changed()

    assert there
    assert cloud.world.things["vpc"] == {}


def test_a_draft_of_a_killed_process_is_no_world(tmp_path: Path) -> None:
    opened(tmp_path)
    (tmp_path / "world.json.new").write_bytes(b'{"format":"saleops/lo')

    assert WorldFile(tmp_path / "world.json").load() is not None


def test_real_time_goes_on_from_a_world_that_lived_ahead() -> None:
    ticks = [0.0]
    time = CloudTime(1_000_000, mode="real", speed=60, monotonic_ms=lambda: ticks[0])
    ticks[0] = 1_000.0

    assert time.now_ms() == 1_060_000
    assert time.advance(5) == 1_065_000


def test_virtual_time_stands_still_until_it_is_advanced() -> None:
    ticks = [0.0]
    time = CloudTime(7, monotonic_ms=lambda: ticks[0])
    ticks[0] = 9e9

    assert time.now_ms() == 7
    assert time.advance(0.25) == 257


def test_a_full_call_log_starts_anew_and_keeps_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "calls.jsonl"
    log = CallLog(file, file_max=300)
    for number in range(20):
        log.add({"api": f"Api{number}"})
    log.close()

    lines = file.read_text().splitlines() + (tmp_path / "calls.jsonl.1").read_text().splitlines()

    assert file.stat().st_size <= 300
    assert json.loads(file.read_text().splitlines()[-1]) == {"n": 20, "api": "Api19"}
    assert all(json.loads(line) for line in lines)


def test_endless_and_bottomless_values_are_cut_for_the_log() -> None:
    deep: Any = "x"
    for _ in range(50):
        deep = {"a": deep}

    shown = masked({"long": "x" * 9_999, "deep": deep, "many": list(range(500)), "Password": "p"})

    assert len(json.dumps(shown)) < 2_000
    assert shown["Password"] == "***"
