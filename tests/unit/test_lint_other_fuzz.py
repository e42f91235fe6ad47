"""No value of any type, and no text as a script, makes a rule on chaos, Sentinel, Terraform, caches, pools or Lua raise."""

import copy
import json
from pathlib import Path
from typing import Any

import test_lint_cache as cache
import test_lint_chaos as chaos
import test_lint_pools as pools
import test_lint_sentinel as sentinel
import test_lint_terraform as terraform
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lint_lab import SALE
from saleops.domain.lint.documents import KeyPath, LintDocument
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.lua_script import Script
from saleops.domain.lint.plain_values import walk
from saleops.operations.lint.parsing import parse_text
from saleops.operations.lint.running import load_rules

PREFIXES = ("CHS", "SEN", "TFM", "CACHE", "POOL", "LUA")
RULES = [one for id, one in load_rules().items() if id.startswith(PREFIXES)]
LUA = Path(__file__).parents[2] / "lua"


def _texts() -> dict[str, str]:
    files = {}
    for rule, (bad, good) in chaos.CASES.items():
        files[f"{rule}-bad.yaml"], files[f"{rule}-good.yaml"] = bad, good
    for rule, (bad, good) in terraform.CASES.items():
        files[f"{rule}/bad.tf"], files[f"{rule}/good.tf"] = bad, good
    for rule, (body, _) in sentinel.CASES.items():
        files[f"{rule}-rules.json"] = json.dumps([body, sentinel.GOOD_FLOW])
    for rule, (name, bad, _) in cache.CASES.items():
        files[f"{rule}-{name}"] = bad
    files["profile.yaml"] = cache.PROFILE
    files["pool.yaml"] = pools.ORDER.format(name="DB_POOL_SIZE", value=100) + pools.HPA
    files["proxy.yaml"] = pools.PROXY % ("true", 10_000)
    files["alerts.yaml"] = pools.ALERTS % "%DLQ%"
    files["endpoint.tf"] = pools.ENDPOINT % "Session"
    files["config.yaml"] = cache.CONFIG
    return files


DOCUMENTS = tuple(
    one for name, text in _texts().items() for one in parse_text(name, text).documents
)
PLACES = [
    (number, path)
    for number, one in enumerate(DOCUMENTS)
    if one.format != "lua"
    for path, _ in walk(one.value)
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        [
            "",
            "0",
            "-1",
            "1e999",
            "nan",
            "٣",
            "100%",
            "{{ .Values.x }}",
            "${var.x}",
            "[{",
            '[{"resource": 1}]',
            10**400,
            -(10**20),
        ]
    )
)
NAMES: list[Any] = [
    *(
        "name",
        "value",
        "count",
        "resource",
        "grade",
        "functionName",
        "functionArgs",
        "data",
        "dynamic",
    ),
    *("content", 1, None, True),
]
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES) | st.text(max_size=8),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


def changed(value: Any, path: KeyPath, new: Any) -> Any:
    if not path:
        return new
    made = copy.deepcopy(value)
    holder = made
    for part in path[:-1]:
        holder = _below(holder, part)
    if isinstance(holder, list):
        holder[int(path[-1])] = new
    else:
        key = next((one for one in holder if str(one) == str(path[-1])), path[-1])
        holder[key] = new
    return made


def _below(holder: Any, part: str | int) -> Any:
    if isinstance(holder, list):
        return holder[int(part)]
    return holder[next(one for one in holder if str(one) == str(part))]


def check_all(documents: tuple[LintDocument, ...]) -> int:
    """How many findings all rules have together."""
    fleet = Fleet(documents, SALE)
    return sum(1 for rule in RULES for hit in rule.check(fleet) if hit.document.place(hit.path))


def test_the_documents_break_rules_of_every_kind() -> None:
    fleet = Fleet(DOCUMENTS, SALE)

    found = {rule.id for rule in RULES if any(True for _ in rule.check(fleet))}

    assert {
        prefix for prefix in PREFIXES if not any(id.startswith(prefix) for id in found)
    } == set()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(PLACES), ANYTHING), min_size=1, max_size=3))
def test_no_value_anywhere_makes_a_rule_raise(
    changes: list[tuple[tuple[int, KeyPath], Any]],
) -> None:
    documents: dict[int, LintDocument] = {}
    for (number, path), new in changes:
        if number not in documents:
            one = DOCUMENTS[number]
            value = changed(one.value, path, new)
            documents[number] = LintDocument(one.file, one.format, value, "", one.places, one.keys)

    check_all(tuple(documents.values()))


@settings(max_examples=100, deadline=None)
@given(
    ANYTHING,
    st.sampled_from(["kubernetes", "terraform", "lua", "json", "sale", "profile", "yaml"]),
    st.sampled_from(["ChaosBlade", "ConfigMap", "PrometheusRule", "Ingress", "Deployment", ""]),
)
def test_no_document_of_any_format_makes_a_rule_raise(value: Any, format: Any, kind: str) -> None:
    body = {"kind": kind, "spec": value, "data": value, "metadata": value} if kind else value

    check_all((LintDocument("x", format, body),))


SCRIPTS = [one.read_text() for one in sorted(LUA.rglob("*.lua"))]
PIECES = st.sampled_from(
    [
        *(
            "KEYS",
            "[",
            "]",
            "(",
            ")",
            "{",
            "}",
            "redis.call",
            '"',
            "'",
            "[[",
            "]==]",
            "--[[",
            "--",
            "..",
        ),
        *("ARGV[1]", "=", ",", "while true do", "end", "until false", "-", "\n", "0", "or", "\\"),
    ]
)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(SCRIPTS), st.integers(0, 4000), st.integers(0, 60), st.lists(PIECES, max_size=8)
)
def test_no_script_makes_a_rule_raise(script: str, at: int, gone: int, put: list[str]) -> None:
    check_all((LintDocument("s.lua", "lua", script[:at] + "".join(put) + script[at + gone :]),))


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES | st.text(max_size=4), max_size=40))
@example(["redis.call", "("] * 20)
@example(["KEYS", "[", "9" * 4400])
def test_any_text_can_be_read_as_a_script(parts: list[str]) -> None:
    text = "".join(parts)
    script = Script(text)

    assert script.keys_count >= 0
    assert script.arguments_count >= 0
    check_all((LintDocument("s.lua", "lua", text),))
