"""What the results of ``saleops scale`` come to: NO-GO and what is short, as errors with exit code 3."""

from typing import TYPE_CHECKING

from saleops.errors import GateFailed

if TYPE_CHECKING:
    from saleops.operations.scale.plan import ScalePlanned
    from saleops.operations.scale.up import ScaledUp

NAMED = 6


def judge_plan(shown: "ScalePlanned") -> None:
    if shown.verdict == "GO":
        return
    lines = [
        f"{one.what}: {one.note}"
        if one.verdict == "missing"
        else f"{one.what} had to start by {one.latest_start} ({one.t_minus}); it is {shown.clock}"
        for one in shown.late
    ]
    raise GateFailed(
        f"NO-GO for {shown.sale}: {some(lines)}",
        hint="`saleops scale explain SALE` shows the arithmetic; what is late helps all the same: `saleops scale up SALE`.",
    )


def judge_up(report: "ScaledUp") -> None:
    if not report.ready:
        raise GateFailed(
            f"{report.sale} is not at its size: {shortfall(report)}",
            hint="What was asked for stays. Run the same command again: it waits on.",
        )


def shortfall(report: "ScaledUp") -> str:
    lines = [str(one) for one in report.short]
    lines += [
        f"{one.what}: {one.why or 'not begun'}"
        for one in report.steps
        if one.result in ("skipped", "failed", "not begun")
    ]
    return some(lines)


def some(lines: list[str]) -> str:
    more = f"\nand {len(lines) - NAMED:,} more" if len(lines) > NAMED else ""
    return "\n".join(lines[:NAMED]) + more
