"""``saleops provision policy``: the rights that provisioning a sale needs, as RAM takes them."""

import json
from typing import Annotated

import typer

from saleops.cli.context import context_of
from saleops.cli.engine_options import STATE_DIR, SaleFile
from saleops.cli.provision_session import CloudFlags, ProfileFile, Region, files_of


def policy(
    ctx: typer.Context,
    sale: SaleFile,
    profile: ProfileFile = None,
    region: Region = None,
    account: Annotated[
        str,
        typer.Option(metavar="NUMBER", help="Of this account alone; else the policy's own."),
    ] = "*",
) -> None:
    """Print the RAM policy that lets a user provision SALE, and do no more: every action that is called, none that is not.
    Asks nobody.

    Examples:
      saleops provision policy sale.yaml > policy.json
      aliyun ram CreatePolicy --PolicyName sale --PolicyDocument "$(cat policy.json)"
    """
    from saleops.operations.provision.blueprint import blueprint
    from saleops.operations.provision.policy import policy_of

    if account != "*" and not account.isdigit():
        raise typer.BadParameter("an account is a number", param_hint="--account")
    context = context_of(ctx)
    read_sale, read_profile = files_of(sale, CloudFlags(profile, None, region, STATE_DIR))
    # Nothing is made here: the passwords of what would be are nobody's.
    plan = blueprint(read_sale, read_profile, password=lambda: "", node_password="*" * 16)
    made = policy_of(plan.resources, region=plan.region, account=account)
    context.screen.write(json.dumps(made.document, indent=2) + "\n")
    context.screen.note(
        f"{made.actions_count} actions, {len(made.unscoped)} of them on all resources: they know no narrower ones"
    )
