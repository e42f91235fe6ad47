"""``saleops schema``: the JSON Schema of the sale file, for editors."""

import json

import typer

from saleops.cli.context import context_of

app = typer.Typer()


@app.command()
def schema(ctx: typer.Context) -> None:
    """Print the JSON Schema of the sale file.

    Examples:
      saleops schema > sale.schema.json
    """
    from saleops.config.sale import sale_schema

    context_of(ctx).screen.write(json.dumps(sale_schema(), indent=2, ensure_ascii=False) + "\n")
