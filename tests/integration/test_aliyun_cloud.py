"""The cloud's client over the vendor's SDK, against a server that answers whatever an API, a proxy or a network may."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from cloud_signing import signed_v3
from cloud_stub import Request, Stub, stub_server
from saleops.adapters.aliyun_cloud import AliyunCloud
from saleops.adapters.aliyun_credentials import fixed_credentials
from saleops.adapters.aliyun_endpoints import parse_endpoint
from saleops.domain.cloud.calls import Call
from saleops.errors import CloudError

KEY, SECRET = "LTAI5tExampleKeyId01", "example-secret-of-nobody"
REGION = "ap-southeast-1"
CREATE_VPC = Call("vpc", "CreateVpc", {"RegionId": REGION, "CidrBlock": "10.0.0.0/16"})
DEAD = "http://127.0.0.1:9"


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with stub_server() as stub:
        yield stub


def cloud_at(url: str, *, read_timeout_s: float = 5.0) -> AliyunCloud:
    address = parse_endpoint(url)
    return AliyunCloud(
        region=REGION,
        credentials=fixed_credentials(KEY, SECRET, source="a test"),
        endpoint_of=lambda product: address,
        read_timeout_s=read_timeout_s,
    )


def failure(stub: Stub, call: Call = CREATE_VPC, **settings: Any) -> CloudError:
    with pytest.raises(CloudError) as caught:
        cloud_at(stub.url, **settings).send(call)
    return caught.value


def signature(request: Request) -> str:
    """What V3's documented scheme makes of ``request``, calculated without the SDK."""
    _, headers = signed_v3(
        method=request.method,
        path=request.path,
        query=request.query,
        body=request.body.encode(),
        action=request.headers["x-acs-action"],
        version=request.headers["x-acs-version"],
        key_id=KEY,
        secret=SECRET,
        host=request.headers["host"],
        nonce=request.headers["x-acs-signature-nonce"],
        content_type=request.headers.get("content-type", ""),
        extra={
            name: request.headers[name]
            for name in ("accept", "user-agent", "x-acs-date", "x-acs-credentials-provider")
        },
    )
    return headers["authorization"]


SENT = [
    (
        Call("vpc", "CreateVpc", {"RegionId": REGION, "VpcName": "käse 1+1=2", "DryRun": True}),
        (
            "POST",
            "/",
            {"RegionId": REGION, "VpcName": "käse 1+1=2", "DryRun": "true", "ClientToken": "tok"},
            "",
        ),
    ),
    (
        Call(
            "quotas",
            "ListProductQuotas",
            {"ProductCode": "ecs", "Dimensions": [{"Key": "regionId", "Value": REGION}]},
        ),
        ("POST", "/", {}, f"Dimensions.1.Key=regionId&Dimensions.1.Value={REGION}&ProductCode=ecs"),
    ),
    (
        Call("cs", "ModifyCluster", path={"ClusterId": "c1"}, body={"deletion_protection": True}),
        ("PUT", "/api/v2/clusters/c1", {}, '{"deletion_protection":true,"client_token":"tok"}'),
    ),
    (
        Call("cs", "DescribeClusterDetail", path={"ClusterId": "c/1 ~"}),
        ("GET", "/clusters/c%2F1%20~", {}, ""),
    ),
]


@pytest.mark.parametrize(("call", "wanted"), SENT, ids=[str(call) for call, _ in SENT])
def test_every_style_of_call_arrives_as_documented_and_rightly_signed(
    stub: Stub, call: Call, wanted: tuple[str, str, dict[str, str], str]
) -> None:
    assert cloud_at(stub.url).send(call, token="tok") == {"RequestId": "R-1"}

    (request,) = stub.requests
    assert (request.method, request.path, request.query, request.body) == wanted
    assert request.headers["authorization"] == signature(request)


def test_what_an_api_does_not_have_is_never_sent(stub: Stub) -> None:
    call = Call("vpc", "CreateVpc", {"RegionId": REGION, "CidrBlok": "10.0.0.0/16", "DryRun": 7})

    with pytest.raises(ValueError, match=r"CidrBlok(.|\n)*DryRun|DryRun(.|\n)*CidrBlok"):
        cloud_at(stub.url).send(call)

    assert stub.requests == []


ANSWERS = [
    (400, {"Code": "Throttling.User", "Message": "slow down", "RequestId": "r"}, "throttled"),
    (429, {"Code": "Whatever", "Message": "slow down", "RequestId": "r"}, "throttled"),
    (503, {"Code": "ServiceBusy", "Message": "later", "RequestId": "r"}, "throttled"),
    (400, {"Code": "OperationConflict", "Message": "later", "RequestId": "r"}, "busy"),
    (400, {"Code": "IncorrectStatus.cbnStatus", "Message": "later", "RequestId": "r"}, "busy"),
    (403, {"Code": "OperationDenied.DBClusterStatus", "Message": "x", "RequestId": "r"}, "busy"),
    (400, {"Code": "DependencyViolation.VSwitch", "Message": "x", "RequestId": "r"}, "busy"),
    (500, {"Code": "InternalError", "Message": "x", "RequestId": "r"}, "unknown"),
    (503, {"Code": "ServiceUnavailable", "Message": "x", "RequestId": "r"}, "unknown"),
    (404, {"Code": "InvalidVpcId.NotFound", "Message": "x", "RequestId": "r"}, "missing"),
    (404, {"code": "ErrorClusterNotFound", "message": "x", "requestId": "r"}, "missing"),
    (400, {"code": "ErrorNodePoolNotFound", "message": "x", "request_id": "r"}, "missing"),
    (
        200,
        {"code": "Topic.NotFound", "success": False, "requestId": "r", "httpStatusCode": 404},
        "missing",
    ),
    (200, {"Code": "NoPermission", "Success": False, "RequestId": "r", "Message": "x"}, "denied"),
    (409, {"Code": "EntityAlreadyExists.Role", "Message": "x", "RequestId": "r"}, "exists"),
    (403, {"Code": "NoPermission", "Message": "x", "RequestId": "r"}, "denied"),
    (404, {"Code": "InvalidAccessKeyId.NotFound", "Message": "x", "RequestId": "r"}, "denied"),
    (400, {"Code": "InvalidTimeStamp.Expired", "Message": "x", "RequestId": "r"}, "denied"),
    (400, {"Code": "InvalidSecurityToken.Expired", "Message": "x", "RequestId": "r"}, "denied"),
    (400, {"Code": "QuotaExceeded.Eip", "Message": "x", "RequestId": "r"}, "quota"),
    (403, {"Code": "OperationDenied.NoStock", "Message": "x", "RequestId": "r"}, "quota"),
    (400, {"Code": "InvalidParameter", "Message": "x", "RequestId": "r"}, "invalid"),
    (400, {"Code": "IdempotentParameterMismatch", "Message": "x", "RequestId": "r"}, "invalid"),
    (400, {"Code": "InsufficientBalance", "Message": "x", "RequestId": "r"}, "failed"),
]


@pytest.mark.parametrize(
    ("status", "document", "kind"),
    ANSWERS,
    ids=[f"{status}-{doc.get('Code', doc.get('code'))}" for status, doc, _ in ANSWERS],
)
def test_each_family_of_codes_has_its_kind_in_every_spelling(
    stub: Stub, status: int, document: dict[str, Any], kind: str
) -> None:
    stub.answer(status, document)

    error = failure(stub)

    assert error.kind == kind
    assert error.code == document.get("Code", document.get("code"))
    assert error.request_id == "r"
    assert error.status == document.get("httpStatusCode", status)
    assert error.code in error.message
    assert "vpc CreateVpc" in error.message
    assert len(stub.requests) == 1, "one attempt a send"


def test_the_clouds_own_wait_is_passed_on_in_seconds(stub: Stub) -> None:
    stub.answer(400, {"Code": "Busy", "Message": "x", "RequestId": "r"}, x_acs_retry_after="2500")

    error = failure(stub)

    assert (error.kind, error.retry_after_s) == ("throttled", 2.5)


def test_a_denied_call_names_the_ram_action_that_is_missing(stub: Stub) -> None:
    detail = {"AuthAction": "vpc:CreateVpc", "NoPermissionType": "ImplicitDeny"}
    stub.answer(403, {"Code": "NoPermission", "Message": "x", "AccessDeniedDetail": detail})

    assert "the RAM action vpc:CreateVpc" in (failure(stub).hint or "")


def test_no_secret_comes_back_in_an_error(stub: Stub) -> None:
    call = Call("r-kvstore", "CreateInstance", {"RegionId": REGION, "Password": "Hunter-2-hunter"})
    said = f"Specified value Hunter-2-hunter of {KEY} is bad\nsecond line"
    stub.answer(400, {"Code": "InvalidPassword.Format", "Message": said, "RequestId": "r"})

    error = failure(stub, call)

    assert "Hunter-2-hunter" not in error.message + repr(error)
    assert KEY not in error.message
    assert "\n" not in error.message


def test_the_quoted_request_of_a_signature_error_is_not_shown(stub: Stub) -> None:
    said = f"not matched. server string to sign is:POST&%2F&AccessKeyId%3D{KEY}%26Password%3Dx"
    stub.answer(400, {"Code": "SignatureDoesNotMatch", "Message": said, "RequestId": "r"})

    error = failure(stub)

    assert "string to sign" not in error.message
    assert "doctor" in (error.hint or "")


@pytest.mark.parametrize("body", ["<html>bad gateway</html>", "", "[]", "null", '"text"'])
def test_an_error_page_that_is_no_document_leaves_the_outcome_unknown(
    stub: Stub, body: str
) -> None:
    stub.answer(502, body)

    error = failure(stub)

    assert (error.kind, error.code) == ("unknown", "")


def test_an_empty_answer_is_an_answer_where_ack_gives_none(stub: Stub) -> None:
    stub.answer(200, "")
    call = Call(
        "cs",
        "ModifyClusterNodePool",
        path={"ClusterId": "c1", "NodepoolId": "np1"},
        body={"scaling_group": {"desired_size": 9}},
    )

    assert cloud_at(stub.url).send(call) == {}
    assert stub.requests[0].body == '{"scaling_group":{"desired_size":9}}', "no lists of nothing"
    assert failure(stub).kind == "unknown", "an RPC call always answers a document"


def test_a_silent_server_leaves_the_outcome_unknown(stub: Stub) -> None:
    stub.delay_s = 0.6

    error = failure(stub, read_timeout_s=0.2)

    assert error.kind == "unknown"
    assert "in time" in error.message


def test_a_connection_that_breaks_after_sending_leaves_the_outcome_unknown(stub: Stub) -> None:
    stub.hang_up = True

    assert failure(stub).kind == "unknown"
    assert len(stub.requests) == 1


def test_a_refused_connection_was_certainly_not_sent() -> None:
    with stub_server() as gone:
        url = gone.url

    with pytest.raises(CloudError, match="it was not sent") as caught:
        cloud_at(url).send(CREATE_VPC)

    assert caught.value.kind == "busy"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
def test_loopback_is_reached_past_a_dead_proxy(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, DEAD)

    assert cloud_at(stub.url).send(CREATE_VPC) == {"RequestId": "R-1"}
    assert os.environ[name] == DEAD, "the variable is there again for everybody else"


def test_the_real_cloud_is_reached_through_the_proxy(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", DEAD)

    with pytest.raises(CloudError, match="proxy") as caught:
        cloud_at("https://vpc.ap-southeast-1.example").send(CREATE_VPC)

    assert caught.value.kind == "busy"


def test_no_proxy_is_heard_although_the_sdk_is_deaf(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", DEAD)
    monkeypatch.setenv("NO_PROXY", "saleops-test.invalid")

    with pytest.raises(CloudError, match="nobody knows the host") as caught:
        cloud_at("https://vpc.saleops-test.invalid").send(CREATE_VPC)

    assert caught.value.kind == "busy"


def test_debugging_the_sdk_prints_no_header(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEBUG", "sdk")

    cloud_at(stub.url).send(CREATE_VPC)

    assert "uthorization" not in "".join(capfd.readouterr())
