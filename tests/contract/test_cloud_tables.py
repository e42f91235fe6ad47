"""Our API tables against what the vendor publishes: the metadata of 303 APIs and the models of the official SDKs.

Each product's table is compared as a whole, and every difference is named: an API, a parameter, a type, a position, a required
mark, a method, a path, a version or an endpoint that is ours alone, or theirs alone.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from saleops.cloudapi import Api, Field, api_of, apis_of, find_roa, products
from saleops.cloudapi.tables_reader import PRODUCT_CODES, find_rpc

CONTRACTS = Path(__file__).parents[2].parent / "shared" / "contracts" / "alibaba"

pytestmark = pytest.mark.skipif(
    not (CONTRACTS / "_index.json").is_file(), reason="the vendor's API metadata is not at hand"
)

ACCOUNT_FIELDS = {
    *("OwnerId", "OwnerAccount", "ResourceOwnerId", "ResourceOwnerAccount", "SecurityToken")
}
"""Every RPC API takes them; a table does not repeat them unless the metadata does."""

SCALARS = {
    "String": "string",
    "Integer": "integer",
    "Long": "integer",
    "Float": "number",
    "Boolean": "boolean",
}

WHOLE_BODY_LISTS = {"InstallClusterAddons": "body", "UnInstallClusterAddons": "addons"}
"""The SDK field whose value is the whole JSON body of the call."""


def read(*parts: str) -> Any:
    return json.loads(CONTRACTS.joinpath(*parts).read_text(encoding="utf-8"))


def index_of(product: str) -> dict[str, Any]:
    return {
        entry["api"]: entry for entry in read("_index.json")["apis"] if entry["product"] == product
    }


@pytest.mark.parametrize("product", PRODUCT_CODES)
def test_a_table_has_the_apis_that_the_vendor_has(product: str) -> None:
    assert {api.name for api in apis_of(product)} == set(index_of(product))


def test_no_product_is_left_out() -> None:
    assert {entry["product"] for entry in read("_index.json")["apis"]} == set(PRODUCT_CODES)


def test_versions_styles_and_endpoints_of_every_region_are_the_vendors() -> None:
    theirs = {entry["product"]: entry for entry in read("_products.json")["products"]}
    wrong = []
    for product in products():
        entry = theirs[product.code]
        style = "ROA" if entry["api_style"] == "restful" else "RPC"
        if (product.version, product.style) != (entry["version"], style):
            wrong.append(f"{product.code}: {product.version} {product.style}")
        for region, endpoints in entry["endpoints"].items():
            public = (endpoints.get("public") or "").strip()
            if public and product.host(region) != public:
                wrong.append(f"{product.code} in {region}: {product.host(region)}, not {public}")
        if {entry["code"].lower(), entry["location_service_code"].lower()} - {
            *product.aliases,
            product.code,
            "",
        }:
            wrong.append(f"{product.code} is not found as {entry['code']}")
    assert wrong == []


@pytest.mark.parametrize("product", PRODUCT_CODES)
def test_methods_paths_and_tokens_are_the_vendors(product: str) -> None:
    wrong = []
    for name, entry in index_of(product).items():
        api = api_of(product, name)
        meta = read(product, f"{name}.json")
        token = entry.get("client_token") or ""
        if api.path != meta["pathPattern"]:
            wrong.append(f"{name}: path {api.path}")
        if api.method not in meta["method"].split("|"):  # POST wherever an RPC API takes it
            wrong.append(f"{name}: method {api.method}")
        if api.token.removeprefix("body.") != token:
            wrong.append(f"{name}: token {api.token!r}, not {token!r}")
        found = _found(api)
        if found is not api:
            wrong.append(f"{name}: a request for it finds {found}")
    assert wrong == []


def _found(api: Api) -> Api | None:
    if api.product.style == "RPC":
        return find_rpc(api.name, api.product.version)
    path = api.path.replace("[", "a-").replace("]", "")
    hit = find_roa(api.method, path, api.product.version)
    return hit[0] if hit else None


@pytest.mark.parametrize("product", PRODUCT_CODES)
def test_every_parameter_is_the_vendors_in_name_place_type_and_need(product: str) -> None:
    wrong = []
    for api in apis_of(product):
        meta = read(product, f"{api.name}.json")["parameters"]
        model = read("_schemas", product, f"{api.name}.json")["request"] or {}
        compare = _roa_differences if api.product.style == "ROA" else _rpc_differences
        wrong += [f"{api.name} {difference}" for difference in compare(api, meta, model)]
    assert wrong == []


@pytest.mark.parametrize("product", PRODUCT_CODES)
def test_only_what_changes_nothing_is_marked_as_reading(product: str) -> None:
    verbs = ("Describe", "List", "Get", "Query", "Check", "Search", "AssumeRole")
    for api in apis_of(product):
        assert api.reads is api.name.startswith(verbs), api.name
        assert not (api.reads and api.method in ("PUT", "PATCH", "DELETE")), api.name


@pytest.mark.parametrize("product", PRODUCT_CODES)
def test_no_value_that_the_vendor_documents_is_refused(product: str) -> None:
    refused = []
    for api in apis_of(product):
        model = read("_schemas", product, f"{api.name}.json")["request"] or {}
        for fields in (api.params, api.body.fields if api.body else {}):
            refused += [f"{api.name} {name}" for name in _refused(fields, model, "")]
    assert refused == []


def _refused(ours: Mapping[str, Field], model: Mapping[str, Any], at: str) -> Iterator[str]:
    for name, field in ours.items():
        described = model.get(name) or {}
        holder = field.items or field
        inner = described.get("items") or described
        documented = described.get("documented_values") or inner.get("documented_values") or []
        if holder.values and not set(documented) <= set(holder.values):
            yield f"{at}{name}: {sorted(set(documented) - set(holder.values))}"
        yield from _refused(holder.fields, inner.get("properties") or {}, f"{at}{name}.")


# What the vendor says of one API, as a tree: name -> (type, required, fields).
Tree = dict[str, "Node"]


class Node:
    def __init__(self, kind: str, required: bool, fields: "Tree") -> None:
        self.kind, self.required, self.fields = kind, required, fields


def _rpc_differences(api: Api, meta: list[Any], model: Mapping[str, Any]) -> Iterator[str]:
    in_form = {entry["name"] for entry in meta if entry["position"] == "Body"}
    if api.form is not bool(in_form):
        yield "form body"
    theirs: Tree = {}
    for entry in meta:
        _plant(theirs, entry["name"].split("."), _node_of_meta(entry, model.get(entry["name"])))
    for name, described in model.items():
        if name in ACCOUNT_FIELDS:
            continue
        if name not in theirs:
            theirs[name] = _node_of_model(described)
        else:
            _add_fields(theirs[name], _node_of_model(described))
    yield from _differences(api.params, theirs, "")


def _roa_differences(api: Api, meta: list[Any], model: Mapping[str, Any]) -> Iterator[str]:
    in_path = {entry["name"] for entry in meta if entry["position"] == "Path"}
    slots = {part[1:-1] for part in api.path.split("/") if part.startswith("[")}
    if in_path != slots:
        yield f"path parameters {slots ^ in_path}"
    query = {
        entry["name"]: _node_of_meta(entry, model.get(entry["name"]))
        for entry in meta
        if entry["position"] == "Query"
    }
    has_body = any(entry["position"] == "Body" for entry in meta)
    body: Tree = {}
    for name, described in model.items():
        if name in query or name in in_path:
            continue
        if has_body:
            body[name] = _node_of_model(described)
        else:
            query[name] = _node_of_model(described)
    yield from _differences(api.params, query, "?")
    if (list_name := WHOLE_BODY_LISTS.get(api.name)) and api.product.code == "cs":
        assert api.body is not None
        assert api.body.items is not None
        assert set(body) == {list_name}
        yield from _differences(api.body.items.fields, body[list_name].fields, "[]")
    else:
        yield from _differences(api.body.fields if api.body else {}, body, "")


def _node_of_model(described: Mapping[str, Any]) -> Node:
    holder = described.get("items") or described
    fields = {
        name: _node_of_model(inner) for name, inner in (holder.get("properties") or {}).items()
    }
    kind = described["type"]
    if kind == "array":
        kind = f"{_plain(holder.get('type', 'string'), fields)}[]"
    return Node(_plain(kind, fields), bool(described.get("required")), fields)


def _plain(kind: str, fields: Tree) -> str:
    """Objects without known fields, and maps, take any key."""
    return "any" if kind == "map" or (kind == "object" and not fields) else kind


def _node_of_meta(entry: Mapping[str, Any], described: Mapping[str, Any] | None) -> Node:
    required = bool(entry.get("required"))
    node = _node_of_model(described) if described else Node("string", required, {})
    inner_model = (described or {}).get("items") or described or {}
    for sub in entry.get("sub_parameters") or []:
        inner = (inner_model.get("properties") or {}).get(sub["name"])
        node.fields[sub["name"]] = _node_of_meta(sub, inner)
    match entry["type"]:
        case "RepeatList" | "Array":
            kind = (
                "object[]" if node.fields else node.kind if node.kind.endswith("[]") else "string[]"
            )
        case "Struct":
            kind = "object" if node.fields else "any"
        case "Json":
            kind = f"json:{node.kind}" if node.fields or node.kind.endswith("[]") else "json"
        case "String" if described and described["type"] in ("object", "array"):
            # The SDK takes a structure and sends it as one JSON string.
            kind = "json:object" if node.fields else "json"
        case other:
            kind = SCALARS[other]
    return Node(kind, required, node.fields)


def _plant(tree: Tree, parts: list[str], node: Node) -> None:
    """Hang a literally spelled name (``Filter.1.Key``, ``SystemDisk.Size``) into the tree."""
    name, rest = parts[0], parts[1:]
    if not rest:
        tree.setdefault(name, node)
    elif rest[0].isdigit():
        holder = tree.setdefault(
            name, Node("object[]" if rest[1:] else f"{node.kind}[]", False, {})
        )
        if rest[1:]:
            _plant(holder.fields, rest[1:], node)
    else:
        _plant(tree.setdefault(name, Node("object", False, {})).fields, rest, node)


def _add_fields(node: Node, more: Node) -> None:
    for name, inner in more.fields.items():
        if name in node.fields:
            _add_fields(node.fields[name], inner)
        else:
            node.fields[name] = inner


def _differences(ours: Mapping[str, Field], theirs: Tree, at: str) -> Iterator[str]:
    for name in ours.keys() - theirs.keys():
        yield f"{at}{name}: unknown to the vendor"
    for name in theirs.keys() - ours.keys():
        yield f"{at}{name}: missing in our table"
    for name in ours.keys() & theirs.keys():
        field, node = ours[name], theirs[name]
        if _kind(field) not in _same(node.kind):
            yield f"{at}{name}: {_kind(field)}, not {node.kind}"
        if field.required is not node.required:
            yield f"{at}{name}: required is {field.required}, not {node.required}"
        inner = field.items.fields if field.items else field.fields
        yield from _differences(inner, node.fields, f"{at}{name}.")


def _kind(field: Field) -> str:
    if field.type == "array":
        assert field.items is not None
        return f"{field.items.type}[]"
    if field.type == "json" and (field.items or field.fields):
        return f"json:{field.items.type}[]" if field.items else "json:object"
    return field.type


def _same(kind: str) -> set[str]:
    """A list in a query that only the SDK knows travels as one JSON string."""
    return {kind, f"json:{kind}"} if kind.endswith("[]") else {kind}
