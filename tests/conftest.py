"""Fixtures every suite shares: URLs of real, empty engines.

Servers start once a session (under pytest-xdist once a worker), on the first test that asks for one. A server that
is not installed fails the test where ``CI`` is set and skips it elsewhere, with the line that installs it.
"""

import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from cluster import RedisCluster
from rocketmq_server import RocketmqServer
from servers import MariadbServer, RedisServer, ValkeyServer

# Started in the background by a shell, the tests would hand an ignored SIGINT down to every command they interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_numbers = count(1)


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    """The session's embedded Valkey. Tests want ``valkey_url``, unless they stop or kill the server."""
    server = ValkeyServer()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    server = RedisServer()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[MariadbServer]:
    server = MariadbServer()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def rocketmq() -> Iterator[RocketmqServer]:
    """The session's RocketMQ: name server, broker and proxy in one JVM, with nothing in it at first. A test makes topics
    and groups of its own names; one that killed it calls ``start()`` again, which finds the same data and ports.
    """
    server = RocketmqServer()
    try:
        server.start()
        yield server
    finally:
        server.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One JVM and one cluster are enough: under pytest-xdist all tests that use it go to one worker."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        params = callspec.params.values() if callspec else ()
        for engine in ("rocketmq", "redis_cluster"):
            if engine in getattr(item, "fixturenames", ()) or engine in params:
                item.add_marker(pytest.mark.xdist_group(engine))


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    """The session's cluster of three masters. Tests that kill nodes start their own."""
    cluster = RedisCluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def valkey_url(valkey_server: ValkeyServer) -> str:
    """unix:// URL of an empty embedded Valkey."""
    valkey_server.empty()
    return valkey_server.url


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """redis:// URL of an empty Debian redis-server."""
    redis_server.empty()
    return redis_server.url


@pytest.fixture
def redis_cluster_url(redis_cluster: RedisCluster) -> str:
    """redis+cluster:// URL of an empty cluster."""
    redis_cluster.empty()
    return redis_cluster.url


@pytest.fixture(params=["valkey", "redis"])
def any_redis_url(request: pytest.FixtureRequest) -> str:
    """The test runs twice: on the embedded Valkey and on Debian's Redis."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """sqlite:// URL of a file that does not exist yet (absolute path: four slashes)."""
    return f"sqlite:///{tmp_path}/orders.db"


@pytest.fixture
def mysql_url(mysql_server: MariadbServer) -> Iterator[str]:
    """mysql:// URL of an empty database on the session's MariaDB."""
    name = f"sale_{next(_numbers)}"
    yield mysql_server.create_database(name)
    mysql_server.drop_database(name)


@pytest.fixture(params=["sqlite", "mysql"])
def any_database_url(request: pytest.FixtureRequest) -> str:
    """The test runs twice: on SQLite and on MariaDB."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url
