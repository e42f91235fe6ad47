"""What somebody changes in the local cloud by hand: bounded, of the type that was there, and undone where it cannot be saved."""

import errno
from pathlib import Path
from typing import Any

import pytest

from local_cloud import CloudRefusal, local_cloud
from saleops.config.local_cloud import CloudSettings
from saleops.services.cloud.app import open_cloud
from saleops.services.cloud.saving import WorldFile
from saleops.services.cloud.setting_checks import settings_problems
from saleops.services.cloud.wire import WireRequest

DATA: dict[str, Any] = {
    "name": "core",
    "zone_ids": ["a", "b"],
    "tags": {"team": "shop"},
    "size": {"desired": 3, "enabled": True},
    "note": None,
}


def refusal(path: Any, value: Any) -> CloudRefusal:
    cloud = local_cloud()
    thing = cloud.world.create("pool", "np-1", dict(DATA))
    with pytest.raises(CloudRefusal) as refused:
        cloud.control("POST", "edit", {"id": "np-1", "path": path, "value": value})
    assert thing.data == DATA
    return refused.value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a." * 3000 + "b", 1),
        ("a." * 20 + "b", 1),
        ("zone_ids." + "9" * 5000, "a"),
        ("zone_ids.2", "a"),
        ("zone_ids.-1", "a"),
        ("zone_ids", ""),
        ("zone_ids", 12),
        ("zone_ids", [1]),
        ("zone_ids", None),
        ("name", {"a": 1}),
        ("name", "x" * 100_000),
        ("size.desired", True),
        ("size", {}),
        ("size", {"desired": "many", "enabled": True}),
        ("tags", {"team": 1}),
        ("name.below", 1),
        ("note", [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]),
        ("note", 10**40),
    ],
    ids=[f"case-{number}" for number in range(18)],
)
def test_an_edit_that_answers_could_not_live_with_is_refused(path: str, value: Any) -> None:
    assert refusal(path, value).status == 400


def test_a_path_that_is_not_there_hears_what_was_meant() -> None:
    assert "did you mean 'zone_ids'" in refusal("zone_id", "a").message
    assert "did you mean 'desired'" in refusal("size.desird", 1).message


@pytest.mark.parametrize(
    ("path", "value"),
    [("tags", {}), ("tags", {"team": "x", "new": "y"}), ("zone_ids", []), ("note", 5), ("size.desired", 1.5)],
)  # fmt: skip
def test_an_edit_of_the_same_type_is_taken(path: str, value: Any) -> None:
    cloud = local_cloud()
    cloud.world.create("pool", "np-1", dict(DATA))

    shown = cloud.control("POST", "edit", {"id": "np-1", "path": path, "value": value})

    assert shown["id"] == "np-1"


@pytest.mark.parametrize(
    "bad",
    [
        {"stock": "none"},
        {"quotas": {"vpc.eips": "2"}},
        {"dcdn": []},
        {"dcdn": {"preload_fails": 3}},
        {"quota_review": {"verdict": "Maybe"}},
        {"metrics": {"a/b": {"i-1": "x"}}},
        {"missing_roles": "all"},
        {"mse": {"apps": {}}},
        {"rocketmq": {"lag": {"g": 5}}},
        {"load": {"r-1": 5}},
    ],
    ids=lambda bad: next(iter(bad)) + "-" + str(len(str(bad))),
)
def test_settings_that_would_break_an_answer_are_refused_by_name(bad: dict[str, Any]) -> None:
    cloud = local_cloud()

    with pytest.raises(CloudRefusal) as refused:
        cloud.control("PUT", "settings", bad)

    assert refused.value.status == 400
    assert next(iter(bad)) in refused.value.message
    assert cloud.world.settings == {}


def test_settings_that_the_documentation_names_are_taken() -> None:
    assert not settings_problems(
        {
            "stock": {"spot:ecs.c7.xlarge": 0},
            "vswitch_ips": {"vsw-1": 0},
            "conflict_share": 0.5,
            "quota_review": {"seconds": 172800, "verdict": "Agree", "reason": "..."},
            "metrics": {"a/b": 71.5, "c/d": {"i-1": 88}},
            "dcdn": {"preload_fails": {"/p/7": "503"}, "preload_slow_s": {"/p/9": 7200}},
        }
    )


def test_a_change_that_the_disk_refuses_is_undone_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = open_cloud(CloudSettings(folder=str(tmp_path)))
    cloud.world.create("pool", "np-1", dict(DATA))
    cloud.save_if_changed()
    head = {"host": "127.0.0.1:1", "authorization": f"Bearer {cloud.key.secret}"}
    body = b'{"id": "np-1", "path": "name", "value": "other"}'

    def full(*args: Any, **more: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("saleops.services.cloud.saving.os.open", full)
        refused = cloud.handle(WireRequest("POST", "/_local/edit", "", head, body))

    assert refused.status == 507
    assert "No space left on device" in refused.document()["message"]
    assert str(tmp_path) in refused.document()["message"]
    thing = cloud.world.find("pool", "np-1")
    assert thing is not None
    assert thing.data["name"] == "core"
    assert cloud.handle(WireRequest("GET", "/_local/state", "", head, b"")).status == 200


def test_what_cannot_be_written_does_not_wedge_later_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = open_cloud(CloudSettings(folder=str(tmp_path)))
    head = {"host": "127.0.0.1:1", "authorization": f"Bearer {cloud.key.secret}"}

    def too_deep(*args: Any, **more: Any) -> Any:
        raise RecursionError("too deep")

    with monkeypatch.context() as saving:
        saving.setattr(WorldFile, "save", too_deep)
        refused = cloud.handle(
            WireRequest("PUT", "/_local/settings", "", head, b'{"stock": {"a": 1}}')
        )

    assert refused.status == 500
    assert cloud.world.settings == {}
    assert cloud.handle(WireRequest("GET", "/_local/state", "", head, b"")).status == 200
