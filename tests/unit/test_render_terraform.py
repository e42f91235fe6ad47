"""The Terraform module of a sale: the same things as the API path makes, written once, never over somebody's edits."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest

from saleops.cli.main import main
from saleops.config import profile
from saleops.config.profile import default_profile, load_profile
from saleops.config.sale import load_sale
from saleops.domain.cloud.calls import Call
from saleops.domain.cloud.database import DatabaseWishes
from saleops.domain.cloud.resources import SALE_TAG
from saleops.domain.hcl import resources_of
from saleops.domain.terraform import check
from saleops.domain.terraform_schema import SCHEMAS
from saleops.domain.topics import TopicType
from saleops.errors import ConfigError, Refused
from saleops.operations.provision.blueprint import blueprint
from saleops.operations.render_terraform import (
    MODULE,
    apply_render,
    module_texts,
    plan_render,
)
from saleops.operations.rendered_files import MANIFEST
from terraform_module import PROFILE, SALE, documents, values

TERRAFORM = shutil.which("terraform")
needs_terraform = pytest.mark.skipif(TERRAFORM is None, reason="terraform is not installed here")


def render(folder: Path, **more: Any) -> Any:
    return apply_render(plan_render(load_sale(SALE), load_profile(PROFILE), folder, **more))


def states(module: Any) -> dict[str, str]:
    return {one.name: one.state for one in module.files}


def test_a_rendered_module_passes_our_checker(tmp_path: Path) -> None:
    render(tmp_path)

    found = check(
        resources_of(documents(tmp_path.glob("*.tf"))),
        values=values(tmp_path),
        zones=load_sale(SALE).zones,
    )

    assert found == []


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    first = render(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}

    second = render(tmp_path)

    assert first.written
    assert set(states(first).values()) == {"new"}
    assert not second.written
    assert set(states(second).values()) == {"same"}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_an_edited_file_is_kept_until_forced(tmp_path: Path) -> None:
    render(tmp_path)
    (tmp_path / "cache.tf").write_text("# mine\n")

    with pytest.raises(Refused, match=r"cache\.tf in .* was edited") as refused:
        render(tmp_path)

    assert "--force" in (refused.value.hint or "")
    assert (tmp_path / "cache.tf").read_text() == "# mine\n"
    assert states(render(tmp_path, force=True))["cache.tf"] == "edited"
    assert (tmp_path / "cache.tf").read_text() != "# mine\n"


def test_files_that_were_there_before_us_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "network.tf").write_text("# a module of somebody else\n")

    with pytest.raises(Refused, match=r"network\.tf"):
        render(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["network.tf"]


def test_values_of_ours_that_became_old_are_rewritten(tmp_path: Path) -> None:
    sale = load_sale(SALE)
    apply_render(plan_render(sale, default_profile(), tmp_path))

    module = render(tmp_path)

    assert states(module)["terraform.tfvars.json"] in ("changed", "same")
    other = load_profile(PROFILE).model_copy(
        update={
            "network": load_profile(PROFILE).network.model_copy(update={"eip_bandwidth_mbps": 7})
        }
    )
    changed = apply_render(plan_render(sale, other, tmp_path))
    assert states(changed)["terraform.tfvars.json"] == "changed"
    assert [one.name for one in changed.changes] == ["terraform.tfvars.json"]


def test_a_run_killed_between_two_files_leaves_nothing_that_looks_edited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import saleops.operations.rendered_files as rendering

    replace, written = rendering._replace, []

    def die_at_the_fifth(path: Path, text: str) -> None:
        written.append(path.name)
        if len(written) == 5:
            raise KeyboardInterrupt
        replace(path, text)

    monkeypatch.setattr(rendering, "_replace", die_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        render(tmp_path)
    monkeypatch.undo()

    module = render(tmp_path)

    assert {"new", "same"} == set(states(module).values())


def test_a_file_that_is_no_longer_part_goes_unless_it_was_edited(tmp_path: Path) -> None:
    render(tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / "old.tf").write_text("# ours\n")
    import hashlib

    manifest["files"]["old.tf"] = [hashlib.sha256(b"# ours\n").hexdigest()]
    manifest["files"]["../outside.tf"] = manifest["files"]["old.tf"]
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))

    module = render(tmp_path)

    assert states(module)["old.tf"] == "gone"
    assert not (tmp_path / "old.tf").exists()
    assert not any("outside" in name for name in states(module))


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="cannot"):
        render(tmp_path / "file" / "module")


def test_no_secret_is_in_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALEOPS_DATABASE_PASSWORD", "hunter2-in-the-file")
    render(tmp_path)

    for path in tmp_path.iterdir():
        assert "hunter2" not in path.read_text("utf-8"), path
    assert "password" not in (tmp_path / "terraform.tfvars.json").read_text("utf-8")
    variables = (tmp_path / "variables.tf").read_text("utf-8")
    assert re.search(r'variable "database_password" \{[^}]*sensitive\s*=\s*true', variables)
    assert "*.tfstate" in (tmp_path / ".gitignore").read_text("utf-8")


def test_names_addresses_and_tags_are_those_that_the_api_path_sends(tmp_path: Path) -> None:
    render(tmp_path)
    given = values(tmp_path)
    plan = blueprint(load_sale(SALE), load_profile(PROFILE), password=lambda: "x")

    def known(key: str, output: str = "id") -> str:
        return f"{key}.{output}"

    sent: dict[str, list[Call]] = {}
    for one in plan.of("network", "database", "cache", "queue"):
        call = one.create(known)
        sent.setdefault(call.api, []).append(call)

    (vpc,) = sent["CreateVpc"]
    assert given["vpc"] == {"name": vpc.params["VpcName"], "cidr": vpc.params["CidrBlock"]}
    assert given["tags"] == {SALE_TAG: "midnight-drop"}
    assert vpc.params["Tag"] == [{"Key": SALE_TAG, "Value": "midnight-drop"}]
    switches = {
        (call.params["VSwitchName"], call.params["ZoneId"], call.params["CidrBlock"])
        for call in sent["CreateVSwitch"]
    }
    rendered = {
        (one["name"], zone, one["cidr"])
        for which in ("node_vswitches", "pod_vswitches")
        for zone, one in given[which].items()
    }
    assert rendered == switches
    ways_out = {call.params["SnatEntryName"] for call in sent["CreateSnatEntry"]}
    assert ways_out == {
        one["snat_name"]
        for which in ("node_vswitches", "pod_vswitches")
        for one in given[which].values()
    }
    (nat,), (eip,) = sent["CreateNatGateway"], sent["AllocateEipAddress"]
    assert given["egress"]["nat_name"] == nat.params["Name"]
    assert given["egress"]["eip_name"] == eip.params["Name"]
    assert str(given["egress"]["bandwidth_mbps"]) == eip.params["Bandwidth"]
    (group,) = sent["CreateSecurityGroup"]
    assert given["security_group"]["name"] == group.params["SecurityGroupName"]
    (database,) = sent["CreateDBCluster"]
    assert given["database"]["name"] == database.params["DBClusterDescription"]
    assert given["database"]["nodes"] == database.params["DBNodeNum"]
    assert given["database"]["proxy_type"] == database.params["ProxyType"]
    (cache,) = sent["CreateTairInstance"]
    assert given["cache"]["name"] == cache.params["InstanceName"]
    assert given["cache"]["shards"] == cache.params["ShardCount"]
    (queue,) = sent["CreateInstance"]
    assert given["queue"]["name"] == queue.body["instanceName"]
    assert given["queue"]["topics"] == {
        call.path["topicName"]: call.body["messageType"] for call in sent["CreateTopic"]
    }
    assert given["queue"]["groups"] == {
        call.path["consumerGroupId"]: call.body["consumeRetryPolicy"]["deadLetterTargetTopic"]
        for call in sent["CreateConsumerGroup"]
    }


def test_values_that_come_from_the_profile_are_among_those_the_provider_takes() -> None:
    def words(model: type, name: str) -> set[str]:
        return set(get_args(model.model_fields[name].annotation))  # type: ignore[attr-defined]

    def taken(kind: str, argument: str) -> set[str]:
        return set(SCHEMAS[kind].values[argument])

    queue, topic = "alicloud_rocketmq_instance", "alicloud_rocketmq_topic"
    assert words(profile.Queue, "series") <= taken(queue, "series_code")
    assert words(profile.Queue, "sub_series") <= taken(queue, "sub_series_code")
    charges = words(profile.Network, "eip_charge")
    assert charges <= taken("alicloud_eip_address", "internet_charge_type")
    assert {one.value for one in TopicType} <= taken(topic, "message_type")
    for node_class in ("polar.mysql.x4.large", "polar.mysql.g4.large"):
        proxy = DatabaseWishes(node_class, 2, "8.0", "z").proxy
        assert proxy in taken("alicloud_polardb_cluster", "proxy_type")


def test_every_variable_is_declared_given_and_used(tmp_path: Path) -> None:
    render(tmp_path)
    text = "\n".join(path.read_text("utf-8") for path in tmp_path.glob("*.tf"))
    declared = set(re.findall(r'^variable "(\w+)"', text, re.M))
    used = set(re.findall(r"\bvar\.(\w+)", text))

    assert declared == used
    assert declared - {"database_password"} == values(tmp_path).keys()


def test_every_reference_names_a_resource_of_the_module(tmp_path: Path) -> None:
    render(tmp_path)
    text = "\n".join(path.read_text("utf-8") for path in tmp_path.glob("*.tf"))
    there = {one.where for one in resources_of(documents(tmp_path.glob("*.tf")))}

    assert set(re.findall(r"\balicloud_\w+\.\w+", text)) <= there


def test_a_part_alone_is_what_parts_say() -> None:
    texts = module_texts(load_sale(SALE), load_profile(PROFILE), parts=("network",))

    assert json.loads(texts["terraform.tfvars.json"])["parts"] == ["network"]
    assert {f"{name}.tf" for name in MODULE} < texts.keys()


@needs_terraform
def test_terraform_itself_would_not_format_the_module_otherwise(tmp_path: Path) -> None:
    render(tmp_path)

    assert TERRAFORM
    done = subprocess.run(
        [TERRAFORM, "fmt", "-check", "-diff", str(tmp_path)], capture_output=True, timeout=60
    )

    assert done.returncode == 0, done.stdout.decode()


@needs_terraform
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, ""),
        ({"parts": ["database"]}, "network is part of everything"),
        ({"parts": ["network", "cluster"]}, "The parts are"),
        ({"vpc": {"name": "x"}}, "cidr"),
    ],
    ids=["as rendered", "without the network", "an unknown part", "a value of another shape"],
)
def test_terraform_takes_the_values_for_the_variables(
    tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    """The provider cannot be fetched here, so the variables are planned without the resources."""
    texts = module_texts(load_sale(SALE), load_profile(PROFILE))
    (tmp_path / "variables.tf").write_text(texts["variables.tf"])
    given = {**json.loads(texts["terraform.tfvars.json"]), **change}
    (tmp_path / "terraform.tfvars.json").write_text(json.dumps(given))

    assert TERRAFORM
    done = subprocess.run(
        [TERRAFORM, "plan", "-input=false", "-no-color"],
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        env={"PATH": str(Path(TERRAFORM).parent), "CHECKPOINT_DISABLE": "1", "HOME": str(tmp_path)},
    )

    told = " ".join((done.stdout + done.stderr).decode().replace("│", " ").split())
    assert done.returncode == (1 if says else 0), told
    assert says in told


def test_the_command_writes_the_module_and_says_no_change_the_second_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["render", "terraform", str(SALE), "--to", str(tmp_path / "infra")]

    assert main([*command, "--dry-run"]) == 0
    assert not (tmp_path / "infra").exists()
    assert "nothing was written" in capsys.readouterr().out
    assert main([*command, "-o", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "saleops/render-terraform/v1"
    assert document["written"] is True
    assert main(command) == 0
    assert "no change" in capsys.readouterr().out


def test_the_command_refuses_to_overwrite_an_edit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["render", "terraform", str(SALE), "--to", str(tmp_path)]
    main(command)
    (tmp_path / "queue.tf").write_text("# mine\n")

    assert main(command) == 5
    assert "queue.tf" in capsys.readouterr().err
    assert main([*command, "--force"]) == 0
