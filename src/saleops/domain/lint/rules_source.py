"""What is wrong with a text before any rule can read it: reading finds it, these rules say it."""

from collections.abc import Iterator

from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.rules import Hit, rule


def _troubles(fleet: Fleet, id: str) -> Iterator[Hit]:
    for one in fleet.troubles:
        if one.id == id:
            yield Hit(one.document, one.path, one.message)


@rule(
    "SRC001",
    "error",
    "A file cannot be read as what it is",
    why="kubectl, terraform and the API refuse the file as well, and no other rule has looked at this part of it.",
    fix="Correct the syntax at the place that is named.",
    source="YAML 1.2, RFC 8259 and HCL specifications",
    bad="spec: {replicas: 3",
    good="spec: {replicas: 3}",
)
def syntax(fleet: Fleet) -> Iterator[Hit]:
    return _troubles(fleet, "SRC001")


@rule(
    "SRC002",
    "error",
    "A key is given twice",
    why="Which of the two values counts depends on the tool that reads the file; the other one is silently lost.",
    fix="Keep one of the two.",
    source="YAML 1.2 specification, 3.2.1.3 node comparison",
    bad="replicas: 3\nreplicas: 10",
    good="replicas: 10",
)
def key_twice(fleet: Fleet) -> Iterator[Hit]:
    return _troubles(fleet, "SRC002")


@rule(
    "SRC003",
    "warning",
    "A template is not rendered",
    why="What its placeholders become decides what runs on sale day, and nobody has looked at that yet.",
    fix="Render it first and lint that: helm template RELEASE CHART | saleops lint -",
    source="helm.sh docs, helm template",
    bad="replicas: {{ .Values.replicas }}",
    good="replicas: 3",
)
def unrendered(fleet: Fleet) -> Iterator[Hit]:
    return _troubles(fleet, "SRC003")


@rule(
    "SRC004",
    "warning",
    "A file was not looked at",
    why="Nothing is known about it, so a clean run says nothing about it either.",
    fix="Name a text file in UTF-8 that may be read, or leave it out.",
    source="saleops, docs/how-to/lint.md",
)
def not_looked_at(fleet: Fleet) -> Iterator[Hit]:
    return _troubles(fleet, "SRC004")


@rule(
    "SRC005",
    "error",
    "A sale file or a profile is wrong",
    why="Every saleops command refuses the file, on sale day too.",
    fix="Correct the field; `saleops schema` and `saleops schema --profile` describe each of them.",
    source="saleops, docs/sale.schema.json and docs/profile.schema.json",
    bad="apiVersion: saleops/v1\nwindw: {}",
    good="apiVersion: saleops/v1\nwindow: {opens: ..., closes: ...}",
)
def own_files(fleet: Fleet) -> Iterator[Hit]:
    return _troubles(fleet, "SRC005")
