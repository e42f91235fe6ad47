"""How long before the sale its pods have to be asked for.

The parts are summed as if none overlapped: nodes come in batches, then the image is pulled, the process starts, the load
balancer checks it and ramps it up. What comes out is doubled, and never below half an hour: the first thing that goes wrong has
to be seen and mended before the doors open.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from math import ceil

from saleops.domain.k8s.lifecycle import COLD_START_S

NODES_IN_BATCH = 100
BATCH_S = 120
"""A batch of up to 100 standard nodes (ACK's published timing for the cluster autoscaler)."""

NODE_MBPS = 1_000
REGISTRY_MBPS = 10_000
"""What the registry gives all nodes together, and what one node takes; on the careful side."""

ALB_LANDS_S = 10
LEAD_MIN_S = 30 * 60
ROUND_S = 5 * 60
HOLD_BEFORE_S = 15 * 60
"""The floor is asked for again this long before the sale: a controller that was down the first time catches nothing up."""

SETTLE_S = 15 * 60
"""After the sale: carts are paid and queues drain before anything gets smaller."""


@dataclass(frozen=True, slots=True)
class LeadTime:
    """Seconds, in the order they pass. ``lead_s`` is what is planned."""

    nodes_s: int
    pull_s: int
    start_s: int
    alb_s: int
    slow_start_s: int
    lead_s: int

    @property
    def sum_s(self) -> int:
        return self.nodes_s + self.pull_s + self.start_s + self.alb_s + self.slow_start_s

    @property
    def why(self) -> str:
        return (
            f"nodes {self.nodes_s} s + image {self.pull_s} s + start {self.start_s} s + load balancer {self.alb_s} s "
            f"+ slow start {self.slow_start_s} s = {self.sum_s} s; twice that, and {LEAD_MIN_S // 60} min at least, is "
            f"{self.lead_s // 60} min"
        )


def lead_time(
    *,
    nodes: int,
    image_mib: int,
    health_interval_s: int,
    health_threshold: int,
    slow_start_s: int,
    settle_payments_s: float = 0,
) -> LeadTime:
    """The lead for ``nodes`` new nodes and an image of ``image_mib`` (compressed)."""
    if nodes < 0 or image_mib < 1:
        raise ValueError(f"{nodes} nodes and an image of {image_mib} MiB are no plan")
    mbps = min(Fraction(NODE_MBPS), Fraction(REGISTRY_MBPS, max(nodes, 1)))
    megabits = Fraction(image_mib * 1024 * 1024 * 8, 1_000_000)
    batches = ceil(Fraction(nodes, NODES_IN_BATCH)) * BATCH_S
    alb_s = ALB_LANDS_S + health_threshold * health_interval_s
    parts = (batches, ceil(megabits / mbps), COLD_START_S, alb_s, slow_start_s)
    planned = max(2 * sum(parts), LEAD_MIN_S)
    return LeadTime(*parts, lead_s=ceil(Fraction(planned, ROUND_S)) * ROUND_S)


@dataclass(frozen=True, slots=True)
class Moments:
    """When the pods are asked for, asked for again, and given back. Aware times."""

    up: datetime
    hold: datetime
    down: datetime


def moments(
    opens: datetime, closes: datetime, lead: LeadTime, *, settle_s: float = SETTLE_S
) -> Moments:
    """``down`` lies after the close by what paying and draining take, on a whole minute."""
    up = (opens - timedelta(seconds=lead.lead_s)).replace(second=0, microsecond=0)
    hold = (opens - timedelta(seconds=HOLD_BEFORE_S)).replace(second=0, microsecond=0)
    after = closes + timedelta(seconds=max(settle_s, SETTLE_S))
    if after.second or after.microsecond:
        after = (after + timedelta(minutes=1)).replace(second=0, microsecond=0)
    return Moments(up, hold, after)
