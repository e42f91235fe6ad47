"""Fixtures of the contract suites: each runs a test over every implementation of a port."""

import pytest

from broker_lab import BrokerLab
from saleops.adapters.memory_broker import MemoryBroker, MemoryTopics
from saleops.adapters.streams_broker import StreamsBroker


@pytest.fixture(params=["memory", "valkey", "redis"])
def lab(request: pytest.FixtureRequest) -> BrokerLab:
    if request.param == "memory":
        topics = MemoryTopics()
        return BrokerLab(lambda **rules: MemoryBroker(topics=topics, **rules))
    url: str = request.getfixturevalue(f"{request.param}_url")
    return BrokerLab(lambda **rules: StreamsBroker.from_url(url, sale="s", **rules))
