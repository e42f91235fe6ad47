"""Who may reach a PolarDB cluster: IP whitelists, accounts and databases. A password is checked and never kept."""

import ipaddress
import re
from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.products.polardb_calls import (
    cluster_of,
    numbered,
    running_cluster,
    wrong,
)
from saleops.services.cloud.world import Thing, World

IPS_MOST = 1000
_ARRAY = re.compile(r"[a-z][a-z0-9_]{0,118}[a-z0-9]")
_ACCOUNT = re.compile(r"[a-z][a-z0-9_]{0,14}[a-z0-9]")
_DATABASE = re.compile(r"[a-z](?:[a-z0-9_-]{0,62}[a-z0-9])?")
_SPECIAL = "!@#$%^&*()_+-="
_RESERVED = ("root", "admin", "aurora", "replicator", "mysql", "test")
_PRIVILEGES = ("ReadWrite", "ReadOnly", "DMLOnly", "DDLOnly", "ReadIndex")


@answers("polardb", "DescribeDBClusterAccessWhitelist")
def describe_db_cluster_access_whitelist(call: LocalCall, world: World) -> dict[str, Any]:
    data = cluster_of(call, world).data
    return {
        "DBClusterSecurityGroups": {
            "DBClusterSecurityGroup": [
                {"SecurityGroupId": id, "SecurityGroupName": id} for id in data["security_groups"]
            ]
        },
        "Items": {
            "DBClusterIPArray": [
                {
                    "DBClusterIPArrayAttribute": array["attribute"],
                    "DBClusterIPArrayName": name,
                    "SecurityIps": ",".join(array["ips"]),
                }
                for name, array in data["whitelist"].items()
            ]
        },
    }


@answers("polardb", "ModifyDBClusterAccessWhitelist")
def modify_db_cluster_access_whitelist(call: LocalCall, world: World) -> dict[str, Any]:
    """``ModifyMode`` is Cover by default: what stood in the array is lost."""
    cluster, params = running_cluster(call, world), call.params
    if params.get("WhiteListType") == "SecurityGroup":
        return _set_security_groups(world, cluster, str(params.get("SecurityGroupIds") or ""))
    mode = params.get("ModifyMode") or "Cover"
    if mode not in ("Cover", "Append", "Delete"):
        raise wrong(
            "ModifyMode", mode, "use Cover, Append, Delete", code="InvalidModifyMode.Format"
        )
    name = params.get("DBClusterIPArrayName") or "default"
    if not _ARRAY.fullmatch(name):
        raise wrong(
            "DBClusterIPArrayName",
            name,
            "2 to 120 lower-case letters, digits or _",
            code="InvalidDBClusterIPArrayName.Format",
        )
    ips = _addresses(params.get("SecurityIps"))
    whitelist = dict(cluster.data["whitelist"])
    array = whitelist.get(name, {"ips": [], "attribute": ""})
    if mode == "Delete":
        if name not in whitelist:
            raise ApiError(
                404,
                "InvalidDBClusterIPArrayName.NotFound",
                f"DBClusterIPArrayName {name!r}: no such array",
            )
        left = [ip for ip in array["ips"] if ip not in ips]
    elif mode == "Append":
        left = [*array["ips"], *(ip for ip in ips if ip not in array["ips"])]
        # The address that lets nobody in makes way for the first one that does.
        left = [ip for ip in left if ip != "127.0.0.1"] or left
    else:
        left = ips
    if left or name == "default":
        attribute = params.get("DBClusterIPArrayAttribute") or array["attribute"]
        whitelist[name] = {"ips": left or ["127.0.0.1"], "attribute": attribute}
    else:
        whitelist.pop(name, None)
    total = sum(len(each["ips"]) for each in whitelist.values())
    if total > IPS_MOST:
        raise wrong(
            "SecurityIps",
            total,
            f"at most {IPS_MOST} addresses in all arrays",
            code="QuotaExceeded.SecurityIps",
        )
    world.update(cluster, whitelist=whitelist)
    return {}


def _addresses(sent: Any) -> list[str]:
    ips = [ip.strip() for ip in str(sent or "").split(",") if ip.strip()]
    if not ips:
        raise ApiError(400, "MissingParameter", "SecurityIps: name at least one address")
    for number, ip in enumerate(ips):
        try:
            ipaddress.IPv4Network(ip, strict=False)
        except ValueError:
            raise wrong(
                "SecurityIps", ip, "not an IPv4 address or block", code="InvalidSecurityIPs.Format"
            ) from None
        if ip in ips[:number]:
            raise wrong(
                "SecurityIps", ip, "the address comes twice", code="InvalidSecurityIPs.Duplicate"
            )
    return ips


def _set_security_groups(world: World, cluster: Thing, sent: str) -> dict[str, Any]:
    ids = [id for id in sent.split(",") if id]
    if len(ids) > 3:
        raise wrong("SecurityGroupIds", sent, "at most 3 groups")
    for id in ids:
        if world.find("security_group", id) is None:
            raise ApiError(
                404, "InvalidSecurityGroupId.NotFound", f"SecurityGroupIds {id!r}: no such group"
            )
    world.update(cluster, security_groups=ids)
    return {}


def allows(cluster: Thing, source: str) -> bool:
    try:
        address = ipaddress.IPv4Address(source)
    except ValueError:
        raise wrong(
            "SourceIpAddress", source, "not an IPv4 address", code="InvalidSourceIpAddress.Format"
        ) from None
    return any(
        address in ipaddress.IPv4Network(ip, strict=False)
        for array in cluster.data["whitelist"].values()
        for ip in array["ips"]
        if ip != "127.0.0.1"
    )


@answers("polardb", "CreateAccount")
def create_account(call: LocalCall, world: World) -> dict[str, Any]:
    cluster, params = running_cluster(call, world), call.params
    name, sort = str(params["AccountName"]), params.get("AccountType") or "Super"
    if not _ACCOUNT.fullmatch(name) or name in _RESERVED:
        raise wrong(
            "AccountName",
            name,
            "2 to 16 lower-case letters, digits or _, not reserved",
            code="InvalidAccountName.Malformed",
        )
    if name in cluster.data["accounts"]:
        raise wrong(
            "AccountName", name, "the account is there already", code="InvalidAccountName.Duplicate"
        )
    if sort not in ("Normal", "Super"):
        raise wrong("AccountType", sort, "use Normal, Super", code="InvalidAccountType.Malformed")
    _check_password(str(params["AccountPassword"]))
    databases = [db for db in str(params.get("DBName") or "").split(",") if db]
    privileges = [each for each in str(params.get("AccountPrivilege") or "").split(",") if each]
    if databases and sort == "Super":
        raise wrong("DBName", params["DBName"], "only with AccountType Normal")
    for db in databases:
        if db not in cluster.data["databases"]:
            raise ApiError(
                404, "InvalidDBName.NotFound", f"DBName {db!r}: no such database in {cluster.id!r}"
            )
    if databases and len(privileges) not in (1, len(databases)):
        raise wrong("AccountPrivilege", privileges, "one for all databases, or one each")
    for privilege in privileges:
        if privilege not in _PRIVILEGES:
            raise wrong("AccountPrivilege", privilege, "use " + ", ".join(_PRIVILEGES))
    if len(privileges) == 1:
        privileges *= len(databases)
    account = {
        "type": sort,
        "description": params.get("AccountDescription") or "",
        "privileges": dict(zip(databases, privileges, strict=False)),
        "ready_ms": world.now_ms() + 10_000,
    }
    world.update(cluster, accounts={**cluster.data["accounts"], name: account})
    return {}


def _check_password(password: str) -> None:
    """The refusal never repeats the password."""
    kinds = [
        re.search(form, password)
        for form in ("[a-z]", "[A-Z]", "[0-9]", f"[{re.escape(_SPECIAL)}]")
    ]
    strange = [
        letter
        for letter in password
        if not (letter.isascii() and letter.isalnum()) and letter not in _SPECIAL
    ]
    if not 8 <= len(password) <= 32 or sum(map(bool, kinds)) < 3 or strange:
        raise ApiError(
            400,
            "InvalidAccountPassword.Malformed",
            f"AccountPassword: 8 to 32 characters, three of upper, lower, digits and {_SPECIAL}",
        )


@answers("polardb", "DescribeAccounts")
def describe_accounts(call: LocalCall, world: World) -> dict[str, Any]:
    cluster, wanted = cluster_of(call, world), call.params.get("AccountName")
    found = [
        (name, about)
        for name, about in cluster.data["accounts"].items()
        if wanted in (None, "", name)
    ]
    page, about = numbered(found, call.params, default=30, sizes=(30, 50, 100))
    now_ms = world.now_ms()
    return {
        "Accounts": [
            {
                "AccountDescription": account["description"],
                "AccountLockState": "UnLock",
                "AccountName": name,
                "AccountPasswordValidTime": "",
                "AccountStatus": "Creating" if account["ready_ms"] > now_ms else "Available",
                "AccountType": account["type"],
                "DatabasePrivileges": [
                    {"AccountPrivilege": privilege, "DBName": db}
                    for db, privilege in account["privileges"].items()
                ],
            }
            for name, account in page
        ],
        "PageNumber": about["PageNumber"],
        "PageRecordCount": about["PageRecordCount"],
    }


@answers("polardb", "CreateDatabase")
def create_database(call: LocalCall, world: World) -> dict[str, Any]:
    cluster, params = running_cluster(call, world), call.params
    name, account = str(params["DBName"]), params.get("AccountName")
    if not _DATABASE.fullmatch(name) or name in _RESERVED:
        raise wrong(
            "DBName",
            name,
            "1 to 64 lower-case letters, digits, - or _, not reserved",
            code="InvalidDBName.Malformed",
        )
    if name in cluster.data["databases"]:
        raise wrong("DBName", name, "the database is there already", code="InvalidDBName.Duplicate")
    accounts = dict(cluster.data["accounts"])
    if account:
        if account not in accounts:
            raise ApiError(
                404, "InvalidAccountName.NotFound", f"AccountName {account!r}: no such account"
            )
        privilege = params.get("AccountPrivilege") or "ReadWrite"
        if privilege not in _PRIVILEGES:
            raise wrong("AccountPrivilege", privilege, "use " + ", ".join(_PRIVILEGES))
        own = accounts[account]
        accounts[account] = {**own, "privileges": {**own["privileges"], name: privilege}}
    database = {
        "charset": params["CharacterSetName"],
        "description": params.get("DBDescription") or "",
    }
    world.update(
        cluster, databases={**cluster.data["databases"], name: database}, accounts=accounts
    )
    return {}
