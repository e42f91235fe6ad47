"""Where the sizes of things before a sale are written down, before they are changed."""

from collections.abc import Mapping
from typing import Protocol

from saleops.domain.scale_records import Record


class ScaleJournal(Protocol):
    @property
    def records(self) -> Mapping[str, Record]:
        """By key, whatever was recorded and not restored yet."""
        ...

    def begin(self, *, command: str, who: str, cluster: str) -> None:
        """A run starts."""
        ...

    def record(self, key: str, record: Record) -> None:
        """Write ``record`` down, on the disk when this returns. The original of an earlier one stays."""
        ...

    def note(self, text: str) -> None:
        """Something a person said for a run: why the sale may go down before it opens."""
        ...

    def restored(self, key: str) -> None:
        """``key`` is what it was again."""
        ...
