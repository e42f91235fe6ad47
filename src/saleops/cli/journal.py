"""``saleops journal``: who changed what in a sale: repairs, undos, rebuilds, replays and rechecks."""

from typing import Annotated

import typer

from saleops.cli.context import context_of
from saleops.cli.engine_options import (
    STATE_DIR,
    Database,
    EngineFlags,
    Redis,
    SaleFile,
    StateDir,
    engines_of_sale,
)
from saleops.cli.figures import when
from saleops.cli.sheets import Sheet, as_rich
from saleops.operations.journal import JournalLog, read_journal

RUNS_MAX = 1000
IDS_ON_SCREEN = 20

app = typer.Typer()


@app.command()
def journal(
    ctx: typer.Context,
    sale_file: SaleFile,
    state_dir: StateDir = STATE_DIR,
    redis: Redis = None,
    database: Database = None,
    command: Annotated[
        list[str] | None,
        typer.Option(
            "--command",
            metavar="NAME",
            help="Only runs of this command, such as 'reconcile --repair' or rebuild. Repeatable.",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=RUNS_MAX, help="Show at most so many runs.")
    ] = 20,
) -> None:
    """Show who changed what in the sale of SALE_FILE, newest first: repairs and their undos, rebuilds of the stock store,
    replays of dead letters, rechecks of half messages.

    Only reads, from the orders database. A run that was killed is "cut off"; the ids it may have touched are there.

    Examples:
      saleops journal sale.yaml
      saleops journal sale.yaml --command 'reconcile --repair' --limit 1 -o json
    """
    from saleops import wiring

    context = context_of(ctx)
    flags = EngineFlags(state_dir, redis, database, None)
    opened = engines_of_sale(context.screen, sale_file, flags, command="journal", migrate=False)
    with opened as (sale, engines), wiring.open_order_book(engines.database_url) as book:
        log = read_journal(sale.name, book, limit=limit, commands=command or ())
    context.screen.show(log)


@as_rich.register
def _(log: JournalLog) -> list[Sheet | str]:
    """The runs; what a single one touched is shown with it."""
    if not log.runs:
        return [f"The journal of sale {log.sale} holds no such run."]
    rows = [
        (
            when(run.at_ms),
            run.command,
            run.who,
            run.selection,
            run.outcome,
            ", ".join(f"{name} {count:,}" for name, count in run.figures.items()),
            run.run_id,
        )
        for run in log.runs
    ]
    columns = ("began", "command", "who", "what", "outcome", "figures", "run")
    shown: list[Sheet | str] = [Sheet(columns, rows, whole=("began", "command", "run"))]
    if log.more:
        shown.append(f"and {log.more:,} older: --limit")
    if len(log.runs) == 1 and log.runs[0].ids:
        ids = log.runs[0].ids
        shown.append(Sheet(("touched",), [(one,) for one in ids[:IDS_ON_SCREEN]]))
        if len(ids) > IDS_ON_SCREEN:
            shown.append(f"and {len(ids) - IDS_ON_SCREEN:,} more; `-o json` names all")
    return shown
