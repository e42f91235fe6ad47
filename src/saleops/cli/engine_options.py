"""The options of every command that talks to engines: which ones, and where the embedded ones keep their state."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saleops.events import Warned
from saleops.ports.engines import has_password

if TYPE_CHECKING:
    from saleops.cli.screen import Screen
    from saleops.ports.engines import EngineUrls

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


def warn_of_passwords(screen: "Screen", **urls: str | None) -> None:
    """A flag shows in the process list: say so where one holds a password. ``urls`` are the flags by name."""
    for name, url in urls.items():
        if url and has_password(url):
            screen.observe(
                Warned(
                    f"the password in --{name} shows in the process list; "
                    f"SALEOPS_{name.upper()}_URL keeps it out of there"
                )
            )


def tell_engines(screen: "Screen", engines: "EngineUrls") -> None:
    """Say which engines a command works on, wherever that is not the plain embedded set; warn of a mix."""
    origins = set(engines.origins.values())
    if origins <= {"embedded"}:
        return
    for name, url in engines.masked().items():
        screen.note(f"{name:<8}  {url}  ({engines.origins[name]})")
    if "embedded" in origins:
        screen.observe(
            Warned(
                "named engines and embedded ones are used together: every command for this sale has to be given the "
                "same ones"
            )
        )
