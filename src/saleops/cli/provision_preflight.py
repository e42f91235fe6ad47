"""``saleops provision preflight``, and the same check before anything is made."""

import shlex
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from saleops.cli.context import Context, context_of
from saleops.cli.engine_options import STATE_DIR, SaleFile
from saleops.cli.figures import counted
from saleops.cli.provision_session import (
    CloudFlags,
    CloudStateDir,
    EndpointCloud,
    ProfileFile,
    Region,
    Session,
    cloud_session,
)
from saleops.cli.sheets import Sheet, as_rich
from saleops.domain.cloud.preflight import Check, PreflightReport
from saleops.domain.cloud.resources import GROUPS
from saleops.errors import CloudError, ConfigError, GateFailed

if TYPE_CHECKING:
    from saleops.operations.provision.survey import Survey

NAMED = 8
REASON_MAX = 400

AcceptUnchecked = Annotated[
    str,
    typer.Option(
        "--accept-unchecked",
        metavar="REASON",
        help="Let pass what nobody could look at; shortfalls still count. The reason is kept.",
        show_default=False,
    ),
]
SkipPreflight = Annotated[
    str,
    typer.Option(
        "--skip-preflight",
        metavar="REASON",
        help="Go ahead without the preflight; the reason goes into the journal.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Preflighting:
    """How a run is checked before its first write. ``skipped`` and ``accepted`` are reasons."""

    skipped: str = ""
    accepted: str = ""

    def __post_init__(self) -> None:
        for name, reason in (
            ("--skip-preflight", self.skipped),
            ("--accept-unchecked", self.accepted),
        ):
            if reason and not reason.strip():
                raise ConfigError(f"{name} needs a reason in words; nothing was done")
            if len(reason) > REASON_MAX:
                raise ConfigError(f"{name} takes {REASON_MAX} characters; nothing was done")

    @property
    def words(self) -> str:
        """As it was typed, for the journal."""
        return "".join(f" {shlex.quote(word)}" for word in self.typed)

    @property
    def typed(self) -> list[str]:
        parts = []
        for name, reason in (
            ("--skip-preflight", self.skipped),
            ("--accept-unchecked", self.accepted),
        ):
            parts += [name, reason] if reason else []
        return parts


def preflight(
    ctx: typer.Context,
    sale: SaleFile,
    group: Annotated[
        list[str] | None,
        typer.Option(
            "--group",
            metavar="NAME",
            help=f"Only these: {', '.join(GROUPS)}. Repeatable.",
            show_default=False,
        ),
    ] = None,
    profile: ProfileFile = None,
    endpoint_cloud: EndpointCloud = None,
    region: Region = None,
    state_dir: CloudStateDir = STATE_DIR,
    accept_unchecked: AcceptUnchecked = "",
) -> None:
    """Ask whether account and cloud have what SALE still lacks: quotas, addresses, stock in each zone, spot prices against their
    limits, classes and versions on offer, service roles, the balance.

    Only reads. Each shortfall is named with the number missing, why it matters and what to do; exits 3 unless it is GO. What
    could not be looked at is a NO-GO too. The same check runs before `saleops provision` makes anything.

    Examples:
      saleops provision preflight sale.yaml
      saleops provision preflight sale.yaml --group nodepool --endpoint-cloud local -o json
    """
    for one in group or ():
        if one not in GROUPS:
            raise typer.BadParameter(f"--group knows {', '.join(GROUPS)}, not {one!r}")
    context = context_of(ctx)
    flags = CloudFlags(profile, endpoint_cloud, region, state_dir)
    checking = Preflighting(accepted=accept_unchecked)
    with cloud_session(context, sale, flags, command="preflight", writes=False) as session:
        session.courier.settle()
        report = run_preflight(context, session, tuple(group or GROUPS), checking)
    context.screen.show(report)
    gate(report)


def run_preflight(
    context: Context,
    session: Session,
    groups: Collection[str],
    checking: Preflighting,
    seen: "Survey | None" = None,
) -> PreflightReport:
    from saleops.operations.provision.preflight import preflight as look

    return look(
        session.sale,
        session.blueprint,
        session.courier.read,
        cloud=session.cloud.name,
        groups=groups,
        now_ms=session.cloud.clock.now_ms(),
        seen=seen,
        accepted=checking.accepted,
        observe=context.screen.observe,
    )


def check_before(
    context: Context,
    session: Session,
    groups: Collection[str],
    checking: Preflighting,
    seen: "Survey",
) -> None:
    """Raise GateFailed where something is short; what only warns is said."""
    if checking.skipped:
        context.screen.note(f"preflight skipped: {checking.skipped}")
        return
    report = run_preflight(context, session, groups, checking, seen)
    for one in report.warnings:
        context.screen.detail(_line(one))
    gate(report)


def gate(report: PreflightReport) -> None:
    against = report.against
    if not against:
        return
    lines = [_line(one) for one in against[:NAMED]]
    if len(against) > NAMED:
        lines.append(f"and {len(against) - NAMED:,} more; `-o json` of the preflight names all")
    if all(one.retryable for one in against):
        raise CloudError(
            f"{counted(len(against), 'check')} of {report.sale} could not be made, because the cloud did not answer; nothing "
            "was made\n" + "\n".join(lines),
            kind="busy",
            hint="Try again: the same command asks anew.",
        )
    told = next((one.todo for one in against if one.todo and not one.retryable), None)
    raise GateFailed(
        f"NO-GO for {report.sale}: {counted(len(against), 'check')} failed; nothing was made\n"
        + "\n".join(lines),
        hint=told,
    )


def _line(one: Check) -> str:
    return f"{one.name}: {one.said}"


@as_rich.register
def _(report: PreflightReport) -> list[Sheet | str]:
    """What speaks against it first, with why and what to do; then all checks."""
    against = report.against
    rows = [(_mark(one, against), one.group, one.name, one.said) for one in report.checks]
    shown: list[Sheet | str] = [
        Sheet(
            ("", "for", "check", "found"),
            rows,
            title=f"Preflight of {report.sale} in {report.cloud}",
        )
    ]
    for title, listed in (("Short", against), ("Warnings", report.warnings)):
        if listed:
            told = [(one.name, one.why or one.problem, one.todo) for one in listed]
            shown.append(Sheet(("check", "why it matters", "what to do"), told, title=title))
    said = f"{report.verdict}  ({counted(len(report.checks), 'check')}, {counted(report.calls_count, 'call')}"
    if report.accepted:
        said += f"; unchecked ones let pass: {report.accepted}"
    return [*shown, f"{said})"]


def _mark(one: Check, against: list[Check]) -> str:
    if one.ok:
        return "✓"
    if one in against:
        return "✗" if one.checked else "?"
    return "!"
