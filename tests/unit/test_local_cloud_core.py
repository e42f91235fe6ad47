"""One request through the local cloud: routing, checks, envelopes, idempotency tokens, the call log."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from cloud_signing import signed_v3
from local_cloud import FORM, HOST, AnswerLost, CloudRefusal, InProcessCloud, local_cloud, trust_of
from saleops.services.cloud.answers import ANSWERERS, ApiError, LocalCall
from saleops.services.cloud.faults import FaultPlan
from saleops.services.cloud.hooks import HOOKS
from saleops.services.cloud.products import load_product
from saleops.services.cloud.wire import BODY_MAX, WireRequest
from saleops.services.cloud.world import World

Put = Callable[[str, str, Callable[[LocalCall, World], Any]], None]


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Put:
    """Put an answerer of ours in place of the product's."""

    def put(product: str, api: str, answerer: Callable[[LocalCall, World], Any]) -> None:
        load_product(product)
        monkeypatch.setitem(ANSWERERS, (product, api), answerer)

    return put


def counting(prefix: str = "vpc-") -> Callable[[LocalCall, World], Any]:
    def answerer(call: LocalCall, world: World) -> dict[str, Any]:
        return {"VpcId": world.create("thing", world.new_id(prefix), {}).id}

    return answerer


def refused(cloud: InProcessCloud, product: str, api: str, **more: Any) -> CloudRefusal:
    with pytest.raises(CloudRefusal) as error:
        cloud.call(product, api, **more)
    return error.value


def test_every_bad_field_is_named_at_once() -> None:
    error = refused(
        local_cloud(),
        "vpc",
        "CreateVSwitch",
        params={"VpcId": "vpc-1", "Colour": "red", "Tag": [{"Kye": "a"}]},
    )

    assert error.status == 400
    assert error.code == "MissingCidrBlock"
    for name in ("ZoneId", "CidrBlock", "Colour", "Tag[0].Kye"):
        assert name in error.message, error.message


def test_flattened_lists_reach_the_answerer_as_lists(put: Put) -> None:
    seen: list[LocalCall] = []
    put("vpc", "CreateVpc", lambda call, world: (seen.append(call), {"VpcId": "vpc-1"})[1])
    cloud = local_cloud()
    tags = [{"Key": f"k{n}", "Value": "v"} for n in range(12)]

    cloud.call("vpc", "CreateVpc", params={"RegionId": "cn-hangzhou", "Tag": tags, "DryRun": False})

    assert seen[0].params["Tag"] == tags
    assert seen[0].params["DryRun"] is False
    assert seen[0].region == "cn-hangzhou"


def test_query_and_form_are_one(put: Put) -> None:
    seen: list[LocalCall] = []
    put("quotas", "ListProductQuotas", lambda call, world: (seen.append(call), {"Quotas": []})[1])
    cloud = local_cloud()
    body = b"Dimensions.1.Key=regionId&Dimensions.1.Value=cn-hangzhou"
    query, headers = signed_v3(
        method="POST",
        path="/",
        query={"ProductCode": "ecs"},
        body=body,
        action="ListProductQuotas",
        version="2020-05-10",
        key_id=cloud.core.key.id,
        secret=cloud.core.key.secret,
        content_type=f"{FORM}; charset=utf-8",
    )

    response = cloud.core.handle(WireRequest("POST", "/", query, headers, body))

    assert response.status == 200, response.body
    assert dict(seen[0].params) == {
        "ProductCode": "ecs",
        "Dimensions": [{"Key": "regionId", "Value": "cn-hangzhou"}],
    }


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (WireRequest("GET", "/"), 400, "MissingAction"),
        (WireRequest("GET", "/", "Action=CreateVpc"), 400, "MissingVersion"),
        (WireRequest("GET", "/", "Action=CreateVpc&Version=1999-01-01"), 400, "InvalidVersion"),
        (WireRequest("GET", "/", "Action=Nope&Version=2016-04-28"), 404, "InvalidAction.NotFound"),
        (
            WireRequest("GET", "/", "Action=CreateCluster&Version=2015-12-15"),
            404,
            "InvalidAction.NotFound",
        ),
        (
            WireRequest("PUT", "/", "Action=CreateVpc&Version=2016-04-28"),
            405,
            "UnsupportedHTTPMethod",
        ),
        (WireRequest("GET", "/nowhere"), 404, "InvalidAction.NotFound"),
        (WireRequest("BREW", "/clusters"), 404, "InvalidAction.NotFound"),
        (WireRequest("POST", "/", body=b"x" * (BODY_MAX + 1)), 413, "RequestEntityTooLarge"),
    ],
)
def test_what_nobody_answers_is_said_in_the_gateways_words(
    request_: WireRequest, status: int, code: str
) -> None:
    response = local_cloud().core.handle(request_)

    document = response.document()
    assert (response.status, document["Code"]) == (status, code)
    assert {"RequestId", "HostId", "Message", "Recommend"} <= set(document)


def test_a_roa_action_that_is_not_its_paths_is_refused() -> None:
    cloud = local_cloud()
    key = cloud.core.key
    query, headers = signed_v3(
        method="POST",
        path="/clusters",
        query={},
        body=b"{}",
        action="DeleteCluster",
        version="2015-12-15",
        key_id=key.id,
        secret=key.secret,
    )

    response = cloud.core.handle(WireRequest("POST", "/clusters", query, headers, b"{}"))

    assert response.document()["Code"] == "InvalidAction.NotFound"


def test_errors_are_spelled_as_each_product_spells_them(put: Put) -> None:
    def fail(call: LocalCall, world: World) -> Any:
        raise ApiError(404, "Nobody.Here", "nobody", Extra=1)

    apis = (
        ("vpc", "DescribeVpcs", {"RegionId": "cn-hangzhou"}, {}),
        ("cs", "DescribeClusterDetail", {}, {"ClusterId": "c-1"}),
        ("rocketmq", "GetInstance", {}, {"instanceId": "rmq-1"}),
    )
    cloud = local_cloud()
    documents = {}
    for product, api, params, path in apis:
        put(product, api, fail)
        error = refused(cloud, product, api, params=params, path=path)
        assert error.headers["x-acs-request-id"]
        documents[product] = error.document

    assert documents["vpc"]["Code"] == documents["cs"]["code"] == "Nobody.Here"
    assert documents["vpc"]["Extra"] == 1
    assert set(documents["cs"]) == {"code", "message", "requestId", "status", "Extra"}
    assert documents["rocketmq"]["success"] is False
    assert documents["rocketmq"]["httpStatusCode"] == 404


def test_successes_come_in_each_products_envelope(put: Put) -> None:
    cloud = local_cloud()
    put("rocketmq", "GetInstance", lambda call, world: {"data": {"status": "RUNNING"}})
    put("cs", "DescribeClusterDetail", lambda call, world: {"state": "running"})
    put("cs", "DescribeClusterResources", lambda call, world: [{"resource_type": "SLB"}])

    queue = cloud.call("rocketmq", "GetInstance", path={"instanceId": "rmq-1"})
    cluster = cloud.call("cs", "DescribeClusterDetail", path={"ClusterId": "c-1"})
    listed = cloud.call("cs", "DescribeClusterResources", path={"ClusterId": "c-1"})

    assert queue["success"] is True
    assert queue["data"] == {"status": "RUNNING"}
    assert cluster["request_id"]
    assert listed == [{"resource_type": "SLB"}]


def test_throttling_of_ack_keeps_the_gateways_spelling() -> None:
    cloud = local_cloud(faults=FaultPlan(throttle=1.0))

    error = refused(cloud, "cs", "DescribeClusterDetail", path={"ClusterId": "c-1"})

    assert error.document["Code"] == "Throttling.User"


def test_a_bug_in_a_product_is_an_internal_error_and_is_logged(
    put: Put, caplog: pytest.LogCaptureFixture
) -> None:
    def bug(call: LocalCall, world: World) -> Any:
        raise KeyError("oops")

    put("vpc", "CreateVpc", bug)

    error = refused(local_cloud(), "vpc", "CreateVpc", RegionId="cn-hangzhou")

    assert (error.status, error.code) == (500, "InternalError")
    assert "oops" not in error.message
    assert "oops" in caplog.text


# -- idempotency tokens ------------------------------------------------------------------------------------


def make(cloud: InProcessCloud, token: str, cidr: str = "10.0.0.0/16") -> str:
    params = {"RegionId": "cn-hangzhou", "CidrBlock": cidr, "ClientToken": token}
    return str(cloud.call("vpc", "CreateVpc", params=params)["VpcId"])


def test_a_token_makes_one_thing_however_often_it_is_sent(put: Put) -> None:
    put("vpc", "CreateVpc", counting())
    cloud = local_cloud()

    ids = {make(cloud, "once") for _ in range(3)}

    assert len(ids) == 1
    assert len(list(cloud.world.each("thing"))) == 1
    assert make(cloud, "other") not in ids


def test_a_token_with_other_parameters_is_a_mismatch(put: Put) -> None:
    put("vpc", "CreateVpc", counting())
    cloud = local_cloud()
    make(cloud, "once")

    with pytest.raises(CloudRefusal) as error:
        make(cloud, "once", cidr="10.1.0.0/16")

    assert error.value.code == "IdempotentParameterMismatch"
    assert len(list(cloud.world.each("thing"))) == 1


def test_a_token_is_forgotten_after_a_day_of_the_clouds_time(put: Put) -> None:
    put("vpc", "CreateVpc", counting())
    cloud = local_cloud()
    first = make(cloud, "once")

    cloud.advance(24 * 3600 - 1)
    still = make(cloud, "once")
    cloud.advance(1)

    assert still == first
    assert make(cloud, "once") != first


def test_a_refused_call_leaves_its_token_free(put: Put) -> None:
    answers = iter([ApiError(400, "OperationConflict", "busy"), {"VpcId": "vpc-1"}])

    def conflicts_once(call: LocalCall, world: World) -> Any:
        answer = next(answers)
        if isinstance(answer, ApiError):
            raise answer
        return answer

    put("vpc", "CreateVpc", conflicts_once)
    cloud = local_cloud()

    with pytest.raises(CloudRefusal):
        make(cloud, "once")

    assert make(cloud, "once") == "vpc-1"


def test_a_token_whose_first_answer_is_on_its_way_is_processing(put: Put) -> None:
    put("vpc", "CreateVpc", counting())
    cloud = local_cloud(faults=FaultPlan(latency_ms=60_000))
    make(cloud, "once")

    with pytest.raises(CloudRefusal) as error:
        make(cloud, "once")

    assert error.value.code == "LastTokenProcessing"


def test_a_call_whose_answer_was_lost_is_not_made_twice(put: Put) -> None:
    put("vpc", "CreateVpc", counting())
    cloud = local_cloud(faults=FaultPlan(lose=1.0))

    with pytest.raises(AnswerLost):
        make(cloud, "once")
    cloud.control("DELETE", "faults")
    make(cloud, "once")

    assert len(list(cloud.world.each("thing"))) == 1


def test_a_token_in_a_body_counts_as_one_in_a_parameter(put: Put) -> None:
    put("cs", "CreateCluster", lambda call, world: {"cluster_id": world.new_id("c")})
    cloud = local_cloud()
    body = {
        "name": "sale",
        "region_id": cloud.region,
        "cluster_type": "ManagedKubernetes",
        "vpcid": "vpc-1",
        "vswitch_ids": ["vsw-1"],
        "pod_vswitch_ids": ["vsw-2"],
        "addons": [{"name": "terway-eniip"}],
        "client_token": "t-1",
    }

    answers = []
    for _ in range(2):
        try:
            answers.append(cloud.call("cs", "CreateCluster", body=body)["cluster_id"])
        except CloudRefusal as error:
            pytest.fail(error.message)

    assert answers[0] == answers[1]


# -- the call log --------------------------------------------------------------------------------------------


def test_the_call_log_tells_what_came_and_what_became_of_it(put: Put) -> None:
    put("vpc", "CreateVpc", counting())
    cloud = local_cloud()
    cloud.call("vpc", "CreateVpc", RegionId="cn-hangzhou")
    refused(cloud, "vpc", "CreateVSwitch")

    made, wrong = cloud.calls

    assert (made["api"], made["outcome"], made["status"]) == ("CreateVpc", "OK", 200)
    assert made["params"] == {"RegionId": "cn-hangzhou"}
    assert (wrong["api"], wrong["status"]) == ("CreateVSwitch", 400)
    assert cloud.control("GET", "calls", query=f"request_id={made['request_id']}")["calls"] == [
        made
    ]
    assert cloud.control("GET", "calls", query="api=vpc.CreateVSwitch")["calls"] == [wrong]


def test_passwords_are_not_in_the_call_log(put: Put) -> None:
    put("r-kvstore", "CreateTairInstance", lambda call, world: {"InstanceId": "r-1"})
    cloud = local_cloud()
    request = cloud.request("r-kvstore", "CreateTairInstance", params={"Password": "Hunter22!"})

    cloud.core.handle(request)

    assert "Hunter22" not in json.dumps(cloud.calls)
    assert cloud.calls[-1]["params"]["Password"] == "***"


# -- control -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": HOST}, 401),
        ({"host": HOST, "authorization": "Bearer wrong"}, 401),
        ({"host": HOST, "authorization": "Bearer test-secret"}, 200),
        ({"host": "evil.example", "authorization": "Bearer test-secret"}, 403),
        ({"host": "localhost:8400", "authorization": "Bearer test-secret"}, 200),
    ],
)
def test_control_wants_the_secret_and_a_loopback_host(headers: dict[str, str], status: int) -> None:
    response = local_cloud().core.handle(WireRequest("GET", "/_local/clock", "", headers))

    assert response.status == status


def test_time_is_advanced_by_control() -> None:
    cloud = local_cloud()
    before = cloud.control("GET", "clock")["now_ms"]

    after = cloud.control("POST", "clock", {"advance_s": 90.5})["now_ms"]

    assert after - before == 90_500
    assert cloud.world.now_ms() == after


@pytest.mark.parametrize("seconds", [-1, 1e300, "5", None, True])
def test_time_that_cannot_pass_is_refused(seconds: Any) -> None:
    cloud = local_cloud()

    with pytest.raises(CloudRefusal) as error:
        cloud.control("POST", "clock", {"advance_s": seconds})

    assert error.value.status == 400


def test_an_edit_is_what_somebody_in_the_console_does() -> None:
    cloud = local_cloud()
    cloud.world.create("pool", "np-1", {"scaling_group": {"desired_size": 3, "tags": ["a"]}})

    cloud.control("POST", "edit", {"id": "np-1", "path": "scaling_group.desired_size", "value": 9})
    cloud.control("POST", "edit", {"id": "np-1", "path": "scaling_group.tags.0", "value": "b"})

    thing = cloud.world.find("pool", "np-1")
    assert thing is not None
    assert thing.data == {"scaling_group": {"desired_size": 9, "tags": ["b"]}}
    with pytest.raises(CloudRefusal):
        cloud.control("POST", "edit", {"id": "np-2", "path": "a", "value": 1})


def test_settings_merge_and_null_removes() -> None:
    cloud = local_cloud()
    cloud.control("PUT", "settings", {"quotas": {"vpc": 1, "eip": 2}})

    settings = cloud.control("PUT", "settings", {"quotas": {"vpc": None}, "stock": {}})

    assert settings == {"quotas": {"eip": 2}, "stock": {}}
    assert cloud.world.settings == settings


def test_a_bug_in_a_hook_is_an_answer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(world: World, document: Any) -> Any:
        raise TypeError("oops")

    monkeypatch.setitem(HOOKS, "explode", bug)

    with pytest.raises(CloudRefusal) as error:
        local_cloud().control("POST", "explode", {})

    assert (error.value.status, error.value.code) == (500, "InternalError")


def test_a_reset_forgets_things_tokens_and_settings_and_keeps_the_key(put: Put) -> None:
    put("vpc", "CreateVpc", counting())
    cloud = local_cloud()
    first = make(cloud, "once")
    cloud.control("PUT", "settings", {"a": 1})

    cloud.control("POST", "reset")

    assert cloud.control("GET", "state") == {}
    assert cloud.world.settings == {}
    assert make(cloud, "once") != first


# -- RAM -----------------------------------------------------------------------------------------------------


def test_a_role_is_made_once_shown_and_given_policies() -> None:
    cloud = local_cloud(list_lag_ms=0)
    role = {"RoleName": "deploy", "AssumeRolePolicyDocument": trust_of(cloud.world.account)}
    cloud.call("ram", "CreateRole", params=role)
    policy = {"PolicyName": "AliyunCSFullAccess", "PolicyType": "System", "RoleName": "deploy"}
    cloud.call("ram", "AttachPolicyToRole", params=policy)

    again = refused(cloud, "ram", "CreateRole", params=role)
    twice = refused(cloud, "ram", "AttachPolicyToRole", params=policy)
    listed = cloud.call("ram", "ListRoles", params={"MaxItems": 1000})
    policies = cloud.call("ram", "ListPoliciesForRole", RoleName="deploy")

    assert again.code == "EntityAlreadyExists.Role"
    assert twice.code == "EntityAlreadyExists.Role.Policy"
    assert "deploy" in [one["RoleName"] for one in listed["Roles"]["Role"]]
    assert [one["PolicyName"] for one in policies["Policies"]["Policy"]] == ["AliyunCSFullAccess"]


def test_roles_are_listed_page_by_page() -> None:
    cloud = local_cloud()
    seen: list[str] = []
    marker = ""
    while True:
        asked = {"MaxItems": 4, **({"Marker": marker} if marker else {})}
        page = cloud.call("ram", "ListRoles", params=asked)
        seen += [one["RoleName"] for one in page["Roles"]["Role"]]
        if not page["IsTruncated"]:
            break
        marker = page["Marker"]

    assert seen == sorted(set(seen))
    assert "AliyunCSDefaultRole" in seen


def test_a_service_role_that_was_never_granted_is_not_there() -> None:
    cloud = local_cloud()
    cloud.control("PUT", "settings", {"missing_roles": ["AliyunCSDefaultRole"]})

    assert refused(cloud, "ram", "GetRole", RoleName="AliyunCSDefaultRole").status == 404
