"""Asks Alibaba Cloud what a sale will need of it: who we are, which rights are missing, whether endpoints answer in time.

Everything here reads. The rights are tried, not looked up: one harmless read a product, for a policy may hang on a user, a
group or a role, and only the cloud adds them up. A right to read says nothing of the right to write; ``provision policy``
prints those.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from saleops.domain.cloud.calls import Answer, Call
from saleops.errors import CloudError
from saleops.operations.doctor import OK, PROBLEM, WARNING, Check
from saleops.operations.provision.sending import Retries, send
from saleops.ports.cloud import Cloud
from saleops.ports.cloud_doors import Knock

SKEW_GOOD_MS, SKEW_MAX_MS = 60_000, 900_000
"""Signatures carry the time; the cloud refuses those that are too far off, by 15 minutes in the vendor's pages."""

LATENCY_GOOD_MS = 1_000.0
_RETRIES = Retries(attempts_max=3, first_s=0.3, wait_max_s=2.0, waits_max_s=5.0)

SERVICE_ROLES = ("AliyunCSDefaultRole", "AliyunCSManagedAutoScalerRole")
"""What ACK acts as in our account: in general, and when it scales nodes."""

READS: Mapping[str, Call] = {
    "vpc": Call("vpc", "DescribeVpcs", {"RegionId": "", "PageSize": 1}),
    "ecs": Call("ecs", "DescribeSecurityGroups", {"RegionId": ""}),
    "cs": Call("cs", "DescribeClustersV1", {"page_size": 1, "page_number": 1}),
    "polardb": Call("polardb", "DescribeDBClusters", {"RegionId": "", "PageSize": 30}),
    "r-kvstore": Call("r-kvstore", "DescribeInstances", {"RegionId": "", "PageSize": 30}),
    "rocketmq": Call("rocketmq", "ListInstances", {"pageNumber": 1, "pageSize": 10}),
    "dcdn": Call("dcdn", "DescribeDcdnUserDomains", {"PageSize": 1}),
    "quotas": Call("quotas", "ListProductQuotas", {"ProductCode": "ecs", "MaxResults": 1}),
    "bssopenapi": Call("bssopenapi", "QueryAccountBalance"),
}
"""A read of each product that costs and changes nothing; an empty RegionId is filled in."""


@dataclass(frozen=True, slots=True)
class Signed:
    """Who signs, for people: the source that won, the masked key, and who named the region."""

    source: str
    masked_key: str
    region_origin: str
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What checks have in common: a cloud, and chance for the waits between repeats."""

    cloud: Cloud
    random: Random

    def ask(self, call: Call) -> Answer:
        return send(self.cloud, call, random=self.random, retries=_RETRIES).answer


def check_cloud(
    cloud: Cloud,
    *,
    signed: Signed,
    products: Sequence[str],
    knock: Callable[[Sequence[str]], Mapping[str, Knock]],
    environment: Mapping[str, str],
    random: Random,
    virtual: bool = False,
) -> list[Check]:
    """All checks of ``cloud``. ``knock`` tries the endpoints of products; ``virtual``: its time is not ours."""
    seen = Seen(cloud, random)
    knocks = knock(products)
    checks = [check_identity(seen, signed), *check_other_keys(signed, environment)]
    if checks[0].status == PROBLEM and _no_way(knocks):
        return [*checks, *check_endpoints(knocks)]
    if not virtual:
        checks += check_clock(knocks)
    checks += check_endpoints(knocks)
    if checks[0].status == PROBLEM:
        return checks  # every signed call would fail the same way
    open_ones = [code for code in products if code in READS and not knocks[code].problem]
    checks += check_rights(seen, open_ones)
    if "cs" in open_ones:
        checks += check_service_roles(seen)
    return checks


def _no_way(knocks: Mapping[str, Knock]) -> bool:
    return bool(knocks) and all(one.problem for one in knocks.values())


def check_identity(seen: Seen, signed: Signed) -> Check:
    """Who the cloud says we are."""
    name = "cloud identity"
    how = f"key {signed.masked_key} from {signed.source}"
    try:
        answer = seen.ask(Call("sts", "GetCallerIdentity"))
    except CloudError as error:
        return Check(name, PROBLEM, how, error.message, error.hint or "")
    who = _masked_account(str(answer.get("Arn") or answer.get("AccountId") or "somebody"))
    region = f"region {seen.cloud.region} by {signed.region_origin}"
    found = f"{who}, {how}, {region}"
    if answer.get("IdentityType") == "Account" and signed.source != "the local cloud":
        return Check(
            name,
            WARNING,
            found,
            "this key is the account's own: it may do everything, and nobody can take rights from it",
            "Make a RAM user with what `saleops provision policy SALE` prints, and use its key.",
        )
    return Check(name, OK, found)


def _masked_account(arn: str) -> str:
    return re.sub(r"\b(\d{4})\d{8,}\b", r"\1****", arn)


_OTHER_KEYS = {
    "ALICLOUD_ACCESS_KEY": "Terraform",
    "ALIBABACLOUD_ACCESS_KEY_ID": "the aliyun CLI",
    "ALICLOUD_ACCESS_KEY_ID": "the aliyun CLI",
    "ACCESS_KEY_ID": "the aliyun CLI",
}
"""Variables that saleops does not read, and who does."""


def check_other_keys(signed: Signed, environment: Mapping[str, str]) -> list[Check]:
    """Other tools on this machine may sign as somebody else: each such variable, told before it surprises."""
    found = []
    for variable, reader in _OTHER_KEYS.items():
        value = environment.get(variable, "")
        if value and f"{value[:4]}****{value[-4:]}" != signed.masked_key:
            found.append(
                Check(
                    "cloud keys",
                    WARNING,
                    f"{variable} holds another key",
                    f"{reader} signs with it, saleops does not: what one makes, the other may not see",
                    f"unset {variable}",
                )
            )
    return found


def check_clock(knocks: Mapping[str, Knock]) -> list[Check]:
    """Our clock against the Date of the answers; the fastest of them is the most exact."""
    dated = sorted(
        (one for one in knocks.values() if one.date_ms is not None), key=lambda one: one.latency_ms
    )
    if not dated or dated[0].date_ms is None:
        return []
    # A Date header is cut to whole seconds: on average it is half a second behind.
    skew_ms = dated[0].at_ms - (dated[0].date_ms + 500)
    found = f"{abs(skew_ms) / 1000:.0f} s {'ahead of' if skew_ms > 0 else 'behind'} the cloud's"
    if abs(skew_ms) < 2_000:
        return [Check("cloud clock", OK, "agrees with the cloud's")]
    if abs(skew_ms) < SKEW_GOOD_MS:
        return [Check("cloud clock", OK, found)]
    wrong = abs(skew_ms) >= SKEW_MAX_MS
    return [
        Check(
            "cloud clock",
            PROBLEM if wrong else WARNING,
            found,
            "the cloud refuses signatures of another time" if wrong else "it drifts away",
            "sudo chronyc makestep",
        )
    ]


def check_endpoints(knocks: Mapping[str, Knock]) -> list[Check]:
    """One line a product that does not answer or is slow, one for all that are well."""
    checks, well = [], []
    for code, one in knocks.items():
        if one.problem:
            checks.append(
                Check(
                    f"cloud {code}",
                    PROBLEM,
                    f"{one.host} is not reached",
                    one.problem,
                    "Is the region right, is there a proxy (HTTPS_PROXY)? Name another host in SALEOPS_CLOUD_ENDPOINTS.",
                )
            )
        elif one.latency_ms > LATENCY_GOOD_MS:
            checks.append(
                Check(
                    f"cloud {code}",
                    WARNING,
                    f"{one.host} answers in {one.latency_ms:,.0f} ms",
                    "far away, or the way is bad: every step of a change waits for it",
                    "Run saleops nearer to the region.",
                )
            )
        else:
            well.append(one)
    if well:
        slowest = max(one.latency_ms for one in well)
        checks.append(
            Check("cloud endpoints", OK, f"{len(well)} answer, the slowest in {slowest:,.0f} ms")
        )
    return checks


def check_rights(seen: Seen, products: Iterable[str]) -> list[Check]:
    """One harmless read a product: what is denied, with the RAM action where the cloud names it."""
    checks: list[Check] = []
    readable: list[str] = []
    for code in products:
        call = _in_region(READS[code], seen.cloud.region)
        try:
            seen.ask(call)
        except CloudError as error:
            status = PROBLEM if error.kind == "denied" else WARNING
            found = f"{call} is {'denied' if error.kind == 'denied' else 'not answered'}"
            checks.append(
                Check(f"cloud {code} rights", status, found, error.message, error.hint or "")
            )
        else:
            readable.append(code)
    if readable:
        checks.append(Check("cloud rights", OK, f"may read {', '.join(readable)}"))
    return checks


def _in_region(call: Call, region: str) -> Call:
    if call.params.get("RegionId") != "":
        return call
    return Call(call.product, call.api, {**call.params, "RegionId": region})


def check_service_roles(seen: Seen) -> list[Check]:
    """Whether ACK may act in this account: without its roles no cluster is made."""
    call = Call(
        "cs", "CheckServiceRole", body={"roles": [{"name": name} for name in SERVICE_ROLES]}
    )
    name = "cloud ACK roles"
    try:
        answer = seen.ask(call)
    except CloudError as error:
        return [Check(name, WARNING, "not known", error.message, error.hint or "")]
    roles = answer.get("roles") or []
    missing = [str(one.get("name")) for one in roles if not one.get("granted")]
    if not missing:
        return [Check(name, OK, "granted")]
    return [
        Check(
            name,
            PROBLEM if SERVICE_ROLES[0] in missing else WARNING,
            f"not granted: {', '.join(missing)}",
            "ACK may not act in this account until its owner allows it",
            "Open https://cs.console.aliyun.com once with the account's owner, and authorize.",
        )
    ]
