"""``saleops render terraform``: the sale's network and engines as a module."""

from pathlib import Path
from typing import Annotated

import typer

from saleops.cli.context import context_of
from saleops.cli.engine_options import STATE_DIR, DryRun, SaleFile
from saleops.cli.figures import counted
from saleops.cli.provision_session import CloudFlags, ProfileFile, files_of
from saleops.cli.sheets import Sheet, as_rich
from saleops.operations.render_terraform import TerraformModule, apply_render, plan_render


def terraform(
    ctx: typer.Context,
    sale: SaleFile,
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="The module's folder.", show_default=False)
    ],
    profile: ProfileFile = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite files that were edited.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Write a Terraform module for SALE: network, PolarDB, Tair, RocketMQ, with this sale's values beside it.

    Names, sizes and tags are those of `saleops provision`, so that its status finds what Terraform made. No secret is written:
    give the database's password as TF_VAR_database_password. Files that somebody edited stay, unless --force says otherwise.

    Examples:
      saleops render terraform sale.yaml --to infra
      saleops render terraform sale.yaml --profile profile.yaml --to infra --dry-run
    """
    context = context_of(ctx)
    loaded, built = files_of(sale, CloudFlags(profile, None, None, STATE_DIR))
    plan = plan_render(loaded, built, to, force=force)
    module = plan.module if dry_run else apply_render(plan)
    context.screen.show(module)
    if module.written:
        context.screen.note(
            f"Next: cd {to}; export TF_VAR_database_password=...; terraform init; terraform plan -out sale.tfplan"
        )


@as_rich.register
def _(module: TerraformModule) -> list[Sheet | str]:
    if not module.changes:
        return [f"no change: {counted(len(module.files), 'file')} in {module.folder} are as wanted"]
    words = {"new": "write", "changed": "rewrite", "edited": "overwrite", "gone": "remove"}
    rows = [(one.name, words.get(one.state, "keep"), one.state) for one in module.files]
    told = f"{module.sale}: {', '.join(module.parts)} in {', '.join(module.zones)}"
    if module.written:
        done = f"{counted(len(module.changes), 'file')} written to {module.folder}"
    else:
        done = f"{counted(len(module.changes), 'file')} to write to {module.folder}; nothing was written"
    return [Sheet(("file", "do", "was"), rows, title=told), done]
