"""Caches: entries that all end in one second, locks that outlive their owner, buyers' pages at the edge."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from saleops.domain.lint.documents import LintDocument
from saleops.domain.lint.edge_rules import PRIVATE, KeepRule, is_private, keep_rules
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.lua_script import Call, Script
from saleops.domain.lint.plain_values import rows, table, tables, text
from saleops.domain.lint.pod_settings import Setting, settings_of
from saleops.domain.lint.rules import Hit, rule

_TTL = re.compile(
    r"(?:^|[_.-])(?:cache|page|product|catalog|redis)\w*?[_.-]?(?:ttl|expir\w*)(?:[_.-](?:ms|s|sec|secs|seconds|millis))?$",
    re.I,
)
_JITTER = re.compile(r"jitter|spread|random|fuzz", re.I)
_LOCK = re.compile(r"lock|mutex|lease", re.I)
_ENDS = {"EX", "PX", "EXAT", "PXAT"}
_SETNX = re.compile(r"\bset_?nx\b|\bset_?if_?absent\b", re.I)
_WITH_END = re.compile(
    r"\b(?:EX|PX|EXAT|PXAT|expire\w*|pexpire\w*|ttl|Duration\.|TimeUnit)\b", re.I
)
_PUBLIC = re.compile(r"\bpublic\b|\bs-maxage=[1-9]|\bmax-age=[1-9]", re.I)


def expiry_histogram(entries: int, ttl_s: float, jitter: float, bins: int = 10) -> tuple[str, int]:
    """How many of ``entries`` that were put in together end when, as one line of bars; and the most in one second.

    With ``jitter`` j a lifetime is anything from ttl x (1 - j) to ttl x (1 + j), each as likely.
    """
    low, high = ttl_s * (1 - jitter), ttl_s * (1 + jitter)
    width = max(1.0, high - low)
    most = max(1, round(entries / width))
    if jitter <= 0:
        return f"+{ttl_s:g} s {'#' * 20} {entries:,} in one second", entries
    step = max(1, round(20 / bins))
    return f"+{low:g} s {'#' * step * bins} +{high:g} s, about {most:,} a second", most


@rule(
    "CACHE001",
    "warning",
    "Entries that all end in the same second",
    why="What the prewarm puts in together ends together: in that second every request misses and goes to the database at "
    "once.",
    fix="Spread lifetimes: ttl x (1 - 0.2) to ttl x (1 + 0.2), and rebuild a page before it ends, by one caller only.",
    source="saleops bench of cache stampedes; memcached and Redis docs on expiry",
    bad="cache: {ttl_s: 300, jitter: 0}",
    good="cache: {ttl_s: 300, jitter: 0.2}",
)
def equal_ends(fleet: Fleet) -> Iterator[Hit]:
    for document in fleet.of_format("sale"):
        cache = table(document.at("cache"))
        jitter, ttl = _number(cache.get("jitter"), 0.2), _number(cache.get("ttl_s"), 300.0)
        if jitter is None or ttl is None or jitter > 0 or ttl <= 0:
            continue
        items = rows(document.at("items"))
        entries = len(items) or 1000
        views = _number(table(document.at("traffic")).get("peak_rps"), 1000.0) or 1000.0
        yield Hit(
            document,
            ("cache", "jitter"),
            f"Every page lives exactly {ttl:g} s: jitter is 0",
            why=_why(entries, bool(items), ttl, views),
        )
    for owner, settings in settings_of(fleet).items():
        jittered = any(_JITTER.search(one.name) for one in settings)
        for one in settings:
            if jittered or not _TTL.search(one.name) or _LOCK.search(one.name):
                continue
            ttl = _seconds(one)
            if ttl:
                peak = fleet.sale.peak_rps if fleet.sale else 0.0
                yield Hit(
                    one.document,
                    one.path,
                    f"{owner}: {one.name} is {one.value} for every entry, and nothing spreads the ends",
                    why=_why(1000, False, ttl, peak or 1000.0),
                )


def _why(entries: int, counted: bool, ttl: float, rps: float) -> str:
    together, most = expiry_histogram(entries, ttl, 0)
    spread, each = expiry_histogram(entries, ttl, 0.2)
    known = f"The {entries:,} pages" if counted else f"Of every {entries:,} pages those"
    return (
        f"{known} that the prewarm puts in together end together: {together}. With a jitter of 0.2: {spread}. In that second "
        f"the {rps:,.0f} requests a second of the peak all miss, and {most:,} pages are rebuilt at once instead of {each:,}."
    )


@rule(
    "CACHE002",
    "error",
    "A lock without an end",
    why="Whoever holds it may die (a spot node is taken back, a pod is out of memory): the lock then stays for ever, the "
    "page is never "
    "rebuilt, and every request waits for it or goes to the database.",
    fix="SET key TOKEN NX PX 5000: taken and given an end in one command.",
    source="redis.io docs, SET and distributed locks",
    bad="redis.call('SETNX', KEYS[1], 1)",
    good="redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', 5000)",
)
def endless_lock(fleet: Fleet) -> Iterator[Hit]:
    for document, script in _scripts(fleet):
        ended = {script.key_slot(one.key()) for one in script.calls if "EXPIRE" in one.command}
        for call in script.calls:
            words = _words(script, call)
            taken = call.command == "SETNX" or (call.command == "SET" and "NX" in words)
            if not taken or not _is_lock(script, call):
                continue
            if not words & _ENDS and (script.key_slot(call.key()) not in ended or not ended):
                yield Hit(
                    _line(document, call.line, call.column),
                    (),
                    f"{call.command} takes a lock and gives it no end",
                )
    for owner, settings in settings_of(fleet).items():
        for one in settings:
            for line in one.value.splitlines()[:2000]:
                if _SETNX.search(line) and _LOCK.search(line) and not _WITH_END.search(line):
                    yield Hit(
                        one.document,
                        one.path,
                        f"{owner}: {line.strip()[:80]!r} takes a lock and gives it no end",
                    )
                    break


@rule(
    "CACHE003",
    "warning",
    "A lock that anybody may give back",
    why="A holder that was slow deletes the lock of the one that came after it: two rebuild the same page, then three, and "
    "under load "
    "the lock protects nothing.",
    fix='Put a random token of the owner into it, and compare before deleting: if redis.call("GET", KEYS[1]) == ARGV[1] '
    "then DEL.",
    source="redis.io docs, distributed locks",
    bad="redis.call('SET', lock, '1', 'NX', 'PX', 5000)",
    good="redis.call('SET', lock, ARGV[1], 'NX', 'PX', 5000)",
)
def nobodys_lock(fleet: Fleet) -> Iterator[Hit]:
    for document, script in _scripts(fleet):
        compared = any(one.command in ("GET", "HGET") for one in script.calls)
        for call in script.calls:
            words = _words(script, call)
            taken = call.command == "SETNX" or (call.command == "SET" and "NX" in words)
            if taken and _is_lock(script, call) and len(call.arguments) > 1:
                value = script.resolved(call.arguments[1])
                if len(value) == 1 and value[0].kind in ("string", "number"):
                    yield Hit(
                        _line(document, call.line, call.column),
                        (),
                        f"The lock holds {value[0].text[:30]!r} whoever takes it: nobody can tell whose it is",
                    )
            elif call.command in ("DEL", "UNLINK") and _is_lock(script, call) and not compared:
                yield Hit(
                    _line(document, call.line, call.column),
                    (),
                    f"{call.command} gives the lock back without a look at whose it is",
                )


@rule(
    "CACHE004",
    "error",
    "Buyers' own pages kept at the edge",
    why="The edge answers the next buyer with what it kept: a stranger's cart, address and order. That is a data breach "
    "with thousands "
    "of readers a minute, and it cannot be called back.",
    fix="Give /cart, /checkout, /orders, /payments and /account a rule with ttl 0 and the highest weight (99), and let what "
    "answers "
    "there say Cache-Control: private, no-store.",
    source="alibabacloud.com docs, DCDN cache rules",
    bad='{"functionName": "path_based_ttl_set", "functionArgs": [{"argName": "path", "argValue": "/"}, {"argName": "ttl", '
    '"argValue": "600"}]}',
    good='{"argName": "path", "argValue": "/cart"}, {"argName": "ttl", "argValue": "0"}, {"argName": "weight", "argValue": '
    '"99"}',
)
def kept_at_the_edge(fleet: Fleet) -> Iterator[Hit]:
    by_domain: dict[str, list[KeepRule]] = defaultdict(list)
    for one in keep_rules(fleet):
        by_domain[one.domain].append(one)
    for domain, kept in by_domain.items():
        leaks: dict[int, tuple[KeepRule, list[str]]] = {}
        own = {one.what.rstrip("/*") for one in kept if not one.by_type and is_private(one.what)}
        for path in dict.fromkeys([*PRIVATE, *sorted(own)]):
            matching = [one for one in kept if one.covers(path)]
            winner = max(matching, key=lambda one: one.weight, default=None)
            if winner is not None and winner.ttl_s > 0:
                leaks.setdefault(id(winner), (winner, []))[1].append(path)
        for winner, paths in leaks.values():
            length = f"for {winner.ttl_s:,} s " if winner.document.format != "profile" else ""
            yield Hit(
                winner.document,
                winner.path,
                f"The rule for {winner.what} keeps {', '.join(paths[:6])} of {domain} {length}at the edge",
            )
    for document in fleet.of_format("profile"):
        named = document.at("edge", "never_cache_paths")
        if isinstance(named, list):
            missing = [path for path in PRIVATE if not any(_under(path, one) for one in named)]
            if missing:
                yield Hit(
                    document,
                    ("edge", "never_cache_paths"),
                    f"never_cache_paths leaves out {', '.join(missing)}: a file type's rule keeps what ends in .js or .png "
                    f"there",
                    severity="warning",
                )


@rule(
    "CACHE005",
    "error",
    "A header that lets caches keep a buyer's page",
    why="Cache-Control: public or max-age on a path of one buyer tells every cache on the way, the edge's and the office's "
    "proxy, to "
    "keep it and to answer others with it.",
    fix="Write Cache-Control: private, no-store on these paths.",
    source="RFC 9111, HTTP caching",
    bad="InsertHeader Cache-Control: public, max-age=600 on /cart",
    good="InsertHeader Cache-Control: private, no-store on /cart",
)
def header_keeps(fleet: Fleet) -> Iterator[Hit]:
    for document in fleet.of_kind("Ingress"):
        paths = [
            text(entry.get("path"))
            for _, one in tables(document.at("spec", "rules"))
            for _, entry in tables(table(one.get("http")).get("paths"))
        ]
        private = [path for path in paths if is_private(path)]
        if not private:
            continue
        for key, value in table(document.at("metadata", "annotations")).items():
            if not isinstance(value, str):
                continue
            header = _cache_header(str(key), value)
            if header and _PUBLIC.search(header) and "no-store" not in header.lower():
                yield Hit(
                    document,
                    ("metadata", "annotations", str(key)),
                    f"{', '.join(private[:4])} answers with Cache-Control: {header.strip()[:60]}",
                )


def _cache_header(key: str, value: str) -> str:
    """What an annotation sets Cache-Control to; "" where it does not."""
    if ".actions." in key or "/actions." in key or key.startswith("actions."):
        try:
            actions = json.loads(value)
        except (ValueError, RecursionError):
            return ""
        for one in rows(actions) if isinstance(actions, list) else [actions]:
            config = table(table(one).get("InsertHeaderConfig"))
            if text(config.get("key")).lower() == "cache-control":
                return text(config.get("value"))
        return ""
    found = re.search(
        r"(?:add_header|more_set_headers|proxy_set_header)\s+[\"']?Cache-Control[\"':\s]+([^;\"']+)",
        value,
        re.I,
    )
    return found[1] if found else ""


def _under(path: str, kept: Any) -> bool:
    stem = text(kept).rstrip("/*")
    return isinstance(kept, str) and (stem == "" or path == stem or path.startswith(f"{stem}/"))


def _number(value: Any, default: float) -> float | None:
    if value is None:
        return default
    return (
        float(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12
        else None
    )


def _seconds(one: Setting) -> float:
    found = re.fullmatch(r"\s*([0-9]{1,9})(ms|s|m|h)?\s*", one.value, re.ASCII)
    if not found:
        return 0.0
    unit = found[2] or ("ms" if re.search(r"(ms|millis)$", one.name, re.I) else "s")
    return int(found[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def _scripts(fleet: Fleet) -> Iterator[tuple[LintDocument, Script]]:
    for document in fleet.of_format("lua"):
        if isinstance(document.value, str):
            yield document, Script(document.value)


def _words(script: Script, call: Call) -> set[str]:
    """Texts among the arguments, in capitals."""
    found = set()
    for argument in call.arguments[1:]:
        value = script.resolved(argument)
        if len(value) == 1 and value[0].kind == "string":
            found.add(value[0].text.upper())
    return found


def _is_lock(script: Script, call: Call) -> bool:
    """Whether a call's key is a lock: by the name of the local or the text it is made of, or what the header calls its slot."""
    if any(
        _LOCK.search(one.text)
        for one in [*call.key(), *script.resolved(call.key())]
        if one.kind != "number"
    ):
        return True
    slot = script.key_slot(call.key())
    return slot is not None and any(
        re.search(rf"KEYS\[{slot}\]", line) and _LOCK.search(line)
        for line in script.lua.comments.splitlines()
    )


def _line(document: LintDocument, line: int, column: int) -> LintDocument:
    from dataclasses import replace

    return replace(document, places={(): (line, column)}, first_line=line)
