"""From paths to texts: which files a run looks at, and what it says about those it cannot read.

A folder is walked for .yaml, .yml, .json, .tf and .lua files; hidden folders and those of other people's code are passed
over. Symbolic links are followed, each folder once, so a loop ends. A file that is named is read whatever its name is.
"""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from saleops.config.yaml_lines import encoding_guess
from saleops.domain.lint.documents import LintDocument
from saleops.domain.lint.fleet import Trouble
from saleops.errors import ConfigError
from saleops.operations.lint.parsed import trouble
from saleops.operations.lint.parsing import parse_text

FILE_MAX_BYTES = 8 * 1024 * 1024
FILES_MAX = 50_000
SUFFIXES = (".yaml", ".yml", ".json", ".tf", ".lua")
PASSED_OVER = {"node_modules", "vendor", "venv", "site-packages", "__pycache__", "target"}
LOCK_FILES = {"package-lock.json", "pnpm-lock.yaml", "composer.lock", "tsconfig.json"}
STDIN = "-"


@dataclass(slots=True)
class Texts:
    """The files of a run with their texts (without byte order marks), and what was not looked at."""

    texts: dict[str, str] = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)
    streams: set[str] = field(default_factory=set)  # names that are no files


@dataclass(slots=True)
class Documents:
    """Everything that the texts hold."""

    documents: list[LintDocument] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)


def read_paths(
    paths: Sequence[str], *, stdin: Callable[[], bytes], stdin_name: str = "stdin"
) -> Texts:
    """The texts of all files of ``paths``. Raises ConfigError for a path that is not there."""
    found = Texts()
    seen: set[tuple[int, int]] = set()
    for path in paths:
        if path == STDIN:
            if stdin_name not in found.streams:
                found.streams.add(stdin_name)
                _add(found, stdin_name, stdin())
            continue
        for file in _files_of(Path(path), found):
            try:
                status = file.stat()
            except (OSError, ValueError) as error:
                _unread(found, str(file), getattr(error, "strerror", None) or str(error))
                continue
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            if len(seen) > FILES_MAX:
                raise ConfigError(
                    f"{path}: more than {FILES_MAX:,} files",
                    hint="Name the folders that hold what you deploy.",
                )
            _read(found, file, status)
    return found


def parse_texts(texts: Texts) -> Documents:
    """All documents of ``texts``."""
    everything = Documents(troubles=list(texts.troubles))
    charts = _charts(texts)
    for name, text in texts.texts.items():
        if "{{" in text and (chart := _chart_of(name, charts)):
            charts[chart] += 1
            continue
        parsed = parse_text(name, text)
        everything.documents += parsed.documents
        everything.troubles += parsed.troubles
    for chart, count in charts.items():
        if count:
            files = "1 template" if count == 1 else f"{count} templates"
            message = f"This chart has {files} that nobody has rendered"
            everything.troubles.append(trouble("SRC003", chart, 1, 1, message))
    return everything


def _charts(texts: Texts) -> dict[str, int]:
    """Chart.yaml files; a chart's templates are told of once, not one by one."""
    return {name: 0 for name in texts.texts if Path(name).name == "Chart.yaml"}


def _chart_of(name: str, charts: dict[str, int]) -> str | None:
    for parent in Path(name).parents:
        if parent.name == "templates" and (chart := str(parent.parent / "Chart.yaml")) in charts:
            return chart
    return None


def _files_of(path: Path, found: Texts) -> Iterator[Path]:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"{str(path)!r} cannot be read: {reason}",
            hint="Name files or folders; - reads standard input.",
        ) from error
    if not stat.S_ISDIR(mode):
        yield path
        return
    entered: set[tuple[int, int]] = set()

    def denied(error: OSError) -> None:
        _unread(found, str(error.filename), error.strerror or str(error))

    for folder, below, files in os.walk(path, followlinks=True, onerror=denied):
        try:
            status = os.stat(folder)
        except OSError as error:
            denied(error)
            below.clear()
            continue
        if (status.st_dev, status.st_ino) in entered:
            below.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        below[:] = sorted(one for one in below if one[0] != "." and one not in PASSED_OVER)
        for name in sorted(files):
            if name[0] != "." and name not in LOCK_FILES and name.lower().endswith(SUFFIXES):
                yield Path(folder) / name


def _read(found: Texts, file: Path, status: os.stat_result) -> None:
    name = str(file)
    if not stat.S_ISREG(status.st_mode):
        _unread(found, name, "it is not a regular file")
        return
    if status.st_size > FILE_MAX_BYTES:
        _unread(found, name, f"{status.st_size:,} bytes are more than {FILE_MAX_BYTES:,}")
        return
    try:
        with file.open("rb") as opened:
            data = opened.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        _unread(found, name, error.strerror or str(error))
        return
    _add(found, name, data)


def _add(found: Texts, name: str, data: bytes) -> None:
    if len(data) > FILE_MAX_BYTES:
        _unread(found, name, f"it has more than {FILE_MAX_BYTES:,} bytes")
        return
    if b"\0" in data and data[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        _unread(found, name, "it looks like a binary file")
        return
    try:
        found.texts[name] = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        reason = f"it is not UTF-8{encoding_guess(data[:8192])}"
        found.troubles.append(trouble("SRC004", name, line, 1, f"Not looked at: {reason}"))


def _unread(found: Texts, name: str, reason: str) -> None:
    found.troubles.append(trouble("SRC004", name, 1, 1, f"Not looked at: {reason}"))
