"""What is for sale.

An item is one SKU with its price and its units. Items are read as a stream (a sale may have a million of
them), so everything that summarises them does it in one pass.
"""

import msgspec


class Item(msgspec.Struct, frozen=True, gc=False):
    """One SKU of the sale.

    ``price_fen`` is in whole hundredths of the currency, ``stock`` in whole units (0 or more),
    ``limit_per_buyer`` in units (0: no limit), ``popularity`` is a relative weight of demand (0 or more).
    """

    sku: str
    name: str
    price_fen: int
    stock: int
    limit_per_buyer: int = 0
    popularity: float = 1.0
    department: str = ""
    category: str = ""


SKU_MAX_LENGTH = 64
"""Characters in a SKU: letters, digits and ``. _ - : /`` (it is part of keys, URLs and table rows)."""

ITEMS_MAX = 2_000_000
"""Items in one sale: past this the seeding time alone (minutes) asks for several sales."""
