"""What ``saleops provision GROUP`` and ``destroy`` do: plan, ask, act, judge."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from saleops.cli.figures import counted, when
from saleops.cli.provision_notes import notes_about, why_nothing
from saleops.cli.provision_preflight import Preflighting, check_before
from saleops.cli.provision_session import PROFILE, CloudFlags, cloud_session
from saleops.cli.provision_terraform import Maker, TerraformScope, network_by_terraform
from saleops.domain.cloud.resources import GROUPS
from saleops.errors import CloudError, GateFailed, Refused, UpstreamError
from saleops.operations.provision.report import ProvisionReport, StepReport

if TYPE_CHECKING:
    from saleops.cli.context import Context
    from saleops.operations.provision.destroy_plan import DestroyPlan

NAMED = 6


def provision_groups(
    context: "Context",
    sale_file: Path,
    flags: CloudFlags,
    groups: Sequence[str],
    *,
    command: str,
    dry_run: bool,
    yes: bool,
    timeout_s: float | None,
    maker: Maker = "api",
    checking: Preflighting = Preflighting(),  # noqa: B008  # frozen
) -> None:
    """Make what ``groups`` lack. Raises Refused, GateFailed or UpstreamError when it is not all there afterwards."""
    from saleops.operations.provision.applying import apply_provision
    from saleops.operations.provision.planning import plan_provision, with_needs
    from saleops.operations.provision.survey import survey

    typed = f"{command}{checking.words}"
    opened = cloud_session(context, sale_file, flags, command=typed, writes=not dry_run)
    with opened as session:
        courier, screen = session.courier, context.screen
        resources, own = with_needs(session.blueprint.resources, groups)
        if not own:
            raise Refused(
                f"{session.sale.name} has no {command} to provision; nothing was changed",
                hint=why_nothing(
                    command, session.blueprint.notes, flags.profile or sale_file.parent / PROFILE
                ),
            )
        courier.settle()
        seen = survey(resources, courier.read, observe=screen.observe)
        plan = plan_provision(
            resources,
            own,
            seen,
            courier.journal.history,
            sale=session.sale.name,
            cloud=session.cloud.name,
            region=session.cloud.region,
        )

        def check() -> None:
            if plan.writes_count:
                check_before(context, session, groups, checking, seen)

        if maker != "api" and network_by_terraform(
            context,
            session,
            flags,
            maker,
            TerraformScope(resources, own, seen, check),
            dry_run=dry_run,
            yes=yes,
            timeout_s=timeout_s,
        ):
            return
        notes = notes_about(groups, session.blueprint.notes)
        plan = replace(plan, notes=notes)
        if dry_run:
            screen.show(plan)
            return
        if plan.writes_count:
            for one in notes:  # before the question: they are what is bought, and what is not
                screen.note(f"note: {one}")
        check()
        if plan.writes_count and not flags.practice:
            makes = len(plan.of("create"))
            changes = len(plan.of("change"))
            what = f"{counted(makes, 'new resource')}, {counted(changes, 'changed one')}"
            question = (
                f"Provision {session.sale.name} in {session.cloud.name}: {what}. This costs money."
            )
            screen.confirm(f"{question} Go ahead?", yes=yes)
        report = apply_provision(
            plan,
            resources,
            seen,
            courier,
            timeout_s=timeout_s,
            observe=screen.observe,
            journal=str(session.journal_file),
        )
        steps = tuple(
            replace(one, hint=flags.filled(one.hint, sale_file)) if one.hint else one
            for one in report.steps
        )
        screen.show(replace(report, steps=steps, notes=notes))
        _judge(
            report,
            flags.again(
                command,
                sale_file,
                [
                    *(() if maker == "auto" or command != "network" else ("--with", maker)),
                    *checking.typed,
                    *typed_flags(timeout_s, yes=yes),
                ],
            ),
            flags.again("status", sale_file),
        )


def typed_flags(timeout_s: float | None, *, yes: bool) -> list[str]:
    """What was typed of these, to be typed again."""
    timeout = [] if timeout_s is None else ["--timeout", f"{timeout_s:g}"]
    return [*timeout, *(["--yes"] if yes else [])]


def _judge(report: ProvisionReport, again: str, status: str = "") -> None:
    failed, blocked = report.of("failed"), report.of("blocked")
    if failed:
        also = f"; not begun because of that: {len(blocked):,}" if blocked else ""
        raise CloudError(
            f"{counted(len(failed), 'resource')} of {report.sale} failed; what was made stays{also}\n"
            + _lines(failed),
            kind="busy" if all(one.retryable for one in failed) else "failed",
            code=failed[0].code,
            request_id=failed[0].request_id,
            hint=_advice(failed, again),
        )
    helpless = report.of("left alone", "replace needed")
    if helpless:
        also = f"; not begun because of that: {len(blocked):,}" if blocked else ""
        raise GateFailed(
            f"{counted(len(helpless), 'resource')} of {report.sale} {'is' if len(helpless) == 1 else 'are'} not as wanted, "
            f"and no call changes that{also}\n" + _lines(helpless),
            hint=helpless[0].hint
            or f"`{status}` names each field; --accept --reason TEXT added there lets them stay.",
        )


def _advice(failed: Sequence[StepReport], again: str) -> str:
    """What the first failure says is to be done, and how to go on: by the command that was given, not its part."""
    advice = next((one.hint for one in failed if one.hint), "")
    return f"{advice} Run `{again}` again: it goes on from here.".strip()


def _lines(steps: Sequence[StepReport]) -> str:
    lines = [_line(one) for one in steps[:NAMED]]
    if len(steps) > NAMED:
        lines.append(f"and {len(steps) - NAMED:,} more; `-o json` names all")
    return "\n".join(lines)


def _line(one: StepReport) -> str:
    told = [one.code, f"request {one.request_id}" if one.request_id else ""]
    if one.request_id and one.request_id in one.why:
        told = []
    more = ", ".join(part for part in told if part)
    return f"{one.kind} {one.name}: {one.why}" + (f" ({more})" if more else "")


# -- destroy -----------------------------------------------------------------------------------------------------------


def destroy_sale(
    context: "Context",
    sale_file: Path,
    flags: CloudFlags,
    groups: Sequence[str],
    *,
    dry_run: bool,
    yes: bool,
    during_sale: bool,
    timeout_s: float | None,
) -> None:
    """Take away ``groups`` of the sale, all of them by default. Raises Refused, UpstreamError."""
    from saleops.operations.provision.destroy_plan import plan_destroy, refuse_half
    from saleops.operations.provision.destroying import apply_destroy, what_is_left
    from saleops.operations.provision.leftovers import find_leftovers
    from saleops.operations.provision.survey import survey

    opened = cloud_session(context, sale_file, flags, command="destroy", writes=not dry_run)
    with opened as session:
        courier, screen, sale = session.courier, context.screen, session.sale
        everything = session.blueprint.resources
        own = frozenset(one.key for one in everything if not groups or one.group in groups)
        if not dry_run:
            _refuse_open_window(sale.name, sale.window.opens_ms, sale.window.closes_ms, during_sale)
        courier.settle()
        seen = survey(everything, courier.read, observe=screen.observe)
        refuse_half(everything, own, seen, groups)
        strays = []
        if not groups:
            strays = find_leftovers(
                courier.read, sale=sale.name, region=session.cloud.region, seen=seen
            )
        plan = plan_destroy(
            everything,
            own,
            seen,
            strays,
            sale=sale.name,
            cloud=session.cloud.name,
            region=session.cloud.region,
        )
        if dry_run:
            screen.show(plan)
            return
        if any(step.goes for step in plan.steps):
            _ask(context, plan, yes=yes)
        report = apply_destroy(
            plan,
            everything,
            seen,
            strays,
            courier,
            timeout_s=timeout_s,
            observe=screen.observe,
            journal=str(session.journal_file),
        )
        left = what_is_left(everything, own, courier, sale=sale.name, observe=screen.observe)
        screen.show(report)
        typed = [
            *(word for group in groups for word in ("--group", group)),
            *(("--during-sale",) if during_sale else ()),
            *typed_flags(timeout_s, yes=yes),
        ]
        _judge_destroyed(report, left, flags.again("destroy", sale_file, typed))


def _refuse_open_window(sale: str, opens_ms: int, closes_ms: int, during_sale: bool) -> None:
    now_ms = time.time_ns() // 1_000_000
    if opens_ms <= now_ms < closes_ms and not during_sale:
        raise Refused(
            f"{sale} is open until {when(closes_ms)}: buyers are in it; nothing was changed",
            hint="Add --during-sale to take it away all the same.",
        )


def _ask(context: "Context", plan: "DestroyPlan", *, yes: bool) -> None:
    goes = sum(step.goes for step in plan.steps)
    question = f"Destroy {counted(goes, 'resource')} of {plan.sale} in {plan.cloud}?"
    if plan.data:
        question += f" Their data goes with {', '.join(plan.data)}."
    context.screen.confirm(question, yes=yes)


def _judge_destroyed(report: ProvisionReport, left: Sequence[str], again: str) -> None:
    failed = report.of("failed", "blocked")
    if failed:
        raise CloudError(
            f"{counted(len(failed), 'resource')} of {report.sale} could not be taken away\n"
            + _lines(failed),
            kind="busy" if all(one.retryable for one in failed) else "failed",
            code=failed[0].code,
            request_id=failed[0].request_id,
            hint=f"Run `{again}` again: it goes on from here.",
        )
    if left:
        raise UpstreamError(
            f"the cloud still shows {', '.join(left[:NAMED])}",
            hint=f"Run `{again}` again.",
        )


def all_groups(command: str) -> tuple[str, ...]:
    return GROUPS if command == "all" else (command,)
