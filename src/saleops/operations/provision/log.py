"""What the journal of a sale's cloud says, for people: every write and what became of it, and the totals."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from saleops.domain.cloud.journal import Acceptance, acceptance_of


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A write. ``outcome`` is "ok", the error's code, or "unresolved": nobody has heard what became of it."""

    at: str
    key: str
    action: str
    product: str
    api: str
    outcome: str
    attempts: int
    retries: Mapping[str, int]
    took_ms: int
    request_id: str
    token: str
    ids: Mapping[str, str]
    message: str


@dataclass(frozen=True, slots=True)
class LogTotals:
    """Over the whole journal. ``calls`` are answered or given up; ``retries`` come on top of them. ``made_good`` are writes that
    were refused and that a later call for the same resource did; ``failed`` are those that none did."""

    runs: int
    calls: int
    reads: int
    writes: int
    retries: int
    throttled: int
    made_good: int
    failed: int
    unresolved: int


@dataclass(frozen=True, slots=True)
class ProvisionLog:
    """The journal of a sale in one cloud, oldest first."""

    schema: ClassVar[str] = "saleops/provision-log/v1"

    sale: str
    journal: str
    totals: LogTotals
    retries: Mapping[str, int]
    accepted: tuple[Acceptance, ...]
    entries: tuple[LogEntry, ...]


def provision_log(
    lines: Iterable[Mapping[str, Any]],
    *,
    sale: str,
    journal: str,
    limit: int,
    failed_only: bool = False,
) -> ProvisionLog:
    """Tell the ``lines`` of a journal; of the writes the last ``limit``, with ``failed_only`` of those not done. Pure."""
    intents: dict[int, Mapping[str, Any]] = {}
    outcomes: dict[int, Mapping[str, Any]] = {}
    accepted: dict[tuple[str, str], Acceptance] = {}
    retries: Counter[str] = Counter()
    runs = reads = throttled = repeats = 0
    refused: set[str] = (
        set()
    )  # calls of this run that came back; whoever sends one again repeats it
    for line in lines:
        match line.get("type"):
            case "run":
                runs += 1
                refused.clear()
            case "intent":
                intents[int(line["number"])] = line
                repeats += _same_call(line) in refused
            case "outcome":
                intent = intents.get(int(line["number"]))
                if intent is not None and line.get("attempts", 0):
                    (refused.discard if line["ok"] else refused.add)(_same_call(intent))
                settled = line.get("attempts", 0) == 0
                before = outcomes.get(int(line["number"]), {})
                outcomes[int(line["number"])] = {**before, **line} if settled else line
            case "accepted":
                one = acceptance_of(line)
                accepted[one.key, one.field] = one
            case "read":
                reads += 1
        if line.get("type") in ("read", "outcome"):
            retries.update(line.get("retries", {}))
            throttled += line.get("throttled", 0)
    entries = [_entry(line, outcomes.get(number)) for number, line in sorted(intents.items())]
    undone = [
        number
        for number, told in outcomes.items()
        if number in intents and not told["ok"] and told.get("kind") not in ("missing", "unknown")
    ]
    done: dict[tuple[str, str], int] = {}  # the last write of each kind that was carried out
    for number, told in outcomes.items():
        if number in intents and told["ok"]:
            what = (str(intents[number]["key"]), str(intents[number]["action"]))
            done[what] = max(number, done.get(what, 0))
    made_good = sum(
        number < done.get((str(intents[number]["key"]), str(intents[number]["action"])), 0)
        for number in undone
    )
    totals = LogTotals(
        runs,
        reads + len(intents) - repeats,
        reads,
        len(intents) - repeats,
        retries.total() + repeats,
        throttled,
        made_good,
        len(undone) - made_good,
        sum(entry.outcome == UNRESOLVED for entry in entries),
    )
    return ProvisionLog(
        sale,
        journal,
        totals,
        dict(sorted(retries.items())),
        tuple(accepted.values()),
        tuple([one for one in entries if not failed_only or one.outcome != "ok"][-limit:]),
    )


UNRESOLVED = "unresolved"


def _same_call(intent: Mapping[str, Any]) -> str:
    what = [intent["key"], intent["action"], intent["call"]]
    return json.dumps(what, sort_keys=True, default=str)


def _entry(intent: Mapping[str, Any], outcome: Mapping[str, Any] | None) -> LogEntry:
    known = outcome or {}
    if outcome is None or (not outcome["ok"] and outcome.get("kind") == "unknown"):
        said = UNRESOLVED
    else:
        said = "ok" if outcome["ok"] else str(outcome.get("code", "failed"))
    return LogEntry(
        str(intent.get("t", "")),
        str(intent["key"]),
        str(intent["action"]),
        str(intent["call"].get("product", "")),
        str(intent["call"].get("api", "")),
        said,
        int(known.get("attempts", 0)),
        dict(known.get("retries", {})),
        int(known.get("took_ms", 0)),
        str(known.get("request_id", "")),
        str(intent.get("token", "")),
        dict(known.get("ids", {})),
        str(known.get("message", "")),
    )
