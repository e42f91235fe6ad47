"""``make rocketmq`` on a machine where another program has its ports."""

import socket

import pytest

import rocketmq_server


def test_a_taken_port_is_named_and_nothing_is_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(rocketmq_server, "DEFAULT_PORTS", (port,) * 6)
        assert rocketmq_server.main() == 1
    assert f"error: in use: 127.0.0.1:{port}" in capsys.readouterr().out
