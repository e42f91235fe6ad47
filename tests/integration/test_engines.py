"""The embedded Valkey and the ways to find engines, on real processes."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from saleops import wiring
from saleops.adapters.file_state import dev_secret, lock_state_dir, owner_of
from saleops.adapters.valkey_engine import ValkeyEngine
from saleops.config.engines import Engines
from saleops.errors import ConfigError, Refused, UpstreamError
from saleops.events import Event, Warned
from saleops.operations.serve import running_engine
from saleops.ports.engines import ServeState


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture(autouse=True)
def no_urls_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS", "DATABASE", "BROKER"):
        monkeypatch.delenv(f"SALEOPS_{name}_URL", raising=False)


@pytest.fixture
def valkey(state: Path) -> Iterator[ValkeyEngine]:
    state.mkdir()
    engine = ValkeyEngine(state)
    yield engine
    engine.stop()
    engine.clear_away()


def test_embedded_engines_keep_their_data(state: Path) -> None:
    for expected in (None, b"1"):
        with wiring.open_engines(state_dir=state) as urls:
            assert urls.embedded
            assert urls.redis_url == urls.broker_url == f"unix://{state}/valkey.sock"
            assert urls.origins == dict.fromkeys(("redis", "broker", "database"), "embedded")
            with redis.Redis.from_url(urls.redis_url) as client:
                assert client.get("kept") == expected
                client.set("kept", "1")
                assert client.config_get("appendonly") == {"appendonly": "yes"}
                assert client.config_get("port") == {"port": "0"}
            with wiring.open_order_book(urls.database_url) as book:
                assert book.sale("any") is None  # the schema is there
        assert not (state / "valkey.sock").exists()


def test_who_uses_the_state_is_named_to_the_next(state: Path) -> None:
    with (
        wiring.open_engines(state_dir=state, command="seed"),
        pytest.raises(Refused, match=f"in use by pid {os.getpid()} \\(saleops seed\\)") as caught,
        wiring.open_engines(state_dir=state),
    ):
        pass
    assert "--state-dir" in (caught.value.hint or "")


def test_flags_win_over_the_environment_and_that_over_the_sale_file(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALEOPS_REDIS_URL", "redis://environment")
    monkeypatch.setenv("SALEOPS_DATABASE_URL", "mysql://environment/db")
    engines = Engines(redis="redis://file", database="mysql://file/db", broker="redis://broker")
    with wiring.open_engines(
        redis="redis://flag", engines=engines, state_dir=state / "unused"
    ) as urls:
        assert urls.redis_url == "redis://flag"
        assert urls.database_url == "mysql://environment/db"
        assert urls.broker_url == "redis://broker"
        assert urls.origins == {"redis": "flag", "database": "environment", "broker": "sale file"}
        assert not urls.embedded
    assert not state.exists()  # nothing of ours is needed


def test_a_running_serve_is_found_and_a_crashed_one_is_not(state: Path) -> None:
    running = ServeState(
        pid=os.getpid(),
        sale="x",
        redis_url="redis://there",
        database_url="mysql://there/db",
        broker_url="redis://there",
        embedded=False,
    )
    with wiring.own_state(
        redis="redis://there", database="mysql://there/db", state_dir=state
    ) as own:
        own.publish(running)
        assert (state / "serve.json").stat().st_mode & 0o077 == 0
        with wiring.open_engines(state_dir=state) as urls:
            assert urls.redis_url == "redis://there"
            assert urls.origins["redis"] == "serve"
        own.publish(running)
        crashed = (state / "serve.json").read_bytes()
    (state / "serve.json").write_bytes(crashed)
    with wiring.open_engines(state_dir=state) as urls:
        assert urls.embedded


def test_a_lock_ends_with_its_process(state: Path) -> None:
    state.mkdir()
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path\n"
            "from saleops.adapters.file_state import lock_state_dir\n"
            "with lock_state_dir(Path(sys.argv[1]), command='serve'):\n"
            "    print('held', flush=True); time.sleep(60)",
            state,
        ],
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        owner = owner_of(state)
        assert owner is not None
        assert owner.pid == holder.pid
        holder.kill()
        holder.wait()
    assert owner_of(state) is None
    with lock_state_dir(state, command="serve"):
        pass


def test_the_dev_secret_is_made_once_and_private(state: Path) -> None:
    state.mkdir()
    secret = dev_secret(state)
    assert len(secret) == 64
    assert dev_secret(state) == secret
    assert (state / "jwt.secret").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"redis": "http://x"}, "the redis URL"),
        ({"redis": "redis://"}, "the redis URL"),
        ({"database": "postgres://x/y"}, "the database URL"),
        ({"broker": "kafka://x"}, "the broker URL"),
    ],
)
def test_urls_of_strange_engines_are_refused_before_anything_starts(
    flags: dict[str, str], words: str, state: Path
) -> None:
    with pytest.raises(ConfigError, match=words), wiring.open_engines(**flags, state_dir=state):
        pass
    assert not state.exists()


def test_a_state_directory_that_is_a_file_is_bad_input(state: Path) -> None:
    state.write_text("")
    with pytest.raises(ConfigError, match="cannot be used"), wiring.open_engines(state_dir=state):
        pass


def test_an_orphan_is_shut_down_with_its_data_kept(valkey: ValkeyEngine, state: Path) -> None:
    valkey.start()
    with redis.Redis.from_url(valkey.url) as client:
        client.set("kept", "1")
        pid = client.info("server")["process_id"]

    assert ValkeyEngine(state).clear_away() == pid

    assert ValkeyEngine(state).clear_away() is None
    valkey.stop()
    valkey.start()
    with redis.Redis.from_url(valkey.url) as client:
        assert client.get("kept") == b"1"


def test_an_embedded_valkey_ends_with_the_process_that_started_it(state: Path) -> None:
    starter = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path; from saleops.wiring import open_engines\n"
            "with open_engines(state_dir=Path(sys.argv[1])) as urls:\n"
            "    print(urls.redis_url, flush=True); time.sleep(60)",
            state,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    with starter:
        assert starter.stdout is not None
        url = starter.stdout.readline().strip()
        starter.kill()
        starter.wait()

    async def gone() -> None:
        async with asyncio.timeout(15):
            while True:
                try:
                    with redis.Redis.from_url(url) as client:
                        client.ping()
                except redis.ConnectionError:
                    return
                await asyncio.sleep(0.02)

    if sys.platform.startswith("linux"):
        asyncio.run(gone())
    with wiring.open_engines(state_dir=state) as urls:  # elsewhere the next one cleans up
        assert urls.redis_url == url


def test_a_valkey_that_dies_is_started_again_with_its_data(
    valkey: ValkeyEngine, state: Path
) -> None:
    async def scenario() -> None:
        seen: list[Event] = []
        async with running_engine(valkey, observe=seen.append) as keeper:
            with redis.Redis.from_url(valkey.url) as client:
                client.set("kept", "1")
                client.config_set("appendfsync", "always")
                client.set("kept", "2")
            keeper.kill(signal.SIGKILL)
            async with asyncio.timeout(15):
                await keeper.ready(restarts=1)
            with redis.Redis.from_url(valkey.url) as client:
                assert client.get("kept") == b"2"
        assert [event for event in seen if isinstance(event, Warned)]
        assert keeper.status.pid == 0

    asyncio.run(scenario())


def test_a_valkey_that_cannot_start_says_why(valkey: ValkeyEngine, state: Path) -> None:
    (state / "appendonlydir").write_text("not a folder")
    with pytest.raises(UpstreamError, match="the embedded Valkey did not start") as caught:
        valkey.start()
    assert "valkey.log" in (caught.value.hint or "")


def test_a_long_path_gets_a_socket_in_a_private_folder(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    with wiring.open_engines(state_dir=deep) as urls:
        socket = Path(urls.redis_url.removeprefix("unix://"))
        assert len(os.fsencode(socket)) <= 100
        assert socket.parent.stat().st_mode & 0o777 == 0o700
        with redis.Redis.from_url(urls.redis_url) as client:
            assert client.ping()
    socket.parent.rmdir()
