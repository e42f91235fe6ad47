"""Who may call the local cloud: three signature schemes, nonces, time stamps and temporary keys."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from cloud_signing import signed_roa1, signed_rpc1, signed_v3
from local_cloud import FORM, HOST, CloudRefusal, InProcessCloud, local_cloud, trust_of
from saleops.services.cloud.wire import WireRequest

STS = "2015-04-01"
RAM = "2015-05-01"
ACK = "2015-12-15"
KEY = {"key_id": "LTAItestkey", "secret": "test-secret"}
NAMES = ["saleops-plain", "saleops-a b+c", "saleops-ü~*'()", "saleops-%2F&=?#", "saleops-中文", ""]


def v3(
    query: Mapping[str, str] | None = None,
    *,
    action: str = "GetCallerIdentity",
    version: str = STS,
    **more: Any,
) -> WireRequest:
    signing = {"method": "POST", "path": "/", "body": b"", **KEY, **more}
    text, headers = signed_v3(query=query or {}, action=action, version=version, **signing)
    return WireRequest(signing["method"], signing["path"], text, headers, signing["body"])


def rpc1(form: Mapping[str, str], *, method: str = "POST", **more: Any) -> WireRequest:
    signing = {"query": {}, "action": "GetRole", "version": RAM, **KEY, **more}
    query, body = signed_rpc1(method=method, form=form, **signing)
    headers = {"host": HOST, "content-type": FORM} if body else {"host": HOST}
    return WireRequest(method, "/", query, headers, body)


def roa1(**more: Any) -> WireRequest:
    signing = {
        "method": "GET",
        "path": "/clusters/c-nobody",
        "query": {},
        "body": b"",
        "version": ACK,
        **KEY,
        **more,
    }
    query, headers = signed_roa1(**signing)
    return WireRequest(
        signing["method"], signing["path"], query, {"host": HOST, **headers}, signing["body"]
    )


def code_of(cloud: InProcessCloud, request: WireRequest) -> str:
    document = cloud.core.handle(request).document()
    return str(document.get("Code") or document.get("code") or "")


def role_of(cloud: InProcessCloud, request: WireRequest) -> str:
    response = cloud.core.handle(request)
    document = response.document()
    assert response.document()["Code"] == "EntityNotExist.Role", document
    return str(document["Message"]).removeprefix("The role does not exist: ").removesuffix(".")


@pytest.mark.parametrize("name", NAMES[:-1])
def test_values_that_need_escapes_keep_their_signature(name: str) -> None:
    cloud = local_cloud()
    form = {"RoleName": name}

    heard = [
        role_of(cloud, v3(form, action="GetRole", version=RAM)),
        role_of(cloud, rpc1(form)),
        role_of(cloud, rpc1({}, query=form, method="GET")),
        role_of(cloud, rpc1({}, query=form)),
    ]

    assert heard == [name] * 4


def test_a_signature_known_by_heart_is_the_one_that_is_computed() -> None:
    # Worked out once with openssl from the documented recipe, so that signer and verifier cannot be wrong in the same way.
    _, headers = signed_v3(
        method="POST",
        path="/",
        query={"RegionId": "cn-hangzhou"},
        body=b"",
        action="DescribeVpcs",
        version="2016-04-28",
        key_id="id",
        secret="secret",
        host="127.0.0.1:1",
        at_s=0,
        nonce="n",
    )

    assert headers["x-acs-date"] == "1970-01-01T00:00:00Z"
    assert headers["x-acs-content-sha256"].startswith("e3b0c44298fc1c149afbf4c8996fb924")
    assert headers["authorization"].endswith(KNOWN_SIGNATURE)


KNOWN_SIGNATURE = "a0224bb68e01c8aa319f04dda7f8d619e1f21691c1f1fa67cb215c0a59424af8"


@pytest.mark.parametrize(
    ("scheme", "request_of"),
    [
        ("v3", lambda **more: v3(**more)),
        ("rpc1", lambda **more: rpc1({"RoleName": "saleops-x"}, **more)),
        ("roa1", lambda **more: roa1(**more)),
    ],
)
def test_wrong_secrets_unknown_keys_and_old_requests_are_told_apart(
    scheme: str, request_of: Any
) -> None:
    cloud = local_cloud()
    now_s = time.time()

    codes = [
        code_of(cloud, request_of(secret="wrong")),
        code_of(cloud, request_of(key_id="LTAInobody")),
        code_of(cloud, request_of(at_s=now_s - 901)),
        code_of(cloud, request_of(at_s=now_s + 902)),
    ]

    assert codes == [
        "SignatureDoesNotMatch",
        "InvalidAccessKeyId.NotFound",
        "InvalidTimeStamp.Expired",
        "InvalidTimeStamp.Expired",
    ], scheme


def test_a_request_of_almost_fifteen_minutes_ago_is_still_good() -> None:
    cloud = local_cloud()

    assert code_of(cloud, v3(at_s=time.time() - 890)) == ""


def test_time_stamps_go_by_the_machine_and_not_by_the_cloud() -> None:
    cloud = local_cloud()
    cloud.advance(30 * 86_400)

    assert code_of(cloud, v3()) == ""


def test_a_replay_is_refused_and_says_so() -> None:
    cloud = local_cloud()
    again, old = v3(), rpc1({"RoleName": "saleops-x"})

    codes = [code_of(cloud, one) for one in (again, again, old, old)]

    assert codes == ["", "SignatureNonceUsed", "EntityNotExist.Role", "SignatureNonceUsed"]


def test_a_refused_signature_does_not_use_up_its_nonce() -> None:
    cloud = local_cloud()

    codes = [code_of(cloud, v3(nonce="one", secret="wrong")), code_of(cloud, v3(nonce="one"))]

    assert codes == ["SignatureDoesNotMatch", ""]


@pytest.mark.parametrize("scheme", ["v3", "rpc1"])
def test_unsigned_requests_are_incomplete(scheme: str) -> None:
    cloud = local_cloud()
    bare = {
        "v3": WireRequest(
            "POST", "/", "", {"x-acs-action": "GetCallerIdentity", "x-acs-version": STS}
        ),
        "rpc1": WireRequest("GET", "/", f"Action=GetCallerIdentity&Version={STS}", {}),
    }

    response = cloud.core.handle(bare[scheme])

    assert response.status == 400
    assert response.document()["Code"] == "IncompleteSignature"


@pytest.mark.parametrize(
    "header",
    ["x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256", "host", "x-acs-action"],
)
def test_what_protects_a_request_has_to_be_signed(header: str) -> None:
    cloud = local_cloud()
    request = v3()
    kept = [
        name
        for name in request.headers["authorization"]
        .split("SignedHeaders=")[1]
        .split(",")[0]
        .split(";")
        if name != header
    ]
    forged = {
        **request.headers,
        "authorization": f"ACS3-HMAC-SHA256 Credential={KEY['key_id']},"
        f"SignedHeaders={';'.join(kept)},Signature={'0' * 64}",
    }

    assert code_of(cloud, replace(request, headers=forged)) == "IncompleteSignature"


@pytest.mark.parametrize("part", ["query", "body", "header", "method", "path"])
def test_a_change_on_the_way_breaks_the_signature(part: str) -> None:
    cloud = local_cloud()
    request = v3({"RoleName": "saleops-a"}, action="GetRole", version=RAM)
    changed = {
        "query": replace(request, query="RoleName=saleops-b"),
        "body": replace(request, body=b"RoleName=saleops-b"),
        "header": replace(
            request, headers={**request.headers, "x-acs-date": "2026-01-01T00:00:00Z"}
        ),
        "method": replace(request, method="GET"),
        "path": replace(request, path=""),
    }

    code = code_of(cloud, changed[part])

    assert code == ("SignatureDoesNotMatch" if part != "path" else "EntityNotExist.Role")


def test_an_old_roa_signature_covers_its_body() -> None:
    cloud = local_cloud()
    request = roa1(method="POST", path="/clusters", body=b'{"name":"a"}')

    honest, forged = code_of(cloud, request), code_of(cloud, replace(request, body=b'{"name":"b"}'))

    assert honest.startswith("Missing")
    assert forged == "SignatureDoesNotMatch"


def assumed(cloud: InProcessCloud, **more: Any) -> dict[str, str]:
    role = {"RoleArn": f"acs:ram::{cloud.world.account}:role/saleops-x", "RoleSessionName": "me"}
    name = "saleops-x"
    if cloud.world.find("ram-role", name) is None:
        trust = trust_of(cloud.world.account)
        cloud.call("ram", "CreateRole", RoleName=name, AssumeRolePolicyDocument=trust)
    credentials: dict[str, str] = cloud.call("sts", "AssumeRole", params={**role, **more})[
        "Credentials"
    ]
    return credentials


def test_a_temporary_key_says_who_it_is_under_each_scheme() -> None:
    cloud = local_cloud()
    made = assumed(cloud)
    key = {"key_id": made["AccessKeyId"], "secret": made["AccessKeySecret"]}
    token = made["SecurityToken"]

    who = cloud.core.handle(v3(**key, token=token)).document()
    codes = [
        code_of(cloud, rpc1({"RoleName": "saleops-x"}, **key, token=token)),
        code_of(cloud, roa1(**key, token=token)),
    ]

    assert who["IdentityType"] == "AssumedRoleUser"
    assert who["Arn"].endswith(":assumed-role/saleops-x/me")
    assert codes[0] == ""
    assert "Signature" not in codes[1]


def test_a_temporary_key_needs_its_own_token_until_it_expires() -> None:
    cloud = local_cloud()
    made, other = assumed(cloud, DurationSeconds=900), assumed(cloud)
    key = {"key_id": made["AccessKeyId"], "secret": made["AccessKeySecret"]}
    session = cloud.world.find("sts-session", made["AccessKeyId"])
    assert session is not None

    codes = [code_of(cloud, v3(**key)), code_of(cloud, v3(**key, token=other["SecurityToken"]))]
    session.data["expires_ms"] -= 901_000
    codes.append(code_of(cloud, v3(**key, token=made["SecurityToken"])))

    assert codes == [
        "MissingSecurityToken",
        "InvalidSecurityToken.MismatchWithAccessKey",
        "InvalidSecurityToken.Expired",
    ]


def test_a_permanent_key_with_a_token_is_refused() -> None:
    assert (
        code_of(local_cloud(), v3(token="made-up")) == "InvalidSecurityToken.MismatchWithAccessKey"
    )


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"RoleArn": "acs:ram::1234567890123456:user/x"}, "InvalidParameter.RoleArn"),
        ({"RoleArn": "acs:ram::999:role/saleops-x"}, "NoPermission"),
        ({"RoleArn": "acs:ram::1234567890123456:role/nobody"}, "EntityNotExist.Role"),
        ({"RoleSessionName": "x"}, "InvalidParameter.RoleSessionName"),
        ({"DurationSeconds": 899}, "InvalidParameter.DurationSeconds"),
        ({"RoleArn": "acs:ram::1234567890123456:role/AliyunCSDefaultRole"}, "NoPermission"),
        ({"DurationSeconds": 3_601}, "InvalidParameter.DurationSeconds"),
    ],
)
def test_a_role_that_cannot_be_assumed_says_why(change: dict[str, Any], code: str) -> None:
    with pytest.raises(CloudRefusal) as refused:
        assumed(local_cloud(), **change)

    assert refused.value.code == code


def test_no_secret_reaches_the_call_log_or_the_state() -> None:
    cloud = local_cloud()
    made = assumed(cloud)

    said = (
        repr(cloud.calls)
        + repr(cloud.control("GET", "state"))
        + repr(cloud.control("GET", "state/sts-session"))
    )

    assert made["AccessKeySecret"] not in said
    assert made["SecurityToken"] not in said
    assert "test-secret" not in said + repr(cloud.core.key)
