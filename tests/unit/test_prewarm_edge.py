"""Prewarming the edge against the local cloud: how much is sent, what is refused, and what happens when it goes wrong."""

from pathlib import Path

import pytest

from edge_cloud import DOMAIN, Killed, edge_cloud, opened, planned, prewarmed, tasks_of, urls
from saleops.adapters.file_edge_journal import (
    MemoryEdgeJournal,
    open_edge_journal,
    recall_edge_journal,
)
from saleops.domain.items import Item
from saleops.errors import CloudError, ConfigError, GateFailed, Refused
from saleops.operations.edge_report import EdgeNotWarm
from saleops.operations.edge_urls import file_urls, product_urls, together
from saleops.operations.prewarm_edge import apply_edge
from saleops.services.cloud.faults import FaultPlan


def test_950_urls_are_10_preload_calls_and_all_arrive() -> None:
    cloud = edge_cloud()
    edge = opened(cloud)
    work = planned(edge, urls(950))
    assert len(work.plan.calls) == 10
    report = prewarmed(edge, urls(950))
    assert (report.preload_calls, report.complete, report.problems) == (10, 950, ())
    assert report.quota_left == 50
    sent = [
        {"product": "dcdn", "api": call.api, "params": dict(call.params)} for call in cloud.sent
    ]
    assert sent == list(work.plan.calls)


def test_1200_urls_against_1000_left_are_refused_before_anything_is_sent() -> None:
    cloud = edge_cloud()
    with pytest.raises(GateFailed, match="200 too many; nothing was sent") as refusal:
        planned(opened(cloud), urls(1_200))
    assert refusal.value.exit_code == 3
    for choice in ("--hottest 1000", "2 days", "apply"):
        assert choice in (refusal.value.hint or "")
    assert cloud.writes == 0


def test_1000_urls_fit_exactly_and_one_more_does_not() -> None:
    cloud = edge_cloud()
    assert planned(opened(cloud), urls(1_000)).plan.preload == 1_000
    with pytest.raises(GateFailed, match="1 too many"):
        planned(opened(cloud), urls(1_001))
    with pytest.raises(GateFailed, match="1 too many"):
        planned(opened(cloud), urls(1_000), wanted_count=1_001)


def test_preloads_keep_below_the_calls_of_a_second_on_the_clouds_clock() -> None:
    cloud = edge_cloud()
    cloud.local.world.settings["quotas"] = {"dcdn.preload_urls": 10_000}
    report = prewarmed(opened(cloud), urls(3_000))
    assert (report.preload_calls, report.repeated) == (30, 0)


def test_slow_and_failed_urls_are_named_and_the_verdict_is_no_go() -> None:
    cloud = edge_cloud()
    cloud.local.world.settings["dcdn"] = {
        "preload_slow_s": {"/products/7": 7_200},
        "preload_fails": {"/products/3": "Origin Return StatusCode 503"},
    }
    journal = MemoryEdgeJournal()
    with pytest.raises(EdgeNotWarm) as verdict:
        prewarmed(opened(cloud, journal), urls(9))
    report = verdict.value.report
    assert verdict.value.exit_code == 3
    found = {one.url: (one.result, one.note) for one in report.urls_left}
    assert found[f"https://{DOMAIN}/products/3"] == ("failed", "Origin Return StatusCode 503")
    assert found[f"https://{DOMAIN}/products/7"][0] == "slow"
    assert len(found) == 2
    assert "Origin Return StatusCode 503" in verdict.value.message

    cloud.local.world.settings["dcdn"] = {}
    cloud.local.advance(7_200)
    report = prewarmed(opened(cloud, journal), urls(9))
    assert (report.submitted, report.problems) == (1, ())
    assert tasks_of(cloud).count(f"https://{DOMAIN}/products/7") == 1
    assert tasks_of(cloud).count(f"https://{DOMAIN}/products/3") == 2


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_throttled_failed_and_lost_calls_submit_each_url_once(seed: int) -> None:
    cloud = edge_cloud(faults=FaultPlan(throttle=0.3, fail=0.1, lose=0.05, seed=seed))
    report = prewarmed(opened(cloud), urls(950))
    assert report.complete == 950
    assert report.repeated > 0
    assert sorted(tasks_of(cloud)) == sorted(each.url for each in urls(950))


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("at", [1, 2, 4])
def test_killed_at_a_write_it_goes_on_and_submits_nothing_twice(
    tmp_path: Path, phase: str, at: int
) -> None:
    cloud = edge_cloud()
    cloud.kill_at, cloud.phase = at, phase
    path = tmp_path / "provision" / "edge.jsonl"
    with pytest.raises(Killed), open_edge_journal(path) as journal:
        prewarmed(opened(cloud, journal), urls(350))
    cloud.kill_at = 0
    with open_edge_journal(path) as journal:
        report = prewarmed(opened(cloud, journal), urls(350))
    assert (report.complete + report.warm_before, report.problems) == (350, ())
    assert sorted(tasks_of(cloud)) == sorted(each.url for each in urls(350))


def test_killed_while_it_waits_it_asks_after_the_old_tasks(tmp_path: Path) -> None:
    cloud = edge_cloud()
    path = tmp_path / "provision" / "edge.jsonl"
    with open_edge_journal(path) as journal, pytest.raises(EdgeNotWarm):
        prewarmed(opened(cloud, journal), urls(40), deadline_s=120)
    with open_edge_journal(path) as journal:
        report = prewarmed(opened(cloud, journal), urls(40))
    assert (report.submitted, report.resumed, report.complete) == (0, 40, 40)
    assert len(tasks_of(cloud)) == 40


def test_what_is_at_the_edge_is_not_sent_again_while_it_lives_there() -> None:
    cloud = edge_cloud()
    journal = MemoryEdgeJournal()
    prewarmed(opened(cloud, journal), urls(20))
    report = prewarmed(opened(cloud, journal), urls(20))
    assert (report.warm_before, report.preload_calls) == (20, 0)
    assert prewarmed(opened(cloud, journal), urls(20), again=True).submitted == 20
    cloud.local.advance(2 * 86_400)
    assert prewarmed(opened(cloud, journal), urls(20)).submitted == 20


def test_what_changed_is_refreshed_before_it_is_preloaded() -> None:
    cloud = edge_cloud()
    journal = MemoryEdgeJournal()
    prewarmed(opened(cloud, journal), urls(20))
    changed = [*urls(5, mark="2"), *urls(20)[5:]]
    report = prewarmed(opened(cloud, journal), changed, refresh=True)
    assert (report.refreshed, report.submitted, report.warm_before) == (5, 5, 15)
    assert [call.api for call in cloud.sent[-2:]] == [
        "RefreshDcdnObjectCaches",
        "PreloadDcdnObjectCaches",
    ]
    assert tasks_of(cloud, "file") == [each.url for each in urls(5)]


def test_a_run_killed_between_refresh_and_preload_refreshes_nothing_twice() -> None:
    cloud = edge_cloud()
    cloud.kill_at, cloud.phase = 2, "before"
    journal = MemoryEdgeJournal()
    with pytest.raises(Killed):
        prewarmed(opened(cloud, journal), urls(20), refresh=True)
    cloud.kill_at = 0
    report = prewarmed(opened(cloud, journal), urls(20), refresh=True)
    assert (report.refresh_calls, report.complete) == (0, 20)
    assert len(tasks_of(cloud, "file")) == 20


def test_a_cloud_that_forgot_the_tasks_gets_them_anew() -> None:
    cloud = edge_cloud()
    journal = MemoryEdgeJournal()
    with pytest.raises(EdgeNotWarm):
        prewarmed(opened(cloud, journal), urls(20), deadline_s=60)
    cloud.local.world.things["dcdn_task"].clear()
    report = prewarmed(opened(cloud, journal), urls(20))
    assert (report.submitted, report.complete) == (20, 20)


@pytest.mark.parametrize(
    ("scope", "region", "area"),
    [
        ("domestic", "ap-southeast-1", "domestic"),
        ("overseas", "cn-hangzhou", "overseas"),
        ("global", "cn-hangzhou", "domestic"),
        ("global", "cn-hongkong", "overseas"),
        ("global", "ap-southeast-1", "overseas"),
    ],
    ids=["domestic", "overseas", "global-mainland", "global-hongkong", "global"],
)
def test_the_area_is_the_domains_own(scope: str, region: str, area: str) -> None:
    cloud = edge_cloud(scope=scope)
    assert prewarmed(opened(cloud), urls(2), region=region).area == area


def test_a_domain_that_does_not_serve_is_said_and_nothing_is_sent() -> None:
    cloud = edge_cloud()
    cloud.local.call("dcdn", "StopDcdnDomain", DomainName=DOMAIN)
    cloud.local.advance(60)
    with pytest.raises(Refused, match="is offline, not online; nothing was sent") as refusal:
        planned(opened(cloud), urls(2))
    assert "provision edge" in (refusal.value.hint or "")
    edge = opened(cloud)
    edge.domain = "other.example.com"
    with pytest.raises(Refused, match="no DCDN domain"):
        planned(edge, urls(2))
    assert cloud.writes == 0


def test_a_quota_that_somebody_else_used_up_meanwhile_names_what_was_not_sent() -> None:
    cloud = edge_cloud()
    edge = opened(cloud)
    work = planned(edge, urls(950))
    other = "\n".join(f"https://{DOMAIN}/other/{number}" for number in range(100))
    cloud.local.call("dcdn", "PreloadDcdnObjectCaches", ObjectPath=other, Area="overseas")

    with pytest.raises(EdgeNotWarm) as verdict:
        apply_edge(work, edge)
    report = verdict.value.report
    assert (report.complete, report.not_sent) == (900, 50)


def test_a_dry_run_sends_nothing_and_a_second_reader_changes_no_journal(tmp_path: Path) -> None:
    cloud = edge_cloud()
    path = tmp_path / "provision" / "edge.jsonl"
    cloud.kill_at, cloud.phase = 1, "after"
    with pytest.raises(Killed), open_edge_journal(path) as journal:
        prewarmed(opened(cloud, journal), urls(20))
    before = path.read_bytes()
    work = planned(opened(cloud, recall_edge_journal(path)), urls(20))
    assert (work.plan.waiting, work.plan.preload) == (20, 0)
    assert path.read_bytes() == before
    assert cloud.writes == 1


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "provision" / "edge.jsonl"
    with (
        open_edge_journal(path),
        pytest.raises(Refused, match="is being written"),
        open_edge_journal(path),
    ):
        pass


def test_a_refused_call_is_told_and_sent_anew_by_the_next_run() -> None:
    cloud = edge_cloud()
    journal = MemoryEdgeJournal()
    edge = opened(cloud, journal)
    work = planned(edge, urls(150))
    rule = {"api": "PreloadDcdnObjectCaches", "code": "InvalidParameter", "status": 400, "skip": 1}
    cloud.local.control("PUT", "faults", {"rules": [rule]})

    with pytest.raises(CloudError, match="InvalidParameter"):
        apply_edge(work, edge)
    report = prewarmed(opened(cloud, journal), urls(150))
    assert (report.submitted, report.resumed, report.complete) == (50, 100, 150)
    assert len(tasks_of(cloud)) == 150


ITEMS = [
    Item("a", "Apple", 100, 5, popularity=1.0),
    Item("b/1", "Bread & butter", 200, 5, popularity=9.0),
    Item("c", "Cake", 300, 5, popularity=1.0),
]


def test_product_pages_are_spelled_as_the_gateway_serves_them_hottest_first() -> None:
    found = [each.url for each in product_urls(ITEMS, DOMAIN)]
    assert found == [f"https://{DOMAIN}/products/{path}" for path in ("b%2F1", "a", "c")]
    assert [each.url for each in product_urls(ITEMS, DOMAIN, hottest=1)] == found[:1]
    assert product_urls(ITEMS, DOMAIN, hottest=0) == []


def test_a_mark_changes_with_what_the_page_shows_and_not_with_its_stock() -> None:
    (first,) = product_urls([Item("a", "Apple", 100, 5)], DOMAIN)
    (stocked,) = product_urls([Item("a", "Apple", 100, 9)], DOMAIN)
    (cheaper,) = product_urls([Item("a", "Apple", 90, 5)], DOMAIN)
    assert first.mark == stocked.mark != cheaper.mark


def test_a_file_adds_urls_and_paths_once(tmp_path: Path) -> None:
    path = tmp_path / "urls.txt"
    path.write_text(f"# pictures\n/static/app.js\n\nhttps://{DOMAIN}/products/a\n/static/app.js\n")
    found = file_urls(path, DOMAIN, never=("/cart",))
    assert [each.url for each in found] == [
        f"https://{DOMAIN}/static/app.js",
        f"https://{DOMAIN}/products/a",
    ]
    assert len(together(found, product_urls(ITEMS, DOMAIN))) == 4


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("/cart/7", "may not keep /cart"),
        ("https://elsewhere.example.com/x", "not on"),
        ("static/app.js", "begins with /"),
        ("/a b", "no spaces"),
        ("/a#b", "#"),
        ("/" + "a" * 1_024, "longer than"),
        ("https://[/x", "no URL"),
        ("ftp://shop.example.com/x", "not on"),
    ],
    ids=["cart", "foreign", "relative", "space", "fragment", "long", "broken", "scheme"],
)
def test_a_line_that_cannot_be_preloaded_is_named_with_its_number(
    tmp_path: Path, line: str, why: str
) -> None:
    path = tmp_path / "urls.txt"
    path.write_text(f"/ok\n{line}\n")
    with pytest.raises(ConfigError) as error:
        file_urls(path, DOMAIN, never=("/cart",))
    assert "urls.txt:2" in error.value.message
    assert why in error.value.message


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        file_urls(tmp_path / "none.txt", DOMAIN, never=())
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        file_urls(tmp_path / "binary", DOMAIN, never=())


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/"])
def test_what_is_no_regular_file_is_not_read_for_urls(path: str) -> None:
    with pytest.raises(ConfigError, match="nothing was sent") as refusal:
        file_urls(Path(path), DOMAIN, never=())
    assert refusal.value.exit_code == 2


def test_a_file_of_urls_has_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "urls.txt"
    with path.open("wb") as file:
        file.truncate(16 * 1024 * 1024 + 1)
    with pytest.raises(ConfigError, match="larger than 16 MiB"):
        file_urls(path, DOMAIN, never=())


def test_a_bottomless_line_of_the_edge_journal_is_named(tmp_path: Path) -> None:
    path = tmp_path / "edge.jsonl"
    path.write_text('{"type": "run"}\n' + '{"a":' * 100_000 + "\n")
    with pytest.raises(ConfigError, match=r"edge\.jsonl:2 is no line of a journal"):
        recall_edge_journal(path)
