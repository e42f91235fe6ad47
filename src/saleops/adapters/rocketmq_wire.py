"""Requests to RocketMQ's proxy, and what comes back, in bytes and plain values.

Times here are in milliseconds: the wire has nanoseconds, only the client's own interface is limited to seconds.
"""

import hashlib
import secrets
import socket
from collections.abc import Mapping, Sequence
from typing import Any

TX_ID, ORIGIN_TOPIC, TRACE = "tx_id", "origin_topic", "traceparent"
REASON, ATTEMPT, ORIGIN_ID = "reason", "attempt", "origin_id"
NOTE = "note"

_REASON_MAX = 1_000  # all properties of a message share 16 KiB

_ID_BYTES = 16


def half_id(name: str, tx_id: str) -> str:
    """A half's message id, and so RocketMQ's transaction id: the same in every process that knows the tx_id."""
    digest = hashlib.sha256(f"{name}\0{tx_id}".encode()).digest()
    return "01" + digest[:_ID_BYTES].hex().upper()


def fresh_id() -> str:
    """A message id nobody else has. The client's own repeats itself after a fork, and in containers with pid 1."""
    return "01" + secrets.token_hex(_ID_BYTES).upper()


def send_request(
    name: str,
    body: bytes,
    *,
    message_id: str,
    type_name: str,
    born_ms: int,
    deliver_at_ms: int | None = None,
    key: str = "",
    properties: Mapping[str, str] | None = None,
) -> Any:
    from rocketmq.grpc_protocol import Encoding, MessageType, SendMessageRequest

    request = SendMessageRequest()
    message = request.messages.add()
    message.topic.name = name
    message.body = body
    if properties:
        message.user_properties.update({name: value for name, value in properties.items() if value})
    system = message.system_properties
    if key:
        system.keys.append(key)
    system.message_id = message_id
    system.message_type = MessageType.Value(type_name)
    system.born_timestamp.FromMilliseconds(born_ms)
    system.born_host = socket.gethostname()
    system.body_encoding = Encoding.IDENTITY
    if deliver_at_ms is not None:
        system.delivery_timestamp.FromMilliseconds(deliver_at_ms)
    return request


def plain_text(reason: str) -> str:
    """``reason`` as a property takes it: no control characters (RocketMQ parts properties with two of them), not too
    long, and not empty."""
    kept = "".join(char if char.isprintable() else " " for char in reason[:_REASON_MAX])
    return kept.strip() or "no reason given"


def bury_request(name: str, group: str, message_id: str, handle: str, attempt: int) -> Any:
    from rocketmq.grpc_protocol import ForwardMessageToDeadLetterQueueRequest

    request = ForwardMessageToDeadLetterQueueRequest()
    request.group.name = group
    request.topic.name = name
    request.message_id = message_id
    request.receipt_handle = handle
    request.delivery_attempt = request.max_delivery_attempts = attempt
    return request


def end_request(name: str, message_id: str, transaction_id: str, *, act: str, asked: bool) -> Any:
    from rocketmq.grpc_protocol import (
        EndTransactionRequest,
        TransactionResolution,
        TransactionSource,
    )

    request = EndTransactionRequest()
    request.topic.name = name
    request.message_id = message_id
    request.transaction_id = transaction_id
    request.resolution = TransactionResolution.Value(act)
    request.source = TransactionSource.Value("SOURCE_SERVER_CHECK" if asked else "SOURCE_CLIENT")
    return request


def receive_request(
    queue: Any, group: str, *, max_messages: int, invisible_ms: int, poll_ms: int
) -> Any:
    from rocketmq.grpc_protocol import FilterType, ReceiveMessageRequest

    request = ReceiveMessageRequest()
    request.group.name = group
    request.message_queue.CopyFrom(queue.message_queue0())
    request.filter_expression.type = FilterType.TAG
    request.filter_expression.expression = "*"
    request.batch_size = max_messages
    request.invisible_duration.FromMilliseconds(invisible_ms)
    request.long_polling_timeout.FromMilliseconds(poll_ms)
    request.auto_renew = False
    return request


def ack_request(name: str, group: str, deliveries: Sequence[tuple[str, str]]) -> Any:
    """``deliveries`` are pairs of message id and receipt handle."""
    from rocketmq.grpc_protocol import AckMessageRequest

    request = AckMessageRequest()
    request.group.name = group
    request.topic.name = name
    for message_id, handle in deliveries:
        entry = request.entries.add()
        entry.message_id = message_id
        entry.receipt_handle = handle
    return request


def hide_request(name: str, group: str, message_id: str, handle: str, invisible_ms: int) -> Any:
    from rocketmq.grpc_protocol import ChangeInvisibleDurationRequest

    request = ChangeInvisibleDurationRequest()
    request.group.name = group
    request.topic.name = name
    request.message_id = message_id
    request.receipt_handle = handle
    request.invisible_duration.FromMilliseconds(invisible_ms)
    return request


def route_request(name: str, endpoints: Any) -> Any:
    from rocketmq.grpc_protocol import QueryRouteRequest

    request = QueryRouteRequest()
    request.topic.name = name
    request.endpoints.CopyFrom(endpoints)
    return request


def body_of(message: Any) -> bytes | None:
    """The body, unpacked. None when it does not fit its checksum: it is left to come again."""
    from rocketmq import Message

    received = Message().fromProtobuf(message)
    return None if received.corrupted else received.body


def usable_handle(handle: str) -> str:
    """The receipt handle of a message that was hidden anew, put right.

    RocketMQ 5.3 notes the message under its own offset, but hands out the offset of the first message that was received
    with it (fields: first offset, time, invisible, revive queue, retry, broker, queue, offset ...). An acknowledgement of
    any but the first is then answered OK and finds nothing: the message comes again.
    """
    fields = handle.split(" ")
    if len(fields) > 8 and fields[0].isdecimal() and fields[7].isdecimal():
        fields[0] = fields[7]
    return " ".join(fields)


def check_status(status: Any) -> None:
    """Raises one of the client's exceptions unless all went well (or there was nothing to be had)."""
    from rocketmq.v5.util import MessagingResultChecker

    MessagingResultChecker.check(status)


def is_refusal(status: Any) -> bool:
    """Whether it is our credentials that RocketMQ does not like."""
    from rocketmq.grpc_protocol import Code

    return status.code in (Code.UNAUTHORIZED, Code.FORBIDDEN)


def is_stale(status: Any) -> bool:
    """Whether a receipt was refused because its delivery is over."""
    from rocketmq.grpc_protocol import Code

    return bool(status.code == Code.INVALID_RECEIPT_HANDLE)


def is_forgotten(status: Any) -> bool:
    """Whether the proxy lost the settings of the client that asks: it was restarted."""
    return '"settings" is null' in status.message


def is_lost_topic(status: Any) -> bool:
    """Whether the broker has no such topic, in each of the ways RocketMQ 5.3 says so."""
    from rocketmq.grpc_protocol import Code

    said = ('"topicConfig" is null', "expected type is UNSPECIFIED")
    return status.code == Code.TOPIC_NOT_FOUND or any(word in status.message for word in said)


def is_unknown_half(status: Any) -> bool:
    """Whether the proxy does not know the half: ended already, older than 30 s, or the proxy restarted."""
    return "cannot found transaction data" in status.message.lower() or (
        "transaction" in status.message.lower() and "not found" in status.message.lower()
    )
