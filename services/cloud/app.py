"""The local cloud on HTTP: RSGI in, ``LocalCloud.handle``, an answer out; and what it needs from its folder.

One event loop, one thread of state: a request is handled between two awaits, so no two of them ever meet.
"""

import asyncio
import contextlib
import logging
import secrets
import string
from pathlib import Path
from typing import Any

import msgspec

from saleops.config.local_cloud import CloudSettings
from saleops.errors import ConfigError, UpstreamError
from saleops.services.cloud.call_log import CallLog
from saleops.services.cloud.cloud_time import CloudTime, wall_ms
from saleops.services.cloud.control import Control
from saleops.services.cloud.core import LocalCloud
from saleops.services.cloud.faults import FaultPlan, Faults
from saleops.services.cloud.private_files import write_private
from saleops.services.cloud.products.sts import root_arn
from saleops.services.cloud.saving import WorldFile, restore
from saleops.services.cloud.signatures import Key
from saleops.services.cloud.wire import BODY_MAX, WireRequest, WireResponse
from saleops.services.cloud.world import World

log = logging.getLogger("saleops.services.cloud")

WORLD = "world.json"
KEYS = "key.json"
CALLS = "calls.jsonl"
BODY_TIMEOUT_S = 10.0
BODIES_AWAITED_MAX = 128
CROWDED_TIMEOUT_S = 0.5
"""How long a body may take while so many others are on their way: that of a client on this machine is there at once."""
_LETTERS = string.ascii_letters + string.digits


class SavedKey(msgspec.Struct, frozen=True):
    """The account's access key: made once, so that lines exported yesterday still work."""

    access_key_id: str
    access_key_secret: str


def open_cloud(settings: CloudSettings) -> LocalCloud:
    """The cloud that lives in ``settings.folder``. Raises ConfigError when what is there cannot be read."""
    folder = Path(settings.folder)
    file = WorldFile(folder / WORLD)
    if settings.reset:
        file.set_aside()
    saved = file.load()
    try:
        plan = msgspec.convert(settings.faults, FaultPlan)
    except (msgspec.ValidationError, ValueError) as error:
        raise ConfigError(f"faults: {error}; the local cloud was not started") from error
    start_ms = wall_ms() if saved is None else saved.now_ms
    if settings.clock == "real":
        start_ms = max(start_ms, wall_ms())
    time = CloudTime(start_ms, mode=settings.clock, speed=settings.speed)
    world = World(time, seed=secrets.token_hex(8), list_lag_ms=settings.list_lag_ms)
    region = settings.region
    if saved is not None:
        restore(saved, world)
    own = _key(folder / KEYS)
    cloud = LocalCloud(
        world,
        key=Key(own.access_key_id, own.access_key_secret, root_arn(world.account), world.account),
        region=region,
        control=Control(time),
        faults=Faults(plan, now_ms=time.now_ms),
        calls=CallLog(folder / CALLS),
        save=lambda cloud: file.save(cloud.world, region=region, tokens=cloud.tokens),
        undo=lambda cloud: _bring_back(cloud, file),
        tokens=saved.tokens if saved is not None else {},
    )
    cloud.mark_changed()
    cloud.save_if_changed()  # a folder that cannot be written is found out now
    return cloud


def _bring_back(cloud: LocalCloud, file: WorldFile) -> None:
    """The world as it was saved last; its clock goes on."""
    saved = file.load()
    if saved is None:
        raise UpstreamError(f"{file.path} is gone")
    restore(saved, cloud.world)
    cloud.tokens = saved.tokens


def _key(path: Path) -> SavedKey:
    with contextlib.suppress(FileNotFoundError):
        try:
            return msgspec.json.decode(path.read_bytes(), type=SavedKey)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"the local cloud's key file {path} is damaged: {error}; nothing was started",
                hint="Remove it: a new key is made.",
            ) from error
    made = SavedKey(
        "LTAI5t" + "".join(secrets.choice(_LETTERS) for _ in range(18)),
        "".join(secrets.choice(_LETTERS) for _ in range(30)),
    )
    write_private(path, msgspec.json.encode(made))
    return made


class CloudApp:
    """The RSGI application. ``draining`` answers 503 to what still comes."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        self.draining = False
        self.in_flight = 0
        self.bodies_awaited = 0

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        if scope.proto != "http":
            protocol.close(1000)
            return
        self.in_flight += 1
        try:
            crowded = self.bodies_awaited >= BODIES_AWAITED_MAX
            self.bodies_awaited += 1
            try:
                async with asyncio.timeout(CROWDED_TIMEOUT_S if crowded else BODY_TIMEOUT_S):
                    body = await _body(scope, protocol)
            except TimeoutError:
                protocol.response_empty(408, [("connection", "close")])
                return
            finally:
                self.bodies_awaited -= 1
            if body is None:
                protocol.response_empty(413, [("connection", "close")])
                return
            request = WireRequest(
                scope.method,
                scope.path,
                scope.query_string,
                {name.lower(): value for name, value in scope.headers.items()},
                body,
            )
            response = self.cloud.handle(request)
            if response.after_ms:
                await asyncio.sleep(response.after_ms / 1000)
            if response.lost:
                await _break_off(protocol, response)
            else:
                protocol.response_bytes(response.status, list(response.headers), response.body)
        except Exception:
            log.exception("%s %s could not be answered", scope.method, scope.path)
            raise
        finally:
            self.in_flight -= 1


async def _body(scope: Any, protocol: Any) -> bytes | None:
    """The whole body; None when it is too large to be read at all."""
    length = scope.headers.get("content-length")
    if length is not None and (not length.isdigit() or int(length) > BODY_MAX):
        return None
    parts: list[bytes] = []
    size = 0
    try:
        async for part in protocol:
            size += len(part)
            if size > BODY_MAX:
                return None
            parts.append(bytes(part))
    except Exception as error:  # noqa: BLE001  # the server's own error type says no more than its text
        log.info("a body broke off: %s", error)
        return b""
    return b"".join(parts)


async def _break_off(protocol: Any, response: WireResponse) -> None:
    """Promise an answer, send its first byte and close: the caller learns nothing of it."""
    head = [("content-type", "application/json"), ("content-length", str(len(response.body) + 1))]
    stream = protocol.response_stream(200, head)
    with contextlib.suppress(Exception):  # the caller went first
        await stream.send_bytes(response.body[:1])
