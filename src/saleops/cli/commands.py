"""The table of commands, and a typer group that imports a command's module only when the command is called.

Listing (help, suggestions, completion) reads the table alone. ``resolve_command`` is the one moment when typer wants
the real thing; there the module is imported and its ``app`` turned into a command. A module path is a string that no
type checker follows, so a test imports every entry.
"""

import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import HAS_RICH, TyperCommand, TyperGroup

from saleops.errors import ConfigError

BEFORE = "Before the sale"
WARM = "Seed and warm"
RUN = "Run"
AFTER = "After the sale"
REFERENCE = "Reference"


@dataclass(frozen=True, slots=True)
class Entry:
    """One command: the module that holds its ``app: typer.Typer``, one line of help, the phase of the sale."""

    module: str
    help: str
    panel: str


COMMANDS: dict[str, Entry] = {
    "init": Entry("saleops.cli.init", "Write a commented sale file to start from.", BEFORE),
    "schema": Entry(
        "saleops.cli.schema", "Print the JSON Schema of sale files, for editors.", BEFORE
    ),
    "doctor": Entry(
        "saleops.cli.doctor", "Say what this machine lacks, and how to get it.", BEFORE
    ),
    "rehearse": Entry(
        "saleops.cli.rehearse", "Run the whole sale on this machine and check the ledger.", BEFORE
    ),
    "lint": Entry(
        "saleops.cli.lint", "Say what goes wrong on sale day with what you deploy.", BEFORE
    ),
    "provision": Entry(
        "saleops.cli.provision", "Make what the sale needs of Alibaba Cloud.", BEFORE
    ),
    "render": Entry(
        "saleops.cli.render_command", "Write what the sale needs as files for other tools.", BEFORE
    ),
    "scale": Entry("saleops.cli.scale", "Grow the cluster before the sale; give it back.", WARM),
    "seed": Entry("saleops.cli.seed", "Put the sale's units on sale, once.", WARM),
    "prewarm": Entry(
        "saleops.cli.prewarm", "Fill caches before buyers arrive, and prove it.", WARM
    ),
    "serve": Entry("saleops.cli.serve", "Run the shop: catalog, order, payment, shipping.", RUN),
    "loadtest": Entry(
        "saleops.cli.loadtest", "Send the sale's load at the shop and measure it.", RUN
    ),
    "mq": Entry("saleops.cli.mq", "See what is on its way; mend stuck half messages.", RUN),
    "dlq": Entry("saleops.cli.dlq", "Look at what consumers gave up, and send it again.", RUN),
    "reconcile": Entry(
        "saleops.cli.reconcile", "Prove from the engines that every unit is accounted for.", AFTER
    ),
    "journal": Entry(
        "saleops.cli.journal", "Show who changed what: repairs, rebuilds, replays.", AFTER
    ),
    "completion": Entry(
        "saleops.cli.completion", "Print a completion script for bash, zsh or fish.", REFERENCE
    ),
    "help": Entry("saleops.cli.topics", "Explain a topic or a command.", REFERENCE),
}

# Packages that only an extra installs: package -> extra.
_EXTRAS = {"rocketmq": "rocketmq"}
_TYPER_COMPLETION = {"install_completion", "show_completion"}


class LazyGroup(TyperGroup):
    """A group whose ``commands`` are stubs made from COMMANDS, replaced by the real command when it is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.help = _page(self.help)
        for name, entry in COMMANDS.items():
            self.commands[name] = TyperCommand(
                name, help=entry.help, rich_help_panel=entry.panel, add_help_option=False
            )

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        if args and args[0] in COMMANDS:
            command = load_command(args[0], inherited=self.params)
            _tidy(command, ctx)
            return args[0], command, args[1:]
        return super().resolve_command(ctx, args)

    def get_params(self, ctx: Any) -> list[Any]:
        params = super().get_params(ctx)
        _hide_types_of_flags(params)
        return params


def load_command(name: str, *, inherited: Iterable[Any] = ()) -> Any:
    """Import the module of ``name`` and return its typer command, with the root's options added to it.

    Raises ConfigError when a package that it needs is not installed; a module of ours that is missing is a bug.
    """
    entry = COMMANDS[name]
    try:
        module = importlib.import_module(entry.module)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "saleops"):
            raise
        extra = _EXTRAS.get(package)
        install = f"saleops[{extra}]" if extra else "--upgrade --force-reinstall saleops"
        raise ConfigError(
            f"`saleops {name}` needs the package {package}, which is not installed; nothing was done",
            hint=f"Run `pip install {install!r}`." if extra else f"Run `pip install {install}`.",
        ) from error
    command = typer.main.get_command(module.app)
    command.name = name
    command.params = [one for one in command.params if one.name not in _TYPER_COMPLETION]
    from saleops.cli.context import add_global_options

    add_global_options(command, inherited)
    return command


def _tidy(command: Any, ctx: Any) -> None:
    """Make the help pages of ``command`` and all below it say what is meant."""
    command.help = _page(command.help)
    command.get_help_option(ctx)  # made now, so that it is among the params
    _hide_types_of_flags(command.get_params(ctx))
    for below in getattr(command, "commands", {}).values():
        _tidy(below, ctx)


def _hide_types_of_flags(params: Iterable[Any]) -> None:
    """Typer writes ``--debug <bool>``, and people would type ``--debug true``."""
    for param in params:
        if getattr(param, "is_flag", False) or getattr(param, "count", False):
            param.metavar = ""


def _page(text: str | None) -> str | None:
    """A docstring as rich markup: brackets are brackets, prose flows to the terminal's width, and indented lines, the
    examples, stay as they are and bright.
    """
    if not text or not HAS_RICH:
        return text
    lines: list[str] = []
    for line in re.sub(r"\[(?=[a-z#/@])", r"\[", text).split("\n"):
        before = lines[-1] if lines else ""
        if line[:1] == " ":
            lines.append(f"[not dim]{line}[/]")
        elif _flows(before) and line and not line.startswith(("- ", "* ", "Example")):
            lines[-1] = f"{before} {line}"
        else:
            lines.append(line)
    return "\n".join(lines)


def _flows(line: str) -> bool:
    """Whether prose in ``line`` goes on in the next: not after a blank line, a heading or an example."""
    return bool(line) and not line.startswith(("[not dim]", "Example")) and not line.endswith(":")
