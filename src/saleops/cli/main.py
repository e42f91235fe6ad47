"""The command tree, and the one place where errors become ``error:`` and ``hint:`` lines and exit codes.

A command runs in the main thread with SIGINT as KeyboardInterrupt and SIGTERM as :class:`Terminated`, so that context
managers and ``finally`` blocks clean up on both. Whatever comes out is turned into the exit codes of
``saleops help exit-codes``. A bug leaves its traceback in a file, because the terminal of a sale night is no place for it.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from saleops import __version__
from saleops.cli.commands import LazyGroup
from saleops.cli.context import ColorChoice, Context, OutputFormat, apply_color, check_out
from saleops.cli.terminal import OutputClosed, silence
from saleops.cli.words import masked
from saleops.errors import CloudError, SaleopsError

_SUMMARY = """Rehearse, run and prove a flash sale on Alibaba Cloud.

One command rehearses the whole sale on this machine with real engines, kills
a worker on purpose, and exits 0 only if the ledger balances to the unit.

Examples:
  saleops init                          write a commented sale file
  saleops rehearse sale.yaml            rehearse it here, get GO or NO-GO
  saleops seed sale.yaml --dry-run      what would be put on sale
  saleops reconcile sale.yaml -o json   the ledger, for machines
  saleops help exit-codes               or environment, output, config, profile, words
"""

app = typer.Typer(
    name="saleops",
    cls=LazyGroup,
    help=_SUMMARY,
    add_completion=False,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def saleops(
    ctx: typer.Context,
    output: Annotated[
        OutputFormat,
        typer.Option(
            "--output",
            "-o",
            envvar="SALEOPS_OUTPUT",
            show_envvar=False,
            help="How results are printed.",
        ),
    ] = "table",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", callback=check_out, help="Write the result there."),
    ] = None,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            envvar="SALEOPS_QUIET",
            show_envvar=False,
            help="Print only results and errors.",
        ),
    ] = False,
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose", "-v", count=True, show_default=False, help="Say more about the work."
        ),
    ] = 0,
    color: Annotated[
        ColorChoice,
        typer.Option(
            "--color",
            envvar="SALEOPS_COLOR",
            show_envvar=False,
            is_eager=True,
            callback=apply_color,
            help="NO_COLOR and FORCE_COLOR count too.",
        ),
    ] = "auto",
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", envvar="SALEOPS_DEBUG", show_envvar=False, help="Show tracebacks of errors."
        ),
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", "-V", help="Show the version; -o json says more.")
    ] = False,
) -> None:
    context = _context_in(ctx)
    context.update(output=output, out=out, quiet=quiet, verbose=verbose, color=color, debug=debug)
    if version:
        from saleops.cli.version import version_report

        context.screen.show(version_report())
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        sys.stdout.write(ctx.get_help())  # typer's rich help prints itself and returns nothing
        raise typer.Exit


def _context_in(ctx: typer.Context) -> Context:
    found = ctx.find_object(Context)
    if found is None:
        found = ctx.obj = Context()
    return found


def root_command() -> Any:
    """The root command of typer, whose sub-commands load when they are called."""
    return typer.main.get_command(app)


def main(arguments: list[str]) -> int:
    """Run ``saleops`` with ``arguments``, those after the program's name. Returns the exit code, never raises."""
    context = Context()
    try:
        with _terminated_by_signal():
            code = _run(arguments, context)
    except (KeyboardInterrupt, Terminated) as late:  # a second one, while the first was being told
        code = 130 if isinstance(late, KeyboardInterrupt) else 143
    except OutputClosed as closed:
        code = _code_of(closed)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # the reader is gone or the disk is full: it was told where it mattered
            silence(stream)
    return code


class Terminated(SystemExit):
    """SIGTERM. A SystemExit, so that ``except Exception`` does not stop it and ``finally`` blocks run."""

    def __init__(self) -> None:
        super().__init__(143)


@contextmanager
def _terminated_by_signal() -> Iterator[None]:
    def terminate(number: int, frame: object) -> None:
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, terminate)
    except ValueError:  # not the main thread: whoever owns it decides
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(arguments: list[str], context: Context) -> int:
    """One command from its arguments to its exit code."""
    try:
        returned = root_command().main(
            arguments, prog_name="saleops", standalone_mode=False, obj=context
        )
        context.screen.close()
        code = returned if type(returned) is int else 0  # typer.Exit(n) comes back as n
        if code == 130:
            raise KeyboardInterrupt  # typer has turned it into a number
        return code
    except OutputClosed as closed:
        context.screen.close()
        return _code_of(closed)
    except (KeyboardInterrupt, Terminated) as stop:
        terminated = isinstance(stop, Terminated)
        code, word = (143, "terminated") if terminated else (130, "interrupted")
        _format_of(arguments, context)
        context.screen.fail(f"{word} before the work was done", hint=None, exit_code=code)
        return code
    except SystemExit as stop:
        context.screen.close()
        return _code_of(stop)
    except BaseException as error:  # noqa: BLE001 - the last place: a bug becomes a message and exit code 1
        _format_of(arguments, context)
        return _report(error, context, arguments)


def _code_of(stop: SystemExit) -> int:
    if stop.code is None:
        return 0
    return stop.code if isinstance(stop.code, int) else 1


def _report(error: BaseException, context: Context, arguments: list[str]) -> int:
    """Tell people and machines about ``error``. Returns the exit code."""
    if isinstance(error, SaleopsError):
        _show_traceback(error, context)
        more = None
        if isinstance(error, CloudError):
            more = {
                "code": error.code or None,
                "request_id": error.request_id or None,
                "retryable": error.retryable,
            }
        context.screen.fail(error.message, hint=error.hint, exit_code=error.exit_code, more=more)
        return error.exit_code
    if isinstance(error, typer.TyperException):
        return _report_usage(error, context)
    if isinstance(error, typer.Abort):
        message = "the question was not answered; nothing was changed"
        context.screen.fail(message, hint="Use --yes to go ahead without it.", exit_code=5)
        return 5
    if isinstance(error, BaseExceptionGroup):
        foreseen, rest = error.split(SaleopsError)
        if foreseen is not None and rest is None:
            return max(_report(one, context, arguments) for one in _leaves(foreseen))
    return _report_bug(error, context, arguments)


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for one in group.exceptions:
        if isinstance(one, BaseExceptionGroup):
            yield from _leaves(one)
        else:
            yield one


def _report_usage(error: Any, context: Context) -> int:
    """A mistake in the command line itself: what is wrong, and the help page that says how it is right."""
    if type(error).__name__ == "NoArgsIsHelpError":  # its page has been printed
        return 0
    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if ctx is not None else "saleops"
    message = error.format_message().rstrip(".").replace("Value error, ", "")  # pydantic's words
    message = message[:1].lower() + message[1:]
    context.screen.fail(message, hint=f"Run `{path} --help`.", exit_code=error.exit_code)
    return int(error.exit_code)


def _report_bug(error: BaseException, context: Context, arguments: list[str]) -> int:
    _show_traceback(error, context)
    name = type(error).__name__
    message = f"{name}: {error}\nThis is a bug in saleops; what it was doing may be half done."
    path = _save_traceback(error, arguments)
    if path is not None:
        hint = f"The traceback is in {path}; please report it.\n--debug shows it here."
    else:
        hint = "Run again with --debug to see the traceback, and please report it."
    context.screen.fail(message, hint=hint, exit_code=1)
    return 1


def _show_traceback(error: BaseException, context: Context) -> None:
    if context.options.debug:
        context.screen.close()
        context.screen.stderr.write(_traceback_of(error))


def _traceback_of(error: BaseException) -> str:
    import traceback

    return masked("".join(traceback.format_exception(error)))


def _save_traceback(error: BaseException, arguments: list[str]) -> Path | None:
    """Write the traceback where only this user reads it. Returns None if no folder takes it."""
    import platform
    import shlex
    import tempfile
    import time

    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    head = (
        f"saleops {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
        f"saleops {masked(shlex.join(arguments))}\n\n"
    )
    for folder in (Path(state) / "saleops", Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"crash-{when}-{os.getpid()}.txt"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(head + _traceback_of(error))
        except OSError:
            continue  # a read-only home: the next folder may do
        return path
    return None


def _format_of(arguments: list[str], context: Context) -> None:
    """Errors in the command line come before ``-o`` is understood: look for it by hand, so that machines hear them."""
    if context.options.output != "table":
        return
    asked = os.environ.get("SALEOPS_OUTPUT", "")
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if word == "--":
            break
        if word in ("-o", "--output"):
            asked = following
        elif word.startswith("--output="):
            asked = word.removeprefix("--output=")
        elif word.startswith("-o") and not word.startswith("--"):
            asked = word.removeprefix("-o")
    if asked in ("json", "ndjson"):
        context.update(output=asked)
