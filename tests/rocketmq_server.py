"""A real RocketMQ 5 in one JVM: name server, broker and proxy, on loopback, in a folder of its own.

The jars are those that ``make services`` put under ``.services/rocketmq``. Named ``rocketmq_server``, because ``rocketmq``
is the Python client's package. Run as a program it starts one in the foreground: ``make rocketmq``.

What is set below and why, checked against the config dump at the head of broker.log (a test holds it to that):
an unknown key and a value with a trailing blank are dropped by the broker without a word.
"""

import asyncio
import json
import os
import random
import shutil
import socket
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from saleops.adapters.rocketmq_queues import Queues
from saleops.adapters.rocketmq_remoting import Remoting
from saleops.errors import StoreUnavailable
from servers import Server, find_binary, missing

VERSION = os.environ.get("ROCKETMQ_VERSION", "5.3.3")
ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".services" / "rocketmq" / VERSION
READY = b"rocketmq-proxy startup successfully"

# JDK 17 hides what the broker's memory-mapped files reach into.
OPENED = (
    "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
)


def free_ports() -> tuple[int, ...]:
    """Six ports below the kernel's range for outgoing connections, so that a restart finds them free again: name server,
    gRPC, the proxy's remoting, and a run of the broker's fast channel (its port - 2), the broker and its HA (port + 1).
    """
    for _ in range(200):
        base = random.randrange(20_000, 32_000)
        ports = (base, base + 1, base + 2, base + 3, base + 5, base + 6)
        with ExitStack() as held:
            try:
                for port in ports:
                    probe = held.enter_context(socket.socket())
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return ports
    raise RuntimeError("no run of free ports between 20000 and 32000")


class RocketmqServer(Server):
    """``start()`` returns when the proxy answers; ``kill()`` is SIGKILL; ``start()`` again finds the same data and ports."""

    start_timeout_s = 100.0  # below the time limit of a test
    not_ready = (OSError, StoreUnavailable)

    def __init__(self, ports: Sequence[int] | None = None) -> None:
        self._java = find_binary("java", install="make services")
        if not (HOME / "installed").is_file():
            missing(f"RocketMQ {VERSION}", install="make services")
        super().__init__()
        namesrv, grpc, remoting, _fast, broker, _ha = ports or free_ports()
        self.namesrv_port, self.grpc_port, self.remoting_port = namesrv, grpc, remoting
        self.broker_port = broker
        self._log_offset = 0
        self._write_config()

    @property
    def endpoints(self) -> str:
        """What the gRPC client calls ``endpoints``: the proxy."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def namesrv(self) -> str:
        return f"127.0.0.1:{self.namesrv_port}"

    @property
    def broker(self) -> str:
        """The broker's own address (remoting protocol)."""
        return f"127.0.0.1:{self.broker_port}"

    @property
    def url(self) -> str:
        return f"rocketmq://{self.endpoints}?namesrv={self.namesrv}"

    def settings(self) -> dict[str, str]:
        """broker.conf. Tests want to see check-backs, retries and dead letters within seconds."""
        return {
            "brokerClusterName": "DefaultCluster",
            "brokerName": "broker-a",
            "brokerId": "0",
            "namesrvAddr": self.namesrv,
            # Routes hand brokerIP1 to clients; it is guessed from the network cards when it is not set.
            "brokerIP1": "127.0.0.1",
            "brokerIP2": "127.0.0.1",
            "bindAddress": "127.0.0.1",
            "listenPort": str(self.broker_port),
            "haListenPort": str(self.broker_port + 1),
            "storePathRootDir": f"{self.folder}/store",
            "storePathCommitLog": f"{self.folder}/store/commitlog",
            # Defaults allocate 1 GiB commit log files and a 420 MB index.
            "mappedFileSizeCommitLog": "67108864",
            "mappedFileSizeConsumeQueue": "600000",
            "mappedFileSizeTimerLog": "10485760",
            "maxHashSlotNum": "50000",
            "maxIndexNum": "200000",
            "flushDiskType": "ASYNC_FLUSH",
            # Topics and groups are made on purpose: an auto-created topic is NORMAL and refuses half messages.
            "autoCreateTopicEnable": "false",
            "autoCreateSubscriptionGroup": "false",
            "transactionTimeOut": "1500",
            "transactionCheckInterval": "500",
            "transactionCheckMax": "600",
            "transactionOpBatchInterval": "200",
            "recallMessageEnable": "true",
            "diskMaxUsedSpaceRatio": "95",
            # Threads: the defaults are made for 16 cores.
            "reviveQueueNum": "2",
            "sendMessageThreadPoolNums": "4",
            "pullMessageThreadPoolNums": "4",
            "queryMessageThreadPoolNums": "2",
            "adminBrokerThreadPoolNums": "2",
            "endTransactionThreadPoolNums": "4",
        }

    def proxy_settings(self) -> dict[str, object]:
        """rmq-proxy.json: lower bounds that a test need not wait out, and routes that are asked again each second."""
        return {
            "rocketMQClusterName": "DefaultCluster",
            "namesrvAddr": self.namesrv,
            "grpcServerPort": self.grpc_port,
            "remotingListenPort": self.remoting_port,
            "minInvisibleTimeMillsForRecv": 100,
            "grpcClientConsumerMinLongPollingTimeoutMillis": 100,
            "topicRouteServiceCacheRefreshSeconds": 1,
            "topicRouteServiceCacheExpiredSeconds": 2,
        }

    def _write_config(self) -> None:
        broker = "".join(f"{key}={value}\n" for key, value in self.settings().items())
        (self.folder / "broker.conf").write_text(broker)
        (self.folder / "rmq-proxy.json").write_text(json.dumps(self.proxy_settings()))
        (self.folder / "namesrv.conf").write_text(
            f"listenPort={self.namesrv_port}\nbindAddress=127.0.0.1\n"
            f"rocketmqHome={self.folder}\nkvConfigPath={self.folder}/kvConfig.json\n"
            f"configStorePath={self.folder}/namesrv.properties\n"
        )

    def command(self) -> Sequence[str]:
        return [
            shutil.which("env") or "env",
            f"ROCKETMQ_HOME={self.folder}",
            self._java,
            *("-Xms256m", "-Xmx640m", "-XX:MaxDirectMemorySize=384m", "-XX:+UseSerialGC"),
            *("-XX:TieredStopAtLevel=4", "-XX:+ExitOnOutOfMemoryError", "-Xshare:auto"),
            f"-Duser.home={self.folder}",
            "-Drmq.logback.configurationFile=rmq.proxy.logback.xml",
            *OPENED,
            "-cp",
            f"{HOME}/classes:{HOME}/lib/*",
            "AllInOne",
            str(self.folder),
            self.namesrv,
        ]

    def start(self) -> None:
        """Blocks, also inside of a coroutine. Not from another thread: the kernel kills what a thread started when that
        thread ends (``setpriv --pdeathsig``).
        """
        assert threading.current_thread() is threading.main_thread()
        log = self.folder / "server.log"
        self._log_offset = log.stat().st_size if log.exists() else 0
        super().start()

    def wait(self) -> int:
        """Its exit code, once it ended."""
        assert self._process is not None
        return self._process.wait()

    def probe(self) -> None:
        with (self.folder / "server.log").open("rb") as log:
            log.seek(self._log_offset)
            if READY not in log.read():
                raise OSError(f"no line {READY.decode()!r} yet")
        for port in (self.namesrv_port, self.broker_port, self.grpc_port):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        # The broker says that it is up before the name server knows it: a route asked for in between is empty, and the proxy
        # remembers that for a while.
        with (
            ThreadPoolExecutor(1) as pool
        ):  # where a loop runs already, as in a test that restarts us, another needs a thread
            pool.submit(asyncio.run, self._registered()).result()

    async def _registered(self) -> None:
        async with Remoting(timeout_s=2) as remoting:
            await Queues(remoting, [self.namesrv]).brokers()


# What RocketMQ's own manuals use, so that its tools find it without flags; but 8080 and 8081, the proxy's, belong to our
# gateway and catalog.
DEFAULT_PORTS = (9876, 18081, 18080, 10909, 10911, 10912)


def ports_taken(ports: Sequence[int]) -> list[int]:
    """Those of ``ports`` that somebody listens on: Java would say so in sixty lines."""
    taken = []
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                taken.append(port)
    return taken


def main() -> int:
    """Run one in the foreground on RocketMQ's default ports, until Ctrl-C; its folder is removed at the end."""
    if taken := ports_taken(DEFAULT_PORTS):
        print(
            f"error: in use: {', '.join(f'127.0.0.1:{port}' for port in taken)}; nothing was started"
        )
        print("hint:  Another RocketMQ? `ss -ltnp` names who listens there; end it first.")
        return 1
    server = RocketmqServer(DEFAULT_PORTS)
    try:
        server.start()
        print(f"RocketMQ {VERSION} answers; Ctrl-C ends it and forgets its messages")
        print(f"  url          {server.url}")
        print(f"  name server  {server.namesrv}")
        print(f"  proxy, gRPC  {server.endpoints}")
        print(f"  logs         {server.folder}/logs/rocketmqlogs", flush=True)
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        server.close()


if __name__ == "__main__":
    sys.exit(main())
