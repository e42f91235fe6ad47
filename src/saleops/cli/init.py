"""``saleops init``: a first sale file."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from saleops.cli.context import context_of
from saleops.cli.screen import as_rich
from saleops.operations.init_sale import InitPlan, InitReport, apply_init, plan_init

app = typer.Typer()


@app.command()
def init(
    ctx: typer.Context,
    folder: Annotated[
        Path, typer.Argument(help="Where to write sale.yaml, items.csv and sale.schema.json.")
    ] = Path(),
    name: Annotated[str, typer.Option(help="The sale's name, a DNS label.")] = "my-sale",
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Write profile.yaml too: how the sale's cloud is built."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be written; write nothing.")
    ] = False,
) -> None:
    """Write a commented sale file and its items to start from.

    Examples:
      saleops init midnight --name midnight-drop
      saleops init midnight --profile
    """
    context = context_of(ctx)
    plan = plan_init(
        folder, name=name, today=datetime.now().astimezone(), force=force, profile=profile
    )
    context.screen.show(plan if dry_run else apply_init(plan))


@as_rich.register
def _(plan: InitPlan) -> str:
    lines = [
        f"would {'overwrite' if file in plan.overwrites else 'write'} {Path(plan.folder) / file}"
        for file in plan.files
    ]
    return "\n".join((*lines, "Nothing was written."))


@as_rich.register
def _(report: InitReport) -> str:
    lines = [f"wrote {Path(report.folder) / file}" for file in report.files]
    return "\n".join((*lines, "Next:", *(f"  {command}" for command in report.next)))
