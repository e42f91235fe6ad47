"""Where what was asked of a cloud is written down, before it is asked."""

from collections.abc import Mapping
from typing import Any, Protocol

from saleops.domain.cloud.journal import Acceptance, Action, History, Outcome


class CloudJournal(Protocol):
    @property
    def history(self) -> History:
        """What all lines come to, those of this run included."""
        ...

    def begin(self, *, command: str, who: str, cloud: str) -> None:
        """A run starts."""
        ...

    def intend(
        self, key: str, action: Action, call: Mapping[str, Any], *, token: str, at_ms: int
    ) -> int:
        """Write down a write before it leaves, on the disk when this returns. Returns the number of its outcome."""
        ...

    def conclude(self, number: int, outcome: Outcome, *, at_ms: int) -> None:
        """Write down what became of the write ``number``."""
        ...

    def note_read(self, call: Mapping[str, Any], outcome: Outcome, *, at_ms: int) -> None:
        """Count a reading call."""
        ...

    def accept(self, acceptance: Acceptance) -> None:
        """A drifted field may stay as it is."""
        ...
