"""``saleops render k8s``: a sale's Kubernetes files."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from saleops.cli.context import context_of
from saleops.cli.engine_options import STATE_DIR, DryRun, SaleFile
from saleops.cli.figures import counted
from saleops.cli.provision_session import (
    CloudFlags,
    EndpointCloud,
    ProfileFile,
    files_of,
    journal_file_of,
)
from saleops.cli.sheets import Sheet, as_rich
from saleops.operations.render_k8s import KubernetesFiles, apply_render, plan_render

_WORDS = {"new": "write", "changed": "rewrite", "edited": "overwrite", "gone": "remove"}


def k8s(
    ctx: typer.Context,
    sale: SaleFile,
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="The folder to write.", show_default=False)
    ],
    profile: ProfileFile = None,
    images: Annotated[
        str,
        typer.Option(
            "--images",
            metavar="PREFIX",
            help="Registry and path of the images; else the profile's.",
            show_default=False,
        ),
    ] = "",
    pre_pull: Annotated[
        Literal["kruise", "daemonset"] | None,
        typer.Option(
            "--pre-pull",
            help="How images get to nodes early; else the profile's.",
            show_default=False,
        ),
    ] = None,
    proxysql: Annotated[
        bool | None,
        typer.Option(
            "--proxysql/--no-proxysql",
            help="Whether ProxySQL stands before the database; else the profile's.",
            show_default=False,
        ),
    ] = None,
    endpoint_cloud: EndpointCloud = None,
    state_dir: Annotated[
        Path,
        typer.Option(
            "--state-dir",
            metavar="DIR",
            envvar="SALEOPS_STATE_DIR",
            help="Where provision keeps its journal: the vSwitches are read from it.",
        ),
    ] = STATE_DIR,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite files that were edited.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Write SALE as Kubernetes files: services that scale before the doors open, drain cleanly and outlive their spot nodes.

    Every document is checked strictly before anything is written. No secret is written: Secrets are referenced, and
    secret.example.yaml shows their shape. README.md in the folder says how to apply it and where each number comes from.

    Examples:
      saleops render k8s sale.yaml --images registry.example.com/shop --to k8s
      saleops render k8s sale.yaml --profile profile.yaml --to k8s --dry-run
    """
    from saleops.operations.made_switches import made_vswitches
    from saleops.wiring import cloud_journal_lines

    context = context_of(ctx)
    flags = CloudFlags(profile, endpoint_cloud, None, state_dir)
    loaded, built = files_of(sale, flags)
    lines = cloud_journal_lines(journal_file_of(loaded, built, flags))
    plan = plan_render(
        loaded,
        built,
        to,
        images=images,
        prepull=pre_pull or "",
        proxysql=proxysql,
        vswitches=made_vswitches(lines),
        force=force,
    )
    result = plan.result if dry_run else apply_render(plan)
    context.screen.show(result)
    for note in result.notes:
        context.screen.note(note)
    if result.missing:
        context.screen.note(
            "load-balancer.yaml is not complete, see README.md: " + "; ".join(result.missing)
        )
    if result.written:
        context.screen.note(
            f"Next: read {to / 'README.md'}; saleops lint {to}; kubectl apply -k {to}"
        )


@as_rich.register
def _(result: KubernetesFiles) -> list[Sheet | str]:
    changes = [one for one in result.files if one.state != "same"]
    if not changes:
        return [f"no change: {counted(len(result.files), 'file')} in {result.folder} are as wanted"]
    sizes = [
        (one.name, one.base, one.peak, one.most, "on demand" if one.on_demand else "any")
        for one in result.workloads
    ]
    pods = Sheet(
        ("workload", "pods before", "at the sale", "at the most", "nodes"),
        sizes,
        title=f"{result.sale} from {result.scale_up_at} to {result.scale_down_at}",
    )
    rows = [(one.name, _WORDS.get(one.state, "keep"), one.state) for one in result.files]
    many = counted(len(changes), "file")
    done = (
        f"{many} written to {result.folder}"
        if result.written
        else f"{many} to write to {result.folder}; nothing was written"
    )
    return [pods, Sheet(("file", "do", "was"), rows), done]
