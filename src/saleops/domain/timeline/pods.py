"""The pods of one service while a scenario runs: who waits, starts, serves and goes."""

from bisect import bisect_right

from saleops.domain.timeline.autoscaler import Loop
from saleops.domain.timeline.model import Count, Run, Service, Serving


class Pods:
    """The pods of one service. ``serving`` and ``ramps`` include those that are deleted but still answer."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.wanted = 0
        self.pending = 0
        self.batches: list[list[int]] = []  # [second they will serve, pods]
        self.leaving = 0
        self.lost_leaving = 0
        self.made = 0
        self.gone = 0
        self.full = 0
        self.ramps: list[list[int]] = []  # [second they began, pods]
        self.loop = (
            Loop(service.hpa, service.hpa.low, service.hpa.high)
            if service.hpa is not None
            else None
        )
        self.look_at: int | None = None
        self.standing: list[
            Run
        ] = []  # the latest runs of CronHPA jobs, with the seconds in which they come again
        self.again_at: int | None = None
        self.servings: list[Serving] = []
        self.counts: list[Count] = []

    @property
    def starting(self) -> int:
        return sum(pods for _, pods in self.batches)

    @property
    def ready(self) -> int:
        return self.wanted - self.pending - self.starting

    def comes_again(self, second: int) -> int | None:
        """When the standing order is written next after ``second``; None if it is not, or was asked for already."""
        seconds = self.standing[0].again if self.standing else ()
        at = bisect_right(seconds, second)
        if at == len(seconds) or seconds[at] == self.again_at:
            return None
        self.again_at = seconds[at]
        return self.again_at

    def settle(self, second: int) -> None:
        """Slow starts that are over count as full."""
        slow = self.service.times.slow_start_s
        self.full += sum(pods for began, pods in self.ramps if began + slow <= second)
        self.ramps = [one for one in self.ramps if one[0] + slow > second]

    def stop_serving(self, second: int, pods: int) -> None:
        """The newest of those that serve go first, so that a slow start never counts for pods that have gone."""
        self.settle(second)
        while pods and self.ramps:
            off = min(pods, self.ramps[-1][1])
            self.ramps[-1][1] -= off
            pods -= off
            if not self.ramps[-1][1]:
                self.ramps.pop()
        self.full -= pods

    def note(self, second: int) -> None:
        self.settle(second)
        serving = Serving(second, self.full, tuple((began, pods) for began, pods in self.ramps))
        if self.servings and self.servings[-1].second == second:
            self.servings.pop()
        self.servings.append(serving)
        self.counts.append(
            Count(
                second,
                self.wanted,
                self.pending,
                self.starting,
                self.ready,
                self.leaving,
                self.made,
                self.gone,
            )
        )
