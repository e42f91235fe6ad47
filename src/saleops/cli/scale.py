"""``saleops scale``: grow the cluster before the sale, hold it, give it back."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saleops.cli import scale_views  # noqa: F401  # registers how the results look
from saleops.cli.context import Context, context_of
from saleops.cli.engine_options import (
    STATE_DIR,
    Broker,
    DryRun,
    EngineFlags,
    SaleFile,
    Yes,
    engines_of_sale,
)
from saleops.cli.figures import counted
from saleops.cli.provision_session import (
    CloudFlags,
    CloudStateDir,
    EndpointCloud,
    ProfileFile,
    Region,
)
from saleops.cli.scale_session import (
    Kubeconfig,
    KubeContext,
    Leads,
    Namespace,
    PodsOnly,
    ScaleFlags,
    ScaleSession,
    moment_of,
    scale_session,
)
from saleops.cli.scale_verdicts import judge_plan, judge_up, shortfall, some
from saleops.errors import GateFailed
from saleops.events import Warned

if TYPE_CHECKING:
    from saleops.operations.scale.gate import QueueState
    from saleops.operations.scale.plan import ScalePlanned

Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        min=1,
        max=86_400,
        metavar="SECONDS",
        help="How long to wait in each phase, instead of twice its lead time.",
        show_default=False,
    ),
]
At = Annotated[
    str,
    typer.Option(
        "--at",
        metavar="TIME",
        help="Judge as of then, 2026-11-26T23:00:00+08:00.",
        show_default=False,
    ),
]

app = typer.Typer(no_args_is_help=True)


@app.callback()
def scale() -> None:
    """Grow the sale's cluster before it opens, nodes first; hold its floor; give it back afterwards.

    Examples:
      saleops scale plan sale.yaml
      saleops scale up sale.yaml --hold
      saleops scale down sale.yaml --dry-run
    """


@app.command()
def plan(
    ctx: typer.Context,
    sale: SaleFile,
    profile: ProfileFile = None,
    endpoint_cloud: EndpointCloud = None,
    region: Region = None,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
    namespace: Namespace = "",
    pods_only: PodsOnly = False,
    state_dir: CloudStateDir = STATE_DIR,
    lead: Leads = None,
    at: At = "",
) -> None:
    """Say what has to grow for SALE, in which order, and when each step has to start at the latest. Only reads.

    Exits 3, NO-GO, when the latest safe start of anything is past, or when something that has to grow is not there;
    5 when another sale holds it.

    Examples:
      saleops scale plan sale.yaml
      saleops scale plan sale.yaml --at 2026-11-26T23:00:00+08:00 --lead node_batch_s=300
    """
    flags = _flags(
        profile, endpoint_cloud, region, state_dir, kubeconfig, context, namespace, pods_only, lead
    )
    shell = context_of(ctx)
    with scale_session(shell, sale, flags, command="plan", writes=False) as session:
        shown = _planned(session, at)
    shell.screen.show(shown)
    judge_plan(shown)


@app.command()
def explain(
    ctx: typer.Context,
    sale: SaleFile,
    profile: ProfileFile = None,
    endpoint_cloud: EndpointCloud = None,
    region: Region = None,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
    namespace: Namespace = "",
    pods_only: PodsOnly = False,
    state_dir: CloudStateDir = STATE_DIR,
    lead: Leads = None,
) -> None:
    """Print the arithmetic of SALE's plan line by line: every figure, where it is from, every sum.

    Examples:
      saleops scale explain sale.yaml --lead image_mib=900
    """
    from saleops.operations.scale.plan import explained, look

    flags = _flags(
        profile, endpoint_cloud, region, state_dir, kubeconfig, context, namespace, pods_only, lead
    )
    shell = context_of(ctx)
    with scale_session(shell, sale, flags, command="explain", writes=False) as session:
        means = session.means
        looked = look(session.wants, means.cluster, means.side, now=session.now)
        shell.screen.show(explained(looked, session.wants))


@app.command()
def up(
    ctx: typer.Context,
    sale: SaleFile,
    profile: ProfileFile = None,
    endpoint_cloud: EndpointCloud = None,
    region: Region = None,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
    namespace: Namespace = "",
    pods_only: PodsOnly = False,
    state_dir: CloudStateDir = STATE_DIR,
    lead: Leads = None,
    timeout: Timeout = None,
    hold: Annotated[
        bool, typer.Option("--hold", help="Then keep the floor until the sale closes.")
    ] = False,
    short_of_nodes: Annotated[
        bool,
        typer.Option("--short-of-nodes", help="Ask for the pods although nodes are missing."),
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Bring SALE's cluster to its size: nodes, wait until they are Ready, then pods, wait until they are Ready.

    Original sizes are recorded first, on the objects and in a journal. Ctrl-C leaves what was asked for; the same command goes
    on. A second run changes nothing. Refused, exit 5, when the sale is over or
    another one holds the same things. Exits 3 when something is not there at its deadline, with counts and reasons.

    Examples:
      saleops scale up sale.yaml --dry-run
      saleops scale up sale.yaml --yes --hold
    """
    from saleops.operations.scale.gate import may_go_up
    from saleops.operations.scale.hold import hold as keep
    from saleops.operations.scale.holders import check_free
    from saleops.operations.scale.plan import look, planned
    from saleops.operations.scale.up import scale_up

    flags = _flags(
        profile, endpoint_cloud, region, state_dir, kubeconfig, context, namespace, pods_only, lead
    )
    shell = context_of(ctx)
    with scale_session(shell, sale, flags, command="up", writes=not dry_run) as session:
        means, wants = session.means, session.wants
        may_go_up(wants, now=session.now)
        looked = look(wants, means.cluster, means.side, now=session.now)
        check_free(looked, wants, means.cluster)
        shown = planned(looked, wants, means.cluster, means.side, now=session.now)
        if dry_run:
            shell.screen.show(shown)
            return
        if looked.plan.acts:
            _ask_up(shell, shown, yes=yes)
        report = scale_up(looked, wants, means, timeout_s=timeout, without_nodes=short_of_nodes)
    if not hold:
        shell.screen.show(report)
        judge_up(report)
        return
    if not report.ready:
        missing = shortfall(report)
        shell.screen.observe(Warned(f"the floor is not reached, and held all the same: {missing}"))
    with scale_session(shell, sale, _pods_only(flags), command="hold", writes=False) as session:
        held = keep(
            session.wants,
            session.means.cluster,
            clock=session.means.pods_clock,
            until_ms=round(session.wants.closes.timestamp() * 1000),
            observe=shell.screen.observe,
        )
    shell.screen.show(held)
    judge_up(report)


@app.command()
def status(
    ctx: typer.Context,
    sale: SaleFile,
    profile: ProfileFile = None,
    endpoint_cloud: EndpointCloud = None,
    region: Region = None,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
    namespace: Namespace = "",
    pods_only: PodsOnly = False,
    state_dir: CloudStateDir = STATE_DIR,
    lead: Leads = None,
) -> None:
    """Show what SALE wants, what is asked for and what is ready, per service and node pool, and whether the floor holds.

    Exits 3 when anything is below the floor after `scale up`, or from a quarter of an hour before the opening to the close.

    Examples:
      saleops scale status sale.yaml -o json
    """
    from saleops.operations.scale.plan import look
    from saleops.operations.scale.status import scale_status

    flags = _flags(
        profile, endpoint_cloud, region, state_dir, kubeconfig, context, namespace, pods_only, lead
    )
    shell = context_of(ctx)
    with scale_session(shell, sale, flags, command="status", writes=False) as session:
        means, wants, now = session.means, session.wants, session.now
        looked = look(wants, means.cluster, means.side, now=now)
        shown = scale_status(looked, wants, means.cluster, means.side, means.journal, now=now)
    shell.screen.show(shown)
    if not shown.ok:
        below = [f"{one.what}: {one.ready:,} of {one.wanted:,} ready" for one in shown.below]
        raise GateFailed(
            f"{shown.sale} is below its floor: {some([*below, *shown.drift])}",
            hint="Run `saleops scale up SALE`, with --hold to keep it.",
        )


@app.command()
def down(
    ctx: typer.Context,
    sale: SaleFile,
    profile: ProfileFile = None,
    endpoint_cloud: EndpointCloud = None,
    region: Region = None,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
    namespace: Namespace = "",
    pods_only: PodsOnly = False,
    state_dir: CloudStateDir = STATE_DIR,
    broker: Broker = None,
    accept_unseen: Annotated[
        str,
        typer.Option(
            "--accept-unseen",
            metavar="REASON",
            help="Go on although nobody can see the queues.",
            show_default=False,
        ),
    ] = "",
    before_sale: Annotated[
        str,
        typer.Option(
            "--before-sale",
            metavar="REASON",
            help="Go down although the sale is still to come; the journal keeps why.",
            show_default=False,
        ),
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Restore sizes that somebody changed meanwhile, too.")
    ] = False,
    timeout: Timeout = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Give back what `scale up` took for SALE: pods, then nodes, drained, then caches and databases, to their recorded sizes.

    Refused, exit 5, until the sale is over, and while messages, half messages or dead letters are left. Exits 3 when a disruption
    budget or the cloud kept something beyond its deadline; the same command goes on.

    Examples:
      saleops scale down sale.yaml --dry-run
      saleops scale down sale.yaml --yes
    """
    from saleops.operations.scale.down import scale_down
    from saleops.operations.scale.down_plan import plan_down
    from saleops.operations.scale.gate import before_it_opens, may_go_down
    from saleops.operations.scale.plan import look
    from saleops.operations.scale.status import recorded

    flags = _flags(
        profile, endpoint_cloud, region, state_dir, kubeconfig, context, namespace, pods_only, None
    )
    shell = context_of(ctx)
    with scale_session(shell, sale, flags, command="down", writes=not dry_run) as session:
        means, wants = session.means, session.wants
        _, told = may_go_down(
            wants,
            lambda: _queues(shell, sale, state_dir, broker),
            now_ms=means.pods_clock.now_ms(),
            accept_unseen=accept_unseen.strip(),
        )
        looked = look(wants, means.cluster, means.side, now=session.now)
        records = recorded(looked, wants, means.cluster, means.journal, closing=True)
        why = before_sale.strip()
        early = before_it_opens(wants, records, now_ms=means.pods_clock.now_ms(), reason=why)
        told = (*told, *early)
        going = plan_down(
            looked, wants, means.cluster, means.side, means.journal, force=force, told=told
        )
        if dry_run:
            shell.screen.show(going)
            return
        if going.acts:
            question = f"Give back {counted(len(going.acts), 'size')} of {wants.sale}"
            if going.drains:
                question += f", draining {counted(len(going.drains), 'node')}"
            shell.screen.confirm(f"{question}?", yes=yes)
        for one in early:
            means.journal.note(one)
        report = scale_down(going, looked, wants, means, timeout_s=timeout)
    shell.screen.show(report)
    if not report.restored:
        stuck = [f"{one.what}: {one.why}" for one in report.steps if one.result == "not yet"]
        raise GateFailed(
            f"not everything of {report.sale} is back: {some(stuck)}",
            hint="Run the same command again: it goes on from here.",
        )


def _flags(
    profile: Path | None,
    endpoint: str | None,
    region: str | None,
    state_dir: Path,
    kubeconfig: str | None,
    context: str | None,
    namespace: str,
    pods_only: bool,
    leads: list[str] | None,
) -> ScaleFlags:
    cloud = CloudFlags(profile, endpoint, region, state_dir)
    return ScaleFlags(cloud, kubeconfig, context, namespace, pods_only, tuple(leads or ()))


def _pods_only(flags: ScaleFlags) -> ScaleFlags:
    from dataclasses import replace

    return replace(flags, pods_only=True)


def _planned(session: ScaleSession, at: str) -> "ScalePlanned":
    from saleops.operations.scale.holders import check_free
    from saleops.operations.scale.plan import look, planned

    now = moment_of(at) if at else session.now
    means, wants = session.means, session.wants
    looked = look(wants, means.cluster, means.side, now=now)
    check_free(looked, wants, means.cluster)
    return planned(looked, wants, means.cluster, means.side, now=now)


def _ask_up(shell: Context, shown: "ScalePlanned", *, yes: bool) -> None:
    late = f" {counted(len(shown.late), 'step')} late or not possible." if shown.late else ""
    acts = [one for one in shown.steps if one.patches or one.calls]
    nodes = sum(one.want - one.have for one in acts if one.phase == "nodes")
    costs = f", {counted(nodes, 'node')} more, which cost money" if nodes else ""
    question = f"Grow {counted(len(acts), 'size')} of {shown.sale}{costs}.{late}"
    shell.screen.confirm(f"{question} Go ahead?", yes=yes)


def _queues(shell: Context, sale_file: Path, state_dir: Path, broker: str | None) -> "QueueState":
    """What is on its way in the sale's broker. Raises StoreUnavailable, ConfigError, Refused for engines without this sale."""
    from saleops import wiring
    from saleops.operations.dlq import check_known
    from saleops.operations.scale.gate import queue_state

    async def ask(url: str, name: str) -> "QueueState":
        async with wiring.open_broker(url, sale=name) as opened:
            return await queue_state(opened)

    if broker is not None:
        from saleops.config.sale import load_sale

        return asyncio.run(ask(broker, load_sale(sale_file).name))
    flags = EngineFlags(state_dir, None, None, None)
    with engines_of_sale(shell.screen, sale_file, flags, command="scale down", migrate=False) as (
        found,
        engines,
    ):
        # Engines that never heard of the sale would call its queues empty.
        with wiring.open_order_book(engines.database_url, must_exist=True) as book:
            check_known(found.name, book)
        return asyncio.run(ask(engines.broker_url, found.name))
