"""The Kubernetes API double for tests: in-process in virtual time, with or without a socket.

Without a socket (unit tests): lightkube's HTTP client talks to the API through a transport, in this thread.

    double = kube_double()                               # an empty cluster; double.api is the KubeApi
    double.add_nodes(3, cpu="4", memory="16Gi", zones=("a", "b"))
    double.deploy("order", replicas=3, namespace="shop", cpu="500m")
    double.advance(5)                                    # five seconds of the cluster's time
    cluster = double.cluster()                           # the Cluster port; double.cluster(token=double.token_for(role))
    double.call("GET", "/api/v1/nodes")                  # (status, document), raw
    double.fault(verb="create", resource="pods/eviction", status=429)    # one rule of services/kube_api/faults.py
    double.calls                                         # the call log, newest last

Over HTTP, with a kubeconfig (contract tests, kubectl, processes):

    with double.serving(tmp_path) as kubeconfig: ...     # Path; TLS, so kubectl works unchanged
    kube_double(clock="real", speed=10)                  # time runs by itself
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.config.models import Cluster, User

from saleops.adapters.lightkube_client import KubeClient
from saleops.adapters.lightkube_cluster import LightkubeCluster
from saleops.services.cloud.cloud_time import CloudTime
from saleops.services.kube_api.app import served
from saleops.services.kube_api.core import KubeApi
from saleops.services.kube_api.faults import Rule
from saleops.services.kube_api.kubeconfig import authority_of, certificate_in, kubeconfig
from saleops.services.kube_api.machines import Machine, add_node
from saleops.services.kube_api.settings import Settings
from saleops.services.kube_api.users import ADMIN, grants_of
from saleops.services.kube_api.users import User as ApiUser
from saleops.services.kube_api.wire import Request

TOKEN = "test-token"
START_MS = 1_793_900_000_000  # 2026-11-05
ZONE = "topology.kubernetes.io/zone"


class KubeTransport(httpx2.BaseTransport):
    """lightkube's way into an API in this process."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        body = request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        answer = self._api.handle(
            Request(request.method, request.url.path, request.url.query.decode(), headers, body)
        )
        if answer.after_s:
            timeout_s = request.extensions.get("timeout", {}).get("read")
            if timeout_s is not None and answer.after_s > timeout_s:
                raise httpx2.ReadTimeout("too slow", request=request)
            time.sleep(answer.after_s)
        if answer.lost:
            raise httpx2.RemoteProtocolError("the server went away", request=request)
        if answer.watch is not None:
            stream = _WatchStream(self._api, answer.watch)
            return httpx2.Response(answer.status, headers=list(answer.headers), stream=stream)
        return httpx2.Response(answer.status, headers=list(answer.headers), content=answer.body)


class _WatchStream(httpx2.SyncByteStream):
    def __init__(self, api: KubeApi, watch: Any) -> None:
        self._api = api
        self._watch = watch

    def __iter__(self) -> Iterator[bytes]:
        while True:
            with self._api.lock:
                lines = self._watch.take()
            yield from lines
            if self._watch.closed and not lines:
                return
            if not lines:
                self._watch.wait(self._watch.wait_s() + 0.001)

    def close(self) -> None:
        with self._api.lock:
            self._watch.close()


class KubeDouble:
    def __init__(self, api: KubeApi) -> None:
        self.api = api

    def advance(self, seconds: float) -> None:
        self.api.advance(seconds)

    @property
    def calls(self) -> list[dict[str, Any]]:
        return list(self.api.calls.calls)

    def fault(self, **rule: Any) -> None:
        self.api.faults.add(Rule(**rule))

    def add_nodes(
        self,
        count: int,
        *,
        prefix: str = "node",
        zones: tuple[str, ...] = ("zone-a",),
        labels: Mapping[str, str] | None = None,
        **machine: Any,
    ) -> list[str]:
        """``prefix-0`` and so on, one zone after the other; their names."""
        names = []
        for place in range(count):
            name = f"{prefix}-{place}"
            its = {ZONE: zones[place % len(zones)], **(labels or {})}
            add_node(self.api, Machine(name=name, labels=its, **machine))
            names.append(name)
        return names

    def create(self, path: str, document: Mapping[str, Any]) -> dict[str, Any]:
        status, made = self.call("POST", path, document)
        assert status == 201, made
        return made

    def make_namespace(self, name: str) -> None:
        status, _ = self.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        assert status in (201, 409)

    def deploy(
        self,
        name: str,
        *,
        replicas: int = 1,
        namespace: str = "default",
        cpu: str = "100m",
        memory: str = "64Mi",
        kind: str = "Deployment",
        grace_s: int = 30,
        annotations: Mapping[str, str] | None = None,
        spec: Mapping[str, Any] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """A workload of pods labelled ``app: name``. ``spec`` is added to the pod's, ``more`` to the workload's."""
        self.make_namespace(namespace)
        plural = {
            "Deployment": "deployments",
            "StatefulSet": "statefulsets",
            "DaemonSet": "daemonsets",
        }[kind]
        return self.create(
            f"/apis/apps/v1/namespaces/{namespace}/{plural}",
            workload(
                name, replicas=replicas, cpu=cpu, memory=memory, kind=kind, grace_s=grace_s,
                annotations=annotations, spec=spec, more=more,
            ),
        )  # fmt: skip

    def budget(self, name: str, *, namespace: str = "default", app: str, **spec: Any) -> None:
        """A PodDisruptionBudget over the pods of ``app``: ``minAvailable=2``."""
        body = {
            "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": {"app": app}}, **spec},
        }
        self.create(f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets", body)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: str = "",
        content_type: str = "application/json",
        token: str = TOKEN,
    ) -> tuple[int, Any]:
        headers = {
            "authorization": f"Bearer {token}",
            "content-type": content_type,
            "user-agent": "test/1",
            "host": "127.0.0.1:6443",
        }
        content = b"" if body is None else json.dumps(body).encode()
        answer = self.api.handle(Request(method, path, query, headers, content))
        return answer.status, answer.document() if answer.body[:1] in (b"{", b"[") else answer.body

    def patch(
        self, path: str, body: Any, kind: str = "merge", *, query: str = ""
    ) -> tuple[int, Any]:
        """``kind``: merge, strategic, json or apply."""
        types = {
            "merge": "application/merge-patch+json",
            "strategic": "application/strategic-merge-patch+json",
            "json": "application/json-patch+json",
            "apply": "application/apply-patch+yaml",
        }
        return self.call("PATCH", path, body, query=query, content_type=types[kind])

    def token_for(
        self, role: Mapping[str, Any], *, name: str = "system:serviceaccount:shop:robot"
    ) -> str:
        """A token that may do what the Role or ClusterRole document ``role`` says, and nothing else."""
        token = f"token-{len(self.api.users)}"
        self.api.users[token] = ApiUser(name, grants_of(dict(role)))
        return token

    def config(self, *, token: str = TOKEN, namespace: str | None = None) -> SingleConfig:
        config = KubeConfig.from_one(
            cluster=Cluster(server="http://127.0.0.1:1"),
            user=User(token=token),
            namespace=namespace,
        )
        found = config.get()
        assert found is not None
        return found

    def cluster(self, *, token: str = TOKEN, **client: Any) -> LightkubeCluster:
        """The port's adapter, without a socket. It waits for nothing between retries."""
        settings = {"sleep": lambda seconds: None, **client}
        return LightkubeCluster(
            KubeClient(self.config(token=token), transport=KubeTransport(self.api), **settings)
        )

    @contextmanager
    def serving(self, folder: Path, *, token: str = TOKEN, port: int = 0) -> Iterator[Path]:
        """Over HTTPS on loopback; the path of the kubeconfig."""
        certificate = certificate_in(folder)
        with served(self.api, port=port, certificate=certificate) as url:
            file = folder / "kubeconfig"
            text = kubeconfig(url, token, authority=authority_of(certificate[0]))
            file.write_text(text)
            file.chmod(0o600)
            yield file


def workload(
    name: str,
    *,
    replicas: int = 1,
    cpu: str = "100m",
    memory: str = "64Mi",
    kind: str = "Deployment",
    grace_s: int = 30,
    annotations: Mapping[str, str] | None = None,
    spec: Mapping[str, Any] | None = None,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    container = {
        "name": "app",
        "image": "registry.example/app:1",
        "resources": {"requests": {"cpu": cpu, "memory": memory}},
    }
    pod = {"terminationGracePeriodSeconds": grace_s, "containers": [container], **(spec or {})}
    size = {} if kind == "DaemonSet" else {"replicas": replicas}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            **size,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": dict(annotations or {})},
                "spec": pod,
            },
            **(more or {}),
        },
    }


def kube_double(
    *, clock: str = "virtual", speed: float = 1.0, start_ms: int = START_MS, **settings: Any
) -> KubeDouble:
    """An empty cluster with one admin. ``settings``: services/kube_api/settings.py."""
    mode = "real" if clock == "real" else "virtual"
    time_ = CloudTime(start_ms, mode=mode, speed=speed)  # type: ignore[arg-type]
    return KubeDouble(KubeApi(time_, users={TOKEN: ADMIN}, settings=Settings(**settings)))
