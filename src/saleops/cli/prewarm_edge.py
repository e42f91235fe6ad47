"""``saleops prewarm edge``: the sale's URLs at DCDN before buyers ask for them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saleops.cli.context import Context, context_of
from saleops.cli.engine_options import STATE_DIR, DryRun, SaleFile
from saleops.cli.figures import counted
from saleops.cli.person import whoami
from saleops.cli.provision_notes import why_nothing
from saleops.cli.provision_session import (
    PROFILE,
    CloudFlags,
    CloudStateDir,
    EndpointCloud,
    ProfileFile,
    Region,
    files_of,
)
from saleops.cli.sheets import Sheet, as_rich
from saleops.cli.telling_cloud import TellingCloud
from saleops.errors import ConfigError
from saleops.events import Warned
from saleops.operations.edge_plan import EdgePlan
from saleops.operations.edge_report import EdgeNotWarm, EdgeReport
from saleops.operations.edge_urls import EdgeUrl

if TYPE_CHECKING:
    from collections.abc import Callable

    from saleops.config.profile import Profile
    from saleops.config.sale import Sale

CALLS_SHOWN = 30
LEFT_SHOWN = 50

UrlsFile = Annotated[
    Path | None,
    typer.Option(
        "--urls",
        metavar="FILE",
        help="More URLs of the domain, or paths on it, one a line; they go first.",
        show_default=False,
    ),
]
Hottest = Annotated[
    int | None,
    typer.Option(
        "--hottest", metavar="N", min=0, help="Only the N hottest items.", show_default=False
    ),
]
Refresh = Annotated[
    bool,
    typer.Option("--refresh", help="Empty the edge first of what changed since its last preload."),
]
Again = Annotated[bool, typer.Option("--again", help="Submit also what is at the edge already.")]
Deadline = Annotated[
    float,
    typer.Option(
        "--deadline", metavar="SECONDS", min=1, max=86_400, help="What takes longer is slow."
    ),
]
Pause = Annotated[
    float,
    typer.Option(
        "--pause",
        metavar="SECONDS",
        min=0,
        max=3_600,
        help="Between two preload calls, to spare the origin: each makes it serve 100 URLs.",
    ),
]
DEADLINE_S = 2_700.0


def edge(
    ctx: typer.Context,
    sale: SaleFile,
    profile: ProfileFile = None,
    endpoint_cloud: EndpointCloud = None,
    region: Region = None,
    state_dir: CloudStateDir = STATE_DIR,
    urls: UrlsFile = None,
    hottest: Hottest = None,
    refresh: Refresh = False,
    again: Again = False,
    deadline: Deadline = DEADLINE_S,
    pause: Pause = 0.0,
    dry_run: DryRun = False,
) -> None:
    """Preload the product pages of SALE to the edge, hottest first, and ask until they are there.

    More URLs than the day's quota has left are refused before anything is sent. A run that was interrupted goes on where it
    was: nothing is submitted twice. Exit code 3 for NO-GO, and when URLs failed or are slow; each is named.

    Examples:
      saleops prewarm edge sale.yaml --dry-run
      saleops prewarm edge sale.yaml --hottest 900 --urls urls.txt --refresh
    """
    context = context_of(ctx)
    flags = CloudFlags(profile, endpoint_cloud, region, state_dir)
    wishes = EdgeFlags(urls, hottest, refresh, again, deadline, pause)
    try:
        shown = run_edge(context, sale, flags, wishes, dry_run=dry_run)
    except EdgeNotWarm as cold:
        context.screen.show(cold.report)
        raise
    context.screen.show(shown)


class EdgeFlags:
    """What to preload, and how."""

    def __init__(
        self,
        urls: Path | None,
        hottest: int | None,
        refresh: bool,
        again: bool,
        deadline_s: float,
        pause_s: float,
    ) -> None:
        self.urls = urls
        self.hottest = hottest
        self.refresh = refresh
        self.again = again
        self.deadline_s = deadline_s
        self.pause_s = pause_s


def run_edge(
    context: Context, sale_file: Path, flags: CloudFlags, wishes: EdgeFlags, *, dry_run: bool
) -> EdgePlan | EdgeReport:
    """Preload, or with ``dry_run`` say what would be sent. Raises EdgeNotWarm, GateFailed, Refused, CloudError."""
    from contextlib import ExitStack
    from random import SystemRandom

    from saleops import wiring
    from saleops.operations.edge_plan import plan_edge
    from saleops.operations.edge_tasks import Edge
    from saleops.operations.prewarm_edge import apply_edge
    from saleops.operations.provision.blueprint import region_of

    sale, profile = files_of(sale_file, flags)
    domain = profile.edge.domain
    if not domain:
        raise ConfigError(
            f"the profile of {sale.name} names no `edge.domain`; nothing was sent",
            hint=(
                f"{why_nothing('edge', (), flags.profile or sale_file.parent / PROFILE)} "
                f"Then run `saleops provision edge {sale_file}`."
            ),
        )
    wanted, wanted_count = _urls_of(sale, profile, domain, wishes)
    place = flags.endpoint or region_of(sale, profile)
    path = wiring.edge_journal_path(flags.state_dir, sale.name, place)
    lives_s = _lives(sale, profile)
    with ExitStack() as stack:
        if dry_run:
            journal = wiring.recall_edge_journal(path)
        else:
            wiring.make_state_dir(flags.state_dir)

            def mended(text: str) -> None:
                context.screen.observe(Warned(text))

            journal = stack.enter_context(wiring.open_edge_journal(path, mended=mended))
        cloud = stack.enter_context(
            wiring.open_cloud(
                region=flags.region,
                file_region=region_of(sale, profile),
                endpoint=flags.endpoint,
                state_dir=flags.state_dir,
            )
        )
        context.screen.note(f"{cloud.name}, region {cloud.region}")
        if not dry_run:
            journal.begin(command="prewarm edge", who=whoami(), cloud=cloud.name)
        opened = Edge(
            TellingCloud(cloud, context.screen),
            journal,
            domain,
            SystemRandom(),
            pause_s=wishes.pause_s,
        )
        work = plan_edge(
            opened,
            wanted,
            sale=sale.name,
            region=cloud.region,
            wanted_count=wanted_count,
            refresh=wishes.refresh,
            again=wishes.again,
            lives_s=lives_s,
        )
        if dry_run:
            return work.plan
        return apply_edge(
            work,
            opened,
            deadline_s=wishes.deadline_s,
            opens_ms=sale.window.opens_ms,
            lives_s=lives_s,
            observe=context.screen.observe,
        )


def _urls_of(
    sale: "Sale", profile: "Profile", domain: str, wishes: EdgeFlags
) -> tuple[list[EdgeUrl], int]:
    """The URLs, and how many there would be were there no bound on them. Raises ConfigError."""
    from saleops.operations.edge_urls import file_urls, product_urls, together

    source = sale.items_source
    items_count = source.summary().items_count
    more = (
        file_urls(wishes.urls, domain, never=profile.edge.never_cache_paths) if wishes.urls else []
    )
    products = product_urls(source.stream(), domain, hottest=wishes.hottest)
    urls = together(more, products)
    if not urls:
        raise ConfigError(
            f"{sale.name} has no URL to preload; nothing was sent",
            hint="Give --hottest above 0, or --urls FILE.",
        )
    left_out = items_count - len(products) if wishes.hottest is None else 0
    return urls, len(urls) + left_out


def _lives(sale: "Sale", profile: "Profile") -> "Callable[[str], float]":
    """How many seconds the edge keeps a URL, by the rules that provision sets."""
    static = {f".{each}" for each in profile.edge.static_types}
    from saleops.operations.provision.blueprint import page_ttl_of

    static_s, page_s = profile.edge.static_ttl_s, page_ttl_of(sale, profile)

    def lives_s(url: str) -> float:
        path = url.partition("?")[0]
        ending = path[path.rfind(".") :] if "." in path.rpartition("/")[2] else ""
        return static_s if ending.lower() in static else page_s

    return lives_s


@as_rich.register
def _(plan: EdgePlan) -> list[Sheet | str]:
    rows = [
        (number, f"{call['product']} {call['api']}", *_paths(str(call["params"]["ObjectPath"])))
        for number, call in enumerate(plan.calls[:CALLS_SHOWN], start=1)
    ]
    facts: list[tuple[str, object]] = [
        ("sale", plan.sale),
        ("domain", f"{plan.domain}, area {plan.area}"),
        ("URLs", plan.urls),
        ("at the edge already", plan.warm),
        ("on their way", plan.waiting),
        ("to refresh", plan.refresh),
        (
            "to preload",
            f"{plan.preload:,}; {plan.preload_left:,} of the day's {plan.preload_quota:,} are left",
        ),
    ]
    more = len(plan.calls) - len(rows)
    said = f"{counted(len(plan.calls), 'call')}; nothing was sent"
    return [
        Sheet((), facts, title=f"Prewarm the edge of {plan.sale} in {plan.cloud}"),
        Sheet(("call", "API", "URLs", "from", "to"), rows),
        f"... and {counted(more, 'more call')}. {said}" if more > 0 else said,
    ]


def _paths(text: str) -> tuple[int, str, str]:
    urls = text.split("\n")
    return len(urls), urls[0], urls[-1]


@as_rich.register
def _(report: EdgeReport) -> list[Sheet | str]:
    rows: list[tuple[str, object]] = [
        ("sale", report.sale),
        ("domain", f"{report.domain}, area {report.area}"),
        ("URLs", report.urls),
        ("at the edge before", report.warm_before),
        ("of an earlier run", report.resumed),
        ("refreshed", report.refreshed),
        ("submitted", f"{report.submitted:,} in {counted(report.preload_calls, 'call')}"),
        ("complete", report.complete),
        (
            "calls",
            f"{report.preload_calls + report.refresh_calls:,} writes, {report.reads:,} reads, {report.repeated:,} repeated",
        ),
        ("left of the day's quota", report.quota_left),
        ("took", f"{report.seconds:,.0f} s of the cloud's time"),
        ("verdict", "; ".join(report.problems) or "warm"),
    ]
    shown: list[Sheet | str] = [Sheet((), rows)]
    if report.urls_left:
        left = [
            (one.url, one.step, one.result, one.task, one.note)
            for one in report.urls_left[:LEFT_SHOWN]
        ]
        columns = ("URL", "step", "result", "task", "note")
        shown.append(Sheet(columns, left, title="Not at the edge", whole=("URL", "task")))
        if len(report.urls_left) > LEFT_SHOWN:
            shown.append(
                f"... and {len(report.urls_left) - LEFT_SHOWN:,} more; --output json names them all"
            )
    return shown
