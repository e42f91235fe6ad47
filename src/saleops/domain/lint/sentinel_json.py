"""Sentinel's rules, found in JSON files, in the texts of ConfigMaps and Nacos bodies, and told apart by their fields.

A file says nothing of its rules' kind but for its name or data id (``order-flow-rules``, ``xxx-degrade-rules``); where that says
nothing either, the fields do. Codes and ranges are those of Sentinel 1.8's rule managers.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from saleops.domain.lint.documents import KeyPath, LintDocument
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.plain_values import table, text

_MARKS: tuple[tuple[str, frozenset[str]], ...] = (
    ("SystemRule", frozenset({"highestSystemLoad", "highestCpuUsage", "avgRt", "maxThread"})),
    ("ParamFlowRule", frozenset({"paramIdx", "paramFlowItemList", "durationInSec", "burstCount"})),
    (
        "DegradeRule",
        frozenset({"timeWindow", "slowRatioThreshold", "minRequestAmount", "statIntervalMs"}),
    ),
    (
        "FlowRule",
        frozenset(
            {
                "controlBehavior",
                "warmUpPeriodSec",
                "maxQueueingTimeMs",
                "refResource",
                "clusterMode",
            }
        ),
    ),
)
_NAMED = (
    ("ParamFlowRule", re.compile(r"param", re.I)),
    ("DegradeRule", re.compile(r"degrade|breaker", re.I)),
    ("SystemRule", re.compile(r"system", re.I)),
    ("AuthorityRule", re.compile(r"authority", re.I)),
    ("FlowRule", re.compile(r"flow|sentinel", re.I)),
)
_RULES_TEXT = re.compile(r"^\s*\[\s*\{.*\"(resource|highestSystemLoad|highestCpuUsage)\"", re.S)
TEXT_MAX = 200_000


@dataclass(frozen=True, eq=False)
class SentinelRule:
    """``inside`` says that the rules are a text within the document: places are the text's then."""

    document: LintDocument
    path: KeyPath
    kind: str
    body: dict[str, Any]
    inside: bool = False

    @property
    def resource(self) -> str:
        return text(self.body.get("resource"))

    @property
    def name(self) -> str:
        return f"{self.kind} {self.resource}".strip()[:120]

    def at(self, field: str) -> KeyPath:
        return self.path if self.inside else (*self.path, field)


def sentinel_rules(fleet: Fleet) -> list[SentinelRule]:
    found = fleet.worked_out.get("sentinel_rules")
    if found is None:
        found = fleet.worked_out["sentinel_rules"] = list(_read(fleet))
    return cast(list[SentinelRule], found)


def _read(fleet: Fleet) -> Iterator[SentinelRule]:
    for document in fleet.of_format("json", "yaml"):
        name = document.file.rpartition("/")[2]
        yield from _of_list(document, (), document.value, name, False)
        if isinstance(document.value, dict):
            for key, value in document.value.items():
                path: KeyPath = (str(key),)
                if isinstance(value, str):
                    data_id = text(document.value.get("dataId")) or text(
                        document.value.get("DataId")
                    )
                    yield from _of_text(document, path, value, f"{name} {key} {data_id}")
                else:
                    yield from _of_list(document, path, value, f"{name} {key}", False)
    for document in fleet.of_kind("ConfigMap"):
        for key, value in table(document.at("data")).items():
            if isinstance(value, str):
                yield from _of_text(document, ("data", str(key)), value, f"{document.name} {key}")


def _of_text(
    document: LintDocument, path: KeyPath, value: str, named: str
) -> Iterator[SentinelRule]:
    if len(value) > TEXT_MAX or not _RULES_TEXT.match(value):
        return
    try:
        rules = json.loads(value)
    except (ValueError, RecursionError):
        return
    yield from _of_list(document, path, rules, named, True)


def _of_list(
    document: LintDocument, path: KeyPath, value: Any, named: str, inside: bool
) -> Iterator[SentinelRule]:
    if not isinstance(value, list):
        return
    for i, one in enumerate(value):
        if isinstance(one, dict) and (kind := _kind(one, named)):
            yield SentinelRule(document, path if inside else (*path, i), kind, one, inside)


def _kind(body: dict[str, Any], named: str) -> str:
    """ "" for what is no rule of Sentinel's: lists of objects with a resource are common."""
    best = max(_MARKS, key=lambda mark: len(mark[1] & body.keys()))
    marked = bool(best[1] & body.keys())
    said = next((kind for kind, pattern in _NAMED if pattern.search(named)), "")
    if (
        not isinstance(body.get("resource"), str)
        and best[0] != "SystemRule"
        and not (marked and said)
    ):
        return ""
    if marked:
        return best[0]
    if "count" not in body and "grade" not in body:
        return "AuthorityRule" if {"strategy", "limitApp"} <= body.keys() else ""
    return said or ("FlowRule" if {"grade", "limitApp"} & body.keys() else "")


def number(value: Any) -> float | None:
    """A finite number, written as one or as a text: Sentinel's JSON reader takes both."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def problems(one: SentinelRule) -> Iterator[tuple[str, str]]:
    """(field, what is wrong) for every reason for which Sentinel leaves the rule out."""
    body = one.body
    if one.kind != "SystemRule" and not one.resource.strip():
        yield "resource", "resource is missing"
    checks = {
        "FlowRule": _flow,
        "DegradeRule": _degrade,
        "SystemRule": _system,
        "ParamFlowRule": _param,
        "AuthorityRule": _authority,
    }
    for field, value in body.items():
        if field in _NUMBERS and number(value) is None:
            yield field, f"{field} is {value!r}"[:80] + ", not a number"
            return
    yield from checks[one.kind](body)


_NUMBERS = frozenset(
    {
        *(
            "count",
            "grade",
            "strategy",
            "controlBehavior",
            "warmUpPeriodSec",
            "maxQueueingTimeMs",
            "timeWindow",
        ),
        *(
            "minRequestAmount",
            "slowRatioThreshold",
            "statIntervalMs",
            "highestSystemLoad",
            "highestCpuUsage",
        ),
        *("qps", "avgRt", "maxThread", "paramIdx", "durationInSec", "burstCount"),
    }
)


def _number(body: dict[str, Any], field: str, default: float | None = None) -> float:
    found = number(body.get(field))
    return found if found is not None else default if default is not None else math.nan


def _code(
    body: dict[str, Any], field: str, default: int, codes: dict[int, str]
) -> Iterator[tuple[str, str]]:
    value = _number(body, field, default)
    if value not in codes:
        listed = ", ".join(f"{code} {name}" for code, name in codes.items())
        yield field, f"{field} is {value:g}; it is one of {listed}"


def _count(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "count" not in body:
        yield "count", "count is missing"
    elif _number(body, "count") < 0:
        yield "count", f"count is {_number(body, 'count'):g}, below 0"


def _positive(
    body: dict[str, Any], field: str, default: float, least: float = 1
) -> Iterator[tuple[str, str]]:
    value = _number(body, field, default)
    if value < least:
        yield field, f"{field} is {value:g}; it is {least:g} or more"


def _flow(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield from _count(body)
    yield from _code(body, "grade", 1, {0: "threads", 1: "QPS"})
    yield from _code(body, "strategy", 0, {0: "direct", 1: "relate", 2: "chain"})
    yield from _code(
        body, "controlBehavior", 0, {0: "reject", 1: "warm up", 2: "queue", 3: "warm up and queue"}
    )
    if _number(body, "strategy", 0) in (1, 2) and not text(body.get("refResource")):
        yield "strategy", f"strategy {_number(body, 'strategy'):g} needs a refResource"
    behaviour = _number(body, "controlBehavior", 0)
    if behaviour in (1, 3):
        yield from _positive(body, "warmUpPeriodSec", 10)
    if behaviour in (2, 3):
        yield from _positive(body, "maxQueueingTimeMs", 500)
    if body.get("clusterMode") is True:
        config = table(body.get("clusterConfig"))
        if number(config.get("flowId")) is None or (number(config.get("flowId")) or 0) <= 0:
            yield "clusterConfig", "clusterMode needs a clusterConfig with a flowId above 0"


def _degrade(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield from _count(body)
    yield from _code(
        body, "grade", 0, {0: "slow calls", 1: "exception ratio", 2: "exception count"}
    )
    if "timeWindow" not in body or _number(body, "timeWindow", 0) <= 0:
        yield "timeWindow", "timeWindow is missing or 0; it is a number of seconds above 0"
    yield from _positive(body, "minRequestAmount", 5)
    yield from _positive(body, "statIntervalMs", 1000)
    grade = _number(body, "grade", 0)
    if grade == 1 and _number(body, "count", 0) > 1:
        yield "count", f"an exception ratio is 0 to 1, and count is {_number(body, 'count'):g}"
    ratio = _number(body, "slowRatioThreshold", 1)
    if grade == 0 and not 0 <= ratio <= 1:
        yield "slowRatioThreshold", f"slowRatioThreshold is {ratio:g}; it is 0 to 1"


def _system(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    usage = _number(body, "highestCpuUsage", -1)
    if usage > 1:
        yield "highestCpuUsage", f"highestCpuUsage is {usage:g}; it is 0 to 1 (90 % is 0.9)"
    limits = ("highestSystemLoad", "highestCpuUsage", "qps", "avgRt", "maxThread")
    if all(_number(body, field, -1) < 0 for field in limits):
        yield "highestCpuUsage", "none of its limits is set"


def _param(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield from _count(body)
    yield from _code(body, "grade", 1, {0: "threads", 1: "QPS"})
    yield from _positive(body, "durationInSec", 1)
    if "paramIdx" not in body:
        yield "paramIdx", "paramIdx is missing"
    for field in ("burstCount", "maxQueueingTimeMs"):
        if _number(body, field, 0) < 0:
            yield field, f"{field} is below 0"
    items = body.get("paramFlowItemList")
    for one in items if isinstance(items, list) else ():
        if isinstance(one, dict) and (
            number(one.get("count")) is None or (number(one.get("count")) or 0) < 0
        ):
            yield "paramFlowItemList", "an entry of paramFlowItemList has no count of 0 or more"
            return


def _authority(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield from _code(body, "strategy", 0, {0: "allow list", 1: "deny list"})
    if not text(body.get("limitApp")).strip():
        yield "limitApp", "limitApp, the list of callers, is missing"
