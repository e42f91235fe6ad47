"""What was submitted to the edge, kept so that a run that was killed is gone on with and nothing is submitted twice."""

from collections.abc import Sequence
from typing import Protocol

from saleops.domain.cloud.edge_history import Batch, EdgeHistory, TaskKind, UrlResult


class EdgeJournal(Protocol):
    """``submit`` is on the disk before the call leaves. Raises UpstreamError where nothing can be written."""

    @property
    def history(self) -> EdgeHistory:
        """All that was written, this run's lines included."""
        ...

    def begin(self, *, command: str, who: str, cloud: str) -> None:
        """A run begins."""
        ...

    def submit(
        self, kind: TaskKind, urls: Sequence[str], marks: Sequence[str], *, at_ms: int
    ) -> Batch:
        """A call with ``urls`` is about to leave; ``marks`` go with them."""
        ...

    def submitted(
        self, batch: Batch, tasks: Sequence[str], *, urls: Sequence[str] | None = None, at_ms: int
    ) -> None:
        """The call was carried out, for ``urls`` (all of the batch's by default), as ``tasks``."""
        ...

    def not_carried_out(self, batch: Batch, why: str, *, at_ms: int) -> None:
        """The call was refused, or the cloud has no trace of it."""
        ...

    def seen(self, batch: Batch, url: str, result: UrlResult) -> None:
        """What ``url`` came to in the end."""
        ...
