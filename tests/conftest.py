"""Fixtures every suite shares: URLs of real, empty engines.

Servers start once a session (under pytest-xdist once a worker), on the first test that asks for one. A server that
is not installed fails the test where ``CI`` is set and skips it elsewhere, with the line that installs it.
"""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from servers import MariadbServer, RedisServer, ValkeyServer

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
