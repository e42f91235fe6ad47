"""What consumers count, as Prometheus text: one family of figures for all the consumers of a process."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from saleops.services.consumer import Consumer


def metrics_text(consumers: "Sequence[Consumer]") -> str:
    """The Prometheus text of all the consumers of a process."""
    figures = (
        ("messages_total", "counter", "Messages received.", lambda c: c.messages),
        ("orders_done_total", "counter", "Orders handled.", lambda c: c.orders_done),
        ("orders_retried_total", "counter", "Orders sent to retry.", lambda c: c.orders_retried),
        ("orders_dead_total", "counter", "Orders dead-lettered here.", lambda c: c.orders_dead),
        (
            "messages_dead_total",
            "counter",
            "Unreadable messages dead-lettered.",
            lambda c: c.messages_dead,
        ),
        (
            "messages_put_off_total",
            "counter",
            "Messages that met an outage.",
            lambda c: c.messages_put_off,
        ),
        ("up", "gauge", "1 while the loop gets on.", lambda c: 0 if c.trouble else 1),
    )
    lines: list[str] = []
    for name, kind, help_text, value in figures:
        lines += [
            f"# HELP saleops_consumer_{name} {help_text}",
            f"# TYPE saleops_consumer_{name} {kind}",
        ]
        lines += [
            f'saleops_consumer_{name}{{topic="{c.topic}",group="{c.group}"}} {value(c)}'
            for c in consumers
        ]
    return "\n".join(lines) + "\n"
