"""Whether Kubernetes documents are what an API server takes: strictly, so that a field it would ignore is an error.

Kubernetes' own kinds are checked against its JSON Schemas (package kubernetes-validate); the custom ones that we render against
schemas of ours in templates/k8s/schemas, which hold what their controllers need and their CRDs do not say.
"""

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from saleops.errors import ConfigError
from saleops.resources import read_template

KUBERNETES = "1.32"
"""The oldest version we render for; preStop sleep and matchLabelKeys are on by default in it."""

CUSTOM = {
    "AlbConfig": "albconfig",
    "CronHorizontalPodAutoscaler": "cronhpa",
    "ServiceMonitor": "servicemonitor",
    "ImagePullJob": "imagepulljob",
}
_NO_OBJECTS = frozenset(("Kustomization",))


def can_validate() -> bool:
    """Whether the package that holds Kubernetes' schemas is installed; it comes with development."""
    from importlib.util import find_spec

    return find_spec("kubernetes_validate") is not None


def schema_of(kind: str) -> Any:
    """Our schema of a custom ``kind``."""
    return json.loads(read_template(f"k8s/schemas/{CUSTOM[kind]}.json"))


def problems_in(document: Any, *, version: str = KUBERNETES) -> list[str]:
    """What is wrong with one document, with its place in it; empty: nothing. Raises ConfigError without kubernetes-validate."""
    if not can_validate():
        raise ConfigError(
            "documents cannot be checked: the package kubernetes-validate is not installed",
            hint="Run `pip install kubernetes-validate`.",
        )
    if not isinstance(document, Mapping):
        return ["this is no Kubernetes object"]
    kind = document.get("kind")
    if kind in _NO_OBJECTS:
        return []
    if kind in CUSTOM:
        return _messages(_custom(str(kind)), document, str(kind))
    api = str(document.get("apiVersion"))
    try:
        validator = _validator(str(kind), api, version)
    except FileNotFoundError:
        return [f"{kind} {api}: Kubernetes {version} knows no such kind"]
    return _messages(validator, document, str(kind))


@cache
def _validator(kind: str, api: str, version: str) -> Any:
    """Of one kind. The package's own ``validate`` reads a megabyte of definitions anew for each document. FileNotFoundError."""
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # comes without stubs
    from kubernetes_validate.utils import schema_contents  # type: ignore[import-untyped]  # has no types
    from referencing import Registry, Resource

    if not re.fullmatch(r"[A-Za-z0-9]+", kind) or not re.fullmatch(r"[a-z0-9./-]+", api):
        raise FileNotFoundError(kind)
    # rbac.authorization.k8s.io/v1 is called rbac-v1 there.
    short = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api)
    schema = schema_contents(f"{_folder(version)}/{kind.lower()}-{short}.json", version)
    return Draft202012Validator(
        schema, registry=Resource.from_contents(schema) @ (_definitions(version) @ Registry())
    )


@cache
def _definitions(version: str) -> Any:
    from kubernetes_validate.utils import schema_contents
    from referencing import Resource

    return Resource.from_contents(schema_contents(f"{_folder(version)}/_definitions.json", version))


@cache
def _folder(version: str) -> str:
    """Of the strict schemas of ``version``."""
    from kubernetes_validate.utils import all_versions

    named = [one for one in all_versions() if one == version or one.startswith(f"{version}.")]
    if not named:
        raise ConfigError(
            f"there are no schemas of Kubernetes {version}; the newest are {all_versions()[-1]}",
            hint="Upgrade kubernetes-validate.",
        )
    return f"kubernetes-json-schema/v{named[-1]}-local-strict"


@cache
def _custom(kind: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(schema_of(kind))


def _messages(validator: Any, document: Mapping[str, Any], kind: str) -> list[str]:
    found = validator.iter_errors(document)
    return sorted(f"{'.'.join(map(str, one.path)) or kind}: {one.message}" for one in found)


def check_texts(texts: Mapping[str, str], *, version: str = KUBERNETES) -> list[str]:
    """The problems of all YAML files among ``texts``, each with the file and the object it is in."""
    import yaml

    found = []
    for name, text in texts.items():
        if not name.endswith(".yaml"):
            continue
        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            documents: Iterable[Any] = list(yaml.load_all(text, Loader=loader))
        except yaml.YAMLError as error:
            found.append(f"{name}: {error}")
            continue
        for document in documents:
            if document is None:
                found.append(f"{name}: an empty document")
                continue
            label = f"{name}: {document.get('kind')}" if isinstance(document, dict) else name
            found += [f"{label}: {one}" for one in problems_in(document, version=version)]
    return found
