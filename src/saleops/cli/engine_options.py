"""The options of every command that talks to engines: which ones, and where the embedded ones keep their state."""

from pathlib import Path
from typing import Annotated

import typer

SaleFile = Annotated[Path, typer.Argument(help="The sale file (YAML).", show_default=False)]
StateDir = Annotated[
    Path,
    typer.Option(
        "--state-dir",
        envvar="SALEOPS_STATE_DIR",
        help="Where embedded engines keep their data; a serve that runs there is used.",
    ),
]
Redis = Annotated[
    str | None,
    typer.Option("--redis", help="redis://, rediss:// or unix:// URL; else SALEOPS_REDIS_URL."),
]
Database = Annotated[
    str | None,
    typer.Option("--database", help="mysql:// or sqlite:/// URL; else SALEOPS_DATABASE_URL."),
]
Broker = Annotated[
    str | None, typer.Option("--broker", help="Broker URL; else SALEOPS_BROKER_URL.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done; change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", envvar="SALEOPS_YES", help="Do not ask.")]

STATE_DIR = Path(".saleops")
