"""The payment provider: takes the buyer's money, once for each order.

The idempotency key is the order id, and it is what makes a crash at any point harmless: a key captures once in its
life, and the first definite answer (captured or declined) to a key with a token is the answer to every repeat of
that pair. A key that was declined may be tried with another token.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

import msgspec


class ChargeVerdict(Enum):
    CAPTURED = "captured"
    DECLINED = "declined"  # the provider refused for good: this token will not pay
    BUSY = "busy"  # nothing definite: ask again with the same key and token


class ChargeRequest(msgspec.Struct, frozen=True, gc=False):
    """Take ``amount_fen`` (more than 0) with ``token`` under ``idempotency_key``."""

    idempotency_key: str
    order_id: str
    amount_fen: int
    token: str


class ChargeResult(msgspec.Struct, frozen=True, gc=False):
    """The answer to one request. ``charge_id`` is the provider's own, ``reason`` says why not."""

    idempotency_key: str
    verdict: ChargeVerdict
    charge_id: str = ""
    reason: str = ""


class RefundRequest(msgspec.Struct, frozen=True, gc=False):
    """Give back all of ``charge_id``, which took ``amount_fen`` for ``order_id``."""

    charge_id: str
    order_id: str
    amount_fen: int


class RefundResult(msgspec.Struct, frozen=True, gc=False):
    """The answer to one request: "refunded" now, "already", or "refused" with ``reason``."""

    charge_id: str
    outcome: str
    reason: str = ""


class Refunds(Protocol):
    """The side of a payment provider that only a repair needs."""

    async def refund(self, requests: Sequence[RefundRequest]) -> list[RefundResult]:
        """An answer for each request, in order. The charge's id is the key: sent twice it gives back once. Raises
        UpstreamError when the provider as a whole cannot be reached; the same requests may be sent again."""
        ...


class PaymentProvider(Protocol):
    async def charge(self, requests: Sequence[ChargeRequest]) -> list[ChargeResult]:
        """An answer for each request, in any order. Raises UpstreamError when the provider as a whole cannot be
        reached: then each outcome is unknown, and the same requests may be sent again."""
        ...
