"""The world on disk: one file, replaced as a whole after every change, before the answer leaves.

A file is written beside the old one and renamed over it, so a process killed at any moment leaves the old world or the new
one. It is not forced to the disk: after a power cut a rehearsal starts over, and nothing real is lost.
"""

import os
from pathlib import Path
from typing import Any

import msgspec

from saleops.errors import ConfigError, UpstreamError
from saleops.services.cloud.world import Thing, World

FORMAT = "saleops/local-cloud/v1"


class TokenUse(msgspec.Struct):
    """What an idempotency token was used for. ``busy_until_ms`` is of the wall clock."""

    digest: str
    document: Any
    at_ms: int  # cloud time
    busy_until_ms: int = 0


class SavedWorld(msgspec.Struct):
    """``format`` first, so that a reader sees at once what it is."""

    format: str
    now_ms: int
    seed: str
    account: str
    region: str
    ids_count: int
    things: list[Thing]
    settings: dict[str, Any]
    tokens: dict[str, TokenUse]


class WorldFile:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._draft = path.with_name(path.name + ".new")
        self._encoder = msgspec.json.Encoder()

    def load(self) -> SavedWorld | None:
        """The world that was saved; None where there is none. Raises ConfigError when the file is damaged."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._damaged(error.strerror or str(error)) from error
        try:
            saved = msgspec.json.decode(content, type=SavedWorld)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._damaged(str(error)) from error
        if saved.format != FORMAT:
            raise self._damaged(f"its format is {saved.format!r}, not {FORMAT!r}")
        empty = [thing.id for thing in saved.things if not thing.timeline]
        if empty:
            raise self._damaged(f"{empty[0]} has no states")
        return saved

    def _damaged(self, why: str) -> ConfigError:
        return ConfigError(
            f"the local cloud's state {self.path} cannot be read: {why}; nothing was started",
            hint="Start over with `saleops serve cloud --reset`, which keeps the damaged file beside it.",
        )

    def set_aside(self) -> None:
        """Keep the file under another name: whoever asks for a reset may still want to look at it."""
        if self.path.exists():
            self.path.replace(self.path.with_name(self.path.name + ".before-reset"))

    def save(self, world: World, *, region: str, tokens: dict[str, TokenUse]) -> None:
        """Raises UpstreamError when the disk refuses."""
        content = self._encoder.encode(
            SavedWorld(
                format=FORMAT,
                now_ms=world.now_ms(),
                seed=world.seed,
                account=world.account,
                region=region,
                ids_count=world.ids_count,
                things=[thing for kind in world.things.values() for thing in kind.values()],
                settings=world.settings,
                tokens=tokens,
            )
        )
        try:
            handle = os.open(
                self._draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
            )
            with os.fdopen(handle, "wb") as out:
                out.write(content)
            self._draft.replace(self.path)
        except OSError as error:
            raise UpstreamError(
                f"the local cloud's state {self.path} cannot be written: {error.strerror}",
                hint="Make room there, or name another folder with --state-dir.",
            ) from error


def restore(saved: SavedWorld, world: World) -> None:
    """Put what was saved into ``world``."""
    world.ids_count = saved.ids_count
    world.seed = saved.seed
    world.account = saved.account
    world.settings = saved.settings
    world.things = {}
    for thing in saved.things:
        world.things.setdefault(thing.kind, {})[thing.id] = thing
