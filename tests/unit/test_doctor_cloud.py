"""What doctor says of the cloud, for each thing the cloud may answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from saleops.domain.cloud.calls import Answer, Call
from saleops.errors import CloudError
from saleops.operations.doctor import OK, PROBLEM, WARNING, Check
from saleops.operations.doctor_cloud import READS, Signed, check_clock, check_cloud
from saleops.ports.cloud import CloudClock
from saleops.ports.cloud_doors import Knock

SIGNED = Signed("environment variables", "LTAI****wxyz", "flag")
WHO = {"Arn": "acs:ram::1234567890123456:user/ann", "IdentityType": "RAMUser"}
GRANTED = {"roles": [{"name": "AliyunCSDefaultRole", "granted": True}]}
NOW_MS = 1_800_000_000_000


@dataclass
class NoWait:
    def now_ms(self) -> int:
        return NOW_MS

    def sleep(self, seconds: float) -> None:
        pass


@dataclass
class AnswersAs:
    told: Mapping[str, Answer | CloudError] = field(default_factory=dict)
    sent: list[Call] = field(default_factory=list)
    region: str = "ap-southeast-1"
    name: str = "a script"

    @property
    def clock(self) -> CloudClock:
        return NoWait()

    def send(self, call: Call, *, token: str = "") -> Answer:
        self.sent.append(call)
        usual: dict[str, Any] = {"GetCallerIdentity": WHO, "CheckServiceRole": GRANTED}
        answer = self.told.get(call.api, usual.get(call.api, {}))
        if isinstance(answer, CloudError):
            raise answer
        return answer


def well(products: Sequence[str]) -> dict[str, Knock]:
    return {code: Knock(f"{code}.host", 40.0, NOW_MS, NOW_MS) for code in products}


def checks(
    cloud: AnswersAs,
    knock: Callable[[Sequence[str]], Mapping[str, Knock]] = well,
    signed: Signed = SIGNED,
    **environment: str,
) -> dict[str, Check]:
    found = check_cloud(
        cloud,
        signed=signed,
        products=tuple(READS),
        knock=knock,
        environment=environment,
        random=Random(1),
    )
    return {one.name: one for one in found}


def denied(action: str) -> CloudError:
    return CloudError("refused", kind="denied", hint=f"Grant the RAM action {action}.")


def test_all_well_is_a_line_each() -> None:
    found = checks(AnswersAs())

    assert {one.status for one in found.values()} == {OK}
    assert found["cloud identity"].found == (
        "acs:ram::1234****:user/ann, key LTAI****wxyz from environment variables,"
        " region ap-southeast-1 by flag"
    )
    assert found["cloud rights"].found == f"may read {', '.join(READS)}"


def test_it_only_reads() -> None:
    from saleops.cloudapi import api_of

    cloud = AnswersAs()
    checks(cloud)

    assert [call for call in cloud.sent if not api_of(call.product, call.api).reads] == []


def test_a_missing_right_names_its_action() -> None:
    found = checks(AnswersAs({"DescribeDBClusters": denied("polardb:DescribeDBClusters")}))

    check = found["cloud polardb rights"]
    assert check.status == PROBLEM
    assert "polardb:DescribeDBClusters" in check.fix
    assert "polardb" not in found["cloud rights"].found


def test_a_key_that_nobody_knows_ends_the_questions() -> None:
    cloud = AnswersAs({"GetCallerIdentity": denied("x")})

    found = checks(cloud)

    assert found["cloud identity"].status == PROBLEM
    assert [call.api for call in cloud.sent] == ["GetCallerIdentity"]


def test_the_accounts_own_key_is_a_warning() -> None:
    found = checks(AnswersAs({"GetCallerIdentity": {**WHO, "IdentityType": "Account"}}))

    assert found["cloud identity"].status == WARNING
    assert "provision policy" in found["cloud identity"].fix


def test_an_endpoint_that_is_not_reached_is_named_and_not_asked() -> None:
    def knock(products: Sequence[str]) -> dict[str, Knock]:
        return {**well(products), "dcdn": Knock("dcdn.host", problem="no answer within 5 s")}

    cloud = AnswersAs()
    found = checks(cloud, knock)

    assert (found["cloud dcdn"].status, found["cloud dcdn"].cause) == (
        PROBLEM,
        "no answer within 5 s",
    )
    assert "dcdn" not in {call.product for call in cloud.sent}


def test_a_slow_endpoint_is_a_warning() -> None:
    found = checks(
        AnswersAs(), lambda products: {**well(products), "ecs": Knock("e", 1_500.0, NOW_MS, NOW_MS)}
    )

    assert found["cloud ecs"].status == WARNING


@pytest.mark.parametrize(
    ("skew_ms", "status"), [(0, OK), (30_000, OK), (-61_000, WARNING), (901_000, PROBLEM)]
)
def test_the_clock_is_held_against_the_answers(skew_ms: int, status: str) -> None:
    (check,) = check_clock({"vpc": Knock("h", 40.0, NOW_MS + skew_ms + 500, NOW_MS)})

    assert check.status == status


@pytest.mark.parametrize(
    ("roles", "status"),
    [
        ([{"name": "AliyunCSDefaultRole", "granted": False}], PROBLEM),
        ([{"name": "AliyunCSManagedAutoScalerRole", "granted": False}], WARNING),
    ],
    ids=["default", "autoscaler"],
)
def test_a_service_role_that_is_not_granted_is_named(
    roles: list[dict[str, object]], status: str
) -> None:
    check = checks(AnswersAs({"CheckServiceRole": {"roles": roles}}))["cloud ACK roles"]

    assert check.status == status
    assert str(roles[0]["name"]) in check.found


def test_another_tools_key_is_told_before_it_surprises() -> None:
    other = checks(AnswersAs(), ALICLOUD_ACCESS_KEY="LTAIotherotherother")
    same = checks(AnswersAs(), ALICLOUD_ACCESS_KEY="LTAIabcdefghwxyz")

    assert "Terraform" in other["cloud keys"].cause
    assert "cloud keys" not in same
