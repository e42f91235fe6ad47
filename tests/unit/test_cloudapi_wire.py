"""Flat parameters and back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saleops.cloudapi import Api, Field, api_of, apis_of, products
from saleops.cloudapi.checks import problems
from saleops.cloudapi.wire import flatten, json_document, parse

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12)


def values_of(field: Field) -> st.SearchStrategy[object]:
    """Well-formed values of ``field``; lists and objects are never empty, which has no flat spelling."""
    match field.type:
        case "string":
            return st.sampled_from(field.values) if field.values else TEXT
        case "integer":
            return st.integers(int(field.low or 0), int(field.high or 10**9))
        case "number":
            return st.floats(field.low or 0, field.high or 1e9, allow_nan=False, width=32)
        case "boolean":
            return st.booleans()
        case "array":
            assert field.items is not None
            entry = (
                TEXT.map(lambda text: text.replace(",", "_"))
                if field.joined
                else values_of(field.items)
            )
            return st.lists(
                entry, min_size=max(1, int(field.low or 1)), max_size=int(field.high or 3)
            )
        case "object" if field.fields:
            names = st.lists(
                st.sampled_from(sorted(field.fields)), min_size=1, max_size=4, unique=True
            )
            return names.flatmap(
                lambda names: st.fixed_dictionaries(
                    {name: values_of(field.fields[name]) for name in names}
                )
            )
        case "json" if field.items:
            return st.lists(values_of(field.items), max_size=2)
        case "json":
            return st.dictionaries(TEXT, st.integers() | TEXT, max_size=2)
        case _:
            return st.just({"Free": "text"})


ALL = [api for product in products() for api in apis_of(product.code) if api.params]


@st.composite
def calls(draw: st.DrawFn) -> tuple[Api, dict[str, object]]:
    api = draw(st.sampled_from(ALL))
    names = draw(st.lists(st.sampled_from(sorted(api.params)), max_size=6, unique=True))
    return api, {name: draw(values_of(api.params[name])) for name in names}


@given(calls())
def test_what_was_flattened_is_parsed_back(call: tuple[Api, dict[str, object]]) -> None:
    api, params = call

    flat = flatten(api, params)

    assert all(isinstance(value, str) for value in flat.values())
    if api.product.style == "RPC":
        common = {"OwnerId", "OwnerAccount", "SecurityToken"} - set(api.params)
        assert not common & set(params)
    assert parse(api, flat) == (params, [])


@given(
    st.dictionaries(
        st.text(max_size=40)
        | st.from_regex(r"(Tag|DBNode|RegionId)(\.[0-9A-Za-z]{1,4}){0,4}", fullmatch=True),
        st.text(max_size=20),
    )
)
def test_no_flat_spelling_breaks_the_parser(flat: dict[str, str]) -> None:
    for api in (
        api_of("polardb", "CreateDBNodes"),
        api_of("vpc", "CreateVpc"),
        api_of("rocketmq", "ListTopics"),
    ):
        params, found = parse(api, flat)

        for problem in found + problems(api, params=params, path={"instanceId": "i"}):
            assert problem.where
            assert len(problem.message) < 500


def test_lists_and_objects_are_flat_and_counted_from_1() -> None:
    params = {
        "LoadBalancerName": None,
        "Tag": [{"Key": "a", "Value": "b"}, {"Key": "c"}],
        "LoadBalancerBillingConfig": {"PayType": "PostPay"},
        "DryRun": True,
    }

    assert flatten(api_of("alb", "CreateLoadBalancer"), params) == {
        "Tag.1.Key": "a",
        "Tag.1.Value": "b",
        "Tag.2.Key": "c",
        "LoadBalancerBillingConfig.PayType": "PostPay",
        "DryRun": "true",
    }


def test_lists_in_a_roa_query_are_one_json_string_or_joined() -> None:
    remove = api_of("cs", "RemoveNodePoolNodes")
    topics = api_of("rocketmq", "ListTopics")

    assert flatten(remove, {"instance_ids": ["i-1", "i-2"], "drain_node": False}) == {
        "instance_ids": '["i-1","i-2"]',
        "drain_node": "false",
    }
    assert flatten(topics, {"messageTypes": ["FIFO", "NORMAL"], "pageSize": 10}) == {
        "messageTypes": "FIFO,NORMAL",
        "pageSize": "10",
    }


def test_booleans_of_the_python_sdks_are_read() -> None:
    api = api_of("vpc", "CreateVpc")

    assert parse(api, {"DryRun": "True", "EnableIpv6": "false"}).params == {
        "DryRun": True,
        "EnableIpv6": False,
    }
    assert parse(api, {"DryRun": "yes"}).params == {"DryRun": "yes"}, "left for the check to name"


def test_signature_parameters_are_left_out_and_the_region_stays() -> None:
    flat = {"Action": "CreateVpc", "Signature": "x", "AccessKeyId": "y", "RegionId": "cn-hangzhou"}

    assert parse(api_of("vpc", "CreateVpc"), flat).params == {"RegionId": "cn-hangzhou"}


@pytest.mark.parametrize(
    ("flat", "where"),
    [
        ({"Tag.2.Key": "a"}, "Tag.1"),
        ({"Tag.1.Key": "a", "Tag.3.Key": "b"}, "Tag.2"),
        ({"Tag.0.Key": "a"}, "Tag.0.Key"),
        ({"Tag.01.Key": "a"}, "Tag.01.Key"),
        ({"Tag.-1.Key": "a"}, "Tag.-1.Key"),
        ({"Tag.²": "a"}, "Tag.²"),
        ({"Tag.x.Key": "a"}, "Tag.x.Key"),
        ({"Tag.1001.Key": "a"}, "Tag.1001.Key"),
        ({"Tag.99999999999999999999.Key": "a"}, "Tag.99999999999999999999.Key"),
        ({"Tag.1": "a", "Tag.1.Key": "b"}, "Tag.1.Key"),
        ({"Tag.1.Key": "a", "Tag.1": "b"}, "Tag.1"),
        ({"Tag.1.Key": "a", "Tag": "b"}, "Tag"),
        ({"Tag": "b", "Tag.1.Key": "a"}, "Tag.1.Key"),
    ],
)
def test_a_bad_index_is_named(flat: dict[str, str], where: str) -> None:
    assert where in [problem.where for problem in parse(api_of("vpc", "CreateVpc"), flat).problems]


def test_a_very_deep_name_costs_nothing_and_is_no_field() -> None:
    name = ".".join(["Tag", *["1"] * 100_000])
    api = api_of("vpc", "CreateVpc")

    params, found = parse(api, {name: "x", "RegionId": "r"})

    assert found + problems(api, params=params)


def test_a_document_nested_too_deep_is_no_document() -> None:
    with pytest.raises(ValueError, match="deep"):
        json_document("[" * 200_000)
    api = api_of("cs", "DeleteCluster")
    found = problems(api, params={"delete_options": "[" * 200_000}, path={"ClusterId": "c"})
    assert [problem.where for problem in found] == ["delete_options"]


def test_a_value_without_a_spelling_is_a_bug() -> None:
    with pytest.raises(TypeError, match="object cannot travel"):
        flatten(api_of("vpc", "CreateVpc"), {"VpcName": object()})


def test_documents_are_written_once() -> None:
    """A caller may hand a document as text already; it is not quoted a second time."""
    api = api_of("cs", "DeleteCluster")
    options = [{"resource_type": "SLB", "delete_mode": "delete"}]

    assert flatten(api, {"delete_options": options}) == flatten(
        api, {"delete_options": json.dumps(options, separators=(",", ":"))}
    )
