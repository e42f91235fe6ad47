"""Rules on caches: ends, locks, and what the edge keeps."""

import json
from pathlib import Path

import pytest

from rule_cases import said_by
from saleops.domain.lint.rules_cache import expiry_histogram

EXAMPLE = Path(__file__).parents[2] / "examples" / "midnight-drop"
SALE = (EXAMPLE / "sale.yaml").read_text()
PROFILE = (EXAMPLE / "profile.yaml").read_text()


def kept(*paths: tuple[str, int, int]) -> str:
    functions = [
        {
            "functionName": "path_based_ttl_set",
            "functionArgs": [
                {"argName": "path", "argValue": path},
                {"argName": "ttl", "argValue": str(ttl)},
                {"argName": "weight", "argValue": str(weight)},
            ],
        }
        for path, ttl, weight in paths
    ]
    return json.dumps({"DomainNames": "shop.example.com", "Functions": functions}, indent=1)


NEVER = tuple((path, 0, 99) for path in ("/cart", "/checkout", "/orders", "/payments", "/account"))
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: catalog}\ndata:\n  CACHE_TTL_SECONDS: '300'\n"
INGRESS = """\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: shop
  annotations:
    alb.ingress.kubernetes.io/actions.cart: '[{"type":"InsertHeader","InsertHeaderConfig":{"key":"Cache-Control","value":"%s"}}]'
spec: {rules: [{http: {paths: [{path: /cart, pathType: Prefix}]}}]}
"""
CASES = {
    "CACHE001": ("sale.yaml", SALE.replace("jitter: 0.2", "jitter: 0"), SALE),
    "CACHE002": (
        "lock.lua",
        'local lock = KEYS[1]\nif redis.call("SETNX", lock, ARGV[1]) == 1 then return 1 end',
        'local lock = KEYS[1]\nreturn redis.call("SET", lock, ARGV[1], "NX", "PX", 5000)',
    ),
    "CACHE003": (
        "lock.lua",
        'local lock = KEYS[1]\nreturn redis.call("SET", lock, "1", "NX", "PX", 5000)',
        'local lock = KEYS[1]\nreturn redis.call("SET", lock, ARGV[1], "NX", "PX", 5000)',
    ),
    "CACHE004": ("edge.json", kept(("/", 600, 10)), kept(("/", 600, 10), *NEVER)),
    "CACHE005": ("i.yaml", INGRESS % "public, max-age=600", INGRESS % "private, no-store"),
}


@pytest.mark.parametrize("rule", CASES)
def test_the_bad_text_is_found_and_the_good_one_is_not(rule: str) -> None:
    name, bad, good = CASES[rule]

    assert said_by(rule, bad, name=name), rule
    assert said_by(rule, good, name=name) == []


def test_the_histogram_of_equal_ends_is_one_bar() -> None:
    assert expiry_histogram(4_000, 300, 0)[1] == 4_000
    line, most = expiry_histogram(4_000, 300, 0.2)
    assert (most, "+240 s" in line, "+360 s" in line) == (33, True, True)


def test_the_arithmetic_of_equal_ends_is_in_the_finding() -> None:
    (found,) = said_by("CACHE001", CASES["CACHE001"][1], name="sale.yaml")

    assert "+300 s" in found.why
    assert "40,000 requests a second" in found.why


def test_a_ttl_of_all_entries_without_jitter_is_found() -> None:
    (found,) = said_by("CACHE001", CONFIG)
    assert found.line == 5
    assert said_by("CACHE001", CONFIG + "  CACHE_TTL_JITTER: '0.2'\n") == []


def test_a_lock_in_an_entrypoint_script_is_found() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\ndata:\n  run.sh: |\n    redis-cli SETNX page:lock 1\n"

    assert said_by("CACHE002", text)
    assert (
        said_by("CACHE002", text.replace("SETNX page:lock 1", "SET page:lock $T NX PX 5000")) == []
    )


def test_a_counter_that_is_set_once_is_no_lock() -> None:
    assert said_by("CACHE002", 'redis.call("SETNX", KEYS[1], ARGV[1])', name="a.lua") == []


def test_a_lock_given_back_without_a_look_at_its_owner_is_found() -> None:
    text = 'local lock = KEYS[1]\nreturn redis.call("DEL", lock)'

    assert said_by("CACHE003", text, name="a.lua")
    compared = 'local lock = KEYS[1]\nif redis.call("GET", lock) == ARGV[1] then redis.call("DEL", lock) end'
    assert said_by("CACHE003", compared, name="a.lua") == []


def test_a_rule_for_carts_themselves_is_found() -> None:
    (found,) = said_by("CACHE004", kept(("/cart", 60, 99)), name="edge.json")

    assert "/cart" in found.message
    assert "60 s" in found.message


def test_a_lighter_never_rule_does_not_help() -> None:
    lighter = tuple((path, 0, 1) for path, _, _ in NEVER)

    assert said_by("CACHE004", kept(("/", 600, 10), *lighter), name="edge.json")


def test_functions_written_as_a_text_are_read() -> None:
    body = json.loads(kept(("/checkout", 60, 5)))
    body["Functions"] = json.dumps(body["Functions"])

    assert said_by("CACHE004", json.dumps(body), name="edge.json")


def test_terraform_that_keeps_orders_is_found() -> None:
    text = """
    resource "alicloud_dcdn_domain_config" "orders" {
      domain_name   = "shop.example.com"
      function_name = "path_based_ttl_set"
      function_args {
        arg_name  = "path"
        arg_value = "/orders"
      }
      function_args {
        arg_name  = "ttl"
        arg_value = "%s"
      }
    }
    """
    assert said_by("CACHE004", text % "600", name="edge.tf")
    assert said_by("CACHE004", text % "0", name="edge.tf") == []


def test_a_profile_that_keeps_carts_is_found_and_ours_is_clean() -> None:
    bad = (
        "apiVersion: saleops/profile/v1\nedge:\n  domain: shop.example.com\n"
        "  page_paths: [/products, /cart/mini]\n  never_cache_paths: [/checkout]\n"
    )

    assert said_by("CACHE004", PROFILE, name="profile.yaml") == []
    assert [one.line for one in said_by("CACHE004", bad, name="p.yaml")] == [4, 5]
