"""``saleops provision status`` and ``log``: how a sale's cloud is, and what was done to get it there."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from saleops.cli.context import Context, context_of
from saleops.cli.documents import plain_of
from saleops.cli.engine_options import STATE_DIR, SaleFile
from saleops.cli.figures import counted
from saleops.cli.person import whoami
from saleops.cli.provision_session import (
    CloudFlags,
    CloudStateDir,
    EndpointCloud,
    ProfileFile,
    Region,
    Session,
    cloud_session,
    files_of,
    journal_file_of,
)
from saleops.domain.cloud.calls import Call
from saleops.errors import CloudError, ConfigError, GateFailed
from saleops.operations.provision.drift import words
from saleops.operations.provision.status import ProvisionStatus

REASON_MAX = 400
NAMED = 3
ENTRIES_MAX = 100_000


def status(
    ctx: typer.Context,
    sale: SaleFile,
    profile: ProfileFile = None,
    endpoint_cloud: EndpointCloud = None,
    region: Region = None,
    state_dir: CloudStateDir = STATE_DIR,
    accept: Annotated[
        bool, typer.Option("--accept", help="Let what has drifted stay as it is; needs --reason.")
    ] = False,
    reason: Annotated[
        str,
        typer.Option(
            "--reason", metavar="TEXT", help="Why; kept in the journal.", show_default=False
        ),
    ] = "",
) -> None:
    """Compare the cloud with what SALE wants: each resource's state, every field that was changed, what is missing or left over.

    Exits 3 when anything is not in order. --accept writes down who lets a changed field stay and why: it counts as in order
    until it changes again, and `saleops provision` leaves it alone.

    Examples:
      saleops provision status sale.yaml
      saleops provision status sale.yaml --accept --reason 'ticket 4711: more nodes for the rehearsal'
    """
    if accept != bool(reason.strip()):
        raise ConfigError(
            "--accept and --reason go together; nothing was done",
            hint="Example: --accept --reason 'ticket 4711'.",
        )
    if len(reason) > REASON_MAX:
        raise ConfigError(f"--reason takes {REASON_MAX} characters; nothing was done")
    context = context_of(ctx)
    flags = CloudFlags(profile, endpoint_cloud, region, state_dir)
    with cloud_session(context, sale, flags, command="status", writes=accept) as session:
        shown = _look(context, session, accept=reason.strip())
    context.screen.show(shown)
    _gate(shown, flags.again("all", sale), flags.again("status", sale))


def _look(context: Context, session: Session, *, accept: str) -> ProvisionStatus:
    """What the cloud shows; with ``accept``, the reason, after what has drifted was accepted."""
    from saleops.operations.provision.leftovers import find_leftovers
    from saleops.operations.provision.status import accept_drift, provision_status
    from saleops.operations.provision.survey import survey

    courier, resources = session.courier, session.blueprint.resources
    courier.settle()
    seen = survey(resources, courier.read, observe=context.screen.observe)
    where = {
        "sale": session.sale.name,
        "region": session.cloud.region,
    }
    strays = find_leftovers(courier.read, seen=seen, **where)

    def judged() -> ProvisionStatus:
        history = courier.journal.history
        return provision_status(resources, seen, strays, history, cloud=session.cloud.name, **where)

    shown = judged()
    if not accept:
        return shown
    count = accept_drift(
        shown,
        courier.journal,
        who=whoami(),
        identity=_identity(session),
        reason=accept,
        at=datetime.now(UTC),
    )
    if not count:
        context.screen.note(
            "nothing has drifted that was not accepted before: nothing was accepted"
        )
        return shown
    for row in shown.resources:
        for one in row.drift:
            if not one.accepted:
                said = f"{one.field} may stay {words(one.seen)} ({words(one.wanted)} is wanted)"
                context.screen.note(f"accepted: {row.kind} {row.name}: {said}")
    context.screen.note(f"{counted(count, 'field')} accepted, written to {session.journal_file}.")
    return judged()


def _identity(session: Session) -> str:
    """Who the cloud says we are; a person who may not ask is known by their machine alone."""
    try:
        answer = session.courier.read(Call("sts", "GetCallerIdentity"))
    except CloudError as error:
        if error.kind != "denied":
            raise
        return ""
    return str(answer.get("Arn", ""))


def _gate(shown: ProvisionStatus, again: str, status: str) -> None:
    if shown.in_order:
        return
    parts = []
    for standing in ("drifted", "missing", "failed", "foreign", "under way"):
        rows = shown.of(standing)
        if rows:
            parts.append(f"{len(rows):,} {standing}")
    if shown.leftovers:
        parts.append(f"{len(shown.leftovers):,} left over")
    drifted = [
        f"{row.kind} {row.name}: {one.field}" for row in shown.of("drifted") for one in row.drift
    ]
    named = f" ({', '.join(drifted[:6])})" if drifted else ""
    raise GateFailed(
        f"the cloud of {shown.sale} is not as wanted: {', '.join(parts)}{named}",
        hint=" ".join(_ways_back(shown, again, status)),
    )


def _ways_back(shown: ProvisionStatus, again: str, status: str) -> list[str]:
    """What brings it in order: each kind of trouble by what really helps."""
    ways = []
    mends = [
        row for row in shown.of("drifted") if not all(one.field in row.stays for one in row.drift)
    ]
    if mends or shown.of("missing", "under way"):
        ways.append(f"`{again}` brings back what calls can bring back.")
    if fixed := [row for row in shown.of("drifted") if row.stays]:
        named = "; ".join(f"{row.kind} {row.name}: {', '.join(row.stays)}" for row in fixed[:NAMED])
        ways.append(
            f"No call changes these, only a new one would have them ({named}): undo the change in the files, or destroy and "
            "make them anew."
        )
    if shown.of("drifted"):
        ways.append(f"`{status} --accept --reason TEXT` lets changed fields stay.")
    for row in shown.of("failed", "foreign")[:NAMED]:
        more = "rename it, or tag it as this sale's" if row.standing == "foreign" else row.problem
        ways.append(f"A person must look at {row.kind} {row.name} {row.id}: {more}.")
    if shown.leftovers:
        ids = ", ".join(one.id for one in shown.leftovers[:NAMED])
        ways.append(f"Nothing removes what is left over but a whole destroy, or you: {ids}.")
    return ways


def log(
    ctx: typer.Context,
    sale: SaleFile,
    profile: ProfileFile = None,
    endpoint_cloud: EndpointCloud = None,
    region: Region = None,
    state_dir: CloudStateDir = STATE_DIR,
    limit: Annotated[
        int,
        typer.Option(
            "--tail",
            "--limit",
            metavar="N",
            min=1,
            max=ENTRIES_MAX,
            help="Show at most so many writes, the last.",
        ),
    ] = 100,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only writes that were refused or are unresolved.")
    ] = False,
) -> None:
    """Show the journal of SALE: every writing call with its outcome, attempts and request id, and the totals.

    Only reads files; the cloud is not asked. With -o ndjson each write is a line of its own.

    Examples:
      saleops provision log sale.yaml --tail 20
      saleops provision log sale.yaml --failed --endpoint-cloud local -o json
    """
    from saleops.operations.provision.log import provision_log
    from saleops.wiring import cloud_journal_lines

    context = context_of(ctx)
    flags = CloudFlags(profile, endpoint_cloud, region, state_dir)
    loaded, built = files_of(sale, flags)
    path = journal_file_of(loaded, built, flags)
    shown = provision_log(
        cloud_journal_lines(path),
        sale=loaded.name,
        journal=str(path),
        limit=limit,
        failed_only=failed,
    )
    for entry in shown.entries:
        context.screen.emit({"type": "call", **plain_of(entry)})
    context.screen.show(shown)
