"""A folder of files that we write and people may edit: what writing would do, and writing it.

A manifest beside the files has the hash of each as it was written. With it a second run tells a file that somebody edited, which
stays as it is unless told otherwise, from one that only became old. Files are replaced one by one, each whole or not at
all; the manifest is written first with the hashes of both, so a run that was killed half-way leaves nothing that looks edited.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from saleops.errors import ConfigError, Refused

MANIFEST = ".saleops-render.json"
_SCHEMA = "saleops/rendered-files/v1"

State = Literal["new", "changed", "same", "edited", "gone"]


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """``state`` is how the file was before: not there, an older one of ours, the same, edited by somebody, or no longer part."""

    name: str
    state: State
    sha256: str


@dataclass(frozen=True)
class FolderPlan:
    """``texts`` are the files as they shall be, by their name below the folder."""

    folder: Path
    files: tuple[RenderedFile, ...]
    texts: Mapping[str, str] = field(repr=False)
    known: Mapping[str, tuple[str, ...]] = field(repr=False)

    @property
    def changes(self) -> tuple[RenderedFile, ...]:
        return tuple(one for one in self.files if one.state != "same")


def plan_folder(folder: Path, texts: Mapping[str, str], *, force: bool = False) -> FolderPlan:
    """What writing ``texts`` into ``folder`` would do. Only reads.

    Raises Refused, without ``force``, where files that we would write were edited or are others', ConfigError for a folder
    that cannot be read.
    """
    known = _manifest(folder)
    files = []
    for name, text in texts.items():
        there, wanted = _hash_of(folder / name), _hash(text)
        state: State = "new"
        if there is not None:
            ours = "changed" if there in known.get(name, ()) else "edited"
            state = "same" if there == wanted else ours  # type: ignore[assignment]  # one of State
        files.append(RenderedFile(name, state, wanted))
    for name in sorted(known.keys() - texts.keys()):
        there = _hash_of(folder / name)
        if there is not None:
            files.append(RenderedFile(name, "gone" if there in known[name] else "edited", ""))
    edited = [one.name for one in files if one.state == "edited"]
    if edited and not force:
        were = "were" if len(edited) > 1 else "was"
        raise Refused(
            f"{', '.join(edited)} in {folder} {were} edited, or written by somebody else; nothing was written",
            hint="Add --force to overwrite, or name another folder with --to.",
        )
    return FolderPlan(folder, tuple(files), texts, known)


def write_folder(plan: FolderPlan) -> bool:
    """Write what ``plan`` says; whether anything was written. Raises ConfigError where the folder cannot be written."""
    folder, hashes = plan.folder, {name: (_hash(text),) for name, text in plan.texts.items()}
    if not plan.changes and _manifest(folder) == hashes:
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        both = {
            name: tuple(dict.fromkeys((*plan.known.get(name, ()), *hashes[name])))
            for name in plan.texts
        }
        _replace(folder / MANIFEST, _manifest_text({**plan.known, **both}))
        for one in plan.changes:
            path = folder / one.name
            if one.name in plan.texts:
                path.parent.mkdir(parents=True, exist_ok=True)
                _replace(path, plan.texts[one.name])
            elif one.state == "gone":
                path.unlink(missing_ok=True)
        _replace(folder / MANIFEST, _manifest_text(hashes))
    except OSError as error:
        raise ConfigError(
            f"cannot write {error.filename or folder}: {error.strerror or error}",
            hint="Name a folder you may write with --to. Files that were written are whole; run it again.",
        ) from error
    return True


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _hash_of(path: Path) -> str | None:
    """The hash of the file ``path``, None where there is none. Raises ConfigError."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot read {path}: {getattr(error, 'strerror', None) or error}; nothing was written",
            hint="Name another folder with --to.",
        ) from error


def _plain(name: str) -> bool:
    """Names go into paths that may be unlinked: only those below the folder count."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and str(path) == name != "."


def _manifest(folder: Path) -> dict[str, tuple[str, ...]]:
    """The hashes of what we wrote into ``folder``; nothing where we wrote nothing, or where that cannot be told."""
    try:
        document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if document["schema"] != _SCHEMA:
            return {}
        return {
            name: tuple(map(str, hashes))
            for name, hashes in document["files"].items()
            if _plain(name)
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # then every file that differs counts as edited, which is the safe side


def _manifest_text(hashes: Mapping[str, Sequence[str]]) -> str:
    files = {name: list(hashes[name]) for name in sorted(hashes)}
    return json.dumps({"schema": _SCHEMA, "files": files}, indent=2) + "\n"


def _replace(path: Path, text: str) -> None:
    """Write ``path`` whole or not at all. Its permissions stay."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
