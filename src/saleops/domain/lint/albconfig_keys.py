"""What an AlbConfig may hold. Its CRD has no schema: the API server stores any key, and the controller ignores what "
"it does not know.

Names and letter case are those of the open controller (v2.9.1) with what the product's documentation added up to v2.19: in
``certificates`` and ``xForwardedForConfig`` the capitals matter. ``check`` says for an object which keys nobody reads and which
values the controller cannot take.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from saleops.domain.lint.documents import KeyPath

Wrong = tuple[KeyPath, Literal["key", "value"], str]
"""Where, whether a key is unknown or a value wrong, and the end of the sentence."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a value looks like. ``kind`` "any" is not looked into; ``keys`` are those of a table, ``each`` is of a "
    "list's entries."""

    kind: Literal["table", "list", "text", "whole", "boolean", "port", "any"]
    keys: Mapping[str, "Shape"] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    each: "Shape | None" = None
    at_least: int = 0
    words: tuple[str, ...] = ()
    span: tuple[int, int] | None = None
    pattern: str = ""
    never: str = ""


TEXT, WHOLE, YES_NO, ANY = Shape("text"), Shape("whole"), Shape("boolean"), Shape("any")


def _table(needs: tuple[str, ...] = (), **keys: Shape) -> Shape:
    return Shape("table", keys=keys, needs=needs)


def _list(each: Shape, at_least: int = 0) -> Shape:
    return Shape("list", each=each, at_least=at_least)


def _one_of(*words: str) -> Shape:
    return Shape("text", words=words)


_CERTIFICATE = _table(
    ("CertificateId",),
    CertificateId=Shape("text", pattern=r"[0-9]+-[a-z0-9-]+"),
    IsDefault=YES_NO,
)
_FORWARDED = {
    **{
        f"XForwardedForClient{what}{end}": YES_NO if end == "Enabled" else TEXT
        for what in ("CertSubjectDN", "CertIssuerDN", "CertFingerprint", "CertClientVerify")
        for end in ("Enabled", "Alias")
    },
    **{
        f"XForwardedFor{what}Enabled": YES_NO
        for what in ("", "Proto", "SLBId", "SLBPort", "ClientSrcPort", "ClientSourceIps", "Host")
    },
    "XForwardedForClientSourceIpsTrusted": TEXT,
    "XForwardedForProcessingMode": TEXT,
}
_ACTION = _table(
    ("actionType",),
    actionType=TEXT,
    fixedResponseConfig=_table(
        ("statusCode",), statusCode=TEXT, contentType=TEXT, messageBody=TEXT
    ),
    redirectConfig=_table(
        ("statusCode",),
        statusCode=TEXT,
        host=TEXT,
        path=TEXT,
        port=TEXT,
        protocol=TEXT,
        query=TEXT,
    ),
    forwardConfig=ANY,
)
_LISTENER = _table(
    ("port", "protocol"),
    port=Shape("port"),
    protocol=_one_of("HTTP", "HTTPS", "QUIC"),
    description=TEXT,
    loadBalancerId=TEXT,
    gzipEnabled=YES_NO,
    http2Enabled=YES_NO,
    idleTimeout=Shape("whole", span=(1, 600)),
    requestTimeout=Shape("whole", span=(1, 600)),
    securityPolicyId=TEXT,
    caEnabled=YES_NO,
    certificates=_list(_CERTIFICATE, 1),
    caCertificates=_list(_CERTIFICATE),
    defaultCertificate=_table(("kind", "certificateId"), kind=TEXT, certificateId=TEXT),
    quicConfig=_table(quicUpgradeEnabled=YES_NO, quicListenerId=TEXT),
    logConfig=_table(
        accessLogRecordCustomizedHeadersEnabled=YES_NO,
        accessLogTracingConfig=_table(
            tracingEnabled=YES_NO,
            tracingType=TEXT,
            tracingSample=Shape("whole", span=(1, 10000)),
        ),
    ),
    aclConfig=_table(
        aclName=TEXT, aclType=_one_of("Black", "White"), aclEntries=_list(TEXT), aclIds=_list(TEXT)
    ),
    xForwardedForConfig=Shape("table", keys=_FORWARDED),
    defaultActions=_list(_ACTION),
    tags=_list(ANY),
)
_CONFIG = _table(
    id=TEXT,
    name=Shape("text", pattern=r".{2,128}", never="aliyun"),
    addressType=_one_of("Internet", "Intranet"),
    addressAllocatedMode=_one_of("Dynamic", "Fixed"),
    addressIpVersion=_one_of("IPv4", "DualStack"),
    ipv6AddressType=_one_of("Internet", "Intranet"),
    resourceGroupId=TEXT,
    edition=_one_of("Standard", "StandardWithWaf"),
    zoneMappings=_list(
        _table(
            ("vSwitchId",),
            vSwitchId=Shape("text", pattern=r"vsw-.*"),
            zoneId=TEXT,
            allocationId=Shape("text", pattern=r"eip-.*"),
            eipType=TEXT,
        ),
        2,
    ),
    accessLogConfig=_table(
        ("logProject", "logStore"), logProject=TEXT, logStore=Shape("text", pattern=r"alb_.*")
    ),
    deletionProtectionEnabled=YES_NO,
    billingConfig=_table(
        payType=_one_of("PostPay"),
        internetBandwidth=WHOLE,
        internetChargeType=TEXT,
        bandWidthPackageId=TEXT,
    ),
    forceOverride=YES_NO,
    listenerForceOverride=YES_NO,
    modificationProtectionConfig=_table(
        status=_one_of("ConsoleProtection", "NonProtection"), reason=TEXT
    ),
    tags=_list(_table(("key",), key=Shape("text", never="aliyun|acs:"), value=TEXT)),
    securityGroupIds=_list(TEXT),
)
SPEC = _table(("config",), config=_CONFIG, listeners=_list(_LISTENER))
_HTTP_NEVER = ("certificates", "defaultCertificate", "caCertificates")


def check(spec: Any) -> Iterator[Wrong]:
    """Everything wrong below ``spec`` of an AlbConfig, in the order it is written."""
    yield from _check(spec, SPEC, ("spec",))
    listeners = spec.get("listeners") if isinstance(spec, dict) else None
    for i, one in enumerate(listeners if isinstance(listeners, list) else ()):
        if isinstance(one, dict) and one.get("protocol") == "HTTP":
            for key in _HTTP_NEVER:
                if key in one:
                    yield (
                        ("spec", "listeners", i, key),
                        "value",
                        "belongs to an HTTPS listener; this one is HTTP",
                    )


def _check(value: Any, shape: Shape, path: KeyPath) -> Iterator[Wrong]:
    if value is None and path != ("spec",):
        return  # an empty key is as good as none
    if shape.kind == "table":
        yield from _check_table(value, shape, path)
    elif shape.kind == "list":
        if not isinstance(value, list):
            yield path, "value", "is no list"
            return
        if len(value) < shape.at_least:
            yield path, "value", f"has {len(value)} of at least {shape.at_least} entries"
        for i, one in enumerate(value):
            yield from _check(one, shape.each or ANY, (*path, i))
    elif wrong := _wrong(value, shape):
        yield path, "value", wrong


def _check_table(value: Any, shape: Shape, path: KeyPath) -> Iterator[Wrong]:
    if not isinstance(value, dict):
        yield path, "value", "is no table of keys"
        return
    for key in shape.needs:
        if value.get(key) is None:
            yield path, "value", f"has no {key}"
    for key, one in value.items():
        if key not in shape.keys:
            meant = next((k for k in shape.keys if k.lower() == str(key).lower()), "")
            hint = f"; it is written {meant}" if meant else ""
            yield (*path, str(key)), "key", f"is no key the controller reads{hint}"
        else:
            yield from _check(one, shape.keys[key], (*path, key))


def _wrong(value: Any, shape: Shape) -> str:
    if shape.kind == "any":
        return ""
    if shape.kind == "boolean":
        return "" if isinstance(value, bool) else "is neither true nor false"
    if shape.kind in ("whole", "port"):
        if (
            shape.kind == "port"
            and isinstance(value, str)
            and re.fullmatch("[0-9]{1,5}", value, re.A)
        ):
            return ""
        if isinstance(value, bool) or not isinstance(value, int):
            return "is no whole number"
        low, high = (1, 65535) if shape.kind == "port" else shape.span or (value, value)
        return "" if low <= value <= high else f"is {value}; it takes {low} to {high}"
    if not isinstance(value, str):
        return "is no text: quote it"
    if shape.words and value not in shape.words:
        return f"is {value[:60]!r}; it takes {' or '.join(shape.words)}"
    if shape.never and re.match(shape.never, value):
        return f"is {value[:60]!r}; names that begin so are the cloud's own"
    if shape.pattern and not re.fullmatch(shape.pattern, value, re.S):
        return f"is {value[:60]!r}, which is not of its form ({shape.pattern})"
    return ""
