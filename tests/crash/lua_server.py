"""A Redis in this process that runs the real stock scripts: their own text, in a real Lua 5.1, on dictionaries.

Only the commands that the scripts and the stock store use. So the deterministic suite proves the scripts themselves,
shards and loans among them, at a few microseconds a call, and a mutant of a script is a change of its text.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
from lupa import lua51
from redis.exceptions import ResponseError

from saleops.adapters.stock_server import StockServer

Reply = Any
_PRELUDE = """
local call, unpacked, packed = ...
redis = {
  call = call,
  pcall = call,
  error_reply = function(text) return { err = text } end,
  status_reply = function(text) return { ok = text } end,
}
cmsgpack = { unpack = unpacked, pack = packed }
"""


class Data:
    """The keys of one server: hashes, sorted sets and strings by name."""

    def __init__(self) -> None:
        self.keys: dict[bytes, Any] = {}
        self.run_id = "0" * 40
        self.wrong: list[str] = []

    def execute(self, name: bytes, args: Sequence[bytes]) -> Reply:
        name = name.upper()
        if name == b"HSET" and b":units" in args[0]:
            self._watch(args[1:])
        return _COMMANDS[name](self.keys, *args)

    def _watch(self, pairs: Sequence[bytes]) -> None:
        """A counter of what is left never goes below zero, not even until the database refuses the order."""
        for field, value in zip(pairs[::2], pairs[1::2], strict=True):
            if field[:1] == b"L" and value[:1] == b"-":
                self.wrong.append(f"{field[1:].decode()} had {value.decode()} units left")


def _hash(keys: dict[bytes, Any], key: bytes) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = keys.setdefault(key, {})
    return found


def _hset(keys: dict[bytes, Any], key: bytes, *pairs: bytes) -> int:
    row = _hash(keys, key)
    before = len(row)
    row.update(zip(pairs[::2], pairs[1::2], strict=True))
    return len(row) - before


def _hincrby(keys: dict[bytes, Any], key: bytes, field: bytes, by: bytes) -> int:
    row = _hash(keys, key)
    value = int(row.get(field, b"0")) + int(by)
    row[field] = b"%d" % value
    return value


def _hsetnx(keys: dict[bytes, Any], key: bytes, field: bytes, value: bytes) -> int:
    row = _hash(keys, key)
    if field in row:
        return 0
    row[field] = value
    return 1


def _zrangebyscore(
    keys: dict[bytes, Any], key: bytes, low: bytes, high: bytes, *more: bytes
) -> list[bytes]:
    limit = int(more[2]) if more else None
    ordered = sorted((score, member) for member, score in keys.get(key, {}).items())
    return [member for score, member in ordered if score <= float(high)][:limit]


def _unlink(keys: dict[bytes, Any], *names: bytes) -> int:
    return sum(keys.pop(name, None) is not None for name in names)


def _flat(row: dict[bytes, bytes]) -> list[bytes]:
    return [part for pair in row.items() for part in pair]


_COMMANDS: dict[bytes, Callable[..., Reply]] = {
    b"HGET": lambda keys, key, field: keys.get(key, {}).get(field),
    b"HMGET": lambda keys, key, *fields: [keys.get(key, {}).get(field) for field in fields],
    b"HSET": _hset,
    b"HSETNX": _hsetnx,
    b"HDEL": lambda keys, key, *fields: sum(
        keys.get(key, {}).pop(field, None) is not None for field in fields
    ),
    b"HEXISTS": lambda keys, key, field: int(field in keys.get(key, {})),
    b"HINCRBY": _hincrby,
    b"HLEN": lambda keys, key: len(keys.get(key, {})),
    b"HGETALL": lambda keys, key: _flat(keys.get(key, {})),
    b"HSCAN": lambda keys, key, *_: [b"0", _flat(keys.get(key, {}))],
    b"ZADD": lambda keys, key, score, member: (
        keys.setdefault(key, {}).__setitem__(member, float(score)) or 1
    ),
    b"ZREM": lambda keys, key, *members: sum(
        keys.get(key, {}).pop(member, None) is not None for member in members
    ),
    b"ZCARD": lambda keys, key: len(keys.get(key, {})),
    b"ZRANGEBYSCORE": _zrangebyscore,
    b"UNLINK": _unlink,
    b"DEL": _unlink,
    b"EXISTS": lambda keys, *names: sum(name in keys for name in names),
    b"PING": lambda keys: b"PONG",
    b"INFO": lambda keys, *_: b"run_id:" + b"1" * 40 + b"\r\n",
}


class LuaRedis:
    """In place of the connections to a Redis. ``texts`` replaces scripts by name: the mutants."""

    def __init__(self, data: Data, texts: Mapping[str, str]) -> None:
        self._data = data
        self._texts = texts

    async def close(self) -> None:
        """Nothing is open."""

    async def send(self, calls: Sequence[Any], *, tries: int) -> list[Any]:
        replies = []
        for call in calls:
            parts = _unpacked_command(call.packed)
            if call.script is None:
                replies.append(self._data.execute(parts[0], parts[1:]))
            else:
                text = self._texts.get(call.script.name, call.script.text)
                replies.append(_run(text, self._data, parts))
        return replies

    async def command(self, *command: Any, tries: int) -> Any:
        name, *args = command
        return self._data.execute(_bytes(name), [_bytes(arg) for arg in args])

    async def ping(self, *, tries: int) -> None:
        """Memory always answers."""

    async def run_ids(self, keys: Sequence[bytes], *, tries: int) -> list[str]:
        return [self._data.run_id] * len(keys)


def stock_server(data: Data, texts: Mapping[str, str] | None = None) -> StockServer:
    """The real StockServer, its connections replaced by ``data``."""
    server = StockServer("unix:///nowhere", timeout_s=5.0)
    server._redis = LuaRedis(data, texts or {})  # type: ignore[assignment]
    return server


class _Machine:
    """One Lua with every script compiled once. ``data`` is the server that the running script works on."""

    def __init__(self) -> None:
        self.lua = lua51.LuaRuntime(encoding=None, unpack_returned_tuples=True)
        self.data: Data | None = None
        self.lua.execute(_PRELUDE.encode(), self._call, self._unpacked, self._packed)
        self.compiled: dict[str, Any] = {}

    def compile(self, text: str) -> Any:
        if text not in self.compiled:
            self.compiled[text] = self.lua.eval(
                b"function(KEYS, ARGV)\n" + text.encode() + b"\nend"
            )
        return self.compiled[text]

    def _call(self, name: bytes, *args: Any) -> Any:
        assert self.data is not None
        return self._reply(self.data.execute(name, [_bytes(arg) for arg in args]))

    def _reply(self, value: Any) -> Any:
        if value is None:
            return False
        if isinstance(value, list):
            return self.lua.table_from([self._reply(one) for one in value])
        return value

    def _unpacked(self, blob: bytes) -> Any:
        return self._to_lua(msgspec.msgpack.decode(blob))

    def _to_lua(self, value: Any) -> Any:
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, list):
            return self.lua.table_from([self._to_lua(one) for one in value])
        return value

    def _packed(self, value: Any) -> bytes:
        return msgspec.msgpack.encode(from_lua(value))


def from_lua(value: Any) -> Any:
    if lua51.lua_type(value) == "table":
        if value[b"err"] is not None:
            return ResponseError(value[b"err"].decode())
        return [from_lua(value[i]) for i in range(1, len(value) + 1)]
    return value


@cache
def _machine() -> _Machine:
    return _Machine()


def _run(text: str, data: Data, parts: Sequence[bytes]) -> Any:
    machine = _machine()
    count = int(parts[2])
    keys = machine.lua.table_from(list(parts[3 : 3 + count]))
    args = machine.lua.table_from(list(parts[3 + count :]))
    machine.data = data
    return from_lua(machine.compile(text)(keys, args))


def _unpacked_command(packed: bytes) -> list[bytes]:
    """The parts of a command as it would travel: ``*2``, ``$4``, ``PING``, ..."""
    parts: list[bytes] = []
    at = packed.index(b"\r\n") + 2
    while at < len(packed):
        end = packed.index(b"\r\n", at)
        size = int(packed[at + 1 : end])
        parts.append(packed[end + 2 : end + 2 + size])
        at = end + 4 + size
    return parts


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).encode()
