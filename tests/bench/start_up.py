"""How long a command takes from nothing: fresh processes of one interpreter, run in turn with their twins."""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from items import write_sale
from rows import Row

HERE = Path(__file__).parent
PACKAGE = (HERE.parents[1] / "src" / "saleops", HERE.parents[1] / "services")
SALEOPS = str(Path(sys.executable).with_name("saleops"))
HELLO = [sys.executable, str(HERE / "twins" / "typer_hello.py"), "--name", "you"]


def fastest_ms(
    commands: Mapping[str, Sequence[str]], *, rounds: int, folder: Path
) -> dict[str, float]:
    """The fastest of ``rounds`` runs of each. They take turns, so that a slow moment of the machine meets all; the first
    round only warms the file cache. The minimum is what the command itself takes; the rest is the machine."""
    best = dict.fromkeys(commands, float("inf"))
    for turn in range(rounds + 1):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                check=True,
                timeout=60,
            )
            if turn:
                best[name] = min(best[name], (time.perf_counter() - started) * 1000)
    return best


def start_up(folder: Path, *, rounds: int) -> list[Row]:
    home = folder / "start-up"
    home.mkdir()
    # As pip does for an installed wheel: a checkout under PYTHONDONTWRITEBYTECODE would be compiled at every start.
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", *map(str, PACKAGE)], check=True, timeout=120
    )
    write_sale(home, count=10)
    ms = fastest_ms(
        {
            "pass": [sys.executable, "-c", "pass"],
            "--help": [SALEOPS, "--help"],
            "--version": [SALEOPS, "--version"],
            "hello": HELLO,
            "dry run": [SALEOPS, "seed", "sale.yaml", "--dry-run"],
        },
        rounds=rounds,
        folder=home,
    )
    note = (
        f"fastest of {rounds} fresh processes each, in turn, same interpreter, bytecode compiled."
    )

    def beside(what: str, ours: str, twin: str, twin_is: str, goal: float) -> Row:
        ratio = ms[ours] / ms[twin]
        return Row(
            what,
            f"{ms[ours]:.0f} ms",
            f"{twin_is}: {ms[twin]:.0f} ms",
            f"{ratio:.2f}x",
            f"≤ {goal:g}x",
            ratio <= goal,
            note,
        )

    floor, hello = "`python -c pass`", "typer hello world with one option"
    return [
        beside("`saleops --help`", "--help", "pass", floor, 3),
        beside("`saleops --version`", "--version", "pass", floor, 3),
        beside("`saleops seed SALE --dry-run` of 10 SKUs", "dry run", "hello", hello, 1.5),
    ]
