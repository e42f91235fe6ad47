"""What was submitted to the edge and what became of it, as a journal's lines tell it.

A batch is one call: its URLs, a mark of each page's content, and the task ids that the call answered. A task may stand for
one URL or for several; what became of a URL is therefore kept by URL, as the cloud's answers name them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

TaskKind = Literal["refresh", "preload"]
COMPLETE, FAILED, GONE = "Complete", "Failed", "Gone"
"""How a URL's task ends; GONE is ours: the cloud knows nothing of it."""


@dataclass(frozen=True, slots=True)
class UrlResult:
    status: str
    task: str = ""
    note: str = ""
    at_ms: int = 0


@dataclass(slots=True)
class Batch:
    """``marks`` go with ``urls``. ``tasks`` is None while nobody knows whether the call was carried out."""

    number: int
    kind: TaskKind
    urls: tuple[str, ...]
    marks: tuple[str, ...]
    at_ms: int
    tasks: tuple[str, ...] | None = None
    refused: bool = False
    results: dict[str, UrlResult] = field(default_factory=dict)

    @property
    def waiting(self) -> list[str]:
        """URLs of which nothing final is known."""
        return [url for url in self.urls if url not in self.results]

    @property
    def tasks_to_ask(self) -> list[str]:
        """Ids that may still say something new."""
        if not self.tasks or not self.waiting:
            return []
        if len(self.tasks) < len(self.urls):
            return list(self.tasks)
        ended = {result.task for result in self.results.values()}
        return [task for task in self.tasks if task not in ended]


@dataclass(frozen=True, slots=True)
class Submitted:
    """A URL's newest submission."""

    batch: Batch
    mark: str
    result: UrlResult | None


class EdgeHistory:
    """``take`` folds one line of the journal in."""

    def __init__(self, lines: Iterable[Mapping[str, Any]] = ()) -> None:
        self.batches: dict[int, Batch] = {}
        self._newest: dict[tuple[TaskKind, str], tuple[Batch, str]] = {}
        for line in lines:
            self.take(line)

    @property
    def last_number(self) -> int:
        return max(self.batches, default=0)

    @property
    def unclear(self) -> list[Batch]:
        """Calls that were to be sent and of which nobody knows the outcome."""
        return [each for each in self.batches.values() if each.tasks is None and not each.refused]

    def newest(self, kind: TaskKind, url: str) -> Submitted | None:
        found = self._newest.get((kind, url))
        if found is None:
            return None
        batch, mark = found
        return Submitted(batch, mark, batch.results.get(url))

    def take(self, line: Mapping[str, Any]) -> None:
        kind = line.get("type")
        if kind == "submit":
            batch = Batch(
                int(line["number"]),
                line["kind"],
                tuple(line["urls"]),
                tuple(line["marks"]),
                int(line["at_ms"]),
            )
            self.batches[batch.number] = batch
            return
        known = self.batches.get(int(line.get("number", 0)))
        if known is None:
            return
        if kind == "submitted":
            known.tasks = tuple(line["tasks"])
            carried_out = set(line.get("urls", known.urls))
            for url, mark in zip(known.urls, known.marks, strict=True):
                if url in carried_out:
                    self._newest[known.kind, url] = (known, mark)
            if len(carried_out) < len(known.urls):
                known.marks = tuple(
                    mark
                    for url, mark in zip(known.urls, known.marks, strict=True)
                    if url in carried_out
                )
                known.urls = tuple(url for url in known.urls if url in carried_out)
        elif kind == "not carried out":
            known.refused = True
        elif kind == "seen":
            result = UrlResult(
                line["status"], line.get("task", ""), line.get("note", ""), int(line["at_ms"])
            )
            known.results[line["url"]] = result
