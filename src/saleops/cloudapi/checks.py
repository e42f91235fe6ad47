"""What is wrong with a request: every bad field at once, in plain words.

The same check runs on both sides. The client asks before it sends, so that a wrong field costs no round trip; the local
cloud asks on arrival. First each field is held to its table (known, there, of its type, within
its values and bounds), then the rules between fields of rules.py look at what is well formed.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from saleops.cloudapi.model import Api, Field
from saleops.cloudapi.problem import Problem, ProblemCode, named, nearest, shown
from saleops.cloudapi.rules import broken_rules
from saleops.cloudapi.wire import Parsed, common_of, flatten, json_document, parse, typed

__all__ = [
    "Parsed",
    "Problem",
    "ProblemCode",
    "common_of",
    "flatten",
    "parse",
    "problems",
    "received",
]

TOKEN_LENGTH = 64

MOST_PROBLEMS = 200
"""Nobody reads on, and a body that is all mistakes must not cost more than a right one."""

_INT64 = 2**63
_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "json": "a JSON document",
    "any": "an object",
}


def problems(
    api: Api,
    *,
    params: Mapping[str, Any] | None = None,
    path: Mapping[str, str] | None = None,
    body: Any = None,
    wire: bool = False,
) -> list[Problem]:
    """Everything that is wrong with a call of ``api``; an empty list means that it may be sent.

    ``params`` hold Python values, lists and objects not flattened. With ``wire`` their scalars may be the strings of the wire
    ("5", "True"); a body is JSON and always holds its own types. None values count as left out. Problems stand in the
    table's order: path, parameters, body, then rules; a field that is wrong in itself is not named again by a rule.
    """
    params, path = params or {}, path or {}
    if wire:
        params = typed(api, params)
    fields = chain(
        _path_problems(api, path),
        _param_problems(api, params),
        _body_problems(api, body),
        _token_problems(api, params, body),
    )
    found = list(islice(fields, MOST_PROBLEMS))
    seen = {problem.where for problem in found}
    found += (
        problem
        for problem in islice(broken_rules(api, params=params, body=body), MOST_PROBLEMS)
        if problem.where not in seen
    )
    return found


def _param_problems(api: Api, params: Mapping[str, Any]) -> Iterator[Problem]:
    common = common_of(api)
    given = {
        name: value for name, value in params.items() if name in api.params or name not in common
    }
    return _object_problems(given, api.params, "")


def _body_problems(api: Api, body: Any) -> Iterator[Problem]:
    if api.body is None:
        if body not in (None, {}, []):
            yield Problem("body", "unknown", f"{api.name} takes no body")
    elif api.body.type == "array":
        yield from _value_problems([] if body is None else body, api.body, "body")
    elif body is None or isinstance(body, Mapping):
        yield from _object_problems(body or {}, api.body.fields, "")
    else:
        yield _wrong_type(body, api.body, "body")


def received(
    api: Api, flat: Mapping[str, str], *, path: Mapping[str, str] | None = None, body: Any = None
) -> tuple[dict[str, Any], list[Problem]]:
    """For the side that takes a request: its parameters, typed and nested, and all that is wrong with it."""
    params, found = parse(api, flat)
    return params, found + problems(api, params=params, path=path, body=body)


def _path_problems(api: Api, path: Mapping[str, Any]) -> Iterator[Problem]:
    slots = [part[1:-1] for part in api.path.split("/") if part.startswith("[")]
    for slot in slots:
        value = path.get(slot)
        if value is None or value == "":
            yield Problem(f"path.{slot}", "missing", f"the path {api.path} needs it")
        elif not isinstance(value, str):
            yield Problem(f"path.{slot}", "type", f"must be text, not {named(value)}")
    for name in path:
        if name not in slots:
            yield Problem(
                f"path.{shown(name)}", "unknown", f"the path {api.path or '/'} has no such part"
            )


def _token_problems(api: Api, params: Mapping[str, Any], body: Any) -> Iterator[Problem]:
    if not api.token:
        return
    name = api.token.removeprefix("body.")
    holder = body if name != api.token else params
    value = holder.get(name) if isinstance(holder, Mapping) else None
    if isinstance(value, str) and (len(value) > TOKEN_LENGTH or not value.isascii()):
        yield Problem(name, "range", f"must be ASCII, at most {TOKEN_LENGTH} characters")


def _object_problems(
    given: Mapping[str, Any], fields: Mapping[str, Field], where: str
) -> Iterator[Problem]:
    for name, field in fields.items():
        value = given.get(name)
        at = f"{where}.{name}" if where else name
        if value is None:
            if field.required:
                yield Problem(at, "missing", f"is required: {_expected(field)}")
        elif value == "" and field.required and field.type != "json":
            yield Problem(at, "missing", f"is required and must not be empty: {_expected(field)}")
        else:
            yield from _value_problems(value, field, at)
    for name, value in given.items():
        if name not in fields and value is not None:
            at = f"{where}.{shown(name)}" if where else shown(name)
            yield Problem(at, "unknown", f"there is no such field{nearest(name, fields)}")


def _value_problems(value: Any, field: Field, where: str) -> Iterator[Problem]:
    """Of one value that is there. Goes no deeper than the table does, however deep the value is."""
    match field.type:
        case "array":
            yield from _array_problems(value, field, where)
        case "object":
            if isinstance(value, Mapping):
                yield from _object_problems(value, field.fields, where)
            else:
                yield _wrong_type(value, field, where)
        case "any":
            if not isinstance(value, Mapping):
                yield _wrong_type(value, field, where)
        case "json":
            yield from _json_problems(value, field, where)
        case _:
            yield from _scalar_problems(value, field, where)


def _array_problems(value: Any, field: Field, where: str) -> Iterator[Problem]:
    if field.joined and isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        yield _wrong_type(value, field, where)
        return
    yield from _length_problems(len(value), field, where, "entries")
    if field.items is not None:
        for number, entry in enumerate(value):
            at = f"{where}[{number}]"
            if entry is None:
                yield _wrong_type(entry, field.items, at)
            else:
                yield from _value_problems(entry, field.items, at)


def _json_problems(value: Any, field: Field, where: str) -> Iterator[Problem]:
    """A document given as text is read first; its inner fields are JSON, so their types are JSON's own."""
    if isinstance(value, str):
        try:
            value = json_document(value)
        except ValueError as error:
            yield Problem(where, "type", f"must be a JSON document: {error}")
            return
    if field.items is not None:
        yield from _array_problems(value, field, where)
    elif field.fields:
        if isinstance(value, Mapping):
            yield from _object_problems(value, field.fields, where)
        else:
            yield Problem(where, "type", f"must be a JSON object, not {named(value)}")


def _scalar_problems(value: Any, field: Field, where: str) -> Iterator[Problem]:
    if not _is_a(field.type, value):
        yield _wrong_type(value, field, where)
    elif field.type == "string":
        # Empty text is how SDKs and the console leave a choice to its default.
        if field.values and value and value not in field.values:
            yield Problem(where, "value", f"{_quoted(where, value)}{_choices(field, value)}")
        yield from _length_problems(len(value), field, where, "characters")
    elif field.type in ("integer", "number"):
        if field.values and str(value) not in field.values:
            yield Problem(where, "value", f"{value}{_choices(field, str(value))}")
        if isinstance(value, float) and not math.isfinite(value):
            yield Problem(where, "type", "must be a finite number")
        elif isinstance(value, int) and not -_INT64 <= value < _INT64:
            yield Problem(where, "range", "must fit into 64 bits")
        elif _outside(value, field):
            yield Problem(where, "range", f"{value} is not {_bounds(field)}")


def _is_a(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    match kind:
        case "string":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int)
        case "number":
            return isinstance(value, int | float)
        case _:
            return False


def _length_problems(length: int, field: Field, where: str, of: str) -> Iterator[Problem]:
    if _outside(length, field):
        yield Problem(where, "range", f"has {length} {of}, not {_bounds(field)}")


def _outside(value: float, field: Field) -> bool:
    return (field.low is not None and value < field.low) or (
        field.high is not None and value > field.high
    )


def _bounds(field: Field) -> str:
    match field.low, field.high:
        case None, high:
            return f"at most {high:g}"
        case low, None:
            return f"at least {low:g}"
        case low, high:
            return f"between {low:.10g} and {high:.10g}"


def _choices(field: Field, value: str) -> str:
    return f" is not one of {', '.join(field.values)}{nearest(value, field.values)}"


def _quoted(where: str, value: str) -> str:
    """The value itself, except where it may be a secret."""
    name = where.rpartition(".")[2].lower()
    secret = any(word in name for word in ("password", "secret", "token"))
    return "this value" if secret else repr(shown(value))


def _expected(field: Field) -> str:
    if field.values:
        return f"one of {', '.join(field.values)}"
    return _WORDS[field.type]


def _wrong_type(value: Any, field: Field, where: str) -> Problem:
    return Problem(where, "type", f"must be {_WORDS[field.type]}, not {named(value)}")
