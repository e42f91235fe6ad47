"""What was done to a sale by hand or on its own: the journal of the orders database, run by run, newest first."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

import msgspec

from saleops.errors import ConfigError
from saleops.operations.audit import Run, runs_of
from saleops.ports.orders import JournalEntry, OrderBook

ENTRIES_READ = 100_000
"""Newest entries that are looked through; a run has three and one more for every 100 ids."""
REBUILD = "rebuild"


@dataclass(frozen=True)
class JournalLog:
    """``more``: older runs that were found and not taken in."""

    schema: ClassVar[str] = "saleops/journal/v1"

    sale: str
    runs: tuple[Run, ...]
    more: int


class _Rebuilt(msgspec.Struct):
    """What is shown of a rebuild's entry (saleops/rebuild/v1)."""

    sale: str
    action: str
    reason: str
    old_epoch: str
    epoch: str
    skus_count: int
    orders_count: int


def read_journal(
    sale: str, book: OrderBook, *, limit: int, commands: Collection[str] = ()
) -> JournalLog:
    """The newest ``limit`` runs, of ``commands`` alone where any are named. Raises ConfigError for a sale that is not there.

    A journal belongs to a database, and a database to one sale."""
    if book.sale(sale) is None:
        raise ConfigError(
            f"the orders database knows no sale {sale!r}; nothing was done",
            hint="Check --database and --state-dir, or run `saleops seed` first.",
        )
    entries = book.journal(limit=ENTRIES_READ)
    trails = runs_of(entries, commands={entry.command for entry in entries} - {REBUILD})
    rebuilds = [run for entry in entries if (run := _rebuilt(entry)) is not None]
    runs = [
        run
        for run in sorted((*trails, *rebuilds), key=lambda run: run.at_ms, reverse=True)
        if not commands or run.command in commands
    ]
    return JournalLog(sale, tuple(runs[:limit]), max(0, len(runs) - limit))


def _rebuilt(entry: JournalEntry) -> Run | None:
    if entry.command != REBUILD:
        return None
    try:
        text = msgspec.json.decode(entry.text, type=_Rebuilt)
    except msgspec.DecodeError:
        return None  # written by hand, or by a newer saleops: it is no run we can read
    return Run(
        entry.entry_id,
        entry.at_ms,
        entry.who,
        REBUILD,
        f"{text.reason}; epoch {text.old_epoch} -> {text.epoch}",
        text.action,
        {"skus": text.skus_count, "orders": text.orders_count},
    )
