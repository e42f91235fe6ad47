"""Draws the pictures of the README from what saleops really prints: ``python docs/pictures/make.py [NAME...]``.

A command runs on a terminal of its own (a pty), 100 columns wide, and what it wrote there becomes an SVG. The pictures name no
web font and load nothing, so they look the same offline. ``help`` and ``mistakes`` come out the same each time and a
test compares them; ``rehearse`` is a real rehearsal and takes a minute.
"""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SALE = "examples/midnight-drop/sale.yaml"
COLUMNS = 100
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"

FRAME = """\
<svg class="{unique_id}" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: FONT; font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-family: FONT; font-size: 16px; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
""".replace("FONT", FONT)

MISTAKEN = """\
apiVersion: saleops/v1
name: midnight-drop
window:
  opens: 2026-11-27T00:00:00
  closes: 2026-11-27T02:00:00+08:00
region: ap-southeast-1
zones: [ap-southeast-1a]
itmes: {file: items.csv}
traffic: {baseline_rps: 400, peak_rps: 40k, peak_orders_per_s: 5000}
"""


def saleops(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "saleops", *arguments]


def screen_of(command: Sequence[str], *, folder: Path = ROOT, errors_too: bool = False) -> str:
    """What ``command`` writes to a terminal on its stdout (and stderr), colours included."""
    keyboard, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 60, COLUMNS, 0, 0))
    neutral = {key: value for key, value in os.environ.items() if not key.startswith("SALEOPS_")}
    for variable in ("NO_COLOR", "FORCE_COLOR", "LC_ALL"):
        neutral.pop(variable, None)
    neutral |= {
        "TERM": "xterm-256color",
        "COLUMNS": str(COLUMNS),
        "COLORTERM": "",
        "LANG": "C.UTF-8",
    }
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal if errors_too else subprocess.DEVNULL,
        env=neutral,
    )
    os.close(terminal)
    written = bytearray()
    try:
        while piece := os.read(keyboard, 65536):
            written += piece
    except OSError:  # Linux says "input/output error" when the last writer has gone
        pass
    finally:
        os.close(keyboard)
    process.wait(timeout=60)
    return written.decode().replace("\r\n", "\n")


def svg_of(text: str, *, name: str, command: str) -> str:
    """``text``, with its escape codes, under the line that was typed."""
    console = Console(
        record=True,
        width=COLUMNS,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        _environ={},
    )
    console.print(Text(f"$ {command}", style="bold green"))
    console.print(Text.from_ansi(text.rstrip("\n")))
    console.print()  # rich forgets the clip path of the last line
    drawn = console.export_svg(
        title=command, theme=MONOKAI, code_format=FRAME, unique_id=f"saleops-{name}"
    )
    # rich draws the end of each line too; only the tidy file is left of that.
    drawn = re.sub(r"<text [^>]*>\n</text>", "\n", drawn)
    return re.sub(r"\s*\n\s*", "\n", drawn)


def rehearse() -> str:
    with tempfile.TemporaryDirectory() as state:
        shown = screen_of(saleops("rehearse", SALE, "--state-dir", state))
    return svg_of(shown, name="rehearse", command=f"saleops rehearse {SALE}")


def help_() -> str:
    page = ROOT / "src" / "saleops" / "cli" / "rendered" / "help.ansi"
    return svg_of(page.read_text(encoding="utf-8"), name="help", command="saleops --help")


def mistakes() -> str:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sale.yaml").write_text(MISTAKEN, encoding="utf-8")
        shown = screen_of(saleops("seed", "sale.yaml", "--dry-run"), folder=folder, errors_too=True)
    return svg_of(shown, name="mistakes", command="saleops seed sale.yaml --dry-run")


PICTURES: dict[str, Callable[[], str]] = {
    "help": help_,
    "mistakes": mistakes,
    "rehearse": rehearse,
}


def main(names: Sequence[str]) -> int:
    unknown = [name for name in names if name not in PICTURES]
    if unknown:
        sys.stderr.write(f"no picture {', '.join(unknown)}; there are {', '.join(PICTURES)}\n")
        return 2
    for name in names or PICTURES:
        (HERE / f"{name}.svg").write_text(PICTURES[name](), encoding="utf-8")
        sys.stderr.write(f"docs/pictures/{name}.svg\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
