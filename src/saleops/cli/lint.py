"""``saleops lint``: what goes wrong on sale day with what is deployed."""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from saleops.cli.context import Context, context_of
from saleops.cli.engine_options import DryRun, Yes
from saleops.cli.lint_timeline import timeline, with_timeline_first
from saleops.cli.lint_views import FixedRow, LintResult, count, result_of, summary
from saleops.cli.terminal import is_interactive
from saleops.domain.lint.findings import SEVERITIES, Severity
from saleops.errors import ConfigError, GateFailed, SaleopsError
from saleops.operations.lint.linting import Choice, LintReport
from saleops.operations.lint.reading import STDIN, Texts

LintFormat = Literal["table", "json", "yaml", "ndjson", "sarif", "junit"]
LINT_FILE = Path(".saleops-lint.yaml")


class RulesFailed(SaleopsError):
    """A rule of ours raised: a bug, like every other one."""

    exit_code = 1


class _PathsOrCommand(TyperGroup):
    """``saleops lint k8s/`` is ``saleops lint check k8s/``: what is no command's name is a path or a flag.

    With ``--timeline SALE`` among the flags it is ``saleops lint timeline SALE``.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        args = with_timeline_first(args)
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["check", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_PathsOrCommand, no_args_is_help=True)


@app.callback()
def lint() -> None:
    """Say what goes wrong on sale day with what you deploy: Kubernetes YAML, Terraform, Lua scripts, ACK request bodies,
    sale files.

    `saleops lint PATH...` is short for `saleops lint check PATH...`, whose help lists every flag. Each finding comes with
    what happens on sale day, the fix and a source. Exits 3 when there is an error.

    Examples:
      saleops lint k8s/ terraform/ --sale sale.yaml
      helm template shop ./chart | saleops lint -
      saleops lint k8s/ --fix --dry-run
      saleops lint --timeline sale.yaml k8s/
      saleops lint explain CRN001
    """


@app.command()
def check(
    ctx: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Files and folders; - is standard input."),
    ],
    sale: Annotated[
        Path | None,
        typer.Option("--sale", metavar="SALE", help="Hold times and sizes to this sale."),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option("--profile", metavar="FILE", help="Its profile; else profile.yaml beside it."),
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option("--rule", metavar="ID", help="Only this rule. Repeatable."),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option("--skip", metavar="ID", help="Not this rule. Repeatable."),
    ] = None,
    severity: Annotated[
        list[str] | None,
        typer.Option(
            "--severity", metavar="ID=LEVEL", help="Count a rule as error, warning or info."
        ),
    ] = None,
    min_severity: Annotated[
        Severity, typer.Option("--min-severity", help="The least that is shown.")
    ] = "info",
    fail_on: Annotated[
        Literal["error", "warning"], typer.Option("--fail-on", help="What exits 3.")
    ] = "error",
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Severities and suppressions; else .saleops-lint.yaml here.",
        ),
    ] = None,
    stdin_name: Annotated[
        str, typer.Option("--stdin-name", metavar="NAME", help="What - is called.")
    ] = "stdin",
    run_scripts: Annotated[
        bool,
        typer.Option(
            "--run-scripts/--no-run-scripts",
            help="Try Lua scripts on an embedded Valkey of their own.",
        ),
    ] = True,
    fix: Annotated[
        bool, typer.Option("--fix", help="Mend what can be mended by itself, in place.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: Annotated[
        LintFormat | None,
        typer.Option(
            "--output",
            "-o",
            help="How results are printed; sarif and junit are files for other tools.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Say what goes wrong on sale day with the files of PATH.

    With --fix it changes files in place, after a question; comments and order stay. --fix --dry-run prints the changes as
    a diff and nothing else.
    Exits 3 when there is an error.

    Examples:
      saleops lint k8s/ terraform/ --sale sale.yaml
      saleops lint k8s/ -o sarif --out lint.sarif
      saleops lint k8s/ --fix --yes
    """
    started = time.monotonic()
    context = context_of(ctx)
    if output is not None:
        context.update(output="table" if output in ("sarif", "junit") else output)
    choice = _choice(rule, skip, severity, min_severity)
    run = _Run(choice, sale, profile, config)
    texts = _read(paths, stdin_name)
    fixed: tuple[FixedRow, ...] = ()
    if fix:
        texts, fixed = _fix(context, run, texts, dry_run=dry_run, yes=yes)
    if fix and dry_run and output is None and context.options.output == "table":
        context.screen.write("".join(one.diff for one in fixed))  # alone, so that patch takes it
        return
    report = run.report(texts, trials=run_scripts)
    seconds = time.monotonic() - started
    if output == "sarif":
        from saleops.cli.lint_formats import sarif

        context.screen.write(sarif(report))
    elif output == "junit":
        from saleops.cli.lint_formats import junit

        context.screen.write(junit(report, seconds))
    else:
        _show(context, result_of(report, fixed, seconds))
    _judge(report, fail_on)


@app.command()
def explain(
    ctx: typer.Context,
    rule: Annotated[str, typer.Argument(metavar="ID", help="Of a rule: CRN001.")],
) -> None:
    """Explain the rule ID: what happens on sale day, what to write instead, a bad and a good example, the source.

    Examples:
      saleops lint explain CRN001
    """
    from saleops.operations.lint.explaining import explain as found

    context_of(ctx).screen.show(found(rule))


@app.command()
def rules(ctx: typer.Context) -> None:
    """List every rule with its severity.

    Examples:
      saleops lint rules -o json
    """
    from saleops.operations.lint.explaining import rule_list

    context_of(ctx).screen.show(rule_list())


app.command()(timeline)


class _Run:
    """One way of linting texts, as often as it is needed."""

    def __init__(
        self, choice: Choice, sale: Path | None, profile: Path | None, config: Path | None
    ) -> None:
        from saleops.operations.lint.suppressing import read_settings

        self._now = datetime.now(UTC)
        self._choice = choice
        self._facts = None
        if sale is not None:
            from saleops.operations.lint.sale_facts import read_facts

            self._facts = read_facts(sale, profile, now=self._now)
        elif profile is not None:
            raise ConfigError(
                "--profile belongs to a sale; nothing was checked", hint="Add --sale SALE."
            )
        found = config or (LINT_FILE if LINT_FILE.is_file() else None)
        self._settings = read_settings(found) if found else None

    def report(self, texts: Texts, *, trials: bool = False) -> LintReport:
        """With ``trials`` the Lua scripts among ``texts`` are run too."""
        from saleops.operations.lint.linting import lint as run
        from saleops.wiring import lua_trials

        return run(
            texts,
            today=self._now.date(),
            sale=self._facts,
            choice=self._choice,
            settings=self._settings,
            trials=lua_trials if trials else None,
        )


def _read(paths: list[str], stdin_name: str) -> Texts:
    from saleops.operations.lint.reading import FILE_MAX_BYTES, read_paths

    def stdin() -> bytes:
        if sys.stdin is None:
            raise ConfigError("standard input is closed", hint="Pipe a text into it.")
        return sys.stdin.buffer.read(FILE_MAX_BYTES + 1)

    return read_paths(paths, stdin=stdin, stdin_name=stdin_name)


def _choice(
    only: list[str] | None,
    skip: list[str] | None,
    severity: list[str] | None,
    least: Severity,
) -> Choice:
    from saleops.operations.lint.explaining import known_id

    levels: dict[str, Severity] = {}
    for one in severity or ():
        id, _, level = one.partition("=")
        known = next((each for each in SEVERITIES if each == level), None)
        if known is None:
            raise ConfigError(
                f"--severity {one}: a rule and its level are wanted; nothing was checked",
                hint="For example --severity ALB002=error; levels are error, warning and info.",
            )
        levels[known_id(id)] = known
    return Choice(
        only=frozenset(known_id(one) for one in only or ()),
        skip=frozenset(known_id(one) for one in skip or ()),
        least=least,
        severities=levels,
    )


def _fix(
    context: Context, run: _Run, texts: Texts, *, dry_run: bool, yes: bool
) -> tuple[Texts, tuple[FixedRow, ...]]:
    """The texts after mending, and what was mended."""
    from saleops.operations.lint.fixing import apply_fixes, plan_fixes

    plan = plan_fixes(texts, lambda some: run.report(some).findings)
    fixes = plan.fixes
    for file in plan.left_alone:
        context.screen.note(f"{file} is left alone: with its findings mended it could not be read.")
    if not fixes:
        context.screen.note("There is nothing to fix.")
        return texts, ()
    if dry_run:
        return texts, tuple(FixedRow(one.file, one.ids, one.diff) for one in fixes)
    _refuse_stdin(texts, [one.file for one in fixes])
    places = sum(len(one.ids) for one in fixes)
    context.screen.confirm(
        f"Change {count(len(fixes), 'file')} ({count(places, 'finding')})?", yes=yes
    )
    apply_fixes(fixes)
    context.screen.note(f"{count(len(fixes), 'file')} changed.")
    after = {**texts.texts, **{one.file: one.after for one in fixes}}
    rows = tuple(FixedRow(one.file, one.ids, "") for one in fixes)
    return Texts(after, texts.troubles, texts.streams), rows


def _refuse_stdin(texts: Texts, files: list[str]) -> None:
    for file in files:
        if file in texts.streams:
            raise ConfigError(
                f"{STDIN} cannot be changed in place; nothing was changed",
                hint="Use --fix --dry-run, which prints the changes as a diff.",
            )


def _show(context: Context, result: LintResult) -> None:
    context.screen.show(result)
    people = context.options.output == "table" and not is_interactive(context.screen.stdout, {})
    if people or context.options.out is not None:
        context.screen.note(summary(result) + ".")


def _judge(report: LintReport, fail_on: Severity) -> None:
    if report.bugs:
        failed: dict[str, list[str]] = {}
        for one in report.bugs:
            failed.setdefault(one.detail, []).append(one.id)
        said = "\n".join(f"{', '.join(ids)} failed: {detail}" for detail, ids in failed.items())
        raise RulesFailed(
            f"{said}\nThis is a bug in saleops; the findings of the other rules are complete.",
            hint=f"--skip {report.bugs[0].id} runs without it; please report it.",
        )
    if report.fails(fail_on):
        bad = report.count("error")
        said = count(bad, "error") if bad else count(report.count("warning"), "warning")
        ids = sorted({one.id for one in report.findings if one.severity in ("error", fail_on)})
        raise GateFailed(f"{said} found", hint=f"`saleops lint explain {ids[0]}` says more.")
