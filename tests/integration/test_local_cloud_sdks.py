"""The vendor's own SDKs against the local cloud: V3 for RPC and ROA, and the older RPC V1 and ROA V1."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from local_cloud import cloud_process, trust_of

if TYPE_CHECKING:
    from saleops.config.local_cloud import CloudAddress

pytest.importorskip("alibabacloud_tea_openapi")
pytest.importorskip("aliyunsdkcore")
pytestmark = [
    # Both SDKs are the vendor's: their deprecated calls are not ours to mend.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::SyntaxWarning"),
    pytest.mark.xdist_group("local_cloud_sdks"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator["CloudAddress"]:
    with cloud_process(tmp_path_factory.mktemp("state")) as address:
        yield address


def tea_client(address: "CloudAddress", *, secret: str = "", token: str = "", **more: Any) -> Any:
    from alibabacloud_tea_openapi.client import Client
    from alibabacloud_tea_openapi.utils_models import Config

    return Client(
        Config(
            access_key_id=more.pop("key_id", address.access_key_id),
            access_key_secret=secret or address.access_key_secret,
            security_token=token or None,
            region_id=address.region,
            endpoint=address.host,
            protocol="http",
            **more,
        )
    )


def tea_call(
    client: Any,
    action: str,
    version: str,
    *,
    query: dict[str, Any] | None = None,
    path: str = "/",
    method: str = "POST",
    style: str = "RPC",
    body: Any = None,
    body_type: str = "json",
) -> dict[str, Any]:
    from alibabacloud_tea_openapi.utils import Utils
    from alibabacloud_tea_openapi.utils_models import OpenApiRequest, Params
    from darabonba.runtime import RuntimeOptions

    params = Params(
        action=action,
        version=version,
        protocol="HTTP",
        pathname=path,
        method=method,
        auth_type="AK",
        style=style,
        req_body_type="json" if style == "ROA" else "formData",
        body_type=body_type,
    )
    request = OpenApiRequest(query=Utils.query(query or {}), body=body, headers={})
    return dict(client.call_api(params, request, RuntimeOptions())["body"])


def core_client(address: "CloudAddress") -> Any:
    from aliyunsdkcore.client import AcsClient

    return AcsClient(address.access_key_id, address.access_key_secret, address.region, timeout=10)


def core_request(address: "CloudAddress", version: str, action: str = "", path: str = "") -> Any:
    from aliyunsdkcore.request import CommonRequest

    request = CommonRequest()
    request.set_domain(address.host)
    request.set_protocol_type("http")
    request.set_version(version)
    request.set_accept_format("json")
    request.set_method("GET" if path else "POST")
    if path:
        request.set_uri_pattern(path)
    else:
        request.set_action_name(action)
    return request


def test_todays_generic_client_is_answered_over_rpc(address: "CloudAddress") -> None:
    answer = tea_call(tea_client(address), "GetCallerIdentity", "2015-04-01")

    assert answer["AccountId"] == "1234567890123456"
    assert answer["RequestId"]


def test_todays_client_signs_awkward_values_right(address: "CloudAddress") -> None:
    from alibabacloud_tea_openapi.exceptions import ClientException

    query = {"RoleName": "saleops-~*' +ü/=&%"}
    with pytest.raises(ClientException) as missing:
        tea_call(tea_client(address), "GetRole", "2015-05-01", query=query)

    assert missing.value.code == "EntityNotExist.Role"
    assert "saleops-~*' +ü/=&%" in missing.value.message


def test_a_wrong_secret_is_named_by_its_code(address: "CloudAddress") -> None:
    from alibabacloud_tea_openapi.exceptions import ClientException

    with pytest.raises(ClientException) as refused:
        tea_call(tea_client(address, secret="wrong"), "GetCallerIdentity", "2015-04-01")

    assert refused.value.code == "SignatureDoesNotMatch"
    assert refused.value.status_code == 400


def test_a_temporary_key_signs_with_its_token_and_not_without(address: "CloudAddress") -> None:
    from alibabacloud_tea_openapi.exceptions import ClientException

    role = {
        "RoleName": "saleops-deploy",
        "AssumeRolePolicyDocument": trust_of("1234567890123456"),
    }
    tea_call(tea_client(address), "CreateRole", "2015-05-01", query=role)
    made = tea_call(
        tea_client(address),
        "AssumeRole",
        "2015-04-01",
        query={
            "RoleArn": "acs:ram::1234567890123456:role/saleops-deploy",
            "RoleSessionName": "night",
        },
    )["Credentials"]
    keys = {"key_id": made["AccessKeyId"], "secret": made["AccessKeySecret"]}

    answer = tea_call(
        tea_client(address, token=made["SecurityToken"], **keys), "GetCallerIdentity", "2015-04-01"
    )
    with pytest.raises(ClientException) as refused:
        tea_call(tea_client(address, **keys), "GetCallerIdentity", "2015-04-01")

    assert answer["IdentityType"] == "AssumedRoleUser"
    assert refused.value.code == "MissingSecurityToken"


def test_tea_with_its_old_algorithm_is_answered_too(address: "CloudAddress") -> None:
    client = tea_client(address, signature_algorithm="v2")

    answer = tea_call(client, "GetCallerIdentity", "2015-04-01")

    assert answer["AccountId"] == "1234567890123456"


def test_the_typed_client_of_ack_is_routed_by_path(address: "CloudAddress") -> None:
    from alibabacloud_cs20151215 import models
    from alibabacloud_cs20151215.client import Client
    from alibabacloud_tea_openapi.exceptions import ClientException
    from alibabacloud_tea_openapi.utils_models import Config

    client = Client(
        Config(
            access_key_id=address.access_key_id,
            access_key_secret=address.access_key_secret,
            region_id=address.region,
            endpoint=address.host,
            protocol="http",
        )
    )

    with pytest.raises(ClientException) as refused:
        client.create_cluster(models.CreateClusterRequest(name="sale"))

    assert "region_id" in refused.value.message
    assert refused.value.status_code == 400


def test_the_core_sdk_signs_rpc_with_v1_in_both_methods(address: "CloudAddress") -> None:
    from aliyunsdkcore.acs_exception.exceptions import ServerException

    name = "saleops-a b+c~*ü"
    requests = []
    for method in ("GET", "POST"):
        request = core_request(address, "2015-05-01", "GetRole")
        request.set_method(method)
        request.add_query_param("RoleName", name)
        requests.append(request)
    form = core_request(address, "2015-05-01", "GetRole")
    form.add_body_params("RoleName", name)
    known = core_request(address, "2015-05-01", "GetRole")
    known.add_body_params("RoleName", "AliyunCSDefaultRole")

    for request in (*requests, form):
        with pytest.raises(ServerException) as missing:
            core_client(address).do_action_with_exception(request)
        assert missing.value.get_error_code() == "EntityNotExist.Role"
        assert name in missing.value.get_error_msg()
    found = json.loads(core_client(address).do_action_with_exception(known))

    assert found["Role"]["RoleName"] == "AliyunCSDefaultRole"


def test_the_core_sdk_signs_roa_with_v1_and_names_no_action(address: "CloudAddress") -> None:
    from aliyunsdkcore.acs_exception.exceptions import ServerException

    request = core_request(address, "2015-12-15", path="/clusters/[ClusterId]")
    request.add_path_param("ClusterId", "c-nobody")

    with pytest.raises(ServerException) as refused:
        core_client(address).do_action_with_exception(request)

    # It reads no lower-case errors, so it calls ACK's own "not found" unknown; what matters is that the signature was right.
    assert refused.value.get_http_status() == 404
    assert "Signature" not in str(refused.value)


def test_the_core_sdk_hears_a_wrong_secret(address: "CloudAddress") -> None:
    from aliyunsdkcore.acs_exception.exceptions import ServerException
    from aliyunsdkcore.client import AcsClient

    client = AcsClient(address.access_key_id, "wrong", address.region)
    request = core_request(address, "2015-04-01", "GetCallerIdentity")

    with pytest.raises(ServerException) as refused:
        client.do_action_with_exception(request)

    # The SDK turns the gateway's SignatureDoesNotMatch into its own name when the strings to sign are equal.
    assert refused.value.get_error_code() in ("SignatureDoesNotMatch", "InvalidAccessKeySecret")


def test_a_lost_answer_is_a_broken_connection_and_no_500(tmp_path: Path) -> None:
    from darabonba.exceptions import UnretryableException

    # The SDK wraps whatever the transport said.
    with (
        cloud_process(tmp_path, faults={"lose": 1.0}) as address,
        pytest.raises(UnretryableException) as broken,
    ):
        tea_call(tea_client(address), "GetCallerIdentity", "2015-04-01")

    assert "500" not in str(broken.value)


def test_a_throttled_call_says_when_to_come_back(tmp_path: Path) -> None:
    from alibabacloud_tea_openapi.exceptions import ThrottlingException

    limits = {"sts.GetCallerIdentity": {"per_s": 1, "burst": 1}}
    with cloud_process(tmp_path, faults={"limits": limits}) as address:
        client = tea_client(address)
        tea_call(client, "GetCallerIdentity", "2015-04-01")
        with pytest.raises(ThrottlingException) as throttled:
            tea_call(client, "GetCallerIdentity", "2015-04-01")

    assert 0 < throttled.value.retry_after <= 1001
