"""What rules read: plain values that know where in a file each of them stands."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Format = Literal["kubernetes", "terraform", "lua", "json", "sale", "profile", "yaml"]

KeyPath = tuple[str | int, ...]
"""Where a value stands: ``("spec", "jobs", 0, "schedule")``."""

Place = tuple[int, int]
"""Line and column, both from 1."""


@dataclass(frozen=True, slots=True)
class LintDocument:
    """One document of a file: a YAML document, a JSON body, a Terraform file, a Lua script.

    ``value`` holds plain values (of a Lua script its text; of Terraform ``{"resource": {type: {name: [{...}]}}, ...}`` as
    python-hcl2 writes it, without quotes); ``places`` and ``keys`` where they stand; ``text`` is the whole file, for fixes.
    ``shared`` are paths whose text is meant elsewhere too (YAML's anchors, aliases, merges); ``json``: the text is JSON.
    """

    file: str
    format: Format
    value: Any
    text: str = field(repr=False, default="")
    places: Mapping[KeyPath, Place] = field(repr=False, default_factory=dict)
    keys: Mapping[KeyPath, Place] = field(repr=False, default_factory=dict)
    first_line: int = 1
    shared: frozenset[KeyPath] = frozenset()
    json: bool = False

    def owns(self, path: KeyPath) -> bool:
        """Whether what is written at ``path`` is meant at ``path`` alone."""
        return not self.shared or all(
            path[:length] not in self.shared for length in range(len(path) + 1)
        )

    def place(self, path: KeyPath = (), *, key: bool = False) -> Place:
        """Of the value at ``path`` (or of its key), or of the nearest parent that is in the file."""
        while path and path not in self.places:
            path = path[:-1]
        return (self.keys.get(path) if key else None) or self.places.get(path, (self.first_line, 1))

    def at(self, *path: str | int) -> Any:
        """The value at ``path``; None where the path ends early."""
        value = self.value
        for part in path:
            if isinstance(value, dict):
                if part not in value:
                    return None
            elif not (
                isinstance(value, list)
                and isinstance(part, int)
                and -len(value) <= part < len(value)
            ):
                return None
            value = value[part]
        return value

    @property
    def kind(self) -> str:
        """A Kubernetes object's kind; "" for anything else."""
        found = self.at("kind") if self.format == "kubernetes" else None
        return found if isinstance(found, str) else ""

    @property
    def name(self) -> str:
        found = self.at("metadata", "name")
        return found if isinstance(found, str) else ""

    @property
    def namespace(self) -> str:
        found = self.at("metadata", "namespace")
        return found if isinstance(found, str) and found else "default"

    @property
    def says_namespace(self) -> bool:
        """Whether the namespace is written down, not left to whoever applies the object."""
        found = self.at("metadata", "namespace")
        return isinstance(found, str) and bool(found)
