"""The numbers in rendered manifests: each inequality holds for every input, not only for the example."""

import re
from datetime import UTC, datetime, timedelta
from math import ceil
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saleops.domain.capacity import SURGE, Service
from saleops.domain.cronhpa import parse_schedule
from saleops.domain.k8s import ingress, lead, lifecycle, network, workloads
from saleops.domain.k8s.schedule import cron_job, six_fields
from saleops.services import worker
from saleops.services.gateway.app import route_of

START = datetime(2025, 1, 1, tzinfo=UTC)
OPENS = datetime(2026, 11, 26, 16, 0, tzinfo=UTC)


def test_the_shutdown_budget_is_the_worker_s_own() -> None:
    assert lifecycle.FINISH_S == worker.FINISH_TIMEOUT_S
    assert lifecycle.STOP_S == worker.STOP_TIMEOUT_S


def test_grace_holds_the_sleep_the_longest_request_and_a_margin() -> None:
    stop = lifecycle.shutdown()

    used = stop.pre_stop_s + stop.drain_delay_s + stop.finish_s + stop.stop_s
    assert 15 <= stop.pre_stop_s <= 20
    assert stop.grace_s >= used + lifecycle.MARGIN_S
    assert stop.finish_s <= stop.alb_drain_s <= stop.grace_s - lifecycle.MARGIN_S
    assert stop.grace_s <= lifecycle.SPOT_GRACE_MAX_S
    assert f"{stop.grace_s} s" in stop.why


def test_a_grace_that_a_spot_notice_has_no_room_for_is_refused() -> None:
    with pytest.raises(ValueError, match="above the 120 s"):
        lifecycle.shutdown(finish_s=100)


def test_readiness_acts_before_liveness_and_asks_another_port() -> None:
    probes = lifecycle.probes()

    assert probes.readiness.window_s * 2 <= probes.liveness.window_s
    assert probes.liveness.timeout_s >= 3
    assert probes.liveness.window_s >= 60
    assert probes.startup.window_s >= 2 * lifecycle.COLD_START_S
    assert probes.readiness.port != probes.liveness.port


def test_the_lead_is_twice_the_parts_and_half_an_hour_at_least() -> None:
    few = lead.lead_time(
        nodes=3, image_mib=120, health_interval_s=2, health_threshold=3, slow_start_s=30
    )
    many = lead.lead_time(
        nodes=900, image_mib=4_000, health_interval_s=2, health_threshold=3, slow_start_s=30
    )

    assert few.lead_s == 30 * 60
    assert few.pull_s == 2  # 120 MiB are 1,007 Mbit, over 1,000 Mbit/s
    assert many.nodes_s == 9 * 120
    assert many.pull_s == ceil(4_000 * 1024 * 1024 * 8 / 1e6 / (10_000 / 900))
    assert many.lead_s >= 2 * many.sum_s
    assert many.lead_s % 300 == 0


def test_the_floor_is_asked_for_twice_before_the_sale_and_given_back_after_payment() -> None:
    planned = lead.lead_time(
        nodes=3, image_mib=120, health_interval_s=2, health_threshold=3, slow_start_s=30
    )
    when = lead.moments(OPENS, OPENS + timedelta(hours=2, seconds=7), planned, settle_s=3_600)

    assert when.up == OPENS - timedelta(minutes=30)
    assert when.hold == OPENS - timedelta(minutes=15)
    assert when.down == OPENS + timedelta(hours=3, minutes=1)


@given(
    st.integers(0, 3_000_000).map(lambda minutes: START + timedelta(minutes=minutes)),
    st.sampled_from(["Asia/Shanghai", "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]),
)
def test_a_schedule_fires_at_its_moment_in_the_controller_s_zone(
    moment: datetime, zone: str
) -> None:
    schedule = parse_schedule(six_fields(moment, zone))

    fired = schedule.next_after(moment - timedelta(seconds=1), zone)

    assert schedule.fields_count == 6
    if (
        moment.astimezone(ZoneInfo(zone)).fold == 0
    ):  # of an hour that comes twice, the first is meant
        assert fired == moment


def test_a_job_says_when_it_runs_in_words_too() -> None:
    job = cron_job("sale-up", OPENS - timedelta(minutes=30), "Asia/Shanghai", 12)

    assert job.schedule == "0 30 23 26 11 *"
    assert job.at == "2026-11-26 23:30:00 Asia/Shanghai"


def test_a_moment_without_a_zone_is_a_bug() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        six_fields(datetime(2026, 11, 26), "UTC")  # noqa: DTZ001  # the mistake under test


@given(st.integers(1, 400), st.integers(0, 400), st.integers(2, 8))
def test_an_allowed_skew_still_leaves_the_peak_s_pods_without_the_fullest_zone(
    needed: int, extra: int, zones: int
) -> None:
    pods = needed + extra
    skew = workloads.allowed_skew(pods, needed, zones)

    fullest = (pods + (zones - 1) * skew) // zones
    assert skew >= 1
    if skew > 1:
        assert pods - fullest >= needed


@given(
    st.integers(0, 200_000),
    st.integers(1, 5_000),
    st.integers(1, 8),
    st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]),
)
def test_checkout_keeps_its_share_on_demand_and_no_pod_is_lost_in_the_split(
    rps: int, each: int, zones: int, spot: float
) -> None:
    now = Service("order", rps / 10, each)
    sized = workloads.size_service(now, Service("order", rps, each), zones=zones, spot_share=spot)
    whole = workloads.size_service(now, Service("order", rps, each), zones=zones, spot_share=0)

    assert sized.peak == whole.peak
    assert sized.most == whole.most
    assert all(1 <= one.base <= one.peak <= one.most for one in sized.workloads)
    if spot:
        (core,) = (one for one in sized.workloads if one.core)
        assert core.peak >= min(sized.peak - 1, (1 - spot) * sized.peak - 1e-9)


def test_only_checkout_is_split() -> None:
    now, peak = Service("catalog", 10, 100), Service("catalog", 1_000, 100)

    sized = workloads.size_service(now, peak, zones=3, spot_share=0.7)

    assert [one.name for one in sized.workloads] == ["catalog"]


@given(st.integers(10, 100_000), st.integers(1, 8), st.integers(0, 5_000))
def test_proxies_never_open_more_than_the_budget(limit: int, zones: int, clients: int) -> None:
    try:
        made = workloads.proxy(zones=zones, connections_limit=limit, clients=clients)
    except ValueError:
        assert limit * workloads.BUDGET_SHARE < max(2, zones) + 1
        return
    # One more while the Deployment rolls.
    assert (made.replicas + 1) * made.backend_each <= limit * workloads.BUDGET_SHARE
    assert made.clients_each * made.replicas >= clients


def test_the_connection_budget_counts_pods_that_exist_twice() -> None:
    pods = int(1_000 * workloads.BUDGET_SHARE / (1 + SURGE))

    assert workloads.most_within(1_000, [(pods, 1)])
    assert not workloads.most_within(1_000, [(pods + 1, 1)])
    assert workloads.most_within(0, [(10**6, 100)])  # no limit


def test_rules_below_an_order_come_before_the_order_s_own() -> None:
    sized = [
        workloads.size_service(
            Service(name, 10, 100), Service(name, 1_000, 100), zones=3, spot_share=0.7
        )
        for name in ("catalog", "order", "payment", "shipping")
    ]
    made = ingress.routes(sized, per_ip_rps=5, trusts_addresses=True)

    assert [one.service for one in made] == ["payment", "shipping", "order", "catalog"]
    assert [one.order for one in made] == sorted(one.order for one in made)
    assert all(0 < one.ip_qps < one.qps for one in made)
    assert all(one.regex == ("[" in one.paths[0]) for one in made)


def test_no_address_is_limited_where_addresses_are_the_edge_s() -> None:
    sized = [
        workloads.size_service(
            Service("order", 10, 100), Service("order", 1_000, 100), zones=3, spot_share=0.7
        )
    ]

    assert ingress.routes(sized, per_ip_rps=5, trusts_addresses=False)[0].ip_qps == 0


def test_a_gateway_gets_every_path() -> None:
    sized = [
        workloads.size_service(
            Service(name, 10, 100), Service(name, 500, 100), zones=2, spot_share=0
        )
        for name in ("order", "gateway")
    ]

    (route,) = ingress.routes(sized, per_ip_rps=0, trusts_addresses=True)

    assert (route.service, route.paths) == ("gateway", ("/",))


@pytest.mark.parametrize(
    ("url", "port"),
    [
        (None, 6379),
        ("", 6379),
        ("redis://cache:6380/0", 6380),
        ("redis+cluster://a:7001,b:7002", 7001),
        ("redis://cache", 6379),
        ("redis://cache:notaport", 6379),
        ("rocketmq://10.0.0.1:8081;10.0.0.2:8081", 6379),
    ],
    ids=["none", "empty", "port", "several", "no-port", "no-number", "list"],
)
def test_an_engine_s_port_is_that_of_its_url(url: str | None, port: int) -> None:
    assert network.port_of(url, 6379) == port


def test_a_request_that_came_last_through_the_load_balancer_may_still_take_its_whole_time() -> None:
    stop, lands_s = lifecycle.shutdown(), 15  # the latest a load balancer was seen to send on

    left_s = stop.pre_stop_s - lands_s + stop.drain_delay_s + stop.finish_s

    assert left_s >= ingress.REQUEST_TIMEOUT_S


@pytest.mark.parametrize(
    "path",
    [
        *("/products", "/products/sku-1", "/products/a/reviews", "/products/a/recommendations"),
        *("/orders", "/orders/0123", "/orders/0123/payments", "/orders/0123/parcels", "/cart"),
    ],
)
def test_the_load_balancer_sends_each_path_where_our_gateway_would(path: str) -> None:
    sized = [
        workloads.size_service(
            Service(name, 10, 100), Service(name, 1_000, 100), zones=3, spot_share=0.7
        )
        for name in ("catalog", "order", "payment", "shipping")
    ]
    rules = ingress.routes(sized, per_ip_rps=0, trusts_addresses=True)

    first = next(
        rule.service
        for rule in rules  # ascending order, the first hit wins
        for one in rule.paths
        if (re.search(one, path) if rule.regex else path == one or path.startswith(f"{one}/"))
    )

    assert first == route_of(path)
