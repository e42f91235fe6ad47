"""A text becomes documents that rules can read: by the name of its file, or by what it looks like.

Nothing here raises for what a text holds: what cannot be read becomes a :class:`Trouble`, which a rule says.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from saleops.config.yaml_lines import Document
from saleops.config.yaml_stream import parse_stream
from saleops.domain.lint.documents import LintDocument
from saleops.domain.lint.fleet import Trouble
from saleops.operations.lint.parsed import Parsed, documents_of, sentence, trouble, unrendered_line

_SUFFIXES = {
    ".yaml": "yaml",
    ".yml": "yaml",
    ".json": "json",
    ".tf": "terraform",
    ".lua": "lua",
}
_TERRAFORM = re.compile(
    r"^\s*(resource|data|module|provider|variable|terraform|locals|output)\b[^:\n]*\{", re.M
)
_LUA = re.compile(r"^\s*(--|local\s+\w+|redis\.(call|pcall)\()", re.M)


def syntax_of(name: str, text: str) -> str:
    """``yaml``, ``json``, ``terraform`` or ``lua``."""
    known = _SUFFIXES.get(Path(name).suffix.lower())
    if known:
        return known
    start = text.lstrip()[:1]
    if start in ("{", "[") and not text.lstrip().startswith("{{"):
        return "json"
    if _TERRAFORM.search(text):
        return "terraform"
    if _LUA.search(text) and not re.search(r"^\w[\w-]*:(\s|$)", text, re.M):
        return "lua"
    return "yaml"


def parse_text(name: str, text: str) -> Parsed:
    """The documents of ``text``, the content of the file ``name`` without a byte order mark."""
    match syntax_of(name, text):
        case "terraform":
            from saleops.operations.lint.hcl import parse_terraform

            return parse_terraform(name, text)
        case "lua":
            return Parsed([LintDocument(name, "lua", text, text)])
        case "json":
            from saleops.operations.lint.json_text import parse_json

            return parse_json(name, text)
        case _:
            return _parse_yaml(name, text)


def _parse_yaml(name: str, text: str) -> Parsed:
    stream = parse_stream(text, Path(name))
    parsed = Parsed()
    template = unrendered_line(text) if stream.faults else None
    for fault in stream.faults:
        if fault.kind != "twice" and template is not None:
            continue  # what a placeholder breaks is no mistake of its author
        id = {"twice": "SRC002", "deep": "SRC004", "large": "SRC004"}.get(fault.kind, "SRC001")
        message = fault.message if fault.kind == "twice" else sentence(fault.message)
        parsed.troubles.append(trouble(id, name, fault.line, fault.column, message))
    if template is not None:
        line, column, shown = template
        message = f"{shown} is a template that nobody has rendered"
        parsed.troubles.append(trouble("SRC003", name, line, column, message))
    for document in stream.documents:
        for one in documents_of(name, text, document):
            parsed.documents.append(one)
            parsed.troubles += _own_errors(one, document)
    return parsed


def _own_errors(one: LintDocument, document: Document) -> Iterator[Trouble]:
    """What is wrong with a sale file or a profile: its own model says it."""
    if one.format not in ("sale", "profile"):
        return
    from saleops.errors import ConfigError

    try:
        if one.format == "sale":
            from saleops.config.sale import sale_of

            sale_of(document)
        else:
            from saleops.config.profile import profile_of

            profile_of(document)
    except ConfigError as error:
        for line in error.message.splitlines():
            rest = line.removeprefix(f"{document.path}:")
            found = re.match(r"(\d+):(\d+): (.*)", rest)
            if found:
                yield trouble("SRC005", one.file, int(found[1]), int(found[2]), found[3])
            else:
                yield trouble("SRC005", one.file, one.first_line, 1, rest)
