"""The points of the order path, where a process may be killed or an engine may misbehave. See faults.py.

``ACTS`` names who does what, ``POINTS`` are its two sides, and ``fitting`` says what can strike at each.
"""

FITTING = {
    "before": ("kill", "lost-request", "slow", "late", "down"),
    "after": ("kill", "lost-reply", "twice", "slow", "down"),
}
"""What can strike on which side of an act. ``late`` is for messages: publish and commit."""

ACTS: dict[str, tuple[str, ...]] = {
    # A checkout: units, the half message, the transaction, the message, the counters; and what a batch that fails needs.
    "order": (
        "reserve", "lend", "borrow", "settle", "half", "place", "tx-state", "commit", "rollback",
        "confirm", "release", "orders", "orders-of",
    ),
    # What each order worker does beside it.
    "sweep": ("expired", "fence", "confirm", "release"),
    "epoch": ("read", "seed-state", "has-orders", "keep-marks", "marks"),
    "board": ("units-left", "buyers"),
    "loans": ("settle-transfers", "borrow", "settle"),
    "announce": ("unannounced",),
    "halves": ("discarded",),
    "checkback": ("tx-state",),
    # The consumers that follow an order.
    "payment": (
        "receive", "announced", "orders", "begin", "charge", "end", "publish-paid", "publish-deadline",
        "publish-retry", "retry", "ack",
    ),
    "shipping": ("receive", "ship", "orders", "publish-retry", "retry", "ack"),
    "deadline": (
        "receive", "cancel", "orders", "publish-deadline", "release", "publish-retry", "retry", "ack",
    ),
}  # fmt: skip

REPAIRS: dict[str, tuple[str, ...]] = {
    # The stock store is verified and, where that does not do, made anew.
    "rebuild": (
        "sale", "begin-rebuild", "hold", "every-order", "next-page", "reservations", "every-stock", "counts",
        "keep-marks", "clear", "begin-seed", "products", "seed", "restore", "finish-seed", "seed-state",
        "finish-sale", "write-journal",
    ),
    # A committed order's message that the broker lost is sent again.
    "announce": (
        "newest-announced-ms", "depth", "announce-again", "orders-of-tx", "half", "commit",
    ),
}  # fmt: skip
"""What is done after an engine lost something that it held."""


def _points(acts: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(
        f"{actor}.{act}.{side}"
        for actor, its in acts.items()
        for act in its
        for side in ("before", "after")
    )


POINTS, REPAIR_POINTS = _points(ACTS), _points(REPAIRS)

NEVER_TWICE = frozenset({"half", "next-page"})
"""A half message has a tx_id of its own, and a page of rows is read on from the one before: nobody asks twice."""

BEYOND = frozenset({"payment.bury", "shipping.bury", "deadline.bury"})
"""Acts with points that no sale passes: a message that nobody can handle."""


def fitting(point: str) -> tuple[str, ...]:
    """The actions that may strike at ``point``."""
    _, act, side = point.split(".")
    message = act == "commit" or act.startswith("publish")
    return tuple(
        action
        for action in FITTING[side]
        if not (action == "late" and not message) and not (action == "twice" and act in NEVER_TWICE)
    )
