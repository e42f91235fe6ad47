"""Write the pages of the fast path: ``python -m saleops.cli.render``, and ``--check`` to only compare.

Run it after a change to the table of commands, to a topic, or to a command's flags (they are in the completion
scripts). A test compares too, so a forgotten run is noticed.
"""

import io
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, get_args
from unittest import mock

from saleops.cli.completion import Shell, program_shape, script_of
from saleops.cli.main import root_command
from saleops.cli.topics import TOPICS, page_of

RENDERED = Path(__file__).parent / "rendered"
WIDTH = 80


def pages() -> dict[str, str]:
    """Every page by its file name: plain text as ``.txt``, for a terminal with colours as ``.ansi``."""
    texts: dict[str, str] = {}
    for ending, color in (("txt", False), ("ansi", True)):
        texts[f"help.{ending}"] = help_page(color=color)
        for topic in TOPICS:
            texts[f"help-{topic}.{ending}"] = page_of(topic, color=color)
    shape = program_shape()
    for shell in get_args(Shell):
        texts[f"completion-{shell}.txt"] = script_of(shell, shape)
    return texts


def help_page(*, color: bool) -> str:
    """The help page of ``saleops`` as typer prints it, whatever terminal and environment we are in."""
    import typer.rich_utils as drawing

    captured = io.StringIO()
    settings: dict[str, Any] = {
        "MAX_WIDTH": WIDTH,
        "FORCE_TERMINAL": color,
        "COLOR_SYSTEM": "standard" if color else None,
    }
    neutral = {"TERM": "xterm-256color", "COLUMNS": str(WIDTH)}
    with (
        mock.patch.multiple(drawing, **settings),
        mock.patch.dict(os.environ, neutral, clear=True),
        redirect_stdout(captured),
    ):
        root_command().main(["--help"], prog_name="saleops", standalone_mode=False)
    lines = captured.getvalue().split("\n")
    return "\n".join(line.rstrip(" ") for line in lines).rstrip("\n") + "\n"


def stale(texts: dict[str, str]) -> list[str]:
    """The names of files under ``rendered`` that are missing, differ, or belong to no page."""
    there = {one.name: one.read_text(encoding="utf-8") for one in RENDERED.iterdir()}
    return sorted(name for name in {*there, *texts} if there.get(name) != texts.get(name))


def main(arguments: list[str]) -> int:
    texts = pages()
    RENDERED.mkdir(exist_ok=True)
    differing = stale(texts)
    if arguments == ["--check"]:
        for name in differing:
            sys.stderr.write(f"{RENDERED / name} is out of date\n")
        return 3 if differing else 0
    for name in differing:
        if name in texts:
            (RENDERED / name).write_text(texts[name], encoding="utf-8")
        else:
            (RENDERED / name).unlink()
        sys.stderr.write(f"{name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
