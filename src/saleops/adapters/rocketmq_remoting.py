"""A small client of RocketMQ's remoting protocol: what an operator does, not how messages are sent.

Messages go through the official gRPC client. Topics, groups, offsets, half messages and dead letters cannot be seen or made
through gRPC, and upstream's ``mqadmin`` starts a JVM for each question and exits 0 when it failed: see
docs/decisions/0013-rocketmq.md. One connection for each address, one request at a time on it: operators are not in a hurry.

Every request we send may be sent twice (reads, "make it so" writes, absolute offsets), so that a lost connection is
answered by trying again, a bounded number of times. A request that got no answer in time is not repeated: the time is spent.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import random
import ssl
from collections.abc import Collection, Mapping, Sequence
from itertools import count
from types import TracebackType
from typing import Self

from saleops.adapters.rocketmq_frames import FrameError, Reply, frame_length, pack, unpack
from saleops.adapters.rocketmq_url import NOT_ADMITTED
from saleops.errors import StoreUnavailable, UpstreamError

ATTEMPTS = 3
PAUSE_S = 0.1  # before the second attempt, doubled before each further one, with jitter
SUCCESS = 0
NO_PERMISSION = 16  # a signature or a right is missing
SYSTEM_BUSY = 2  # the broker's queue of requests is full: ask again


class RemotingRefused(StoreUnavailable):
    """RocketMQ answered, and said no. ``code`` is its ResponseCode."""

    def __init__(self, message: str, *, code: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class _Lost(Exception):
    """The connection could not be made or broke: worth another attempt."""


class Remoting:
    """Requests to name servers and brokers, by address (``host:port``)."""

    def __init__(
        self,
        *,
        timeout_s: float = 5.0,
        credentials: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``credentials`` are access key and secret key; each request is then signed with HMAC-SHA1, as ACL 1 and 2 ask.
        ``timeout_s`` bounds each request with all its attempts.
        """
        self._timeout_s = timeout_s
        self._credentials = credentials
        self._tls = tls
        self._lines: dict[str, _Line] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        lines, self._lines = list(self._lines.values()), {}
        for line in lines:
            await line.close()

    async def call(
        self,
        address: str,
        code: int,
        fields: Mapping[str, object],
        body: bytes = b"",
        *,
        what: str,
        expected: Collection[int] = (SUCCESS,),
    ) -> Reply:
        """Ask ``address``. ``what`` is named in errors: "creating topic sale-order".

        Raises RemotingRefused when the answer's code is not one of ``expected``, StoreUnavailable when there is no answer
        in time, or none that makes sense.
        """
        named = {name: _text(value) for name, value in fields.items() if value is not None}
        if self._credentials is not None:
            named = _signed(named, body, *self._credentials)
        line = self._lines.get(address)
        if line is None:
            line = self._lines[address] = _Line(address, self._tls)
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await self._attempt(line, code, named, body)
        except TimeoutError as error:
            raise StoreUnavailable(
                f"{what}: RocketMQ at {address} did not answer within {self._timeout_s:g} s",
                hint="Whether it was done is not known; doing it again is safe.",
            ) from error
        except _Lost as error:
            raise StoreUnavailable(
                f"{what}: RocketMQ at {address} cannot be reached ({error})",
                hint="Check the address, and that the broker's brokerIP1 can be reached from here.",
            ) from error
        except FrameError as error:
            raise StoreUnavailable(
                f"{what}: {address} does not speak RocketMQ's remoting protocol: {error.message}",
                hint="Give the name server's port (9876), not the proxy's gRPC port.",
            ) from error
        if reply.code not in expected:
            raise RemotingRefused(
                f"{what}: RocketMQ at {address} refused: {reply.remark or 'no reason given'} "
                f"(code {reply.code})",
                code=reply.code,
                hint=NOT_ADMITTED if reply.code == NO_PERMISSION else None,
            )
        return reply

    async def _attempt(
        self, line: "_Line", code: int, fields: Mapping[str, str], body: bytes
    ) -> Reply:
        for attempt in range(1, ATTEMPTS):
            try:
                reply = await line.exchange(code, fields, body)
            except _Lost:
                reply = None
            if reply is not None and reply.code != SYSTEM_BUSY:
                return reply
            await asyncio.sleep(PAUSE_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))
        return await line.exchange(code, fields, body)

    async def call_any(
        self,
        addresses: Sequence[str],
        code: int,
        fields: Mapping[str, object],
        *,
        what: str,
        expected: Collection[int] = (SUCCESS,),
    ) -> Reply:
        """Ask one after the other until one answers: name servers know the same, and do not know each other."""
        failure: UpstreamError | None = None
        for address in addresses:
            try:
                return await self.call(address, code, fields, what=what, expected=expected)
            except RemotingRefused:
                raise
            except StoreUnavailable as error:
                failure = error
        assert failure is not None, "no address given"
        raise failure


class _Line:
    """One connection, made on the first request and again after it broke."""

    def __init__(self, address: str, tls: ssl.SSLContext | None) -> None:
        self._host, self._port = _host_port(address)
        self._tls = tls
        self._lock = asyncio.Lock()
        self._numbers = count(1)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, code: int, fields: Mapping[str, str], body: bytes) -> Reply:
        async with self._lock:
            done = False
            try:
                reader, writer = await self._open()
                opaque = next(self._numbers)
                writer.write(pack(opaque, code, fields, body))
                await writer.drain()
                reply = await self._answer(reader)
                if reply.opaque != opaque:
                    raise FrameError("RocketMQ answered another question")
                done = True
                return reply
            except (OSError, asyncio.IncompleteReadError, UnicodeError) as error:
                raise _Lost(str(error) or type(error).__name__) from error
            finally:
                if not done:  # an answer that is still on its way would answer the next question
                    await self._drop()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(
                self._host, self._port, ssl=self._tls, limit=1 << 20
            )
        return self._streams

    @staticmethod
    async def _answer(reader: asyncio.StreamReader) -> Reply:
        length = frame_length(await reader.readexactly(4))
        return unpack(await reader.readexactly(length))

    async def _drop(self) -> None:
        streams, self._streams = self._streams, None
        if streams is not None:
            # Not waited for: the peer may be the one that does not answer.
            streams[1].transport.abort()

    async def close(self) -> None:
        async with self._lock:
            streams, self._streams = self._streams, None
            if streams is not None:
                streams[1].close()
                with contextlib.suppress(OSError):
                    async with asyncio.timeout(1):
                        await streams[1].wait_closed()


def _host_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (host and port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):
        raise StoreUnavailable(
            f"{address!r} is no address of a RocketMQ server",
            hint="An address is host:port; a broker's is its brokerIP1 and listenPort.",
        )
    return host, int(port)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _signed(fields: Mapping[str, str], body: bytes, access: str, secret: str) -> dict[str, str]:
    """``fields`` with AccessKey and Signature: HMAC-SHA1 over the values in the order of their names, then the body."""
    named = {**fields, "AccessKey": access}
    content = "".join(named[name] for name in sorted(named)).encode() + body
    digest = hmac.new(secret.encode(), content, hashlib.sha1).digest()
    return {**named, "Signature": base64.b64encode(digest).decode()}
