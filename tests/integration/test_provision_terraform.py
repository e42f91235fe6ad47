"""``saleops provision network`` with something that behaves as Terraform does, on a local cloud in the real one's place.

The stand-in makes exactly what the rendered values say, by API calls of its own, as the provider would. So these tests hold the
rendered values, the survey that has to find them, and the questions and refusals in between.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from saleops import wiring
from saleops.adapters.terraform_cli import Installed
from saleops.cli.main import main
from saleops.domain.cloud.calls import Call
from saleops.errors import CloudError, ConfigError, UpstreamError
from saleops.events import Observer
from saleops.ports.cloud import Cloud
from saleops.ports.terraform import PlannedChange, SavedPlan
from terraform_module import SALE

REGION = "ap-southeast-1"


@dataclass
class PaperTerraform:
    """``made`` is its state: the ids of what it made. ``skips`` are kinds of things it forgets."""

    state: Path
    cloud: list[Cloud]
    folder: Path = Path()
    tool: str = "terraform"
    version: str = "1.11.4"
    skips: tuple[str, ...] = ()
    fails: str = ""
    log: list[str] = field(default_factory=list)

    def prepare(self, *, observe: Observer) -> None:
        self.log.append("init")

    def plan(self, *, observe: Observer) -> SavedPlan:
        self.log.append("plan")
        names = () if self.ids() else ("alicloud_vpc.sale", "alicloud_nat_gateway.sale")
        changes = tuple(PlannedChange(name, "create") for name in names)
        return SavedPlan("sale.tfplan", len(changes), 0, 0, changes)

    def apply(self, plan: SavedPlan, *, observe: Observer, timeout_s: float | None) -> None:
        self.log.append("apply")
        if self.fails:
            raise UpstreamError(f"terraform apply failed; 0 changes were made\n{self.fails}")
        values = json.loads((self.folder / "terraform.tfvars.json").read_text("utf-8"))
        assert values["parts"] == ["network"]
        self.state.write_text(json.dumps(list(self._make(values))))

    def outputs(self) -> Mapping[str, Any]:
        return {"vpc_id": "vpc-1"}

    def ids(self) -> frozenset[str]:
        return frozenset(json.loads(self.state.read_text()) if self.state.exists() else ())

    def _send(self, product: str, api: str, **params: Any) -> Any:
        cloud = self.cloud[-1]
        for _ in range(20):
            try:
                return cloud.send(Call(product, api, {"RegionId": cloud.region, **params}))
            except CloudError as error:
                if not error.retryable and error.kind != "missing":
                    raise
                cloud.clock.sleep(15)
        raise AssertionError(f"{api} stays busy")

    def _make(self, values: dict[str, Any]) -> Iterator[str]:
        tags = [{"Key": key, "Value": value} for key, value in values["tags"].items()]
        vpc = self._send(
            "vpc",
            "CreateVpc",
            VpcName=values["vpc"]["name"],
            CidrBlock=values["vpc"]["cidr"],
            Tag=tags,
        )["VpcId"]
        yield vpc
        switches: dict[str, str] = {}
        snat: dict[str, str] = {}
        for which in ("node_vswitches", "pod_vswitches"):
            for zone, one in values[which].items():
                id = self._send(
                    "vpc",
                    "CreateVSwitch",
                    VpcId=vpc,
                    ZoneId=zone,
                    CidrBlock=one["cidr"],
                    VSwitchName=one["name"],
                    Tag=tags,
                )["VSwitchId"]
                switches[f"{which}/{zone}"] = id
                snat[id] = one["snat_name"]
                yield id
        egress, group = values["egress"], values["security_group"]
        sg = self._send(
            "ecs",
            "CreateSecurityGroup",
            VpcId=vpc,
            SecurityGroupName=group["name"],
            SecurityGroupType="enterprise",
            Tag=tags,
        )["SecurityGroupId"]
        yield sg
        rule = {
            "IpProtocol": "ALL",
            "PortRange": "-1/-1",
            "SourceCidrIp": group["from_cidr"],
            "Policy": "accept",
            "Priority": "1",
        }
        self._send("ecs", "AuthorizeSecurityGroup", SecurityGroupId=sg, Permissions=[rule])
        eip = self._send(
            "vpc",
            "AllocateEipAddress",
            Name=egress["eip_name"],
            Bandwidth=str(egress["bandwidth_mbps"]),
            InternetChargeType=egress["charge"],
            InstanceChargeType="PostPaid",
            Tag=tags,
        )
        yield eip["AllocationId"]
        nat = self._send(
            "vpc",
            "CreateNatGateway",
            VpcId=vpc,
            VSwitchId=switches[f"node_vswitches/{egress['nat_zone']}"],
            Name=egress["nat_name"],
            NatType="Enhanced",
            NetworkType="internet",
            InstanceChargeType="PostPaid",
            InternetChargeType="PayByLcu",
            Tag=tags,
        )
        yield nat["NatGatewayId"]
        self.cloud[-1].clock.sleep(120)
        self._send(
            "vpc",
            "AssociateEipAddress",
            AllocationId=eip["AllocationId"],
            InstanceId=nat["NatGatewayId"],
            InstanceType="Nat",
        )
        self.cloud[-1].clock.sleep(30)
        if "snat" in self.skips:
            return
        for id, name in snat.items():
            made = self._send(
                "vpc",
                "CreateSnatEntry",
                SnatTableId=nat["SnatTableIds"]["SnatTableId"][0],
                SnatIp=eip["EipAddress"],
                SourceVSwitchId=id,
                SnatEntryName=name,
            )
            yield made["SnatEntryId"]
            self.cloud[-1].clock.sleep(10)


@dataclass
class Desk:
    """A machine with a terraform, whose Alibaba Cloud is a local one."""

    path: Path
    terraform: PaperTerraform
    capsys: pytest.CaptureFixture[str]

    def run(self, *words: str, code: int = 0) -> str:
        state = ("--state-dir", str(self.path / "state"))
        got = main(["provision", words[0], str(SALE), *words[1:], *state])
        shown = self.capsys.readouterr()
        assert got == code, shown.err
        return shown.out + shown.err


@pytest.fixture
def desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Desk:
    clouds: list[Cloud] = []
    open_cloud = wiring.open_cloud
    terraform = PaperTerraform(tmp_path / "ids.json", clouds)

    @contextmanager
    def opened(**settings: Any) -> Iterator[Cloud]:
        with open_cloud(**{**settings, "endpoint": "local"}) as cloud:
            clouds.append(cloud)
            yield cloud

    def open_terraform(installed: Installed, folder: Path, *, region: str) -> PaperTerraform:
        terraform.folder = folder
        return terraform

    monkeypatch.setattr(wiring, "open_cloud", opened)
    monkeypatch.setattr(wiring, "open_terraform", open_terraform)
    monkeypatch.setattr(
        wiring, "installed_terraform", lambda wanted: Installed("terraform", "terraform", "1.11.4")
    )
    monkeypatch.delenv("SALEOPS_CLOUD_ENDPOINTS", raising=False)
    monkeypatch.delenv("SALEOPS_ENDPOINT_CLOUD", raising=False)
    return Desk(tmp_path, terraform, capsys)


def test_what_terraform_makes_is_found_by_name_and_tag_and_a_second_run_changes_nothing(
    desk: Desk,
) -> None:
    said = desk.run("network", "--yes", "-o", "json")
    document = json.loads(said[said.index("{") : said.rindex("}") + 1])

    assert document["schema"] == "saleops/provision-terraform/v1"
    assert document["applied"] is True
    assert document["found"] == 18
    assert desk.terraform.log == ["init", "plan", "apply"]
    desk.terraform.log.clear()
    assert "no change" in desk.run("network", "--yes")
    assert desk.terraform.log == ["init", "plan"]
    assert "no change" in desk.run("network", "--with", "api", "--yes")


def test_a_dry_run_is_terraforms_plan_and_makes_nothing(desk: Desk) -> None:
    assert "alicloud_vpc.sale" in desk.run("network", "--dry-run")

    assert desk.terraform.log == ["init", "plan"]
    assert (desk.path / "state" / "terraform" / "midnight-drop" / "network.tf").exists()


def test_without_a_yes_nothing_is_made(desk: Desk) -> None:
    assert "This costs money" in desk.run("network", code=5)

    assert "apply" not in desk.terraform.log


def test_what_the_cloud_lacks_afterwards_is_named(desk: Desk) -> None:
    desk.terraform.skips = ("snat",)

    said = desk.run("network", "--yes", code=3)

    assert "terraform is done, and the cloud differs" in said
    assert "SNAT entry midnight-drop-snat-pod-ap-southeast-1c: is not there" in said


def test_a_failure_of_terraform_is_told_in_its_own_words(desk: Desk) -> None:
    desk.terraform.fails = "QuotaExceeded.Vpc: the quota is 10"

    assert "QuotaExceeded.Vpc: the quota is 10" in desk.run("network", "--yes", code=4)


def test_a_network_that_its_state_does_not_hold_is_left_to_the_api(desk: Desk) -> None:
    desk.run("network", "--with", "api", "--yes")

    assert "by the API" in desk.run("network", "--yes")
    assert desk.terraform.log == []
    assert "would make these again" in desk.run("network", "--with", "terraform", code=5)


def test_files_that_somebody_edited_there_are_not_overwritten(desk: Desk) -> None:
    desk.run("network", "--dry-run")
    edited = desk.path / "state" / "terraform" / "midnight-drop" / "network.tf"
    edited.write_text("# mine\n")

    assert "was edited" in desk.run("network", "--yes", code=5)
    assert edited.read_text() == "# mine\n"


def test_a_cloud_on_this_machine_is_never_terraforms(desk: Desk) -> None:
    local = ("--endpoint-cloud", "local")

    assert "only" in desk.run("network", *local, "--with", "terraform", code=2)
    desk.run("network", *local, "--dry-run")
    assert desk.terraform.log == []


def test_other_endpoints_are_never_terraforms(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALEOPS_CLOUD_ENDPOINTS", "vpc=http://127.0.0.1:1")

    assert "other hosts" in desk.run("network", "--with", "terraform", code=2)


def test_a_program_that_is_asked_for_and_missing_is_an_error(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiring, "installed_terraform", lambda wanted: None)

    assert "tofu is not installed" in desk.run("network", "--with", "tofu", code=2)
    assert "VPC midnight-drop-vpc" in desk.run("network", "--dry-run")


def test_one_that_is_too_old_leaves_it_to_the_api_unless_it_is_asked_for(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_old(wanted: str) -> Installed:
        raise ConfigError("terraform 1.4.7 is too old; nothing was changed", hint="--with api")

    monkeypatch.setattr(wiring, "installed_terraform", too_old)

    said = desk.run("network", "--dry-run")
    assert "by the API: terraform 1.4.7 is too old" in said
    assert "VPC midnight-drop-vpc" in said
    assert "1.4.7 is too old" in desk.run("network", "--with", "terraform", code=2)


def test_an_unknown_word_is_usage(desk: Desk) -> None:
    assert "auto, terraform, tofu, api" in desk.run("network", "--with", "pulumi", code=2)
