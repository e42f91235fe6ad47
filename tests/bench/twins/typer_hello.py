"""The twin of a local command: a typer hello world with one option.    python typer_hello.py --name you"""

from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def hello(name: Annotated[str, typer.Option(help="Whom to greet.")] = "world") -> None:
    """Say hello."""
    print(f"hello {name}")


if __name__ == "__main__":
    app()
