"""Fixtures of the contract suites: each runs a test over every implementation of a port."""

import secrets

import pytest

from broker_lab import BrokerLab, WallLab
from rocketmq_server import RocketmqServer
from saleops.adapters.memory_broker import MemoryBroker, MemoryTopics
from saleops.adapters.rocketmq_admin import RocketmqAdmin
from saleops.adapters.rocketmq_broker import RocketmqBroker
from saleops.adapters.rocketmq_url import RocketmqUrl
from saleops.adapters.streams_broker import StreamsBroker


@pytest.fixture(params=["memory", "valkey", "redis", "redis_cluster", "rocketmq"])
def lab(request: pytest.FixtureRequest) -> BrokerLab:
    if request.param == "memory":
        topics = MemoryTopics()
        return BrokerLab(lambda **rules: MemoryBroker(topics=topics, **rules))
    if request.param == "rocketmq":
        return rocketmq_lab(request.getfixturevalue("rocketmq"))
    url: str = request.getfixturevalue(f"{request.param}_url")
    return BrokerLab(lambda **rules: StreamsBroker.from_url(url, sale="s", **rules))


def rocketmq_lab(server: RocketmqServer) -> WallLab:
    """A sale of its own on the session's RocketMQ. One queue a topic, or the order of messages is anybody's guess."""
    sale = f"s{secrets.token_hex(4)}"
    url = RocketmqUrl.parse(server.url)

    def make(max_attempts: int) -> RocketmqBroker:
        return RocketmqBroker(url, sale=sale, max_attempts=max_attempts, types={}, queues=1)

    async def set_check_max(checks: int) -> None:
        admin = RocketmqAdmin.at([server.namesrv])
        try:
            await admin.set_broker_config({"transactionCheckMax": str(checks)})
        finally:
            await admin.close()

    check_after_ms = int(server.settings()["transactionTimeOut"])
    return WallLab(make, set_check_max, check_after_ms=check_after_ms)
