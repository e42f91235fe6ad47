"""How this cluster behaves. Seconds are of the cluster's clock, except where they say "real"."""

from dataclasses import dataclass, field

START_ANNOTATION = "kube-api.saleops/start-seconds"  # on a pod: its own time to Ready
STOP_ANNOTATION = (
    "kube-api.saleops/stop-seconds"  # on a pod: how long it takes to end after SIGTERM
)


@dataclass
class Settings:
    start_s: float = (
        3.0  # from bound to a node to Ready, unless the pod's annotation says otherwise
    )
    stop_s: float = 1.0  # how long an app takes to end after preStop and SIGTERM, within its grace
    gate_s: float = (
        1.0  # from running to the readiness gates being fulfilled, as a load balancer does
    )
    hpa_sync_s: float = 15.0
    hpa_down_window_s: float = 300.0
    past_max: int = 20_000  # events that a watch may resume from
    bookmark_s: float = 5.0  # real
    bad_images: list[str] = field(default_factory=list)  # images that cannot be pulled
