"""``saleops help TOPIC``: what no single command's page can say. ``saleops help COMMAND`` is that command's page.

A topic is plain text of at most 80 columns; its lines that are not indented are headings, bold on a terminal. The fast
path prints the rendered copies; this module answers what is not rendered.
"""

from difflib import get_close_matches
from typing import Annotated

import typer

from saleops.cli.commands import COMMANDS
from saleops.cli.context import context_of
from saleops.cli.terminal import wants_color

TOPICS: dict[str, str] = {
    "exit-codes": """\
Exit codes of every command

    0   done; for rehearse, loadtest and reconcile: GO, the ledger balances
    1   a bug in saleops; its traceback is in the file that the message names
    2   bad input or usage: a flag, an argument, a file; nothing was touched
    3   a verdict of rehearse, reconcile, loadtest, prewarm, mq, doctor, lint,
        provision or scale: it ran to its end and found problems, drift, missed
        objectives or NO-GO
    4   an outside system failed, refused us or timed out: Redis, the database,
        the broker, Alibaba Cloud, the cluster
    5   refused as unsafe, or a confirmation is needed: the hint names the flag
  130   interrupted by Ctrl-C (SIGINT)
  141   the reader of the pipe went away, as in `saleops ... | head`
  143   terminated (SIGTERM)

In scripts

  saleops reconcile sale.yaml || case $? in
      3) echo "the ledger does not balance" ;;
      *) echo "could not tell" ;;
  esac
""",
    "environment": """\
Variables of saleops

  A flag wins over a variable, a variable over a file, a file over the default.

  SALEOPS_REDIS_URL     the same as --redis: stock, pages, carts
  SALEOPS_DATABASE_URL  the same as --database: orders
  SALEOPS_BROKER_URL    the same as --broker: messages
  SALEOPS_REPLICA_URL   the same as --replica of serve: where orders are read
  SALEOPS_ROCKETMQ_ACCESS_KEY, SALEOPS_ROCKETMQ_SECRET_KEY
                        credentials for rocketmq://, where its URL has none
  SALEOPS_ENDPOINT_CLOUD  the same as --endpoint-cloud: local, or a URL
  SALEOPS_CLOUD_ENDPOINTS
                        PRODUCT=HOST,...: other hosts of Alibaba Cloud
  SALEOPS_STATE_DIR     the same as --state-dir: data of embedded engines
  SALEOPS_DATABASE_PASSWORD, SALEOPS_NODE_PASSWORD
                        what provision gives to the database account, and to
                        nodes where the profile names no key pair
  SALEOPS_YES           1: the same as --yes, for commands that ask

  SALEOPS_OUTPUT        the same as --output: table, json, yaml or ndjson
  SALEOPS_QUIET         1: the same as --quiet
  SALEOPS_COLOR         the same as --color: auto, always or never
  SALEOPS_DEBUG         1: the same as --debug
  SALEOPS_ASCII         1: no box characters and no marks beyond ASCII
  SALEOPS_LOG_LEVEL     of the services' logs: DEBUG, INFO, WARNING
  SALEOPS_FAULTS        for tests only: makes workers of serve fail on purpose

Variables of the terminal

  NO_COLOR          any text: no colour
  FORCE_COLOR       any text: colour in pipes too; NO_COLOR wins
  TERM              dumb: no colour, no progress bars
  COLUMNS           the width of tables and of a command's help page; topics
                    and `saleops --help` are 80 wide

Folders

  XDG_STATE_HOME    tracebacks of bugs go to $XDG_STATE_HOME/saleops
                    (default ~/.local/state/saleops)
""",
    "output": """\
Where output goes

  Results go to stdout, or to the file of --out. Everything else goes to stderr:
  progress, notes, questions, errors. -q leaves only results and errors.

Formats (-o, --output)

  table    for people: a table on a terminal; in a pipe tab-separated lines,
           never wrapped, no box characters
  json     one document; its first key is its schema, as in
           {"schema": "saleops/seed/v1", ...}; keys are stable within a version
  yaml     the same document as YAML
  ndjson   one JSON object a line, as things happen:
           {"type": "version", "ui": "1.0", "schema": "saleops/event/v1", ...}
           {"type": "started", "t": .., "task": .., "total": .., "unit": ..}
           {"type": "advanced", "t": .., "task": .., "done": .., "note": ..}
           {"type": "finished", "t": .., "task": .., "ok": .., "note": ..}
           {"type": "warned", "t": .., "message": .., "details": {...}}
           {"type": "result", "result": {"schema": .., ...}}
           An error ends the stream with {"type": "error", "error": {...}}.
           "done" is a running total, so a lost line loses nothing.

Errors

  error: what failed, and what was or was not changed
  hint:  what to do next

  With -o json the last line on stderr is the same as one JSON document:
  {"schema": "saleops/error/v1", "error": {"message", "hint", "exit_code"}}
  Where Alibaba Cloud failed it has "code", "request_id" and "retryable" too.

Progress

  On a terminal: bars with rate and time left. Elsewhere: one line when a task
  starts or ends, and one at most every 10 seconds between.
""",
    "config": """\
The sale file

  One YAML file names the sale, and every command takes it. Start with

    saleops init
    saleops schema > sale.schema.json     completion and checks in your editor

  Its mistakes are named at once, with file, line and a suggestion; once it is
  right, those of the items, 20 at a time. Nothing is touched (exit code 2).

What wins

  a flag, then a SALEOPS_* variable, then the sale file, then the default

Engines

  Without a URL the engines are embedded: Valkey, SQLite and a broker on
  Streams, kept in the state folder (--state-dir, default .saleops). A URL takes
  the real one: --redis redis://..., --database mysql://..., --broker ...

Secrets

  Passwords belong in the environment alone: SALEOPS_REDIS_URL,
  SALEOPS_DATABASE_URL, SALEOPS_BROKER_URL. A sale file with a password is
  refused, for it is shared. A flag with one is warned of, for other users of
  the machine can read the arguments of a process. saleops masks passwords of
  URLs in everything it prints.
""",
    "profile": """\
The profile: how a sale's cloud is built

  The sale file says what the sale needs (traffic, zones, pods); the profile how
  `saleops provision` builds it. profile.yaml beside the sale file is found by
  itself, --profile names another one. Without one everything has a default, but
  for what only you know: without a domain and an origin there is no edge.

    saleops init --profile                      writes one to start from
    saleops schema --profile                    every field, for your editor

One to paste

  apiVersion: saleops/profile/v1
  cluster:
    key_pair: my-key-pair             # to log in to nodes with
  nodes:
    instance_types: [ecs.c7.xlarge, ecs.g7.xlarge]
    price_limits: {ecs.c7.xlarge: 0.12, ecs.g7.xlarge: 0.15}  # of spot, an hour
  edge:
    domain: shop.example.com          # what buyers type
    origin: alb-shop.example.com      # the load balancer's DNS name

Secrets

  None in the file. SALEOPS_DATABASE_PASSWORD and SALEOPS_NODE_PASSWORD, or made
  up once and kept in the state folder, for you alone.
""",
    "words": """\
Words of saleops

  announce        send the message of a group commit: payment and shipping hear
                  of its orders
  buyer's limit   the units of a SKU that one buyer may hold, over all their
                  orders
  check-back      the broker asks how a half message ended, as its sender has
                  been silent
  dead letter     a message that a consumer gave up, with the reason: `saleops
                  dlq`
  discarded half  a half message that ran out of check-backs: `saleops mq
                  recheck`
  break           two engines disagree about a row; `reconcile` names each break
  epoch           the name of one seeding or rebuilding of the stock store;
                  workers that know another one stop selling
  fence           take an id for good, so that whoever comes later with it does
                  nothing
  group commit    orders that arrive together: one script call, one transaction,
                  one message
  guard           the condition in an UPDATE that refuses to sell more than
                  there is
  half message    a message that nobody sees until its sender says that the
                  orders are durable
  journal         who repaired, replayed, dropped or rebuilt what, in the orders
                  database
  loan            units that one shard of a SKU gives another that has run out
  orphan          a row whose other half is missing: a reservation without an
                  order, or the reverse
  reservation     units held for an order that is not durable yet; it lapses
  shard           one of several counters that a hot SKU is split over
  stray           a charge or a parcel of an order that should have none
  struck          said of a sale of the crash matrix: the fault did happen there
  surplus         units in the store that the seeding did not put there
  sweep           a worker's regular look for what was left behind, such as
                  lapsed reservations
  tombstone       the mark of a fenced id
  tx_id           the name of a group commit, in its half message and in the
                  database
""",
}

app = typer.Typer()


@app.command()
def show(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="TOPIC|COMMAND", help=f"{', '.join(TOPICS)}; or any command."),
    ] = None,
) -> None:
    """Explain a topic or a command.

    Examples:
      saleops help exit-codes
      saleops help prewarm
    """
    words = " ".join(
        words or ()
    ).split()  # `saleops help "dlq replay"` means the same without the quotes
    screen = context_of(ctx).screen
    if words and words[0] in TOPICS:
        screen.write(page_of(words[0], color=wants_color(screen.stdout, screen.color)))
        return
    if words and words[0] not in COMMANDS:
        known = [*TOPICS, *COMMANDS]
        close = get_close_matches(words[0], known)
        guess = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(known)}."
        raise typer.BadParameter(f"no topic or command {words[0]!r}. {guess}")
    from saleops.cli.main import root_command

    root_command().main([*words, "--help"], prog_name="saleops", standalone_mode=False)


def page_of(topic: str, *, color: bool) -> str:
    """The text of ``topic``, its headings bold if ``color``."""
    lines = TOPICS[topic].splitlines()
    if color:
        lines = [f"\x1b[1m{one}\x1b[0m" if one and one[0] != " " else one for one in lines]
    return "\n".join(lines) + "\n"
