"""Our schemas of custom resources are never wider than the CRDs themselves: what passes ours passes theirs."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from k8s_golden import golden_texts
from saleops.operations.k8s_schemas import CUSTOM, schema_of

CRDS = Path(__file__).parents[2].parent / "shared" / "contracts" / "crds"

pytestmark = pytest.mark.skipif(not CRDS.is_dir(), reason="the folder with the CRDs is not here")

FILES = {
    "CronHorizontalPodAutoscaler": "cronhorizontalpodautoscalers.autoscaling.alibabacloud.com.yaml",
    "ImagePullJob": "imagepulljobs.apps.kruise.io.yaml",
}


def theirs(kind: str, api: str) -> dict[str, Any]:
    if kind == "AlbConfig":
        schema: dict[str, Any] = yaml.safe_load(
            (CRDS / "albconfig.lint-schema.yaml").read_text(encoding="utf-8")
        )
        return schema
    crd = yaml.safe_load((CRDS / FILES[kind]).read_text(encoding="utf-8"))
    (version,) = (
        one for one in crd["spec"]["versions"] if f"{crd['spec']['group']}/{one['name']}" == api
    )
    return _closed(version["schema"]["openAPIV3Schema"])


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """``schema`` refusing fields it does not name, as a strict API server does; metadata is the server's own."""
    for name, one in schema.get("properties", {}).items():
        if name != "metadata":
            _closed(one)
    if isinstance(schema.get("items"), dict):
        _closed(schema["items"])
    if "properties" in schema and "additionalProperties" not in schema:
        schema["additionalProperties"] = False
    return schema


def rendered(kind: str) -> list[dict[str, Any]]:
    return [
        one
        for name, text in golden_texts().items()
        if name.endswith(".yaml")
        for one in yaml.safe_load_all(text)
        if one["kind"] == kind
    ]


@pytest.mark.parametrize("kind", [*FILES, "AlbConfig"])
def test_what_we_render_passes_the_crd_itself(kind: str) -> None:
    documents = rendered(kind)

    assert documents
    for document in documents:
        validator = Draft202012Validator(theirs(kind, document["apiVersion"]))
        assert [one.message for one in validator.iter_errors(document)] == []


def _paths(schema: Any, at: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    if not isinstance(schema, dict):
        return found
    for name, one in schema.get("properties", {}).items():
        if name != "metadata" and one is not False:
            found |= {(*at, name)} | _paths(one, (*at, name))
    return found | _paths(schema.get("items"), (*at, "[]"))


@pytest.mark.parametrize("kind", list(FILES))
def test_our_schema_names_no_field_that_the_crd_does_not(kind: str) -> None:
    ours = schema_of(kind)
    api = ours["properties"]["apiVersion"]["const"]

    assert _paths(ours) <= _paths(theirs(kind, api))


@pytest.mark.parametrize("kind", list(CUSTOM))
def test_our_schemas_are_schemas(kind: str) -> None:
    Draft202012Validator.check_schema(schema_of(kind))
