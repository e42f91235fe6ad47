"""YAML that others write: many documents in one text, and a fault in one of them does not hide the next.

Where yaml_lines.py refuses a file at the first thing that is wrong with it, here that thing is written down as a
:class:`Fault`, and reading goes on: in the same document where it can (a key that is there twice keeps its first value, an
unknown tag is passed over), else at the next line that begins with ``---``. Merge keys (``<<``) are merged. Depth and number
of values are bounded as there, only higher: the schemas inside of CustomResourceDefinitions are deep.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

from saleops.config.yaml_lines import (
    Composer,
    Document,
    KeyPath,
    Place,
    starts_with_tab,
    strange_character,
)

STREAM_NODES_MAX = 500_000
STREAM_DEPTH_MAX = 120
NODES_OF_A_DOCUMENT = 20
"""What a document costs beside its values: a file of a million empty ones is bounded too."""
FAULTS_MAX = 20
"""After so many broken documents nobody is helped by reading on."""

_BEGIN = re.compile(r"^---(?=\s|$)", re.MULTILINE)

FaultKind = Literal["syntax", "twice", "deep", "large"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a text, at a line and a column, both from 1."""

    kind: FaultKind
    line: int
    column: int
    message: str


@dataclass(slots=True)
class Stream:
    """The documents of a text that could be read, in order, empty ones left out, and what is wrong with the text."""

    documents: list[Document] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def parse_stream(text: str, path: Path) -> Stream:
    """All documents of ``text``, which came from ``path``. Never raises for what the text holds."""
    stream = Stream()
    rest = text
    for _ in range(FAULTS_MAX):
        reading = _Reading(rest, path, stream)
        fault = reading.go_on()
        if fault is None:
            break
        stream.faults.append(fault)
        if fault.kind == "large":
            break
        begin = _next_document(rest, max(fault.line, reading.begun_in_line + 1))
        if begin is None:
            break
        # Blank lines in place of what was read keep every later line number right.
        rest = "\n" * rest.count("\n", 0, begin) + rest[begin:]
    return stream


def scalar_spans(text: str) -> list[tuple[Place, Place]]:
    """Where values that are texts begin and end, up to the first fault: a ``#`` within one begins no comment."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    spans: list[tuple[Place, Place]] = []
    try:
        event: Any
        for event in yaml.parse(text, Loader=loader):
            if isinstance(event, yaml.ScalarEvent):
                end: Any = event.end_mark
                spans.append((_place(event), (end.line + 1, end.column + 1)))
    except (yaml.YAMLError, ValueError, RecursionError):
        return spans
    return spans


def _next_document(text: str, line: int) -> int | None:
    """Where the next ``---`` begins, in ``line`` or after it."""
    at = 0
    for _ in range(line - 1):
        at = text.find("\n", at) + 1
        if at == 0:
            return None
    found = _BEGIN.search(text, at)
    return found.start() if found else None


class _Reading:
    """One way through a text, up to its end or to the first fault that nothing can be read after."""

    def __init__(self, text: str, path: Path, stream: Stream) -> None:
        self._text = text
        self._path = path
        self._stream = stream
        self.begun_in_line = 0  # where the document begins that was read last

    def go_on(self) -> Fault | None:
        """Adds documents to the stream. Returns the fault that ended it, None at the end of the text."""
        import yaml

        text = self._text
        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            self._documents(yaml.parse(text, Loader=loader))
        except _Stopped as stopped:
            return stopped.fault
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            said = error.problem or error.context or "this is no YAML"
            advice = " (indent with spaces, not with tabs)" if starts_with_tab(text, line) else ""
            return Fault("syntax", line, column, f"{said}{advice}")
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            found = strange_character(text)
            if found is not None:
                return Fault("syntax", *found)
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            return Fault("syntax", 1, 1, f"this is no YAML: {said}")
        return None

    def _documents(self, events: Iterator[Any]) -> None:
        import yaml

        next(events)  # the stream begins
        left = STREAM_NODES_MAX
        while not isinstance(begin := next(events), yaml.StreamEndEvent):
            self.begun_in_line = begin.start_mark.line + 1
            composer = _Composer(self._path, events, self._stream.faults)
            composer.nodes_max = left
            document = composer.one()
            left -= composer.nodes + NODES_OF_A_DOCUMENT
            if document.value is not None:
                self._stream.documents.append(document)


class _Stopped(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class _Composer(Composer):
    """Builds one document of a stream."""

    depth_max = STREAM_DEPTH_MAX
    nodes_max = STREAM_NODES_MAX

    def __init__(self, path: Path, events: Any, faults: list[Fault]) -> None:
        super().__init__(path, events)
        self._faults = faults

    @property
    def nodes(self) -> int:
        """Values so far."""
        return self._nodes

    def one(self) -> Document:
        """The document that has just begun."""
        value = self._node(next(self._events), ())
        next(self._events)  # the document ends
        return Document(self._path, value, self._places, self._keys, frozenset(self._shared))

    def _mapping(self, event: Any, at: KeyPath) -> dict[str, Any]:
        import yaml

        values: dict[str, Any] = {}
        while not isinstance(one := next(self._events), yaml.MappingEndEvent):
            key = self._key(one)
            below = (*at, key)
            if key in values and key != "<<":
                first = self._keys[below][0]
                line, column = _place(one)
                self._faults.append(
                    Fault("twice", line, column, f"{key} is given twice (first in line {first})")
                )
                # Which of the two is meant nobody knows; what is below the second one has no place to be found at.
                self._node(next(self._events), (*at, f"{key} (again in line {line})"))
                continue
            self._keys[below] = _place(one)
            values[key] = self._node(next(self._events), below)
            if values[key] is None:
                self._places[below] = self._keys[below]
        if "<<" in values:
            self._merge(event, values, at)
        return values

    def _key(self, event: Any) -> str:
        import yaml

        if isinstance(event, yaml.ScalarEvent):
            return str(event.value)
        if isinstance(event, yaml.AliasEvent) and event.anchor in self._anchors:
            value = self._anchors[event.anchor][0]
            if not isinstance(value, dict | list):
                return str(value)
        return self._refuse(event, "a key is a word, not a list or a mapping")

    def _merge(self, event: Any, values: dict[str, Any], at: KeyPath) -> None:
        """``<<: *one`` or ``<<: [*one, *two]``: what is not given in the mapping itself comes from there."""
        given = values.pop("<<")
        sources: list[tuple[Any, KeyPath]] = [(given, (*at, "<<"))]
        if isinstance(given, list):
            sources = [(one, (*at, "<<", number)) for number, one in enumerate(given)]
        for source, above in sources:
            if not isinstance(source, dict):
                self._refuse(event, "<< merges mappings only")
            for key, value in source.items():
                if key in values:
                    continue
                values[key] = value
                self._shared.add((*at, key))
                self._places[(*at, key)] = self._places[(*above, key)]
                self._keys[(*at, key)] = self._keys[(*above, key)]
                self._repeat(event, value, (*above, key), (*at, key))

    def _check_tag(self, event: Any, kind: str) -> None:
        """``!Ref``, ``!vault``: others' business."""

    def _scalar(self, event: Any) -> Any:
        if event.tag is not None and not event.tag.startswith("tag:yaml.org,2002:"):
            return event.value
        if event.tag in ("tag:yaml.org,2002:binary", "tag:yaml.org,2002:timestamp"):
            return event.value
        return super()._scalar(event)

    def _refuse(self, event: Any, what: str) -> NoReturn:
        line, column = _place(event)
        kind: FaultKind = "deep" if "deeper" in what else "syntax"
        if "more than" in what:
            kind = "large"
            what = f"more than {STREAM_NODES_MAX:,} values (aliases count) are not read"
        raise _Stopped(Fault(kind, line, column, what))


def _place(event: Any) -> Place:
    return event.start_mark.line + 1, event.start_mark.column + 1
