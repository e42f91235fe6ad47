"""Lua scripts, run on a real Valkey by the lint and judged by what they did."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lint_lab import TODAY
from saleops.adapters.valkey_scripts import ValkeyScriptBench
from saleops.domain.lint.documents import LintDocument
from saleops.domain.lint.findings import Finding
from saleops.errors import ConfigError
from saleops.operations.lint.linting import Choice, lint
from saleops.operations.lint.lua_trials import try_scripts
from saleops.operations.lint.reading import Texts
from saleops.ports.scripts import ScriptBench

ROOT = Path(__file__).parents[2]
ARTICLE = ROOT.parent / "shared" / "article" / "inventory.lua"
RULES = frozenset(f"LUA{n:03}" for n in range(1, 13))
GOOD = """\
-- KEYS[1] stock:{SKU}:units   KEYS[2] stock:{SKU}:buyers   ARGV[1] order id   ARGV[2] units
local wanted, left = tonumber(ARGV[2]), tonumber(redis.call("GET", KEYS[1]))
if not wanted or wanted < 1 or wanted % 1 ~= 0 then return redis.error_reply("BADUNITS") end
if not left then return redis.error_reply("NOTSEEDED") end
if redis.call("HEXISTS", KEYS[2], ARGV[1]) == 1 then return { 2, left } end
if left < wanted then return { 0, left } end
redis.call("HSET", KEYS[2], ARGV[1], wanted)
return { 1, redis.call("DECRBY", KEYS[1], wanted) }
"""


@pytest.fixture(scope="module")
def bench() -> Iterator[ScriptBench]:
    with ValkeyScriptBench() as opened:
        yield opened


def findings(bench: ScriptBench, script: str, name: str = "s.lua") -> list[Finding]:
    return lint_all(bench, {name: script})


def lint_all(bench: ScriptBench, scripts: dict[str, str]) -> list[Finding]:
    @contextmanager
    def opened() -> Iterator[ScriptBench]:
        yield bench

    report = lint(
        Texts(scripts),
        today=TODAY,
        choice=Choice(only=RULES),
        trials=lambda documents: try_scripts(documents, opened),
    )
    assert not report.bugs, report.bugs
    return list(report.findings)


def of(found: list[Finding]) -> dict[str, Finding]:
    return {one.id: one for one in found}


@pytest.mark.skipif(not ARTICLE.exists(), reason="the snippets are not on this machine")
def test_the_faults_of_the_inventory_snippet_are_measured_at_their_lines(
    bench: ScriptBench,
) -> None:
    found = of(findings(bench, ARTICLE.read_text(), "inventory.lua"))

    assert {rule: one.line for rule, one in found.items()} == {
        "LUA001": 8,
        "LUA002": 8,
        "LUA003": 5,
        "LUA004": 8,
    }
    assert "-5 turned stock 10 into 15" in found["LUA001"].message
    assert "-3 on a key that is not there made stock 3" in found["LUA001"].message
    assert "0.5 raised an error" in found["LUA002"].message
    assert "answered 0, the same as sold out" in found["LUA003"].message
    assert "10 became 7, then 4" in found["LUA004"].message


def test_a_script_that_checks_everything_is_clean(bench: ScriptBench) -> None:
    assert findings(bench, GOOD) == []


def test_our_own_scripts_are_clean(bench: ScriptBench) -> None:
    scripts = {str(one): one.read_text() for one in sorted((ROOT / "lua").rglob("*.lua"))}

    assert len(scripts) > 20
    assert lint_all(bench, scripts) == []


def test_stock_in_a_field_of_a_hash_is_found_too(bench: ScriptBench) -> None:
    script = 'return redis.call("HINCRBY", KEYS[1], ARGV[1], -tonumber(ARGV[2]))'

    found = of(findings(bench, script))

    assert "-5 turned stock 10 into 15" in found["LUA001"].message
    assert "turned stock 10 into -1" in found["LUA005"].message


def test_a_script_that_takes_one_unit_a_call_is_tried_too(bench: ScriptBench) -> None:
    one = 'if tonumber(redis.call("GET", KEYS[1])) > 0 then redis.call("DECR", KEYS[1]) return 1 end return 0'

    found = of(findings(bench, one))

    assert found.keys() == {"LUA003", "LUA004"}
    assert "10 became 9, then 8" in found["LUA004"].message
    assert (
        "0 into -1" in of(findings(bench, 'return redis.call("DECR", KEYS[1])'))["LUA005"].message
    )


def test_scripts_that_take_no_stock_are_left_alone(bench: ScriptBench) -> None:
    scripts = {
        "unlock.lua": 'if redis.call("get", KEYS[1]) == ARGV[1] then return redis.call("del", KEYS[1]) else return 0 end',
        "count.lua": 'local n = redis.call("INCR", KEYS[1]) if n == 1 then redis.call("EXPIRE", KEYS[1], ARGV[1]) end return n',
        "nothing.lua": "return redis.call('PING')",
    }

    assert lint_all(bench, scripts) == []


@pytest.mark.parametrize(
    ("rule", "bad", "good"),
    [
        ("LUA005", 'return redis.call("DECRBY", KEYS[1], ARGV[1])', GOOD),
        (
            "LUA006",
            'return redis.call("GET", "stock:" .. ARGV[1])',
            'return redis.call("GET", KEYS[1])',
        ),
        ("LUA008", 'while true do redis.call("GET", KEYS[1]) end', GOOD),
        ("LUA008", 'return redis.call("KEYS", "stock:*")', GOOD),
        ("LUA008", 'return redis.call("HGETALL", KEYS[1])', GOOD),
        ("LUA009", 'return redis.call("TIME")', 'return redis.call("GET", KEYS[1])'),
        ("LUA009", 'redis.call("SET", KEYS[1], math.random(10))', GOOD),
        ("LUA010", 'return redis.call("DECRBYE", KEYS[1], 1)', GOOD),
        ("LUA010", 'return redis.call("GET", KEYS[1]', GOOD),
        ("LUA010", 'if quantiti > 1 then redis.call("GET", KEYS[1]) end', GOOD),
        ("LUA011", 'redis.call("SET", KEYS[1], "a") redis.call("SET", KEYS[2], "b")', GOOD),
    ],
    ids=[
        "oversell",
        "key",
        "loop",
        "keys",
        "hgetall",
        "time",
        "random",
        "command",
        "syntax",
        "global",
        "tag",
    ],
)
def test_the_bad_script_is_found_and_the_good_one_is_not(
    bench: ScriptBench, rule: str, bad: str, good: str
) -> None:
    assert rule in of(findings(bench, bad))
    assert rule not in of(findings(bench, good))


def test_a_local_that_is_a_key_is_found_where_a_proxy_reads_the_script(bench: ScriptBench) -> None:
    script = 'local stock = KEYS[1]\nreturn redis.call("GET", stock)'
    proxied = '{"InstanceClass": "redis.logic.sharding.2g.4db.0rodb.4proxy.default"}'

    assert "LUA007" in of(lint_all(bench, {"s.lua": script, "i.json": proxied}))
    assert "LUA007" not in of(findings(bench, script))


@pytest.mark.parametrize(
    "script",
    [
        'while true do local a = redis.call("GET", KEYS[1]) end',
        'redis.call("SET", KEYS[1], 1) while true do end',
        'local t = {} for i = 1, 1e9 do t[i] = string.rep(redis.call("GET", KEYS[1]) or "x", 1000) end',
    ],
    ids=["reads", "has-written", "memory"],
)
def test_a_script_that_never_ends_is_stopped_and_the_next_one_runs(
    bench: ScriptBench, script: str
) -> None:
    assert any(
        "was stopped" in one.message for one in findings(bench, script) if one.id == "LUA008"
    )
    assert findings(bench, GOOD) == []


def test_a_script_may_not_leave_its_server(bench: ScriptBench) -> None:
    for command in (
        '"MIGRATE", "127.0.0.1", 6379, KEYS[1], 0, 100',
        '"CONFIG", "SET", "dir", "/"',
        '"SHUTDOWN"',
    ):
        ran = bench.run(f"return redis.call({command})", ["k"], [], before={"k": "1"})

        assert ran.end == "raised", (command, ran)


def test_a_missing_server_is_said_and_the_text_is_judged() -> None:
    @contextmanager
    def none() -> Iterator[ScriptBench]:
        raise ConfigError("there is no embedded Valkey for this machine")
        yield

    script = 'redis.call("DECRBY", KEYS[1], tonumber(ARGV[1]))'
    report = lint(
        Texts({"s.lua": script}),
        today=TODAY,
        choice=Choice(only=RULES),
        trials=lambda documents: try_scripts(documents, none),
    )

    found = of(list(report.findings))
    assert found["LUA012"].severity == "info"
    assert "no embedded Valkey" in found["LUA012"].message
    assert {"LUA001", "LUA004"} <= found.keys()


def test_lua_for_another_host_is_not_run(bench: ScriptBench) -> None:
    document = LintDocument("nginx.lua", "lua", 'ngx.say("hello")')

    assert try_scripts([document], lambda: ValkeyScriptBench()) == {}
