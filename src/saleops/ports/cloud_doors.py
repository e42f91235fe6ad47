"""What a knock at an endpoint of the cloud, without a signature, tells."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Knock:
    """``problem`` is empty where somebody answered, whatever it was. ``date_ms`` is the answer's Date header, None where
    it has none; ``at_ms`` is our clock in the middle of the round trip."""

    host: str
    latency_ms: float = 0.0
    at_ms: int = 0
    date_ms: int | None = None
    problem: str = ""
