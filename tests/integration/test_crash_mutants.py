"""The bugs that mutants plant in the stock scripts, planted on a real server: what catches them there, and that ours has none."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest.mock import patch

import pytest

from saleops.adapters import redis_server
from saleops.adapters.redis_server import Script
from saleops.adapters.redis_stock import RedisStockStore
from saleops.domain.stock import Claim, Verdict, partition_of
from saleops.ports.stock import SeedRow

sys.path.insert(0, str(Path(__file__).parents[1] / "crash"))

from mutants import BLIND_RETRY, GIVEN_BACK_TWICE, ONE_TOO_MANY, REVIVED, GetThenSet, changed

SALE, EPOCH, SKU, UNITS = "drop", "e1", "sku-1", 20
NOW_MS, EXPIRES_MS = 1_000, 60_000


@contextmanager
def planted(change: tuple[str, str, str] | None) -> Iterator[None]:
    """The server gets the changed script in place of ours."""
    texts = changed(*change) if change else {}

    class Planted(Script):
        def __init__(self, name: str) -> None:
            super().__init__(name)
            if name in texts:
                self.__dict__.update(_like(texts[name]))

    with patch.object(redis_server, "script_named", cache(Planted)):
        yield


def _like(text: str) -> dict[str, object]:
    from hashlib import sha1

    return {"text": text, "sha": sha1(text.encode(), usedforsecurity=False).hexdigest().encode()}


async def a_rush(url: str, kind: type[RedisStockStore]) -> list[str]:
    """Sixty buyers at two workers for 20 units, some requests sent twice, some given back twice. Returns what is wrong."""
    one, two = (kind.from_url(url, sale=SALE) for _ in range(2))
    try:
        await one.begin_seed(EPOCH, "v1")
        await one.seed(EPOCH, partition_of(SKU), [SeedRow(SKU, UNITS, 100, 0)])
        await one.finish_seed(EPOCH, {})
        claims = [Claim(f"{n:032x}", SKU, f"buyer-{n}", 1) for n in range(60)]

        async def ask(store: RedisStockStore, claim: Claim) -> int:
            [answer] = await store.reserve(EPOCH, [claim], now_ms=NOW_MS, expires_ms=EXPIRES_MS)
            return answer.verdict

        first = await asyncio.gather(
            *(ask((one, two)[n % 2], claim) for n, claim in enumerate(claims))
        )
        held = [claim for claim, verdict in zip(claims, first, strict=True) if verdict == 1]
        wrong = [f"{len(held)} of {UNITS} units were given out"] if len(held) != UNITS else []
        again = [await ask(two, claim) for claim in held[:5]]
        if again != [Verdict.DUPLICATE] * len(again):
            wrong.append(f"a repeat heard {again}")
        for _ in range(2):
            await one.release(EPOCH, held[:3], now_ms=NOW_MS)
        await two.confirm(EPOCH, held)
        [row] = [row async for row in one.counts()]
        if (row.left, row.reserved, row.sold) != (3, 0, UNITS - 3):
            wrong.append(f"{row.left} left, {row.reserved} reserved, {row.sold} sold of {UNITS}")
        return wrong
    finally:
        await one.close()
        await two.close()


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        pytest.param(None, GetThenSet, id="get-then-set"),
        pytest.param(ONE_TOO_MANY, RedisStockStore, id="one-too-many"),
        pytest.param(BLIND_RETRY, RedisStockStore, id="blind-retry"),
        pytest.param(GIVEN_BACK_TWICE, RedisStockStore, id="given-back-twice"),
        pytest.param(REVIVED, RedisStockStore, id="revived"),
    ],
)
def test_a_bug_planted_in_a_script_shows_on_a_real_server(
    valkey_url: str, change: tuple[str, str, str] | None, kind: type[RedisStockStore]
) -> None:
    with planted(change):
        assert asyncio.run(a_rush(valkey_url, kind)) != []


def test_the_scripts_without_a_bug_give_out_each_unit_once(any_redis_url: str) -> None:
    assert asyncio.run(a_rush(any_redis_url, RedisStockStore)) == []
