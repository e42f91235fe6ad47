"""Mutated requests for the local cloud, each from its number alone: what it is, is told by ``request_of(n)``.

``python tests/cloud_fuzz.py 200000`` runs more of them than the tests do, and prints the first that breaks a promise.
"""

import json
import random
import sys
import time
from typing import Any
from urllib.parse import quote, unquote, urlencode

from cloud_signing import signed_roa1, signed_rpc1, signed_v3
from local_cloud import FORM, HOST, InProcessCloud, local_cloud
from saleops.cloudapi import Api, Field, apis_of, products
from saleops.cloudapi.wire import flatten
from saleops.services.cloud.wire import WireRequest

APIS: list[Api] = [api for product in products() for api in apis_of(product.code)]
REGION = "ap-southeast-1"
ODD_TEXTS = (
    "",
    " ",
    "\x00",
    "null",
    "-1",
    "0",
    "1e999",
    "NaN",
    "9" * 400,
    "ü中文🎉",
    "\u202e\ufeff",
    "../../etc/passwd",
    "a" * 9_000,
    "[",
    "{}",
    '[{"a":[[[[[[]]]]]]}]',
    "true",
    "10.0.0.0/8",
    "999.1.1.1/33",
    "::/0",
    "%00%ff%",
    "'; DROP TABLE vpc; --",
    "${jndi:ldap://x}",
    "2026-11-10T00:00:00Z",
    "0000-00-00T99:99Z",
    "cn-nowhere-z",
    ",,,",
    "\n\r\t",
    "ecs.c7.xlarge",
)
ODD_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        2**63,
        -(2**70),
        1.5,
        1e308,
        [],
        {},
        [[]],
        [None],
        {"a": {"b": []}},
    ),
    *ODD_TEXTS,
)
KNOWN_IDS = ("vpc vpc-1", "vswitch vsw-1", "cluster c-1", "nodepool np-1", "instance i-1", "x x")


def plausible(
    chance: random.Random, field: Field, name: str, ids: list[str], depth: int = 0
) -> Any:
    """A value that may well pass the checks."""
    if field.values:
        return chance.choice(field.values)
    low, high = field.low, field.high
    match field.type:
        case "integer":
            return chance.randint(int(low or 0), int(high if high is not None else 1_000))
        case "number":
            return round(chance.uniform(low or 0, high if high is not None else 10), 2)
        case "boolean":
            return chance.random() < 0.5
        case "array":
            count = chance.randint(int(low or 1), int(min(high or 3, 3)))
            inner = field.items or Field("string")
            return [plausible(chance, inner, name, ids, depth + 1) for _ in range(max(count, 0))]
        case "object" | "any":
            return {
                key: plausible(chance, one, key, ids, depth + 1)
                for key, one in field.fields.items()
                if one.required or chance.random() < 0.5 / (depth + 1)
            }
        case "json":
            inner = field.items
            if inner is not None:
                return [plausible(chance, inner, name, ids, depth + 1)]
            if field.fields:
                return plausible(chance, Field("object", fields=field.fields), name, ids, depth + 1)
            return {"a": 1}
    lower = name.lower()
    if lower.endswith(("id", "ids")) and chance.random() < 0.8:
        if "region" in lower:
            return REGION
        if "zone" in lower:
            return f"{REGION}{chance.choice('abcx')}"
        return known_id(chance, lower, ids)
    if "cidr" in lower:
        return f"10.{chance.randint(0, 255)}.0.0/{chance.randint(8, 32)}"
    if "time" in lower:
        return chance.choice(("2026-11-10T00:00:00Z", "2026-11-10T00:00Z", "2026-11-10 00:00:00"))
    return f"{name}-{chance.randint(0, 99)}"[:40]


def known_id(chance: random.Random, name: str, ids: list[str]) -> str:
    """An id of the kind that ``name`` speaks of, more often than not: ``ids`` are ``kind id``."""
    stem = name.removesuffix("s").removesuffix("id").strip("_") or "x"
    fitting = [
        one for one in ids if stem in (kind := one.partition(" ")[0].lower()) or kind in stem
    ]
    chosen = chance.choice(fitting) if fitting and chance.random() < 0.9 else chance.choice(ids)
    return chosen.partition(" ")[2]


def mutated(chance: random.Random, value: Any) -> Any:
    """``value`` with something about it made odd."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        value = dict(value)
        key = chance.choice(sorted(value))
        match chance.randrange(4):
            case 0:
                del value[key]
            case 1:
                value[chance.choice(("Colour", "ü", "", "a.b", "Tag.0", key + "x"))] = (
                    chance.choice(ODD_VALUES)
                )
            case _:
                value[key] = mutated(chance, value[key])
        return value
    if isinstance(value, list) and value and chance.random() < 0.7:
        value = list(value)
        place = chance.randrange(len(value))
        value[place] = mutated(chance, value[place])
        return value * chance.choice((1, 1, 2, 30))
    return chance.choice(ODD_VALUES)


def fuzzed_request(cloud: InProcessCloud, seed: int, ids: list[str]) -> WireRequest:
    """One request. Most are signed right, so that they get past the gateway."""
    chance = random.Random(seed)
    api = chance.choice(APIS)
    params: Any = {
        name: plausible(chance, field, name, ids)
        for name, field in api.params.items()
        if field.required or chance.random() < 0.3
    }
    body: Any = plausible(chance, api.body, "body", ids) if api.body is not None else None
    slots = [part[1:-1] for part in api.path.split("/") if part.startswith("[")]
    path = {slot: known_id(chance, slot.lower(), ids) for slot in slots}
    for _ in range(chance.choice((0, 0, 0, 0, 0, 1, 1, 2, 4))):
        match chance.randrange(3):
            case 0:
                params = mutated(chance, params)
            case 1:
                body = mutated(chance, body)
            case 2 if path:
                path[chance.choice(sorted(path))] = chance.choice(ODD_TEXTS[1:])
    if not isinstance(params, dict):
        params = {}
    flat = _flat(api, params)
    for _ in range(chance.choice((0, 0, 0, 0, 1, 3))):
        name = chance.choice(sorted(flat) or ["RegionId"])
        odd = (
            name,
            f"{name}.1",
            f"{name}.0",
            f"{name}.99999999",
            f"{name}..",
            ".",
            f"{name}.1.1.1.1.x",
        )
        flat[chance.choice(odd)] = chance.choice(ODD_TEXTS)
    return _signed(cloud, chance, api, path, flat, body)


def _flat(api: Api, params: dict[str, Any]) -> dict[str, str]:
    try:
        return flatten(api, params)
    except (TypeError, ValueError, AttributeError, OverflowError):
        return {str(name): str(value)[:2_000] for name, value in params.items()}


def _signed(
    cloud: InProcessCloud,
    chance: random.Random,
    api: Api,
    path: dict[str, str],
    flat: dict[str, str],
    body: Any,
) -> WireRequest:
    key = cloud.core.key
    keys = {"key_id": key.id, "secret": key.secret}
    if chance.random() < 0.03:
        keys["secret"] = "wrong"
    if chance.random() < 0.02:
        keys["key_id"] = chance.choice(ODD_TEXTS).replace("\n", "") or "x"
    target = api.path or "/"
    for name, value in path.items():
        target = target.replace(f"[{name}]", quote(value, safe="~"))
    method = api.method if chance.random() < 0.95 else chance.choice(("GET", "PUT", "BREW", ""))
    content = b""
    if api.path and (body is not None or chance.random() < 0.05):
        content = json.dumps(body).encode()
        if chance.random() < 0.05:
            content = chance.choice(
                (
                    content[:-1],
                    b"\xff\xfe",
                    b"[" * 20_000,
                    b"NaN",
                    b'"\\ud800"',
                    b"{" * 9,
                    b"1e999",
                    b"9" * 5_000,
                )
            )
    flat = {name: value.encode("utf-8", "replace").decode() for name, value in flat.items()}
    version = api.product.version
    if not api.path and chance.random() < 0.3:
        form = flat if chance.random() < 0.5 else {}
        query, content = signed_rpc1(
            method=method,
            query={} if form else flat,
            form=form,
            action=api.name,
            version=version,
            **keys,
        )
        headers = {"host": HOST, "content-type": FORM}
    elif api.path and chance.random() < 0.3:
        query, headers = signed_roa1(
            method=method, path=target, query=flat, body=content, version=version, **keys
        )
        headers = {"host": HOST, **headers}
    else:
        content_type = "application/json" if content else ""
        query_fields = flat
        if not api.path and chance.random() < 0.3:
            content, content_type, query_fields = urlencode(flat).encode(), FORM, {}
        query, headers = signed_v3(
            method=method,
            path=target,
            query=query_fields,
            body=content,
            action=api.name,
            version=version,
            content_type=content_type,
            **keys,
        )
    if chance.random() < 0.05:  # and some of them are damaged on the way
        headers = dict(headers)
        name = chance.choice(sorted(headers))
        headers[name] = chance.choice(ODD_TEXTS)
    if chance.random() < 0.03:
        query = chance.choice(
            ("&" * 9_000, "a=%ff", "=&=", "a=1&a=2", "x" * 70_000, query + "&RegionId=b")
        )
    return WireRequest(method, unquote(target), query, headers, content)


def broken_promise(cloud: InProcessCloud, request: WireRequest) -> str:
    """What is wrong with the answer to ``request``; empty when nothing is."""
    started = time.perf_counter()
    response = cloud.core.handle(request)
    took_s = time.perf_counter() - started
    if response.status >= 500:
        return f"HTTP {response.status}: {response.body[:300]!r}"
    document = json.loads(response.body)
    if response.status >= 400:
        if not (document.get("Code") or document.get("code")):
            return f"an error without a code: {document}"
        if not (document.get("Message") or document.get("message")):
            return f"an error without words: {document}"
    if not dict(response.headers).get("x-acs-request-id"):
        return "no request id"
    if took_s > 2:
        return f"it took {took_s:.1f} s"
    return ""


def run(count: int, *, start: int = 0) -> tuple[dict[int, str], dict[int, int]]:
    """The numbers of ``count`` requests that broke a promise, with why; and how many answers each status had."""
    cloud = local_cloud(list_lag_ms=0)
    ids, broken, statuses = list(KNOWN_IDS), {}, dict[int, int]()
    for number in range(start, start + count):
        request = fuzzed_request(cloud, number, ids)
        why = broken_promise(cloud, request)
        if why:
            broken[number] = (
                f"{request.method} {request.path} {request.query[:200]} {request.body[:300]!r}: {why}"
            )
        status = cloud.calls[-1]["status"]
        statuses[status] = statuses.get(status, 0) + 1
        if number % 20 == 0:
            cloud.advance(60)
            made = [
                f"{kind} {id}"
                for kind, things in cloud.world.things.items()
                for id in list(things)[-12:]
            ]
            ids = [*KNOWN_IDS, *made]
    return broken, statuses


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    broken, statuses = run(count)
    for number, why in list(broken.items())[:20]:
        print(number, why, "\n")
    print(f"{count} requests, {len(broken)} broken promises, answers by status: {statuses}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
