"""The options of every command that talks to engines: which ones, and where the embedded ones keep their state."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saleops.errors import ConfigError
from saleops.events import Warned
from saleops.ports.engines import has_password

if TYPE_CHECKING:
    from saleops.cli.screen import Screen
    from saleops.config.sale import Sale
    from saleops.ports.engines import EngineUrls

SaleFile = Annotated[
    Path, typer.Argument(metavar="SALE", help="The sale file (YAML).", show_default=False)
]
StateDir = Annotated[
    Path,
    typer.Option(
        "--state-dir",
        metavar="DIR",
        envvar="SALEOPS_STATE_DIR",
        help="Where embedded engines keep their data; a serve that runs there is used.",
    ),
]
Redis = Annotated[
    str | None,
    typer.Option(
        "--redis",
        metavar="URL",
        help="redis://, rediss://, unix:// or redis+cluster:// URL; else SALEOPS_REDIS_URL.",
    ),
]
Database = Annotated[
    str | None,
    typer.Option(
        "--database", metavar="URL", help="mysql:// or sqlite:/// URL; else SALEOPS_DATABASE_URL."
    ),
]
Broker = Annotated[
    str | None, typer.Option("--broker", metavar="URL", help="Broker URL; else SALEOPS_BROKER_URL.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done; change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", envvar="SALEOPS_YES", help="Do not ask.")]

STATE_DIR = Path(".saleops")


@dataclass(frozen=True)
class EngineFlags:
    """What a command was told about its engines."""

    state_dir: Path
    redis: str | None
    database: str | None
    broker: str | None


@contextmanager
def engines_of_sale(
    screen: "Screen", sale_file: Path, flags: EngineFlags, *, command: str, migrate: bool = True
) -> Iterator[tuple["Sale", "EngineUrls"]]:
    """The sale and its engines, for a command that looks at a sale which is there. Raises ConfigError where none can be:
    such a command starts no empty engines."""
    from saleops.config.sale import load_sale
    from saleops.wiring import nothing_there, open_engines

    urls = {"redis": flags.redis, "database": flags.database, "broker": flags.broker}
    warn_of_passwords(screen, **urls)
    sale = load_sale(sale_file)
    chosen: dict[str, Any] = {**urls, "engines": sale.engines, "state_dir": flags.state_dir}
    if nothing_there(**chosen):
        raise ConfigError(
            f"there is no sale in {flags.state_dir}: it does not exist; nothing was done",
            hint="Name the --state-dir of your `saleops serve`, or give --redis, --database and --broker.",
        )
    with open_engines(**chosen, command=command, migrate=migrate) as engines:
        tell_engines(screen, engines)
        yield sale, engines


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
