"""What work says while it runs. Logic never prints: it calls ``observe(event)``.

The screen, a journal and tests read the same events. ``Advanced.done`` is a running total, so an event that
gets lost loses nothing.
"""

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Started:
    """``task`` began; ``total`` is how many ``unit`` it will do, None where that is not known."""

    task: str
    total: int | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Advanced:
    """``done`` units of ``task`` are behind us (a running total, never a difference)."""

    task: str
    done: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """``task`` ended; ``ok`` says how, ``note`` holds one short sentence with the figure that matters."""

    task: str
    note: str = ""
    ok: bool = True


@dataclass(frozen=True, slots=True)
class Warned:
    """Something a person should know that does not stop the work."""

    message: str
    details: dict[str, str] = field(default_factory=dict)


Event = Started | Advanced | Finished | Warned


class Observer(Protocol):
    def __call__(self, event: Event) -> None: ...


def silent(event: Event) -> None:
    """The observer of callers who do not want to hear anything."""
