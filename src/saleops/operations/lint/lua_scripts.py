"""Lua scripts of a lint run, with what trials showed of each, as hits at lines."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from saleops.domain.lint.documents import LintDocument
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.lua_script import Script
from saleops.domain.lint.rules import Hit
from saleops.operations.lint.lua_trials import LuaTrial

COUNTS = {"DECRBY", "INCRBY", "HINCRBY", "INCRBYFLOAT", "HINCRBYFLOAT", "DECR", "INCR"}
WRITES = COUNTS | {
    "SET",
    "HSET",
    "HMSET",
    "SETEX",
    "PSETEX",
    "GETSET",
    "LPOP",
    "RPOP",
    "SPOP",
    "ZREM",
}


def scripts(fleet: Fleet) -> list[tuple[LintDocument, Script]]:
    found: list[tuple[LintDocument, Script]] | None = fleet.worked_out.get("lua_scripts")
    if found is None:
        found = [
            (one, script)
            for one in fleet.of_format("lua")
            if isinstance(one.value, str) and (script := Script(one.value)).for_redis
        ]
        fleet.worked_out["lua_scripts"] = found
    return found


def untried(fleet: Fleet) -> Iterator[tuple[LintDocument, Script]]:
    for document, script in scripts(fleet):
        trials = fleet.trials.get(document.file)
        if trials is None or any(getattr(one, "kind", "") == "not run" for one in trials):
            yield document, script


def shown(fleet: Fleet, kind: str, line_of: Callable[[Script], int]) -> Iterator[Hit]:
    for document, script in scripts(fleet):
        yield from trials_of(fleet, document, script, kind, line_of)


def trials_of(
    fleet: Fleet,
    document: LintDocument,
    script: Script,
    kind: str,
    line_of: Callable[[Script], int],
    prefix: str = "",
) -> Iterator[Hit]:
    for one in fleet.trials.get(document.file, ()):
        if isinstance(one, LuaTrial) and one.kind == kind:
            yield hit_at(document, one.line or line_of(script), f"{prefix}{one.said}")


def hit_at(document: LintDocument, line: int, message: str, column: int = 1) -> Hit:
    return Hit(*at_line(document, line, column), message)


def at_line(document: LintDocument, line: int, column: int) -> tuple[LintDocument, tuple[str, ...]]:
    """A script has lines and no paths: the hit's document is that line of it."""
    return replace(document, places={(): (line, column)}, first_line=line), ()


def taking_line(script: Script) -> int:
    """The line that takes units: a count with an argument in it, else a count, else the first write."""
    for wanted in (True, False):
        for call in script.calls:
            given = any(script.argument_slots(one) for one in call.arguments[1:])
            if call.command in COUNTS and (given or not wanted):
                return call.line
    return next((one.line for one in script.calls if one.command in WRITES), 1)
