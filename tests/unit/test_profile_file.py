"""The profile: what a good one means, and what each bad one hears."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saleops.config.profile import Profile, default_profile, load_profile, profile_schema
from saleops.config.sale import load_sale
from saleops.errors import ConfigError

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "midnight-drop" / "profile.yaml"
SCHEMA = ROOT / "docs" / "profile.schema.json"
HEAD = "apiVersion: saleops/profile/v1\n"


def load(folder: Path, text: str) -> Profile:
    path = folder / "profile.yaml"
    path.write_text(text, encoding="utf-8")
    return load_profile(path)


def complaint(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, HEAD + text)
    assert caught.value.hint
    return caught.value.message.replace(f"{folder}/", "")


def test_the_example_is_a_good_profile() -> None:
    profile = load_profile(EXAMPLE)

    assert profile.cluster.key_pair == "midnight-drop"
    assert set(profile.nodes.price_limits) == set(profile.nodes.instance_types)


def test_a_profile_of_nothing_but_its_version_is_the_default(tmp_path: Path) -> None:
    assert load(tmp_path, HEAD) == default_profile()


def test_the_schema_in_docs_is_the_one_that_is_printed() -> None:
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == profile_schema(), (
        "run: saleops schema --profile > docs/profile.schema.json"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("netwrok: {}", "profile.yaml:2:1: netwrok: there is no such key (did you mean network?)"),
        (
            "cluster: {keypair: a}",
            "profile.yaml:2:11: cluster.keypair: there is no such key (did you mean key_pair?)",
        ),
        (
            "key_pair: a",
            "profile.yaml:2:1: key_pair: there is no such key (did you mean cluster.key_pair?)",
        ),
        ("cluster: {spec: ack.standard}", "'ack.pro.small', 'ack.pro.xlarge'"),
        (
            "network: {vpc_cidr: 10.0.0.0/33}",
            "'10.0.0.0/33' is no block of addresses like 10.16.0.0/16",
        ),
        ("network: {vpc_cidr: 8.8.0.0/16}", "8.8.0.0/16 is no private block"),
        ("network: {vpc_cidr: 172.19.0.0/16}", "service_cidr 172.19.0.0/20 overlaps vpc_cidr"),
        ("network: {eip_bandwidth_mbps: 300}", "PayByTraffic goes to 200"),
        (
            "nodes: {spot_share: 70%}",
            "a plain number is wanted here, not '70%' (did you mean 0.7?)",
        ),
        ("nodes: {instance_types: [c7.xlarge]}", "is not of the form"),
        ("nodes: {price_limits: {ecs.c7.xlarge: 0}}", "greater than 0 is wanted here, not 0"),
        ("database: {read_nodes: 16}", "less than or equal to 15 is wanted here, not 16"),
        ("database: {account: Shop}", "'Shop' is not of the form"),
        ("database: {password: x}", "there is no such key"),
        ("cache: {allow: [0.0.0.0/0]}", "0.0.0.0/0 would let in the whole world"),
        (
            "queue: {series: ultimate, sub_series: single_node}",
            "the ultimate series has only cluster_ha",
        ),
        (
            "edge: {domain: https://shop.example.com}",
            "is no domain name: write the name alone, without https:// and path: shop.example.com",
        ),
        ("edge: {domain: 10.0.0.1}", "an address has no name"),
        (
            "engines: {database: 'mysql://shop:secret@db/shop'}",
            "a password does not belong into a file",
        ),
        (
            "region: cn-hangzhou\nzones: [ap-southeast-1a]",
            "ap-southeast-1a: not of the region cn-hangzhou",
        ),
    ],
    ids=lambda value: None if "\n" in value or len(value) > 40 else value.replace("/", "_"),
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    assert said in complaint(tmp_path, text)


def test_every_wrong_field_is_named_at_once(tmp_path: Path) -> None:
    said = complaint(tmp_path, "cache: {shards: 33}\nqueue: {retention_h: 0}\nfoo: 1\n")

    assert [line.split(": ")[1] for line in said.splitlines()] == [
        "cache.shards",
        "queue.retention_h",
        "foo",
    ]


def test_a_profile_that_is_not_there_is_told_how_one_begins(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_profile(tmp_path / "none.yaml")

    assert "there is no such file" in caught.value.message
    assert "saleops schema --profile" in (caught.value.hint or "")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(max_size=120))
def test_no_text_is_a_traceback(tmp_path: Path, text: str) -> None:
    path = tmp_path / "profile.yaml"
    path.write_bytes((HEAD + text).encode("utf-8", "surrogatepass"))
    with suppress(ConfigError):
        load_profile(path)


SALE = """\
apiVersion: saleops/v1
name: drop
window: {opens: 2026-11-27T00:00:00+08:00, closes: 2026-11-27T02:00:00+08:00}
items: [{sku: a-1, name: Cap, price: 19.99, stock: 3}]
"""


def test_engines_that_the_sale_does_not_name_are_the_profiles(tmp_path: Path) -> None:
    sale = tmp_path / "sale.yaml"
    sale.write_text(SALE + "engines: {redis: redis://sale:6379}\n")
    (tmp_path / "profile.yaml").write_text(
        HEAD + "engines: {redis: redis://profile:6379, database: mysql://shop@profile/shop}\n"
    )

    engines = load_sale(sale).engines

    assert (engines.redis, engines.database, engines.broker) == (
        "redis://sale:6379",
        "mysql://shop@profile/shop",
        None,
    )


def test_a_broken_profile_beside_a_sale_is_named_when_its_engines_are_wanted(
    tmp_path: Path,
) -> None:
    sale = tmp_path / "sale.yaml"
    sale.write_text(SALE)
    (tmp_path / "profile.yaml").write_text(HEAD + "engines: {redis: http://no}\n")

    with pytest.raises(ConfigError, match=r"profile.yaml:2:18: engines.redis"):
        load_sale(sale)
