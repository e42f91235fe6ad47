"""What every command gets: the options that all commands share, and the screen. Travels as typer's ``ctx.obj``.

The shared options (``-o``, ``-q`` ...) are declared once, on the root command in ``cli/main.py``. People write them
before the sub-command and, more often, after it; so each loaded command gets copies of them
(:func:`add_global_options`). A copy reads neither environment nor default: it speaks only when it stands on the
command line, so the order stays flag, then ``SALEOPS_*``, then default.
"""

import copy
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import typer

from saleops.cli.screen import Screen

OutputFormat = Literal["table", "json", "yaml", "ndjson"]
ColorChoice = Literal["auto", "always", "never"]
GLOBAL_OPTIONS = ("output", "out", "quiet", "verbose", "color", "debug")
_PANEL = "Options of every command"


@dataclass(frozen=True, slots=True)
class Options:
    """The options of every command."""

    output: OutputFormat = "table"
    out: Path | None = None
    quiet: bool = False
    verbose: int = 0
    color: ColorChoice = "auto"
    debug: bool = False


class Context:
    """The screen to show results on and the options that shape it. Give tests their own."""

    def __init__(self, screen: Screen | None = None, options: Options | None = None) -> None:
        self.options = options or Options()
        self.screen = screen or Screen()
        self._configure()

    def update(self, **changes: Any) -> None:
        """Take options from the command line, e.g. ``update(output="json")``."""
        self.options = replace(self.options, **changes)
        self._configure()

    def _configure(self) -> None:
        self.screen.configure(
            output=self.options.output,
            out=self.options.out,
            quiet=self.options.quiet,
            verbose=self.options.verbose,
            color=self.options.color,
        )


def context_of(ctx: typer.Context) -> Context:
    """The Context of this call. A command app that runs without the root command gets a fresh one."""
    found = ctx.find_object(Context)
    if found is None:
        found = Context()
        ctx.obj = ctx.find_root().obj = found
    return found


def check_out(value: Path | None) -> Path | None:
    """Refuse, before any work, an --out whose folder does not exist or that is a folder itself."""
    if value is None or str(value) == "-":
        return None
    if value.is_dir():
        raise typer.BadParameter(f"{value} is a folder, not a file")
    if not value.parent.is_dir():
        raise typer.BadParameter(f"the folder {value.parent} does not exist")
    return value


def apply_color(value: ColorChoice) -> ColorChoice:
    """Tell rich, typer's help pages and the processes we start, which all read these two variables."""
    if value != "auto":
        os.environ.pop("FORCE_COLOR" if value == "never" else "NO_COLOR", None)
        os.environ["NO_COLOR" if value == "never" else "FORCE_COLOR"] = "1"
        if value == "never":
            os.environ["_TYPER_FORCE_DISABLE_TERMINAL"] = "1"  # NO_COLOR alone keeps typer's bold
    return value


def add_global_options(command: Any, inherited: Iterable[Any]) -> None:
    """Let ``command``, and all below it, take the root's options too; what it declares itself wins."""
    inherited = [one for one in inherited if one.name in GLOBAL_OPTIONS]
    taken = {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)}
    for param in inherited:
        free = [flag for flag in param.opts if flag not in taken]
        if not any(flag.startswith("--") for flag in free):
            continue  # the command has a --out or --verbose of its own
        twin = copy.copy(param)
        twin.opts = free
        twin.secondary_opts = []
        twin.envvar = None
        twin.show_envvar = False
        twin.expose_value = False
        twin.rich_help_panel = _PANEL
        twin.callback = _taker(param)
        command.params.append(twin)
    for below in getattr(command, "commands", {}).values():
        add_global_options(below, inherited)


def _taker(original: Any) -> Any:
    """A callback that hands a value from the command line to the Context of the call."""

    def take(ctx: typer.Context, param: Any, value: Any) -> Any:
        source = ctx.get_parameter_source(param.name)
        if source is None or source.name != "COMMANDLINE":
            return value
        if original.callback is not None:
            value = original.callback(ctx, param, value)
        context_of(ctx).update(**{original.name: value})
        return value

    return take
