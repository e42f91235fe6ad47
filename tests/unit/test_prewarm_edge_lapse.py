"""A page that the edge drops before the run is done is not warm: it is warned of before, and named after."""

import pytest

from edge_cloud import edge_cloud, opened, planned, urls
from saleops.config.profile import default_profile
from saleops.config.sale import load_sale
from saleops.events import Event, Warned
from saleops.operations.edge_report import EdgeNotWarm
from saleops.operations.edge_urls import EdgeUrl
from saleops.operations.prewarm_edge import apply_edge
from saleops.operations.provision.blueprint import page_ttl_of

EXAMPLE = "examples/midnight-drop/sale.yaml"


def test_pages_that_lapse_before_the_last_is_there_are_no_go_and_named() -> None:
    cloud = edge_cloud()
    cloud.local.world.settings["dcdn"] = {"preload_slow_s": {"/products/5": 1_500}}
    events: list[Event] = []

    def lives_s(url: str) -> float:
        return 300.0

    edge = opened(cloud)
    with pytest.raises(EdgeNotWarm) as cold:
        apply_edge(
            planned(edge, urls(6), lives_s=lives_s), edge, lives_s=lives_s, observe=events.append
        )

    report = cold.value.report
    assert (report.complete, report.lapsed) == (1, 5)
    assert {one.result for one in report.urls_left} == {"lapsed"}
    assert "5 URLs have lapsed" in cold.value.message
    assert "edge.page_ttl_s" in (cold.value.hint or "")
    warned = [one.message for one in events if isinstance(one, Warned)]
    assert any("300 s" in text and "1,800 s" in text for text in warned)


def test_what_was_warm_and_lapses_meanwhile_is_counted_too() -> None:
    cloud = edge_cloud()

    def lives_s(url: str) -> float:
        return 1_000.0

    edge = opened(cloud)
    apply_edge(planned(edge, urls(2), lives_s=lives_s), edge, lives_s=lambda url: 10_000.0)
    cloud.local.world.settings["dcdn"] = {"preload_slow_s": {"/late": 1_200}}
    late = [*urls(2), EdgeUrl("https://shop.example.com/late", "1")]
    with pytest.raises(EdgeNotWarm) as cold:
        apply_edge(planned(edge, late, lives_s=lives_s), edge, lives_s=lives_s)

    report = cold.value.report
    assert (report.warm_before, report.complete, report.lapsed) == (0, 1, 2)


def test_pages_live_at_the_edge_for_an_hour_at_least_unless_the_profile_says() -> None:
    from pathlib import Path

    sale = load_sale(Path(__file__).parents[2] / EXAMPLE)
    profile = default_profile()
    assert sale.cache.ttl_s < 3_600
    assert page_ttl_of(sale, profile) == 3_600
    own = profile.model_copy(update={"edge": profile.edge.model_copy(update={"page_ttl_s": 60.0})})
    assert page_ttl_of(sale, own) == 60
