"""Who answers which API: a product module registers one function an API with ``@answers("vpc", "CreateVpc")``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from saleops.cloudapi import Api
from saleops.services.cloud.world import World


class ApiError(Exception):
    """An answer that refuses: HTTP status, the API's code, a message for people, and extra fields of the document."""

    def __init__(self, status: int, code: str, message: str, **extra: Any) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.extra = extra


@dataclass(frozen=True, slots=True)
class LocalCall:
    """A call that passed its checks: signature, known names, required ones, types. Values are Python's own;
    the idempotency token stays where the caller put it (the core answers repeats by itself)."""

    api: Api
    region: str
    params: Mapping[str, Any]
    path: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    request_id: str = ""
    account: str = ""
    key_id: str = ""  # the access key that signed it
    wall_ms: int = 0  # the machine's time, which keys expire by


Answerer = Callable[[LocalCall, World], dict[str, Any] | list[Any]]
"""Returns the answer's document (a list where ACK answers one) without its request id: the core adds it, and the envelope of
ROA products."""

ANSWERERS: dict[tuple[str, str], Answerer] = {}


def answers(product: str, api: str) -> Callable[[Answerer], Answerer]:
    def register(answerer: Answerer) -> Answerer:
        if (product, api) in ANSWERERS:
            raise ValueError(f"{product} {api} is answered twice")
        ANSWERERS[product, api] = answerer
        return answerer

    return register
