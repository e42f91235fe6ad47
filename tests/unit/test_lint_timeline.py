"""``saleops lint --timeline``: from a sale and manifests to what falls short when, why, and exit code 3."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lint_fleets import HPA, cron_yaml, facts, fleet_of
from saleops.cli.lint_timeline import span_s, with_timeline_first
from saleops.cli.lint_timeline_views import Chart, t_text
from saleops.cli.main import app
from saleops.config.sale import Sale, load_sale
from saleops.domain.lint.fleet import Fleet
from saleops.domain.timeline.model import Reclaim
from saleops.domain.timeline.ttl import expiries, waves_of
from saleops.errors import ConfigError, GateFailed
from saleops.operations.lint.timeline import TimelineReport, timeline

SALE = Path(__file__).parents[2] / "examples" / "midnight-drop" / "sale.yaml"
FIVE = (
    'name: up, schedule: "30 23 * * *", targetSize: 100',
    'name: down, schedule: "0 2 * * *", targetSize: 10',
)
RIGHT = (
    'name: up, schedule: "@date 2026-11-26 23:00:00", targetSize: 100',
    'name: down, schedule: "@date 2026-11-27 02:30:00", targetSize: 10',
)
DEPLOYMENT = """apiVersion: apps/v1
kind: Deployment
metadata: {name: order-service}
spec:
  replicas: 10
  selector: {matchLabels: {app: order}}
  template:
    metadata: {labels: {app: order}}
    spec:
      terminationGracePeriodSeconds: 45
      containers:
        - name: order
          image: order@sha256:1
          resources: {requests: {cpu: "1", memory: 1Gi}}
          lifecycle: {preStop: {sleep: {seconds: 15}}}
          readinessProbe: {httpGet: {path: /readyz, port: 80}, periodSeconds: 5}
"""
POOL = json.dumps(
    {
        "nodepool_info": {"name": "core"},
        "scaling_group": {"instance_types": ["ecs.c7.4xlarge"], "desired_size": 4},
        "auto_scaling": {"enable": True, "min_instances": 4, "max_instances": 20},
    }
)


@pytest.fixture(scope="module")
def sale() -> Sale:
    return load_sale(SALE)


def report_of(
    sale: Sale, *texts: str, names: tuple[str, ...] = (), **options: object
) -> TimelineReport:
    fleet = fleet_of(*texts, sale=facts(pods={"order": 18, "catalog": 14}), names=names)
    return timeline(sale, fleet, **options)  # type: ignore[arg-type]  # passed through


def test_five_fields_leave_ten_pods_two_minutes_into_the_sale(sale: Sale) -> None:
    report = report_of(sale, cron_yaml(*FIVE))

    first = report.shortages[0]
    drop = next(one for one in report.events if one.t_s == 120 and one.kind == "cron")
    assert (drop.at, drop.before, drop.after) == ("2026-11-27 00:02:00 +08:00", 100, 10)
    assert drop.text == "from 100 to 10 pods"
    # 21 min 30 s until 00:23:30, then 1 schedule + 20 image + 10 start + 16 load balancer
    assert (first.begin, first.end) == ("2026-11-27 00:02:00 +08:00", "2026-11-27 00:24:17 +08:00")
    assert (first.ordered, first.ordered_after_s) == ("2026-11-27 00:23:30 +08:00", 1290)
    assert (first.seconds, first.worst_rps, first.lost) == (1337, 500.0, 668_500)
    assert first.cause == "CronHPA, 100 to 10 pods: order-cron/down `0 2 * * *` f0.yaml:10"
    assert not report.go


def test_dates_around_the_sale_are_go(sale: Sale) -> None:
    report = report_of(sale, cron_yaml(*RIGHT), DEPLOYMENT)

    assert report.go
    assert [one for one in report.shortages if one.inside] == []
    assert report.findings() == ()


def test_a_service_that_is_in_no_manifest_is_taken_from_the_sale_and_said(sale: Sale) -> None:
    report = report_of(sale, cron_yaml(*RIGHT))

    catalog = next(one for one in report.services if one.service == "catalog")
    assert (catalog.pods_first, catalog.source, catalog.judged) == (14, "the sale's plan", True)
    assert any("catalog is in no manifest" in note for note in report.notes)
    assert any("Deployment order-service is in no manifest" in note for note in report.notes)


def test_a_workload_that_the_sale_does_not_know_is_followed_and_not_judged(sale: Sale) -> None:
    other = DEPLOYMENT.replace("order-service", "mailer").replace("app: order", "app: mailer")

    report = report_of(sale, other)

    mailer = next(one for one in report.services if one.service == "mailer")
    assert (mailer.pods_first, mailer.judged, mailer.short_s) == (10, False, 0)


def test_two_workloads_of_one_service_share_its_demand_by_their_pods(sale: Sale) -> None:
    order = DEPLOYMENT.replace("replicas: 10", "replicas: 12")
    core = DEPLOYMENT.replace("name: order-service", "name: order-core").replace(
        "replicas: 10", "replicas: 6"
    )

    report = report_of(sale, order, core)

    rows = {one.service: one for one in report.services}
    assert round(rows["order-service"].peak_rps) == 3333
    assert round(rows["order-core"].peak_rps) == 1667
    assert (rows["order-service"].pods_planned, rows["order-core"].pods_planned) == (12, 6)
    assert "order" not in rows
    assert report.go


def test_the_series_has_every_second_once(sale: Sale) -> None:
    report = report_of(sale, cron_yaml(*FIVE), DEPLOYMENT)

    for service in report.services:
        at = -7200
        for second, seconds, pods, capacity, demand in service.series:
            assert second == at
            assert min(pods, capacity, demand) >= 0
            at += seconds
        assert at == 7200 + 7200
        assert len(service.series) < 200


def test_manifests_say_how_long_pods_start_and_go_on(sale: Sale) -> None:
    report = report_of(sale, cron_yaml(*FIVE), DEPLOYMENT)

    # no Ingress: 2 s until every node knows. The start: 1 + 20 + 10, probe 5, 2: 38 s
    assert report.shortages[0].begin == "2026-11-27 00:02:02 +08:00"
    assert report.shortages[0].end == "2026-11-27 00:24:08 +08:00"


def test_an_hpa_that_cronhpa_does_not_know_of_takes_the_pods_away_before_the_sale(
    sale: Sale,
) -> None:
    report = report_of(sale, cron_yaml(RIGHT[0]), DEPLOYMENT, HPA + "  metrics:\n" + (
        "    - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}\n"
    ))  # fmt: skip

    taken = next(one for one in report.events if one.kind == "hpa" and one.after < one.before)
    assert (taken.before, taken.after) == (100, 50)
    assert any(one.kind == "hpa" and one.after == 10 and one.t_s < 0 for one in report.events)
    assert any("HPA order-hpa" in one.cause for one in report.shortages if one.inside)


def test_pods_wait_for_the_nodes_of_a_pool(sale: Sale) -> None:
    report = report_of(
        sale, cron_yaml(RIGHT[0]), DEPLOYMENT, POOL, names=("c.yaml", "d.yaml", "p.json")
    )

    assert any(one.kind == "pending" and "find no node" in one.text for one in report.events)
    assert any("nodes of core are there" in one.text for one in report.events)


def test_a_reclaim_says_what_is_left_and_is_no_go_below_demand(sale: Sale) -> None:
    fine = report_of(sale, cron_yaml(*RIGHT), reclaim=Reclaim(0.3, 60))
    harsh = report_of(sale, cron_yaml(*RIGHT), reclaim=Reclaim(0.95, 60))

    order = next(one for one in fine.reclaim if one.service == "order-service")
    assert (order.pods_before, order.pods_left, order.capacity_rps, order.ratio) == (
        100,
        70,
        31_500.0,
        6.3,
    )
    assert order.go
    assert next(one for one in harsh.reclaim if one.service == "order-service").ratio == 0.45
    assert not harsh.go


def test_a_reclaim_outside_of_the_time_line_is_refused(sale: Sale) -> None:
    with pytest.raises(ConfigError, match="outside of the time line"):
        report_of(sale, reclaim=Reclaim(0.3, 100_000))


def test_a_time_line_of_more_than_eight_days_is_refused(sale: Sale) -> None:
    with pytest.raises(ConfigError, match="eight are the most"):
        report_of(sale, before_s=8 * 86_400)


def test_a_job_that_excludedates_skips_is_said_and_does_nothing(sale: Sale) -> None:
    text = cron_yaml(*FIVE, extra='  excludeDates: ["* * * 27 11 *"]\n')

    report = report_of(sale, text)

    assert any("skipped by excludeDates" in one.text for one in report.events)


def test_every_cached_page_expires_at_once_without_jitter(sale: Sale) -> None:
    equal = sale.model_copy(update={"cache": sale.cache.model_copy(update={"jitter": 0.0})})
    fleet = Fleet((), sale=facts())

    together = timeline(equal, fleet, pages=5000)
    spread = timeline(sale, fleet, pages=5000)

    assert together.waves[0].worst_per_s == 5000
    assert together.waves[0].worst_at == "2026-11-27 00:05:00 +08:00"
    assert spread.waves[0].worst_per_s < 50
    assert any("expire together" in note for note in together.notes)


def test_each_wave_of_expiries_has_every_page_once() -> None:
    waves = expiries(1000, 300, 0.2, fill_s=30, waves=4)

    assert [round(sum(wave), 6) for wave in waves] == [1000.0] * 4
    worst = [one.worst for one in waves_of(waves)]
    assert worst == sorted(worst, reverse=True)


def test_an_hpa_alone_is_too_late_and_pods_that_are_there_are_not(sale: Sale) -> None:
    report = report_of(sale, cron_yaml(*RIGHT))

    order = next(one for one in report.reactive if one.service == "order-service")
    assert order.factor == 100.0
    assert order.hpa_seconds > 60
    assert order.prescaled_seconds == 0


def test_wrong_types_in_manifests_are_no_reason_to_raise(sale: Sale) -> None:
    odd = (
        "kind: Deployment\napiVersion: apps/v1\nmetadata: {name: order-service}\nspec: {replicas: many, template: 7}\n",
        "kind: Deployment\napiVersion: apps/v1\nmetadata: {name: payment}\nspec: {template: {spec: {containers: "
        "[1, {lifecycle: {preStop: {exec: {command: [sleep]}}}, resources: {requests: {cpu: x}}}]}}}\n",
        HPA.replace("10", "[]").replace("50", "true")
        + "  metrics: {a: 1}\n  behavior: {scaleUp: 5, scaleDown: {policies: [1, {type: Pods, value: -2}]}}\n",
        "kind: HorizontalPodAutoscaler\napiVersion: autoscaling/v2\nmetadata: {name: h}\nspec: {scaleTargetRef: {kind: Deployment, name: payment}, maxReplicas: 3, "  # noqa: E501
        "metrics: [{pods: {metric: {name: rps}, target: {averageValue: nan}}}]}\n",
        "kind: Ingress\napiVersion: networking.k8s.io/v1\nmetadata: {name: i, annotations: [x]}\nspec: {rules: [{http: {paths: [{backend: {service: 4}}]}}]}\n",  # noqa: E501
        cron_yaml('name: 5, schedule: ["x"], targetSize: "y"', "name: z"),
        "kind: Service\napiVersion: v1\nmetadata: {name: s}\nspec: {selector: [1]}\n",
    )

    report = report_of(sale, *odd)

    assert report.seconds == 6 * 3600


def test_the_chart_marks_what_finds_no_pod(sale: Sale) -> None:
    report = report_of(sale, cron_yaml(*FIVE))
    row = next(one for one in report.services if one.service == "order-service")

    lines = list(Chart(row, "title", "22:00", "T 00:00", "04:00").plain_lines())

    assert len(lines) == 11
    assert any("x" in line for line in lines[1:-2])
    assert all(len(line) <= 12 + 72 + 30 for line in lines)


def test_a_chart_of_a_service_without_capacity_is_all_shortage(sale: Sale) -> None:
    report = report_of(sale, DEPLOYMENT.replace("replicas: 10", "replicas: 0"))
    row = next(one for one in report.services if one.service == "order-service")

    lines = list(Chart(replace(row), "t", "a", "b", "c").plain_lines())

    assert not any("#" in line for line in lines[1:-2])


@pytest.mark.parametrize(
    ("text", "seconds"), [("2h", 7200), ("90m", 5400), ("45", 45), ("1d", 86_400), ("+60s", 60), ("-5min", -300)]
)  # fmt: skip
def test_spans_of_time_are_read(text: str, seconds: int) -> None:
    assert span_s(text, "--at", signed=True) == seconds


@pytest.mark.parametrize("text", ["", "soon", "1w", "-2h", "1.5h", "99999999999"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no span of time"):
        span_s(text, "--before")


def test_the_flag_is_the_command() -> None:
    assert with_timeline_first(["--timeline", "s.yaml", "k8s"]) == ["timeline", "s.yaml", "k8s"]
    assert with_timeline_first(["-o", "json", "--timeline=s.yaml", "k8s"]) == [
        "timeline", "s.yaml", "-o", "json", "k8s",
    ]  # fmt: skip
    assert with_timeline_first(["--timeline"]) == ["timeline"]
    assert with_timeline_first(["--", "--timeline"]) == ["--", "--timeline"]
    assert with_timeline_first(["k8s"]) == ["k8s"]


def test_clock_times_are_told_from_the_opening() -> None:
    assert [t_text(one) for one in (-2190, 0, 3661)] == ["T-00:36:30", "T+00:00:00", "T+01:01:01"]


# The command


def test_the_command_exits_3_and_names_the_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "cron.yaml").write_text(cron_yaml(*FIVE))

    result = CliRunner().invoke(app, ["lint", "--timeline", str(SALE), str(tmp_path), "-o", "json"])

    document = json.loads(result.stdout)
    assert document["schema"] == "saleops/lint-timeline/v1"
    assert document["go"] is False
    assert document["shortages"][0]["begin_t_s"] == 120
    assert document["shortages"][0]["cause"].endswith("cron.yaml:10")
    assert isinstance(result.exception, GateFailed)


def test_the_command_is_go_where_capacity_meets_demand(tmp_path: Path) -> None:
    (tmp_path / "cron.yaml").write_text(cron_yaml(*RIGHT))
    (tmp_path / "order.yaml").write_text(DEPLOYMENT)

    result = CliRunner().invoke(
        app, ["lint", "timeline", str(SALE), str(tmp_path), "--reclaim", "10%", "--at", "+5m"]
    )

    assert result.exit_code == 0, result.output
    assert "GO: capacity meets demand while the sale is open" in result.output
    assert "T+00:05:00" in result.output


@pytest.mark.parametrize(
    "flags", [["--reclaim", "0%"], ["--reclaim", "lots"], ["--reclaim", "5%", "--at", "x"], ["--before", "-1h"]]
)  # fmt: skip
def test_wrong_flags_are_said_with_what_to_write(tmp_path: Path, flags: list[str]) -> None:
    (tmp_path / "cron.yaml").write_text(cron_yaml(*RIGHT))

    result = CliRunner().invoke(app, ["lint", "timeline", str(SALE), str(tmp_path), *flags])

    assert isinstance(result.exception, ConfigError) or result.exit_code == 2
