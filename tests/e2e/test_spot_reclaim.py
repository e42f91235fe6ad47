"""The node under an order worker is reclaimed in the middle of a rehearsed sale; nobody who buys notices.

The real spot handler reads the notice from the metadata double and talks to the Kubernetes API double, whose order pods stand for
the worker processes of this machine: a new pod is a new process, an eviction is SIGTERM and a drain.
"""

import asyncio
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from saleops import wiring
from saleops.cli.rehearse import _scrape
from saleops.config.sale import Sale, load_sale
from saleops.config.settings import JwtSettings
from saleops.operations.reclaim_practice import PracticePod, ReclaimReport, practise_reclaim
from saleops.operations.rehearse import RehearseReport, Stage, plan_rehearsal, rehearse
from saleops.operations.serve import Fleet, WorkerStatus, running_engine
from saleops.services.spot_handler.metadata_double import MetadataDouble
from spot_lab import SPOT, SpotLab, eventually, metadata_for, spot_lab

pytestmark = [pytest.mark.xdist_group("heavy"), pytest.mark.timeout(180)]

GATE = "saleops.io/worker"
SALE_FILE = """\
apiVersion: saleops/v1
name: reclaimed
window: {opens: 2026-11-27T00:00:00+08:00, closes: 2026-11-27T02:00:00+08:00}
items:
  - {sku: HOT-1, name: Wanted by all, price: 9.90, stock: 400, popularity: 30, limit_per_buyer: 2}
  - {sku: WARM-1, name: Wanted by some, price: 19.00, stock: 2000, popularity: 5}
traffic: {baseline_rps: 20, peak_rps: 150, step_s: 1}
objectives: {error_rate: 0.05}
reservations: {ttl_s: 3}
payment: {ttl_s: 3}
"""


class PracticeCluster:
    """A spot node with room for one order pod and a steady one with room for many."""

    def __init__(self, lab: SpotLab, metadata: MetadataDouble) -> None:
        self._lab = lab
        self._metadata = metadata

    def fill(self, workers: int) -> None:
        double = self._lab.double
        double.add_nodes(1, prefix="spot", labels=SPOT, cpu="1")
        gate = {"readinessGates": [{"conditionType": GATE}]}
        stop = {"kube-api.saleops/stop-seconds": "3"}
        double.deploy("order", replicas=1, namespace="shop", cpu="1", spec=gate, annotations=stop)
        eventually(lambda: self._lab.pods("spot-0"))
        double.add_nodes(1, prefix="steady", cpu="8")
        path = "/apis/apps/v1/namespaces/shop/deployments/order"
        double.patch(path, {"spec": {"replicas": workers}})
        double.budget("order", namespace="shop", app="order", minAvailable=workers)
        eventually(lambda: len(self._lab.pods(app="order")) == workers)
        for pod in self.pods():
            self.admit(pod.name)
        eventually(lambda: self._lab.ready("order") == workers)

    def pods(self) -> tuple[PracticePod, ...]:
        return tuple(
            PracticePod(
                one["metadata"]["name"],
                one["spec"].get("nodeName") == "spot-0",
                "nodeName" in one["spec"],
                "deletionTimestamp" in one["metadata"],
            )
            for one in self._lab.pods(app="order")
        )

    def admit(self, pod: str) -> None:
        path = f"/api/v1/namespaces/shop/pods/{pod}/status"
        patch = {"status": {"conditions": [{"type": GATE, "status": "True"}]}}
        status, answer = self._lab.double.patch(path, patch, "strategic")
        assert status == 200, answer

    def announce(self) -> None:
        self._metadata.flip(120)


@pytest.fixture
def sale(tmp_path: Path) -> Sale:
    path = tmp_path / "sale.yaml"
    path.write_text(SALE_FILE)
    return load_sale(path)


@pytest.fixture
def state_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(
        prefix="so-"
    ) as folder:  # the engine's socket needs a short path
        yield Path(folder)


async def play(
    sale: Sale, folder: Path, cluster: PracticeCluster
) -> tuple[RehearseReport, ReclaimReport]:
    reports: list[ReclaimReport] = []

    async def reclaim(fleet: Fleet) -> tuple[WorkerStatus, float | None]:
        victim, report = await practise_reclaim(fleet, cluster)
        reports.append(report)
        return victim, report.replaced_s

    with wiring.own_state(
        engines=sale.engines,
        state_dir=folder,
        command="rehearse",
        redis=None,
        database=None,
        broker=None,
    ) as state:
        async with AsyncExitStack() as stack:
            if state.engine is not None:
                await stack.enter_async_context(running_engine(state.engine))
            await wiring.prepare_engines(state.urls, sale=sale.name)
            redis_url = state.urls.redis_url
            logs = folder / "logs"
            logs.mkdir()
            stage = Stage(
                urls=state.urls,
                jwt=JwtSettings(hs256_secret=secrets.token_hex(32)),
                book=stack.enter_context(wiring.open_order_book(state.urls.database_url)),
                stock=await stack.enter_async_context(wiring.open_stock_store(redis_url, sale=sale.name)),
                cache=await stack.enter_async_context(wiring.open_page_cache(redis_url, sale=sale.name)),
                broker=await stack.enter_async_context(wiring.open_broker(state.urls.broker_url, sale=sale.name)),
                workers=stack.enter_context(wiring.open_workers(log_dir=logs)),
                runner=wiring.load_runner(),
                scrape=_scrape,
                breaking=reclaim,
            )  # fmt: skip
            plan = plan_rehearsal(sale, duration_s=24, seed=7, order_workers=2)
            return await rehearse(sale, plan, stage), reports[0]


def test_no_checkout_fails_when_the_node_of_an_order_worker_is_reclaimed(
    sale: Sale, state_dir: Path, tmp_path: Path
) -> None:
    with spot_lab(tmp_path, start_s=0.1, gate_s=1e6) as lab, metadata_for() as metadata:
        cluster = PracticeCluster(lab, metadata)
        cluster.fill(2)
        handler = lab.start("spot-0", metadata, poll_s=1, margin_s=10)
        eventually(lambda: handler.get("/readyz")[0] == 200)

        report, reclaim = asyncio.run(play(sale, state_dir, cluster))

        deleted = lab.asked("delete", "pods")
    load: Any = report.load
    assert load.errors == 0, (load, reclaim)
    assert report.ledger.balanced
    assert report.verdict == "GO", report.checks
    assert load.orders > 0
    assert reclaim.replaced_s is not None
    assert reclaim.evicted_s is not None
    assert reclaim.drained_s is not None
    assert reclaim.replaced_s <= reclaim.evicted_s <= reclaim.drained_s < 110
    assert reclaim.ready_least >= 2  # never fewer than before the notice
    assert not deleted
