"""Lua scripts that Redis runs, judged by their text: keys, loops, chance, hash tags."""

from collections.abc import Iterator, Sequence

from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.lua_script import Script
from saleops.domain.lint.lua_tokens import Token
from saleops.domain.lint.plain_values import text, walk
from saleops.domain.lint.rules import Hit, rule
from saleops.operations.lint.lua_scripts import at_line, hit_at, scripts, taking_line, trials_of

_WHOLE = {"HGETALL", "SMEMBERS", "HKEYS", "HVALS"}
_CHANCE = {"TIME", "RANDOMKEY", "SRANDMEMBER", "HRANDFIELD", "ZRANDMEMBER", "SPOP"}
_NO_KEY = {
    "TIME",
    "PING",
    "ECHO",
    "KEYS",
    "SCAN",
    "RANDOMKEY",
    "DBSIZE",
    "PUBLISH",
    "SPUBLISH",
    "SELECT",
    "EVAL",
    "EVALSHA",
    "FCALL",
    "FLUSHALL",
    "FLUSHDB",
    "XREAD",
    "XREADGROUP",
    "",
}


@rule(
    "LUA006",
    "error",
    "A key that is not passed in KEYS",
    why="A cluster routes a script by its KEYS: one that builds a name itself works on one server and fails, or reads "
    "nothing, on the "
    "day the cache is sharded for the sale.",
    fix="Pass every key in KEYS, all under one {hash tag}.",
    source="redis.io docs, EVAL: all keys have to be passed as KEYS",
    bad="redis.call('GET', 'stock:' .. ARGV[1])",
    good="redis.call('GET', KEYS[1])",
)
def undeclared(fleet: Fleet) -> Iterator[Hit]:
    for document, script in scripts(fleet):
        found = False
        for call in script.calls:
            if call.command in _NO_KEY or not call.key():
                continue
            key = script.resolved(call.key())
            if _built(key):
                found = True
                written = " ".join(_written(one) for one in key)[:60]
                yield hit_at(
                    document,
                    call.line,
                    f"{call.command} uses the key {written}, which is not in KEYS",
                    call.column,
                )
        if not found:
            yield from trials_of(fleet, document, script, "undeclared", taking_line)


@rule(
    "LUA007",
    "warning",
    "A proxied cluster refuses KEYS that went through a local",
    why="The proxy of a sharded instance reads the script's text: a key has to stand in redis.call as KEYS[n] itself, or it "
    "answers "
    "`ERR bad lua script for redis cluster` to every call.",
    fix="Write KEYS[1] in every redis.call, or connect directly to the shards (or switch script_check_enable off).",
    source="alibabacloud.com docs, Lua scripts on Tair cluster instances in proxy mode",
    bad="local stock = KEYS[1]\nredis.call('GET', stock)",
    good="redis.call('GET', KEYS[1])",
)
def through_locals(fleet: Fleet) -> Iterator[Hit]:
    proxied = _proxied(fleet)
    if not proxied:
        return
    for document, script in scripts(fleet):
        for call in script.calls:
            key = call.key()
            if len(key) == 1 and key[0].kind == "name" and script.key_slot(key) is not None:
                yield hit_at(
                    document,
                    call.line,
                    f"{call.command} gets KEYS[{script.key_slot(key)}] through the local {key[0].text}, and {proxied} is "
                    f"behind a proxy",
                    call.column,
                )
                break


@rule(
    "LUA008",
    "error",
    "A loop or a read without a bound",
    why="Redis runs one script at a time: while it loops, nobody else is answered. 200 ms of a loop at 40,000 calls a "
    "second are 8,000 "
    "calls that wait, and their clients time out and send again.",
    fix="Bound it: COUNT or LIMIT on reads, `for i = 1, n` with an n that the script checks.",
    source="redis.io docs, EVAL and latency",
    bad="for _, k in ipairs(redis.call('KEYS', 'stock:*')) do",
    good="redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 64)",
)
def unbounded(fleet: Fleet) -> Iterator[Hit]:
    for document, script in scripts(fleet):
        for line in _endless(script.tokens):
            yield hit_at(document, line, "This loop has no condition that ends it and no break")
        for call in script.calls:
            if call.command == "KEYS":
                yield hit_at(
                    document, call.line, "KEYS walks through every key of the server", call.column
                )
            elif call.command in _WHOLE or _all_of_range(script, call.command, call.arguments):
                yield Hit(
                    *at_line(document, call.line, call.column),
                    f"{call.command} reads all of {_written_key(call.key())}, however much that is",
                    severity="warning",
                )
        yield from trials_of(fleet, document, script, "stuck", lambda _: 1)


@rule(
    "LUA009",
    "warning",
    "Time or chance inside the script",
    why="A replay of the same request gives another result, so that neither a retry nor a test can be compared with the "
    "first run; "
    "replicas that run scripts themselves come apart.",
    fix="Pass time and random values in ARGV.",
    source="redis.io docs, EVAL: scripts as pure functions",
    bad="local now = redis.call('TIME')[1]",
    good="local now = tonumber(ARGV[3])",
)
def chance(fleet: Fleet) -> Iterator[Hit]:
    for document, script in scripts(fleet):
        for call in script.calls:
            if call.command in _CHANCE:
                yield hit_at(
                    document,
                    call.line,
                    f"{call.command} answers differently every time",
                    call.column,
                )
        for i, token in enumerate(script.tokens[:-2]):
            words = [one.text for one in script.tokens[i : i + 3]]
            if token.kind == "name" and words[1] == "." and words[0] in ("math", "os"):
                if words == ["math", ".", "random"]:
                    yield hit_at(
                        document,
                        token.line,
                        "math.random answers differently for every caller's seed",
                        token.column,
                    )
                elif words[0] == "os" and words[2] in ("time", "date"):
                    yield Hit(
                        *at_line(document, token.line, token.column),
                        f"os.{words[2]} is not there in a script: it fails when it is called",
                        severity="error",
                    )


@rule(
    "LUA011",
    "info",
    "Several keys and no word of a hash tag",
    why="On a cluster all keys of one call must be in one slot, else it answers CROSSSLOT. Nothing in the script says that "
    "callers "
    "have to name them with one {tag}, and the first who does not finds out in production.",
    fix="Say it where the keys are listed: KEYS[1] stock:{SKU}:units, KEYS[2] stock:{SKU}:orders.",
    source="redis.io docs, cluster specification, hash tags",
    bad="-- KEYS[1] stock key, KEYS[2] orders key",
    good="-- KEYS[1] stock:{SKU}:units   KEYS[2] stock:{SKU}:orders",
)
def no_tag(fleet: Fleet) -> Iterator[Hit]:
    for document, script in scripts(fleet):
        strings = "".join(one.text for one in script.tokens if one.kind == "string")
        if script.keys_count > 1 and "{" not in script.lua.comments + strings:
            first = next((one for one in script.tokens if one.text == "KEYS"), None)
            yield hit_at(
                document,
                first.line if first else 1,
                f"It takes {script.keys_count} keys and says nowhere that they share a {{hash tag}}",
            )


def _built(key: Sequence[Token]) -> bool:
    """Whether a key is text of the script's own: a string, or one put together with one."""
    if not key or key[0].text in ("redis", "server"):
        return False
    if len(key) == 1:
        return key[0].kind == "string"
    joined = any(one.kind == "mark" and one.text == ".." for one in key)
    plain = all(
        one.kind in ("string", "name", "number") or one.text in ("..", "[", "]", ".") for one in key
    )
    return joined and plain and any(one.kind == "string" for one in key)


def _written(token: Token) -> str:
    return f'"{token.text}"' if token.kind == "string" else token.text


def _written_key(key: Sequence[Token]) -> str:
    return "".join(_written(one) for one in key)[:40] or "a key"


def _all_of_range(script: Script, command: str, arguments: Sequence[Sequence[Token]]) -> bool:
    if command not in ("LRANGE", "ZRANGE", "ZREVRANGE") or len(arguments) < 3:
        return False
    ends = ["".join(one.text for one in script.resolved(part)) for part in arguments[1:3]]
    return ends == ["0", "-1"]


def _endless(tokens: Sequence[Token]) -> Iterator[int]:
    """Lines of ``while true`` and ``until false`` loops without a way out."""
    for i, token in enumerate(tokens[:-1]):
        after = tokens[i + 1].text
        if token.kind == "name" and token.text == "while" and after in ("true", "1"):
            depth, j, left = 0, i + 2, False
            while j < len(tokens):
                word = tokens[j].text if tokens[j].kind == "name" else ""
                depth += word in ("do", "if", "function") or word == "repeat"
                depth -= word in ("end", "until")
                left = left or word in ("break", "return", "error")
                if depth == 0:
                    break
                j += 1
            if not left:
                yield token.line
        elif token.kind == "name" and token.text == "until" and after == "false":
            body = [one.text for one in tokens[max(0, i - 200) : i]]
            if "break" not in body and "return" not in body:
                yield token.line


def _proxied(fleet: Fleet) -> str:
    """What says that scripts go through a proxy: an instance of that architecture; "" where nothing does."""
    for document in fleet.of_format("terraform", "json"):
        for path, value in walk(document.value):
            if path and path[-1] in ("instance_class", "InstanceClass"):
                name = text(value)
                if "proxy" in name or "logic.sharding" in name:
                    return name
    return ""
