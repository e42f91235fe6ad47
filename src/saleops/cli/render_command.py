"""``saleops render``: what a sale needs, as files for other tools. (cli/render.py writes saleops' own help pages.)"""

import typer

from saleops.cli.render_k8s import k8s
from saleops.cli.render_terraform import terraform

app = typer.Typer(no_args_is_help=True)


@app.callback()
def render() -> None:
    """Write what a sale needs as files for other tools.

    Examples:
      saleops render terraform sale.yaml --to infra
      saleops render k8s sale.yaml --images registry.example.com/shop --to k8s
    """


app.command()(terraform)
app.command()(k8s)
