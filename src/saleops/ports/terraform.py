"""Terraform or OpenTofu in one folder: plan it, apply exactly that plan."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from saleops.events import Observer


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """``action`` is terraform's word: create, update, delete, replace, read."""

    address: str
    action: str


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """A plan as it is in ``file``, which is what will be applied."""

    file: str
    add: int
    change: int
    remove: int
    changes: tuple[PlannedChange, ...]

    @property
    def empty(self) -> bool:
        return not (self.add or self.change or self.remove)


class Terraform(Protocol):
    @property
    def tool(self) -> str:
        """ "terraform" or "tofu"."""
        ...

    @property
    def version(self) -> str: ...

    @property
    def folder(self) -> Path: ...

    def prepare(self, *, observe: Observer) -> None:
        """Fetch what the module needs (``init``). Raises UpstreamError."""
        ...

    def plan(self, *, observe: Observer) -> SavedPlan:
        """What applying would do now. Raises UpstreamError; nothing was changed."""
        ...

    def apply(self, plan: SavedPlan, *, observe: Observer, timeout_s: float | None) -> None:
        """Carry out ``plan``, the very file. A Ctrl-C lets the step that runs finish and its state be written, then
        KeyboardInterrupt goes on. Raises UpstreamError: what was made is in the state, and the next run goes on."""
        ...

    def outputs(self) -> Mapping[str, Any]:
        """The module's outputs, without sensitive ones. Raises UpstreamError."""
        ...

    def ids(self) -> frozenset[str]:
        """The ids of everything in the state, the parts of a composed id (``stb-1:snat-2``) too. Raises UpstreamError."""
        ...
