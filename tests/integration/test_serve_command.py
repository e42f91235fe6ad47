"""``saleops serve`` as a person runs it: the real services on embedded engines."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

SALEOPS = (sys.executable, "-m", "saleops")


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SALEOPS_")}


@contextmanager
def serve(
    state: Path, *flags: str, service: str = "all"
) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A running serve and its document; the block ends it if the test has not."""
    with (
        (state.parent / "serve.log").open("a") as log,
        subprocess.Popen(
            [
                *SALEOPS,
                "serve",
                service,
                "--state-dir",
                str(state),
                "--port",
                "0",
                "-ojson",
                *flags,
            ],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment(),
        ) as process,
    ):
        assert process.stdout is not None
        try:
            text = ""
            while line := process.stdout.readline():
                text += line
                if line == "}\n":
                    break
            assert text, (state.parent / "serve.log").read_text()
            yield process, json.loads(text)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(60)


def ask(url: str, *, token: str = "", data: bytes | None = None, key: str = "") -> tuple[int, Any]:
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if key:
        headers["Idempotency-Key"] = key
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, data=data, headers=headers), timeout=20
        ) as answer:
            return answer.status, _plain(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _plain(error.read())


def _plain(body: bytes) -> Any:
    return json.loads(body) if body.startswith((b"{", b"[")) else body.decode()


def wait_until_gone(pids: list[int]) -> None:
    """The test's own timeout is the limit."""
    while any(map(runs, pids)):
        time.sleep(0.02)


def runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SALEOPS, *arguments], capture_output=True, text=True, timeout=60, env=environment()
    )


SALE = """\
apiVersion: saleops/v1
name: midnight-drop
window: {opens: 2030-01-01T00:00:00+08:00, closes: 2030-01-01T02:00:00+08:00}
items: [{sku: sku-1, name: A cup, price: 12.50, stock: 3, limit_per_buyer: 3}]
"""


def test_a_sale_is_served_survives_a_restart_and_ends_with_0(tmp_path: Path) -> None:
    sale, state = tmp_path / "sale.yaml", tmp_path / "state"
    sale.write_text(SALE)
    seeded = run("seed", str(sale), "--state-dir", str(state), "--yes")
    assert seeded.returncode == 0, seeded.stderr

    with serve(state, "--sale", str(sale), "--open-now") as (process, told):
        assert told["schema"] == "saleops/serve/v1"
        assert told["sale"] == "midnight-drop"
        assert set(told["urls"]) == {"catalog", "order", "payment", "shipping"}
        assert len(told["workers"]) == 6
        assert all(one["ready"] for one in told["workers"])
        assert 'sku": "sku-1"' in told["curl"]

        status, order = ask(
            f"{told['url']}/orders",
            token=told["dev_token"],
            data=b'{"sku": "sku-1"}',
            key="k-1",
        )
        assert status == 201, order
        assert ask(f"{told['url']}/products/sku-1")[0] == 200
        assert ask(f"{told['url']}/openapi.json")[1]["openapi"].startswith("3.1")
        assert ask(f"{told['url']}/problems/sold-out")[0] == 200

        # Others on the same state talk to this one.
        again = run("seed", str(sale), "--state-dir", str(state), "--yes")
        assert again.returncode == 0, again.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    wait_until_gone([one["pid"] for one in told["workers"]])
    assert not (state / "serve.json").exists()

    with serve(state, "--sale", str(sale), "--open-now") as (process, told):
        status, replayed = ask(f"{told['url']}/orders/{order['order_id']}", token=told["dev_token"])
        assert status == 200
        assert replayed["order_id"] == order["order_id"]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_a_second_serve_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with serve(state, service="shipping") as (process, told):
        assert [one["service"] for one in told["workers"]] == ["shipping"]
        assert told["url"] == told["urls"]["shipping"]

        second = run("serve", "--state-dir", str(state), "--port", "0")

        assert second.returncode == 5
        assert f"in use by pid {process.pid} (saleops serve shipping)" in second.stderr
        assert f"kill {process.pid}" in second.stderr
        assert process.poll() is None


def test_a_killed_serve_leaves_no_orphans(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with serve(state, service="shipping") as (process, told):
        with redis.Redis.from_url(told["engines"]["redis"]) as client:
            valkey = client.info("server")["process_id"]
        process.kill()
        process.wait()
        wait_until_gone([valkey, *(one["pid"] for one in told["workers"])])
    with serve(state, service="shipping"):
        pass


def test_a_second_signal_does_not_wait_and_one_before_it_is_up_calls_it_off(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with serve(state, "--drain-delay", "60", service="shipping") as (process, told):
        process.send_signal(signal.SIGTERM)
        while ask(f"{told['workers'][0]['admin_url']}/readyz")[0] == 200:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
        wait_until_gone([one["pid"] for one in told["workers"]])
    assert "starting it again" not in (tmp_path / "serve.log").read_text()

    starting = subprocess.Popen(
        [*SALEOPS, "serve", "--state-dir", str(state), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    with starting:
        while not (state / "valkey.sock").exists():
            time.sleep(0.002)
        starting.send_signal(signal.SIGINT)
        out, err = starting.communicate(timeout=30)
    assert (starting.returncode, out) == (130, "")
    assert "interrupted before the work was done" in err
    assert not (state / "valkey.sock").exists()


def test_a_taken_port_is_named_and_nothing_is_left_running(tmp_path: Path) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        failed = run("serve", "--state-dir", str(tmp_path / "state"), "--port", str(port))
    assert failed.returncode == 4
    assert f"port {port} cannot be used" in failed.stderr
    assert "--port" in failed.stderr
    assert not (tmp_path / "state" / "valkey.sock").exists()


def test_an_engine_that_does_not_answer_ends_the_start(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
    failed = run(
        *("serve", "--state-dir", str(tmp_path / "state"), "--port", "0"),
        *("--redis", f"redis://:hunter2@127.0.0.1:{port}/0"),
    )
    assert failed.returncode == 4
    assert "hunter2" not in failed.stderr + failed.stdout
    assert "SALEOPS_REDIS_URL keeps it out of there" in failed.stderr


def test_wrong_arguments_are_bad_input(tmp_path: Path) -> None:
    for arguments in (["orders"], ["--port", "99999"], ["--order-workers", "0"]):
        failed = run("serve", "--state-dir", str(tmp_path / "state"), *arguments)
        assert failed.returncode == 2, failed.stderr
        assert "nothing was started" in failed.stderr
