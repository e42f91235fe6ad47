"""``saleops schema``: the JSON Schemas of the files people write, for editors."""

import json
from typing import Annotated

import typer

from saleops.cli.context import context_of

app = typer.Typer()


@app.command()
def schema(
    ctx: typer.Context,
    profile: Annotated[
        bool, typer.Option("--profile", help="Of the profile that provision builds from.")
    ] = False,
) -> None:
    """Print the JSON Schema of the sale file, or of a profile.

    Examples:
      saleops schema > sale.schema.json
      saleops schema --profile > profile.schema.json
    """
    if profile:
        from saleops.config.profile import profile_schema as schema_of
    else:
        from saleops.config.sale import sale_schema as schema_of

    context_of(ctx).screen.write(json.dumps(schema_of(), indent=2, ensure_ascii=False) + "\n")
