"""Where ``saleops`` starts. What needs no work is answered from text that was rendered at build time.

``--version``, help pages and completion scripts are asked for all the time, by people and by the shell at every TAB,
so they must not pay for typer and rich (130 ms). They are files in ``cli/rendered``, written by
``python -m saleops.cli.render``; a test holds them equal to what typer would print. Everything else goes on to
``saleops.cli.main``. Import nothing here that a bare interpreter has not loaded already.
"""

import os
import sys

from saleops import __version__

_RENDERED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cli", "rendered")
_HELP = ("help", "-h", "--help")


def main() -> int:
    """Run the command line of this process. Returns the exit code."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            nowhere = open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8")  # noqa: SIM115  # stays
            setattr(sys, name, nowhere)
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):
        return _answer(f"saleops {__version__}\n")
    page = page_for(arguments)
    if page:
        text = _read(page)
        if text:
            return _answer(text)
    from saleops.cli.main import main as run

    return run(arguments)


def page_for(arguments: list[str]) -> str:
    """The name of the rendered page that answers ``arguments``, without its ending; empty if work must be done."""
    if not arguments or (len(arguments) == 1 and arguments[0] in _HELP):
        return "help"
    if len(arguments) == 2 and arguments[0] in ("help", "completion"):
        word = arguments[1]
        if word.isascii() and word.replace("-", "").isalnum() and not word.startswith("-"):
            return f"{arguments[0]}-{word}"
    return ""


def _read(page: str) -> str:
    """The text of ``page`` as this stdout can show it, or empty where there is no such page."""
    endings = ["txt"]
    if not page.startswith("completion-"):
        from saleops.cli.terminal import wants_color

        if wants_color(sys.stdout, os.environ.get("SALEOPS_COLOR") or "auto"):
            endings.insert(0, "ansi")
    for ending in endings:
        try:
            with open(os.path.join(_RENDERED, f"{page}.{ending}"), encoding="utf-8") as file:
                return file.read()
        except OSError:
            continue  # no such topic or shell: the slow path explains and suggests
    return ""


def _answer(text: str) -> int:
    from saleops.cli.terminal import OutputClosed, write_text

    try:
        write_text(sys.stdout, text)
    except OutputClosed as closed:
        return int(str(closed.code))
    except Exception as error:
        code = getattr(
            error, "exit_code", None
        )  # one of saleops.errors, which is not loaded for a page
        if code is None:
            raise
        sys.stderr.write(f"error: {error}\n")
        return int(code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
