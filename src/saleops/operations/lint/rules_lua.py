"""Lua scripts that sell stock: what running them showed (lua_trials), or what their text lets fear where they were not run."""

from collections.abc import Iterator, Sequence

from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.lua_script import Script
from saleops.domain.lint.lua_tokens import Token
from saleops.domain.lint.rules import Hit, rule
from saleops.operations.lint.lua_scripts import (
    COUNTS,
    hit_at,
    scripts,
    shown,
    taking_line,
    trials_of,
    untried,
)

TRIED = "measured on a Valkey server; valkey.io docs, programmability"
_READS = {"GET", "HGET", "HMGET", "MGET", "EXISTS", "HEXISTS"}


@rule(
    "LUA001",
    "error",
    "A quantity below 1 changes stock",
    why="`decrby -5` adds 5: whoever sends a negative quantity creates units that do not exist, and each of them is sold, "
    "paid and "
    "cannot be shipped. One request of -1000 on a hot SKU oversells it by 1,000.",
    fix="Refuse it in the script before anything is read: if not qty or qty < 1 or qty % 1 ~= 0 then return "
    'redis.error_reply("BADUNITS") end',
    source=TRIED,
    bad="local qty = tonumber(ARGV[1])\nredis.call('DECRBY', KEYS[1], qty)",
    good='local qty = tonumber(ARGV[1])\nif not qty or qty < 1 or qty % 1 ~= 0 then return redis.error_reply("BADUNITS") end',
)
def below_one(fleet: Fleet) -> Iterator[Hit]:
    yield from shown(fleet, "below one", taking_line)
    for document, script in untried(fleet):
        for name, slots in _unchecked(script):
            yield hit_at(
                document,
                taking_line(script),
                f"{name} (ARGV[{slots}]) goes into a counter, and nothing refuses one below 1: -5 would add 5 units",
            )


@rule(
    "LUA002",
    "error",
    "A quantity that is no whole number gets through",
    why="The check passes and the write fails behind it: Redis does not roll back, so that what the script wrote before "
    "stays, and the "
    "buyer reads a server error. Text makes Lua itself fail on the comparison.",
    fix="Check type and wholeness first: not qty (no number), qty % 1 ~= 0 (a fraction, and nan), and an upper bound such "
    "as 1,000,000.",
    source=TRIED,
    bad="if stock >= tonumber(ARGV[1]) then",
    good="if not qty or qty < 1 or qty % 1 ~= 0 or qty > 1000000 then",
)
def strange(fleet: Fleet) -> Iterator[Hit]:
    return shown(fleet, "strange", taking_line)


@rule(
    "LUA003",
    "error",
    "A key that is not there counts as sold out",
    why="When the preload failed, or went to another server, the whole sale answers sold out with every unit in the "
    "warehouse, and no "
    "alarm tells it from success.",
    fix='Answer it apart: if not stock then return redis.error_reply("NOTSEEDED " .. KEYS[1]) end',
    source=TRIED,
    bad="local stock = tonumber(redis.call('GET', KEYS[1]) or '0')",
    good="local stock = tonumber(redis.call('GET', KEYS[1]))\nif not stock then return redis.error_reply('NOTSEEDED') end",
)
def missing(fleet: Fleet) -> Iterator[Hit]:
    yield from shown(fleet, "missing", _reading_line)
    for document, script in untried(fleet):
        line = _or_zero(script)
        if line and any(True for _ in _unchecked(script, all_of_them=True)):
            yield hit_at(
                document,
                line,
                "A key that is not there is read as 0, which buyers hear as sold out",
            )


@rule(
    "LUA004",
    "error",
    "The same request sent twice takes stock twice",
    why="Clients, gateways and workers send again after a timeout. At 5,000 orders a second and 1 % of answers lost, 50 "
    "units a second "
    "are taken for orders that nobody has: the shop is sold out with stock left.",
    fix="Pass the order's id, and ask before stock: if redis.call('HEXISTS', orders, id) == 1 then return DUPLICATE end; "
    "write the id "
    "in the same script.",
    source=TRIED,
    bad="redis.call('DECRBY', KEYS[1], ARGV[1])",
    good="if redis.call('HSETNX', KEYS[2], ARGV[2], ARGV[1]) == 0 then return 2 end\nredis.call('DECRBY', KEYS[1], ARGV[1])",
)
def replay(fleet: Fleet) -> Iterator[Hit]:
    yield from shown(fleet, "replay", taking_line)
    for document, script in untried(fleet):
        takes = [name for name, _ in _unchecked(script, all_of_them=True)]
        if takes and script.arguments_count == 1:
            yield hit_at(
                document,
                taking_line(script),
                "It takes stock and gets no request id (its one argument is the quantity): a retry takes it again",
            )


@rule(
    "LUA005",
    "error",
    "It sells more than there is",
    why="Each unit below 0 is an order that is paid and cannot be shipped.",
    fix="Compare before you take: if stock < qty then return 0 end.",
    source=TRIED,
    bad="redis.call('DECRBY', KEYS[1], qty)",
    good="if stock < qty then return 0 end\nredis.call('DECRBY', KEYS[1], qty)",
)
def too_many(fleet: Fleet) -> Iterator[Hit]:
    return shown(fleet, "too many", taking_line)


@rule(
    "LUA010",
    "error",
    "The script does not run",
    why="Every call of it fails, from the first order on.",
    fix="Correct the line that the server names; `saleops lint` runs it again.",
    source=TRIED,
    bad="redis.call('DECRBYE', KEYS[1], 1)",
    good="redis.call('DECRBY', KEYS[1], 1)",
)
def does_not_run(fleet: Fleet) -> Iterator[Hit]:
    return shown(fleet, "error", lambda _: 1)


@rule(
    "LUA012",
    "info",
    "A script was read and not run",
    why="Only running it shows what a negative quantity, a missing key or a retry does; what is said above is from its text "
    "alone.",
    fix="Run the lint where the embedded Valkey is installed: pip install saleops brings it on Linux and macOS.",
    source="saleops, docs/how-to/lint.md",
)
def not_run(fleet: Fleet) -> Iterator[Hit]:
    for document, script in scripts(fleet):
        trials = fleet.trials.get(document.file)
        if trials is None:
            yield hit_at(
                document,
                1,
                "It was not run: this lint was asked for no trials, or has no server for them",
            )
        else:
            yield from trials_of(
                fleet, document, script, "not run", lambda _: 1, "It was not run: "
            )


def _reading_line(script: Script) -> int:
    return _or_zero(script) or next((one.line for one in script.calls if one.command in _READS), 1)


def _or_zero(script: Script) -> int:
    """The line of ``redis.call("GET", ...) or "0"``, 0 where there is none."""
    reads = {one.line for one in script.calls if one.command in _READS}
    for i, token in enumerate(script.tokens[:-1]):
        after = script.tokens[i + 1]
        if token.text == "or" and after.text in ("0", "0.0") and token.line in reads:
            return token.line
    return 0


def _unchecked(script: Script, *, all_of_them: bool = False) -> Iterator[tuple[str, str]]:
    """(name, slot) of an argument that is taken off a counter as it comes, and that no line compares with 0 or 1."""
    for call in script.calls:
        if call.command not in COUNTS or script.key_slot(call.key()) is None:
            continue
        for argument in call.arguments[1:]:
            negated = len(argument) > 1 and argument[0].text == "-"
            if not argument or (call.command != "DECRBY" and not negated):
                continue
            bare = argument[1:] if negated else argument
            slot = _given(script.resolved(bare))
            names = {one.text for one in bare if one.kind == "name"}
            if slot and (all_of_them or not _compared(script.tokens, names)):
                yield (bare[0].text if len(bare) == 1 else "A quantity"), slot
                return


def _given(expression: Sequence[Token]) -> str:
    """n of ``ARGV[n]`` or ``tonumber(ARGV[n])``; "" for anything else."""
    words = [one.text for one in expression]
    if words[:2] == ["tonumber", "("] and words[-1] == ")":
        words = words[2:-1]
    plain = len(words) == 4 and words[:2] == ["ARGV", "["] and words[3] == "]"
    return words[2] if plain and words[2].isdigit() else ""


def _compared(tokens: Sequence[Token], names: set[str]) -> bool:
    """Whether one of ``names`` is compared with 0 or 1 somewhere."""
    for i, token in enumerate(tokens[:-2]):
        words = {tokens[i].text, tokens[i + 2].text}
        if (
            tokens[i + 1].text in ("<", "<=", ">", ">=")
            and words & {"0", "1"}
            and words & names
            and token
        ):
            return True
    return False
