"""``wiring.open_cloud`` against the local cloud as a process: signatures, time, doctor."""

import json
from pathlib import Path

import pytest

from saleops import wiring
from saleops.cli.main import main
from saleops.domain.cloud.calls import Call
from saleops.errors import CloudError, ConfigError

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def _no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACCESS_KEY_ID", "ACCESS_KEY_SECRET", "PROFILE", "REGION_ID"):
        monkeypatch.delenv(f"ALIBABA_CLOUD_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # a dead port: loopback goes past it


def test_the_local_cloud_takes_what_we_sign_and_keeps_what_we_make(tmp_path: Path) -> None:
    with wiring.open_cloud(endpoint="local", state_dir=tmp_path / "s") as cloud:
        made = cloud.send(
            Call("vpc", "CreateVpc", {"RegionId": cloud.region, "CidrBlock": "10.0.0.0/16"}),
            token="tok",
        )
        again = cloud.send(
            Call("vpc", "CreateVpc", {"RegionId": cloud.region, "CidrBlock": "10.0.0.0/16"}),
            token="tok",
        )

        assert made["VpcId"] == again["VpcId"], "the same token makes no second one"
        assert cloud.name.startswith("the local cloud at http://127.0.0.1:")

    with wiring.open_cloud(endpoint="local", state_dir=tmp_path / "s") as cloud:
        cloud.clock.sleep(10)  # lists lag behind
        listed = cloud.send(
            Call("vpc", "DescribeVpcs", {"RegionId": cloud.region, "VpcId": made["VpcId"]})
        )

    assert [one["VpcId"] for one in listed["Vpcs"]["Vpc"]] == [made["VpcId"]]


def test_an_hour_of_the_local_cloud_takes_no_time(tmp_path: Path) -> None:
    with wiring.open_cloud(endpoint="local", state_dir=tmp_path / "s") as cloud:
        before_ms = cloud.clock.now_ms()
        cloud.clock.sleep(3_600)

        assert 3_600_000 <= cloud.clock.now_ms() - before_ms < 3_660_000


def test_a_refusal_of_the_local_cloud_is_ours(tmp_path: Path) -> None:
    with wiring.open_cloud(endpoint="local", state_dir=tmp_path / "s") as cloud:
        with pytest.raises(CloudError) as caught:
            cloud.send(Call("cs", "DescribeClusterDetail", path={"ClusterId": "c" + "0" * 32}))

        assert caught.value.kind == "missing"
        assert caught.value.request_id


def test_without_an_account_nothing_is_opened(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="no Alibaba Cloud credentials"),
        wiring.open_cloud(region="ap-southeast-1", state_dir=tmp_path / "s"),
    ):
        raise AssertionError("it opened")


@pytest.mark.parametrize(
    "endpoint",
    ["ftp://127.0.0.1", "http://10.1.2.3:80", "http://", "https://a b", "https://h/path"],
)
def test_an_address_that_can_be_no_cloud_is_refused(endpoint: str, tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="no address of a cloud"),
        wiring.open_cloud(endpoint=endpoint, region="ap-southeast-1", state_dir=tmp_path / "s"),
    ):
        raise AssertionError("it opened")


def test_doctor_looks_at_the_local_cloud(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["doctor", "--endpoint-cloud", "local", "--state-dir", str(tmp_path / "s"), "-o", "json"])

    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)["checks"]}
    assert found["cloud identity"]["status"] == "ok"
    assert found["cloud endpoints"]["status"] == "ok"
    assert "vpc" in found["cloud rights"]["found"]
    assert found["cloud ACK roles"]["status"] == "ok"


def test_doctor_without_credentials_says_so_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["doctor", "--state-dir", str(tmp_path / "s"), "-o", "json"])

    found = [one for one in json.loads(capsys.readouterr().out)["checks"] if "cloud" in one["name"]]
    assert [(one["name"], one["status"]) for one in found if "package" not in one["name"]] == [
        ("cloud", "skipped")
    ]


def test_the_url_of_the_local_cloud_that_runs_here_needs_no_account(tmp_path: Path) -> None:
    with (
        wiring.open_local_cloud(tmp_path / "s") as local,
        wiring.open_cloud(endpoint=local.url, state_dir=tmp_path / "s") as cloud,
    ):
        assert cloud.send(Call("sts", "GetCallerIdentity"))["AccountId"]
        assert cloud.clock.now_ms() > 0


def test_a_third_of_throttled_calls_still_gets_every_answer(tmp_path: Path) -> None:
    from random import Random

    from saleops.operations.provision.sending import send

    with (
        wiring.open_local_cloud(tmp_path / "s") as local,
        wiring.open_cloud(endpoint=local.url, state_dir=tmp_path / "s") as cloud,
    ):
        local.control.call("PUT", "faults", {"throttle": 0.3, "fail": 0.1, "seed": 7})
        call = Call("vpc", "DescribeVpcs", {"RegionId": cloud.region})
        sent = [send(cloud, call, random=Random(number)) for number in range(40)]

    assert sum(one.retries_count for one in sent) > 8
    assert all(one.request_id for one in sent)
