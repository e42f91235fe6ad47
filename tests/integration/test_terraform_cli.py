"""Terraform as a program: the real one on a configuration that needs no provider, and scripts in its place for its worst days."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import saleops.adapters.terraform_cli as cli
from saleops.adapters.terraform_cli import Installed, SignAs, TerraformCli, find_installed
from saleops.errors import ConfigError, UpstreamError
from saleops.events import Advanced, Event, Finished, Started, Warned, silent

needs_terraform = pytest.mark.skipif(
    shutil.which("terraform") is None, reason="terraform is not installed here"
)

CONFIGURATION = """
variable "seconds" {
  type    = number
  default = 0
}

variable "broken" {
  type    = bool
  default = false
}

resource "terraform_data" "first" {
  input = "one"

  lifecycle {
    precondition {
      condition     = !var.broken
      error_message = "It was told to fail."
    }
  }
}

resource "terraform_data" "slow" {
  input = terraform_data.first.id

  provisioner "local-exec" {
    command = "sleep ${var.seconds}"
  }
}

resource "terraform_data" "last" {
  input = terraform_data.slow.id
}

output "first_id" {
  value = terraform_data.first.id
}

output "secret" {
  value     = "hidden"
  sensitive = true
}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "main.tf").write_text(CONFIGURATION)
    return tmp_path


@pytest.fixture
def interrupts() -> Iterator[None]:
    """SIGINT is KeyboardInterrupt, also where the tests were started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def real(folder: Path) -> TerraformCli:
    installed = find_installed(("terraform",))
    assert installed is not None
    return TerraformCli(installed, folder)


def say(folder: Path, **variables: object) -> None:
    (folder / "terraform.tfvars.json").write_text(json.dumps(variables))


def script(folder: Path, body: str, name: str = "terraform") -> Installed:
    """A program in terraform's place."""
    path = folder / name
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)
    return Installed("terraform", str(path), "1.11.4")


@needs_terraform
def test_plan_then_apply_makes_everything_and_a_second_plan_is_empty(folder: Path) -> None:
    seen: list[Event] = []
    terraform = real(folder)

    terraform.prepare(observe=seen.append)
    plan = terraform.plan(observe=seen.append)
    terraform.apply(plan, observe=seen.append)

    assert (plan.add, plan.change, plan.remove) == (3, 0, 0)
    assert sorted((one.action, one.address) for one in plan.changes) == [
        ("create", f"terraform_data.{name}") for name in ("first", "last", "slow")
    ]
    made = [one for one in seen if isinstance(one, Advanced) and "complete after" in one.note]
    assert [one.done for one in made] == [1, 2, 3]
    assert Started("terraform apply", 3, "changes") in seen
    assert Finished("terraform apply", "3 done") in seen
    outputs = terraform.outputs()
    assert outputs.keys() == {"first_id"}
    assert outputs["first_id"] in terraform.ids()
    assert terraform.plan(observe=silent).empty


@needs_terraform
def test_the_plan_file_is_its_owners_alone(folder: Path) -> None:
    terraform = real(folder)
    terraform.prepare(observe=silent)

    plan = terraform.plan(observe=silent)

    assert (folder / plan.file).stat().st_mode & 0o077 == 0


@needs_terraform
def test_a_failing_plan_repeats_terraforms_own_message(folder: Path) -> None:
    say(folder, broken=True)
    terraform = real(folder)
    terraform.prepare(observe=silent)

    with pytest.raises(UpstreamError, match=r"It was told to fail\.") as failed:
        terraform.plan(observe=silent)

    assert "nothing was changed" in failed.value.message
    assert failed.value.hint
    assert terraform.ids() == frozenset()


@needs_terraform
def test_a_configuration_that_cannot_be_read_fails_at_init(folder: Path) -> None:
    (folder / "main.tf").write_text('resource "terraform_data" {')

    with pytest.raises(UpstreamError, match="terraform init failed; nothing was changed") as failed:
        real(folder).prepare(observe=silent)

    assert "main.tf line 1" in failed.value.message
    assert "╷" not in failed.value.message


@needs_terraform
def test_a_plan_that_is_too_old_is_not_applied(folder: Path) -> None:
    terraform = real(folder)
    terraform.prepare(observe=silent)
    plan = terraform.plan(observe=silent)
    terraform.apply(plan, observe=silent)

    with pytest.raises(UpstreamError, match="stale") as failed:
        terraform.apply(plan, observe=silent)

    assert "0 of 3 changes were made" in failed.value.message


@needs_terraform
def test_ctrl_c_lets_terraform_write_its_state_and_the_next_run_goes_on(
    folder: Path, interrupts: None
) -> None:
    say(folder, seconds=30)
    seen: list[Event] = []

    def watch(event: Event) -> None:
        seen.append(event)
        if isinstance(event, Advanced) and event.note == "terraform_data.slow: Creating...":
            signal.raise_signal(signal.SIGINT)

    terraform = real(folder)
    terraform.prepare(observe=silent)
    plan = terraform.plan(observe=silent)

    with pytest.raises(KeyboardInterrupt):
        terraform.apply(plan, observe=watch)

    warned = [one.message for one in seen if isinstance(one, Warned)]
    assert any("finishes the step" in one for one in warned)
    kept = json.loads((folder / "terraform.tfstate").read_text())
    assert "first" in {one["name"] for one in kept["resources"]}
    assert "last" not in {one["name"] for one in kept["resources"]}
    say(folder, seconds=0)
    terraform.apply(terraform.plan(observe=silent), observe=silent)
    assert terraform.plan(observe=silent).empty


def test_the_interrupt_is_passed_on_once(tmp_path: Path, interrupts: None) -> None:
    body = """
count=0
trap 'count=$((count+1)); echo "{\\"type\\": \\"apply_progress\\", \\"@message\\": \\"interrupt $count\\"}"' INT
echo '{"type": "apply_start", "@message": "begun"}'
for _ in 1 2 3 4 5 6 7 8 9 10; do sleep 0.1; done
echo $count > interrupts
exit 1
"""
    seen: list[Event] = []

    def press_twice(event: Event) -> None:
        seen.append(event)
        if isinstance(event, Advanced) and event.note in ("begun", "interrupt 1"):
            signal.raise_signal(signal.SIGINT)

    terraform = TerraformCli(script(tmp_path, body), tmp_path)

    with pytest.raises(KeyboardInterrupt):
        terraform.apply(cli.SavedPlan("x.tfplan", 1, 0, 0, ()), observe=press_twice)

    assert (tmp_path / "interrupts").read_text().strip() == "1"
    assert any(isinstance(one, Warned) and "still stopping" in one.message for one in seen)


def test_one_that_takes_too_long_is_stopped_and_then_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "STOP_TIMEOUT_S", 0.3)
    terraform = TerraformCli(
        script(tmp_path, "trap '' INT\necho $$ > pid\nsleep 60\nsleep 60"), tmp_path
    )

    with pytest.raises(UpstreamError, match="took longer than 1 s and was stopped"):
        terraform.apply(cli.SavedPlan("x.tfplan", 1, 0, 0, ()), observe=silent, timeout_s=0.6)

    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_credentials_reach_it_by_its_environment_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TF_VAR_region", "nowhere")
    monkeypatch.setenv("TF_CLI_ARGS_plan", "-destroy")
    monkeypatch.setenv("TF_LOG", "TRACE")
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", "somebody-else")
    monkeypatch.setenv("ALICLOUD_PROFILE", "other")
    body = 'env > environment\necho "$@" > arguments\necho "it says s3cret-key"\nexit 1'
    sign_as = SignAs("LTAIkey", "s3cret-key", "sts-token", "ap-southeast-1")
    terraform = TerraformCli(script(tmp_path, body), tmp_path, sign_as)

    with pytest.raises(UpstreamError) as failed:
        terraform.plan(observe=silent)

    environment = dict(
        line.partition("=")[::2] for line in (tmp_path / "environment").read_text().splitlines()
    )
    assert environment["ALICLOUD_ACCESS_KEY"] == "LTAIkey"
    assert environment["ALICLOUD_SECRET_KEY"] == "s3cret-key"
    assert environment["ALICLOUD_SECURITY_TOKEN"] == "sts-token"
    assert environment["ALICLOUD_REGION"] == "ap-southeast-1"
    dropped = {"TF_VAR_region", "TF_CLI_ARGS_plan", "TF_LOG", "ALICLOUD_PROFILE"}
    assert not dropped & environment.keys()
    assert "ALIBABA_CLOUD_ACCESS_KEY_ID" not in environment
    assert "s3cret" not in (tmp_path / "arguments").read_text()
    assert "s3cret" not in failed.value.message
    assert "s3cret" not in repr(sign_as)
    assert "s3cret" not in "".join(capfd.readouterr())


def test_no_program_is_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_installed() is None


def test_tofu_is_taken_where_terraform_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(cli.shutil, "which", lambda name: shutil_which(tmp_path, name))
    script(tmp_path, """echo '{"terraform_version": "1.9.0"}'""", name="tofu")

    found = find_installed()

    assert found == Installed("tofu", str(tmp_path / "tofu"), "1.9.0")


def shutil_which(folder: Path, name: str) -> str | None:
    return str(folder / name) if (folder / name).exists() else None


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("""echo '{"terraform_version": "1.4.7"}'""", "terraform 1.4.7 is too old: 1.5 or later"),
        ("""echo '{"terraform_version": "0.15.0"}'""", "is too old"),
        ("echo hello", "does not say its version"),
        ("exit 3", "does not say its version"),
    ],
    ids=["too old", "much too old", "no answer", "it fails"],
)
def test_a_program_that_will_not_do_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, says: str
) -> None:
    script(tmp_path, answer)
    monkeypatch.setattr(cli.shutil, "which", lambda name: shutil_which(tmp_path, name))

    with pytest.raises(ConfigError, match=says) as refused:
        find_installed(("terraform",))

    assert "--with api" in (refused.value.hint or "")


def test_a_program_that_cannot_be_started_is_named(tmp_path: Path) -> None:
    gone = Installed("terraform", str(tmp_path / "gone"), "1.11.4")

    with pytest.raises(UpstreamError, match="could not be started"):
        TerraformCli(gone, tmp_path).prepare(observe=silent)


def test_a_state_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "terraform.tfstate").write_text("{")
    terraform = TerraformCli(Installed("terraform", "terraform", "1.11.4"), tmp_path)

    with pytest.raises(UpstreamError, match="cannot be read"):
        terraform.ids()


def test_the_parts_of_a_composed_id_count(tmp_path: Path) -> None:
    instance = {"attributes": {"id": "stb-1:snat-2"}}
    resource = {"mode": "managed", "type": "alicloud_snat_entry", "instances": [instance]}
    (tmp_path / "terraform.tfstate").write_text(json.dumps({"resources": [resource]}))
    terraform = TerraformCli(Installed("terraform", "terraform", "1.11.4"), tmp_path)

    assert {"stb-1", "snat-2"} <= terraform.ids()
