"""The order worker's eye on half messages that ran out of check-backs."""

import asyncio
import logging

import pytest

from checkout import VirtualClock
from saleops.adapters.memory_broker import MemoryBroker
from saleops.domain.messages import ORDERS
from saleops.errors import StoreUnavailable
from saleops.ports.broker import Half, Resolution
from saleops.services.order.halves import LOOK_EVERY_S, HalvesWatch


def test_discarded_halves_show_in_the_metrics_and_the_log_names_the_command_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def unknown(half: Half) -> Resolution:
        return Resolution.UNKNOWN

    async def scenario() -> None:
        clock = VirtualClock()
        broker = MemoryBroker(clock=clock, check_max=15, check_interval_ms=1)
        watch = HalvesWatch(broker, clock=clock)
        async with clock.running():
            watch.start()
            await broker.send_half(ORDERS, "tx-1", b"order")
            await broker.start_checks([ORDERS], unknown)
            await clock.sleep(6 * 3600)  # 15 checks, and the 16th that is none
            assert watch.discarded == 1
            assert "\nsaleops_halves_discarded 1\n" in watch.metrics_text()
            said = [record.message for record in caplog.records if "mq recheck" in record.message]
            assert len(said) == 1
            await broker.forget_discarded(ORDERS, ["tx-1"])
            await clock.sleep(2 * LOOK_EVERY_S)
            assert watch.discarded == 0
            await watch.stop()
            await broker.close()

    caplog.set_level(logging.WARNING, "saleops.order")
    asyncio.run(scenario())


def test_a_broker_that_is_away_leaves_the_last_count_and_the_watch_goes_on() -> None:
    class Away(MemoryBroker):
        away = True

        def discarded(self, topic: str):  # type: ignore[no-untyped-def]
            if self.away:
                raise StoreUnavailable("the broker is away")
            return super().discarded(topic)

    async def scenario() -> None:
        clock = VirtualClock()
        broker = Away(clock=clock)
        watch = HalvesWatch(broker, clock=clock)
        watch.discarded = 3
        async with clock.running():
            watch.start()
            await clock.sleep(2 * LOOK_EVERY_S)
            assert watch.discarded == 3
            broker.away = False
            await clock.sleep(2 * LOOK_EVERY_S)
            assert watch.discarded == 0
            await watch.stop()

    asyncio.run(scenario())
