"""Writes a first sale to start from: a commented sale file and its items."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

from saleops.errors import ConfigError, Refused
from saleops.resources import read_template

FILES = ("sale.yaml", "items.csv")


@dataclass(frozen=True)
class InitPlan:
    """What would be written. ``overwrites`` names the files that are there already."""

    schema: ClassVar[str] = "saleops/init-plan/v1"

    folder: str
    name: str
    opens: str
    files: tuple[str, ...]
    overwrites: tuple[str, ...]


@dataclass(frozen=True)
class InitReport:
    """What was written, and what to do next."""

    schema: ClassVar[str] = "saleops/init/v1"

    folder: str
    files: tuple[str, ...]
    next: tuple[str, ...]


def plan_init(folder: Path, *, name: str, today: datetime, force: bool = False) -> InitPlan:
    """Look at ``folder``. Raises Refused when a file is there and ``force`` is not given."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file, not a folder; nothing was written")
    there = tuple(file for file in FILES if (folder / file).exists())
    if there and not force:
        raise Refused(
            f"{folder / there[0]} is there already; nothing was written",
            hint="Choose another folder, or pass --force to overwrite it.",
        )
    opens = (today + timedelta(days=7)).replace(hour=0, minute=0, second=0, microsecond=0)
    return InitPlan(str(folder), name, opens.isoformat(), FILES, there)


def apply_init(plan: InitPlan) -> InitReport:
    """Write the files. Raises ConfigError when the folder cannot be written."""
    folder = Path(plan.folder)
    opens = datetime.fromisoformat(plan.opens)
    closes = (opens + timedelta(hours=2)).isoformat()
    texts = {
        "sale.yaml": read_template("sale/sale.yaml")
        .replace("@NAME@", plan.name)
        .replace("@OPENS@", plan.opens)
        .replace("@CLOSES@", closes),
        "items.csv": read_template("sale/items.csv"),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            (folder / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written: {error.strerror or error}") from error
    sale = folder / "sale.yaml"
    return InitReport(
        plan.folder, plan.files, (f"saleops rehearse {sale}", f"saleops serve --sale {sale}")
    )
