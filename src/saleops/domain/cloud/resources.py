"""A cloud resource of a sale: how to find it, make it, compare it, change it and remove it.

A resource performs nothing. ``look`` is a generator of reading calls that is sent their answers; the other methods
return calls. Whoever drives it (operations/provision) sends them, retries, waits and keeps the journal. So a dry run,
a run, a drift report and a teardown all use the same few lines of knowledge.
"""

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Literal, Protocol

from saleops.domain.cloud.calls import Answer, Call

Group = Literal["network", "cluster", "nodepool", "database", "cache", "queue", "edge"]
GROUPS: tuple[Group, ...] = ("network", "cluster", "nodepool", "database", "cache", "queue", "edge")

SALE_TAG = "saleops:sale"
"""The tag that says whose a resource is; its value is the sale's name."""


class Condition(Enum):
    """What may be done with a resource that was found."""

    READY = "ready"
    PENDING = "pending"  # on its way to READY by itself: wait
    LEAVING = "leaving"  # being deleted: wait until it is gone
    FAILED = "failed"  # will not become READY by itself; ``Found.problem`` says why
    FOREIGN = "foreign"  # has our name and not our tag: never touched


@dataclass(frozen=True, slots=True)
class Found:
    """A resource as the cloud shows it. ``state`` is the API's own word. ``outputs`` holds ``id`` and what other
    resources need of this one; ``fields`` the observed values of what ``Resource.desired`` names, in the same spelling."""

    condition: Condition
    state: str
    outputs: Mapping[str, str]
    fields: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


Look = Generator[Call, Answer, Found | None]
"""Yields reading calls and is sent their answers; returns None where the resource is not there. A call that fails is
thrown into it as CloudError (``error.kind == "missing"`` for a thing that is not there)."""


class Known(Protocol):
    """What is known of other resources. In a dry run, outputs of what does not exist yet read like ``${vpc.id}``."""

    def __call__(self, key: str, output: str = "id") -> str: ...


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for READY: seconds until the first look, between looks, and in all."""

    first_s: float = 2.0
    every_s: float = 5.0
    timeout_s: float = 600.0


class Resource(ABC):
    """One resource. ``key`` is its name within the sale ("vswitch/node/ap-southeast-1a"); people read ``kind`` and ``name``."""

    group: ClassVar[Group]
    kind: ClassVar[str]  # "vSwitch"
    patience: ClassVar[Patience] = Patience()
    on_failure: ClassVar[str] = ""  # what to do when it fails or takes too long, best as a command

    key: str
    name: str
    needs: tuple[str, ...] = ()  # keys that must be READY before this one is looked for or made
    comes_with: ClassVar[str] = ""  # the key of a need that brings this one along when it is made

    @abstractmethod
    def look(self, known: Known) -> Look: ...

    @abstractmethod
    def desired(self, known: Known) -> Mapping[str, Any]:
        """What must be true of it; compared with ``Found.fields``, name by name."""

    @abstractmethod
    def create(self, known: Known) -> Call:
        """The one call that makes it."""

    def change(self, known: Known, found: Found, fields: Sequence[str]) -> Sequence[Call]:
        """The calls that bring ``fields`` (those that drifted) back; empty where only a new one would have them."""
        return ()

    @abstractmethod
    def delete(self, known: Known, found: Found) -> Sequence[Call]:
        """The calls that remove it; empty where it goes with another one."""
