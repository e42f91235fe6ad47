"""What has to be over before a sale's cluster gets smaller: the sale, its queues, its half messages, its dead letters."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from saleops.domain.messages import ORDERS
from saleops.errors import ConfigError, Refused, StoreUnavailable
from saleops.operations.dlq import queues
from saleops.operations.scale.wanted import Wants
from saleops.ports.broker import Broker


@dataclass(frozen=True, slots=True)
class QueueState:
    """Messages over all of the sale's groups. ``delayed`` are not due yet: told, and no obstacle."""

    waiting: int = 0
    in_flight: int = 0
    delayed: int = 0
    halves: int = 0
    discarded: int = 0
    dead: int = 0

    @property
    def obstacles(self) -> tuple[str, ...]:
        found = (
            (self.waiting + self.in_flight, "messages on their way (queue lag)"),
            (self.halves + self.discarded, "half messages without an end"),
            (self.dead, "dead letters"),
        )
        return tuple(f"{count:,} {what}" for count, what in found if count)


LookAtQueues = Callable[[], QueueState]
"""Raises StoreUnavailable, ConfigError or Refused where nobody answers who knows the sale."""


async def queue_state(broker: Broker) -> QueueState:
    """Every queue of the sale, asked once. Raises StoreUnavailable."""
    waiting = in_flight = delayed = halves = dead = 0
    for topic, group in queues():
        depth = await broker.depth(topic, group)
        waiting += depth.waiting
        in_flight += depth.in_flight
        delayed += depth.delayed
        halves += depth.halves if topic == ORDERS else 0
        dead += depth.dead
    discarded = 0
    async for _ in broker.discarded(ORDERS):
        discarded += 1
    return QueueState(waiting, in_flight, delayed, halves, discarded, dead)


def may_go_up(wants: Wants, *, now: datetime) -> None:
    """Raises Refused for a sale that is over: nobody would come, and nobody would give it back."""
    if now >= wants.closes:
        raise Refused(
            f"{wants.sale} closed at {wants.closes:%Y-%m-%d %H:%M:%S %z}; nothing was changed",
            hint="Put the next window into the sale file, or give back what stands: `saleops scale down SALE`.",
        )


def before_it_opens(
    wants: Wants, recorded: Collection[str], *, now_ms: int, reason: str = ""
) -> tuple[str, ...]:
    """What is to be told of going down before the sale. Raises Refused where its floor stands and nobody said why not."""
    if not recorded or now_ms >= round(wants.closes.timestamp() * 1000):
        return ()
    left_s = max(0.0, wants.opens.timestamp() - now_ms / 1000)
    if not reason:
        raise Refused(
            f"{wants.sale} is scaled up and opens in {left_s / 60:,.0f} min, at {wants.opens:%Y-%m-%d %H:%M:%S %z}: "
            f"it needs the {len(recorded):,} sizes recorded for it; nothing was changed",
            hint="Wait for its end. If the sale is off: --before-sale REASON, which the journal keeps.",
        )
    return (f"given back {left_s / 60:,.0f} min before the sale opens: {reason}",)


def may_go_down(
    wants: Wants, look: LookAtQueues, *, now_ms: int, accept_unseen: str = ""
) -> tuple[QueueState | None, tuple[str, ...]]:
    """The queues (None: unseen, and ``accept_unseen`` says why that may be), and what is to be told. Raises Refused."""
    opens_ms, closes_ms = (round(one.timestamp() * 1000) for one in (wants.opens, wants.closes))
    if opens_ms <= now_ms < closes_ms:
        raise Refused(
            f"{wants.sale} is open until {wants.closes:%Y-%m-%d %H:%M:%S %z}: buyers are in it; nothing was changed",
            hint="Wait for its end; `saleops scale status SALE` shows what stands.",
        )
    try:
        state = look()
    except (StoreUnavailable, ConfigError, Refused) as error:
        if not accept_unseen:
            raise Refused(
                f"nobody knows what is still on its way: {error.message}; nothing was changed",
                hint="Give the sale's engines (--broker, --state-dir), or --accept-unseen REASON.",
            ) from error
        return None, (f"the queues were not seen ({error.message}); accepted: {accept_unseen}",)
    if state.obstacles:
        raise Refused(
            f"{wants.sale} is not drained: {', '.join(state.obstacles)}; nothing was changed",
            hint="`saleops mq status SALE` names them; `saleops dlq replay` and `saleops mq recheck` end them.",
        )
    told = (f"{state.delayed:,} delayed messages are not due yet",) if state.delayed else ()
    return state, told
