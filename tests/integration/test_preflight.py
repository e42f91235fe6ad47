"""The preflight on the local cloud: every quota, stock, price, role, class and balance that is short is named with its number."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from provision_cloud import cloud_on
from saleops.adapters.memory_cloud_journal import MemoryCloudJournal
from saleops.config.profile import Profile, load_profile
from saleops.config.sale import load_sale
from saleops.domain.cloud.preflight import PreflightReport
from saleops.domain.cloud.resources import GROUPS
from saleops.operations.provision.blueprint import blueprint
from saleops.operations.provision.courier import Courier
from saleops.operations.provision.preflight import preflight
from saleops.wiring import LocalCloudAccess, cloud_journal_path, open_cloud

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "midnight-drop"
SALE_FILE = EXAMPLE / "sale.yaml"
SALE = load_sale(SALE_FILE)
PROFILE = load_profile(EXAMPLE / "profile.yaml")
TYPES = ("ecs.c7.xlarge", "ecs.c8i.xlarge", "ecs.g7.xlarge")
ZONE = "ap-southeast-1a"
EVERYWHERE = "in ap-southeast-1"
ON_DEMAND, SPOT, NODES = 12, 18, 30  # of the example: 3 core, 27 burst at 70 % spot

pytestmark = pytest.mark.timeout(120)


class Fresh:
    """An empty local cloud in virtual time."""

    def __init__(self, state_dir: Path, cloud: LocalCloudAccess) -> None:
        self.state_dir = state_dir
        self.control = cloud.control

    def settings(self, settings: Mapping[str, Any]) -> None:
        held = self.control.call("GET", "settings")
        self.control.call("PUT", "settings", dict.fromkeys(held) | dict(settings))

    def writes(self) -> int:
        return len(self.control.call("GET", "calls?writes=true&limit=1000")["calls"])

    def look(
        self, profile: Profile = PROFILE, *, accepted: str = "", groups: Any = GROUPS
    ) -> PreflightReport:
        plan = blueprint(SALE, profile, password=lambda: "Correct-horse-7")
        with open_cloud(
            file_region=SALE.region, endpoint="local", state_dir=self.state_dir
        ) as cloud:
            courier = Courier(cloud, MemoryCloudJournal(), random=Random(1))
            return preflight(
                SALE,
                plan,
                courier.read,
                cloud=cloud.name,
                groups=groups,
                now_ms=cloud.clock.now_ms(),
                accepted=accepted,
            )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *(sys.executable, "-m", "saleops", "provision", *words, str(SALE_FILE)),
                *("--endpoint-cloud", "local", "--state-dir", str(self.state_dir), "-o", "json"),
            ],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fresh]:
    state_dir = tmp_path_factory.mktemp("preflight")
    with cloud_on(state_dir) as cloud:
        yield Fresh(state_dir, cloud)


@pytest.fixture
def fresh(running: Fresh) -> Iterator[Fresh]:
    yield running
    running.control.call("DELETE", "faults")
    running.settings({})


def quotas(**values: int) -> dict[str, Any]:
    return {"quotas": {name.replace("__", "."): value for name, value in values.items()}}


SHORT = [
    (quotas(vpc__vpcs=0), f"VPCs {EVERYWHERE}", 1),
    (quotas(vpc__eips=0), f"EIPs {EVERYWHERE}", 1),
    (quotas(vpc__vswitches_per_vpc=4), f"vSwitches of the VPC {EVERYWHERE}", 2),
    (quotas(vpc__nat_gateways_per_vpc=0), f"NAT gateways of the VPC {EVERYWHERE}", 1),
    (quotas(vpc__snat_entries_per_table=5), f"SNAT entries of the NAT gateway {EVERYWHERE}", 1),
    (quotas(ecs__security_groups=0), f"security groups {EVERYWHERE}", 1),
    (
        quotas(ecs__postpaid_vcpu=ON_DEMAND * 4 - 1),
        f"vCPU of on-demand instances {EVERYWHERE}",
        1,
    ),
    (quotas(ecs__spot_vcpu=56), f"vCPU of spot instances {EVERYWHERE}", SPOT * 4 - 56),
    (quotas(cs__clusters=0), f"ACK clusters {EVERYWHERE}", 1),
    (quotas(cs__managed_clusters=0), f"managed ACK clusters {EVERYWHERE}", 1),
    (quotas(cs__nodepools_per_cluster=1), "node pools of a cluster", 1),
    (quotas(cs__nodes_per_cluster=NODES - 7), "nodes of a cluster", 7),
    (quotas(cs__nodes_per_batch=20), "nodes added to a pool at once", 7),
    (
        quotas(alb__servers_per_load_balancer=100),
        f"servers behind the load balancer {EVERYWHERE}",
        5,
    ),
    (quotas(tair__instances=0), f"Tair instances {EVERYWHERE}", 1),
    (quotas(rocketmq__instances=0), f"RocketMQ instances {EVERYWHERE}", 1),
    (quotas(dcdn__domains=0), f"DCDN domains {EVERYWHERE}", 1),
    (quotas(dcdn__preload_urls=39), "URLs to preload today", 1),
    (
        {
            "stock": {f"{type}@{ZONE}": 0 for type in TYPES}
            | {f"spot:{type}@{ZONE}": 500 for type in TYPES}
        },
        f"stock of on-demand nodes in {ZONE}",
        4,
    ),
    ({"stock": {f"spot:{type}@{ZONE}": 0 for type in TYPES}}, f"stock of spot nodes in {ZONE}", 6),
    ({"prices": {f"spot:{TYPES[0]}": 0.131}}, f"spot price of {TYPES[0]}", 0.011),
    ({"prices": {f"spot:{TYPES[1]}": 0.2}}, f"spot price of {TYPES[1]}", 0.07),
    ({"prices": {f"spot:{TYPES[2]}": 0.151}}, f"spot price of {TYPES[2]}", 0.001),
    ({"stock": {f"tair@{ZONE}": 0}}, f"Tair tair.rdb.4g in {ZONE}", 4),
    ({"missing_roles": ["AliyunCSManagedNetworkRole"]}, "service roles of ACK", 1),
    ({"balance": 4_999.5}, "account balance", 0.5),
]


@pytest.mark.parametrize(
    ("settings", "name", "missing"), SHORT, ids=[one[1].replace(" ", "-") for one in SHORT]
)
def test_each_shortfall_is_named_alone_with_its_number(
    fresh: Fresh, settings: dict[str, Any], name: str, missing: float
) -> None:
    fresh.settings(settings)

    report = fresh.look()

    assert report.verdict == "NO-GO"
    assert [one.name for one in report.against] == [name]
    [one] = report.against
    assert one.missing == pytest.approx(missing)
    assert f"{missing:g} missing" in one.said
    assert one.why
    assert one.todo
    assert fresh.writes() == 0


def test_exactly_enough_is_go_and_few_calls_tell(fresh: Fresh) -> None:
    fresh.settings(
        quotas(ecs__spot_vcpu=SPOT * 4, ecs__postpaid_vcpu=ON_DEMAND * 4, cs__nodes_per_cluster=30)
        | {"balance": 5_000, "prices": {f"spot:{TYPES[0]}": 0.12}}
    )

    report = fresh.look()

    assert report.verdict == "GO"
    assert report.calls_count == 25
    assert fresh.writes() == 0


def test_a_type_that_is_sold_out_beside_another_warns(fresh: Fresh) -> None:
    fresh.settings({"stock": {f"{TYPES[0]}@{ZONE}": 0}})

    report = fresh.look()

    assert report.verdict == "GO"
    warned = next(one for one in report.warnings if one.name.endswith(f"on-demand nodes in {ZONE}"))
    assert f"{TYPES[0]} sold out" in warned.said


def test_wishes_nobody_offers_are_named(fresh: Fresh) -> None:
    changed = PROFILE.model_copy(
        update={
            "cluster": PROFILE.cluster.model_copy(
                update={"version": "1.31.9-aliyun.1", "addons": ("no-such-addon",), "log_days": 7}
            ),
            "database": PROFILE.database.model_copy(update={"node_class": "polar.mysql.x9.large"}),
            "cache": PROFILE.cache.model_copy(update={"instance_class": "tair.rdb.3g"}),
        }
    )

    report = fresh.look(changed)

    named = {one.name for one in report.against}
    assert named >= {
        "add-on no-such-addon",
        "Kubernetes 1.31.9-aliyun.1",
        f"PolarDB polar.mysql.x9.large in {ZONE}",
        f"Tair tair.rdb.3g in {ZONE}",
    }


def test_only_the_groups_asked_for_are_checked(fresh: Fresh) -> None:
    fresh.settings(quotas(vpc__eips=0))

    assert fresh.look(groups=("queue",)).verdict == "GO"
    assert fresh.look(groups=("network",)).verdict == "NO-GO"


@pytest.mark.parametrize(
    ("api", "name"),
    [
        ("quotas.ListProductQuotas", "EIPs"),
        ("ecs.DescribeAccountAttributes", "vCPU of spot instances in ap-southeast-1"),
        ("ecs.DescribeAvailableResource", f"stock of spot nodes in {ZONE}"),
        ("ecs.DescribeSpotPriceHistory", f"spot price of {TYPES[0]}"),
        ("cs.DescribeUserQuota", "nodes of a cluster"),
        ("cs.CheckServiceRole", "service roles of ACK"),
        ("cs.ListAddons", "add-on terway-eniip"),
        ("vpc.ListEnhanhcedNatGatewayAvailableZones", f"enhanced NAT gateway in {ZONE}"),
        ("polardb.DescribeDBClusterAvailableResources", f"PolarDB polar.mysql.x4.large in {ZONE}"),
        ("polardb.DescribeClassList", "connections of polar.mysql.x4.large"),
        ("r-kvstore.DescribeAvailableResource", f"Tair tair.rdb.4g in {ZONE}"),
        ("dcdn.DescribeDcdnRefreshQuota", "URLs to preload today"),
        ("bssopenapi.QueryAccountBalance", "account balance"),
        ("vpc.DescribeVpcs", "what is there already"),
    ],
)
@pytest.mark.parametrize("status", [403, 503])
def test_what_cannot_be_looked_at_is_a_no_go_that_names_it(
    fresh: Fresh, api: str, name: str, status: int
) -> None:
    code = "Forbidden.RAM" if status == 403 else "ServiceUnavailable"
    rule = {"api": api, "code": code, "status": status, "times": 1_000}
    fresh.control.call("PUT", "faults", {"rules": [rule]})

    report = fresh.look()

    assert report.verdict == "NO-GO"
    blind = {one.name: one for one in report.against}
    assert name in blind
    assert not any(one.checked for one in report.against)
    assert blind[name].problem
    accepted = fresh.look(accepted="looked it up in the console")
    assert accepted.verdict == ("NO-GO" if api == "vpc.DescribeVpcs" else "GO")
    assert fresh.writes() == 0


def test_the_command_exits_3_and_provisioning_sends_no_write_until_told_to(fresh: Fresh) -> None:
    fresh.settings(quotas(ecs__spot_vcpu=56))

    asked, made = fresh.run("preflight"), fresh.run("all")

    for done in (asked, made):
        assert done.returncode == 3, done.stderr
        assert "vCPU of spot instances in ap-southeast-1: 72 wanted, 56 free, 16 missing" in (
            done.stderr
        )
        assert "Quota Center" in done.stderr
    document = json.loads(asked.stdout)
    assert document["schema"] == "saleops/provision-preflight/v1"
    assert document["verdict"] == "NO-GO"
    assert fresh.writes() == 0
    empty = fresh.run("network", "--skip-preflight", " ")
    assert empty.returncode == 2


def test_after_provisioning_it_stays_go_however_little_is_left(tmp_path: Path) -> None:
    with cloud_on(tmp_path / "state") as cloud:
        fresh = Fresh(tmp_path / "state", cloud)
        fresh.settings(quotas(vpc__eips=0))
        made = fresh.run("all", "--skip-preflight", "ticket 4711")
        assert made.returncode == 4  # the cloud itself refuses the EIP
        fresh.settings({})
        made = fresh.run("all")
        assert made.returncode == 0, made.stderr
        writes = fresh.writes()
        fresh.settings(
            quotas(
                vpc__vpcs=1,
                vpc__eips=1,
                ecs__security_groups=1,
                ecs__postpaid_vcpu=ON_DEMAND * 4,
                ecs__spot_vcpu=SPOT * 4,
                cs__clusters=1,
                cs__nodes_per_cluster=30,
                tair__instances=1,
                rocketmq__instances=1,
                dcdn__domains=1,
            )
            | {"stock": dict.fromkeys(TYPES, 0)}
        )

        report = fresh.look()

        assert report.verdict == "GO", report.against
        assert report.calls_count == 3
        assert fresh.run("preflight").returncode == 0
        assert fresh.writes() == writes
        fresh.settings(
            {"vswitch_ips": {f"{SALE.name}-node-{ZONE}": 15, f"{SALE.name}-pod-{ZONE}": 0}}
        )
        for groups in (GROUPS, ("nodepool",)):
            short = {one.name: one.missing for one in fresh.look(groups=groups).against}
            # Ten nodes and 88 addresses of pods and agents in a zone are had; what a rollout and a lost zone add is not.
            assert short[f"free addresses for nodes in {ZONE}"] == 1
            assert short[f"free addresses for pods in {ZONE}"] == pytest.approx(146 - 88)
        journal = cloud_journal_path(tmp_path / "state", SALE.name, "local").read_text()
        assert "--skip-preflight 'ticket 4711'" in journal
