"""Who signs, in a process of its own with a home of its own: each source of the official chain, its order, its failures."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from saleops.adapters.aliyun_credentials import (
    cli_profile,
    find_credentials,
    find_region,
    fixed_credentials,
    masked_key,
)
from saleops.errors import ConfigError

ENV = {
    "ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAIenvEnvEnvEnv",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "s-env",
}
CODE = """
import json
from saleops.adapters.aliyun_credentials import find_credentials, find_region
from saleops.errors import SaleopsError
try:
    found = find_credentials()
    signed = found.signer.get_credential()
    said = {"source": found.source, "key": signed.access_key_id, "secret": signed.access_key_secret,
            "token": signed.security_token, "temporary": found.temporary, "repr": repr(found)}
except SaleopsError as error:
    said = {"error": error.message, "hint": error.hint, "exit": error.exit_code}
print(json.dumps(said))
"""


def found_in(home: Path, **environment: str) -> dict[str, Any]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ALIBABA", "ALICLOUD", "HTTP", "http"))
    }
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**kept, **environment, "HOME": str(home)},
    )
    assert done.stderr == ""
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def write_cli(home: Path, *profiles: dict[str, str], current: str = "default") -> None:
    folder = home / ".aliyun"
    folder.mkdir()
    document = {"current": current, "profiles": list(profiles)}
    (folder / "config.json").write_text(json.dumps(document), encoding="utf-8")


def write_ini(home: Path) -> None:
    folder = home / ".alibabacloud"
    folder.mkdir()
    (folder / "credentials.ini").write_text(
        "[default]\ntype = access_key\naccess_key_id = LTAIiniIniIniIni\naccess_key_secret = s-ini\n",
        encoding="utf-8",
    )


def ak(name: str, key: str, **more: str) -> dict[str, str]:
    return {
        "name": name,
        "mode": "AK",
        "access_key_id": key,
        "access_key_secret": f"s-{name}",
        **more,
    }


def test_the_environment_comes_first(tmp_path: Path) -> None:
    write_cli(tmp_path, ak("default", "LTAIcliCliCliCli"))
    write_ini(tmp_path)

    said = found_in(tmp_path, **ENV)

    assert (said["source"], said["key"], said["secret"]) == (
        "environment variables",
        "LTAIenvEnvEnvEnv",
        "s-env",
    )
    assert not said["temporary"]
    assert "s-env" not in said["repr"]
    assert "LTAIenv" not in said["repr"]


def test_a_session_token_in_the_environment_is_sent(tmp_path: Path) -> None:
    said = found_in(tmp_path, **ENV, ALIBABA_CLOUD_SECURITY_TOKEN="tok")

    assert (said["token"], said["temporary"]) == ("tok", True)


def test_the_cli_profile_comes_before_the_ini_file(tmp_path: Path) -> None:
    write_cli(tmp_path, ak("default", "LTAIcliCliCliCli"), ak("other", "LTAIothOthOthOth"))
    write_ini(tmp_path)

    said = found_in(tmp_path)
    other = found_in(tmp_path, ALIBABA_CLOUD_PROFILE="other")
    off = found_in(tmp_path, ALIBABA_CLOUD_CLI_PROFILE_DISABLED="true")

    assert (said["source"], said["key"]) == ("aliyun CLI profile default (AK)", "LTAIcliCliCliCli")
    assert (other["source"], other["key"]) == ("aliyun CLI profile other (AK)", "LTAIothOthOthOth")
    assert (off["source"], off["key"]) == ("~/.alibabacloud/credentials.ini", "LTAIiniIniIniIni")


def test_a_cli_profile_may_hold_a_session(tmp_path: Path) -> None:
    write_cli(
        tmp_path, {**ak("default", "STS.Example01234"), "mode": "StsToken", "sts_token": "tok"}
    )

    said = found_in(tmp_path)

    assert (said["source"], said["token"]) == ("aliyun CLI profile default (StsToken)", "tok")


def test_without_credentials_three_ways_are_named_and_nobody_waits(tmp_path: Path) -> None:
    began_s = time.monotonic()

    said = found_in(tmp_path)

    assert time.monotonic() - began_s < 10, "the metadata address of an ECS instance was asked"
    assert said["exit"] == 2
    assert "no Alibaba Cloud credentials" in said["error"]
    for way in ("aliyun configure", "ALIBABA_CLOUD_ACCESS_KEY_ID", "credentials.ini", "local"):
        assert way in said["hint"]


def test_terraforms_variables_are_told_apart(tmp_path: Path) -> None:
    said = found_in(tmp_path, ALICLOUD_ACCESS_KEY="LTAIx", ALICLOUD_SECRET_KEY="s-terraform")

    assert "ALICLOUD_ACCESS_KEY is read by Terraform alone" in said["error"]
    assert "s-terraform" not in json.dumps(said)


@pytest.mark.parametrize("name", list(ENV))
def test_half_a_key_is_a_mistake_that_is_named(tmp_path: Path, name: str) -> None:
    write_cli(tmp_path, ak("default", "LTAIcliCliCliCli"))

    said = found_in(tmp_path, **{name: ENV[name]})

    assert f"{name} is set" in said["error"]
    assert "s-env" not in json.dumps(said)


def test_a_profile_that_is_not_there_is_named(tmp_path: Path) -> None:
    write_cli(tmp_path, ak("default", "LTAIcliCliCliCli"))

    said = found_in(tmp_path, ALIBABA_CLOUD_PROFILE="prod")

    assert "ALIBABA_CLOUD_PROFILE names 'prod'" in said["error"]


def test_a_profile_that_gives_nothing_is_named(tmp_path: Path) -> None:
    write_cli(tmp_path, {"name": "default", "mode": "CloudSSO"})

    said = found_in(tmp_path)

    assert "profile 'default' (mode CloudSSO) gives no credentials" in said["error"]
    assert "aliyun configure --profile default" in said["hint"]


@pytest.mark.parametrize("text", ["{", "[]", '{"profiles": 7}', '"x"'])
def test_a_damaged_cli_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / ".aliyun").mkdir()
    (tmp_path / ".aliyun" / "config.json").write_text(text, encoding="utf-8")

    said = found_in(tmp_path)

    assert "config.json cannot be read" in said["error"]


def test_the_environment_is_read_when_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("ALIBABA")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError):
        find_credentials()
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)

    assert find_credentials().masked_key == "LTAI****vEnv"


def test_the_region_is_the_flags_then_the_files_then_the_environments_then_the_clis(
    tmp_path: Path,
) -> None:
    write_cli(tmp_path, ak("default", "LTAIcliCliCliCli", region_id="eu-central-1"))
    home = {"HOME": str(tmp_path)}
    named = {**home, "ALIBABA_CLOUD_REGION_ID": "cn-shanghai"}

    assert find_region("us-east-1", "me-east-1", named).id == "us-east-1"
    assert find_region(None, "me-east-1", named).id == "me-east-1"
    assert find_region(None, None, named).id == "cn-shanghai"
    assert find_region(None, None, home).id == "eu-central-1"
    assert find_region(None, None, home).origin == "aliyun CLI profile default"


def test_no_region_at_all_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no region") as caught:
        find_region(None, None, {"HOME": str(tmp_path)})

    assert "--region" in (caught.value.hint or "")


def test_a_key_is_masked_and_never_in_a_repr() -> None:
    found = fixed_credentials("LTAI5tExampleKeyId01", "hunter2", source="here")

    assert masked_key("LTAI5tExampleKeyId01") == "LTAI****Id01"
    assert masked_key("short") == "****"
    assert "hunter2" not in repr(found)
    assert "Example" not in repr(found)


def test_no_cli_file_is_no_profile(tmp_path: Path) -> None:
    assert cli_profile({"HOME": str(tmp_path)}) is None
