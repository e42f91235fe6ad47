"""RAM: the roles of the account. The service roles of ACK are there from the start, as in an account that used it before;
the setting ``missing_roles`` takes some of them away.
"""

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.world import World

ROLE = "ram-role"
ROLES_PER_PAGE = 100
SERVICE_ROLES = (
    "AliyunCSDefaultRole",
    "AliyunCSManagedKubernetesRole",
    "AliyunCSManagedNetworkRole",
    "AliyunCSManagedAutoScalerRole",
    "AliyunCSManagedLogRole",
    "AliyunCSManagedCmsRole",
    "AliyunCSManagedCsiRole",
    "AliyunCSServerlessKubernetesRole",
    "AliyunCSKubernetesAuditRole",
)
_LONG_AGO = "2024-01-01T00:00:00Z"
_NAME = re.compile(r"[A-Za-z0-9.\-_]{1,64}")


def role_named(world: World, name: str) -> dict[str, Any]:
    """The role ``name`` as GetRole shows it. Raises ApiError when there is none."""
    found = world.find(ROLE, name)
    if found is not None:
        return found.data["Role"]  # type: ignore[no-any-return]
    if name not in _service_roles(world):
        raise ApiError(404, "EntityNotExist.Role", f"The role does not exist: {name}.")
    return _role(world, name, _trust("cs.aliyuncs.com"), _LONG_AGO)


def may_be_assumed(role: dict[str, Any], account: str) -> bool:
    """Whether the role trusts the account itself, not only a service."""
    try:
        statements = json.loads(role["AssumeRolePolicyDocument"])["Statement"]
        trusted = [arn for one in statements for arn in one["Principal"].get("RAM", [])]
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    return f"acs:ram::{account}:root" in trusted


def _service_roles(world: World) -> list[str]:
    missing = world.settings.get("missing_roles")
    return [name for name in SERVICE_ROLES if not (isinstance(missing, list) and name in missing)]


def _role(world: World, name: str, trust: str, at: str) -> dict[str, Any]:
    digest = int(hashlib.sha256(f"{world.seed} {name}".encode()).hexdigest(), 16)
    return {
        "RoleId": f"3{digest % 10**17:017d}",
        "RoleName": name,
        "Arn": f"acs:ram::{world.account}:role/{name}",
        "Description": "",
        "MaxSessionDuration": 3600,
        "CreateDate": at,
        "UpdateDate": at,
        "AssumeRolePolicyDocument": trust,
    }


def _trust(service: str) -> str:
    statement = {
        "Action": "sts:AssumeRole",
        "Effect": "Allow",
        "Principal": {"Service": [service]},
    }
    return json.dumps({"Statement": [statement], "Version": "1"})


def _required(call: LocalCall, name: str) -> str:
    value = call.params.get(name)
    if not value:
        raise ApiError(400, f"Missing{name}", f"The parameter {name} is mandatory for this action.")
    return str(value)


def _now(world: World) -> str:
    return f"{datetime.fromtimestamp(world.now_ms() / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


@answers("ram", "GetRole")
def get_role(call: LocalCall, world: World) -> dict[str, Any]:
    return {"Role": role_named(world, _required(call, "RoleName"))}


@answers("ram", "CreateRole")
def create_role(call: LocalCall, world: World) -> dict[str, Any]:
    name = _required(call, "RoleName")
    trust = _required(call, "AssumeRolePolicyDocument")
    if _NAME.fullmatch(name) is None:
        raise ApiError(
            400,
            "InvalidParameter.RoleName",
            "The parameter RoleName has 1 to 64 letters, digits and . - _.",
        )
    try:
        policy = json.loads(trust)
    except (ValueError, RecursionError):
        policy = None
    if not isinstance(policy, dict) or not isinstance(policy.get("Statement"), list):
        raise ApiError(
            400,
            "MalformedPolicyDocument",
            "The parameter AssumeRolePolicyDocument is no policy: a JSON object with a Statement list.",
        )
    duration_s = call.params.get("MaxSessionDuration") or 3600
    if not 3600 <= duration_s <= 43_200:
        raise ApiError(
            400,
            "InvalidParameter.MaxSessionDuration",
            "The parameter MaxSessionDuration is from 3600 to 43200.",
        )
    if world.find(ROLE, name) is not None or name in _service_roles(world):
        raise ApiError(409, "EntityAlreadyExists.Role", f"The role already exists: {name}.")
    role = _role(world, name, trust, _now(world))
    role["MaxSessionDuration"] = duration_s
    role["Description"] = str(call.params.get("Description") or "")
    world.create(ROLE, name, {"Role": role, "Policies": []})
    return {"Role": {key: value for key, value in role.items() if key != "UpdateDate"}}


@answers("ram", "ListRoles")
def list_roles(call: LocalCall, world: World) -> dict[str, Any]:
    size = call.params.get("MaxItems") or ROLES_PER_PAGE
    if not 1 <= size <= 1000:
        raise ApiError(
            400, "InvalidParameter.MaxItems", "The parameter MaxItems is from 1 to 1000."
        )
    marker = str(call.params.get("Marker") or "")
    own = [thing.id for thing in world.listed(ROLE)]
    names = sorted(name for name in {*own, *_service_roles(world)} if name > marker)
    roles = [dict(role_named(world, name)) for name in names[:size]]
    for role in roles:
        del role["AssumeRolePolicyDocument"]
    more = len(names) > size
    answer: dict[str, Any] = {"Roles": {"Role": roles}, "IsTruncated": more}
    if more:
        answer["Marker"] = roles[-1]["RoleName"]
    return answer


@answers("ram", "AttachPolicyToRole")
def attach_policy_to_role(call: LocalCall, world: World) -> dict[str, Any]:
    policy, kind = _required(call, "PolicyName"), _required(call, "PolicyType")
    if kind not in ("System", "Custom"):
        raise ApiError(
            400, "InvalidParameter.PolicyType", "The parameter PolicyType is System or Custom."
        )
    name = _required(call, "RoleName")
    role_named(world, name)
    found = world.find(ROLE, name)
    if found is None:
        raise ApiError(
            403,
            "NoPermission",
            f"The service role {name} is the service's: its policies are fixed.",
        )
    attached = found.data["Policies"]
    if any(one["PolicyName"] == policy for one in attached):
        raise ApiError(
            409, "EntityAlreadyExists.Role.Policy", f"The policy is attached already: {policy}."
        )
    new = _policy(policy, kind, _now(world))
    world.update(found, Policies=[*attached, new])
    return {}


@answers("ram", "ListPoliciesForRole")
def list_policies_for_role(call: LocalCall, world: World) -> dict[str, Any]:
    name = _required(call, "RoleName")
    role_named(world, name)
    found = world.find(ROLE, name)
    if found is not None:
        return {"Policies": {"Policy": found.data["Policies"]}}
    return {"Policies": {"Policy": [_policy(f"{name}Policy", "System", _LONG_AGO)]}}


def _policy(name: str, kind: str, at: str) -> dict[str, Any]:
    return {
        "PolicyName": name,
        "PolicyType": kind,
        "DefaultVersion": "v1",
        "Description": "",
        "AttachDate": at,
    }
