"""What the journal of a sale's cloud says, for people: every write and what became of it, and the totals."""

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
    """Over the whole journal. ``calls`` are answered or given up; ``retries`` come on top of them."""

    runs: int
    calls: int
    reads: int
    writes: int
    retries: int
    throttled: int
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
    lines: Iterable[Mapping[str, Any]], *, sale: str, journal: str, limit: int
) -> ProvisionLog:
    """Tell the ``lines`` of a journal; of the writes the last ``limit``. Pure."""
    intents: dict[int, Mapping[str, Any]] = {}
    outcomes: dict[int, Mapping[str, Any]] = {}
    accepted: dict[tuple[str, str], Acceptance] = {}
    retries: Counter[str] = Counter()
    runs = reads = throttled = failed = 0
    for line in lines:
        match line.get("type"):
            case "run":
                runs += 1
            case "intent":
                intents[int(line["number"])] = line
            case "outcome":
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
            failed += not line["ok"] and line.get("kind") != "missing"
    entries = [_entry(line, outcomes.get(number)) for number, line in sorted(intents.items())]
    totals = LogTotals(
        runs,
        reads + len(intents),
        reads,
        len(intents),
        retries.total(),
        throttled,
        failed,
        sum(entry.outcome == UNRESOLVED for entry in entries),
    )
    return ProvisionLog(
        sale,
        journal,
        totals,
        dict(sorted(retries.items())),
        tuple(accepted.values()),
        tuple(entries[-limit:]),
    )


UNRESOLVED = "unresolved"


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
