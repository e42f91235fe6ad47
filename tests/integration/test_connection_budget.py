"""The budget of database connections: what we say a serve takes is what the server sees."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

import msgspec
import pymysql
import pytest

from saleops.adapters.mysql_session import MysqlSession, mysql_address
from saleops.config.settings import JwtSettings
from saleops.domain.connections import ConnectionRoom, connection_budget
from saleops.operations.doctor import check_connections
from saleops.ports.engines import ServeState
from saleops.wiring import connection_room, dev_token
from servers import MariadbServer


def test_the_budget_counts_one_connection_a_worker() -> None:
    assert connection_budget().steady == 5
    more = connection_budget({"order": 8, "catalog": 2, "gateway": 4})
    assert (more.steady, more.most) == (12, 22)
    assert connection_budget({"order": 8}, replica=True).replica == 8
    assert connection_budget({"order": 0, "payment": 0, "shipping": 0}).steady == 1


@pytest.mark.parametrize("workers", [{"warehouse": 1}, {"order": -1}])
def test_a_budget_for_nonsense_is_a_callers_mistake(workers: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"service|below 0"):
        connection_budget(workers)


@pytest.mark.parametrize(
    ("used", "serving", "status"),
    [
        (1, False, "ok"),
        (91, False, "ok"),
        (92, False, "warning"),
        (96, True, "ok"),
        (97, True, "warning"),
    ],
)
def test_doctor_warns_before_a_serve_runs_out_of_connections(
    used: int, serving: bool, status: str
) -> None:
    budget = connection_budget()
    assert (budget.steady, budget.most) == (5, 9)

    check = check_connections(ConnectionRoom(100, used), budget, serving=serving)

    assert check.status == status
    assert f"{used} of 100" in check.found
    if status == "warning":
        assert "max_connections" in check.fix


def test_a_server_tells_what_room_it_has(mysql_server: MariadbServer, mysql_url: str) -> None:
    with closing(MysqlSession(mysql_address(mysql_url))) as session:
        room = session.room()
    assert room.limit == 200
    assert 1 <= room.used < 50
    assert connection_room("sqlite:///x.db") is None
    with mysql_server.admin() as admin, admin.cursor() as cursor:
        cursor.execute("ALTER USER 'saleops'@'%' WITH MAX_USER_CONNECTIONS 17")
        try:
            found = connection_room(mysql_url)
        finally:
            cursor.execute("ALTER USER 'saleops'@'%' WITH MAX_USER_CONNECTIONS 0")
    assert found is not None
    assert found.limit == 17, "the user's own limit counts where it is lower"


def connections(server: MariadbServer, url: str) -> int:
    with server.admin() as admin, admin.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM information_schema.processlist WHERE db = %s",
            (mysql_address(url).database,),
        )
        [(count,)] = cursor.fetchall()
    return int(count)


def get(url: str, token: str) -> int:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_serve_takes_the_connections_it_was_said_to(
    mysql_server: MariadbServer, mysql_url: str, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    budget = connection_budget({"order": 3})
    log = tmp_path / "serve.log"
    words = ["serve", "--state-dir", str(state), "--port", "0", "--order-workers", "3"]
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "saleops", *words],
            stdout=out,
            stderr=out,
            env={**os.environ, "SALEOPS_DATABASE_URL": mysql_url},
        )
    try:
        published = state / "serve.json"
        deadline = time.monotonic() + 40
        seen = [0]
        url = ""
        while seen[-1] != budget.steady or not url:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, (seen, log.read_text())
            time.sleep(0.1)
            if published.exists():
                url = msgspec.json.decode(published.read_bytes(), type=ServeState).url
            if url:
                secret = (state / "jwt.secret").read_text().strip()
                token = dev_token(secret, "ann", ttl_s=600, settings=JwtSettings())
                # Every service looks something up, which opens its connection if nothing has before.
                for path in (
                    "/products/x",
                    *(f"/orders/{'0' * 32}{end}" for end in ("", "/payments", "/parcels")),
                ):
                    get(url + path, token)
            seen.append(connections(mysql_server, mysql_url))
    finally:
        process.terminate()
        try:
            process.wait(40)
        finally:
            process.kill()

    assert max(seen) <= budget.most
    with pymysql.connect(unix_socket=mysql_server.socket, user="root"):
        deadline = time.monotonic() + 10
        while connections(mysql_server, mysql_url):
            assert time.monotonic() < deadline, "a connection stayed behind"
            time.sleep(0.05)
