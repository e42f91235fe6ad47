"""Resources of Terraform files, whichever way the reader nested them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from saleops.domain.lint.documents import KeyPath, LintDocument
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.plain_values import rows, table


@dataclass(frozen=True, eq=False)
class Block:
    """One resource: its type and name, the path of its body, the body."""

    document: LintDocument
    type: str
    name: str
    path: KeyPath
    value: dict[Any, Any]


def resources(fleet: Fleet, *types: str) -> Iterator[Block]:
    for document in fleet.of_format("terraform"):
        for path, kinds in _each(document.at("resource"), ("resource",)):
            for type in types:
                for at, names in _each(kinds.get(type), (*path, type)):
                    for name in names:
                        for where, body in _each(names[name], (*at, name)):
                            yield Block(document, type, str(name), where, body)


def inner(block: dict[Any, Any], name: str) -> dict[Any, Any]:
    """The first nested block called ``name``; empty where there is none."""
    value = block.get(name)
    return table(value) or next((table(one) for one in rows(value)), {})


def _each(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, dict[Any, Any]]]:
    if isinstance(value, dict):
        yield path, value
    for i, one in enumerate(rows(value)):
        if isinstance(one, dict):
            yield (*path, i), one
