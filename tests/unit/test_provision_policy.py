"""The least-privilege policy: every action that is needed, none that is not."""

import ast
import inspect
import json
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from saleops.cli.main import main
from saleops.cloudapi import api_of
from saleops.domain import cloud
from saleops.domain.cloud.resources import Resource
from saleops.operations.provision.policy import (
    EDGE,
    PREFLIGHT,
    USES,
    actions_of,
    apis_of_kinds,
    policy_of,
)

MODULES = sorted(one.name for one in pkgutil.iter_modules(cloud.__path__))


def kinds() -> Iterator[type[Resource]]:
    for name in MODULES:
        module = import_module(f"saleops.domain.cloud.{name}")
        for _, one in inspect.getmembers(module, inspect.isclass):
            if (
                issubclass(one, Resource)
                and one.__module__ == module.__name__
                and not inspect.isabstract(one)
                and getattr(one, "kind", "")
            ):
                yield one


def calls_in(tree: ast.AST, helpers: dict[str, set[tuple[str, str]]]) -> set[tuple[str, str]]:
    """(product, API) of every ``Call("product", "Api", ...)`` in ``tree``, and in the helpers it uses."""
    found: set[tuple[str, str]] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id in helpers:
            found |= helpers[node.func.id]
        elif node.func.id == "Call":
            words = [one.value for one in node.args[:2] if isinstance(one, ast.Constant)]
            if len(words) == 2:
                found.add((str(words[0]), str(words[1])))
    return found


def calls_of(kind: type[Resource]) -> set[tuple[str, str]]:
    tree = ast.parse(inspect.getsource(inspect.getmodule(kind)))  # type: ignore[arg-type]
    helpers = {
        node.name: calls_in(node, {})
        for name in MODULES
        for node in ast.parse(inspect.getsource(import_module(f"saleops.domain.cloud.{name}"))).body
        if isinstance(node, ast.FunctionDef)
    }
    (body,) = [
        one for one in tree.body if isinstance(one, ast.ClassDef) and one.name == kind.__name__
    ]
    return calls_in(body, helpers)


@pytest.mark.parametrize(
    "kind", sorted(kinds(), key=lambda one: one.kind), ids=lambda one: one.kind
)
def test_the_table_lists_exactly_what_the_resource_calls(kind: type[Resource]) -> None:
    assert apis_of_kinds([kind.kind]) == calls_of(kind)


def test_the_table_has_no_kind_that_is_not_there() -> None:
    assert set(USES) == {kind.kind for kind in kinds()}


@pytest.mark.parametrize("table", [USES, PREFLIGHT, EDGE], ids=["uses", "preflight", "edge"])
def test_every_listed_api_is_in_the_tables_of_its_product(
    table: dict[str, tuple[str, ...]],
) -> None:
    for lines in table.values():
        for line in lines:
            product, *names = line.split()
            for name in names:
                assert api_of(product, name).name == name


def test_an_action_is_the_ram_code_and_the_apis_name_but_for_two() -> None:
    assert actions_of("vpc", "CreateVpc") == ("vpc:CreateVpc",)
    assert actions_of("r-kvstore", "DeleteInstance") == ("kvstore:DeleteInstance",)
    assert actions_of("cs", "DescribeClustersV1") == ("cs:DescribeClustersV1", "cs:GetClusters")
    assert actions_of("bssopenapi", "QueryAccountBalance") == ("bss:DescribeAcccount",)


class Thing:
    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group


def policy(*things: Thing, **settings: object) -> dict[str, list[str]]:
    """Resource -> actions."""
    made = policy_of(things, region="ap-southeast-1", **settings)  # type: ignore[arg-type]
    assert made.document["Version"] == "1"
    return {one["Resource"]: one["Action"] for one in made.document["Statement"]}


def test_only_what_the_sale_has_is_allowed() -> None:
    allowed = policy(Thing("VPC", "network"), preflight=False)

    assert allowed == {
        "*": ["sts:GetCallerIdentity", "vpc:CreateVpc", "vpc:DeleteVpc", "vpc:DescribeVpcs"]
    }


def test_resources_are_narrowed_where_the_action_knows_them() -> None:
    allowed = policy(
        Thing("Tair instance", "cache"),
        Thing("Tair whitelist", "cache"),
        account="1234567890123456",
        preflight=False,
    )

    assert allowed["acs:kvstore:ap-southeast-1:1234567890123456:instance/*"] == [
        "kvstore:DeleteInstance",
        "kvstore:DescribeInstances",
        "kvstore:ModifySecurityIps",
    ]
    assert "kvstore:CreateTairInstance" in allowed["*"]


def test_the_edges_calls_come_with_an_edge_alone() -> None:
    with_edge = policy(Thing("DCDN domain", "edge"))
    without = policy(Thing("VPC", "network"))

    assert "dcdn:PreloadDcdnObjectCaches" in with_edge["acs:dcdn:*:*:domain/*"]
    assert not any(action.startswith("dcdn:") for actions in without.values() for action in actions)


def test_no_action_has_a_wildcard() -> None:
    everything = policy(*(Thing(kind, "edge") for kind in USES))

    assert not [action for actions in everything.values() for action in actions if "*" in action]


def test_a_kind_that_nobody_listed_is_a_bug() -> None:
    with pytest.raises(ValueError, match="teapot"):
        policy(Thing("teapot", "cache"))


def test_the_command_prints_what_ram_takes(capsys: pytest.CaptureFixture[str]) -> None:
    example = Path(__file__).parents[2] / "examples" / "midnight-drop" / "sale.yaml"

    assert main(["provision", "policy", str(example), "--account", "1234567890123456"]) == 0

    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"Version", "Statement"}
    assert any("1234567890123456" in one["Resource"] for one in document["Statement"])
    assert len(json.dumps(document, separators=(",", ":"))) < 6_144, "what RAM takes at the most"
