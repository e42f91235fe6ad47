"""Who signs: the official chain of sources, read when it is asked for, and which of them won.

The chain is the credentials library's own: environment, OIDC, ``~/.aliyun/config.json`` of the aliyun CLI,
``~/.alibabacloud/credentials.ini``, the role of an ECS instance, a credentials URI. Two of its habits are mended here. It
reads the environment when it is imported: its two modules of settings are read again before each use. And it asks the
metadata address of an ECS instance on any machine, which on a laptop is a wait for nothing or, in a strange network, a
stranger: that is off unless this is an ECS instance or somebody asked.
"""

import importlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from saleops.adapters.aliyun_logging import hush
from saleops.errors import CloudError, ConfigError

_DMI = Path("/sys/class/dmi/id/product_name")
_TRUE = "true"
THREE_WAYS = (
    "Run `aliyun configure`, or set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET, or write "
    "~/.alibabacloud/credentials.ini. To practise without an account, add --endpoint-cloud local."
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """``source`` is for people. ``signer`` renews what expires; it is asked before each request."""

    source: str
    access_key_id: str = field(repr=False)
    signer: Any = field(repr=False)
    temporary: bool = False

    @property
    def masked_key(self) -> str:
        return masked_key(self.access_key_id)


def masked_key(access_key_id: str) -> str:
    """Enough of an access key id to know it again: ``LTAI****wxyz``."""
    if len(access_key_id) < 12:
        return "****"
    return f"{access_key_id[:4]}****{access_key_id[-4:]}"


class _Signer:
    """The library's provider as the SDK's client wants it."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider

    def get_credential(self) -> Any:
        from alibabacloud_credentials.models import CredentialModel

        found = self._provider.get_credentials()
        return CredentialModel(
            access_key_id=found.get_access_key_id(),
            access_key_secret=found.get_access_key_secret(),
            security_token=found.get_security_token(),
            type="sts" if found.get_security_token() else "access_key",
            provider_name=found.get_provider_name(),
        )


def fixed_credentials(access_key_id: str, secret: str, *, source: str) -> Credentials:
    """A key that somebody hands over: the local cloud's."""
    from alibabacloud_credentials.provider import StaticAKCredentialsProvider

    provider = StaticAKCredentialsProvider(access_key_id=access_key_id, access_key_secret=secret)
    return Credentials(source, access_key_id, _Signer(provider))


def find_credentials(environment: Mapping[str, str] | None = None) -> Credentials:
    """The credentials that the official chain finds. Raises ConfigError when there are none, CloudError when those that
    are there cannot be exchanged for a session."""
    environment = os.environ if environment is None else environment
    _check_half(environment)
    from alibabacloud_credentials.exceptions import CredentialException
    from alibabacloud_credentials.provider import DefaultCredentialsProvider

    _read_again(metadata=_asks_metadata(environment))
    hush()
    try:
        provider = DefaultCredentialsProvider()
        found = provider.get_credentials()
    except (CredentialException, ValueError, OSError) as error:
        raise _nothing_found(environment) from error
    key = found.get_access_key_id()
    if not key or not found.get_access_key_secret():
        raise _nothing_found(environment)
    return Credentials(
        _source(found.get_provider_name(), environment),
        key,
        _Signer(provider),
        temporary=bool(found.get_security_token()),
    )


def _read_again(*, metadata: bool) -> None:
    """Let the library see today's environment and home, and keep it off the metadata address unless wanted."""
    from alibabacloud_credentials.utils import auth_constant, auth_util

    importlib.reload(auth_util)
    importlib.reload(auth_constant)
    if not metadata:
        auth_util.environment_ecs_metadata_disabled = _TRUE


def _asks_metadata(environment: Mapping[str, str]) -> bool:
    """Whether the metadata address may be asked: on an ECS instance, when a variable or the chosen CLI profile says so."""
    said = environment.get("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "").lower()
    if said:
        return said != _TRUE
    if environment.get("ALIBABA_CLOUD_ECS_METADATA"):
        return True
    profile = cli_profile(environment)
    if profile is not None and profile.get("mode") in ("EcsRamRole", "ChainableRamRoleArn"):
        return True
    try:
        return "Alibaba Cloud ECS" in _DMI.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def _check_half(environment: Mapping[str, str]) -> None:
    """Half a key in the environment is somebody's mistake, and the chain would go on to another source without a word."""
    key, secret = "ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"
    for there, missing in ((key, secret), (secret, key)):
        if environment.get(there) and not environment.get(missing):
            raise ConfigError(
                f"{there} is set and {missing} is not; nothing was sent",
                hint=f"Set {missing} too, or unset {there}.",
            )


def _nothing_found(environment: Mapping[str, str]) -> ConfigError | CloudError:
    facts: list[str] = []
    try:
        profile = cli_profile(environment)
    except ConfigError as error:
        return error
    wanted = environment.get("ALIBABA_CLOUD_PROFILE", "")
    if profile is not None and not _cli_disabled(environment):
        return CloudError(
            f"the aliyun CLI profile {profile.get('name')!r} (mode {profile.get('mode')}) gives no credentials; nothing was sent",
            kind="denied",
            hint=f"Run `aliyun configure --profile {profile.get('name')}` again.",
        )
    if wanted and cli_config_path(environment).exists():
        facts.append(f"ALIBABA_CLOUD_PROFILE names {wanted!r}, which the aliyun CLI does not have")
    if environment.get("ALICLOUD_ACCESS_KEY"):
        facts.append("ALICLOUD_ACCESS_KEY is read by Terraform alone")
    said = "; ".join(["no Alibaba Cloud credentials were found", *facts, "nothing was sent"])
    return ConfigError(said, hint=THREE_WAYS)


def _source(provider_name: str, environment: Mapping[str, str]) -> str:
    """The library's "default/cli_profile/static_ak" in people's words."""
    kind = provider_name.removeprefix("default/").partition("/")[0]
    if kind == "env":
        return "environment variables"
    if kind == "cli_profile":
        profile = cli_profile(environment) or {}
        return f"aliyun CLI profile {profile.get('name', '')} ({profile.get('mode', '')})"
    if kind == "profile":
        return (
            environment.get("ALIBABA_CLOUD_CREDENTIALS_FILE") or "~/.alibabacloud/credentials.ini"
        )
    named = {
        "oidc_role_arn": "the pod's role (OIDC)",
        "ecs_ram_role": "the ECS instance's role",
        "credential_uri": "ALIBABA_CLOUD_CREDENTIALS_URI",
    }
    return named.get(kind, kind)


# -- the aliyun CLI's file -----------------------------------------------------------------------------------


def cli_config_path(environment: Mapping[str, str]) -> Path:
    home = environment.get("HOME") or environment.get("HOMEPATH") or str(Path.home())
    return Path(home) / ".aliyun" / "config.json"


def _cli_disabled(environment: Mapping[str, str]) -> bool:
    return environment.get("ALIBABA_CLOUD_CLI_PROFILE_DISABLED", "").lower() == _TRUE


def cli_profile(environment: Mapping[str, str]) -> Mapping[str, Any] | None:
    """The profile in use of the aliyun CLI: the one ALIBABA_CLOUD_PROFILE names, else the current one; None where there
    is none. Raises ConfigError for a file that cannot be read."""
    if _cli_disabled(environment):
        return None
    path = cli_config_path(environment)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        profiles = document.get("profiles") or []
        wanted = environment.get("ALIBABA_CLOUD_PROFILE") or document.get("current") or ""
        return next((one for one in profiles if one.get("name") == wanted), None)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError, TypeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no file of the aliyun CLI"
        raise ConfigError(
            f"{path} cannot be read: {why}; nothing was sent",
            hint="Repair it with `aliyun configure`, or set ALIBABA_CLOUD_CLI_PROFILE_DISABLED=true.",
        ) from error


@dataclass(frozen=True, slots=True)
class Region:
    id: str
    origin: str


def find_region(
    flag: str | None, in_file: str | None, environment: Mapping[str, str] | None = None
) -> Region:
    """The region: flag, then sale file, ALIBABA_CLOUD_REGION_ID, the aliyun CLI profile's. Raises ConfigError."""
    environment = os.environ if environment is None else environment
    if flag:
        return Region(flag, "flag")
    if in_file:
        return Region(in_file, "file")
    if environment.get("ALIBABA_CLOUD_REGION_ID"):
        return Region(environment["ALIBABA_CLOUD_REGION_ID"], "ALIBABA_CLOUD_REGION_ID")
    profile = cli_profile(environment)
    if profile is not None and profile.get("region_id"):
        return Region(str(profile["region_id"]), f"aliyun CLI profile {profile.get('name')}")
    raise ConfigError(
        "no region is named; nothing was sent",
        hint="Add --region ap-southeast-1, name it in the profile file, or set ALIBABA_CLOUD_REGION_ID.",
    )
