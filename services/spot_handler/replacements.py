"""The surge as a part of a drain: what is raised, what is recorded of it, and when it is taken back.

Each change is written into the record before it is made. A raise that a dead handler had begun is made sure of and then left:
nobody knows whether it was made, and one pod too many is better than one too few.
"""

import logging
from collections.abc import Callable, Mapping

import msgspec

from saleops.errors import ClusterError
from saleops.services.spot_handler.metrics import Metrics
from saleops.services.spot_handler.record import Raised, Record
from saleops.services.spot_handler.surge import Surge

log = logging.getLogger("saleops.services.spot_handler")


class Replacements:
    def __init__(
        self,
        surge: Surge,
        metrics: Metrics,
        write: Callable[[Record], None],
        *,
        begun: Mapping[str, Raised],
    ) -> None:
        """``begun`` is what an earlier life of this handler had recorded."""
        self._surge = surge
        self._metrics = metrics
        self._write = write
        self._doubtful = {name for name, raised in begun.items() if not raised.sure}
        self._to_raise = {name for name, raised in begun.items() if not raised.sure and raised.by}

    @property
    def waiting(self) -> frozenset[str]:
        """Workloads that have yet to be raised."""
        return frozenset(self._to_raise)

    def plan(self, record: Record, lost: Mapping[str, int]) -> Record:
        """Write down what ``lost`` pods of each workload call for. Where we may not look there is no surge."""
        surged = {}
        for workload, count in sorted(lost.items()):
            try:
                planned = self._surge.plan(workload, count)
            except ClusterError as error:
                if error.kind != "denied":
                    raise
                log.warning("no replacements for %s beforehand: %s", workload, error.message)
                continue
            if planned is not None:
                surged[workload] = planned
        record = msgspec.structs.replace(record, surged=surged, surge_planned=True)
        self._write(record)
        self._doubtful = set()
        self._to_raise = set(surged)
        return record

    def raise_all(self, record: Record) -> Record:
        """Raise what is not raised yet; what fails is tried again at the next step, and holds up no other."""
        for workload in sorted(self._to_raise):
            raised = record.surged[workload]
            try:
                done = self._surge.raise_(workload, raised, again=workload in self._doubtful)
            except ClusterError as error:
                log.warning("%s", error.message)
                if error.kind in ("denied", "missing", "invalid"):
                    done = Raised(0, raised.to, hpa=raised.hpa)
                else:
                    self._metrics.count("saleops_spot_api_errors_total")
                    if error.kind == "unknown":
                        self._doubtful.add(workload)
                    if error.kind == "unreachable":
                        return record
                    continue
            self._to_raise.discard(workload)
            record = self._with(record, workload, done)
        self._metrics.set(
            "saleops_spot_surge_pods", sum(raised.by for raised in record.surged.values())
        )
        return record

    def follow(self, record: Record, staying: Mapping[str, int]) -> Record:
        """Take one back for each pod that is on its way out, where no autoscaler does."""
        for workload, raised in record.surged.items():
            left = min(staying.get(workload, 0), raised.by)
            if raised.hpa or not raised.sure or left == raised.by:
                continue
            record = self._with(record, workload, msgspec.structs.replace(raised, by=left))
            self._surge.take_back(workload, raised, left)
        return record

    def give_back(self, record: Record) -> Record:
        """Take everything back. Harmless twice. Raises ClusterError."""
        self._to_raise.clear()
        for workload, raised in record.surged.items():
            if not raised.by:
                continue
            if raised.hpa:
                self._surge.let_go(workload, raised)
            elif not raised.sure:
                log.warning(
                    "%s may be left with up to %d pods more than before: the handler was killed while it raised it",
                    workload,
                    raised.by,
                )
            gone = msgspec.structs.replace(raised, by=0)
            record = self._with(record, workload, gone)
            self._surge.take_back(workload, raised, 0)
        self._metrics.set("saleops_spot_surge_pods", 0)
        return record

    def _with(self, record: Record, workload: str, raised: Raised) -> Record:
        new = msgspec.structs.replace(record, surged={**record.surged, workload: raised})
        self._write(new)
        return new
