"""Why an HPA alone is too late: the same step of demand met by the control loop, and by pods that are there beforehand."""

from dataclasses import dataclass, replace
from math import ceil

from saleops.domain.timeline.model import Hpa, Scenario, Service
from saleops.domain.timeline.series import shortages, stretches
from saleops.domain.timeline.simulate import simulate

TARGET = 0.7
"""Share of a pod's capacity that an HPA is taken to aim at, where the manifests have none."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Seconds of overload after the opening with the HPA alone, and with ``pods`` there beforehand."""

    service: str
    factor: float
    pods_before: int
    pods: int
    hpa_seconds: int
    hpa_lost: float
    prescaled_seconds: int


def compare(service: Service, *, opens_s: int, closes_s: int, pods: int) -> Comparison | None:
    """For one service, on nodes that are there: what is left is the loop's own pace and the start of pods.

    None where nobody measured a pod or the demand is not known.
    """
    demand = service.demand
    if demand is None or not service.rps_per_pod or closes_s <= opens_s:
        return None
    hpa = service.hpa
    before_rps, peak_rps = demand.at(max(0, opens_s - 1)), demand.peak
    low = max(1, hpa.low if hpa else 1, ceil(before_rps / (service.rps_per_pod * TARGET)))
    pods = max(pods, ceil(peak_rps / service.rps_per_pod))
    loop = replace(
        hpa or Hpa("", low, pods), low=min(low, pods), high=max(pods, hpa.high if hpa else 0)
    )
    alone = replace(service, pods=low, hpa=loop, runs=())
    there = replace(service, pods=pods, hpa=None, runs=())
    seconds = [_overload(one, closes_s) for one in (alone, there)]
    return Comparison(
        service.name,
        round(peak_rps / before_rps, 1) if before_rps else 0.0,
        low,
        pods,
        seconds[0][0],
        seconds[0][1],
        seconds[1][0],
    )


def _overload(service: Service, closes_s: int) -> tuple[int, float]:
    outcome = simulate(Scenario(closes_s, (service,)))
    course = outcome.courses[0]
    found = shortages(outcome, course, stretches(course, closes_s))
    return sum(one.seconds for one in found), sum(one.lost for one in found)
