"""The bytes of RocketMQ's remoting protocol, apart from any socket: command frames, fastjson, stored messages.

A frame is ``length | kind and header length | header JSON | body``; a stored message is the record that the broker keeps in
its commit log and hands out as it is. Everything that comes from the wire may be wrong: what does not decode raises
``FrameError`` and nothing else. Layouts as of RocketMQ 5.3.3 (``RemotingCommand``, ``MessageDecoder``, read in November 2026).
"""

import json
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from saleops.errors import StoreUnavailable

MAX_FRAME = 32 * 1024 * 1024  # the broker's own bound for a batch of pulled messages is far below
MAX_BODY = 16 * 1024 * 1024  # a decompressed message body; brokers take 4 MiB
MAX_NESTING = 32

_LANGUAGE = "OTHER"
_VERSION = 481  # MQVersion.V5_3_3: brokers answer newer clients in standard JSON where they can
_RESPONSE = 1  # bit of ``flag``


class FrameError(StoreUnavailable):
    """The bytes are no frame, no JSON or no message of RocketMQ's."""


class Reply(msgspec.Struct, frozen=True):
    opaque: int
    code: int
    remark: str
    fields: Mapping[str, str]
    body: bytes

    def whole(self, name: str) -> int:
        """The field ``name`` as an integer."""
        try:
            return int(self.fields[name])
        except (KeyError, ValueError) as error:
            raise FrameError(f"RocketMQ answered without a whole number {name!r}") from error


def pack(opaque: int, code: int, fields: Mapping[str, str], body: bytes = b"") -> bytes:
    """A request."""
    header = json.dumps(
        {
            "code": code,
            "language": _LANGUAGE,
            "version": _VERSION,
            "opaque": opaque,
            "flag": 0,
            "extFields": dict(fields),
            "serializeTypeCurrentRPC": "JSON",
        },
        separators=(",", ":"),
    ).encode()
    length = 4 + len(header) + len(body)
    # The first byte of the second word says how the header is written: 0 is JSON.
    return struct.pack(">II", length, len(header)) + header + body


def frame_length(prefix: bytes) -> int:
    """How many bytes follow the four of ``prefix``."""
    if len(prefix) != 4:
        raise FrameError("RocketMQ's answer ends in the middle of a frame")
    length = int.from_bytes(prefix, "big")
    if not 4 <= length <= MAX_FRAME:
        raise FrameError(f"the answer is no frame of RocketMQ's (length {length})")
    return length


def unpack(frame: bytes) -> Reply:
    """An answer, without its length prefix."""
    if len(frame) < 4:
        raise FrameError("RocketMQ's answer is cut off")
    kind, header_length = frame[0], int.from_bytes(frame[1:4], "big")
    if kind != 0 or header_length > len(frame) - 4:
        raise FrameError("the answer's header is not RocketMQ's JSON")
    header = parse_json(frame[4 : 4 + header_length])
    if not isinstance(header, dict):
        raise FrameError("the answer's header is not an object")
    code, opaque, flag = (header.get(name, 0) for name in ("code", "opaque", "flag"))
    fields = header.get("extFields") or {}
    if not all(isinstance(n, int) for n in (code, opaque, flag)) or not isinstance(fields, dict):
        raise FrameError("the answer's header has no code")
    if not flag & _RESPONSE:
        raise FrameError("RocketMQ sent a request where an answer was due")
    return Reply(
        opaque,
        code,
        str(header.get("remark") or ""),
        {str(name): str(value) for name, value in fields.items()},
        frame[4 + header_length :],
    )


_PIECE = re.compile(
    r'\s*(?:(?P<text>"(?:[^"\\\x00-\x1f]|\\.)*")'
    r"|(?P<number>-?\d{1,40}(?:\.\d{1,40})?(?:[eE][+-]?\d{1,3})?)"
    r"|(?P<word>true|false|null)|(?P<mark>[{}\[\]:,]))"
)
_WORDS = {"true": True, "false": False, "null": None}


def parse_json(data: bytes) -> Any:
    """JSON as fastjson writes it: an object's keys may be numbers or objects themselves (``{0:"a"}``,
    ``{{"queueId":1}:2}``). A number becomes its text, an object the tuple of its sorted items.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise FrameError("RocketMQ's answer is not UTF-8") from error
    try:  # nearly everything is ordinary JSON, and json is much faster
        return json.loads(text)
    except (ValueError, RecursionError):
        value, end = _value(text, 0, 0)
    if text[end:].strip():
        raise FrameError("RocketMQ's answer goes on behind its JSON")
    return value


def _piece(text: str, at: int) -> tuple[str, str, int]:
    match = _PIECE.match(text, at)
    if match is None or match.lastgroup is None:
        raise FrameError(f"RocketMQ's answer is not JSON at character {at}")
    return match.lastgroup, match[match.lastgroup], match.end()


def _value(text: str, at: int, depth: int) -> tuple[Any, int]:
    if depth > MAX_NESTING:
        raise FrameError("RocketMQ's answer is nested too deeply")
    kind, piece, end = _piece(text, at)
    if kind == "text":
        try:
            return json.loads(piece), end
        except ValueError as error:
            raise FrameError(f"RocketMQ's answer has a broken text at character {at}") from error
    if kind == "number":
        return (int(piece) if piece.lstrip("-").isdigit() else float(piece)), end
    if kind == "word":
        return _WORDS[piece], end
    if piece == "{":
        return _object(text, end, depth)
    if piece == "[":
        return _array(text, end, depth)
    raise FrameError(f"RocketMQ's answer is not JSON at character {at}")


def _array(text: str, at: int, depth: int) -> tuple[list[Any], int]:
    items: list[Any] = []
    kind, piece, end = _piece(text, at)
    if (kind, piece) == ("mark", "]"):
        return items, end
    while True:
        value, at = _value(text, at, depth + 1)
        items.append(value)
        kind, piece, at = _piece(text, at)
        if (kind, piece) == ("mark", "]"):
            return items, at
        if (kind, piece) != ("mark", ","):
            raise FrameError(f"RocketMQ's answer is not JSON at character {at}")


def _object(text: str, at: int, depth: int) -> tuple[dict[Any, Any], int]:
    items: dict[Any, Any] = {}
    kind, piece, end = _piece(text, at)
    if (kind, piece) == ("mark", "}"):
        return items, end
    while True:
        key, at = _value(text, at, depth + 1)
        kind, piece, at = _piece(text, at)
        if (kind, piece) != ("mark", ":"):
            raise FrameError(f"RocketMQ's answer is not JSON at character {at}")
        items[_key(key)], at = _value(text, at, depth + 1)
        kind, piece, at = _piece(text, at)
        if (kind, piece) == ("mark", "}"):
            return items, at
        if (kind, piece) != ("mark", ","):
            raise FrameError(f"RocketMQ's answer is not JSON at character {at}")


def _key(value: Any) -> Any:
    if isinstance(value, dict):
        try:
            return tuple(sorted((str(name), inner) for name, inner in value.items()))
        except TypeError as error:
            raise FrameError("RocketMQ's answer has a key that is no key") from error
    if isinstance(value, list):
        raise FrameError("RocketMQ's answer has a list for a key")
    return str(value)


class StoredMessage(msgspec.Struct, frozen=True):
    """A message as the broker keeps it. ``offset`` is its place in its queue; ``attempts`` how often it was given again."""

    topic: str
    broker: str
    queue: int
    offset: int
    body: bytes
    properties: Mapping[str, str]
    born_ms: int
    stored_ms: int
    attempts: int

    @property
    def message_id(self) -> str:
        """The producer's id of it; a re-sent or revived copy has the same."""
        return self.properties.get("UNIQ_KEY", "")

    @property
    def keys(self) -> list[str]:
        return self.properties.get("KEYS", "").split()

    @property
    def tag(self) -> str:
        return self.properties.get("TAGS", "")

    @property
    def real_topic(self) -> str:
        """Where a half, delayed or discarded message wanted to go; its topic, for any other."""
        return self.properties.get("REAL_TOPIC") or self.topic


# total size, magic, body CRC, queue, flag, queue offset, commit log offset, system flag, born
_HEAD = struct.Struct(">IIIiIqqIq")
_MAGIC_V1, _MAGIC_V2 = 0xDAA320A7, 0xDAA320AB  # V2 has two bytes for the topic's length
_COMPRESSED, _BORN_V6, _STORED_V6, _BATCH = 0x1, 0x10, 0x20, 0xC0
_COMPRESSION = 0x700
_ZLIB = (0, 0x300)  # 0: from before the kind of compression was noted


def decode_messages(data: bytes, *, broker: str) -> Iterator[StoredMessage]:
    """The messages in the body of a pull's answer."""
    at = 0
    while at < len(data):
        try:
            message, size = _decode_message(data, at, broker)
        except (struct.error, UnicodeDecodeError, zlib.error, IndexError) as error:
            raise FrameError(
                f"byte {at} of RocketMQ's answer starts no message: {error}"
            ) from error
        yield message
        at += size


def _decode_message(data: bytes, start: int, broker: str) -> tuple[StoredMessage, int]:
    size, magic, crc, queue, _flag, offset, _log_offset, system, born_ms = _HEAD.unpack_from(
        data, start
    )
    end = start + size
    if magic not in (_MAGIC_V1, _MAGIC_V2) or size < _HEAD.size or end > len(data):
        raise FrameError(f"byte {start} of RocketMQ's answer starts no message")
    if system & _BATCH:
        raise FrameError(
            "a batch of messages under one offset: saleops neither writes nor reads it"
        )
    at = start + _HEAD.size + (20 if system & _BORN_V6 else 8)
    (stored_ms,) = struct.unpack_from(">q", data, at)
    at += 8 + (20 if system & _STORED_V6 else 8)
    attempts, _prepared, body_length = struct.unpack_from(">iqi", data, at)
    at += 16
    body, at = _cut(data, at, body_length, end)
    if crc != zlib.crc32(body) & 0x7FFFFFFF:
        raise FrameError(f"the message at byte {start} was damaged on its way (checksum)")
    if system & _COMPRESSED:
        body = _decompress(body, system & _COMPRESSION)
    width = 2 if magic == _MAGIC_V2 else 1
    topic_length, at = _cut(data, at, width, end)
    topic, at = _cut(data, at, int.from_bytes(topic_length, "big"), end)
    (properties_length,) = struct.unpack_from(">H", data, at)
    properties, at = _cut(data, at + 2, properties_length, end)
    return StoredMessage(
        topic=topic.decode(),
        broker=broker,
        queue=queue,
        offset=offset,
        body=body,
        properties=_properties(properties.decode()),
        born_ms=born_ms,
        stored_ms=stored_ms,
        attempts=attempts,
    ), size


def _cut(data: bytes, at: int, length: int, end: int) -> tuple[bytes, int]:
    if length < 0 or at + length > end:
        raise FrameError(f"byte {at} of RocketMQ's answer says {length} bytes and has fewer")
    return data[at : at + length], at + length


def _decompress(body: bytes, kind: int) -> bytes:
    if kind not in _ZLIB:
        name = {0x100: "LZ4", 0x200: "ZSTD"}.get(kind, f"kind {kind >> 8}")
        raise FrameError(f"a message's body is compressed with {name}; saleops reads zlib and gzip")
    stream = zlib.decompressobj(
        wbits=47
    )  # zlib's header or gzip's: RocketMQ's clients write either
    whole = stream.decompress(body, MAX_BODY)
    if not stream.eof:
        raise FrameError("a message's body is cut off or larger than any broker takes")
    return whole


def _properties(text: str) -> dict[str, str]:
    pairs = (item.split("\x01", 1) for item in text.split("\x02") if item)
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
