"""The stock store loses what it held, in the middle of the sale: it is rebuilt from the ledger, and no promise is broken."""

import random

import pytest
from matrix import LOSS_MOMENTS
from sale import play
from world import Loss


@pytest.mark.parametrize("seeds", [range(1, 41), range(41, 81)], ids=["emptied", "restored"])
def test_a_store_that_lost_its_last_writes_is_rebuilt_and_the_ledger_balances(
    seeds: range,
) -> None:
    wrong: list[str] = []
    lost = 0
    for seed in seeds:
        rng = random.Random(seed)
        saved_at = rng.choice((1, 2, 4)) if seeds.start > 1 else 0
        loss = Loss(rng.choice(LOSS_MOMENTS), at=rng.choice((2, 3, 5, 8)), saved_at=saved_at)
        verdict = play(seed, loss=loss)
        lost += any(what == "loss" for _, _, what in verdict.trace)
        wrong += [f"seed {seed}, {loss}: {one}" for one in verdict.violations]

    assert wrong == []
    assert lost > len(seeds) // 2
