"""STS: who is calling, and temporary keys for a role.

Keys expire by the machine's clock, as signatures do: an SDK that refreshes them knows no other. A session is a thing of the
world, so it outlives a restart; its secret never shows in the control API.
"""

import re
from datetime import UTC, datetime

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.products.ram import may_be_assumed, role_named
from saleops.services.cloud.signatures import Key, temporary_key
from saleops.services.cloud.world import Thing, World

SESSION = "sts-session"
DURATION_MIN_S = 900
DURATION_S = 3600
_ROLE_ARN = re.compile(r"acs:ram::(\d{1,20}):role/([\w.\-]{1,64})", re.ASCII)
_SESSION_NAME = re.compile(r"[\w.@\-]{2,64}", re.ASCII)


def root_arn(account: str) -> str:
    return f"acs:ram::{account}:root"


def session_key(session: Thing) -> Key:
    data = session.data
    return Key(
        id=session.id,
        secret=data["secret"],
        arn=data["arn"],
        principal=data["principal"],
        kind="AssumedRoleUser",
        token=data["token"],
        expires_ms=data["expires_ms"],
        role_id=data["role_id"],
    )


@answers("sts", "GetCallerIdentity")
def get_caller_identity(call: LocalCall, world: World) -> dict[str, object]:
    session = world.find(SESSION, call.key_id)
    if session is None:
        return {
            "AccountId": call.account,
            "UserId": call.account,
            "PrincipalId": call.account,
            "IdentityType": "Account",
            "Arn": root_arn(call.account),
        }
    return {
        "AccountId": call.account,
        "RoleId": session.data["role_id"],
        "PrincipalId": session.data["principal"],
        "IdentityType": "AssumedRoleUser",
        "Arn": session.data["arn"],
    }


@answers("sts", "AssumeRole")
def assume_role(call: LocalCall, world: World) -> dict[str, object]:
    params = call.params
    role = _ROLE_ARN.fullmatch(str(params["RoleArn"]))
    name = str(params["RoleSessionName"])
    if role is None:
        raise ApiError(
            400,
            "InvalidParameter.RoleArn",
            "The parameter RoleArn is wrongly formed: acs:ram::<account>:role/<name>.",
        )
    if _SESSION_NAME.fullmatch(name) is None:
        raise ApiError(
            400,
            "InvalidParameter.RoleSessionName",
            "The parameter RoleSessionName has 2 to 64 letters, digits and . @ - _.",
        )
    if role[1] != call.account:
        raise _not_trusted()
    found = role_named(world, role[2])
    if not may_be_assumed(found, call.account):
        raise _not_trusted()
    longest_s = int(found["MaxSessionDuration"])
    duration_s = params.get("DurationSeconds") or DURATION_S
    if not DURATION_MIN_S <= duration_s <= longest_s:
        raise ApiError(
            400,
            "InvalidParameter.DurationSeconds",
            f"The parameter DurationSeconds is from {DURATION_MIN_S} to {longest_s}.",
        )
    role_id = found["RoleId"]
    expires_ms = call.wall_ms + duration_s * 1000
    key = temporary_key(
        arn=f"acs:ram::{call.account}:assumed-role/{role[2]}/{name}",
        role_id=role_id,
        session=name,
        expires_ms=expires_ms,
    )
    for old in list(world.each(SESSION)):
        if old.data["expires_ms"] <= call.wall_ms:
            del world.things[SESSION][old.id]
    world.create(
        SESSION,
        key.id,
        {
            "secret": key.secret,
            "token": key.token,
            "arn": key.arn,
            "principal": key.principal,
            "role_id": role_id,
            "expires_ms": expires_ms,
        },
        [("Active", 0)],
    )
    return {
        "AssumedRoleUser": {"AssumedRoleId": key.principal, "Arn": key.arn},
        "Credentials": {
            "AccessKeyId": key.id,
            "AccessKeySecret": key.secret,
            "SecurityToken": key.token,
            "Expiration": f"{datetime.fromtimestamp(expires_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}",
        },
    }


def _not_trusted() -> ApiError:
    return ApiError(
        403,
        "NoPermission",
        "You are not authorized to do this action. You should be authorized by RAM.",
        AccessDeniedDetail={"AuthAction": "sts:AssumeRole", "NoPermissionType": "ImplicitDeny"},
    )
