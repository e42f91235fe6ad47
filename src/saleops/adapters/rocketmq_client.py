"""The official RocketMQ client, tamed: loaded without side effects, started off the loop, its errors made ours.

We let the client do what it does well (routes, telemetry, heartbeats, signatures, channels) and call its RPCs
ourselves, for four reasons, each a defect of 5.1.2: its ``send`` repeats a half under the same message id, so that one
order batch exists several times; it asks its checker on one thread; its asynchronous acknowledgement does not work off
the main thread; and it knows whole seconds only. Two names below are private to the client, which is why the version
is pinned and checked on import.

Threads: the client has one thread with an asyncio loop for the whole process, and four scheduler threads a client.
Nothing here blocks the caller's loop: RPCs are awaited across the loops, starting and stopping run on a thread.
"""

import asyncio
import importlib.metadata
import logging
import math
import os
import sys
import time
import types
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any

from saleops.adapters import rocketmq_wire as wire
from saleops.adapters.rocketmq_tls import trust
from saleops.adapters.rocketmq_url import NOT_ADMITTED, RocketmqUrl
from saleops.errors import ConfigError, SaleopsError, StoreUnavailable

log = logging.getLogger(__name__)

CLIENT_VERSION = "5.1.2"
_SECOND_LOOK_S = 1.0  # how long we ask why a call failed
_RESTORE_AFTER_S = 1.0  # who deletes topics on purpose makes them again at once, and needs no help
_RESTORE_EVERY_S = 5.0
_LOST = (
    "With ?namesrv=HOST:9876 a serve makes it again within seconds; `saleops seed SALE` does, too."
)
_SAID_MAX = 200  # of what the client or a Java stack trace has to say


class _ClientLog(logging.LoggerAdapter[logging.Logger]):
    """The client's log. It calls ``warn``, which Python 3.13 has no more and which warns about itself before."""

    def warn(self, msg: object, *args: Any, **kwargs: Any) -> None:
        self.warning(msg, *args, **kwargs)


def _is_not_the_clients(record: logging.LogRecord) -> bool:
    """False for "exception calling callback": the client's callbacks log what failed and raise it then once more."""
    trace = record.exc_info[2] if record.exc_info else None
    while trace is not None:
        if f"{os.sep}rocketmq{os.sep}v5{os.sep}" in trace.tb_frame.f_code.co_filename:
            return False
        trace = trace.tb_next
    return True


def _on_client_loop() -> None:
    """gRPC takes the loop of the thread that calls it. The client sets it in the thread that opened a channel only; calls
    from another thread of ours would find none."""
    from rocketmq.v5.client.connection import RpcClient

    RpcClient()  # starts the loop, opens nothing
    asyncio.set_event_loop(RpcClient.get_channel_io_loop())


@cache
def load_client() -> Any:
    """The package ``rocketmq``, imported without its log files. Raises ConfigError when it is not installed.

    Importing it as it is makes ~/logs/rocketmq_python, opens a file there, and fails where the home directory cannot
    be written to. A module of our own in the place of its log configuration sends its log through ours instead.
    """
    try:
        found = importlib.metadata.version("rocketmq-python-client")
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError(
            "rocketmq:// needs the RocketMQ client, which is not installed; nothing was started",
            hint="Run `pip install 'saleops[rocketmq]'`.",
        ) from None
    if found != CLIENT_VERSION:
        raise ConfigError(
            f"rocketmq-python-client {found} is installed, saleops works with {CLIENT_VERSION}; nothing was started",
            hint="Run `pip install 'saleops[rocketmq]'`.",
        )
    # Whatever it says at level error while a broker is away, a heartbeat and client, we say once, in our words.
    logger = logging.getLogger("rocketmq-python-client")
    logger.setLevel(logging.CRITICAL)
    logging.getLogger("concurrent.futures").addFilter(_is_not_the_clients)
    name = "rocketmq.v5.log.log_config"
    if name not in sys.modules:
        stand_in = types.ModuleType(name)
        stand_in.logger = _ClientLog(logger, {})  # type: ignore[attr-defined]  # what the client takes
        sys.modules[name] = stand_in
    import rocketmq

    return rocketmq


class Session:
    """The clients of one broker object: started on first use, watched over, stopped with it.

    ``resolve`` answers a check-back: the client's message in, the resolution out; it never raises.
    """

    def __init__(self, url: RocketmqUrl, *, timeout_s: float, watch_s: float = 5.0) -> None:
        self.url = url
        self.timeout_s = timeout_s
        self._watch_s = watch_s
        self._clients: dict[str, asyncio.Task[Any]] = {}
        self._watch: asyncio.Task[None] | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False
        self._turn = 0
        self._restore: Callable[[], Awaitable[Sequence[str]]] | None = None
        self._restoring: asyncio.Task[None] | None = None
        self._restored_s = -math.inf

    # -- clients -------------------------------------------------------------------------------------------

    async def client(
        self, name: str, make: Callable[[Any, Any], Any], topics: Sequence[str] = ()
    ) -> Any:
        """The started client ``name``, made by ``make(package, configuration)`` the first time, with ``topics`` to look up."""
        self.check_open()
        task = self._clients.get(name)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = asyncio.create_task(self._start(make, topics), name=f"rocketmq-start-{name}")
            self._clients[name] = task
        # Shielded: a caller that is cancelled must not leave a half-started client behind.
        return await asyncio.shield(task)

    async def _start(self, make: Callable[[Any, Any], Any], topics: Sequence[str]) -> Any:
        package = load_client()
        _check_fork()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(
                2, thread_name_prefix="rocketmq-start", initializer=_on_client_loop
            )
        if self._watch is None:
            self._watch = asyncio.create_task(self._keep_in_touch(), name="rocketmq-watch")

        made: list[Any] = []

        def start() -> None:
            configuration = package.ClientConfiguration(
                self.url.endpoints,
                package.Credentials(self.url.access_key, self.url.secret_key),
                request_timeout=max(1, round(self.timeout_s)),
            )
            client = make(package, configuration)
            if pem := self.url.ca_pem():
                trust(client, pem)
            made.append(client)
            client.startup()

        try:
            await asyncio.get_running_loop().run_in_executor(self._pool, start)
        except SaleopsError:
            raise
        except Exception as error:
            if made and topics:
                await self._check_admission(made[0], topics[0])
            raise self.unavailable("starting the client", error) from error
        return made[0]

    async def route(self, client: Any, topic: str) -> list[Any]:
        """The queues of ``topic``, cached by the client and kept fresh. Raises StoreUnavailable."""
        self.check_open()
        # Asked on a thread: a miss is a round trip that the client waits for.
        fetch = client.route_manager.retrieve_topic_route_data
        try:
            if self._pool is None:
                raise RuntimeError("no client was started")
            data = await asyncio.get_running_loop().run_in_executor(self._pool, fetch, topic)
        except Exception as error:
            await self._check_admission(client, topic)
            self._look_for_topics()
            raise StoreUnavailable(
                f"no route to topic {topic} at {self.url.place}: {error}",
                hint="Is the proxy up, and was the topic created? With ?namesrv=HOST:9876 saleops creates it.",
            ) from error
        return list(data.message_queues)

    async def ask_route(
        self, client: Any, topic: str, doing: str, *, timeout_s: float = 0.0
    ) -> Any:
        """The proxy's answer to a question for the route to ``topic``, whatever it is."""
        configuration = client.client_configuration
        request = wire.route_request(topic, configuration.rpc_endpoints.endpoints)
        return await self.call(
            doing,
            client.rpc_client.query_topic_route_async(
                configuration.rpc_endpoints,
                request,
                metadata=client.sign(),
                timeout=timeout_s or self.timeout_s,
            ),
            timeout_s=timeout_s,
        )

    async def _check_admission(self, client: Any, topic: str) -> None:
        """The client swallows why it has no route. Raises StoreUnavailable where it is that we may not."""
        doing = f"asking for the route to {topic}"
        try:
            answer = await self.ask_route(client, topic, doing, timeout_s=_SECOND_LOOK_S)
        except StoreUnavailable:
            return  # the first error says as much
        if wire.is_refusal(answer.status):
            self.check(answer.status, doing)

    async def known_to_proxy(self, client: Any) -> None:
        """Wait until a proxy has answered the settings of ``client``. Until then receives fail, and nobody asks it."""
        answered = client._init_settings_event  # the second of the two private names
        loop = asyncio.get_running_loop()
        if not await loop.run_in_executor(self._pool, answered.wait, self.timeout_s):
            raise StoreUnavailable(
                f"{self.url.place} did not take a client's settings within {self.timeout_s:g} s"
            )
        mend(client)

    async def subscribe(self, consumer: Any, topic: str) -> list[Any]:
        """Let ``consumer`` hear of ``topic``. Returns the topic's queues."""
        queues = await self.route(consumer, topic)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._pool, consumer.subscribe, topic)
        await self.known_to_proxy(consumer)
        return queues

    def next_queue(self, queues: list[Any]) -> Any:
        """The queues of a topic by turns."""
        self._turn += 1
        return queues[self._turn % len(queues)]

    def endpoints(self, client: Any, facade: str) -> Any:
        """The proxy that goes by the name ``facade`` in a receipt."""
        found = client.route_manager.get_all_endpoints().get(facade)
        if found is None:
            raise StoreUnavailable(
                f"no way to {facade}, where the message came from; it comes again"
            )
        return found

    # -- calls ---------------------------------------------------------------------------------------------

    async def call(self, doing: str, future: "Future[Any]", *, timeout_s: float = 0.0) -> Any:
        """What an RPC of the client answers. Raises StoreUnavailable, also when it does not answer in time."""
        limit_s = (
            timeout_s or self.timeout_s
        ) + 1.0  # its own deadline comes first, with a better word
        try:
            async with asyncio.timeout(limit_s):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            raise StoreUnavailable(
                f"{doing}: {self.url.place} gave no answer within {limit_s:g} s"
            ) from error
        except Exception as error:
            raise self.unavailable(doing, error) from error

    def on_io_loop(self, work: Coroutine[Any, Any, Any]) -> "Future[Any]":
        """Run ``work`` on the client's own loop."""
        from rocketmq.v5.client.connection import RpcClient

        return asyncio.run_coroutine_threadsafe(work, RpcClient.get_channel_io_loop())

    def check(self, status: Any, doing: str) -> None:
        """Raises StoreUnavailable unless ``status`` says that all went well."""
        try:
            wire.check_status(status)
        except Exception as error:
            refused = wire.is_refusal(status)
            if not (refused or wire.is_forgotten(status)):
                self._look_for_topics()
            if wire.is_lost_topic(status):
                raise StoreUnavailable(
                    f"{doing}: {self.url.place} does not have the topic (any more)", hint=_LOST
                ) from error
            hint = NOT_ADMITTED if refused else None
            raise self.unavailable(doing, error, hint=hint) from error

    def check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the broker was closed; nothing was sent")

    def unavailable(
        self, doing: str, error: BaseException, *, hint: str | None = None
    ) -> StoreUnavailable:
        """Any of the client's three families of errors, in our words."""
        code = getattr(error, "code", None)
        said = str(error or type(error).__name__)
        if callable(code):  # grpc.aio.AioRpcError
            details = getattr(error, "details", lambda: "")()
            said = f"{code().name}: {details}"
            if "CERTIFICATE_VERIFY_FAILED" in said:
                hint = "With a CA of your own, add &ca=/path/to/ca.pem to the URL."
        if len(said) > _SAID_MAX:
            said = said[:_SAID_MAX] + "..."
        return StoreUnavailable(f"{doing}: {self.url.place} {said}", hint=hint)

    # -- topics that went away -----------------------------------------------------------------------------

    def restore_with(self, restore: Callable[[], Awaitable[Sequence[str]]]) -> None:
        """``restore`` makes the topics that are missing and says which; called when RocketMQ refuses what we ask."""
        self._restore = restore

    def _look_for_topics(self) -> None:
        """RocketMQ answered, and could not do it. A server that was set up anew has lost our topics, and says so in many
        ways: so look, one at a time and every few seconds at most. Whoever asked hears the error all the same."""
        busy = self._restoring is not None and not self._restoring.done()
        if self._restore is None or self._closed or busy:
            return
        if time.monotonic() - self._restored_s < _RESTORE_EVERY_S:
            return
        self._restored_s = time.monotonic()
        self._restoring = asyncio.create_task(
            self._restore_topics(self._restore), name="rocketmq-restore"
        )

    async def _restore_topics(self, restore: Callable[[], Awaitable[Sequence[str]]]) -> None:
        await asyncio.sleep(_RESTORE_AFTER_S)
        try:
            made = await restore()
        except SaleopsError as error:
            log.warning("RocketMQ's topics could not be looked after: %s", error.message)
        except Exception:
            log.exception("looking after RocketMQ's topics failed; it is tried again")
        else:
            if made:
                log.warning(
                    "RocketMQ had lost %d topics, and what was in them; they were made again: %s",
                    len(made),
                    ", ".join(made),
                )

    # -- upkeep --------------------------------------------------------------------------------------------

    async def _keep_in_touch(self) -> None:
        """Mend telemetry streams that ended. A proxy that restarted has forgotten our settings, and without this
        it hears of them again after 5 to 15 minutes only: until then no check-back comes and every receive fails."""
        while True:
            await asyncio.sleep(self._watch_s)
            for client in self.started():
                try:
                    mend(client)
                except Exception:
                    log.exception("could not look after a RocketMQ client; it is tried again")

    def started(self) -> list[Any]:
        return [
            task.result()
            for task in self._clients.values()
            if task.done() and not task.cancelled() and not task.exception()
        ]

    async def close(self, *, within_s: float = 5.0) -> None:
        """Sign off and stop. A second close does nothing; a proxy that hangs costs ``within_s``."""
        if self._closed:
            return
        self._closed = True
        if self._watch:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if self._restoring:
            self._restoring.cancel()
            await asyncio.gather(self._restoring, return_exceptions=True)
        pool = self._pool
        if pool is None:
            return
        loop = asyncio.get_running_loop()
        starting = [task for task in self._clients.values() if not task.done()]
        if starting:
            await asyncio.wait(starting, timeout=within_s)
        stopping = ThreadPoolExecutor(
            max(1, len(self._clients)), thread_name_prefix="rocketmq-stop"
        )
        stops = [loop.run_in_executor(stopping, _stop, client) for client in self.started()]
        if stops:
            _, late = await asyncio.wait(stops, timeout=within_s)
            if late:
                log.warning("%d RocketMQ clients did not stop within %g s", len(late), within_s)
        stopping.shutdown(wait=False, cancel_futures=True)
        pool.shutdown(wait=False, cancel_futures=True)
        self._clients.clear()


def mend(client: Any) -> int:
    """Rebuild the telemetry streams of ``client`` that ended, and those that it rebuilt without telling its settings
    again. Returns how many there were. Called while the proxy is still down, a new stream waits for it.

    We never write settings to a stream that is up: the client may be doing so, and two writes at once end the stream.
    """
    from rocketmq.v5.client.connection import RpcClient

    seen = _streams.setdefault(client, {})
    mended = 0
    for facade, endpoints in list(client.route_manager.get_all_endpoints().items()):
        channel = client.rpc_client.retrieve_or_create_channel(endpoints)
        wrapper = channel.telemetry_stream_stream_call
        # Private to the client: the first of the two reasons for the pinned version.
        stream = getattr(wrapper, "_RpcStreamStreamCall__stream_stream_call", None)
        known = seen.get(facade, wrapper)
        if stream is not None and not stream.done() and known in (wrapper, None):
            seen[facade] = wrapper
            continue
        log.warning("telemetry to RocketMQ at %s had ended; it is built anew", endpoints)
        # On its own loop: a direct call from another thread fails.
        RpcClient.get_channel_io_loop().call_soon_threadsafe(client.on_new_endpoints, endpoints)
        seen[facade] = None  # what comes next is ours
        mended += 1
    return mended


_streams: "weakref.WeakKeyDictionary[Any, dict[str, Any]]" = weakref.WeakKeyDictionary()


def _stop(client: Any) -> None:
    try:
        client.shutdown()
    except Exception as error:  # noqa: BLE001  # whatever it is, the others must be stopped too
        log.warning("a RocketMQ client did not stop cleanly: %s", error)


_first_pid: int | None = None


def _check_fork() -> None:
    """A child of a process that used the client inherits a dead loop: every call in it would hang for ever."""
    global _first_pid
    if _first_pid is None:
        _first_pid = os.getpid()
    elif _first_pid != os.getpid():
        raise StoreUnavailable(
            "this process was forked from one that used RocketMQ already; its client cannot work here",
            hint="Open the broker after the fork, in a parent that never opened one.",
        )
