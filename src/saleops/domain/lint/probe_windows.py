"""Probes with their defaults, their windows, and the arithmetic of a cascade."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from saleops.domain.capacity import HEADROOM
from saleops.domain.lint.estate import Pods, estate_of
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.plain_values import scalar, seconds, table, tables, text, whole

COLD_START = "saleops.io/cold-start-seconds"
"""Annotation of a pod template: the longest that a start takes with nothing cached."""

_HANDLERS = ("httpGet", "exec", "tcpSocket", "grpc")
_NUMBERS = (
    "timeoutSeconds",
    "periodSeconds",
    "failureThreshold",
    "successThreshold",
    "initialDelaySeconds",
)
_JVM = re.compile(
    r"(?:^|[/:_-])(?:openjdk|jdk|jre|java|temurin|corretto|dragonwell|tomcat|spring|quarkus)"
)
_DOTNET = re.compile(r"(?:^|[/:_-])(?:dotnet|aspnet|asp\.net)")


@dataclass(frozen=True, eq=False)
class Probe:
    """A probe; what is not written has Kubernetes' default."""

    value: Mapping[Any, Any]
    timeout_s: int
    period_s: int
    failures: int
    successes: int
    delay_s: int
    handler: Mapping[str, Any]

    @property
    def window_s(self) -> int:
        """From the first unanswered probe to the verdict."""
        return self.failures * self.period_s + self.timeout_s

    @property
    def question(self) -> str:
        get = table(self.handler.get("httpGet"))
        return f"GET {text(get.get('path')) or '/'}" if get else next(iter(self.handler), "nothing")


def probe_of(container: Mapping[Any, Any], name: str) -> Probe | None:
    value = container.get(name)
    if not isinstance(value, dict) or not value:
        return None
    return Probe(
        value,
        timeout_s=seconds(value.get("timeoutSeconds"), 1),
        period_s=seconds(value.get("periodSeconds"), 10),
        failures=seconds(value.get("failureThreshold"), 3),
        successes=seconds(value.get("successThreshold"), 1),
        delay_s=max(whole(value.get("initialDelaySeconds"), 0) or 0, 0),
        handler={one: value[one] for one in _HANDLERS if isinstance(value.get(one), dict)},
    )


def timed_probe(container: Mapping[Any, Any], name: str) -> Probe | None:
    """As ``probe_of``; None too where a number is given that nobody can read, as a placeholder is."""
    found = probe_of(container, name)
    given = [found.value.get(one) for one in _NUMBERS] if found else []
    return None if any(one is not None and whole(one) is None for one in given) else found


def runtime_of(container: Mapping[Any, Any]) -> str:
    """ "JVM" or ".NET" where image or environment say so; "" elsewhere."""
    image = text(container.get("image")).lower()
    names = {scalar(one.get("name")) for _, one in tables(container.get("env"))}
    if _JVM.search(image) or names & {
        "JAVA_OPTS",
        "JAVA_TOOL_OPTIONS",
        "JDK_JAVA_OPTIONS",
        "JVM_OPTS",
    }:
        return "JVM"
    if _DOTNET.search(image) or any(one.startswith(("ASPNETCORE_", "DOTNET_")) for one in names):
        return ".NET"
    return ""


def cascade(fleet: Fleet, pods: Pods, live: Probe) -> str:
    """How many pods may be lost before the rest fail the probe too, with the sale's figures where they are known.

    c: what a pod serves a second; T: the timeout; rho* = 1 - 1/(c T), the load above which a probe in the same queue fails
    (single-server form). What is served at the peak is what the pods are planned for without their quarter of headroom.
    """
    count = estate_of(fleet).count(pods).count
    sale, name = fleet.sale, estate_of(fleet).sale_name(pods)
    each = float(sale.rps_per_pod.get(name, 0.0)) if sale else 0.0
    if each <= 0 or sale is None or count < 1:
        if count < 2:
            return "Every kill moves the load to the pods that are left."
        return (
            f"Of {count} pods one that is killed leaves {count - 1} with {100 / (count - 1):.1f} % more load each, "
            "which makes the next one slow."
        )
    planned = sale.pods.get(name, count)
    load = min(each * planned / (1 + HEADROOM), sale.peak_rps or each * planned)
    limit = 1 - 1 / (each * live.timeout_s)
    now = load / (count * each)
    if limit <= 0:
        return f"A pod that serves {each:g} a second cannot promise an answer in {live.timeout_s} s at any load."
    least = ceil(load / (each * limit))
    left = count - least
    figures = (
        f"At {load:,.0f} a second (the plan without its headroom) on {count} pods of {each:g} each the load is "
        f"{now:.2f}; a probe of {live.timeout_s} "
        "s fails above "
        f"{limit:.2f}"
    )
    if left < 0:
        return f"{figures}: that is already so, and every kill makes it worse until no pod is left."
    after = load / ((count - left - 1) * each) if count > left + 1 else None
    then = f"the load of the rest is {after:.2f}" if after is not None else "nobody is left"
    return f"{figures}. {left} pods may be lost; with {left + 1} kills within one restart {then}, and the cascade takes all."
