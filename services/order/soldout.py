"""Who needs not ask any more: SKUs that ran dry, remembered in the process.

After a SKU has sold out, most requests of a flash sale still want it. They are answered from this board without
touching Redis or the database, but for buyers who won: theirs may be a replay, and a replay must hear its first answer.
So an entry counts only once everybody who ever held units of the SKU is known too.

Units come back (an unpaid order is cancelled) and are sold to others, whose replays must be heard as well. The board is
refreshed in the background, never by a request, and an entry is believed for ``BELIEVED_S`` after the question that
confirmed it. Units of a dry SKU are not sold again before ``RESALE_PAUSE_MS``, which is longer: by then every
worker has either heard of them or no longer believes its entry and asks.
"""

import msgspec

from saleops.ports.stock import UnitsLeft

SKUS_MAX = 10_000
BUYERS_MAX = 1_000_000
"""What the board may remember; a SKU beyond that is asked for in Redis as before."""


BELIEVED_S = 0.9


class Entry(msgspec.Struct, gc=False):
    """One dry SKU. ``buyers`` is None until it is known; ``releases`` is the count it was read at, and the store was
    asked at ``asked_s`` (monotonic)."""

    left: int
    buyers: frozenset[str] | None = None
    releases: int = -1
    asked_s: float = 0.0


class SoldOutBoard:
    """SKU -> units left when last heard, and who held some."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self._remembered = 0

    def note(self, sku: str, left: int) -> None:
        """A reservation heard "sold out" with ``left`` units in the whole SKU."""
        entry = self.entries.get(sku)
        if entry is not None:
            entry.left = left
        elif len(self.entries) < SKUS_MAX:
            self.entries[sku] = Entry(left)

    def refuses(self, buyer: str, sku: str, units: int, now_s: float) -> bool:
        """Whether ``buyer`` can be told "sold out" at once. ``now_s`` is monotonic."""
        entry = self.entries.get(sku)
        return (
            entry is not None
            and entry.left < units
            and entry.buyers is not None
            and buyer not in entry.buyers
            and now_s - entry.asked_s < BELIEVED_S
        )

    def clear(self) -> None:
        self.entries.clear()
        self._remembered = 0

    def outdated(self, now: dict[str, UnitsLeft], *, asked_s: float) -> list[str]:
        """Take in what the store said when asked at ``asked_s``; SKUs with units leave. Returns those whose buyers
        must be read."""
        unread = []
        for sku, found in now.items():
            entry = self.entries.get(sku)
            if entry is None:
                continue
            if found.left > 0:
                del self.entries[sku]
                self._remembered -= len(entry.buyers or ())
                continue
            entry.left, entry.asked_s = 0, asked_s
            if entry.releases != found.releases:
                self._remembered -= len(entry.buyers or ())
                entry.buyers = None  # who holds units has changed: ask until it is known again
                unread.append(sku)
        return unread

    def remember(self, sku: str, buyers: frozenset[str], releases: int) -> None:
        """These ever held units of ``sku``, read after its count of releases was ``releases``."""
        entry = self.entries.get(sku)
        if entry is None:
            return
        if self._remembered + len(buyers) > BUYERS_MAX:
            return
        self._remembered += len(buyers) - len(entry.buyers or ())
        entry.buyers, entry.releases = buyers, releases
