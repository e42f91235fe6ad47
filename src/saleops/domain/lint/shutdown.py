"""What a pod does between its deletion and its end, read from its spec: preStop, grace, and what SIGTERM has left of it.

At deletion the endpoint's removal and ``preStop`` start together; SIGTERM follows ``preStop``; SIGKILL comes when the grace
period, counted from the deletion, is over. The load balancer keeps sending for seconds after the removal.
"""

import re
from typing import Any

from saleops.domain.lint.estate import Pods
from saleops.domain.lint.plain_values import rows, scalar, table, whole

GRACE_DEFAULT_S = 30
STILL_SENDING_S = 15
"""For how long an ALB keeps sending to a pod that is gone from the endpoints (measured: aws-lb-controller #2366)."""
MARGIN_S = 5
NOTICE_S = 300
"""What a spot node has between its notice and its end."""
USABLE_NOTICE_S = NOTICE_S - 5 - 1 - 30
"""Of the notice: less a poll, the cordon and a margin."""

_SLEEP = re.compile(r"(?:^|[\s;&/'\"])sleep\s+([0-9]{1,5})(s|m)?(?:$|[\s;&'\"])")


def grace_s(pods: Pods) -> int:
    found = whole(pods.spec.get("terminationGracePeriodSeconds"), GRACE_DEFAULT_S)
    return GRACE_DEFAULT_S if found is None or found < 0 else found


def grace_is_known(pods: Pods) -> bool:
    """Whether the grace period is a number, or not given and so the default."""
    found = pods.spec.get("terminationGracePeriodSeconds")
    return found is None or whole(found) is not None


def pre_stop_s(container: dict[Any, Any]) -> int | None:
    """Seconds that preStop sleeps; 0 without one, None for a hook whose length nobody can read."""
    hook = table(table(container.get("lifecycle")).get("preStop"))
    if not hook:
        return 0
    if isinstance(hook.get("sleep"), dict):
        slept = hook["sleep"].get("seconds")
        return 0 if slept is None else whole(slept)
    command = " ".join(scalar(one) for one in rows(table(hook.get("exec")).get("command")))
    found = [int(n) * (60 if unit == "m" else 1) for n, unit in _SLEEP.findall(command)]
    return sum(found) if found else None
