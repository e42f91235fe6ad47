"""A stand-in for RocketMQ's proxy, for what a real one does not do on demand: refuse, be busy, lose an answer.

It takes every message and says what the test told it to say. The gRPC stubs come with the client.
"""

import threading
from concurrent import futures
from typing import Any

import grpc

from saleops.adapters.rocketmq_client import load_client

load_client()

from rocketmq.grpc_protocol.definition_pb2 import (  # noqa: E402  # only after load_client: it makes log files else
    AddressScheme,
    Code,
    MessageType,
    Permission,
)
from rocketmq.grpc_protocol.service_pb2 import (  # noqa: E402
    EndTransactionResponse,
    HeartbeatResponse,
    NotifyClientTerminationResponse,
    QueryRouteResponse,
    SendMessageResponse,
)
from rocketmq.grpc_protocol.service_pb2_grpc import (  # noqa: E402
    MessagingServiceServicer,
    add_MessagingServiceServicer_to_server,
)


class StubProxy(MessagingServiceServicer):  # type: ignore[misc]  # the client has no types
    """``sent`` and ``ended`` are the requests so far; ``send_code`` and ``end_code`` what they are answered with."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.ended: list[Any] = []
        self.settings: list[Any] = []
        self.send_code, self.end_code = Code.OK, Code.OK
        self.hang = threading.Event()  # set: sends are not answered
        self._stopped = threading.Event()
        self._server = grpc.server(futures.ThreadPoolExecutor(16))
        add_MessagingServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    def __enter__(self) -> "StubProxy":
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._server.stop(0).wait(5)

    @property
    def url(self) -> str:
        return f"rocketmq://127.0.0.1:{self.port}"

    def QueryRoute(self, request: Any, context: Any) -> Any:  # noqa: N802  # the protocol's name
        response = QueryRouteResponse()
        response.status.code = Code.OK
        for number in range(4):
            queue = response.message_queues.add()
            queue.topic.CopyFrom(request.topic)
            queue.id = number
            queue.permission = Permission.READ_WRITE
            queue.broker.name, queue.broker.id = "stub", 0
            queue.broker.endpoints.scheme = AddressScheme.IPv4
            address = queue.broker.endpoints.addresses.add()
            address.host, address.port = "127.0.0.1", self.port
            queue.accept_message_types.extend(
                [MessageType.NORMAL, MessageType.DELAY, MessageType.TRANSACTION]
            )
        return response

    def Telemetry(self, requests: Any, context: Any) -> Any:  # noqa: N802
        for command in requests:
            if command.HasField("settings"):
                self.settings.append(command.settings)
                command.status.code = Code.OK
                command.settings.publishing.max_body_size = 4 * 2**20
                yield command

    def Heartbeat(self, request: Any, context: Any) -> Any:  # noqa: N802
        response = HeartbeatResponse()
        response.status.code = Code.OK
        return response

    def SendMessage(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.sent.append(request.messages[0])
        if self.hang.is_set():
            self._stopped.wait(30)
        response = SendMessageResponse()
        response.status.code = self.send_code
        entry = response.entries.add()
        entry.status.code = self.send_code
        entry.message_id = request.messages[0].system_properties.message_id
        entry.transaction_id = entry.message_id
        return response

    def EndTransaction(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.ended.append(request)
        response = EndTransactionResponse()
        response.status.code = self.end_code
        return response

    def NotifyClientTermination(self, request: Any, context: Any) -> Any:  # noqa: N802
        response = NotifyClientTerminationResponse()
        response.status.code = Code.OK
        return response
