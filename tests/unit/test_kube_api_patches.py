"""Patches as the Kubernetes API applies them, on values; and our list keys against the published schemas."""

import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from saleops.services.kube_api.list_keys import list_rules
from saleops.services.kube_api.merging import json_patched, merged
from saleops.services.kube_api.refusals import KubeError
from saleops.services.kube_api.strategic import strategic_merged

DEPLOYMENT = list_rules("apps", "Deployment")


def _pod_spec(**spec: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": spec}}}


def _patched(old: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = strategic_merged(_pod_spec(**old), _pod_spec(**patch), DEPLOYMENT)
    return found["spec"]["template"]["spec"]


@pytest.mark.parametrize(
    ("old", "patch", "new"),
    [
        ({"a": 1, "b": 2}, {"b": None, "c": 3}, {"a": 1, "c": 3}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}, {"a": {"c": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": 1}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
        ({"a": {"b": 1}}, {"a": 5}, {"a": 5}),
    ],
    ids=["remove", "nested", "list", "object-over-value", "value-over-object"],
)
def test_a_merge_patch_follows_rfc_7396(old: Any, patch: Any, new: Any) -> None:
    assert merged(old, patch) == new


@pytest.mark.parametrize(
    ("operations", "new"),
    [
        ([{"op": "add", "path": "/l/-", "value": 3}], {"l": [1, 2, 3], "a/b": 1}),
        ([{"op": "add", "path": "/l/0", "value": 0}], {"l": [0, 1, 2], "a/b": 1}),
        ([{"op": "remove", "path": "/a~1b"}], {"l": [1, 2]}),
        ([{"op": "replace", "path": "/l/1", "value": 9}], {"l": [1, 9], "a/b": 1}),
        ([{"op": "test", "path": "/l/0", "value": 1}], {"l": [1, 2], "a/b": 1}),
        ([{"op": "move", "from": "/a~1b", "path": "/c"}], {"l": [1, 2], "c": 1}),
        ([{"op": "copy", "from": "/l", "path": "/m"}], {"l": [1, 2], "a/b": 1, "m": [1, 2]}),
    ],
    ids=["append", "insert", "remove", "replace", "test", "move", "copy"],
)
def test_a_json_patch_follows_rfc_6902(operations: Any, new: Any) -> None:
    old = {"l": [1, 2], "a/b": 1}

    assert json_patched(old, operations) == new
    assert old == {"l": [1, 2], "a/b": 1}


@pytest.mark.parametrize(
    ("operations", "code"),
    [
        ({"op": "add"}, 400),
        ([{"op": "add", "path": "l", "value": 1}], 400),
        ([{"op": "add", "path": "/l/9", "value": 1}], 422),
        ([{"op": "remove", "path": "/none"}], 422),
        ([{"op": "test", "path": "/l/0", "value": 7}], 422),
        ([{"op": "jump", "path": "/l"}], 400),
        ([{"op": "add", "path": "/l"}], 400),
        ([3], 400),
    ],
    ids=["object", "pointer", "beyond", "missing", "test-fails", "op", "no-value", "number"],
)
def test_a_json_patch_that_does_not_fit_is_refused(operations: Any, code: int) -> None:
    with pytest.raises(KubeError) as refused:
        json_patched({"l": [1, 2]}, operations)

    assert refused.value.code == code


def test_containers_merge_by_name_and_their_ports_by_number() -> None:
    old = {
        "containers": [
            {"name": "app", "image": "a:1", "ports": [{"containerPort": 80, "name": "web"}]},
            {"name": "log"},
        ]
    }
    patch = {"containers": [{"name": "app", "image": "a:2", "ports": [{"containerPort": 81}]}]}

    app, other = _patched(old, patch)["containers"]

    assert (app["image"], other) == ("a:2", {"name": "log"})
    assert [one["containerPort"] for one in app["ports"]] == [80, 81]


def test_an_entry_is_deleted_by_its_key() -> None:
    old = {"containers": [{"name": "app"}, {"name": "log"}]}

    new = _patched(old, {"containers": [{"name": "log", "$patch": "delete"}]})

    assert new["containers"] == [{"name": "app"}]


def test_a_list_is_replaced_on_demand() -> None:
    old = {"containers": [{"name": "app", "image": "a"}, {"name": "log"}]}

    new = _patched(old, {"containers": [{"$patch": "replace"}, {"name": "app"}]})

    assert new["containers"] == [{"name": "app"}]


def test_tolerations_have_no_key_and_are_replaced_whole() -> None:
    old = {"tolerations": [{"key": "a", "operator": "Exists"}]}

    assert _patched(old, {"tolerations": [{"key": "b"}]})["tolerations"] == [{"key": "b"}]


def test_conditions_merge_by_type() -> None:
    old = {"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other"}]}}
    patch = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}

    new = strategic_merged(old, patch, list_rules("", "Node"))

    assert new["status"]["conditions"] == [{"type": "Ready", "status": "False"}, {"type": "Other"}]


def test_finalizers_are_a_set_and_entries_can_be_taken_out() -> None:
    old = {"metadata": {"finalizers": ["a", "b"]}}

    more = strategic_merged(old, {"metadata": {"finalizers": ["b", "c"]}}, DEPLOYMENT)
    less = strategic_merged(
        more, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}, DEPLOYMENT
    )

    assert more["metadata"]["finalizers"] == ["a", "b", "c"]
    assert less["metadata"]["finalizers"] == ["b", "c"]


def test_only_the_retained_keys_stay() -> None:
    old = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}

    assert strategic_merged(old, patch, DEPLOYMENT)["spec"]["strategy"] == {"type": "Recreate"}


def test_the_order_of_entries_can_be_set() -> None:
    old = {"containers": [{"name": "a"}, {"name": "b"}]}
    patch = {
        "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
        "containers": [{"name": "b", "image": "x"}],
    }

    assert [one["name"] for one in _patched(old, patch)["containers"]] == ["b", "a"]


@pytest.mark.parametrize(
    "patch",
    [{"containers": [{"image": "x"}]}, {"containers": ["x"]}, {"$patch": "burn"}],
    ids=["no-key", "no-object", "directive"],
)
def test_a_strategic_patch_that_makes_no_sense_is_refused(patch: dict[str, Any]) -> None:
    with pytest.raises(KubeError) as refused:
        _patched({"containers": [{"name": "app"}]}, patch)

    assert refused.value.code == 400


SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / "v1.37.0-local"
KINDS = {
    ("", "Pod"): "pod-v1",
    ("", "Node"): "node-v1",
    ("", "Service"): "service-v1",
    ("apps", "Deployment"): "deployment-apps-v1",
    ("apps", "StatefulSet"): "statefulset-apps-v1",
    ("policy", "PodDisruptionBudget"): "poddisruptionbudget-policy-v1",
}


@pytest.mark.parametrize(("group", "kind"), KINDS, ids=[kind for _, kind in KINDS])
def test_our_merge_keys_are_those_of_the_published_schemas(group: str, kind: str) -> None:
    published: dict[tuple[str, ...], str] = {}
    _merge_keys(_schema(KINDS[group, kind]), (), published, 0)
    ours = {
        path: rule.patch_key
        for path, rule in list_rules(group, kind).items()
        if rule.patch_key not in ("", "=")
    }

    relevant = {path: key for path, key in published.items() if path in ours or _used(path)}

    assert {path: ours.get(path) for path in relevant} == relevant


def _used(path: tuple[str, ...]) -> bool:
    """Lists that our callers write: all but volumes' insides and what nobody patches."""
    return path[0] == "spec" and not {
        "ephemeralContainers",
        "volumeClaimTemplates",
        "metadata",
    } & set(path)


def _merge_keys(
    node: Any, path: tuple[str, ...], found: dict[tuple[str, ...], str], depth: int
) -> None:
    node = _resolved(node)
    if not isinstance(node, dict) or depth > 12:
        return
    if (key := node.get("x-kubernetes-patch-merge-key")) and "merge" in str(
        node.get("x-kubernetes-patch-strategy")
    ):
        found[path] = key
    if "items" in node:
        _merge_keys(node["items"], path, found, depth + 1)
    for name, one in (node.get("properties") or {}).items():
        _merge_keys(one, (*path, name), found, depth + 1)


def _resolved(node: Any) -> Any:
    if isinstance(node, dict) and "$ref" in node:
        more = {key: one for key, one in node.items() if key != "$ref"}
        return {
            **_definitions()[str(node["$ref"]).rpartition("/")[2].removesuffix(".json")],
            **more,
        }
    return node


_READ: dict[str, Any] = {}


def _definitions() -> Any:
    if "definitions" not in _READ:
        document = json.loads((SCHEMAS / "_definitions.json").read_text())
        _READ["definitions"] = document.get("$defs") or document["definitions"]
    return _READ["definitions"]


def _schema(name: str) -> Any:
    if name not in _READ:
        _READ[name] = json.loads((SCHEMAS / f"{name}.json").read_text())
    return _READ[name]
