"""The ``Cloud`` port over Alibaba Cloud's own SDK: the generic call of tea-openapi, signed with V3, one attempt a send.

One client a product, made when it is first called. ACK goes through its own SDK's client, a subclass, but through the same
generic call with raw bodies: the typed models would write every unset list as ``[]``, and nobody documents what a partial update
makes of that. Answers are taken as text and read here, for the SDK reports an empty body, as some ACK calls
answer, as a failure without a code.

Proxies: the SDK sends everything to HTTP_PROXY or HTTPS_PROXY and has no ear for NO_PROXY, not even for loopback. So where
NO_PROXY or common sense says "direct", the variables are taken out of the environment for the length of the call.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from saleops.adapters.aliyun_endpoints import Endpoint
from saleops.adapters.aliyun_errors import error_from_sdk, refusal_in
from saleops.adapters.aliyun_logging import hush
from saleops.adapters.aliyun_request import WireCall, wire_of
from saleops.cloudapi import Product
from saleops.domain.cloud.calls import Answer, Call
from saleops.errors import CloudError
from saleops.ports.cloud import CloudClock

if TYPE_CHECKING:
    from saleops.adapters.aliyun_credentials import Credentials

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 10.0
_PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy")


class WallClock:
    """The clock of the real cloud: the machine's."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def sleep(self, seconds: float) -> None:
        time.sleep(max(seconds, 0.0))


class AliyunCloud:
    """Calls of ``region``, signed by ``credentials``, to wherever ``endpoint_of`` says. Not for several threads at once.

    ``credentials`` and ``region_origin`` (who named the region) are there for whoever asks who we are.
    """

    def __init__(
        self,
        *,
        region: str,
        credentials: "Credentials",
        endpoint_of: Callable[[Product], Endpoint],
        name: str = "",
        region_origin: str = "",
        clock: CloudClock | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        self._region = region
        self._name = name or f"Alibaba Cloud ({region})"
        self._clock = clock or WallClock()
        self.credentials = credentials
        self.region_origin = region_origin
        self._endpoint_of = endpoint_of
        self._timeouts_ms = (round(connect_timeout_s * 1000), round(read_timeout_s * 1000))
        self._clients: dict[str, Any] = {}

    @property
    def region(self) -> str:
        return self._region

    @property
    def name(self) -> str:
        return self._name

    @property
    def clock(self) -> CloudClock:
        return self._clock

    def endpoint_of(self, product: Product) -> Endpoint:
        """Where calls of ``product`` go."""
        return self._endpoint_of(product)

    def send(self, call: Call, *, token: str = "") -> Answer:
        """See ``ports.cloud.Cloud.send``."""
        wire = wire_of(call, token)
        endpoint = self._endpoint_of(wire.api.product)
        client = self._client(wire.api.product, endpoint)
        try:
            with _proxies_for(endpoint):
                answer = _sent(client, wire, endpoint.protocol)
        except Exception as error:  # noqa: BLE001  the SDK wraps whatever went wrong, its own bugs too
            raise error_from_sdk(call, error, endpoint.host) from None
        return _read(call, wire, answer, endpoint)

    def _client(self, product: Product, endpoint: Endpoint) -> Any:
        client = self._clients.get(product.code)
        if client is None:
            client = self._clients[product.code] = self._new_client(product, endpoint)
        return client

    def _new_client(self, product: Product, endpoint: Endpoint) -> Any:
        from alibabacloud_tea_openapi.utils_models import Config

        connect_ms, read_ms = self._timeouts_ms
        config = Config(
            credential=self.credentials.signer,
            region_id=self._region,
            endpoint=endpoint.host,
            protocol=endpoint.protocol,
            connect_timeout=connect_ms,
            read_timeout=read_ms,
            user_agent="saleops",
            ca=os.environ.get("REQUESTS_CA_BUNDLE") or None,
        )
        client: Any
        if product.code == "cs":
            from alibabacloud_cs20151215.client import Client as AckClient

            client = AckClient(config)
        else:
            from alibabacloud_tea_openapi.client import Client

            client = Client(config)
        hush()
        return client


def _sent(client: Any, wire: WireCall, protocol: str) -> Mapping[str, Any]:
    from alibabacloud_tea_openapi.utils_models import OpenApiRequest, Params
    from darabonba.runtime import RuntimeOptions

    api = wire.api
    params = Params(
        action=api.name,
        version=api.product.version,
        protocol=protocol,
        pathname=wire.path,
        method=api.method,
        auth_type="AK",
        style=api.product.style,
        req_body_type="formData" if api.form else "json",
        body_type="string",
    )
    request = OpenApiRequest(query=dict(wire.query), body=wire.body, headers={})
    answer: Mapping[str, Any] = client.call_api(params, request, RuntimeOptions())
    return answer


def _read(call: Call, wire: WireCall, answer: Mapping[str, Any], endpoint: Endpoint) -> Answer:
    text, status = answer["body"], answer["statusCode"]
    if not text.strip() and wire.api.product.style == "ROA" and not wire.api.reads:
        return {}  # ACK answers some writes so
    try:
        document = json.loads(text)
    except ValueError as error:
        raise CloudError(
            f"{call}: {endpoint.host} answered what is no JSON document; nobody knows whether it was carried out",
            kind="unknown",
            status=status,
            hint="Run the same command again: it looks first.",
        ) from error
    refusal = refusal_in(call, document, status)
    if refusal is not None:
        raise refusal
    if isinstance(document, list):  # some ACK lists answer a bare array
        return {"": document}
    return document if isinstance(document, Mapping) else {"": document}


@contextmanager
def _proxies_for(endpoint: Endpoint) -> Iterator[None]:
    """The environment as the SDK should see it: without proxies where ``endpoint`` is to be reached directly."""
    hidden = {name: os.environ[name] for name in _PROXIES if name in os.environ}
    if not hidden or not _direct(endpoint):
        yield
        return
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)


def _direct(endpoint: Endpoint) -> bool:
    if endpoint.is_loopback:
        return True
    from requests.utils import should_bypass_proxies

    return bool(should_bypass_proxies(endpoint.url, no_proxy=None))
