"""The crash matrix: every point, every action that fits there, and seeds without end.

A case is made of its seed, its point and its action alone, so these three replay it. Points that a quiet sale never
passes (check-back, an expired reservation, a loan cut in two) get a second fault that leads there.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sale import Verdict
from sale import play as play_sale
from world import Loss, Makers

from saleops.adapters.fault_points import POINTS, REPAIR_POINTS, fitting
from saleops.config.settings import Fault

WAYS: dict[str, tuple[tuple[str, str], ...]] = {
    "checkback.": (
        ("order.place.before", "kill"),
        ("order.half.after", "kill"),
        ("order.commit.before", "lost-request"),
        ("order.half.after", "lost-reply"),
    ),
    "sweep.fence": (
        ("order.half.before", "lost-request"),
        ("order.reserve.after", "kill"),
        ("order.confirm.before", "kill"),
    ),
    "sweep.confirm": (("order.confirm.before", "lost-request"), ("order.confirm.before", "kill")),
    "sweep.release": (("order.half.before", "lost-request"), ("order.reserve.after", "kill")),
    "order.rollback": (("order.place.before", "lost-request"),),
    "order.tx-state": (("order.place.after", "lost-reply"),),
    "order.release": (("order.half.before", "slow"),),
    "loans.borrow": (("order.lend.after", "kill"), ("order.borrow.before", "lost-request")),
    "loans.settle.": (("order.borrow.after", "kill"), ("order.settle.before", "lost-request")),
    "payment.retry": (("payment.begin.before", "lost-request"),),
    "shipping.retry": (("shipping.ship.before", "lost-request"),),
    "deadline.retry": (("deadline.cancel.before", "lost-request"),),
    "shipping.publish-retry": (("shipping.ship.before", "down"),),
    "deadline.publish-retry": (("deadline.cancel.before", "down"),),
    "deadline.publish-deadline": (("payment.charge.after", "kill"), ("payment.end.before", "slow")),
    "": (
        ("order.place.after", "lost-reply"),
        ("order.commit.before", "kill"),
        ("order.reserve.after", "lost-reply"),
        ("order.half.before", "slow"),
        ("payment.charge.after", "kill"),
        ("sweep.expired.after", "slow"),
    ),
}
"""Where a point begins with this, one of these strikes first. The last is for all others, now and then."""

LENGTHS_MS = (300, 2_500, 8_000, 14_000)
REPAIR_LENGTHS_MS = (
    300,
    2_500,
    8_000,
    25_000,
)  # a rebuild that stands still for 15 s is taken over

LOSS_MOMENTS = (
    "order.reserve.after",
    "order.half.after",
    "order.place.before",
    "order.place.after",
    "order.confirm.before",
    "order.commit.after",
    "deadline.cancel.after",
    "payment.begin.after",
)

BESIDE: tuple[tuple[tuple[str, str], ...], ...] = (
    (),
    (),
    (("order.place.before", "slow"),),
    (("order.place.before", "slow"), ("order.place.after", "kill")),
    (("order.place.after", "slow"),),
    (("order.reserve.after", "kill"),),
    (("rebuild.restore.after", "kill"), ("rebuild.begin-rebuild.after", "slow")),
    (("rebuild.hold.after", "slow"),),
)
"""What else goes wrong beside a repair: an order that is on its way all through it, one whose worker dies then, another
repair that fails or comes too late."""


@dataclass(frozen=True)
class Case:
    """One sale of the matrix. ``seed``, ``point`` and ``action`` make all of it."""

    seed: int
    point: str
    action: str

    @property
    def loss(self) -> Loss | None:
        """What an engine loses, where the point lies in the repair of it."""
        if self.point not in REPAIR_POINTS:
            return None
        rng = random.Random(f"{self.seed} {self.point} {self.action} loss")
        if self._outlived:
            return Loss(
                "deadline.cancel.after", at=rng.choice((1, 2)), saved_at=rng.choice((1, 2, 4))
            )
        if self.point.startswith("announce."):
            return Loss("", at=rng.choice((1, 2, 3)), what="message")
        moment, at = rng.choice(LOSS_MOMENTS), rng.choice((1, 2, 2, 3, 5))
        if self._verifies and rng.random() < 0.3:
            return Loss(moment, at, what="nothing")
        # A store that lost all of it is not verified first, so there nothing is compared.
        saved_at = rng.choice((1, 2, 4)) if self._verifies or rng.random() < 0.3 else 0
        return Loss(moment, at, saved_at=saved_at)

    @property
    def _verifies(self) -> bool:
        act = self.point.split(".")[1]
        return act in ("next-page", "every-order", "reservations", "counts")

    @property
    def _outlived(self) -> bool:
        """Whether an order's worker hears of its commit only after the order was cancelled and the store rebuilt."""
        rng = random.Random(f"{self.seed} {self.point} {self.action} outlived")
        return self.point.startswith("rebuild.") and rng.random() < 0.15

    @property
    def _repair_faults(self) -> tuple[Fault, ...]:
        rng = random.Random(f"{self.seed} {self.point} {self.action}")
        length_ms = rng.choice(REPAIR_LENGTHS_MS)
        main = Fault(
            point=self.point,
            action=self.action,
            at=rng.choice((1, 1, 1, 1, 2)),
            length_ms=length_ms,
        )
        if self._outlived:
            late = Fault(
                point="order.place.after", action="slow", at=rng.choice((1, 2, 3)), length_ms=25_000
            )
            return (late, main)
        beside = [
            Fault(point=point, action=action, at=at, length_ms=rng.choice(LENGTHS_MS[2:]))
            for at in (rng.choice((1, 2, 3)),)
            for point, action in rng.choice(BESIDE)
            if point != self.point
        ]
        return (*beside, main)

    @property
    def faults(self) -> tuple[Fault, ...]:
        if self.point in REPAIR_POINTS:
            return self._repair_faults
        rng = random.Random(f"{self.seed} {self.point} {self.action}")
        main = Fault(
            point=self.point,
            action=self.action,
            at=rng.choice((1, 1, 1, 2, 2, 3, 5)),
            length_ms=rng.choice(LENGTHS_MS),
        )
        way = next(ways for start, ways in WAYS.items() if self.point.startswith(start))
        if way is WAYS[""]:
            if rng.random() < 0.7:
                return (main,)
            at = rng.choice((1, 2, 3))
        else:
            main = Fault(
                point=main.point,
                action=main.action,
                at=rng.choice((1, 1, 1, 2)),
                length_ms=main.length_ms,
            )
            at = rng.choice((1, 1, 2))
        point, action = rng.choice(way)
        return (
            Fault(point=point, action=action, at=at, length_ms=rng.choice(LENGTHS_MS[2:])),
            main,
        )

    def play(self, makers: Makers | None = None) -> Verdict:
        return play_sale(self.seed, self.faults, makers, self.loss)

    @property
    def replay(self) -> str:
        return f"make crash SEED={self.seed} POINT={self.point} ACTION={self.action}"


def cases(
    *, first_seed: int = 1, points: Sequence[str] = POINTS, actions: Sequence[str] = ()
) -> Iterator[Case]:
    """Round after round over all points and actions, without end; each case has a seed of its own."""
    pairs = [
        (point, action)
        for point in points
        for action in fitting(point)
        if not actions or action in actions
    ]
    seed = first_seed
    while pairs:
        random.Random(seed).shuffle(pairs)  # a run that is cut short has seen a bit of everything
        for point, action in pairs:
            yield Case(seed, point, action)
            seed += 1


def short_matrix(seeds: int) -> Iterator[Case]:
    """Every point under ``seeds`` seeds, each time with one of the actions that fit."""
    for turn in range(seeds):
        for place, point in enumerate(POINTS):
            actions = fitting(point)
            yield Case(
                turn * len(POINTS) + place + 1, point, actions[(turn + place) % len(actions)]
            )
