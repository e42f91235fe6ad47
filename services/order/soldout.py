"""Who needs not ask any more: SKUs that ran dry, remembered in the process.

After a SKU has sold out, most requests of a flash sale still want it. They are answered from this board without
touching Redis or the database, but for buyers who won: theirs may be a replay, and a replay must hear its first answer.
So an entry counts only once everybody who ever held units of the SKU is known too. Units come back (an unpaid order
is cancelled) and may be sold to others, so the board is refreshed in the background, never by a request.
"""

import msgspec

from saleops.ports.stock import UnitsLeft

SKUS_MAX = 10_000
BUYERS_MAX = 1_000_000
"""What the board may remember; a SKU beyond that is asked for in Redis as before."""


class Entry(msgspec.Struct, gc=False):
    """One dry SKU. ``buyers`` is None until it is known; ``releases`` is the count it was read at."""

    left: int
    buyers: frozenset[str] | None = None
    releases: int = -1


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

    def refuses(self, buyer: str, sku: str, units: int) -> bool:
        """Whether ``buyer`` can be told "sold out" at once."""
        entry = self.entries.get(sku)
        return (
            entry is not None
            and entry.left < units
            and entry.buyers is not None
            and buyer not in entry.buyers
        )

    def clear(self) -> None:
        self.entries.clear()
        self._remembered = 0

    def outdated(self, now: dict[str, UnitsLeft]) -> list[str]:
        """Take in what the store says now; SKUs with units leave. Returns those whose buyers must be read."""
        unread = []
        for sku, found in now.items():
            entry = self.entries.get(sku)
            if entry is None:
                continue
            if found.left > 0:
                del self.entries[sku]
                self._remembered -= len(entry.buyers or ())
                continue
            entry.left = 0
            if entry.releases != found.releases:
                unread.append(sku)
        return unread

    def remember(self, sku: str, buyers: frozenset[str], releases: int) -> None:
        """These ever held units of ``sku``, read after its count of releases was ``releases``."""
        entry = self.entries.get(sku)
        if entry is None:
            return
        more = len(buyers) - len(entry.buyers or ())
        if self._remembered + more > BUYERS_MAX:
            return
        self._remembered += more
        entry.buyers, entry.releases = buyers, releases
