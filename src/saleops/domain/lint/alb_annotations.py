"""The annotations that the ALB Ingress controller reads, with the values it takes.

From the controller's source and the product's documentation (controller v2.9 to v2.19, read 2026-11): a key that is not here
is ignored without a word, and a value it cannot take fails the whole load balancer.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PREFIX = "alb.ingress.kubernetes.io/"
CLASS_ANNOTATION = "kubernetes.io/ingress.class"


@dataclass(frozen=True, slots=True)
class Values:
    """What an annotation takes: one of ``words``, a whole number within ``span``, or any text. ``default`` as text; "" none."""

    words: tuple[str, ...] = ()
    span: tuple[int, int] | None = None
    default: str = ""

    def wrong(self, value: Any) -> str:
        """What is wrong with ``value``, as the end of a sentence; "" if nothing."""
        if not isinstance(value, str):
            return f"is {value!r}, not a text: quote it, the API server refuses the Ingress"[:200]
        if self.words and value not in self.words:
            return f"is {value[:60]!r}; it takes {_listed(self.words)}"
        if self.span:
            low, high = self.span
            if not re.fullmatch(r"-?[0-9]{1,12}", value, re.ASCII) or not low <= int(value) <= high:
                return f"is {value[:60]!r}; it takes {low} to {high}"
        return ""


_ANY = Values()
_NO = Values(("true", "false"), default="false")

ANNOTATIONS: Mapping[str, Values] = {
    "healthcheck-enabled": _NO,
    "healthcheck-path": Values(default="/"),
    "healthcheck-protocol": Values(("HTTP", "HTTPS", "TCP", "GRPC"), default="HTTP"),
    "healthcheck-httpversion": Values(("HTTP1.0", "HTTP1.1"), default="HTTP1.1"),
    "healthcheck-method": Values(("HEAD", "GET", "POST"), default="HEAD"),
    "healthcheck-code": Values(default="http_2xx"),
    "healthcheck-httpcode": Values(default="http_2xx"),
    "healthcheck-timeout-seconds": Values(span=(1, 300), default="5"),
    "healthcheck-interval-seconds": Values(span=(1, 50), default="2"),
    "healthy-threshold-count": Values(span=(2, 10), default="3"),
    "unhealthy-threshold-count": Values(span=(2, 10), default="3"),
    "healthcheck-connect-port": Values(span=(0, 65535), default="0"),
    "listen-ports": _ANY,
    "ssl-redirect": _NO,
    "backend-protocol": Values(("http", "https", "grpc"), default="http"),
    "backend-keepalive": Values(("true", "false")),
    "backend-scheduler": Values(("wrr", "wlc", "sch", "uch"), default="wrr"),
    "backend-scheduler-uch-value": _ANY,
    "sticky-session": _NO,
    "sticky-session-type": Values(("Insert", "Server"), default="Insert"),
    "cookie": _ANY,
    "cookie-timeout": Values(span=(1, 86400), default="1000"),
    "slow-start-enabled": _NO,
    "slow-start-duration": Values(span=(30, 900), default="30"),
    "connection-drain-enabled": _NO,
    "connection-drain-timeout": Values(span=(0, 900), default="300"),
    "traffic-limit-qps": Values(span=(1, 1_000_000)),
    "traffic-limit-ip-qps": Values(span=(1, 1_000_000)),
    "canary": _NO,
    "canary-by-header": _ANY,
    "canary-by-header-value": _ANY,
    "canary-by-cookie": _ANY,
    "canary-weight": Values(span=(0, 100)),
    "order": Values(span=(1, 1000), default="10"),
    "use-regex": _NO,
    "rewrite-target": _ANY,
    "enable-cors": _NO,
    "cors-allow-origin": _ANY,
    "cors-allow-methods": _ANY,
    "cors-allow-headers": _ANY,
    "cors-expose-headers": _ANY,
    "cors-allow-credentials": Values(("true", "false")),
    "cors-max-age": _ANY,
}

FAMILIES = ("actions.", "conditions.", "rule-direction.")
"""A Service's name follows."""

FOREIGN: Mapping[str, str] = {
    "certificate-id": "certificates are the AlbConfig's: listeners[].certificates, or spec.tls of the Ingress",
    "certificate-arn": "an AWS key; certificates are the AlbConfig's: listeners[].certificates",
    "scheme": "an AWS key; internet or intranet is the AlbConfig's: spec.config.addressType",
    "target-type": "an AWS key; Terway attaches pod addresses by itself",
    "target-group-attributes": "an AWS key; drain, slow start and stickiness have annotations of their own here",
    "load-balancer-attributes": "an AWS key; the load balancer is described by the AlbConfig",
    "load-balancer-name": "an AWS key; the name is the AlbConfig's: spec.config.name",
    "group.name": "an AWS key; Ingresses share an ALB through the IngressClass and its AlbConfig",
    "group.order": "an AWS key; here it is alb.ingress.kubernetes.io/order",
    "success-codes": "an AWS key; here it is alb.ingress.kubernetes.io/healthcheck-code with http_2xx",
    "subnets": "an AWS key; vSwitches are the AlbConfig's: spec.config.zoneMappings",
    "security-groups": "an AWS key; security groups are the AlbConfig's: spec.config.securityGroupIds",
    "inbound-cidrs": "an AWS key; access lists are the AlbConfig's: listeners[].aclConfig",
    "ip-address-type": "an AWS key; here it is the AlbConfig's spec.config.addressIpVersion",
    "ssl-policy": "an AWS key; here it is the AlbConfig's listeners[].securityPolicyId",
    "healthcheck-port": "an AWS key; here it is alb.ingress.kubernetes.io/healthcheck-connect-port",
    "backend-protocol-version": "an AWS key; here it is alb.ingress.kubernetes.io/backend-protocol: grpc",
    "tags": "an AWS key; tags are the AlbConfig's: spec.config.tags",
    "waf-acl-id": "an AWS key; WAF is the AlbConfig's spec.config.edition: StandardWithWaf",
    "wafv2-acl-arn": "an AWS key; WAF is the AlbConfig's spec.config.edition: StandardWithWaf",
    "shield-advanced-protection": "an AWS key; this load balancer has no such switch",
    "auth-type": "an AWS key; this load balancer does not log users in",
}
"""Keys that look right and never were: they belong to another controller on the same prefix, or to nobody."""


def known(key: str) -> bool:
    return key in ANNOTATIONS or key.startswith(FAMILIES)


def _listed(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
