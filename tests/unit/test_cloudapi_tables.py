"""The reader of API tables, and what the tables hold."""

from importlib.resources import files

import pytest

from saleops.cloudapi import Product, api_of, apis_of, find_roa, product_of, products
from saleops.cloudapi.tables_reader import PRODUCT_CODES, apis_in, find_rpc, read_table

TABLE = """\
# A product of our own.
shop 2026-11-11 ROA shop.{region}.example.com   # the endpoint
also Store kiosk
elsewhere shop.example.com north,south

MakeCart writes POST /carts/[CartId] token=body.token
  ?dry_run boolean
  ?names csv
  ?options json:object[]
    name string!
  token string
  lines object[]!~ 1..20
    sku string! 1..64
    units integer 1..
    kind string a|b
    notes any
ListCarts reads GET /carts
AddAll writes POST /carts/[CartId]/all
  [] object
    sku string!
"""


def test_a_table_says_all_that_an_api_has() -> None:
    make, listing, add = apis_in(read_table("shop.api", TABLE))

    assert (make.product.code, make.product.version, make.product.style) == (
        "shop",
        "2026-11-11",
        "ROA",
    )
    assert (make.method, make.path, make.token, make.reads) == (
        "POST",
        "/carts/[CartId]",
        "body.token",
        False,
    )
    assert list(make.params) == ["dry_run", "names", "options"]
    assert make.params["names"].joined
    assert make.params["options"].type == "json"
    assert make.params["options"].items is not None
    assert make.params["options"].items.fields["name"].required
    assert make.body is not None
    lines = make.body.fields["lines"]
    assert (lines.type, lines.required, lines.deprecated, lines.low, lines.high) == (
        "array",
        True,
        True,
        1,
        20,
    )
    assert lines.items is not None
    assert lines.items.fields["kind"].values == ("a", "b")
    assert lines.items.fields["units"].high is None
    assert (listing.reads, listing.body, listing.params) == (True, None, {})
    assert add.body is not None
    assert (add.body.type, add.body.items is not None) == ("array", True)


def test_a_region_may_have_an_endpoint_of_its_own() -> None:
    product = read_table("shop.api", TABLE).product

    assert product.host("north") == "shop.example.com"
    assert product.host("west") == "shop.west.example.com"
    assert product.aliases == ("store", "kiosk")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("MakeCart writes POST /again", "twice"),
        ("Other often POST /x", "expected"),
        ("Other writes /x", "expected"),
        ("Other writes POST /x token=", "expected"),
        ("Other writes POST /x token=id", "no field"),
        ("Other writes POST /x fast", "expected"),
        ("Other writes POST /x\n  name", "expected"),
        ("Other writes POST /x\n  name text", "no type"),
        ("Other writes POST /x\n  name json:text", "json"),
        ("Other writes POST /x\n  name integer 1..many", "bounds"),
        ("Other writes POST /x\n  name string\n  name string", "twice"),
        ("Other writes POST /x\n  name string\n    inner string", "no fields"),
        ("Other writes POST /x\n   name string", "two spaces"),
        ("Other writes POST /x\n    name object\n  inner string", "less than"),
        ("Other writes POST /x\n  [] object\n  name string", "list"),
        ("elsewhere shop.example.com", "elsewhere"),
    ],
)
def test_a_malformed_table_names_its_file_and_line(line: str, why: str) -> None:
    with pytest.raises(ValueError, match=rf"^shop\.api:(2[0-9]): .*{why}"):
        apis_in(read_table("shop.api", TABLE + line + "\n"))


@pytest.mark.parametrize("text", ["", "# nothing\n", "shop 1 REST host\n", "  name string\n"])
def test_a_table_begins_with_its_product(text: str) -> None:
    with pytest.raises(ValueError, match=r"^shop\.api:1: "):
        read_table("shop.api", text)


def test_every_file_is_a_product_and_every_api_of_it_can_be_read() -> None:
    names = {entry.name for entry in files("saleops.cloudapi").joinpath("tables").iterdir()}

    assert names == {f"{code}.api" for code in PRODUCT_CODES}
    assert sum(len(apis_of(code)) for code in PRODUCT_CODES) == 303


def test_no_two_products_share_a_version() -> None:
    assert len({product.version for product in products()}) == len(products())


@pytest.mark.parametrize(
    ("code", "ours"),
    [
        ("R-kvstore", "r-kvstore"),
        ("redisa", "r-kvstore"),
        ("BssOpenApi", "bssopenapi"),
        ("RocketMQ", "rocketmq"),
        ("CS", "cs"),
        ("ECS", "ecs"),
    ],
)
def test_products_are_found_by_any_of_their_codes(code: str, ours: str) -> None:
    product = product_of(code)

    assert isinstance(product, Product)
    assert product.code == ours
    assert apis_of(code)


def test_what_is_not_there_is_named_with_the_nearest() -> None:
    assert product_of("oss") is None
    with pytest.raises(LookupError, match=r"no API 'CreateVpcs'; did you mean CreateVpc\?"):
        api_of("vpc", "CreateVpcs")
    with pytest.raises(LookupError, match="no table of a product 'oss'"):
        apis_of("oss")


def test_a_request_finds_its_api() -> None:
    rpc = find_rpc("CreateVpc", "2016-04-28")
    assert rpc is api_of("vpc", "CreateVpc")
    assert find_rpc("CreateVpc", "2014-05-26") is None
    assert find_rpc("CreateCluster", "2015-12-15") is None, "ACK is no RPC product"

    hit = find_roa("put", "/clusters/c1/nodepools/np%2F1")
    assert hit == (api_of("cs", "ModifyClusterNodePool"), {"ClusterId": "c1", "NodepoolId": "np/1"})
    assert find_roa("PUT", "/clusters/c1/nodepools/") is None
    assert find_roa("GET", "/nowhere") is None
    assert find_roa("GET", "") is None


def test_products_that_share_a_path_are_told_apart_by_version() -> None:
    names = {
        version: hit[0].product.code
        for version in ("2015-12-15", "2022-08-01")
        if (hit := find_roa("GET", "/regions", version))
    }

    assert names == {"2015-12-15": "cs", "2022-08-01": "rocketmq"}


def test_the_write_apis_without_a_token_are_the_ones_we_must_look_up_first() -> None:
    """API reference and SDK models, 2026-11-23: an unanswered call of these must not simply be sent again."""
    without = [
        *(("cs", name) for name in ("CreateClusterNodePool", "ScaleClusterNodePool")),
        *(("cs", name) for name in ("ModifyClusterNodePool", "InstallClusterAddons")),
        *(("rocketmq", name) for name in ("CreateTopic", "CreateConsumerGroup")),
        *(("dcdn", name) for name in ("AddDcdnDomain", "PreloadDcdnObjectCaches")),
        *(("r-kvstore", name) for name in ("AddShardingNode", "CreateInstance")),
        *(("mse", "CreateFlowRule"), ("quotas", "CreateQuotaApplication")),
    ]
    with_one = {
        ("cs", "CreateCluster"): "body.client_token",
        ("rocketmq", "CreateInstance"): "clientToken",
        ("vpc", "CreateNatGateway"): "ClientToken",
        ("polardb", "CreateDBNodes"): "ClientToken",
        ("r-kvstore", "CreateTairInstance"): "ClientToken",
        ("ecs", "AuthorizeSecurityGroup"): "ClientToken",
    }

    assert [call for call in without if api_of(*call).token] == []
    assert {call: api_of(*call).token for call in with_one} == with_one
