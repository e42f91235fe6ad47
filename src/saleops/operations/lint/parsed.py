"""What parsing a text gives, whatever it is written in: documents, troubles, and lists unfolded into their items."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from saleops.config.yaml_lines import Document
from saleops.domain.lint.documents import Format, KeyPath, LintDocument, Place
from saleops.domain.lint.fleet import Trouble

LIST_DEPTH = 4
"""A List in a List is unheard of, but it must not cost a stack."""


@dataclass(slots=True)
class Parsed:
    """What a text holds and what is wrong with it."""

    documents: list[LintDocument] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)


def trouble(id: str, name: str, line: int, column: int, message: str) -> Trouble:
    """Of a text that holds no document there."""
    where = LintDocument(name, "yaml", None, places={(): (line, column)}, first_line=line)
    return Trouble(id, where, message)


def unrendered_line(text: str) -> tuple[int, int, str] | None:
    """Where the first ``{{ ... }}`` of a template stands."""
    found = re.search(r"\{\{[^\n]*", text)
    if found is None:
        return None
    line = text.count("\n", 0, found.start()) + 1
    column = found.start() - text.rfind("\n", 0, found.start())
    shown = found[0].split("}}")[0][:40] + ("}}" if "}}" in found[0] else "")
    return line, column, shown


def sentence(text: str) -> str:
    """A parser's words on one line, with a capital."""
    words = " ".join(text.split())
    return words[:1].upper() + words[1:]


def documents_of(name: str, text: str, document: Document) -> Iterator[LintDocument]:
    """The document, or the items of a Kubernetes List one by one."""
    yield from _unfolded(
        name, text, document.value, document.places, document.keys, document.shared, LIST_DEPTH
    )


def _unfolded(
    name: str,
    text: str,
    value: Any,
    places: Mapping[KeyPath, Place],
    keys: Mapping[KeyPath, Place],
    shared: frozenset[KeyPath],
    depth: int,
) -> Iterator[LintDocument]:
    items = value.get("items") if isinstance(value, dict) else None
    kind = value.get("kind") if isinstance(value, dict) else None
    listed = isinstance(items, list) and isinstance(kind, str) and kind.endswith("List")
    if not listed or not depth or not isinstance(items, list):
        line = places.get((), (1, 1))[0]
        yield LintDocument(name, format_of(value), value, text, places, keys, line, shared)
        return
    below: list[dict[KeyPath, Place]] = [{} for _ in items]
    named: list[dict[KeyPath, Place]] = [{} for _ in items]
    for source, target in ((places, below), (keys, named)):
        for path, place in source.items():
            if len(path) > 1 and path[0] == "items" and isinstance(path[1], int):
                target[path[1]][path[2:]] = place
    for number, item in enumerate(items):
        if isinstance(item, dict):
            if "kind" not in item and kind != "List" and isinstance(kind, str):
                item = {"apiVersion": value.get("apiVersion"), "kind": kind[:-4], **item}
            held = frozenset(
                one[2:] for one in shared if one[:2] in (("items",), ("items", number))
            )
            yield from _unfolded(name, text, item, below[number], named[number], held, depth - 1)


def format_of(value: Any) -> Format:
    """What a YAML document is."""
    if not isinstance(value, dict):
        return "yaml"
    version, kind = value.get("apiVersion"), value.get("kind")
    if isinstance(version, str) and version.startswith("saleops/"):
        return "profile" if version.startswith("saleops/profile/") else "sale"
    if isinstance(kind, str) and isinstance(version, str):
        return "kubernetes"
    return "yaml"
