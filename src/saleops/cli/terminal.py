"""What a stream can show: colour, cursor movement, box characters.

The fast path of ``saleops --help`` and the screen decide by the same rules, so this module imports nothing but what
every Python process has loaded already (``typing`` alone would cost 3 ms).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import IO

_BOX_TO_ASCII = str.maketrans(
    {
        **dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼┏┓┗┛┡┩╇", "+"),
        **dict.fromkeys("─━═╌", "-"),
        **dict.fromkeys("│┃║", "|"),
        "…": "~",
        "→": ">",
        "·": "*",
        "✓": "+",
        "✗": "x",
        "—": "-",
        "–": "-",
        "×": "x",
        "±": "~",
        "’": "'",
    }
)


def is_interactive(stream: IO[str], environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a person sits at ``stream`` and its terminal can move the cursor."""
    return environ.get("TERM") != "dumb" and _is_a_terminal(stream)


def wants_color(
    stream: IO[str], choice: str = "auto", environ: Mapping[str, str] = os.environ
) -> bool:
    """Whether to colour what goes to ``stream``; ``choice`` is --color: auto, always or never.

    Order: the flag, then ``NO_COLOR`` (any text), ``FORCE_COLOR`` (any text), then whether this is a terminal.
    """
    if choice != "auto":
        return choice == "always"
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return is_interactive(stream, environ)


def wants_ascii(stream: IO[str], environ: Mapping[str, str] = os.environ) -> bool:
    """Whether ``stream`` must get no box characters: ``SALEOPS_ASCII=1``, or an encoding that has none."""
    if environ.get("SALEOPS_ASCII", "") not in ("", "0"):
        return True
    encoding = (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "")
    return not encoding.startswith("utf")


def to_ascii(text: str) -> str:
    """``text`` with boxes and marks drawn in ASCII; what has no twin becomes ``?``."""
    return text.translate(_BOX_TO_ASCII).encode("ascii", "replace").decode("ascii")


def write_text(stream: IO[str], text: str, environ: Mapping[str, str] = os.environ) -> None:
    """Write and flush, in ASCII where ``stream`` needs it. Raises OutputClosed when the reader has gone."""
    if wants_ascii(stream, environ):
        text = to_ascii(text)
    try:
        try:
            stream.write(text)
        except UnicodeEncodeError:  # a file name that is no UTF-8; its bytes are spelled out
            stream.write(text.encode("utf-8", "backslashreplace").decode("utf-8"))
        stream.flush()
    except BrokenPipeError:
        silence(stream)
        raise OutputClosed from None
    except OSError as error:
        from saleops.errors import UpstreamError  # late: nothing here may slow `saleops --version`

        silence(stream)
        raise UpstreamError(f"the output cannot be written: {error.strerror or error}") from error


def silence(stream: IO[str]) -> None:
    """Point a closed pipe at nowhere, so that the interpreter's last flush has nothing to complain about."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        return  # not a file of the system (a test's buffer): nothing will be flushed


class OutputClosed(SystemExit):
    """The reader of our output went away (``| head``). A SystemExit, so that nobody takes it for a failed store."""

    def __init__(self) -> None:
        super().__init__(141)  # 128 + SIGPIPE, what cat and git say


def _is_a_terminal(stream: IO[str]) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False
