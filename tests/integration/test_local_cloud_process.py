"""The local cloud as a process: found, started, killed, refused, told to stop."""

import contextlib
import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from local_cloud import HOST, InProcessCloud, cloud_process, local_cloud, trust_of
from saleops import wiring
from saleops.adapters.local_cloud_clock import LocalCloudControl
from saleops.adapters.local_cloud_process import COMMAND, LocalCloudProcess, running_cloud
from saleops.config.local_cloud import CloudAddress, CloudSettings
from saleops.errors import ConfigError, Refused, UpstreamError
from saleops.services.cloud.saving import WorldFile
from saleops.services.cloud.signatures import Key


def settings_for(state_dir: Path, **more: object) -> CloudSettings:
    return CloudSettings(folder=str(state_dir / "cloud"), **more)  # type: ignore[arg-type]


def make(address: CloudAddress, name: str) -> None:
    """One writing call over HTTP, without an SDK. Raises OSError or HTTPException when the cloud is gone."""
    signer: InProcessCloud = local_cloud()
    signer.key = Key(address.access_key_id, address.access_key_secret, "", "")
    params = {"RoleName": name, "AssumeRolePolicyDocument": trust_of(signer.world.account)}
    request = signer.request("ram", "CreateRole", params=params)
    headers = {**request.headers, "host": HOST}
    connection = http.client.HTTPConnection(address.host, timeout=10)
    try:
        connection.request(request.method, f"/?{request.query}", headers=headers)
        response = connection.getresponse()
        document = json.loads(response.read())
        assert response.status == 200, document
    finally:
        connection.close()


def test_a_child_is_there_for_a_block_and_its_world_stays(tmp_path: Path) -> None:
    with wiring.open_local_cloud(tmp_path) as cloud:
        before = cloud.clock.now_ms()
        cloud.clock.sleep(3_600)
        make(cloud.address, "first")
        after = cloud.clock.now_ms()
        mode = stat.S_IMODE((tmp_path / "cloud" / "address.json").stat().st_mode)
    with wiring.open_local_cloud(tmp_path) as again:
        there = again.control.call("GET", "state")
        now_ms = again.clock.now_ms()

    assert after - before == 3_600_000
    assert now_ms == after
    assert len(there["ram-role"]) == 1
    assert again.access_key_id == cloud.access_key_id
    assert mode == 0o600
    assert not (tmp_path / "cloud" / "address.json").exists()
    assert running_cloud(tmp_path / "cloud") is None


def test_a_served_cloud_is_shared_and_a_second_one_refused(tmp_path: Path) -> None:
    with wiring.serve_local_cloud(settings_for(tmp_path, kept=True)) as served:
        with wiring.open_local_cloud(tmp_path) as found:
            assert found.address == served.address
        assert served.ended() is None
        with (
            pytest.raises(Refused, match=f"pid {served.address.pid}") as refused,
            wiring.serve_local_cloud(settings_for(tmp_path, kept=True)),
        ):
            pass

    assert "nothing was started" in refused.value.message


def test_real_time_runs_n_times_faster(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, kept=True, clock="real", speed=1_000.0)
    with wiring.serve_local_cloud(settings), wiring.open_local_cloud(tmp_path) as cloud:
        before = cloud.clock.now_ms()
        started = time.monotonic()
        cloud.clock.sleep(100)
        took_s = time.monotonic() - started
        passed_ms = cloud.clock.now_ms() - before

    assert 0.1 <= took_s < 5
    assert passed_ms >= 100_000


def test_a_stale_address_is_nobodys(tmp_path: Path) -> None:
    with cloud_process(tmp_path) as address:
        text = (tmp_path / "cloud" / "address.json").read_bytes()
    (tmp_path / "cloud" / "address.json").write_bytes(text)

    with wiring.open_local_cloud(tmp_path) as cloud:
        assert cloud.address.pid != address.pid
        cloud.clock.now_ms()


def test_a_damaged_world_is_told_by_the_command_that_starts_it(tmp_path: Path) -> None:
    with cloud_process(tmp_path):
        pass
    (tmp_path / "cloud" / "world.json").write_text("{")

    with pytest.raises(ConfigError, match=r"world\.json") as error, cloud_process(tmp_path):
        pass

    assert "--reset" in str(error.value.hint)


def test_a_port_that_is_taken_is_an_error_and_not_shared(tmp_path: Path) -> None:
    with cloud_process(tmp_path / "a") as address:
        port = int(address.host.rpartition(":")[2])
        with (
            pytest.raises(UpstreamError, match=str(port)),
            cloud_process(tmp_path / "b", port=port),
        ):
            pass


def test_no_acknowledged_write_is_lost_when_the_cloud_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "cloud"
    acknowledged: list[str] = []
    for round_ in range(4):
        child = LocalCloudProcess(_made(settings_for(tmp_path)), log=tmp_path / "log")
        address = child.wait_until_ready()

        def write(address: CloudAddress = address, round_: int = round_) -> None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                for number in range(10_000):
                    name = f"s{round_}-{number}"
                    make(address, name)
                    acknowledged.append(name)

        writers = [threading.Thread(target=write)]
        for one in writers:
            one.start()
        count = len(acknowledged)
        deadline = time.monotonic() + 20
        while len(acknowledged) < count + 15 and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(0.0013 * round_)
        os.kill(child.pid, signal.SIGKILL)
        for one in writers:
            one.join(20)
        child.stop()

        saved = WorldFile(folder / "world.json").load()

        assert saved is not None
        names = {thing.id for thing in saved.things}
        assert set(acknowledged) <= names
        assert len(names) <= len(acknowledged) + round_ + 1  # the one in flight at each kill
    assert len(acknowledged) >= 60


def _made(settings: CloudSettings) -> CloudSettings:
    Path(settings.folder).mkdir(parents=True, exist_ok=True)
    return settings


def test_the_cloud_ends_with_whoever_started_it(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from saleops import wiring\n"
        "with wiring.open_local_cloud(Path(sys.argv[1])) as cloud:\n"
        "    print(cloud.address.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
    finally:
        starter.kill()
        starter.wait()
        starter.stdout.close()

    with wiring.open_local_cloud(tmp_path) as cloud:  # it waits for the orphan's end
        assert cloud.address.pid != pid
        cloud.clock.now_ms()


def test_a_cloud_of_a_running_command_is_not_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "saleops.adapters.local_cloud_process.find_cloud.__kwdefaults__", {"wait_s": 0.2}
    )
    with (
        wiring.open_local_cloud(tmp_path) as first,
        pytest.raises(Refused, match=f"pid {first.address.pid}") as refused,
        wiring.open_local_cloud(tmp_path),
    ):
        pass

    assert "serve cloud" in str(refused.value.hint)


def test_settings_that_are_none_are_an_exit_code_and_no_traceback() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "SALEOPS_CLOUD_SETTINGS"}

    ended = subprocess.run(
        COMMAND,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr


def test_serve_cloud_shows_what_to_export_and_stops_clean(tmp_path: Path) -> None:
    served = subprocess.Popen(
        [
            *(sys.executable, "-m", "saleops", "serve", "cloud", "--port", "0", "--virtual"),
            *("--state-dir", str(tmp_path), "--throttle", "0.25"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert served.stdout is not None
        lines = [served.stdout.readline()]
        while "aliyun" not in lines[-1]:
            lines.append(served.stdout.readline())
            assert lines[-1], served.communicate()[1]
        address = running_cloud(tmp_path / "cloud")
        assert address is not None
        with wiring.open_local_cloud(tmp_path) as cloud:
            faults = cloud.control.call("GET", "faults")
        served.send_signal(signal.SIGINT)
        _, err = served.communicate(timeout=20)
    finally:
        served.kill()
        served.wait()

    shown = "".join(lines)
    assert served.returncode == 0, err
    assert f"export ALIBABA_CLOUD_ACCESS_KEY_ID={address.access_key_id}" in shown
    assert f"ALIBABA_CLOUD_ENDPOINT={address.host}" in shown
    assert faults["throttle"] == 0.25
    assert "Traceback" not in err
    assert running_cloud(tmp_path / "cloud") is None


def test_slow_clients_do_not_keep_others_out(tmp_path: Path) -> None:
    head = b"POST /_local/clock HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n{"
    with ExitStack() as stack:
        cloud = stack.enter_context(cloud_process(tmp_path))
        host, _, port = cloud.host.partition(":")
        for _ in range(300):
            slow = stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
            slow.sendall(head)
        started = time.monotonic()
        control = LocalCloudControl(cloud)
        assert control.call("GET", "clock")["mode"] == "virtual"
        assert control.call("POST", "clock", {"advance_s": 1})["now_ms"]
        assert time.monotonic() - started < 5


def test_what_a_cloud_logs_is_for_its_owners_eyes(tmp_path: Path) -> None:
    with cloud_process(tmp_path):
        log = tmp_path / "cloud" / "cloud.log"
        assert stat.S_IMODE(log.stat().st_mode) == 0o600
