"""Who is asking, for the services: ``Authorization: Bearer <JWT>`` in, an Identity out, or a 401 that tells nothing.

Why a token was refused goes to the log at debug level alone: to a stranger an expired, a forged and a foreign token
look the same. The token itself is never logged.
"""

import logging

from saleops.domain.orders import Order
from saleops.ports.clock import Clock
from saleops.ports.tokens import Identity, KeysNotReady, TokenRefused, TokenVerifier
from saleops.services.web import Refusal, Request

log = logging.getLogger("saleops.auth")


class Authenticator:
    """Says which buyer a request speaks for."""

    def __init__(self, verifier: TokenVerifier, clock: Clock) -> None:
        self._verifier = verifier
        self._clock = clock

    def identify(self, request: Request) -> Identity:
        """The buyer behind ``request``. Raises Refusal: 401 without a good token, 503 while new keys are fetched."""
        header: str = request.headers.get("authorization") or ""
        if header[:7] == "Bearer ":
            token = header[7:].strip(" ")
        else:
            scheme, _, token = header.partition(" ")
            token = token.strip(" ") if scheme.lower() == "bearer" else ""
        try:
            if not token:
                raise TokenRefused("no bearer token")
            return self._verifier.verify(token, now_s=self._clock.now_ms() / 1000)
        except KeysNotReady as reason:
            log.debug("%s %s: %s", request.method, request.path, reason)
            raise Refusal(
                503, "try-again", "Please try again in a moment", headers=[("retry-after", "1")]
            ) from None
        except TokenRefused as reason:
            log.debug("%s %s: refused: %s", request.method, request.path, reason)
            raise Refusal(
                401, "unauthorized", "Sign in first", headers=[("www-authenticate", "Bearer")]
            ) from None


def own_order(identity: Identity, order: Order) -> Order:
    """``order`` if it is the buyer's own. Raises Refusal 403 otherwise, which says nothing about the order."""
    if order.buyer != identity.buyer:
        log.debug("%s asked for order %s of another buyer", identity.buyer, order.order_id)
        raise Refusal(403, "forbidden", "Not yours")
    return order
