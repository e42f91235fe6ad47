"""GO or NO-GO: the checks of a rehearsal and what they add up to."""

from dataclasses import dataclass
from typing import Protocol

import msgspec


class Balance(Protocol):
    """What a verdict needs to know of a ledger."""

    @property
    def balanced(self) -> bool: ...
    @property
    def breaks_count(self) -> int: ...
    @property
    def oversold_units(self) -> int: ...
    @property
    def orphan_orders(self) -> int: ...


class Check(msgspec.Struct, frozen=True):
    """One question and its answer. A check that does not ``decide`` warns: it says that the rehearsal proves less."""

    name: str
    ok: bool
    value: str
    wanted: str
    decides: bool = True


@dataclass(frozen=True)
class Figures:
    """What the load of a rehearsal came to."""

    orders: int
    sold_out: int
    error_rate: float
    checkout_p99_ms: float
    target_rps: float
    achieved_rps: float


def judge(
    ledger: Balance,
    load: Figures,
    *,
    prewarm_queries: int,
    killed_back: bool,
    drained: bool,
    error_rate_max: float,
    checkout_p99_max_ms: float | None,
    reached_share: float,
) -> list[Check]:
    """The checks of a rehearsal, the deciding ones first."""
    checks = [
        Check("the ledger balances", ledger.balanced, f"{ledger.breaks_count} breaks", "0 breaks"),
        Check(
            "nothing is oversold",
            ledger.oversold_units == 0,
            f"{ledger.oversold_units} units",
            "0 units",
        ),
        Check(
            "every order was announced",
            ledger.orphan_orders == 0,
            f"{ledger.orphan_orders} orphans",
            "0 orphans",
        ),
        Check("buyers ordered", load.orders > 0, f"{load.orders:,} orders", "some"),
        Check(
            "errors seen by buyers",
            load.error_rate <= error_rate_max,
            f"{load.error_rate:.3%}",
            f"at most {error_rate_max:.3%}",
        ),
        Check(
            "the killed worker came back",
            killed_back,
            "back" if killed_back else "not back",
            "back",
        ),
        Check(
            "payment and shipping drained", drained, "drained" if drained else "not yet", "drained"
        ),
        Check(
            "the cache was warm",
            prewarm_queries == 0,
            f"{prewarm_queries} database queries",
            "0 in the sample",
        ),
        Check(
            "the load was as wanted",
            load.achieved_rps >= reached_share * load.target_rps,
            f"{load.achieved_rps:,.0f} rps",
            f"{load.target_rps:,.0f} rps",
            decides=False,
        ),
    ]
    if checkout_p99_max_ms is not None:
        checks.append(
            Check(
                "checkout p99",
                load.checkout_p99_ms <= checkout_p99_max_ms,
                f"{load.checkout_p99_ms:,.0f} ms",
                f"at most {checkout_p99_max_ms:,.0f} ms",
                decides=False,
            )
        )
    return checks


def verdict_of(checks: list[Check]) -> str:
    """ "GO" when every deciding check is ok, else "NO-GO"."""
    return "GO" if all(check.ok for check in checks if check.decides) else "NO-GO"
