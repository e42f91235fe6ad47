"""Who is asking: a buyer's verified token."""

from typing import Protocol

import msgspec


class TokenRefused(Exception):
    """The token does not let anybody in. Why is for the log alone, never for the answer."""


class KeysNotReady(TokenRefused):
    """The token names a key that we do not hold, and a fresh key set is on its way: worth another try in a second."""


class Identity(msgspec.Struct, frozen=True):
    """The buyer a token speaks for (its ``sub``); ``expires_s`` is Unix seconds."""

    buyer: str
    expires_s: int


class TokenVerifier(Protocol):
    def verify(self, token: str, *, now_s: float) -> Identity:
        """The identity behind ``token``. Raises TokenRefused. Fast for a token seen before."""
        ...
