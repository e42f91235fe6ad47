"""``saleops provision``: what a sale needs of Alibaba Cloud: made, compared, taken away again."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from saleops.cli import provision_brief, provision_views
from saleops.cli.context import context_of
from saleops.cli.engine_options import STATE_DIR, DryRun, SaleFile, Yes
from saleops.cli.provision_policy import policy
from saleops.cli.provision_preflight import (
    AcceptUnchecked,
    Preflighting,
    SkipPreflight,
    preflight,
)
from saleops.cli.provision_run import all_groups, destroy_sale, provision_groups
from saleops.cli.provision_session import (
    CloudFlags,
    CloudStateDir,
    EndpointCloud,
    ProfileFile,
    Region,
    Timeout,
)
from saleops.cli.provision_status import log, status
from saleops.cli.provision_terraform import With, checked_maker
from saleops.domain.cloud.resources import GROUPS

app = typer.Typer(no_args_is_help=True)

_WHAT = {
    "cluster": "Make the ACK cluster with its add-ons. Needs the network.",
    "nodepool": "Make the node pools: on-demand and spot nodes as the profile says. Needs the cluster.",
    "database": "Make PolarDB: cluster, read nodes, endpoints, account. Needs the network.",
    "cache": "Make Tair. Needs the network.",
    "queue": "Make RocketMQ: the instance, its topics and consumer groups. Needs the network.",
    "edge": "Make the DCDN domain and its cache rules.",
    "all": "Make everything the sale needs; what takes long comes up side by side.",
}


@app.callback()
def provision() -> None:
    """Make what a sale needs of Alibaba Cloud, compare it with what is there, and take it away again.

    Planned first (--dry-run prints every call), safe to run again after a crash or a Ctrl-C, written down call by call. Practise
    on this machine with --endpoint-cloud local: it costs nothing and hours of waiting pass in seconds.

    Examples:
      saleops provision all sale.yaml --endpoint-cloud local
      saleops provision all sale.yaml --dry-run
      saleops provision status sale.yaml
      saleops provision destroy sale.yaml --yes
    """


def _maker(group: str) -> Callable[..., None]:
    def make(
        ctx: typer.Context,
        sale: SaleFile,
        profile: ProfileFile = None,
        endpoint_cloud: EndpointCloud = None,
        region: Region = None,
        state_dir: CloudStateDir = STATE_DIR,
        timeout: Timeout = None,
        skip_preflight: SkipPreflight = "",
        accept_unchecked: AcceptUnchecked = "",
        dry_run: DryRun = False,
        yes: Yes = False,
    ) -> None:
        provision_groups(
            context_of(ctx),
            sale,
            CloudFlags(profile, endpoint_cloud, region, state_dir),
            all_groups(group),
            command=group,
            dry_run=dry_run,
            yes=yes,
            timeout_s=timeout,
            checking=Preflighting(skip_preflight, accept_unchecked),
        )

    make.__doc__ = f"""{_WHAT[group]}

    A second run changes nothing. On a real cloud it costs money, so it asks first; --yes goes ahead. After a failure what was
    made stays, and the same command goes on. The preflight comes first: a shortfall stops it before anything is made. Exits 3
    when a person must decide, 4 when the cloud refused.

    Examples:
      saleops provision {group} sale.yaml --dry-run
      saleops provision {group} sale.yaml --endpoint-cloud local
    """
    return make


def network(
    ctx: typer.Context,
    sale: SaleFile,
    profile: ProfileFile = None,
    endpoint_cloud: EndpointCloud = None,
    region: Region = None,
    state_dir: CloudStateDir = STATE_DIR,
    timeout: Timeout = None,
    maker: With = "auto",
    skip_preflight: SkipPreflight = "",
    accept_unchecked: AcceptUnchecked = "",
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Make the network: VPC, node and pod vSwitches in each zone, NAT gateway with its EIP, security group.

    Where terraform or tofu is installed it makes the network at Alibaba Cloud, from the module that `saleops render terraform`
    writes, kept with its state in the state directory; --dry-run is then its plan. A network that its state does not hold, and
    every network on this machine, is the API's. A second run changes nothing. It costs money, so it asks first; --yes goes
    ahead. After a failure what was made stays, and the same command goes on.

    Examples:
      saleops provision network sale.yaml --dry-run
      saleops provision network sale.yaml --with api
      saleops provision network sale.yaml --endpoint-cloud local
    """
    flags = CloudFlags(profile, endpoint_cloud, region, state_dir)
    provision_groups(
        context_of(ctx),
        sale,
        flags,
        ("network",),
        command="network",
        dry_run=dry_run,
        yes=yes,
        timeout_s=timeout,
        maker=checked_maker(maker, flags),
        checking=Preflighting(skip_preflight, accept_unchecked),
    )


for _group in (*GROUPS, "all"):
    app.command(_group)(network if _group == "network" else _maker(_group))

app.command()(preflight)
app.command()(status)
app.command()(log)
app.command()(policy)


@app.command()
def destroy(
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
    timeout: Timeout = None,
    during_sale: Annotated[
        bool, typer.Option("--during-sale", help="Even while the sale is open.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Take away what SALE has in the cloud, last made first, and wait until it is gone. Data goes with it.

    Only what carries the sale's tag goes; left-overs that its files no longer name are found by the tag. Always asks, or needs
    --yes. Refused while the sale is open. At the end everything is looked for again.

    Examples:
      saleops provision destroy sale.yaml --dry-run
      saleops provision destroy sale.yaml --endpoint-cloud local --yes
    """
    for one in group or ():
        if one not in GROUPS:
            raise typer.BadParameter(f"--group knows {', '.join(GROUPS)}, not {one!r}")
    destroy_sale(
        context_of(ctx),
        Path(sale),
        CloudFlags(profile, endpoint_cloud, region, state_dir),
        tuple(group or ()),
        dry_run=dry_run,
        yes=yes,
        during_sale=during_sale,
        timeout_s=timeout,
    )


__all__ = ["app", "provision_brief", "provision_views"]
