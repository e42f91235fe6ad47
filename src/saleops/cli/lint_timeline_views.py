"""How a time line looks to people: what happens when, a chart of capacity and demand, what falls short."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from saleops.cli.figures import counted
from saleops.cli.sheets import Sheet, as_rich
from saleops.domain.lint.cron_objects import span_text
from saleops.operations.lint.timeline import EventRow, ServiceRow, ShortageRow, TimelineReport

EVENTS_SHOWN = 80
COLUMNS, ROWS = 72, 8


@dataclass(frozen=True)
class Chart:
    """Capacity as columns of #, demand as = where it is met and x where it is not. Each column shows its worst second.

    Half as much again as the most demand is the top: how much more capacity there is nobody needs to see.
    """

    row: ServiceRow
    title: str
    begin: str
    opens_t: str
    end: str

    def plain_lines(self) -> Iterator[str]:
        columns, top = _columns(self.row)
        yield self.title
        for level in range(ROWS, 0, -1):
            label = f"{top * level / ROWS:>10,.0f} |"
            yield label + "".join(_cell(one, level, top) for one in columns).rstrip()
        yield " " * 11 + "+" + "-" * COLUMNS
        mark = _column_of(self.row, 0)
        axis = [" "] * (COLUMNS + 30)
        for at, text in (
            (0, self.begin),
            (mark, self.opens_t),
            (COLUMNS - len(self.end), self.end),
        ):
            if at >= 0 and all(one == " " for one in axis[max(0, at - 1) : at + len(text) + 1]):
                axis[at : at + len(text)] = text
        yield " " * 12 + "".join(axis).rstrip()

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.text import Text

        for line in self.plain_lines():
            text = Text(line, no_wrap=True, overflow="crop")
            text.highlight_regex(r"(?<=\|).*", "dim")
            text.highlight_regex(r"x+(?=[^a-z]*$)", "bold red")
            yield text


def _span(row: ServiceRow) -> tuple[int, int]:
    return row.series[0][0], row.series[-1][0] + row.series[-1][1]


def _column_of(row: ServiceRow, second: int) -> int:
    begin, end = _span(row)
    return (second - begin) * COLUMNS // max(1, end - begin)


def _columns(row: ServiceRow) -> tuple[list[tuple[float, float]], float]:
    """(capacity, demand) of each column's worst second, and the top."""
    begin, end = _span(row)
    columns: list[tuple[float, float] | None] = [None] * COLUMNS
    top = 1.0
    for second, length, _, capacity, demand in row.series:
        top = max(top, demand * 1.5)
        first = (second - begin) * COLUMNS // max(1, end - begin)
        last = (second + length - 1 - begin) * COLUMNS // max(1, end - begin)
        for number in range(first, min(last, COLUMNS - 1) + 1):
            found = columns[number]
            if found is None or capacity - demand < found[0] - found[1]:
                columns[number] = (capacity, demand)
    filled: list[tuple[float, float]] = []
    for one in columns:
        filled.append(one or (filled[-1] if filled else (0.0, 0.0)))
    return filled, top


def _cell(column: tuple[float, float], level: int, top: float) -> str:
    """Of a row that stands for the figures in (level - 1, level] eighths of ``top``."""
    capacity, demand = (one * ROWS / top for one in column)
    if level - 1 < demand <= level and demand <= capacity:
        return "="
    if level - 1 < capacity and level <= capacity + 0.5:
        return "#"
    return "x" if level - 1 < demand and demand > capacity else " "


@as_rich.register
def _(report: TimelineReport) -> list[Any]:
    shown: list[Any] = []
    if report.events:
        rows = [_event(one) for one in report.events[:EVENTS_SHOWN]]
        shown.append(
            Sheet(
                ("clock", "T", "service", "what happens", "by"),
                rows,
                title=f"{report.sale}: opens {report.opens}, closes {report.closes} ({report.zone})",
                whole=("clock", "T"),
            )
        )
        if len(report.events) > EVENTS_SHOWN:
            shown.append(f"{len(report.events) - EVENTS_SHOWN:,} events more: -o json")
    judged = [one for one in report.services if one.judged and one.series]
    short = [one for one in judged if one.short_s]
    for one in short or judged[:1]:
        title = (
            f"{one.service}, requests a second: # capacity, = demand, x demand that finds no pod"
        )
        shown.append(
            Chart(one, title, report.start[11:16], f"T {report.opens[11:16]}", _end_clock(report))
        )
    shown.append(_services(report))
    if report.shortages:
        shown.append(
            Sheet(
                ("service", "from", "until", "for", "short by", "requests lost", "by"),
                [_shortage(one) for one in report.shortages],
                title="Demand exceeds capacity",
            )
        )
    if report.reclaim:
        shown.append(
            Sheet(
                (
                    "service",
                    "pods before",
                    "left",
                    "capacity/s",
                    "demand/s",
                    "ratio",
                    "back after",
                    "",
                ),
                [
                    (
                        one.service,
                        one.pods_before,
                        one.pods_left,
                        f"{one.capacity_rps:,.0f}",
                        f"{one.demand_rps:,.0f}",
                        "-" if one.ratio is None else f"{one.ratio:.2f}",
                        "never" if one.back_after_s is None else span_text(one.back_after_s),
                        "GO" if one.go else "NO-GO",
                    )
                    for one in report.reclaim
                ],
                title=f"After the reclaim at {report.reclaim[0].at}",
            )
        )
    if report.reactive:
        shown.append(
            Sheet(
                ("service", "step", "pods before", "pods wanted", "HPA alone", "pods there before"),
                [
                    (
                        one.service,
                        f"{one.factor:g}x",
                        one.pods_before,
                        one.pods,
                        f"{span_text(one.hpa_seconds)} short",
                        f"{span_text(one.prescaled_seconds)} short",
                    )
                    for one in report.reactive
                ],
                title="Why an HPA alone is too late: seconds in which demand exceeds capacity",
            )
        )
    if report.waves:
        shown.append(
            Sheet(
                ("wave", "from", "until", "pages", "most a second", "at"),
                [
                    (
                        one.number,
                        one.begin[11:19],
                        one.end[11:19],
                        f"{one.pages:,}",
                        f"{one.worst_per_s:,.1f}",
                        one.worst_at[11:19],
                    )
                    for one in report.waves
                ],
                title="Cached pages expire, if a prewarm fills them at the opening",
            )
        )
    shown.append("\n".join(report.notes))
    shown.extend(f"Cannot be judged: {one}" for one in report.unjudged)
    said = "GO: capacity meets demand while the sale is open" if report.go else "NO-GO"
    shown.append(said)
    return shown


def _event(one: EventRow) -> tuple[object, ...]:
    return (
        one.at[11:19],
        t_text(one.t_s),
        one.service or "-",
        f"{one.kind}: {one.text}",
        one.cause,
    )


def t_text(seconds: int) -> str:
    """``T-00:36:30``, ``T+00:02:00``."""
    minutes, left = divmod(abs(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"T{'-' if seconds < 0 else '+'}{hours:02}:{minutes:02}:{left:02}"


def _end_clock(report: TimelineReport) -> str:
    from datetime import datetime, timedelta

    begin = datetime.fromisoformat(report.start.replace(" +", "+").replace(" -", "-"))
    return f"{begin + timedelta(seconds=report.seconds):%H:%M}"


def _services(report: TimelineReport) -> Sheet:
    return Sheet(
        ("service", "pods", "least", "most", "planned", "peak/s", "short", "from"),
        [
            (
                one.service,
                one.pods_first,
                one.pods_least,
                one.pods_most,
                one.pods_planned if one.pods_planned is not None else "-",
                f"{one.peak_rps:,.0f}" if one.peak_rps else "-",
                span_text(one.short_s) if one.short_s else "-" if one.judged else "not judged",
                one.source,
            )
            for one in report.services
        ],
        title=f"{counted(len(report.services), 'service')} over {span_text(report.seconds)}",
    )


def _shortage(one: ShortageRow) -> tuple[object, ...]:
    when = "" if one.inside else " (the sale is closed)"
    return (
        one.service,
        one.begin[11:19] + when,
        one.end[11:19],
        span_text(one.seconds),
        f"{one.worst_rps:,.0f}/s",
        f"{one.lost:,.0f}",
        one.cause,
    )
