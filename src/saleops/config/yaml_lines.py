"""YAML with places: every value knows the line and column it came from.

We read libyaml's events and build plain values from them here, for three reasons. Each value keeps its place, so an
error can point at it. Plain scalars mean what YAML 1.2's core schema says: ``12:30:45`` and ``no`` are text, ``1e3`` is a
number, ``0o17`` is octal. And everything is bounded: composing a file of a hundred thousand open brackets takes libyaml
minutes or the process its stack, so we stop asking for events at ``DEPTH_MAX``; aliases may repeat values, but a file
whose aliases unfold without end stops at ``NODES_MAX``.
"""

import re
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from saleops.errors import ConfigError

FILE_MAX_BYTES = 1024 * 1024
NODES_MAX = 100_000
DEPTH_MAX = 32
NUMBER_MAX_LENGTH = 40

Place = tuple[int, int]
"""Line and column, both from 1."""

KeyPath = tuple[str | int, ...]
"""Where a value stands in the document: ``("items", 3, "price")``."""

_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_WORDS: dict[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_HINT = "Correct the file and try again; nothing was changed."
_SURROGATE = re.compile("[\ud800-\udfff]")
_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS = tuple(f"{_TAG}{name}" for name in ("int", "float", "bool", "null"))


@dataclass(frozen=True, slots=True)
class Document:
    """A file's values, and where each came from: ``places[path]``, the path ("traffic", "peak_rps")."""

    path: Path
    value: Any
    places: dict[KeyPath, Place] = field(repr=False)
    keys: dict[KeyPath, Place] = field(repr=False)  # where the last part of the path is written
    shared: frozenset[KeyPath] = (
        frozenset()
    )  # written once and meant at several paths: aliases, merges

    def where(self, path: KeyPath, *, key: bool = False) -> str:
        """``file:line:column`` of the value at ``path`` (or of its key), or of the nearest parent in the file."""
        while path and path not in self.places:
            path = path[:-1]
        line, column = (self.keys.get(path) if key else None) or self.places.get(path, (1, 1))
        return f"{self.path}:{line}:{column}"


def read_yaml(path: Path) -> Document:
    """The one document of ``path``. Raises ConfigError with its place for whatever is wrong with it."""
    return parse_yaml(_read_text(path), path)


def parse_yaml(text: str, path: Path) -> Document:
    """As :func:`read_yaml`, for ``text`` that came from ``path``."""
    import yaml  # a fifth of a small command's start, so only when a file is read

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return Composer(path, yaml.parse(text, Loader=loader)).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        said = error.problem or error.context or "this is no YAML"
        advice = " (indent with spaces, not with tabs)" if starts_with_tab(text, line) else ""
        raise ConfigError(f"{path}:{line}:{column}: {said}{advice}", hint=_HINT) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        _refuse_strange_characters(text, path)
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{path}:1:1: this is no YAML: {said}", hint=_HINT) from error


def _read_text(path: Path) -> str:
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise ConfigError(
                f"{path} is a folder, not a sale file", hint=f"Name the file: {path / 'sale.yaml'}"
            )
        if not stat.S_ISREG(kind):  # opening a pipe nobody writes to would wait for ever
            raise ConfigError(f"{path} is not a regular file", hint="Write the sale to a file.")
        with path.open("rb") as file:
            data = file.read(FILE_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: there is no such file", hint=f"`saleops init {path.parent}` writes one."
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"{str(path)!r} cannot be read: {reason}", hint="Name a sale file that you may read."
        ) from error
    if len(data) > FILE_MAX_BYTES:
        raise ConfigError(
            f"{path}:1:1: more than {FILE_MAX_BYTES:,} bytes are no sale file",
            hint="Items belong into a CSV file of their own: items: {file: items.csv}",
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}:{line}:1: this line is not UTF-8{encoding_guess(data)}",
            hint="Save the file as UTF-8.",
        ) from error


def encoding_guess(data: bytes) -> str:
    """What else ``data`` may be, to be added to an error; only its beginning is needed."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return " (it looks like UTF-16)"
    if b"\0" in data:
        return " (it looks like a binary file)"
    return " (it looks like Latin-1 or Windows-1252)"


class Composer:
    """Builds one document from events; used once. yaml_stream.py has one that takes what others write."""

    depth_max = DEPTH_MAX
    nodes_max = NODES_MAX

    def __init__(self, path: Path, events: Iterator[Any]) -> None:
        self._path = path
        self._events = events
        self._places: dict[KeyPath, Place] = {}
        self._keys: dict[KeyPath, Place] = {}
        self._anchors: dict[str, tuple[Any, KeyPath]] = {}
        self._shared: set[KeyPath] = set()
        self._nodes = 0

    def document(self) -> Document:
        import yaml

        next(self._events)  # the stream begins
        if isinstance(next(self._events), yaml.StreamEndEvent):
            raise ConfigError(
                f"{self._path}:1:1: the file is empty",
                hint="`saleops init` writes one to start from.",
            )
        value = self._node(next(self._events), ())
        next(self._events)  # the document ends
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            self._refuse(after, "a second document begins here; a file holds one")
        return Document(self._path, value, self._places, self._keys, frozenset(self._shared))

    def _node(self, event: Any, at: KeyPath) -> Any:
        import yaml

        self._places[at] = _place(event)
        self._count(event, at)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                self._refuse(event, f"*{event.anchor} repeats something that is not there")
            value, source = self._anchors[event.anchor]
            self._shared.update((source, at))
            self._repeat(event, value, source, at)
            return value
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(event, at)
        else:
            value = self._mapping(event, at)
        if event.anchor is not None:  # known only when complete, so nothing can contain itself
            self._anchors[event.anchor] = (value, at)
        return value

    def _sequence(self, event: Any, at: KeyPath) -> list[Any]:
        import yaml

        self._check_tag(event, "seq")
        values: list[Any] = []
        while not isinstance(one := next(self._events), yaml.SequenceEndEvent):
            values.append(self._node(one, (*at, len(values))))
        return values

    def _mapping(self, event: Any, at: KeyPath) -> dict[str, Any]:
        import yaml

        self._check_tag(event, "map")
        values: dict[str, Any] = {}
        while not isinstance(one := next(self._events), yaml.MappingEndEvent):
            if not isinstance(one, yaml.ScalarEvent):
                self._refuse(one, "a key is a word, not a list, a mapping or an alias")
            if _SURROGATE.search(one.value):
                self._refuse(one, "half a character (a lone surrogate)")
            below = (*at, one.value)
            if below in self._keys:
                line = self._keys[below][0]
                self._refuse(one, f"{one.value} is given twice (first in line {line})")
            self._keys[below] = _place(one)
            values[one.value] = self._node(next(self._events), below)
            if values[one.value] is None:  # nothing is written there: point at the key
                self._places[below] = self._keys[below]
        return values

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if _SURROGATE.search(text):
            self._refuse(event, "half a character (a lone surrogate)")
        if event.tag is None:
            return _plain(text) if event.implicit[0] else text
        if event.tag in ("!", f"{_TAG}str"):
            return text
        if event.tag in _SCALAR_TAGS:
            return _plain(text)
        return self._refuse(event, f"the tag {event.tag} means nothing here")

    def _check_tag(self, event: Any, kind: str) -> None:
        if event.tag not in (None, "!", f"{_TAG}{kind}"):
            self._refuse(event, f"the tag {event.tag} means nothing here")

    def _repeat(self, event: Any, value: Any, source: KeyPath, at: KeyPath) -> None:
        """Give what is repeated under ``at`` its places: those where it was written the first time."""
        if isinstance(value, dict):
            parts: list[tuple[str | int, Any]] = list(value.items())
        else:
            parts = list(enumerate(value)) if isinstance(value, list) else []
        for name, part in parts:
            self._count(event, at)
            above, below = (*source, name), (*at, name)
            self._places[below] = self._places[above]
            if above in self._keys:
                self._keys[below] = self._keys[above]
            self._repeat(event, part, above, below)

    def _count(self, event: Any, at: KeyPath) -> None:
        self._nodes += 1
        if len(at) > self.depth_max:
            self._refuse(event, f"this is nested deeper than {self.depth_max} levels")
        if self._nodes > self.nodes_max:
            most = f"{self.nodes_max:,} values (aliases count)"
            self._refuse(event, f"more than {most} are no sale file")

    def _refuse(self, event: Any, what: str) -> NoReturn:
        line, column = _place(event)
        raise ConfigError(f"{self._path}:{line}:{column}: {what}", hint=_HINT)


def _plain(text: str) -> Any:
    """What an unquoted scalar means in YAML 1.2's core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789" or len(text) > NUMBER_MAX_LENGTH:
        return (
            text  # no figure of a sale has forty digits: whoever expects a number refuses the text
        )
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _OCTAL.fullmatch(text):
        return int(text[2:], 8)
    if _HEX.fullmatch(text):
        return int(text[2:], 16)
    infinity = _INFINITY.fullmatch(text)
    return float(f"{infinity[1]}inf") if infinity else text


def _place(event: Any) -> Place:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _refuse_strange_characters(text: str, path: Path) -> None:
    """Raises ConfigError at the first character that YAML does not allow."""
    found = strange_character(text)
    if found is not None:
        line, column, what = found
        raise ConfigError(f"{path}:{line}:{column}: {what}", hint=_HINT)


def strange_character(text: str) -> tuple[int, int, str] | None:
    """Line, column and description of the first character that YAML does not allow: its reader's own error has no line."""
    for number, line in enumerate(text.split("\n"), 1):
        for column, one in enumerate(line, 1):
            if not one.isprintable() and unicodedata.category(one) in ("Cc", "Cs", "Co", "Cn"):
                if one in "\t\r\x85":
                    continue
                return number, column, f"the character {one!a} has no place in a text file"
    return None


def starts_with_tab(text: str, line: int) -> bool:
    lines = text.splitlines()
    found = lines[line - 1] if line <= len(lines) else ""
    return "\t" in found[: len(found) - len(found.lstrip())]
