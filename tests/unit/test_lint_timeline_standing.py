"""The time line of jobs that run each second, and of what nobody can judge."""

from pathlib import Path

import pytest

from lint_fleets import HPA, cron_yaml, facts, fleet_of
from saleops.config.sale import Sale, load_sale
from saleops.operations.lint import timeline_runs
from saleops.operations.lint.timeline import TimelineReport, timeline

SALE = Path(__file__).parents[2] / "examples" / "midnight-drop" / "sale.yaml"
UP = 'name: up, schedule: "0 0 23 * * *", targetSize: 100'
EACH_SECOND = 'name: down, schedule: "* * * * * *", targetSize: 2'
DEPLOYMENT = """apiVersion: apps/v1
kind: Deployment
metadata: {name: order-service}
spec:
  replicas: 20
  selector: {matchLabels: {app: order}}
  template: {metadata: {labels: {app: order}}, spec: {containers: [{name: c}]}}
"""


@pytest.fixture(scope="module")
def sale() -> Sale:
    return load_sale(SALE)


def report_of(sale: Sale, *texts: str, **options: int) -> TimelineReport:
    return timeline(
        sale, fleet_of(*texts, sale=facts(pods={"order": 18, "catalog": 14})), **options
    )


@pytest.mark.parametrize("text", ["* * * * * *", "@every 1s", "*/10 * * * * *", "* 0-30 * * * *"])
def test_a_sale_that_a_frequent_job_keeps_down_is_no_go(sale: Sale, text: str) -> None:
    report = report_of(sale, cron_yaml(UP, EACH_SECOND.replace("* * * * * *", text)), DEPLOYMENT)

    assert not report.go
    assert report.unjudged == ()
    assert report.shortages[0].seconds > 7000
    assert "order-cron/down" in report.shortages[0].cause


def test_a_standing_order_is_one_event_that_says_how_often_it_is_written(sale: Sale) -> None:
    report = report_of(
        sale, cron_yaml(EACH_SECOND.replace("targetSize: 2", "targetSize: 20")), DEPLOYMENT
    )

    cron = [one for one in report.events if one.kind == "cron"]
    assert [(one.t_s, one.text) for one in cron] == [
        (-7200, "stays at 20 pods; written 21,599 times more")
    ]
    assert report.go


def test_what_an_hpa_takes_a_standing_order_gives_back_a_second_later(sale: Sale) -> None:
    metrics = "  metrics:\n    - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}\n"
    order = EACH_SECOND.replace("targetSize: 2", "targetSize: 100")

    report = report_of(sale, cron_yaml(order), DEPLOYMENT, HPA + metrics)

    taken = [one for one in report.events if one.kind == "hpa" and one.after < one.before]
    given = [one for one in report.events if one.kind == "cron" and one.after > one.before]
    assert len(taken) > 10
    assert {one.t_s + 1 for one in taken} <= {one.t_s for one in given}
    assert given[-1].after == 100


def test_jobs_that_alternate_each_second_are_followed_for_the_whole_sale(sale: Sale) -> None:
    even = 'name: a, schedule: "*/2 * * * * *", targetSize: 30'
    odd = 'name: b, schedule: "1-59/2 * * * * *", targetSize: 40'

    report = report_of(sale, cron_yaml(even, odd), DEPLOYMENT)

    assert report.unjudged == ()
    order = next(one for one in report.services if one.service == "order-service")
    assert (order.pods_least, order.pods_most) == (30, 40)


@pytest.mark.parametrize("limit", ["SECONDS_MAX", "ORDERS_MAX"])
def test_what_is_not_followed_to_the_end_is_never_go(
    sale: Sale, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    jobs = (
        'name: a, schedule: "*/2 * * * * *", targetSize: 100',
        'name: b, schedule: "1-59/2 * * * * *", targetSize: 90',
    )
    assert report_of(sale, cron_yaml(*jobs), DEPLOYMENT).go
    monkeypatch.setattr(timeline_runs, limit, 5_000)

    report = report_of(sale, cron_yaml(*jobs), DEPLOYMENT)

    assert not report.go
    assert any("not followed" in one for one in report.unjudged)
    assert any(one.startswith("cannot be judged: order-service") for one in report.findings())


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (UP.replace("0 0 23 * * *", "nope"), "the controller refuses it"),
        (UP.replace("100", "99999999999999"), "above 2,147,483,647"),
        (UP.replace("100", "-5"), "the API refuses its targetSize -5"),
        (UP.replace("100", "many"), "no whole number"),
    ],
    ids=["schedule", "huge", "negative", "text"],
)
def test_a_job_that_is_refused_withholds_go(sale: Sale, job: str, said: str) -> None:
    assert report_of(sale, DEPLOYMENT).go

    report = report_of(sale, cron_yaml(job), DEPLOYMENT)

    assert not report.go
    assert said in report.unjudged[0]
    order = next(one for one in report.services if one.service == "order-service")
    assert order.pods_most == 20


def test_an_interval_whose_clock_nobody_knows_withholds_go_where_it_may_strike_the_sale(
    sale: Sale,
) -> None:
    job = 'name: odd, schedule: "@every 20h", targetSize: {}'

    low = report_of(sale, cron_yaml(job.format(17)), DEPLOYMENT)
    enough = report_of(sale, cron_yaml(job.format(18)), DEPLOYMENT)

    assert not low.go
    assert "sets 17 of 18 pods at a time nobody knows" in low.unjudged[0]
    assert enough.go


def test_a_workload_that_only_a_cronhpa_names_withholds_go(sale: Sale) -> None:
    report = report_of(sale, cron_yaml(UP))

    assert not report.go
    assert "is in no manifest, only CronHPA order-cron (f0.yaml) names it" in report.unjudged[0]


def test_a_cronhpa_that_names_nothing_withholds_go(sale: Sale) -> None:
    report = report_of(sale, cron_yaml(UP, target="{}"), DEPLOYMENT)

    assert report.unjudged == ("CronHPA order-cron (f0.yaml) names nothing that it scales",)


def test_a_refused_job_of_what_the_sale_does_not_know_changes_nothing(sale: Sale) -> None:
    other = "{apiVersion: apps/v1, kind: Deployment, name: mailer}"

    report = report_of(
        sale, cron_yaml(UP.replace("0 0 23 * * *", "nope"), target=other), DEPLOYMENT
    )

    assert report.go


def test_skipped_runs_of_a_frequent_job_are_one_event(sale: Sale) -> None:
    report = report_of(
        sale, cron_yaml(EACH_SECOND, extra='  excludeDates: ["* * * 27 11 *"]\n'), DEPLOYMENT
    )

    skipped = [one for one in report.events if "skipped by excludeDates" in one.text]
    assert len(skipped) < 5
    assert "runs of it" in skipped[0].text
