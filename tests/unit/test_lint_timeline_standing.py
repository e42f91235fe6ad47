"""The time line of jobs that run each second, and of what nobody can judge."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lint_fleets import HPA, cron_yaml, facts, fleet_of
from saleops.cli.main import app
from saleops.config.sale import Sale, load_sale
from saleops.domain.timeline.model import Reclaim
from saleops.errors import GateFailed
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


def report_of(sale: Sale, *texts: str, **options: Any) -> TimelineReport:
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


# What was not read, and pods that a reclaim cannot take

STRATEGY = "node.alibabacloud.com/spot-strategy"


def failed(*args: str) -> GateFailed:
    result = CliRunner().invoke(app, ["lint", "--timeline", str(SALE), *args])
    assert isinstance(result.exception, GateFailed), result.output
    return result.exception


def test_a_file_that_cannot_be_parsed_withholds_go(tmp_path: Path) -> None:
    (tmp_path / "order.yaml").write_text(DEPLOYMENT)
    (tmp_path / "broken.yaml").write_text("a: [1\nb: 2\n")

    error = failed(str(tmp_path))

    assert error.exit_code == 3
    assert f"cannot be judged: {tmp_path / 'broken.yaml'}:" in error.message
    assert error.hint == "Mend, render or leave out the files that cannot be read."


@pytest.mark.parametrize("text", ["", "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}"])
def test_without_a_workload_nothing_was_judged(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)

    error = failed(str(tmp_path))

    assert "cannot be judged: no workload was read: nothing was judged" in error.message
    assert error.hint == "Name the folder with the Deployments that the sale runs on."


def test_the_hint_names_lint_only_where_a_cronhpa_is_the_cause(sale: Sale) -> None:
    down = report_of(sale, cron_yaml(UP, EACH_SECOND), DEPLOYMENT)
    lost = report_of(sale, DEPLOYMENT, reclaim=Reclaim(0.9, 60))
    missing = report_of(sale, cron_yaml(UP))

    assert "names the lines to mend" in down.hint()
    assert lost.hint().startswith("More pods, or a Deployment that requires on-demand nodes")
    assert missing.hint() == "Add the manifest of the workload that is missing to PATH."


def required(*terms: str) -> str:
    listed = ", ".join(f"{{matchExpressions: [{one}]}}" for one in terms)
    return (
        "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "
        f"{{nodeSelectorTerms: [{listed}]}}}}}}"
    )


NO_SPOT = f"{{key: {STRATEGY}, operator: In, values: [NoSpot]}}"
CORE = "{key: saleops.io/pool, operator: In, values: [core]}"
NOT_IN = f"{{key: {STRATEGY}, operator: NotIn, values: [SpotAsPriceGo, SpotWithPriceLimit]}}"
ONE_OF_TWO = f"{{key: {STRATEGY}, operator: NotIn, values: [SpotAsPriceGo]}}"
ZONE = "{key: topology.kubernetes.io/zone, operator: In, values: [a]}"


@pytest.mark.parametrize(
    ("spec", "taken"),
    [
        (required(NO_SPOT), False),
        (required(NO_SPOT, CORE), False),
        (required(NOT_IN), False),
        (f"nodeSelector: {{{STRATEGY}: NoSpot}}", False),
        (required(ONE_OF_TWO), True),
        (required(NO_SPOT, ZONE), True),
        (required(NO_SPOT).replace("required", "preferred"), True),
        ("affinity: 5, nodeSelector: [x]", True),
    ],
)
def test_pods_that_require_nodes_on_demand_are_not_reclaimed(
    sale: Sale, spec: str, taken: bool
) -> None:
    report = report_of(
        sale, DEPLOYMENT.replace("spec: {cont", f"spec: {{{spec}, cont"), reclaim=Reclaim(0.9, 60)
    )

    assert any(one.service == "order-service" for one in report.reclaim) is taken


def test_workloads_of_one_service_are_judged_together_after_a_reclaim(sale: Sale) -> None:
    core = DEPLOYMENT.replace("name: order-service", "name: order-core").replace(
        "spec: {cont", f"spec: {{{required(NO_SPOT)}, cont"
    )

    report = report_of(sale, DEPLOYMENT, core, reclaim=Reclaim(0.5, 60))
    worse = report_of(
        sale, DEPLOYMENT, core.replace("replicas: 20", "replicas: 5"), reclaim=Reclaim(0.9, 60)
    )

    row = next(one for one in report.reclaim if one.service.startswith("order"))
    assert (row.service, row.pods_before, row.pods_left) == ("order-service + order-core", 40, 30)
    assert (row.capacity_rps, row.demand_rps, row.go) == (13_500.0, 5000.0, True)
    row = next(one for one in worse.reclaim if one.service.startswith("order"))
    assert (row.pods_left, row.go) == (7, False)
    assert any(one.service == "order-service" and one.inside for one in worse.shortages)


def test_a_workload_short_alone_is_no_shortage_where_the_others_have_room(sale: Sale) -> None:
    core = DEPLOYMENT.replace("name: order-service", "name: order-core")

    report = report_of(sale, cron_yaml(UP, EACH_SECOND), DEPLOYMENT, core)

    assert not [one for one in report.shortages if one.service == "order-service" and one.inside]
    assert any(one.startswith("order-service alone is short") for one in report.notes)
