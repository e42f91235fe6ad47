"""What each kind of problem means and what to do about it: the texts behind /problems/<slug>.

A slug is a contract with programs: it never changes its meaning and is never reused. A test finds every slug that the
services use and wants it here.
"""

from collections.abc import Mapping

PROBLEMS: Mapping[str, str] = {
    "bad-gateway": "502. The service behind the gateway broke off before it had answered. A GET may be repeated; an order "
    "may be repeated with the same Idempotency-Key, and is placed once.",
    "broken-off": "400. The connection ended before the whole body had come. Nothing was done; send it again.",
    "bug": "500. We made a mistake; it is in our log. An order may be repeated with the same Idempotency-Key, and is "
    "placed once.",
    "busy": "503. More requests than we can take at once. Nothing was done; come again after Retry-After seconds.",
    "closed": "403. The sale is over; no more orders are taken. Orders that were placed go on.",
    "declined": "402. The payment provider declined. The units stay yours until pay_before_ms: try another payment.",
    "forbidden": "403. The token is good, but this belongs to somebody else.",
    "idempotency-key": "400. POST /orders needs a header Idempotency-Key: 1 to 128 visible ASCII characters, new for "
    "each order, the same when a request is repeated.",
    "invalid-body": "422. The body is JSON, but a field is missing, unknown or does not fit; detail says which.",
    "invalid-parameter": "400. A query parameter does not fit; detail says what does.",
    "key-reused": "422. This Idempotency-Key belongs to an order for something else. Use a new key for a new order.",
    "length-required": "411. A body needs a Content-Length; chunked bodies are not taken. Nothing was done.",
    "method": "405. This path does not know the method; the header Allow lists those it knows.",
    "no-such-order": "404. There is no order with this id.",
    "no-such-page": "404. The path leads nowhere; /openapi.json lists those that lead somewhere.",
    "no-such-product": "404. There is no product with this SKU.",
    "not-json": "400. The body is not JSON; detail says where it stops being it.",
    "not-open": "403. The sale has not opened yet. Retry-After says in how many seconds it does.",
    "order-cancelled": "409. The order was not paid in time and its units are on sale again. Money that was taken is given "
    "back.",
    "over-limit": "409. Together with your other orders this would be more units than one buyer may have.",
    "payment-under-way": "409. The order is being paid right now. Ask for its state in a moment.",
    "reservation-expired": "409. The order took too long and its units are on sale again. Order once more, with a new "
    "Idempotency-Key.",
    "sale-paused": "503. The sale is paused while we make sure that nothing is sold twice. Nothing was done; come again "
    "after Retry-After seconds.",
    "sold-out": "409. Every unit is sold or held. Held units come back when their buyers do not pay: it can be worth asking "
    "again later.",
    "starting": "503. The gateway is starting. Come again after Retry-After seconds.",
    "too-large": "413. The body is larger than 64 KiB.",
    "too-many-requests": "429. You ask faster than one buyer may. Come again after Retry-After seconds.",
    "too-slow": "504. The service did not answer in time, and what became of the request is unknown. Repeat it with the same "
    "Idempotency-Key: an order is placed once.",
    "try-again": "503. Something we need is out of reach for a moment. Repeat the request as it is, an order with the same "
    "Idempotency-Key: it is placed once.",
    "unauthorized": "401. There is no token, or it is not (or no longer) good. Which, we do not say.",
    "unknown-sku": "404. This SKU is not in the sale.",
}
