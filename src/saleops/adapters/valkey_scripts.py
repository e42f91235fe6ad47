"""Scripts tried on an embedded Valkey that lives for the trial: its own folder, no port, nothing kept.

A script that runs too long is killed; one that has written already cannot be, and the server is then ended and started anew.
The user that runs scripts may neither administrate nor migrate, so that nothing a script does leaves this server.
"""

import contextlib
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from saleops.adapters.valkey_engine import ValkeyEngine
from saleops.errors import UpstreamError
from saleops.ports.scripts import Content, Ran

RUN_MAX_S = 0.5
"""A script that atomically takes a unit needs microseconds; a server stands still for all others meanwhile."""
BUSY_AFTER_MS = 200
MEMORY_MAX_BYTES = 1 << 30
ANSWER_MAX = 2_000
_KEYS_MAX = 1_000
_AT = re.compile(r"user_script:(\d+)")


class ValkeyScriptBench:
    """See the module. A context manager."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="so-lua-"))
        self._engine = ValkeyEngine(self._folder)
        self._client: Any = None

    def __enter__(self) -> "ValkeyScriptBench":
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        with contextlib.suppress(OSError):
            self._tell("SHUTDOWN NOSAVE")
        self._engine.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(
        self,
        script: str,
        keys: Sequence[str],
        arguments: Sequence[str],
        *,
        before: Mapping[str, Content] | None,
    ) -> Ran:
        try:
            if before is not None:
                self._prepare(before)
            return self._run(script, keys, arguments)
        except redis.RedisError as error:
            raise UpstreamError(
                f"the embedded Valkey failed while it tried a script: {error}"
            ) from error

    def _prepare(self, before: Mapping[str, Content]) -> None:
        pipe = self._client.pipeline(transaction=False)
        pipe.flushall()
        for key, content in before.items():
            if isinstance(content, str):
                pipe.set(key, content)
            else:
                pipe.hset(key, mapping=dict(content))
        pipe.execute()

    def _run(self, script: str, keys: Sequence[str], arguments: Sequence[str]) -> Ran:
        try:
            answer = self._client.execute_command("EVAL", script, len(keys), *keys, *arguments)
        except redis.TimeoutError:
            self._unstick()
            return Ran("stuck", error=f"it ran for more than {RUN_MAX_S:g} s")
        except redis.ConnectionError as error:
            self._restart()
            return Ran("stuck", error=f"the server did not survive it: {str(error)[:200]}")
        except redis.ResponseError as error:
            said = str(error)
            found = _AT.findall(said)
            if not found and "script:" not in said and "compiling script" not in said:
                return Ran("replied", error=said[:ANSWER_MAX], after=self._contents())
            line = int(found[0]) if found else 0
            return Ran("raised", error=said[:ANSWER_MAX], line=line, after=self._contents())
        return Ran("answered", _readable(answer), after=self._contents())

    def _contents(self) -> dict[str, Content]:
        contents: dict[str, Content] = {}
        for raw in self._client.scan_iter(count=200):
            key = _text(raw)
            match _text(self._client.type(raw)):
                case "string":
                    contents[key] = _text(self._client.get(raw))
                case "hash":
                    contents[key] = {
                        _text(k): _text(v) for k, v in self._client.hgetall(raw).items()
                    }
                case other:
                    contents[key] = {"": other}
            if len(contents) >= _KEYS_MAX:
                break
        return contents

    def _start(self) -> None:
        self._engine.start()
        self._limit_memory()
        self._client = self._connect("default")
        try:
            self._client.config_set("appendonly", "no")
            self._client.config_set("busy-reply-threshold", str(BUSY_AFTER_MS))
            self._client.execute_command(
                *[
                    "ACL",
                    "SETUSER",
                    "trial",
                    "on",
                    "nopass",
                    "~*",
                    "&*",
                    "+@all",
                    "-@admin",
                    "-@pubsub",
                    "-migrate",
                    "-client",
                ]
            )
            self._client.close()
            self._client = self._connect("trial")
            self._client.ping()
        except redis.RedisError as error:
            raise UpstreamError(f"the embedded Valkey did not start as asked: {error}") from error

    def _connect(self, user: str) -> Any:
        return redis.Redis.from_url(
            self._engine.url,
            username=user,
            password="none" if user == "trial" else None,  # nopass: any will do
            socket_timeout=RUN_MAX_S,
            socket_connect_timeout=RUN_MAX_S,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )

    def _limit_memory(self) -> None:
        """A script that fills a table without end is to fail, not to take the machine along."""
        if not sys.platform.startswith("linux"):
            return
        import resource

        pid = self._engine.pid
        if pid is not None:
            with contextlib.suppress(OSError):  # it may have ended; the connection will say so
                resource.prlimit(pid, resource.RLIMIT_AS, (MEMORY_MAX_BYTES, MEMORY_MAX_BYTES))

    def _unstick(self) -> None:
        answer = b""
        with contextlib.suppress(OSError):
            answer = self._tell("SCRIPT KILL")
        if answer.startswith(b"-UNKILLABLE") or not answer:
            self._restart()
            return
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if self._tell("PING").startswith(b"+PONG"):
                    self._client.close()
                    return
            time.sleep(0.02)
        self._restart()

    def _restart(self) -> None:
        self._client.close()
        with contextlib.suppress(OSError):
            self._tell("SHUTDOWN NOSAVE")
        self._engine.stop()
        for leftover in self._folder.iterdir():
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
        self._start()

    def _tell(self, command: str) -> bytes:
        """On a connection of its own: the client's waits for the script."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as wire:
            wire.settimeout(1.0)
            wire.connect(os.fspath(self._engine.url.removeprefix("unix://")))
            wire.sendall(command.encode() + b"\r\n")
            return wire.recv(256)


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _readable(value: Any, depth: int = 8) -> Any:
    if isinstance(value, bytes):
        return _text(value)[:ANSWER_MAX]
    if isinstance(value, list):
        return [_readable(one, depth - 1) for one in value[:100]] if depth else "..."
    return value
