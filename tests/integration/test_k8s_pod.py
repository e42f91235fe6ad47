"""A pod as it is rendered, without a cluster: its command, its settings, its probes and its shutdown budget, on loopback.

The gateway needs no engine, so it is the one that runs here; the other services start by the same command.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from k8s_golden import SALE
from saleops.config.profile import default_profile
from saleops.config.sale import load_sale
from saleops.operations.k8s_texts import texts_of
from saleops.operations.render_k8s import manifests_of

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    sale = load_sale(SALE)
    sizes = {**sale.services, "gateway": sale.services["catalog"]}
    with_gateway = sale.model_copy(update={"services": sizes})
    planned = manifests_of(with_gateway, default_profile(), images="registry.example.com/shop")
    return texts_of(planned, with_gateway)


def pod_of(texts: dict[str, str]) -> dict[str, Any]:
    (deployment,) = (
        one
        for one in yaml.safe_load_all(texts["services/gateway.yaml"])
        if one["kind"] == "Deployment"
    )
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def running(texts: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, int]]]:
    container = pod_of(texts)["containers"][0]
    ports = {one["name"]: free_port() for one in container["ports"]}
    changed = {
        "--host": "127.0.0.1",
        "--admin-host": "127.0.0.1",
        "--port": str(ports["http"]),
        "--admin-port": str(ports["admin"]),
        "--name": "gateway-0",
    }
    arguments = []
    for one in container["args"]:
        flag, _, value = one.partition("=")
        arguments.append(f"{flag}={changed.get(flag, value)}")
    secret = next(
        one
        for one in yaml.safe_load_all(texts["secret.example.yaml"])
        if one["metadata"]["name"] == "gateway-settings"
    )
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SALEOPS_")},
        "SALEOPS_SERVICE_SETTINGS": secret["stringData"]["settings.json"],
    }
    assert json.loads(environment["SALEOPS_SERVICE_SETTINGS"])["upstreams"]
    process = subprocess.Popen(
        [sys.executable, *container["command"][1:], *arguments],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process, ports
    finally:
        process.kill()
        process.wait(10)


def asked(probe: dict[str, Any], ports: dict[str, int]) -> int:
    """The status that a kubelet would see; 0: no answer in time."""
    get = probe["httpGet"]
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{ports[get['port']]}{get['path']}", timeout=probe["timeoutSeconds"]
        ) as answer:
            return int(answer.status)
    except OSError:
        return 0


def test_a_rendered_pod_starts_becomes_ready_and_ends_within_its_grace(
    texts: dict[str, str],
) -> None:
    pod = pod_of(texts)
    container = pod["containers"][0]
    with running(texts) as (process, ports):
        began = time.monotonic()
        window_s = (
            container["startupProbe"]["periodSeconds"]
            * container["startupProbe"]["failureThreshold"]
        )
        while asked(container["readinessProbe"], ports) != 200:
            assert process.poll() is None
            assert time.monotonic() - began < min(window_s, 60)
            time.sleep(0.1)
        assert asked(container["startupProbe"], ports) == 200
        assert asked(container["livenessProbe"], ports) == 200

        told = time.monotonic()
        process.send_signal(signal.SIGTERM)
        code = process.wait(pod["terminationGracePeriodSeconds"])
        took_s = time.monotonic() - told

    left_s = (
        pod["terminationGracePeriodSeconds"] - container["lifecycle"]["preStop"]["sleep"]["seconds"]
    )
    assert code == 0
    assert took_s < left_s
