"""What a CDN is told to keep, whoever tells it: bodies of BatchSetDcdnDomainConfigs, Terraform, profiles.

A rule for a path holds for everything below it, a rule for file types for names with such an ending; of those that match, the
one with the highest weight wins.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from saleops.domain.lint.documents import KeyPath, LintDocument
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.plain_values import rows, scalar, table, tables, text, walk, whole

PRIVATE = ("/cart", "/checkout", "/orders", "/payments", "/account")
"""Paths whose answers belong to one buyer."""

_PRIVATE = re.compile(
    r"/(?:[a-z0-9._-]+/)*(cart|basket|checkout|orders?|payments?|pay|account|profile|user|me|member|login|session|wallet|address(?:es)?)s?"
    r"(?:[/*?.]|$)",
    re.I,
)
_RULE_NAMES = (
    "path_based_ttl_set",
    "filetype_based_ttl_set",
    "path_force_ttl_code",
    "default_ttl_code",
)


@dataclass(frozen=True, eq=False)
class KeepRule:
    """``what`` is a path, or file types joined by commas; ``ttl_s`` 0 keeps nothing."""

    document: LintDocument
    path: KeyPath
    domain: str
    what: str
    ttl_s: int
    weight: int
    by_type: bool = False

    def covers(self, path: str) -> bool:
        if self.by_type:
            return False
        stem = re.sub(r"[*?$].*", "", self.what).rstrip("/")
        return stem == "" or path == stem or path.startswith(f"{stem}/")


def is_private(path: str) -> bool:
    return _PRIVATE.match(path) is not None


def keep_rules(fleet: Fleet) -> Iterator[KeepRule]:
    for document in fleet.of_format("json", "yaml", "terraform"):
        yield from _functions(document)
    for document in fleet.of_format("profile"):
        edge = table(document.at("edge"))
        for i, one in enumerate(rows(edge.get("page_paths"))):
            if isinstance(one, str):
                yield KeepRule(
                    document, ("edge", "page_paths", i), text(edge.get("domain")), one, 1, 50
                )
        named = edge.get("never_cache_paths")
        for one in rows(named) if named is not None else PRIVATE:
            if isinstance(one, str):
                yield KeepRule(
                    document, ("edge", "never_cache_paths"), text(edge.get("domain")), one, 0, 99
                )


def _functions(document: LintDocument) -> Iterator[KeepRule]:
    for path, value in walk(document.value):
        if isinstance(value, dict):
            yield from _one(document, path, value, _domain(document, path, value))
        elif isinstance(value, str) and "functionName" in value and len(value) < 200_000:
            try:
                listed = json.loads(value)
            except (ValueError, RecursionError):
                continue
            for one in rows(listed):
                if isinstance(one, dict):
                    for found in _one(document, path, one, _domain(document, path[:-1], {})):
                        yield KeepRule(
                            document,
                            path,
                            found.domain,
                            found.what,
                            found.ttl_s,
                            found.weight,
                            found.by_type,
                        )


def _one(
    document: LintDocument, path: KeyPath, body: dict[Any, Any], domain: str
) -> Iterator[KeepRule]:
    name = text(body.get("functionName", body.get("FunctionName", body.get("function_name"))))
    if name not in _RULE_NAMES:
        return
    key = next((k for k in ("functionArgs", "FunctionArgs", "function_args") if k in body), "")
    given: dict[str, tuple[int, str]] = {}
    for i, one in tables(body.get(key) if isinstance(body.get(key), list) else [body.get(key)]):
        arg = text(one.get("argName", one.get("ArgName", one.get("arg_name"))))
        given[arg] = (i, scalar(one.get("argValue", one.get("ArgValue", one.get("arg_value")))))
    what = given.get("path", given.get("file_type", (0, "")))
    ttl = whole(given.get("ttl", (0, ""))[1])
    if ttl is None or (name == "path_based_ttl_set" and not what[1]):
        return
    weight = whole(given.get("weight", (0, ""))[1], 1) or 1
    yield KeepRule(
        document,
        (*path, key, what[0]),
        domain,
        what[1],
        ttl,
        weight,
        by_type=name != "path_based_ttl_set",
    )


def _domain(document: LintDocument, path: KeyPath, body: dict[Any, Any]) -> str:
    """The domain the rule is for: of the resource, or of the request that it is in."""
    for place in (path, path[:-1], path[:-2], ()):
        holder = table(document.at(*place)) or body
        for key in ("domain_name", "DomainNames", "DomainName", "domainNames"):
            if isinstance(holder.get(key), str):
                return str(holder[key])
    return document.file
