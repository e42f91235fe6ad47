"""The bytes of RocketMQ's remoting protocol: what is right is read, what is wrong is our error and nothing else."""

import asyncio
import contextlib
import gzip
import json
import random
import ssl
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from saleops.adapters.rocketmq_frames import (
    MAX_BODY,
    MAX_FRAME,
    FrameError,
    decode_messages,
    frame_length,
    pack,
    parse_json,
    unpack,
)
from saleops.adapters.rocketmq_remoting import Remoting, RemotingRefused, _signed
from saleops.errors import StoreUnavailable


def answer(opaque: int = 1, code: int = 0, body: bytes = b"", **more: object) -> bytes:
    """A frame as a broker sends it, length prefix included."""
    header = {"code": code, "flag": 1, "language": "JAVA", "opaque": opaque, **more}
    head = json.dumps(header).encode()
    return struct.pack(">II", 4 + len(head) + len(body), len(head)) + head + body


def stored(
    body: bytes,
    *,
    topic: bytes = b"orders",
    properties: bytes = b"UNIQ_KEY\x01A1\x02KEYS\x01k1 k2\x02TAGS\x01made\x02",
    system: int = 0,
    v2: bool = False,
) -> bytes:
    """A record as it lies in a commit log."""
    born_host = bytes(20 if system & 0x10 else 8)
    stored_host = bytes(20 if system & 0x20 else 8)
    rest = (
        born_host
        + struct.pack(">q", 1_700_000_000_500)
        + stored_host
        + struct.pack(">iq", 2, 0)
        + struct.pack(">i", len(body))
        + body
        + struct.pack(">H" if v2 else ">B", len(topic))
        + topic
        + struct.pack(">H", len(properties))
        + properties
    )
    magic = 0xDAA320AB if v2 else 0xDAA320A7
    head = struct.pack(
        ">IIIiIqqIq",
        52 + len(rest),
        magic,
        zlib.crc32(body) & 0x7FFFFFFF,
        3,
        0,
        77,
        9000,
        system,
        1_700_000_000_000,
    )
    assert len(head) == 48
    return struct.pack(">I", 48 + len(rest)) + head[4:] + rest


def test_a_request_carries_its_fields_and_body() -> None:
    frame = pack(7, 17, {"topic": "orders"}, b"body")

    assert frame_length(frame[:4]) == len(frame) - 4
    size = int.from_bytes(frame[4:8], "big")
    header = json.loads(frame[8 : 8 + size])
    assert (header["opaque"], header["code"], header["extFields"]) == (7, 17, {"topic": "orders"})
    assert frame[8 + size :] == b"body"


def test_an_answer_is_read() -> None:
    reply = unpack(answer(5, 17, b"{}", remark="no such topic", extFields={"offset": "12"})[4:])

    assert (reply.opaque, reply.code, reply.remark, reply.body) == (5, 17, "no such topic", b"{}")
    assert reply.whole("offset") == 12
    with pytest.raises(FrameError, match="without a whole number 'end'"):
        reply.whole("end")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a":[1,-2.5e3,true,null,"x\\u00e9\\n"]}', {"a": [1, -2500.0, True, None, "xé\n"]}),
        ('{0:"10.0.0.1:10911",1:"b"}', {"0": "10.0.0.1:10911", "1": "b"}),
        (
            '{"t":{{"queueId":1,"topic":"o"}:{"brokerOffset":5},{"queueId":2,"topic":"o"}:{}}}',
            {
                "t": {
                    (("queueId", 1), ("topic", "o")): {"brokerOffset": 5},
                    (("queueId", 2), ("topic", "o")): {},
                }
            },
        ),
        (' {0 : [ ] , "b" : { } } ', {"0": [], "b": {}}),
    ],
)
def test_json_is_read_as_fastjson_writes_it(text: str, value: object) -> None:
    assert parse_json(text.encode()) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{0}",
        "{0:}",
        "{0:1,}",
        "[1",
        '{"a":1}x',
        "{[1]:2}",
        "{0:nope}",
        '{0:"\\x"}',
        "{{}:1",
    ],
)
def test_what_is_no_json_is_our_error(text: str) -> None:
    with pytest.raises(FrameError):
        parse_json(text.encode())


@pytest.mark.parametrize("piece", ["[", "{0:", "{{0:", '[{"a":', "{0:9"])
def test_endless_nesting_is_our_error(piece: str) -> None:
    with pytest.raises(FrameError):
        parse_json(piece.encode() * 10_000)


@pytest.mark.parametrize("v2", [False, True])
@pytest.mark.parametrize("system", [0, 0x10, 0x20, 0x30])
def test_stored_messages_are_read_one_after_the_other(v2: bool, system: int) -> None:
    records = stored(b"one", v2=v2, system=system) + stored(b"", v2=v2, properties=b"")

    first, second = decode_messages(records, broker="broker-a")

    assert (first.topic, first.body, first.queue, first.offset) == ("orders", b"one", 3, 77)
    assert (first.message_id, first.keys, first.tag) == ("A1", ["k1", "k2"], "made")
    assert (first.born_ms, first.stored_ms) == (1_700_000_000_000, 1_700_000_000_500)
    assert (first.attempts, first.broker, first.real_topic) == (2, "broker-a", "orders")
    assert (second.body, second.properties, second.keys) == (b"", {}, [])


@pytest.mark.parametrize(
    ("body", "kind"),
    [(zlib.compress(b"x" * 9000), 0x301), (gzip.compress(b"x" * 9000, mtime=0), 0x001)],
    ids=["zlib", "gzip"],
)
def test_a_compressed_body_is_unpacked(body: bytes, kind: int) -> None:
    (message,) = decode_messages(stored(body, system=kind), broker="b")
    assert message.body == b"x" * 9000


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (stored(b"x", system=0x101), "LZ4"),
        (stored(b"x", system=0x201), "ZSTD"),
        (stored(zlib.compress(b"x" * 99)[:-6], system=0x301), "cut off"),
        (stored(zlib.compress(bytes(MAX_BODY + 1)), system=0x301), "larger than any broker takes"),
        (stored(b"not zlib", system=0x301), "starts no message"),
        (stored(b"x", system=0x80), "batch"),
        (stored(b"body").replace(b"body", b"b0dy"), "checksum"),
        (stored(b"x", topic=b"\xff\xfe"), "starts no message"),
        (stored(b"x")[:-1], "starts no message"),
        (stored(b"x")[:20], "starts no message"),
        (bytes(100), "starts no message"),
    ],
    ids=lambda one: f"{len(one)} bytes" if isinstance(one, bytes) else one,
)
def test_a_damaged_message_is_our_error(record: bytes, why: str) -> None:
    with pytest.raises(FrameError, match=why):
        list(decode_messages(record, broker="b"))


def test_no_bytes_make_anything_but_our_error() -> None:
    """6,000 damaged frames and records, from a fixed seed."""
    chance = random.Random(5)
    good = [
        answer(1, 0, b"", extFields={"a": "b"})[4:],
        answer(1, 0, b"", extFields={"a": 1, "b": None}, remark="r")[4:],
        stored(b"body" * 10),
        stored(zlib.compress(b"z" * 100), system=0x301, v2=True),
        b'{"t":{{"queueId":1}:{"x":1}},0:[1,2,"\\u1234"]}',
    ]
    survived = 0
    for _ in range(6_000):
        data = bytearray(chance.choice(good))
        for _ in range(chance.randint(1, 6)):
            kind, at = chance.randrange(3), chance.randrange(len(data) + 1)
            if kind == 0 and at < len(data):
                data[at] = chance.randrange(256)
            elif kind == 1:
                del data[at:]
            else:
                data[at:at] = chance.randbytes(chance.randint(1, 9))
        readings: tuple[Callable[[bytes], object], ...] = (
            unpack,
            parse_json,
            lambda record: list(decode_messages(record, broker="b")),
            lambda frame: frame_length(frame[:4]),
        )
        for read in readings:
            try:
                read(bytes(data))
                survived += 1
            except FrameError:
                pass
    assert survived > 100, "the damage is so great that nothing of it gets past the first check"


def test_a_signature_covers_the_values_by_name_and_the_body() -> None:
    """AccessKey, a, topic: sorted by name, upper case first; then the body. Against openssl's value."""
    signed = _signed({"topic": "orders", "a": "1"}, b"body", "ak", "secret")

    assert signed["AccessKey"] == "ak"
    # printf 'ak1ordersbody' | openssl dgst -sha1 -hmac secret -binary | base64
    assert signed["Signature"] == "xlNqIION7c0PJ/SzFZentv25iM0="


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """The address of a server that behaves as ``handler`` does; its connections end with it."""
    tasks = set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client went away
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"{host}:{port}"
    finally:
        server.close()
        await asyncio.wait_for(asyncio.gather(*tasks), 5)


def ask(handler: Handler, *, timeout_s: float = 5.0) -> tuple[StoreUnavailable | None, int]:
    """Ask a server that behaves as ``handler`` does; returns what was raised, and how often it was connected to."""
    connections = 0

    async def scenario() -> StoreUnavailable | None:
        async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            await handler(reader, writer)

        async with serving(counted) as address:
            try:
                async with Remoting(timeout_s=timeout_s) as remoting:
                    await remoting.call(address, 30, {"topic": "t"}, what="counting")
            except StoreUnavailable as error:
                return error
        return None

    return asyncio.run(scenario()), connections


async def _request(reader: asyncio.StreamReader) -> None:
    await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))


def _answering(data: bytes) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        writer.write(data)
        await writer.drain()
        await reader.read()

    return handler


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n" * 20,
        struct.pack(">I", MAX_FRAME + 1),
        struct.pack(">I", 0),
        struct.pack(">I", 8) + bytes(8),
        struct.pack(">I", 8) + b"\x01\x00\x00\x04abcd",
        answer(99),
        answer(1, flag=0),
        answer(1, extFields=[1]),
        answer(1, code="x"),  # type: ignore[arg-type]
        struct.pack(">II", 8, 4) + b"\xff\xff\xff\xff",
    ],
)
def test_an_answer_that_makes_no_sense_is_our_error_and_is_not_asked_for_again(data: bytes) -> None:
    error, connections = ask(_answering(data))

    assert error is not None
    assert "does not speak RocketMQ's remoting protocol" in error.message
    assert error.hint is not None
    assert connections == 1


def test_silence_ends_at_the_time_limit_and_is_not_repeated() -> None:
    error, connections = ask(_answering(b""), timeout_s=0.2)

    assert error is not None
    assert "did not answer within 0.2 s" in error.message
    assert connections == 1


def test_a_connection_that_breaks_is_made_again_three_times_in_all() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)

    error, connections = ask(hang_up)

    assert error is not None
    assert "cannot be reached" in error.message
    assert connections == 3


def test_a_busy_broker_is_asked_again() -> None:
    async def busy_twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for opaque, code in ((1, 2), (2, 2), (3, 0)):
            await _request(reader)
            writer.write(answer(opaque, code))
            await writer.drain()

    assert ask(busy_twice) == (None, 1)


def test_a_refusal_names_the_reason_and_the_code() -> None:
    error, connections = ask(_answering(answer(1, 16, remark="no permission")))

    assert isinstance(error, RemotingRefused)
    assert error.code == 16
    assert error.message.startswith("counting: RocketMQ at 127.0.0.1:")
    assert error.message.endswith("refused: no permission (code 16)")
    assert connections == 1


@pytest.mark.parametrize(
    "address",
    ["nowhere", "127.0.0.1:", "127.0.0.1:x", ":", "127.0.0.1:99999", "a..b:1", "x" * 80 + ":1"],
)
def test_an_address_that_is_none_is_our_error(address: str) -> None:
    async def scenario() -> None:
        async with Remoting(timeout_s=1) as remoting:
            with pytest.raises(StoreUnavailable):
                await remoting.call(address, 30, {}, what="counting")

    asyncio.run(scenario())


def test_a_cancelled_question_does_not_get_the_next_ones_answer() -> None:
    async def scenario() -> None:
        async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await _request(reader)
                await asyncio.sleep(0.1)
                # The numbers go on over connections, so the second question is number 2.
                writer.write(answer(2, 0, b"second"))
                await writer.drain()

        async with serving(late) as address, Remoting(timeout_s=5) as remoting:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await remoting.call(address, 30, {}, what="first")
            reply = await remoting.call(address, 30, {}, what="second")
            assert reply.body == b"second"

    asyncio.run(scenario())


def test_tls_to_a_server_without_it_is_our_error() -> None:
    async def scenario() -> None:
        async with (
            serving(_answering(b"plain")) as address,
            Remoting(timeout_s=1, tls=ssl.create_default_context()) as remoting,
        ):
            with pytest.raises(StoreUnavailable):
                await remoting.call(address, 30, {}, what="counting")

    asyncio.run(scenario())
