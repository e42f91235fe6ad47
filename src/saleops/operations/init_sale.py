"""Writes a first sale to start from: a commented sale file, its items, and the schema that editors check it with.

The texts come from ``templates/sale``; three marks in them (``@NAME@``, ``@OPENS@``, ``@CLOSES@``) are all that changes. All
files are written, or none: without ``force`` nothing that is there is ever touched, not even when two people start at
the same moment.
"""

import json
import os
import re
import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

from saleops.errors import ConfigError, Refused
from saleops.resources import read_template

FILES = ("sale.yaml", "items.csv", "sale.schema.json")
PROFILE = "profile.yaml"
NAME_PATTERN = r"[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?"
"""As in config/sale.py, which costs a tenth of a second to import; a test holds the two together."""

_LENGTH = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class InitPlan:
    """What would be written. ``overwrites`` names the files that are there already."""

    schema: ClassVar[str] = "saleops/init-plan/v1"

    folder: str
    name: str
    opens: str
    files: tuple[str, ...]
    overwrites: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InitReport:
    """What was written, and what to do next."""

    schema: ClassVar[str] = "saleops/init/v1"

    folder: str
    files: tuple[str, ...]
    next: tuple[str, ...]


def plan_init(
    folder: Path, *, name: str, today: datetime, force: bool = False, profile: bool = False
) -> InitPlan:
    """Look at ``folder``; the sale opens at midnight a week after ``today``, in its time zone. ``profile``: with one beside it.

    Raises ConfigError for a name that is no DNS label or a folder that is none, and Refused when a file is there and
    ``force`` is not given.
    """
    if re.fullmatch(NAME_PATTERN, name) is None:
        better = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:42].strip("-")
        raise ConfigError(
            f"{name!r} is no name for a sale; nothing was written",
            hint="A name has lower-case letters, digits and dashes, at most 42"
            + (f": --name {better}" if better else "."),
        )
    try:
        if os.path.lexists(folder) and not folder.is_dir():
            raise ConfigError(
                f"{folder} is not a folder; nothing was written", hint="Name another folder."
            )
        files = (*FILES, PROFILE) if profile else FILES
        there = tuple(file for file in files if os.path.lexists(folder / file))
    except OSError as error:
        raise _unwritable(folder, error) from error
    if there and not force:
        raise _occupied(folder / there[0])
    opens = (today + timedelta(days=7)).replace(hour=0, minute=0, second=0, microsecond=0)
    return InitPlan(str(folder), name, opens.isoformat(), files, there)


def apply_init(plan: InitPlan) -> InitReport:
    """Write the files. Raises ConfigError when they cannot be written, Refused when one has appeared since the plan."""
    folder = Path(plan.folder)
    texts = _texts(plan)
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            if file in plan.overwrites:
                continue
            with (folder / file).open("x", encoding="utf-8") as new:
                written.append(folder / file)
                new.write(text)
        for file in plan.overwrites:
            _replace(folder / file, texts[file])
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        for path in written:
            path.unlink(missing_ok=True)
        if isinstance(error, FileExistsError) and error.filename != plan.folder:
            raise _occupied(Path(str(error.filename))) from error
        raise _unwritable(folder, error) from error
    sale = folder / "sale.yaml"
    return InitReport(
        plan.folder,
        plan.files,
        (
            f"saleops rehearse {sale}",
            f"saleops serve --sale {sale}",
            f"saleops provision all {sale} --endpoint-cloud local",
        ),
    )


def _texts(plan: InitPlan) -> dict[str, str]:
    from saleops.config.sale import sale_schema

    opens = datetime.fromisoformat(plan.opens)
    texts = {
        "sale.yaml": read_template("sale/sale.yaml")
        .replace("@NAME@", plan.name)
        .replace("@OPENS@", opens.isoformat())
        .replace("@CLOSES@", (opens + _LENGTH).isoformat()),
        "items.csv": read_template("sale/items.csv"),
        "sale.schema.json": json.dumps(sale_schema(), indent=2, ensure_ascii=False) + "\n",
    }
    if PROFILE in plan.files:
        texts[PROFILE] = read_template("sale/profile.yaml")
    return texts


def _replace(path: Path, text: str) -> None:
    """Write ``path`` whole or not at all. Its permissions stay, and a symbolic link stays one."""
    path = path.resolve()
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _occupied(path: Path) -> Refused:
    return Refused(
        f"{path} is there already; nothing was written",
        hint="Choose another folder, or pass --force to overwrite it.",
    )


def _unwritable(folder: Path, error: OSError | ValueError) -> ConfigError:
    reason = getattr(error, "strerror", None) or error
    return ConfigError(
        f"cannot write to {str(folder)!r}: {reason}; nothing was written",
        hint="Choose a folder that you may write to: saleops init FOLDER",
    )
