"""What pydantic says about a file, in the file's own words: place, path, what is wrong, what was meant.

Nothing here knows the sale file: a model and the document it was read from are enough, so every YAML file of ours
complains in the same way.
"""

import difflib
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from saleops.config.yaml_lines import Document, KeyPath

ERRORS_SHOWN = 50

_WANTED = {
    "model_type": "a mapping (key: value) is wanted here",
    "model_attributes_type": "a mapping (key: value) is wanted here",
    "dict_type": "a mapping (key: value) is wanted here",
    "tuple_type": "a list is wanted here",
    "list_type": "a list is wanted here",
    "string_type": "text is wanted here",
    "int_type": "a whole number is wanted here",
    "finite_number": "a finite number is wanted here",
}


def explain(document: Document, error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line for each wrong field, ``file:line:col: path: what is wrong``, in the order of the file."""
    found: dict[str, tuple[int, int]] = {}
    for one in error.errors(include_url=False):
        at = _path_of(document, one["loc"], one["type"])
        of_key = one["type"] == "extra_forbidden" or one["loc"][-1:] == ("[key]",)
        where = document.where(at, key=of_key)
        name = ".".join(str(part) for part in at) or "the file"
        line, column = where.rsplit(":", 2)[1:]
        found.setdefault(f"{where}: {name}: {_in_words(one, at, model)}", (int(line), int(column)))
    lines = sorted(found, key=found.__getitem__)
    if len(lines) > ERRORS_SHOWN:
        return [*lines[:ERRORS_SHOWN], f"... and {len(lines) - ERRORS_SHOWN} more"]
    return lines


def _path_of(document: Document, loc: tuple[int | str, ...], kind: str) -> KeyPath:
    """pydantic's location without what is no part of the file: tags of unions and its mark for keys."""
    path: KeyPath = ()
    for number, part in enumerate(loc):
        last = number == len(loc) - 1
        if (*path, part) in document.places or (last and kind == "missing"):
            path = (*path, part)
    return path


def _in_words(error: Any, at: KeyPath, model: type[BaseModel]) -> str:
    kind, value, context = error["type"], error.get("input"), error.get("ctx", {})
    if kind == "extra_forbidden":
        return f"there is no such key{_did_you_mean(str(at[-1]), at[:-1], model)}"
    if kind == "missing":
        return "this is missing"
    if kind == "value_error":
        return str(context["error"])
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        return "a mapping or a list is wanted here"
    if value is None:
        return "nothing is written here"
    if kind in _WANTED:
        return f"{_WANTED[kind]}, not {shown(value)}"
    if kind == "literal_error":
        return f"{context['expected']} is wanted here, not {shown(value)}"
    if kind == "string_pattern_mismatch":
        meant = _description(model, at)
        return f"{shown(value)} is not of the form {context['pattern']}{meant and f' ({meant})'}"
    said: str = error["msg"]
    said = said.removeprefix("Input should be ").removeprefix("Value should ")
    return f"{said[:1].lower()}{said[1:]} is wanted here, not {shown(value)}"


def shown(value: object) -> str:
    """``value`` in at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _did_you_mean(key: str, parent: KeyPath, model: type[BaseModel]) -> str:
    here = next((fields for path, fields in _levels(model) if _matches(path, parent)), [])
    close = difflib.get_close_matches(key, here, n=1)
    if close:
        return f" (did you mean {close[0]}?)"
    for path, fields in _levels(model):  # right key, wrong level
        close = difflib.get_close_matches(key, fields, n=1, cutoff=0.8)
        if close and "*" not in path:
            return f" (did you mean {'.'.join((*path, *close))}?)"
    return f" (known here: {', '.join(sorted(here))})" if here else ""


def _description(model: type[BaseModel], at: KeyPath) -> str:
    """What the field at ``at`` is for; empty where that is a name people choose."""
    field = None
    for part in at:
        if field is not None:
            inner = field.annotation
            if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
                return ""
            model = inner
        field = model.model_fields.get(str(part))
        if field is None:
            return ""
    return (field.description or "").rstrip(".") if field else ""


def _matches(pattern: tuple[str, ...], path: KeyPath) -> bool:
    return len(pattern) == len(path) and all(
        one in ("*", part) for one, part in zip(pattern, path, strict=True)
    )


def _levels(
    model: type[BaseModel], at: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Every mapping of the file with the keys it may have; ``*`` stands for a name that people choose."""
    yield at, list(model.model_fields)
    for name, field in model.model_fields.items():
        yield from _levels_in(field.annotation, (*at, name))


def _levels_in(annotation: Any, at: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from _levels(annotation, at)
        return
    below = (*at, "*") if getattr(annotation, "__origin__", None) is dict else at
    for part in get_args(annotation):
        yield from _levels_in(part, below)
