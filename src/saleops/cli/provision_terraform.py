"""``saleops provision network --with``: the API, or Terraform when it is there."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from saleops.cli.figures import counted
from saleops.cli.provision_session import CloudFlags, Session
from saleops.cli.sheets import Sheet, as_rich
from saleops.domain.cloud.resources import Resource
from saleops.errors import ConfigError, Refused
from saleops.operations.provision.by_terraform import TerraformProvision

if TYPE_CHECKING:
    from saleops.cli.context import Context
    from saleops.operations.provision.survey import Survey

Maker = Literal["auto", "terraform", "tofu", "api"]
MAKERS: tuple[Maker, ...] = ("auto", "terraform", "tofu", "api")
NAMED = 4

With = Annotated[
    str,
    typer.Option(
        "--with",
        metavar="auto|terraform|tofu|api",
        help="What makes it; auto: terraform or tofu where one is installed, else the API.",
    ),
]


@dataclass(frozen=True)
class TerraformScope:
    """The network: its resources, which of them may be made, what was found, what must agree before anything is made."""

    resources: Sequence[Resource]
    own: frozenset[str]
    seen: "Survey"
    check: Callable[[], None]


def checked_maker(word: str, flags: CloudFlags) -> Maker:
    """``word`` as one of MAKERS. Raises ConfigError, also for terraform at a cloud on this machine."""
    maker = next((one for one in MAKERS if one == word), None)
    if maker is None:
        raise typer.BadParameter(f"--with knows {', '.join(MAKERS)}, not {word!r}")
    if maker in ("terraform", "tofu") and flags.endpoint is not None:
        raise ConfigError(
            f"--with {maker} makes things at Alibaba Cloud only, not at {flags.endpoint}; nothing was changed",
            hint="Leave out --with: there the API is used.",
        )
    if os.environ.get("SALEOPS_CLOUD_ENDPOINTS"):
        if maker in ("terraform", "tofu"):
            raise ConfigError(
                f"--with {maker} does not read SALEOPS_CLOUD_ENDPOINTS, and would go to other hosts; nothing was changed",
                hint="Leave out --with, or unset SALEOPS_CLOUD_ENDPOINTS.",
            )
        return "api"
    return maker


def network_by_terraform(
    context: "Context",
    session: Session,
    flags: CloudFlags,
    maker: Maker,
    scope: TerraformScope,
    *,
    dry_run: bool,
    yes: bool,
    timeout_s: float | None,
) -> bool:
    """Make the network by Terraform. False where that is not wanted or not possible: then it is the API's turn.

    Raises ConfigError, Refused, UpstreamError, GateFailed.
    """
    if maker == "api" or flags.endpoint is not None:
        return False
    from saleops import wiring
    from saleops.operations.provision.by_terraform import (
        PART,
        apply_by_terraform,
        looking,
        plan_by_terraform,
        strangers,
    )
    from saleops.operations.provision.survey import survey
    from saleops.operations.render_terraform import apply_render, plan_render

    screen, courier = context.screen, session.courier
    try:
        installed = wiring.installed_terraform(maker)
    except ConfigError as unfit:  # too old, or broken
        if maker != "auto":
            raise
        screen.note(f"by the API: {unfit.message.removesuffix('; nothing was changed')}")
        return False
    if installed is None:
        if maker != "auto":
            raise ConfigError(
                f"{maker} is not installed; nothing was changed",
                hint=f"Install {maker}, or use --with api.",
            )
        screen.detail("neither terraform nor tofu is installed: the API it is")
        return False
    folder = wiring.terraform_folder(flags.state_dir, session.sale.name)
    terraform = wiring.open_terraform(installed, folder, region=session.cloud.region)
    foreign = strangers(scope.resources, scope.own, scope.seen, terraform.ids())
    if foreign:
        named = ", ".join(foreign[:NAMED]) + (
            f" and {len(foreign) - NAMED} more" if len(foreign) > NAMED else ""
        )
        if maker == "auto":
            screen.note(f"by the API: {installed.tool}'s state in {folder} does not hold {named}")
            return False
        raise Refused(
            f"{installed.tool} would make these again, for its state in {folder} does not hold them: {named}; "
            "nothing was changed",
            hint="Use --with api, or bring that state here.",
        )
    wiring.make_state_dir(flags.state_dir)
    try:
        apply_render(plan_render(session.sale, session.profile, folder, parts=PART))
    except Refused as edited:
        raise Refused(
            edited.message, hint="Delete what was edited there: it is written anew each time."
        ) from edited
    saved, planned = plan_by_terraform(
        terraform,
        sale=session.sale.name,
        cloud=session.cloud.name,
        observe=screen.observe,
    )
    if dry_run:
        screen.show(planned)
        return True
    if not saved.empty:
        scope.check()
        _ask(context, planned, yes=yes)
    look = looking(
        scope.resources,
        scope.own,
        lambda: survey(scope.resources, courier.read, observe=screen.observe),
        courier.journal.history,
        {
            "sale": session.sale.name,
            "cloud": session.cloud.name,
            "region": session.cloud.region,
        },
    )
    report = apply_by_terraform(
        terraform,
        saved,
        planned,
        look=look,
        clock=session.cloud.clock,
        timeout_s=timeout_s,
        observe=screen.observe,
    )
    screen.show(report)
    return True


def _ask(context: "Context", planned: TerraformProvision, *, yes: bool) -> None:
    for one in planned.changes:
        context.screen.note(f"{one.action} {one.address}")
    question = (
        f"Provision the network of {planned.sale} in {planned.cloud} by {planned.tool}: "
        f"{planned.add} to add, {planned.change} to change, {planned.remove} to remove. This costs money. Go ahead?"
    )
    context.screen.confirm(question, yes=yes)


@as_rich.register
def _(report: TerraformProvision) -> list[Sheet | str]:
    counts = f"{report.add} to add, {report.change} to change, {report.remove} to remove"
    by = f"{report.tool} {report.version} in {report.folder}"
    shown: list[Sheet | str] = []
    if not report.changes:
        shown.append("no change")
    else:
        rows = [(one.action, one.address) for one in report.changes]
        title = f"Network of {report.sale} in {report.cloud}"
        shown.append(Sheet(("do", "resource"), rows, title=title, whole=("resource",)))
    sums: list[tuple[str, object]] = [("plan", counts), ("by", by)]
    if report.found:
        sums.append(("in the cloud", f"{counted(report.found, 'resource')} as wanted"))
    else:
        sums.append(("in the cloud", "nothing was changed"))
    ids = [
        (name, value) for name, value in sorted(report.outputs.items()) if isinstance(value, str)
    ]
    return [*shown, Sheet((), [*sums, *ids])]
