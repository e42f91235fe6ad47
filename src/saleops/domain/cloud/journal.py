"""What a journal of cloud calls holds, and what follows from its lines.

A write has two lines: the intent, before it leaves, and the outcome, after its answer was read. An intent without an outcome, or
whose outcome is "unknown", is unresolved: the cloud may have carried it out or not. Whoever goes on repeats it with the same
token, or looks first. Reads have one line, for the totals.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Action = Literal["create", "change", "delete"]


@dataclass(frozen=True, slots=True)
class Intent:
    """A write that is about to leave. ``call`` is its document without secrets, ``at_ms`` the cloud's time."""

    number: int
    key: str
    action: Action
    call: Mapping[str, Any]
    token: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call. ``code`` is empty for success; ``retries`` counts the repeats by the code that caused them."""

    ok: bool
    code: str = ""
    kind: str = ""  # of CloudError; "" for success
    message: str = ""
    request_id: str = ""
    attempts: int = 1
    retries: Mapping[str, int] = field(default_factory=dict)
    throttled: int = 0  # of the retries
    took_ms: int = 0
    ids: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Somebody looked at a drifted field and said that it may stay. Holds for this wanted and this seen value alone."""

    key: str
    field: str
    wanted: Any
    seen: Any
    who: str
    identity: str
    reason: str
    at: str


@dataclass(slots=True)
class History:
    """What the lines of a journal come to. ``take`` them in order."""

    lines: int = 0
    last_number: int = 0
    last_write_ms: int = 0
    open_intents: dict[int, Intent] = field(default_factory=dict)
    accepted: dict[tuple[str, str], Acceptance] = field(default_factory=dict)

    def take(self, line: Mapping[str, Any]) -> None:
        self.lines += 1
        match line.get("type"):
            case "intent":
                intent = intent_of(line)
                self.last_number = max(self.last_number, intent.number)
                self.last_write_ms = max(self.last_write_ms, intent.at_ms)
                self.open_intents[intent.number] = intent
            case "outcome":
                self.last_write_ms = max(self.last_write_ms, int(line.get("at_ms", 0)))
                if line.get("kind") != "unknown":
                    self.open_intents.pop(int(line["number"]), None)
            case "accepted":
                one = acceptance_of(line)
                self.accepted[one.key, one.field] = one

    def unresolved(self, key: str, action: Action) -> Intent | None:
        """The last intent for ``key`` of which nobody knows what became."""
        mine = [one for one in self.open_intents.values() if (one.key, one.action) == (key, action)]
        return mine[-1] if mine else None

    def accepts(self, key: str, name: str, wanted: Any, seen: Any) -> bool:
        one = self.accepted.get((key, name))
        return one is not None and (one.wanted, one.seen) == (wanted, seen)


def history_of(lines: Iterable[Mapping[str, Any]]) -> History:
    history = History()
    for line in lines:
        history.take(line)
    return history


def intent_of(line: Mapping[str, Any]) -> Intent:
    return Intent(
        int(line["number"]),
        str(line["key"]),
        line["action"],
        line["call"],
        str(line.get("token", "")),
        int(line.get("at_ms", 0)),
    )


def acceptance_of(line: Mapping[str, Any]) -> Acceptance:
    return Acceptance(
        key=str(line["key"]),
        field=str(line["field"]),
        wanted=line.get("wanted"),
        seen=line.get("seen"),
        who=str(line.get("who", "")),
        identity=str(line.get("identity", "")),
        reason=str(line.get("reason", "")),
        at=str(line.get("at", "")),
    )
