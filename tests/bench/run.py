"""``make bench``: measure everything beside its twin and write docs/benchmarks.md.

    python tests/bench/run.py                       all of it, ten minutes or so
    python tests/bench/run.py --short               small sizes, to see that it runs; writes no page
    python tests/bench/run.py --only seeding start  some of it; writes no page
    python tests/bench/run.py --only memory --out somewhere.md

A bench is no test: it ends with 0 when goals are missed, and says which. It ends with 2 when a tool is missing, before
anything is measured, and with 1 when something could not be measured; then the page stays as it was.
"""

import argparse
import importlib.util
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
sys.path[:0] = [str(HERE), str(HERE.parent)]  # this folder's modules, and servers.py of the tests
os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])

from rows import Row, page  # noqa: E402 # the line before makes it found

INSTALL = {
    "redis-server": "apt-get install redis-server",
    "redis-cli": "apt-get install redis-tools",
    "mariadbd": "apt-get install mariadb-server",
    "wrk": "apt-get install wrk",
    "java": "make services",
    "taskset": "apt-get install util-linux",
}
"""Commands we need. Python packages that we need are all in the ``bench`` and ``dev`` groups of pyproject.toml."""

PACKAGES_HINT = "make bench, or: pip install --group dev --group bench"


@dataclass(frozen=True)
class Options:
    folder: Path
    short: bool
    order_workers: int | None

    def size(self, full: int, short: int) -> int:
        return short if self.short else full


@dataclass(frozen=True)
class Bench:
    """Measures one or more rows. ``needs`` names commands and packages."""

    measure: Callable[[Options], Row | list[Row]]
    needs: tuple[str, ...] = ()


# Each imports its module when it runs: whoever asks for one row needs the tools of that row alone.


def _durable(options: Options) -> Row:
    from orders import durable_orders

    seconds = options.size(20, 5)
    return durable_orders(options.folder, seconds=seconds, count=options.order_workers)


def _rocketmq(options: Options) -> Row:
    from orders import durable_orders_rocketmq

    seconds = options.size(20, 5)
    return durable_orders_rocketmq(options.folder, seconds=seconds, count=options.order_workers)


def _embedded(options: Options) -> Row:
    from orders import durable_orders_embedded

    seconds = options.size(20, 5)
    return durable_orders_embedded(options.folder, seconds=seconds, count=options.order_workers)


def _sold_out(options: Options) -> Row:
    from orders import sold_out

    return sold_out(options.folder, seconds=options.size(10, 3))


def _seeding(options: Options) -> Row:
    from seeding import seeding

    return seeding(options.folder, count=options.size(400_000, 50_000))


def _prewarm(options: Options) -> Row:
    from prewarm_rate import prewarm_rate

    return prewarm_rate(count=options.size(200_000, 20_000), twin_count=options.size(10_000, 1_000))


def _memory(options: Options) -> list[Row]:
    from memory import memory

    return memory(options.folder, count=options.size(1_000_000, 20_000))


def _stampede(_options: Options) -> Row:
    from stampede import stampede

    return stampede()


def _start(options: Options) -> list[Row]:
    from start_up import start_up

    return start_up(options.folder, rounds=options.size(40, 5))


def _lint(options: Options) -> Row:
    from linting import linting

    return linting(options.folder, count=options.size(1_000, 100), rounds=options.size(5, 1))


ORDER_TOOLS = ("redis-server", "wrk", "fastapi", "uvicorn", "sqlalchemy")
BENCHES = {
    "durable": Bench(_durable, (*ORDER_TOOLS, "mariadbd")),
    "rocketmq": Bench(_rocketmq, (*ORDER_TOOLS, "mariadbd", "java", "rocketmq")),
    "embedded": Bench(_embedded, ORDER_TOOLS),
    "sold-out": Bench(_sold_out, (*ORDER_TOOLS, "taskset")),
    "seeding": Bench(_seeding, ("redis-server", "redis-cli")),
    "prewarm": Bench(_prewarm, ("redis-server", "mariadbd")),
    "memory": Bench(_memory, ("redis-server", "mariadbd")),
    "stampede": Bench(_stampede, ("redis-server",)),
    "start": Bench(_start),
    "lint": Bench(_lint),
}


def main(arguments: Sequence[str]) -> int:
    given = _parse(arguments)
    names = given.only or list(BENCHES)
    if missing := _missing(names):
        print(
            "error: this bench needs what is not installed; nothing was measured", file=sys.stderr
        )
        for line in missing:
            print(f"hint:  {line}", file=sys.stderr)
        return 2
    busy = os.getloadavg()[0]
    if busy > 0.5:
        print(
            f"warning: the machine is busy (load {busy:.1f}); figures will be low", file=sys.stderr
        )
    rows, failed = _measure(names, given)
    missed = [row.what for row in rows if row.ok is False]
    print(
        f"\n{len(rows)} rows, {len(missed)} missed the goal"
        + "".join(f"\n  ✗ {what}" for what in missed)
    )
    if failed:
        print(f"error: not measured: {', '.join(failed)}; no page was written", file=sys.stderr)
        return 1
    if out := given.out or (None if given.only or given.short else PAGE):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page(rows), encoding="utf-8")
        print(f"wrote {out}")
    else:
        print("no page was written: this was a part (--out FILE writes one)")
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measure saleops beside its twins and write docs/benchmarks.md."
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=list(BENCHES), help=", ".join(BENCHES)
    )
    parser.add_argument("--short", action="store_true", help="small sizes: does it run at all")
    parser.add_argument(
        "--out", type=Path, help="the page; docs/benchmarks.md if all of it is measured"
    )
    parser.add_argument(
        "--order-workers",
        type=int,
        choices=range(1, 17),
        metavar="N",
        help="processes that take orders, ours and the twin's; else the better of 1 and 2 for each",
    )
    return parser.parse_args(arguments)


def _missing(names: Sequence[str]) -> list[str]:
    """A line for each tool that is not here: its name and what installs it."""
    needs = dict.fromkeys(need for name in names for need in BENCHES[name].needs)
    lines = []
    for need in (*needs, "pytest"):  # servers.py of the tests imports pytest
        if need in INSTALL:
            if shutil.which(need) is None:
                lines.append(f"{need}: {INSTALL[need]}")
        elif importlib.util.find_spec(need) is None:
            lines.append(f"the Python package {need}: {PACKAGES_HINT}")
    return lines


def _measure(names: Sequence[str], given: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """All rows, a line printed for each, and the names of those that failed."""
    rows: list[Row] = []
    failed: list[str] = []
    for name in names:
        started = time.monotonic()
        print(f"{name} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="saleops-bench-") as folder:
            options = Options(Path(folder), given.short, given.order_workers)
            try:
                found = BENCHES[name].measure(options)
            except Exception as error:  # noqa: BLE001 # one that fails must not cost the others
                print(f"error: {name}: {type(error).__name__}: {error}", file=sys.stderr)
                failed.append(name)
                continue
        found = found if isinstance(found, list) else [found]
        for row in found:
            print(line(row), flush=True)
        rows += found
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return rows, failed


def line(row: Row) -> str:
    mark = {True: "✓", False: "✗", None: " "}[row.ok]
    beside = f" | {row.twin} | {row.ratio}" if row.twin else ""
    return f"{mark} {row.what}: {row.ours}{beside} (goal {row.goal})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
