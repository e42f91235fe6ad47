"""Runs the Lua scripts of a lint run on a server of our own, to see what they do with what buyers and bugs send.

What a script is for is told by what it does, not by its name: with 10 units in one of its keys and one argument set to 3, a
script that takes stock leaves 7. Which key and which argument that is, is searched for; one that never does so is no such script,
and is only watched for errors that do not depend on what it is given. A script that takes stock is then given quantities that are
negative, zero, fractional, huge and no number, a key that is not there, more than there is, and the same call twice.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

from saleops.domain.lint.documents import LintDocument
from saleops.domain.lint.lua_script import Script
from saleops.errors import SaleopsError
from saleops.ports.scripts import Content, Ran, ScriptBench

STOCK, TAKEN = "10", "3"
SEARCH_MAX = 96
"""Runs to find out what a script is for."""
SCRIPTS_MAX = 200
"""Scripts tried in one lint run."""
STRANGE = (
    "0.5",
    "1e308",
    "9007199254740993",
    "99999999999999999999",
    "nan",
    "inf",
    "0x10",
    "abc",
    "",
)
_NO_INPUT_DOES_THAT = (
    "compiling script",
    "nonexistent global variable",
    "Unknown Redis command",
    "Unknown command called",
    "Wrong number of args calling",
    "wrong number of arguments for",
    "attempt to call a nil value",
    "attempt to call global",
    "This Redis command is not allowed from script",
    "This Valkey command is not allowed from script",
    "global variable",
)

Trial = Literal[
    "not run",
    "error",
    "stuck",
    "undeclared",
    "below one",
    "strange",
    "missing",
    "replay",
    "too many",
]


@dataclass(frozen=True, slots=True)
class LuaTrial:
    """What a run showed: ``said`` is the sentence, ``line`` where in the script (0: where it takes the stock)."""

    kind: Trial
    said: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class _Shape:
    """How a script that takes stock is called. ``content`` holds 10 units under ``key``; ``quantity`` is the place of the
    argument that says how many it takes, -1 where each call takes one."""

    keys: tuple[str, ...]
    arguments: tuple[str, ...]
    key: str
    quantity: int
    content: Callable[[str], Content]
    number: Callable[[Content | None], str | None]

    def given(self, quantity: str) -> list[str]:
        arguments = list(self.arguments)
        if self.quantity >= 0:
            arguments[self.quantity] = quantity
        return arguments

    @property
    def taken(self) -> int:
        return int(TAKEN) if self.quantity >= 0 else 1

    def stock(self, units: str) -> dict[str, Content]:
        return {self.key: self.content(units)}

    def left(self, ran: Ran) -> str | None:
        """Units after a run; None where the key is not there."""
        return self.number(ran.after.get(self.key))


def try_scripts(
    documents: Sequence[LintDocument], open_bench: Callable[[], AbstractContextManager[ScriptBench]]
) -> dict[str, list[LuaTrial]]:
    """What each Lua script among ``documents`` showed, by its file. Where there is no server every script says so."""
    scripts = {
        one.file: Script(one.value)
        for one in documents
        if one.format == "lua" and isinstance(one.value, str)
    }
    scripts = {file: script for file, script in scripts.items() if script.for_redis}
    shown: dict[str, list[LuaTrial]] = {}
    if not scripts:
        return shown
    try:
        with open_bench() as bench:
            for file, script in list(scripts.items())[:SCRIPTS_MAX]:
                shown[file] = list(try_script(script, bench))
    except SaleopsError as error:
        reason = error.message
    else:
        reason = f"a run tries {SCRIPTS_MAX} scripts at the most"
    for file in scripts.keys() - shown.keys():
        shown[file] = [LuaTrial("not run", reason)]
    return shown


def try_script(script: Script, bench: ScriptBench) -> Iterator[LuaTrial]:
    """Every fault that running ``script`` shows, the first of each kind."""
    ran, shape = _shape_of(script, bench)
    said: set[Trial] = set()
    for one in (*_errors(ran), *(_faults(script, shape, bench) if shape else ())):
        if one.kind not in said:
            said.add(one.kind)
            yield one


# -- what is it for? ---------------------------------------------------------------------------------------------------


def _shape_of(
    script: Script, bench: ScriptBench
) -> tuple[list[tuple[Ran, Sequence[str]]], _Shape | None]:
    """The runs of the search, and the shape that it found."""
    tried: list[tuple[Ran, Sequence[str]]] = []
    for shape in _guesses(script):
        ran = bench.run(script.text, shape.keys, shape.arguments, before=shape.stock(STOCK))
        tried.append((ran, shape.keys))
        if ran.end == "stuck":
            return tried, None
        if ran.end == "answered" and shape.left(ran) == str(int(STOCK) - shape.taken):
            return tried, shape
        if len(tried) >= SEARCH_MAX or "compiling script" in ran.error:
            break
    return tried, None


def _guesses(script: Script) -> Iterator[_Shape]:
    """Calls that may take 3 of 10 units, the likely ones first."""
    keys = tuple(f"trial:{{sku-1}}:{n}" for n in range(1, max(1, script.keys_count) + 1))
    count = max(script.arguments_count, 0)
    stock = _stock_keys(script, keys)
    quantities = sorted(_quantities(script), reverse=False) or list(range(1, count + 1))
    for others in ("id-7", "1000000"):
        for quantity in [*quantities, *(n for n in range(1, count + 1) if n not in quantities)]:
            if quantity > count:
                continue
            arguments = tuple(TAKEN if n == quantity else others for n in range(1, count + 1))
            for key, kind in stock:
                if kind == "hash":
                    for field in _fields(script, arguments):
                        yield _hash_shape(keys, arguments, key, quantity - 1, field)
                else:
                    yield _string_shape(keys, arguments, key, quantity - 1)
    for others in ("id-7", "1000000") if count else ("",):
        arguments = (others,) * count
        for key, kind in stock:
            if kind == "hash":
                for field in _fields(script, arguments):
                    yield _hash_shape(keys, arguments, key, -1, field)
            else:
                yield _string_shape(keys, arguments, key, -1)


def _string_shape(
    keys: tuple[str, ...], arguments: tuple[str, ...], key: str, quantity: int
) -> _Shape:
    return _Shape(
        keys,
        arguments,
        key,
        quantity,
        lambda units: units,
        lambda held: held if isinstance(held, str) else None,
    )


def _hash_shape(
    keys: tuple[str, ...], arguments: tuple[str, ...], key: str, quantity: int, field: str
) -> _Shape:
    def number(held: Content | None) -> str | None:
        return held.get(field) if isinstance(held, Mapping) else None

    return _Shape(keys, arguments, key, quantity, lambda units: {field: units}, number)


def _stock_keys(script: Script, keys: tuple[str, ...]) -> list[tuple[str, str]]:
    """(key, string or hash), those that some command counts in first."""
    counted: list[tuple[str, str]] = []
    others: list[tuple[str, str]] = []
    for call in script.calls:
        slot = script.key_slot(call.key())
        if slot is None or not 1 <= slot <= len(keys):
            continue
        kind = "hash" if call.command.startswith("H") else "string"
        if call.command in ("DECRBY", "INCRBY", "HINCRBY", "DECR", "INCRBYFLOAT", "HINCRBYFLOAT"):
            counted.append((keys[slot - 1], kind))
        elif call.command in (
            "SET",
            "GET",
            "HSET",
            "HGET",
            "HMGET",
            "SETEX",
            "PSETEX",
            "GETSET",
            "HMSET",
        ):
            others.append((keys[slot - 1], kind))
    return list(dict.fromkeys([*counted, *others])) or [(keys[0], "string")]


def _quantities(script: Script) -> set[int]:
    """Arguments that go into a count."""
    found: set[int] = set()
    for call in script.calls:
        if call.command in ("DECRBY", "INCRBY", "HINCRBY", "INCRBYFLOAT", "HINCRBYFLOAT"):
            for argument in call.arguments[1:]:
                found |= script.argument_slots(argument)
    return found


def _fields(script: Script, arguments: Sequence[str]) -> list[str]:
    """Names of hash fields that the script may count in: those it names, those it is given."""
    named = []
    for call in script.calls:
        if call.command.startswith("H"):
            for argument in call.arguments[1:]:
                found = script.resolved(argument)
                if len(found) == 1 and found[0].kind == "string":
                    named.append(found[0].text)
    return list(dict.fromkeys([*named, *(one for one in arguments if one != TAKEN)]))[:6] or [
        "stock"
    ]


# -- what goes wrong? --------------------------------------------------------------------------------------------------


def _errors(tried: Sequence[tuple[Ran, Sequence[str]]]) -> Iterator[LuaTrial]:
    """What no input can be blamed for."""
    for ran, keys in tried:
        if ran.end == "stuck":
            yield LuaTrial("stuck", f"It was stopped: {ran.error}")
        elif ran.end == "raised" and any(one in ran.error for one in _NO_INPUT_DOES_THAT):
            yield LuaTrial("error", f"It fails whatever it is given: {_short(ran.error)}", ran.line)
        strangers = sorted(set(ran.after) - set(keys))
        if strangers:
            yield LuaTrial("undeclared", f"It wrote {strangers[0]!r}, which is none of its KEYS")


def _faults(script: Script, shape: _Shape, bench: ScriptBench) -> Iterator[LuaTrial]:
    def run(quantity: str, units: str | None = STOCK) -> Ran:
        before: dict[str, Content] = {} if units is None else shape.stock(units)
        return bench.run(script.text, shape.keys, shape.given(quantity), before=before)

    if shape.quantity >= 0:
        yield from _below_one(shape, run, run(TAKEN))
        yield from _strange(shape, run)
    yield from _missing(shape, run)
    yield from _too_many(shape, run)
    yield from _replay(script, shape, run, bench)


def _below_one(shape: _Shape, run: Callable[..., Ran], sold: Ran) -> Iterator[LuaTrial]:
    said = []
    negative = run("-5")
    left = shape.left(negative)
    if _value(left) > _value(STOCK):
        said.append(f"quantity -5 turned stock 10 into {left} {_ending(negative)}")
    ghost = run("-3", None)
    if shape.left(ghost) is not None:
        said.append(
            f"quantity -3 on a key that is not there made stock {shape.left(ghost)} of nothing"
        )
    nothing = run("0")
    if nothing.end == "answered" and nothing.answer == sold.answer and _is_plain(sold.answer):
        said.append(f"quantity 0 was answered {_shown(nothing.answer)}, like a sale")
    if said:
        yield LuaTrial("below one", _sentence(said))


def _strange(shape: _Shape, run: Callable[..., Ran]) -> Iterator[LuaTrial]:
    raised: list[tuple[str, Ran]] = []
    said = []
    for quantity in STRANGE:
        ran = run(quantity)
        left = shape.left(ran)
        if ran.end in ("raised", "stuck"):
            raised.append((quantity, ran))
        elif left != STOCK and quantity != "0x10":
            said.append(f"quantity {_quoted(quantity)} turned stock 10 into {left} {_ending(ran)}")
    lines = [ran.line for _, ran in raised if ran.line]
    grouped: dict[str, list[str]] = {}
    for quantity, ran in raised:
        grouped.setdefault(_short(ran.error), []).append(_quoted(quantity))
    said += [
        f"quantity {', '.join(quantities)} raised an error inside the script ({error})"
        for error, quantities in grouped.items()
    ]
    if said:
        yield LuaTrial("strange", _sentence(said), lines[0] if lines else 0)


def _missing(shape: _Shape, run: Callable[..., Ran]) -> Iterator[LuaTrial]:
    out, absent = run("1", "0"), run("1", None)
    if (
        absent.end == "answered"
        and shape.left(absent) is not None
        and _value(shape.left(absent)) < 0
    ):
        said = f"it sold 1 unit of a key that is not there and left {shape.left(absent)}"
    elif absent.end == "answered" and absent.answer == out.answer and out.end == "answered":
        said = f"a key that is not there was answered {_shown(absent.answer)}, the same as sold out"
    elif absent.end == "raised":
        said = f"a key that is not there raised an error inside the script ({_short(absent.error)})"
    else:
        return
    yield LuaTrial("missing", _sentence([said]), absent.line if absent.end == "raised" else 0)


def _too_many(shape: _Shape, run: Callable[..., Ran]) -> Iterator[LuaTrial]:
    many, units = ("11", STOCK) if shape.quantity >= 0 else ("1", "0")
    over = run(many, units)
    left = shape.left(over)
    if over.end == "answered" and _value(left) < 0:
        yield LuaTrial(
            "too many", f"Quantity {many} turned stock {units} into {left} {_ending(over)}"
        )


def _replay(
    script: Script, shape: _Shape, run: Callable[..., Ran], bench: ScriptBench
) -> Iterator[LuaTrial]:
    first = run(TAKEN)
    second = bench.run(script.text, shape.keys, shape.given(TAKEN), before=None)
    once, twice = (str(int(STOCK) - shape.taken * n) for n in (1, 2))
    if shape.left(first) == once and shape.left(second) == twice:
        units = f"{shape.taken} units" if shape.taken > 1 else "1 unit"
        yield LuaTrial(
            "replay",
            f"The same call twice took {units} twice: stock {STOCK} became {once}, then {twice}, "
            f"both answered {_shown(second.answer)}"
            if first.answer == second.answer
            else f"The same call twice took {units} twice: stock {STOCK} became {once}, then {twice}",
        )


# -- words -------------------------------------------------------------------------------------------------------------


def _value(units: str | None) -> float:
    try:
        return float(units) if units is not None else 0.0
    except ValueError:
        return 0.0


def _is_plain(answer: Any) -> bool:
    return isinstance(answer, int | str)


def _ending(ran: Ran) -> str:
    return f"and was answered {_shown(ran.answer)}" if ran.end == "answered" else "before it failed"


def _shown(answer: Any) -> str:
    return repr(answer)[:60] if not isinstance(answer, int) else str(answer)


def _quoted(quantity: str) -> str:
    return quantity if quantity and quantity != "abc" else f'"{quantity}"'


def _short(error: str) -> str:
    """A server's error without its script's digest."""
    return error.partition(" script: ")[0].removeprefix("ERR ").strip()[:160]


def _sentence(said: Sequence[str]) -> str:
    words = "; ".join(said)
    return words[:1].upper() + words[1:]
