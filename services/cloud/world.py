"""The state of the local cloud: things with an id, a kind, data, and a timeline of states on the world's clock.

Nothing runs in the background. A thing that is created knows when it will be Running; whoever looks later sees it so. A list
shows what was written only after ``list_lag_ms``, as the real lists do; a look at one id sees it at once. All of it is JSON,
so the world is saved after each change and is there again after a crash.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Phases = Sequence[tuple[str, float]]
"""States with the seconds each lasts, the last one for ever: ``[("Creating", 300), ("Running", 0)]``."""


class WorldClock(Protocol):
    def now_ms(self) -> int: ...


@dataclass(slots=True)
class Thing:
    """``data`` is what the product keeps of it: JSON values. ``timeline`` is (from when, state), ascending."""

    kind: str
    id: str
    born_ms: int
    data: dict[str, Any]
    timeline: list[tuple[int, str]]
    gone_ms: int | None = None  # when it is deleted
    seen_ms: int = 0  # when lists show it

    def state(self, now_ms: int) -> str:
        current = self.timeline[0][1]
        for at_ms, state in self.timeline:
            if at_ms > now_ms:
                break
            current = state
        return current


@dataclass(slots=True)
class World:
    """``changed`` is called after every change, before the answer leaves."""

    clock: WorldClock
    seed: str = "local"
    list_lag_ms: int = 3_000
    account: str = "1234567890123456"
    ids_count: int = 0
    things: dict[str, dict[str, Thing]] = field(default_factory=dict)  # kind -> id -> thing
    settings: dict[str, Any] = field(
        default_factory=dict
    )  # quotas, stock, prices that somebody changed
    changed: Callable[[], None] = lambda: None

    def now_ms(self) -> int:
        return self.clock.now_ms()

    def new_id(self, prefix: str, *, length: int = 17) -> str:
        """An id that looks like the cloud's own: ``new_id("vpc-")``. The same seed gives the same ids in the same order."""
        self.ids_count += 1
        digest = hashlib.sha256(f"{self.seed} {self.ids_count}".encode()).hexdigest()
        return prefix + f"t4n{int(digest, 16):x}"[:length]

    def create(
        self, kind: str, id: str, data: dict[str, Any], phases: Phases = (("Available", 0),)
    ) -> Thing:
        now_ms = self.now_ms()
        thing = Thing(
            kind, id, now_ms, data, _timeline(now_ms, phases), seen_ms=now_ms + self.list_lag_ms
        )
        self.things.setdefault(kind, {})[id] = thing
        self.changed()
        return thing

    def find(self, kind: str, id: str) -> Thing | None:
        """The thing, seen at once; None when it never was or is gone by now."""
        thing = self.things.get(kind, {}).get(id)
        return None if thing is None or self._gone(thing) else thing

    def each(self, kind: str, **data: Any) -> Iterator[Thing]:
        """All of ``kind`` that are there now, oldest first, whose data has these values: for counting and rules, without lag."""
        for thing in list(self.things.get(kind, {}).values()):
            if not self._gone(thing) and all(thing.data.get(k) == v for k, v in data.items()):
                yield thing

    def listed(self, kind: str, **data: Any) -> Iterator[Thing]:
        """As ``each``, for answers of list calls: what is younger than the lag is not there yet."""
        now_ms = self.now_ms()
        return (thing for thing in self.each(kind, **data) if thing.seen_ms <= now_ms)

    def state(self, thing: Thing) -> str:
        return thing.state(self.now_ms())

    def move(self, thing: Thing, phases: Phases) -> None:
        """From now on ``thing`` goes through ``phases``."""
        thing.timeline = _timeline(self.now_ms(), phases)
        self.changed()

    def update(self, thing: Thing, **data: Any) -> None:
        thing.data.update(data)
        self.changed()

    def remove(self, thing: Thing, *, state: str = "Deleting", after_s: float = 0) -> None:
        """``thing`` is in ``state`` and gone after ``after_s`` seconds."""
        now_ms = self.now_ms()
        thing.timeline = [(now_ms, state)]
        thing.gone_ms = now_ms + round(after_s * 1000)
        self.changed()

    def _gone(self, thing: Thing) -> bool:
        return thing.gone_ms is not None and thing.gone_ms <= self.now_ms()


def _timeline(now_ms: int, phases: Phases) -> list[tuple[int, str]]:
    timeline, at_ms = [], now_ms
    for state, lasts_s in phases:
        timeline.append((at_ms, state))
        at_ms += round(lasts_s * 1000)
    return timeline
