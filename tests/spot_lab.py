"""A node that is reclaimed, on loopback: the real handler, the metadata double, the Kubernetes API double in real time."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kube_double import TOKEN, KubeDouble, kube_double
from saleops.services.kube_api.users import User, grants_of
from saleops.services.spot_handler.metadata_double import MetadataDouble, served_metadata

SPOT = {"node.alibabacloud.com/spot-strategy": "SpotAsPriceGo"}
NODES = "/api/v1/nodes"


@dataclass
class HandlerProcess:
    process: subprocess.Popen[bytes]
    log: Path

    def kill(self, signum: int = signal.SIGKILL) -> None:
        self.process.send_signal(signum)
        self.process.wait(10)

    @property
    def text(self) -> str:
        return self.log.read_text()

    @property
    def port(self) -> int:
        found: list[int] = []

        def listens() -> bool:
            words = self.text.partition("probes and metrics on port ")[2].split('"')
            found[:] = [int(words[0])] if words[0].strip().isdigit() else []
            return bool(found)

        eventually(listens)
        return found[0]

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name: str) -> float:
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(name + " "):
                return float(line.split()[-1])
        return 0.0


@dataclass
class SpotLab:
    double: KubeDouble
    folder: Path
    kubeconfig: Path
    port: int
    stack: ExitStack
    running: list[HandlerProcess] = field(default_factory=list)

    def api_goes_away(self, for_s: float) -> None:
        """Nobody listens on the API's port for a while; what is in the cluster goes on."""
        self.stack.close()
        ends = time.monotonic() + for_s
        while time.monotonic() < ends:
            self.double.api.catch_up()
            time.sleep(0.05)
        self.stack.enter_context(self.double.serving(self.folder, port=self.port))

    def limit_to(self, roles: Iterable[Mapping[str, Any]]) -> None:
        """From now on handlers may do what these Roles and ClusterRoles say, and nothing else."""
        token = "limited"
        grants = tuple(
            grant
            for role in roles
            for grant in grants_of(dict(role), namespace=role["metadata"].get("namespace", ""))
        )
        self.double.api.users[token] = User("system:serviceaccount:nodes:spot-handler", grants)
        self.kubeconfig.write_text(self.kubeconfig.read_text().replace(TOKEN, token))

    def start(self, node: str, metadata: MetadataDouble, **settings: object) -> HandlerProcess:
        """The handler of ``node``; ``settings``: margin_s=5 is SALEOPS_SPOT_MARGIN_S."""
        own = {f"SALEOPS_SPOT_{name.upper()}": str(value) for name, value in settings.items()}
        environment = {
            **{
                name: value for name, value in os.environ.items() if not name.startswith("SALEOPS_")
            },
            "NODE_NAME": node,
            "KUBECONFIG": str(self.kubeconfig),
            "SALEOPS_METADATA_URL": metadata.url,
            "SALEOPS_SPOT_ADMIN_HOST": "127.0.0.1",
            "SALEOPS_SPOT_ADMIN_PORT": "0",
            "SALEOPS_SPOT_TICK_S": "0.25",
            **own,
        }
        log = self.folder / f"handler-{len(self.running)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "saleops.services.spot_handler"],
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        handler = HandlerProcess(process, log)
        self.running.append(handler)
        return handler

    def node(self, name: str) -> dict[str, Any]:
        status, document = self.double.call("GET", f"{NODES}/{name}")
        assert status == 200, document
        return dict(document)

    def cordoned(self, name: str) -> bool:
        return bool(self.node(name)["spec"].get("unschedulable"))

    def pods(self, node: str = "", app: str = "") -> list[dict[str, Any]]:
        _, listed = self.double.call("GET", "/api/v1/pods")
        return [
            one
            for one in listed["items"]
            if (not node or one["spec"].get("nodeName") == node)
            and (not app or one["metadata"].get("labels", {}).get("app") == app)
        ]

    def ready(self, app: str) -> int:
        return sum(
            1
            for one in self.pods(app=app)
            if "deletionTimestamp" not in one["metadata"]
            and any(
                (c["type"], c["status"]) == ("Ready", "True")
                for c in one["status"].get("conditions", [])
            )
        )

    def wanted(self, name: str, namespace: str = "shop") -> int:
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
        return int(self.double.call("GET", path)[1]["spec"]["replicas"])

    def asked(self, verb: str, resource: str) -> list[dict[str, Any]]:
        return [
            call
            for call in self.double.calls
            if (call.get("verb"), call.get("resource")) == (verb, resource)
        ]


@contextmanager
def spot_lab(folder: Path, **settings: Any) -> Iterator[SpotLab]:
    double = kube_double(clock="real", start_ms=int(time.time() * 1000), **settings)
    with ExitStack() as stack:
        kubeconfig = stack.enter_context(double.serving(folder))
        port = int(kubeconfig.read_text().partition("127.0.0.1:")[2].split()[0])
        lab = SpotLab(double, folder, kubeconfig, port, stack)
        try:
            yield lab
        finally:
            for handler in lab.running:
                if handler.process.poll() is None:
                    handler.kill(signal.SIGTERM)


@contextmanager
def metadata_for(**settings: Any) -> Iterator[MetadataDouble]:
    with served_metadata(MetadataDouble(**settings)) as metadata:
        yield metadata


def eventually(true: Callable[[], object], *, within_s: float = 15.0) -> float:
    """Wait until ``true()`` holds; how long it took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < within_s, f"not so after {within_s:g} s"
        time.sleep(0.05)
    return time.monotonic() - began
