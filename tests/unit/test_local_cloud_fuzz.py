"""Whatever arrives, the local cloud answers it: never a 500, never an exception. More of it: ``make fuzz-cloud``."""

import pytest

from cloud_fuzz import run

BATCH = 500


@pytest.mark.parametrize("batch", range(6))
def test_no_request_breaks_the_local_cloud(batch: int) -> None:
    broken, statuses = run(BATCH, start=batch * BATCH)

    assert broken == {}
    assert statuses.get(200, 0) > BATCH / 50, f"too few get through to the products: {statuses}"
