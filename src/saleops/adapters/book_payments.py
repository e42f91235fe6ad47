"""The bundled payment provider: a book of charges in the orders database, for rehearsals and development.

It behaves as a real one does where that matters to us: a key captures once however often it is sent, tokens can be
declined, and some fail a few times before they work. What a token does is in its name:

    tok_declined...        declined
    tok_flaky, tok_flaky_3 busy the first times a key is sent (3 times; without a number 1 to 3, by key), then captured
    anything else          captured
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Protocol, TypeVar

from saleops.domain.repair import RowChange, Swap
from saleops.ports.orders import OrderBook
from saleops.ports.payments import (
    ChargeRequest,
    ChargeResult,
    ChargeVerdict,
    RefundRequest,
    RefundResult,
)
from saleops.ports.repair import BookRepair, Fate

T = TypeVar("T")

DECLINED_PREFIX = "tok_declined"
FLAKY_PREFIX = "tok_flaky"


class BookRunner(Protocol):
    """Who owns the thread of the orders database."""

    @property
    def book(self) -> OrderBook: ...

    async def run(self, call: Callable[..., T], *args: object) -> T: ...


class BookPayments:
    """A PaymentProvider whose ledger is ``OrderBook.charge``. It refunds through ``rows``, where that is given."""

    def __init__(self, runner: BookRunner, rows: BookRepair | None = None) -> None:
        self._runner = runner
        self._rows = rows
        self._failed: dict[str, int] = {}  # key -> times it was told "busy"; gone once it captured

    async def charge(self, requests: Sequence[ChargeRequest]) -> list[ChargeResult]:
        results: list[ChargeResult] = []
        good: list[tuple[str, str, int]] = []
        for request in requests:
            key = request.idempotency_key
            if request.amount_fen <= 0:
                results.append(ChargeResult(key, ChargeVerdict.DECLINED, reason="nothing to pay"))
            elif request.token.startswith(DECLINED_PREFIX):
                results.append(ChargeResult(key, ChargeVerdict.DECLINED, reason="card declined"))
            elif self._failed.get(key, 0) < failures_of(request.token, key):
                self._failed[key] = self._failed.get(key, 0) + 1
                results.append(ChargeResult(key, ChargeVerdict.BUSY, reason="try again"))
            else:
                good.append((key, request.order_id, request.amount_fen))
        if good:
            charges = await self._runner.run(self._runner.book.charge, good)
            key_of = {order_id: key for key, order_id, _ in good}
            for charge in charges:
                key = key_of[charge.order_id]
                self._failed.pop(key, None)
                results.append(
                    ChargeResult(key, ChargeVerdict.CAPTURED, charge_id=charge.charge_id)
                )
        return results

    async def refund(self, requests: Sequence[RefundRequest]) -> list[RefundResult]:
        if self._rows is None:
            raise ValueError("this provider was opened without the means to refund")
        results = []
        for request in requests:
            row: dict[str, int | str] = {
                "charge_id": request.charge_id,
                "order_id": request.order_id,
                "amount_fen": request.amount_fen,
            }
            captured, refunded = {**row, "state": "captured"}, {**row, "state": "refunded"}
            swap = Swap([RowChange("charges", request.charge_id, captured, refunded)])
            changed = await self._runner.run(self._rows.swap, swap)
            outcomes = {Fate.DONE: "refunded", Fate.ALREADY: "already"}
            outcome = outcomes.get(changed.fate, "refused")
            results.append(RefundResult(request.charge_id, outcome, changed.detail))
        return results


def failures_of(token: str, key: str) -> int:
    """How often ``key`` fails with ``token`` before it captures; the same for ever."""
    if not token.startswith(FLAKY_PREFIX):
        return 0
    number = token[len(FLAKY_PREFIX) :].strip("_")
    if number.isascii() and number.isdigit():
        return min(int(number[:4]), 1000)
    return 1 + blake2b(key.encode(), digest_size=1).digest()[0] % 3
