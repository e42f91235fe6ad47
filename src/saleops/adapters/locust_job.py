"""The file that tells a locust process what to do: a load request without its demand, which is a file of its own."""

import msgspec

from saleops.ports.load import LoadRequest


class LocustJob(msgspec.Struct, frozen=True):
    """``demand`` and ``result`` are paths; ``request.demand`` is empty."""

    request: LoadRequest
    demand: str
    result: str
