"""Which cluster, and as whom: a kubeconfig, as kubectl finds it, or the service account of the pod we run in.

    --kubeconfig, else $KUBECONFIG (several files, joined by ":"), else ~/.kube/config, else in-cluster

kubectl's order, not lightkube's, which takes the pod's service account first: on a bastion pod the operator's file decides.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saleops.errors import ConfigError

if TYPE_CHECKING:
    from lightkube.config.kubeconfig import KubeConfig, SingleConfig

DEFAULT = "~/.kube/config"
_PARTS = (("clusters", "cluster"), ("contexts", "context"), ("users", "user"))


def find_config(
    kubeconfig: str | None = None,
    context: str | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
) -> "SingleConfig":
    """The cluster to talk to. Raises ConfigError that says which file, and what is wrong with it."""
    from lightkube.config.kubeconfig import KubeConfig
    from lightkube.core.exceptions import ConfigError as NoServiceAccount

    listed = kubeconfig or environ.get("KUBECONFIG", "")
    files = [Path(one).expanduser() for one in listed.split(os.pathsep) if one]
    if files:
        return _chosen(_merged(files), files, context)
    home = Path(DEFAULT).expanduser()
    if home.is_file():
        return _chosen(_merged([home]), [home], context)
    try:
        found = KubeConfig.from_service_account()
    except NoServiceAccount:
        raise ConfigError(
            f"no cluster is configured: KUBECONFIG is not set, {DEFAULT} does not exist, and this is no pod",
            hint="Set KUBECONFIG, or get one: the `config` field of `aliyun cs GET /k8s/CLUSTER_ID/user_config` is its text.",
        ) from None
    if found is None:
        raise ConfigError("the service account of this pod cannot be read")
    if context is not None:
        raise ConfigError(f"there is no context {context!r}: inside a pod there is one cluster")
    return _chosen(found, [], None)


def _merged(files: list[Path]) -> "KubeConfig":
    """As kubectl joins several files: of two entries with one name the first wins."""
    from lightkube.config.kubeconfig import KubeConfig

    whole: dict[str, Any] = {"clusters": [], "contexts": [], "users": []}
    for file in files:
        document = _read(file, needed=len(files) == 1)
        if document.get("current-context") and not whole.get("current-context"):
            whole["current-context"] = document["current-context"]
        for part, inner in _PARTS:
            known = {one["name"] for one in whole[part]}
            listed = document.get(part) or []
            if not isinstance(listed, list):
                raise ConfigError(f"{file} is no kubeconfig: {part} is no list")
            for one in listed:
                if not isinstance(one, dict) or not isinstance(one.get("name"), str):
                    raise ConfigError(f"{file}: every entry of {part} has a name")
                if not isinstance(one.get(inner), dict):
                    one = {**one, inner: {}}
                if one["name"] not in known:
                    whole[part].append({**one, inner: _absolute(one[inner], file)})
    import msgspec

    try:
        return KubeConfig.from_dict(whole, fname=files[0])
    except (KeyError, TypeError, AttributeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{_named(files)} is no kubeconfig: {error}") from error


_FILES = ("certificate-authority", "client-certificate", "client-key", "tokenFile")


def _absolute(entry: dict[str, Any], file: Path) -> dict[str, Any]:
    """Paths in a kubeconfig are relative to the file they are in."""
    return {
        name: str(file.parent.joinpath(value))
        if name in _FILES and isinstance(value, str) and value
        else value
        for name, value in entry.items()
    }


def _read(file: Path, *, needed: bool) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(file.read_text("utf-8"))
    except FileNotFoundError:
        if needed:
            raise ConfigError(
                f"{file} does not exist", hint="Set KUBECONFIG or --kubeconfig to a file that does."
            ) from None
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)  # never the text itself: it may hold a token
        where = f", line {place.line + 1}" if place is not None else ""
        raise ConfigError(f"{file} is no YAML{where}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{file} is no kubeconfig")
    return document


def _chosen(config: "KubeConfig", files: list[Path], context: str | None) -> "SingleConfig":
    from lightkube.config.models import User
    from lightkube.core.exceptions import ConfigError as Unknown

    try:
        found = config.get(context)
    except (Unknown, KeyError) as error:
        known = ", ".join(sorted(config.contexts)) or "none"
        wanted = context or config.current_context
        if wanted is None:
            raise ConfigError(
                f"{_named(files)} names no current context",
                hint=f"Say which with --context; there are: {known}.",
            ) from None
        if wanted not in config.contexts:
            raise ConfigError(
                f"{_named(files)} has no context {wanted!r}", hint=f"There are: {known}."
            ) from None
        raise ConfigError(
            f"{_named(files)}: the context {wanted!r} names a cluster or user {error} that is not there"
        ) from None
    if found is None:
        raise ConfigError(f"{_named(files)} names no current context")
    return found if found.user is not None else found._replace(user=User())


def _named(files: list[Path]) -> str:
    return ", ".join(map(str, files)) or "the service account"
