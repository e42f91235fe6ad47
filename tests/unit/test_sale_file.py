"""The sale file: what a good one means, and what each bad one hears."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saleops.config.sale import Sale, load_sale, sale_schema
from saleops.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "examples" / "midnight-drop" / "sale.yaml"
SCHEMA = Path(__file__).parents[2] / "docs" / "sale.schema.json"

ITEM = "{sku: a-1, name: Cap, price: 19.99, stock: 3}"

GOOD = """\
apiVersion: saleops/v1
name: drop
window: {opens: 2026-11-27T00:00:00+08:00, closes: 2026-11-27T02:00:00+08:00}
items: [{sku: a-1, name: Cap, price: 19.99, stock: 3}]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "sale.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, text: str) -> Sale:
    return load_sale(write(folder, text))


def complaint(folder: Path, text: str) -> str:
    """What ``text`` hears, without the folder in front of the file's name."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    assert caught.value.hint
    return caught.value.message.replace(f"{folder}/", "")


def test_the_example_is_a_good_sale_with_few_units_of_three_hot_items() -> None:
    sale = load_sale(EXAMPLE)
    items = list(sale.items_source.stream())
    summary = sale.items_source.summary()

    assert sale.window.opens == datetime(2026, 11, 26, 16, tzinfo=UTC)
    assert sale.traffic.peak_rps == 40_000
    assert len(items) == summary.items_count == 40
    assert 300 < summary.units_count < 600  # fewer than a rehearsal has buyers
    hot = sorted(items, key=lambda item: item.popularity)[-3:]
    assert sum(item.popularity for item in hot) > summary.total_popularity / 2
    assert {item.limit_per_buyer for item in hot} == {2}


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    sale = load(tmp_path, GOOD)

    assert (sale.currency, sale.reservations.ttl_s, sale.payment.ttl_s) == ("USD", 60, 900)
    assert (sale.cache.ttl_s, sale.cache.jitter) == (300, 0.2)
    assert (sale.limits.per_buyer_rps, sale.limits.per_ip_rps) == (20, 0)
    assert (sale.engines.redis, sale.engines.database, sale.engines.broker) == (None, None, None)
    assert sale.traffic.peak_rps >= sale.traffic.baseline_rps
    assert sale.window.closes_ms - sale.window.opens_ms == 2 * 3_600_000


def test_a_sale_cannot_be_changed_once_read(tmp_path: Path) -> None:
    sale = load(tmp_path, GOOD)

    with pytest.raises(ValueError, match="frozen"):
        sale.name = "other"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        # keys
        ("peek_rps: 5", "sale.yaml:5:1: peek_rps: there is no such key (did you mean traffic.peak_rps?)"),
        ("traffic: {peak_rsp: 5}", "5:11: traffic.peak_rsp: there is no such key (did you mean peak_rps?)"),
        ("services: {order: {cpus: 1}}", "5:20: services.order.cpus: there is no such key (did you mean cpu?)"),
        ("services: {Order: {}}", "5:12: services.Order: 'Order' is not of the form"),
        ("<<: {}", "sale.yaml:5:1: <<: there is no such key"),
        ("name: twice", "sale.yaml:5:1: name is given twice (first in line 2)"),
        # units
        ("traffic: {peak_rps: 40k}", "5:21: traffic.peak_rps: a plain number is wanted here, not '40k' (did you mean 40000?)"),
        ("traffic: {peak_rps: 40,000 rps}", "there is no such key"),  # a comma ends a value in {}
        ('traffic: {peak_rps: "40,000 rps"}', "(did you mean 40000?)"),
        ('traffic: {peak_rps: "40000"}', "not '40000' (did you mean 40000?)"),
        ("traffic: {step_s: 2m}", "traffic.step_s: a plain number is wanted here, not '2m' (did you mean 120?)"),
        ("objectives: {checkout_p99_ms: 0.4s}", "(did you mean 400?)"),
        ("objectives: {error_rate: 5%}", "(did you mean 0.05?)"),
        ("traffic: {peak_rps: 1e999}", "traffic.peak_rps: less than or equal to 1000000000 is wanted here, not inf"),
        ("traffic: {peak_rps: .nan}", "traffic.peak_rps:"),
        ("traffic: {peak_rps: yes}", "not 'yes'"),
        ("traffic: {peak_rps: true}", "not True"),
        ("traffic: {peak_rps: -5}", "greater than 0 is wanted here, not -5"),
        ("traffic: {peak_rps: 12:30:45}", "not '12:30:45'"),
        ("traffic: {baseline_rps: 50, peak_rps: 5}", "5:10: traffic: peak_rps (5) is below baseline_rps (50)"),
        ("objectives: {oversold_units: 1.5}", "a whole number is wanted here, not 1.5"),
        ("limits: {budget: 5000}", "limits.budget: 5000 of what? (did you mean 5000 USD?)"),
        ("limits: {budget: 5k USD}", "limits.budget: '5k USD' is not of the form"),
        ("limits: {database_connections: -1}", "limits.database_connections: greater than or equal to 0"),
        ("cache: {jitter: 1}", "cache.jitter: less than 1"),
        ("payment: {ttl_s: 0}", "payment.ttl_s: greater than 0"),
        ("services: {order: {memory: 1024}}", "services.order.memory: text is wanted here, not 1024"),
        ("services: {order: {memory: 1GB}}", "services.order.memory: '1GB' is not of the form"),
        ("services: {order: {cpu: one}}", "services.order.cpu: 'one' is not of the form"),
        # places
        ("zones: [cn-hangzhou-a]", "5:8: zones: cn-hangzhou-a: not of the region ap-southeast-1"),
        ("zones: [ap-southeast-1a, ap-southeast-1a]", "zones: a zone is there twice"),
        ("zones: ap-southeast-1a", "zones: a list is wanted here, not 'ap-southeast-1a'"),
        ("region: Singapore", "region: 'Singapore' is not of the form"),
        ("nodes: {instance_types: [c7.xlarge]}", "nodes.instance_types.0: 'c7.xlarge' is not of the form"),
        # shapes
        ("traffic: [1]", "5:10: traffic: a mapping (key: value) is wanted here, not [1]"),
        ("traffic:", "sale.yaml:5:1: traffic: nothing is written here"),
        ("degrade: [checkout]", "degrade.0: checkout is essential and never switched of"),
        ("degrade: [revews]", "degrade.0: 'recommendations' or 'reviews' is wanted here, not"),
        ("engines: {redis: localhost}", "engines.redis: a URL is wanted here that begins with one of redis://"),
        ("engines: {database: postgres://x}", "engines.database: a URL is wanted here that begins with one of mysql://"),
        ("engines: {redis: 'redis://a b'}", "engines.redis: a URL has no spaces"),
        ("currency: dollars", "currency: 'dollars' is not of the form"),
    ],
)  # fmt: skip
def test_a_wrong_field_hears_where_and_what(tmp_path: Path, line: str, said: str) -> None:
    assert said in complaint(tmp_path, f"{GOOD}{line}\n")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("+08:00, closes", ", closes", "3:17: window.opens: 2026-11-27T00:00:00 has no time zone: midnight where? Write"),
        ("2026-11-27T02", "2026-11-26T02", "3:9: window: the sale closes before it opens"),
        ("2026-11-27T02:00:00", "2026-11-27T00:00:00", "window: the sale closes before it opens"),
        ("2026-11-27T02:00:00+08:00", "midnight", "window.closes: 'midnight' is no point in time"),
        ("2026-11-27T02:00:00+08:00", "2026-02-30T02:00:00Z", "window.closes: '2026-02-30T02:00:00Z' is no point in time"),
        ("2026-11-27T02:00:00+08:00", "1764180000", "window.closes: a point in time like"),
        ("2026-11-27T00:00:00+08:00", "0001-01-01T00:00:00+14:00", "the year 1 is no year for a sale"),
        ("2026-11-27T02:00:00+08:00", "9999-12-31T23:59:59-14:00", "the year 9999 is no year for a sale"),
        (", closes: 2026-11-27T02:00:00+08:00", "", "3:9: window.closes: this is missing"),
        ("name: drop\n", "", "1:1: name: this is missing"),
        ("name: drop", "name: Midnight Drop", "2:7: name: 'Midnight Drop' is not of the form"),
        ("name: drop", "name: 2027", "2:7: name: text is wanted here, not 2027"),
        ("name: drop", "name: -drop", "name: '-drop' is not of the form"),
        ("saleops/v1", "saleops/v2", "1:13: apiVersion: 'saleops/v1' is wanted here, not 'saleops/v2'"),
        ("items: [", "item: [", "4:1: item: there is no such key (did you mean items?)"),
        ("price: 19.99", "price: 19.999", "4:38: items.0.price: '19.999' has more than 2 decimals"),
        ("price: 19.99", "price: -1", "items.0.price: -1 is below 0"),
        ("price: 19.99", "price: $19.99", "items.0.price: '$19.99' is not a bare number (did you mean 19.99?)"),
        ("price: 19.99", "price: true", "items.0.price: this should be a plain value, not a yes or no"),
        ("price: 19.99", "prise: 19.99", "(did you mean price?)\nsale.yaml:4:9: items.0.price: is missing"),
        ("stock: 3", "stock: 3.5", "items.0.stock: 3.5 is a fraction of a unit"),
        ("stock: 3", "stock: -3", "items.0.stock: -3 is below 0"),
        ("stock: 3", "stock: ~", "items.0.stock: is empty"),
        (ITEM, "a-1", "4:9: items.0: this should be a mapping"),
        (ITEM, "", "4:8: there are no items"),
        (f"[{ITEM}]", "items.csv", "4:8: items: a mapping or a list is wanted here"),
        (f"[{ITEM}]", "{}", "4:8: items.file: this is missing"),
        (f"[{ITEM}]", "{file: }", "items.file: nothing is written here"),
        (f"[{ITEM}]", "{file: items.csv}", "4:15: items.file: items.csv: there is no such file"),
        (f"[{ITEM}]", "{file: .}", "is a folder, not a CSV file"),
        (f"[{ITEM}]", '{file: "a\\0b"}', "items.file:"),
    ],
)  # fmt: skip
def test_a_wrong_value_hears_where_and_what(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD

    assert said in complaint(tmp_path, GOOD.replace(old, new, 1))


def test_every_wrong_field_is_named_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = GOOD.replace("name: drop", "name: X").replace("stock: 3", "stock: x")

    lines = complaint(tmp_path, f"{text}traffic: {{step_s: 5m}}\ntrafic: 1\n").splitlines()

    assert [line.split(":")[1] for line in lines] == ["2", "5", "6", "4"]  # items come last


def test_a_thousand_mistakes_do_not_make_a_thousand_lines(tmp_path: Path) -> None:
    text = GOOD + "".join(f"key{number}: 1\n" for number in range(1000))

    lines = complaint(tmp_path, text).splitlines()

    assert len(lines) == 51
    assert lines[-1] == "... and 950 more"


def test_duplicate_skus_in_the_list_are_named_with_both_places(tmp_path: Path) -> None:
    said = complaint(tmp_path, GOOD.replace(ITEM, f"{ITEM},\n  {ITEM}"))

    assert "sale.yaml:5:3: sku: a-1 is there already, at" in said
    assert said.endswith("sale.yaml:4:9")


def test_a_password_in_an_engine_url_is_refused_and_not_repeated(tmp_path: Path) -> None:
    for url in (
        "redis://:hunter2@host", "redis://me:hunter2@host", "redis://h?password=hunter2",
        "redis://me:hunter2/x@host", "rocketmq://key:hunter2@mq?namesrv=ns", "rocketmq://key:hunter2/s+k?=@mq",
        "rocketmq://mq?secret=hunter2", "rocketmq://mq?secretKey=hunter2",
    ):  # fmt: skip
        said = complaint(tmp_path, f"{GOOD}engines: {{broker: '{url}'}}\n")

        assert "SALEOPS_BROKER_URL" in said
        assert "SALEOPS_ROCKETMQ_SECRET_KEY" in said
        assert "hunter2" not in said


def test_a_sale_may_name_its_rocketmq_but_not_as_its_redis(tmp_path: Path) -> None:
    url = "rocketmq://10.0.0.1:8081;10.0.0.2:8081?namesrv=ns:9876&tls=true&ca=/etc/ssl/our-ca.pem"

    sale = load(tmp_path, f"{GOOD}engines: {{broker: '{url}'}}\n")

    assert sale.engines.broker == url
    assert "redis://" in complaint(tmp_path, f"{GOOD}engines: {{redis: '{url}'}}\n")


def test_cpu_may_be_written_as_a_number(tmp_path: Path) -> None:
    sale = load(tmp_path, f"{GOOD}services: {{order: {{cpu: 2}}, catalog: {{cpu: 500m}}}}\n")

    assert (sale.services["order"].cpu, sale.services["catalog"].cpu) == ("2", "500m")


def test_inline_items_are_exact_however_numbers_are_written(tmp_path: Path) -> None:
    text = GOOD.replace(
        "price: 19.99, stock: 3", "price: 0.29, stock: 3, popularity: 1.5e3"
    ).replace("sku: a-1", "sku: 1082185")

    [item] = load(tmp_path, text).items_source.stream()

    assert (item.sku, item.price_fen, item.popularity) == ("1082185", 29, 1500.0)


def test_the_same_items_have_the_same_version_inline_and_in_a_file(tmp_path: Path) -> None:
    inline = load(tmp_path, GOOD).items_source.summary()
    (tmp_path / "items.csv").write_text("stock,price,name,sku\n3,19.99,Cap,a-1\n")
    head = GOOD[: GOOD.index("items:")]

    assert load(tmp_path, f"{head}items: {{file: items.csv}}\n").items_source.summary() == inline


def test_the_items_file_is_looked_for_beside_the_sale_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "items.csv").write_text("sku,name,price,stock\na,Cap,1,2\n")
    path = write(tmp_path, f"{GOOD[: GOOD.index('items:')]}items: {{file: items.csv}}\n")
    monkeypatch.chdir("/")

    assert load_sale(path).items_source.summary().units_count == 2


def test_the_checked_in_schema_is_that_of_the_models() -> None:
    import json

    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == sale_schema(), (
        "run `saleops schema > docs/sale.schema.json`"
    )


def test_editors_accept_the_example_and_refuse_a_wrong_unit() -> None:
    import jsonschema_rs

    check = jsonschema_rs.validator_for(sale_schema())
    good = yaml.load(EXAMPLE.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    good["traffic"] = {"peak_rps": 40_000}
    for numbers in (
        "services",
        "nodes",
        "limits",
        "objectives",
        "reservations",
        "payment",
        "cache",
    ):
        del good[numbers]  # BaseLoader reads numbers as text

    assert check.is_valid(good)
    assert not check.is_valid(good | {"traffic": {"peak_rps": "40k"}})
    assert not check.is_valid(good | {"trafic": {}})
    assert not check.is_valid(good | {"items": []})


def test_every_field_of_the_schema_says_what_it_is_for() -> None:
    schema = sale_schema()
    silent = [
        f"{name}.{key}"
        for name, model in (*schema["$defs"].items(), ("Sale", schema))
        for key, value in model["properties"].items()
        if not {"description", "const", "$ref"} & set(value)
    ]

    assert silent == []


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["40k", "2026-11-27T00:00:00", "a-1", "19.99", "redis://", "-1", "/"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.text(max_size=4) | st.sampled_from(["file", "sku", "price", "peak_rps", "ttl_s", "cpu"]),
        inner,
        max_size=3,
    ),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    changes=st.dictionaries(
        st.sampled_from(list(Sale.model_fields)), VALUES, min_size=1, max_size=4
    )
)
def test_no_value_anywhere_brings_more_than_a_config_error(
    changes: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("sale")
    document = yaml.safe_load(GOOD.replace("2026", "x2026")) | changes
    document.setdefault("window", {})
    with suppress(ConfigError):
        load(folder, yaml.safe_dump(document, allow_unicode=True))
