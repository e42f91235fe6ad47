"""How many connections to the orders database a serve takes: a number to plan with, whatever the load.

Each worker has one thread that owns one connection (services/book.py), so the count depends on the number of workers and on
nothing else: neither on buyers nor on requests in flight.
"""

from collections.abc import Mapping

import msgspec

A_WORKER: Mapping[str, int] = {"catalog": 1, "order": 1, "payment": 1, "shipping": 1, "gateway": 0}
"""Service -> connections of one of its workers."""

DEFAULT_WORKERS: Mapping[str, int] = {
    "catalog": 1,
    "order": 2,
    "payment": 1,
    "shipping": 1,
    "gateway": 1,
}

COMMANDS = 2
"""Room for people: a `reconcile` beside a `doctor`, and the schema's migration while a serve starts."""


class ConnectionBudget(msgspec.Struct, frozen=True):
    """``steady`` while the shop sells; ``most`` is what the server must have room for."""

    steady: int
    replica: int
    most: int


class ConnectionRoom(msgspec.Struct, frozen=True):
    """What a database server grants: its limit (for us), and how many are taken."""

    limit: int
    used: int

    @property
    def free(self) -> int:
        return max(0, self.limit - self.used)


def connection_budget(
    workers: Mapping[str, int] | None = None, *, replica: bool = False
) -> ConnectionBudget:
    """The connections of a serve with these ``workers`` (those not named as many as by default; 0: the service does not run
    here). With ``replica`` each order worker has one more, to the replica's server.

    ``most`` leaves room for each order worker's second connection while a store is rebuilt, and for commands. Raises ValueError
    for a service that is none or a count below 0.
    """
    counts = {**DEFAULT_WORKERS, **(workers or {})}
    if unknown := sorted(counts.keys() - A_WORKER.keys()):
        raise ValueError(f"there is no service {', '.join(unknown)}")
    if any(count < 0 for count in counts.values()):
        raise ValueError(f"a count of workers is below 0: {counts}")
    steady = sum(A_WORKER[service] * count for service, count in counts.items())
    return ConnectionBudget(
        steady=steady,
        replica=counts["order"] if replica else 0,
        most=steady + counts["order"] + COMMANDS,
    )
