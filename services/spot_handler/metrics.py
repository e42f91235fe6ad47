"""What the handler counts, as Prometheus text. Written by its threads, read by the admin port's."""

import threading
from collections import Counter

OUTCOMES = ("accepted", "refused", "gone", "misconfigured", "deleted", "denied", "failed")
ANSWERS = ("safe", "notice", "unknown")

_HELP = {
    "saleops_spot_polls_total": ("counter", "Answers of the metadata service."),
    "saleops_spot_notices_total": ("counter", "Reclaim notices seen; one a notice, however often it is read."),
    "saleops_spot_cancelled_total": ("counter", "Notices that were withdrawn."),
    "saleops_spot_cordons_total": ("counter", "Times the node was cordoned for a notice."),
    "saleops_spot_evictions_total": ("counter", "What became of evictions, and of deletions after the switch."),
    "saleops_spot_api_errors_total": ("counter", "Calls of the Kubernetes API that failed for good."),
    "saleops_spot_seconds_to_cordon": ("gauge", "From reading the notice to the node being cordoned; 0 before that."),
    "saleops_spot_seconds_left": ("gauge", "Until the machine is reclaimed; -1 without a notice."),
    "saleops_spot_pods_left": ("gauge", "Pods that have to leave the node and are still on it."),
    "saleops_spot_surge_pods": ("gauge", "Replacement pods asked for and not yet taken back."),
    "saleops_spot_clock_skew_seconds": ("gauge", "The metadata service's clock minus this machine's."),
}  # fmt: skip


class Metrics:
    def __init__(self, node: str = "") -> None:
        self.node = node
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._gauges: dict[str, float] = {"saleops_spot_seconds_left": -1.0}

    def count(self, name: str, label: str = "", by: int = 1) -> None:
        with self._lock:
            self._counts[name, label] += by

    def set(self, name: str, value: float) -> None:
        with self._lock:
            self._gauges[name] = value

    def of(self, name: str, label: str = "") -> float:
        with self._lock:
            return self._counts.get((name, label), 0) or self._gauges.get(name, 0)

    def text(self) -> str:
        labels = {
            "saleops_spot_polls_total": ("answer", ANSWERS),
            "saleops_spot_evictions_total": ("outcome", OUTCOMES),
        }
        lines = []
        with self._lock:
            for name, (kind, about) in _HELP.items():
                lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
                if name in labels:
                    label, values = labels[name]
                    lines += [
                        f'{name}{{{label}="{value}"}} {self._counts[name, value]}'
                        for value in values
                    ]
                elif kind == "counter":
                    lines.append(f"{name} {self._counts[name, '']}")
                else:
                    lines.append(f"{name} {self._gauges.get(name, 0.0):g}")
        return "\n".join(lines) + "\n"
