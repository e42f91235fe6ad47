"""Terraform's resources as values, from what python-hcl2 reads.

A configuration is read elsewhere; here it is python-hcl2's plain dicts: literal strings keep their quotes, expressions read
``${...}``, blocks are lists of marked dicts. Nothing is evaluated.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_MARKS = ("__is_block__", "__comments__", "__inline_comments__", "__start_line__", "__end_line__")


@dataclass(frozen=True, slots=True)
class Expression:
    """What only Terraform can evaluate: a reference, a call, a string with ``${}`` in it."""

    text: str


@dataclass(frozen=True, slots=True)
class Declared:
    """A resource, or a block in one: ``kind`` is its type or the block's name, ``where`` its address for people."""

    kind: str
    name: str
    where: str
    arguments: Mapping[str, Any]
    blocks: Mapping[str, tuple["Declared", ...]] = field(default_factory=dict)

    def literal(self, argument: str) -> Any:
        """The value of ``argument`` where it is written down, None where it is not there or computed."""
        value = self.arguments.get(argument)
        return None if isinstance(value, Expression) else value

    def text(self) -> str:
        """Everything it says, for a search after references."""
        inner = " ".join(one.text() for many in self.blocks.values() for one in many)
        return " ".join(map(said, self.arguments.values())) + " " + inner


def resources_of(documents: Sequence[Mapping[str, Any]]) -> list[Declared]:
    """The resources of a module's files, in order."""
    found = []
    for document in documents:
        for block in document.get("resource") or ():
            for kind, named in _content(block):
                for name, body in _content(named):
                    address = f"{_bare(kind)}.{_bare(name)}"
                    found.append(_declared(_bare(kind), _bare(name), address, body))
    return found


def defaults_of(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The defaults of the module's variables."""
    defaults: dict[str, Any] = {}
    for document in documents:
        for block in document.get("variable") or ():
            for name, body in _content(block):
                if "default" in body:
                    defaults[_bare(name)] = _value(body["default"])
    return defaults


def _declared(kind: str, name: str, where: str, body: Mapping[str, Any]) -> Declared:
    arguments: dict[str, Any] = {}
    blocks: dict[str, list[Declared]] = {}
    for key, value in _content(body):
        if key == "dynamic":
            for one in value:
                for label, inner in _content(one):
                    made = _bare(label)
                    for content in inner.get("content") or ():
                        blocks.setdefault(made, []).append(
                            _declared(made, "", f"{where}.{made}", content)
                        )
        elif _is_block(value):
            blocks.setdefault(key, []).extend(
                _declared(key, "", f"{where}.{key}", one) for one in value
            )
        else:
            arguments[key] = _value(value)
    return Declared(kind, name, where, arguments, {key: tuple(of) for key, of in blocks.items()})


def _content(block: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((key, value) for key, value in block.items() if key not in _MARKS)


def _is_block(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, Mapping) and one.get("__is_block__") for one in value)
    )


def _bare(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return Expression(value) if "${" in value else _bare(value)
    if isinstance(value, list):
        return [_value(one) for one in value]
    if isinstance(value, Mapping):
        return {_bare(key): _value(one) for key, one in _content(value)}
    return value


def said(value: Any) -> str:
    if isinstance(value, Expression):
        return value.text
    if isinstance(value, list | tuple):
        return " ".join(map(said, value))
    if isinstance(value, Mapping):
        return " ".join(map(said, value.values()))
    return str(value)
