"""The trail of what people did to messages, in the orders database's journal: who, what was chosen, what came of it.

A run writes an entry before it acts (what was chosen), one before each portion (the ids it will touch) and one after the
last (the outcome). So whatever kills a run, the journal names everything it can have touched; a run without an
end was cut off. Entries are JSON, and the same entry written twice is there once.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from saleops.errors import SaleopsError
from saleops.events import Observer, Warned
from saleops.ports.orders import JournalEntry, OrderBook

PORTION = 100
"""Ids in one entry: far below what any database takes in one text."""

CUT_OFF = "cut off"


@dataclass(frozen=True)
class Run:
    """One run of a command as the journal tells it. ``outcome`` is "cut off" where the end is missing."""

    run_id: str
    at_ms: int
    who: str
    command: str
    selection: str
    outcome: str = CUT_OFF
    figures: dict[str, int] = field(default_factory=dict)
    ids: tuple[str, ...] = ()


class _Note(msgspec.Struct, omit_defaults=True):
    """The text of an entry. ``phase`` is "begin", "act" or "end"."""

    run: str
    phase: str
    sale: str
    selection: str = ""
    outcome: str = ""
    ids: list[str] = []
    figures: dict[str, int] = {}


class Trail:
    """Writes one run. Its calls block: a journal that lags behind the acts would be none."""

    def __init__(
        self,
        book: OrderBook,
        *,
        sale: str,
        who: str,
        command: str,
        now_ms: Callable[[], int],
        run_id: str = "",
    ) -> None:
        self.run_id = run_id or os.urandom(6).hex()
        self._book = book
        self._sale = sale
        self._who = who
        self._command = command
        self._now_ms = now_ms
        self._portions = 0

    def begin(self, selection: str, figures: dict[str, int]) -> None:
        self._write("begin", selection=selection, figures=figures)

    def act(self, ids: Sequence[str]) -> None:
        """These are touched next. At most PORTION of them."""
        self._portions += 1
        self._write("act", ids=list(ids))

    def end(self, outcome: str, figures: dict[str, int]) -> None:
        self._write("end", outcome=outcome, figures=figures)

    def end_early(self, error: BaseException, figures: dict[str, int], observe: Observer) -> None:
        """Say how a run ended early. The journal may be what failed: then the run stays "cut off" there."""
        outcome = "interrupted"
        if isinstance(error, SaleopsError):
            outcome = f"failed: {error.message}"
        elif isinstance(error, Exception):
            outcome = f"failed: {type(error).__name__}"
        try:
            self.end(outcome, figures)
        except SaleopsError as lost:
            observe(
                Warned(f"the journal does not know how run {self.run_id} ended: {lost.message}")
            )

    def _write(self, phase: str, **more: Any) -> None:
        note = _Note(self.run_id, phase, self._sale, **more)
        number = f"-{self._portions:04d}" if phase == "act" else ""
        self._book.write_journal(
            JournalEntry(
                entry_id=f"{self.run_id}-{phase}{number}",
                at_ms=self._now_ms(),
                who=self._who,
                command=self._command,
                text=msgspec.json.encode(note).decode(),
            )
        )


def runs_of(entries: Iterable[JournalEntry], *, commands: Iterable[str]) -> list[Run]:
    """The runs of ``commands`` among ``entries`` (newest first, as the journal gives them), newest first.

    What other commands wrote, or wrote in a way of their own, is passed over.
    """
    wanted = set(commands)
    begun: dict[str, Run] = {}
    ends: dict[str, _Note] = {}
    ids: dict[str, list[str]] = {}
    for entry in entries:
        if entry.command not in wanted:
            continue
        try:
            note = msgspec.json.decode(entry.text, type=_Note)
        except msgspec.DecodeError:
            continue
        if note.phase == "end":
            ends[note.run] = note
        elif note.phase == "act":
            ids.setdefault(note.run, []).extend(reversed(note.ids))
        else:
            begun[note.run] = Run(
                note.run,
                entry.at_ms,
                entry.who,
                entry.command,
                note.selection,
                figures=note.figures,
            )
    runs = []
    for run_id, run in begun.items():
        end = ends.get(run_id)
        runs.append(
            Run(
                run_id,
                run.at_ms,
                run.who,
                run.command,
                run.selection,
                end.outcome if end else CUT_OFF,
                {**run.figures, **(end.figures if end else {})},
                tuple(reversed(ids.get(run_id, []))),
            )
        )
    return runs
