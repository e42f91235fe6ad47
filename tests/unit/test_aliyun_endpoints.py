"""Where products answer, and how the addresses that people write are read."""

import pytest

from saleops.adapters.aliyun_endpoints import (
    Endpoint,
    check_region,
    endpoint_of,
    parse_endpoint,
    parse_overrides,
)
from saleops.cloudapi import product_of
from saleops.errors import ConfigError


@pytest.mark.parametrize(
    ("code", "region", "host"),
    [
        ("ecs", "ap-southeast-1", "ecs.ap-southeast-1.aliyuncs.com"),
        ("cs", "cn-shanghai", "cs.cn-shanghai.aliyuncs.com"),
        ("dcdn", "ap-southeast-1", "dcdn.aliyuncs.com"),
        ("bssopenapi", "cn-shanghai", "business.aliyuncs.com"),
        ("bssopenapi", "ap-southeast-1", "business.ap-southeast-1.aliyuncs.com"),
        ("sts", "cn-hangzhou-finance", "sts.aliyuncs.com"),
    ],
)
def test_each_product_has_its_host_in_each_region(code: str, region: str, host: str) -> None:
    product = product_of(code)

    assert product is not None
    assert endpoint_of(product, region) == Endpoint(host, "https")


def test_a_host_that_somebody_names_wins() -> None:
    named = parse_overrides(
        "ecs=ecs-vpc.ap-southeast-1.aliyuncs.com, R-KVSTORE = https://r.example:8443"
    )
    ecs, tair = product_of("ecs"), product_of("r-kvstore")

    assert ecs is not None
    assert tair is not None
    assert endpoint_of(ecs, "ap-southeast-1", named).host == "ecs-vpc.ap-southeast-1.aliyuncs.com"
    assert endpoint_of(tair, "ap-southeast-1", named).url == "https://r.example:8443"


@pytest.mark.parametrize("text", ["ecs", "teapot=host", "ecs=http://10.0.0.1", "ecs=", "=host"])
def test_a_wrong_list_of_hosts_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_overrides(text)


@pytest.mark.parametrize(
    ("text", "url", "loopback"),
    [
        ("127.0.0.1:8400", "http://127.0.0.1:8400", True),
        ("http://localhost:8400/", "http://localhost:8400", True),
        ("http://[::1]:8400", "http://[::1]:8400", True),
        ("https://cloud.example", "https://cloud.example", False),
        ("cloud.example:444", "https://cloud.example:444", False),
    ],
)
def test_addresses_are_read_as_people_write_them(text: str, url: str, loopback: bool) -> None:
    found = parse_endpoint(text)

    assert (found.url, found.is_loopback) == (url, loopback)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://",
        "http://8.8.8.8",
        "ftp://h",
        "https://u:p@h",
        "https://h:x",
        "https://h/p?q",
        "a b",
    ],
)
def test_an_address_that_cannot_be_right_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no address of a cloud") as caught:
        parse_endpoint(text)

    assert "local" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "region", ["ap-southeast-1", "cn-shanghai", "cn-hangzhou-finance", "rus-west-1"]
)
def test_regions_are_taken(region: str) -> None:
    assert check_region(region) == region


@pytest.mark.parametrize(
    "region", ["", "Singapore", "ap southeast", "../x", "ap-southeast-1.evil.example"]
)
def test_what_can_be_no_region_is_refused(region: str) -> None:
    with pytest.raises(ConfigError, match="no region"):
        check_region(region)
