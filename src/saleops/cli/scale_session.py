"""What every ``saleops scale`` command opens: the sale, its profile, its cluster, its cloud and the journals of both."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saleops.cli.person import whoami
from saleops.cli.provision_session import CloudFlags, cloud_session, files_of
from saleops.errors import ConfigError
from saleops.events import Warned

if TYPE_CHECKING:
    from saleops.cli.context import Context
    from saleops.operations.scale.up import Means
    from saleops.operations.scale.wanted import Wants

Kubeconfig = Annotated[
    str | None,
    typer.Option(
        "--kubeconfig",
        metavar="FILE",
        help="Else KUBECONFIG, ~/.kube/config, the pod we run in.",
        show_default=False,
    ),
]
KubeContext = Annotated[
    str | None,
    typer.Option(
        "--context", metavar="NAME", help="Of the kubeconfig; else its own.", show_default=False
    ),
]
Namespace = Annotated[
    str,
    typer.Option(
        "--namespace",
        metavar="NAME",
        help="Of the sale's Deployments; else the sale's name.",
        show_default=False,
    ),
]
PodsOnly = Annotated[
    bool, typer.Option("--pods-only", help="Leave node pools, PolarDB and Tair alone.")
]
Leads = Annotated[
    list[str] | None,
    typer.Option(
        "--lead",
        metavar="NAME=NUMBER",
        help="A figure of the lead times, instead of ours; `scale explain` names all.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class ScaleFlags:
    """Where a command works."""

    cloud: CloudFlags
    kubeconfig: str | None
    context: str | None
    namespace: str
    pods_only: bool
    leads: tuple[str, ...]


@dataclass(frozen=True)
class ScaleSession:
    wants: "Wants"
    means: "Means"

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.means.pods_clock.now_ms() / 1000, UTC)


def overrides_of(leads: tuple[str, ...]) -> dict[str, float]:
    """``--lead`` as numbers. Raises ConfigError."""
    found: dict[str, float] = {}
    for one in leads:
        name, _, value = one.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            raise ConfigError(
                f"--lead {one!r} is no NAME=NUMBER; nothing was done",
                hint="Example: --lead node_batch_s=300",
            ) from None
    return found


def moment_of(text: str) -> datetime:
    """``--at``. Raises ConfigError."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        moment = None
    # The first and last years cannot be told in every zone.
    if moment is None or moment.tzinfo is None or not 1970 <= moment.year <= 9000:
        raise ConfigError(
            f"--at {text!r} is no point in time with its zone; nothing was done",
            hint="Example: --at 2026-11-26T23:00:00+08:00",
        )
    return moment


@contextmanager
def scale_session(
    context: "Context", sale_file: Path, flags: ScaleFlags, *, command: str, writes: bool
) -> Iterator[ScaleSession]:
    """Open all of it. Raises ConfigError, Refused where another run writes a journal, ClusterError and CloudError."""
    from saleops import wiring
    from saleops.domain.scale_records import without_user
    from saleops.operations.scale.looking import CloudSide
    from saleops.operations.scale.up import Means
    from saleops.operations.scale.wanted import wants_of

    sale, profile = files_of(sale_file, flags.cloud)
    wants = wants_of(sale, profile, namespace=flags.namespace, overrides=overrides_of(flags.leads))

    def mended(text: str) -> None:
        context.screen.observe(Warned(text))

    with ExitStack() as stack:
        cluster = stack.enter_context(
            wiring.open_cluster(kubeconfig=flags.kubeconfig, context=flags.context)
        )
        context.screen.note(f"{without_user(cluster.name)}, namespace {wants.namespace}")
        side = None
        if not flags.pods_only:
            opened = cloud_session(
                context, sale_file, flags.cloud, command=f"scale {command}", writes=writes
            )
            cloud = stack.enter_context(opened)
            side = CloudSide(cloud.courier, cloud.blueprint.resources)
            side.courier.settle()
        path = wiring.scale_journal_path(flags.cloud.state_dir, sale.name, cluster.name)
        if writes:
            wiring.make_state_dir(flags.cloud.state_dir)
            journal = stack.enter_context(wiring.open_scale_journal(path, mended=mended))
            journal.begin(command=f"scale {command}", who=whoami(), cluster=cluster.name)
        else:
            journal = wiring.recall_scale_journal(path)
        means = Means(
            cluster,
            side,
            journal,
            wiring.wall_clock(),
            context.screen.observe,
            str(path) if writes else "",
        )
        yield ScaleSession(wants, means)
