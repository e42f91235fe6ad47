"""The drain arithmetic of pods behind an ALB: deregistration < preStop < grace, and the load balancer's drain within it.

Each inequality that does not hold is one finding with its numbers. The last one, grace against the notice of a spot node, is
SPT004's.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from saleops.domain.lint.alb_ingresses import AlbIngress, alb_ingresses, backends
from saleops.domain.lint.documents import KeyPath
from saleops.domain.lint.estate import Pods, estate_of
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.plain_values import tables, whole
from saleops.domain.lint.rules import Hit, rule
from saleops.domain.lint.scalars import replaced
from saleops.domain.lint.shutdown import (
    MARGIN_S,
    STILL_SENDING_S,
    grace_is_known,
    grace_s,
    pre_stop_s,
)


@dataclass
class _Behind:
    """A workload with the Ingresses that lead to it."""

    pods: Pods
    ingresses: list[AlbIngress] = field(default_factory=list)


@rule(
    "ALB012",
    "warning",
    "Pods end while buyers are still sent to them",
    why="The ALB keeps sending for about 15 s after a pod leaves the endpoints; what ends earlier answers with 502 and 504.",
    fix="preStop.sleep.seconds: 15 or more; terminationGracePeriodSeconds of at least preStop + the longest request + 5; "
    "connection-drain-timeout of at most grace - 5.",
    source="kubernetes.io docs, pod termination; aws-load-balancer-controller #2366 for the 15 s",
    bad="no preStop, terminationGracePeriodSeconds: 30, connection-drain-timeout: 30",
    good="preStop: {sleep: {seconds: 20}}, terminationGracePeriodSeconds: 60, connection-drain-timeout: 30",
)
def drain_arithmetic(fleet: Fleet) -> Iterator[Hit]:
    behind: dict[int, _Behind] = {}
    for ingress in alb_ingresses(fleet):
        for pods in backends(fleet, ingress):
            if grace_is_known(pods):
                behind.setdefault(id(pods), _Behind(pods)).ingresses.append(ingress)
    for one in behind.values():
        yield from _pods(fleet, one)
    for one in behind.values():
        grace = grace_s(one.pods)
        for ingress in one.ingresses:
            timeout = ingress.number("connection-drain-timeout")
            if not ingress.on("connection-drain-enabled") or timeout is None:
                continue
            if timeout > grace - MARGIN_S:
                set_here = ingress.has("connection-drain-timeout")
                yield Hit(
                    ingress.document,
                    ingress.path(
                        "connection-drain-timeout" if set_here else "connection-drain-enabled"
                    ),
                    f"connection-drain-timeout {timeout} s > grace {grace} s of {one.pods.name} - {MARGIN_S} s = "
                    f"{grace - MARGIN_S} s" + ("" if set_here else f" ({timeout} is the default)"),
                    why=f"The ALB leaves connections to a leaving pod open for {timeout} s, and the pod is killed "
                    f"after {grace} s: "
                    "what is on them then ends in 502.",
                    fix=f'Write connection-drain-timeout: "{max(grace - MARGIN_S, 0)}" or less, or a longer grace period.',
                    key=True,
                )


def _pods(fleet: Fleet, one: _Behind) -> Iterator[Hit]:
    pods = one.pods
    serving = estate_of(fleet).serving(pods)
    if serving is None or not pods.long_running:
        return
    path, container = serving
    slept, grace = pre_stop_s(container), grace_s(pods)
    if slept is not None and slept < STILL_SENDING_S:
        hook: KeyPath = (*path, "lifecycle", "preStop")
        exact: KeyPath = (*hook, "sleep", "seconds")
        yield Hit(
            pods.document,
            exact if slept and pods.document.at(*exact) is not None else hook,
            f"{pods.name}: preStop {f'sleeps {slept} s' if slept else 'is missing'}; the ALB keeps sending for "
            f"{STILL_SENDING_S} s",
            why=f"For {STILL_SENDING_S - slept} s of every pod's end the ALB sends requests to a process that is shutting down: "
            "each rollout and each scale-down costs buyers 502s.",
            fix=f"Write lifecycle.preStop.sleep.seconds: {STILL_SENDING_S + MARGIN_S} (Kubernetes 1.30 on; exec sleep before).",
            edits=(
                replaced(pods.document, exact, str(STILL_SENDING_S + MARGIN_S))
                if slept and grace >= STILL_SENDING_S + 2 * MARGIN_S
                else ()
            ),
            key=True,
        )
    request, said = _longest_request(one.ingresses)
    needs = max(slept or 0, STILL_SENDING_S) + request + MARGIN_S
    if grace < needs:
        yield Hit(
            pods.document,
            (*pods.spec_path, "terminationGracePeriodSeconds"),
            f"{pods.name}: grace {grace} s < preStop {max(slept or 0, STILL_SENDING_S)} s"
            + (f" + longest request {request} s ({said})" if request else "")
            + f" + {MARGIN_S} s = {needs} s",
            why=f"SIGKILL comes {grace} s after the deletion, when {needs} s are needed: requests in flight are cut off, "
            "orders among them.",
            fix=f"Write terminationGracePeriodSeconds: {needs}, or less requestTimeout on the listener.",
            edits=replaced(
                pods.document, (*pods.spec_path, "terminationGracePeriodSeconds"), str(needs)
            )
            if needs <= 120
            else (),
            key=True,
        )


def _longest_request(ingresses: list[AlbIngress]) -> tuple[int, str]:
    """The longest that a listener lets a request run, where an AlbConfig says so; (0, "") where none does."""
    longest = 0
    for one in ingresses:
        wanted = {port for _, port in one.listeners}
        for _, listener in tables(one.config.at("spec", "listeners") if one.config else None):
            if whole(listener.get("port")) in wanted:
                longest = max(longest, whole(listener.get("requestTimeout"), 0) or 0)
    return longest, "requestTimeout of the listener" if longest else ""
