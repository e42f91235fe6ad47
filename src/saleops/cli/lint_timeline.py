"""``saleops lint timeline``: capacity against demand around a sale, second by second."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saleops.cli.context import context_of
from saleops.errors import ConfigError, GateFailed

if TYPE_CHECKING:
    from saleops.domain.timeline.model import Reclaim

_SPAN = re.compile(r"([+-]?)([0-9]{1,7})(s|m|min|h|d)?")
_UNITS = {None: 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)%")


def timeline(
    ctx: typer.Context,
    sale: Annotated[Path, typer.Argument(metavar="SALE", help="The sale file.")],
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Files and folders; - is standard input."),
    ],
    profile: Annotated[
        Path | None,
        typer.Option("--profile", metavar="FILE", help="Its profile; else profile.yaml beside it."),
    ] = None,
    before: Annotated[
        str, typer.Option("--before", metavar="SPAN", help="How long before the opening to begin.")
    ] = "2h",
    after: Annotated[
        str, typer.Option("--after", metavar="SPAN", help="How long after the close to end.")
    ] = "2h",
    reclaim: Annotated[
        str | None,
        typer.Option(
            "--reclaim", metavar="SHARE", help="What if so much of the spot nodes is lost: 30%."
        ),
    ] = None,
    at: Annotated[
        str,
        typer.Option("--at", metavar="SPAN", help="When --reclaim strikes, from the opening."),
    ] = "+60s",
    stdin_name: Annotated[
        str, typer.Option("--stdin-name", metavar="NAME", help="What - is called.")
    ] = "stdin",
) -> None:
    """Run the hours around SALE with what PATH deploys, second by second: capacity against demand.

    Every CronHPA job as its controller reads it, HPAs, node pools, pod starts and drains, and what caused a shortage.

    `saleops lint --timeline SALE PATH...` is the same. Services that PATH lacks are taken as the sale plans them. Exits 3
    when demand exceeds capacity while the sale is open, when --reclaim leaves too little, or when a service cannot be judged:
    its CronHPA has a job that is refused, or scales what PATH lacks; a file cannot be read; PATH has no workload.

    Examples:
      saleops lint timeline sale.yaml k8s/
      saleops lint timeline sale.yaml k8s/ --reclaim 30% --at +60s
      saleops lint timeline sale.yaml k8s/ -o json
    """
    import sys

    from saleops.cli import lint_timeline_views  # noqa: F401  # registers how the report looks
    from saleops.config.sale import load_sale
    from saleops.domain.lint.fleet import Fleet
    from saleops.operations.lint.reading import parse_texts, read_paths
    from saleops.operations.lint.sale_facts import read_facts
    from saleops.operations.lint.timeline import timeline as run
    from saleops.operations.lint.timeline_scenario import UNREAD

    context = context_of(ctx)
    strike = _reclaim(reclaim, at)
    loaded = load_sale(sale)
    facts = read_facts(sale, profile, now=datetime.now(UTC))
    texts = read_paths(paths, stdin=lambda: sys.stdin.buffer.read(), stdin_name=stdin_name)
    parsed = parse_texts(texts)
    for trouble in parsed.troubles:
        if trouble.id in UNREAD:
            continue  # the report says it
        context.screen.note(f"{trouble.document.file}: {trouble.message}")
    report = run(
        loaded,
        Fleet(tuple(parsed.documents), sale=facts, troubles=tuple(parsed.troubles)),
        before_s=span_s(before, "--before"),
        after_s=span_s(after, "--after"),
        reclaim=strike,
        pages=loaded.items_source.summary().items_count,
    )
    context.screen.show(report)
    if not report.go:
        said = report.findings()
        raise GateFailed(
            "\n".join(said),
            hint=report.hint(),
        )


def with_timeline_first(args: list[str]) -> list[str]:
    """``--timeline SALE`` as the command it is, what else there is behind it; other arguments as they are."""
    for number, one in enumerate(args):
        if one == "--":
            break
        if one == "--timeline":
            return ["timeline", *args[number + 1 : number + 2], *args[:number], *args[number + 2 :]]
        if one.startswith("--timeline="):
            return ["timeline", one.partition("=")[2], *args[:number], *args[number + 1 :]]
    return args


def span_s(text: str, flag: str, *, signed: bool = False) -> int:
    """Seconds of ``2h``, ``90m``, ``+60s``. Raises ConfigError."""
    found = _SPAN.fullmatch(text.strip())
    if found is None or (found[1] and not signed):
        raise ConfigError(
            f"{flag} {text!r} is no span of time",
            hint=f"Write {flag} {'+60s' if signed else '2h'}: a number with s, m, h or d.",
        )
    seconds = int(found[2]) * _UNITS[found[3]]
    return -seconds if found[1] == "-" else seconds


def _reclaim(share: str | None, at: str) -> "Reclaim | None":
    from saleops.domain.timeline.model import Reclaim

    if share is None:
        return None
    found = _SHARE.fullmatch(share.strip())
    if found is None or not 0 < float(found[1]) <= 100:
        raise ConfigError(
            f"--reclaim {share!r} is no share", hint="Write a percentage up to 100%: --reclaim 30%."
        )
    return Reclaim(float(found[1]) / 100, span_s(at, "--at", signed=True))
