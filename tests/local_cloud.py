"""The local Alibaba Cloud for tests: in-process, and as a real process.

In-process, in virtual time, without a disk (nothing to close):

    cloud = local_cloud()                          # or local_cloud(seed="x", faults=FaultPlan(throttle=0.3, seed=7))
    vpc = cloud.call("vpc", "CreateVpc", RegionId=cloud.region, CidrBlock="10.0.0.0/16")["VpcId"]
    cloud.call("cs", "CreateCluster", body={...}) / cloud.call("cs", "DescribeClusterDetail", path={"ClusterId": id})
    cloud.advance(30)                              # thirty seconds of the cloud's time
    with pytest.raises(CloudRefusal) as refused: ...; refused.value.code / .status / .message / .document / .headers
    cloud.world, cloud.core, cloud.calls           # World, LocalCloud, the call log's entries (newest last)
    cloud.control("POST", "edit", {"id": vpc, "path": "Description", "value": "by hand"})   # the /_local/ API

``call`` signs with V3 and goes through ``LocalCloud.handle``, so signature, checks, tokens and faults all count. Parameters are
Python values (lists and objects are flattened); ``params={...}`` takes names that are no keywords. A field of type json
reaches the answerer as the parsed document. An answer that was lost raises AnswerLost (the call was carried out).

A real process, for clients that speak HTTP (the ports are free ones, the process ends with the block):

    with cloud_process(tmp_path) as address:       # virtual time; cloud_process(tmp_path, clock="real", speed=60.0)
        address.url, address.host (without scheme), address.access_key_id, address.access_key_secret, address.region
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from cloud_signing import signed_v3
from saleops.cloudapi import api_of
from saleops.cloudapi.wire import flatten
from saleops.services.cloud.call_log import CallLog
from saleops.services.cloud.cloud_time import CloudTime
from saleops.services.cloud.control import Control
from saleops.services.cloud.core import LocalCloud
from saleops.services.cloud.faults import FaultPlan, Faults
from saleops.services.cloud.products.sts import root_arn
from saleops.services.cloud.signatures import Key
from saleops.services.cloud.wire import WireRequest, WireResponse
from saleops.services.cloud.world import World

if TYPE_CHECKING:
    from saleops.config.local_cloud import CloudAddress

REGION = "ap-southeast-1"
START_MS = 1_793_900_000_000  # 2026-11-05
HOST = "127.0.0.1:8400"
FORM = "application/x-www-form-urlencoded"


class CloudRefusal(Exception):
    """An answer of 400 and above."""

    def __init__(self, status: int, document: Any, headers: Mapping[str, str]) -> None:
        inner = document if isinstance(document, dict) else {}
        self.status = status
        self.document = document
        self.headers = headers
        self.code = str(inner.get("Code") or inner.get("code") or "")
        self.message = str(inner.get("Message") or inner.get("message") or "")
        super().__init__(f"{status} {self.code}: {self.message}")


class AnswerLost(Exception):
    """The call was carried out, and its answer never arrived."""


@dataclass
class InProcessCloud:
    core: LocalCloud
    time: CloudTime
    region: str = REGION
    token: str = field(default="", repr=False)  # of a temporary key
    key: Key | None = None

    @property
    def world(self) -> World:
        return self.core.world

    @property
    def calls(self) -> list[dict[str, Any]]:
        return list(self.core.calls.calls)

    def advance(self, seconds: float) -> None:
        self.time.advance(seconds)

    def call(
        self,
        product: str,
        api: str,
        *,
        params: Mapping[str, Any] | None = None,
        path: Mapping[str, str] | None = None,
        body: Any = None,
        **more: Any,
    ) -> Any:
        """The answer's document. Raises CloudRefusal or AnswerLost."""
        request = self.request(
            product, api, params={**(params or {}), **more}, path=path, body=body
        )
        response = self.core.handle(request)
        if response.lost:
            raise AnswerLost(f"{product} {api}")
        document = response.document()
        if response.status >= 400:
            raise CloudRefusal(response.status, document, dict(response.headers))
        return document

    def request(
        self,
        product: str,
        api: str,
        *,
        params: Mapping[str, Any],
        path: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> WireRequest:
        """A signed request."""
        table = api_of(product, api)
        flat = flatten(table, params)
        target = table.path or "/"
        for name, value in (path or {}).items():
            target = target.replace(f"[{name}]", quote(value, safe="~"))
        content, content_type, query = b"", "", flat
        if table.form:
            content, content_type, query = urlencode(flat).encode(), FORM, {}
        elif body is not None:
            content, content_type = json.dumps(body).encode(), "application/json; charset=utf-8"
        return self.send_signed(table.method, target, query, content, table, content_type)

    def send_signed(
        self,
        method: str,
        target: str,
        query: Mapping[str, str],
        content: bytes,
        table: Any,
        content_type: str,
    ) -> WireRequest:
        from urllib.parse import unquote

        key = self.key or self.core.key
        query_text, headers = signed_v3(
            method=method,
            path=target,
            query=query,
            body=content,
            action=table.name,
            version=table.product.version,
            key_id=key.id,
            secret=key.secret,
            token=key.token,
            host=HOST,
            content_type=content_type,
        )
        return WireRequest(method, unquote(target), query_text, headers, content)

    def control(self, method: str, name: str, body: Any = None, *, query: str = "") -> Any:
        """A call of the control API, ``/_local/<name>``."""
        response: WireResponse = self.core.handle(
            WireRequest(
                method,
                f"/_local/{name}",
                query,
                {"host": HOST, "authorization": f"Bearer {self.core.key.secret}"},
                b"" if body is None else json.dumps(body).encode(),
            )
        )
        if response.status >= 400:
            raise CloudRefusal(response.status, response.document(), dict(response.headers))
        return response.document()


def trust_of(account: str) -> str:
    """The policy of a role that ``account`` may assume."""
    statement = {
        "Action": "sts:AssumeRole",
        "Effect": "Allow",
        "Principal": {"RAM": [root_arn(account)]},
    }
    return json.dumps({"Version": "1", "Statement": [statement]})


def local_cloud(
    *,
    seed: str = "test",
    region: str = REGION,
    faults: FaultPlan | None = None,
    list_lag_ms: int = 3_000,
    start_ms: int = START_MS,
) -> InProcessCloud:
    """A local cloud in virtual time, without a disk."""
    time = CloudTime(start_ms)
    world = World(time, seed=seed, list_lag_ms=list_lag_ms)
    key = Key("LTAItestkey", "test-secret", root_arn(world.account), world.account)
    core = LocalCloud(
        world,
        key=key,
        region=region,
        control=Control(time),
        faults=Faults(faults, now_ms=time.now_ms),
        calls=CallLog(),
    )
    return InProcessCloud(core, time, region)


@contextmanager
def cloud_process(state_dir: Path, **settings: Any) -> Iterator["CloudAddress"]:
    """A local cloud in a process of its own on ``state_dir``, and its address; proxies are off meanwhile."""
    from saleops import wiring

    proxies = [
        name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "all_proxy")
    ]
    before = {name: os.environ.pop(name) for name in proxies}
    try:
        with wiring.open_local_cloud(state_dir, **settings) as opened:
            yield opened.address
    finally:
        os.environ.update(before)
