"""CRN001 to CRN013: what CronHPAs do on sale day, said with the figures of the documents."""

from datetime import UTC, datetime

import pytest

from lint_fleets import HPA, cron_yaml, facts, fleet_of, hits_of
from saleops.domain.lint.fleet import Fleet, SaleFacts
from saleops.domain.lint.rules import RULES
from saleops.operations.lint.parsing import parse_text

ARTICLE = """apiVersion: autoscaling.alibabacloud.com/v1beta1
kind: CronHorizontalPodAutoscaler
metadata:
  name: order-service-cronhpa
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: order-service
  jobs:
    - name: "scale-up"
      schedule: "30 23 * * *"  # half past eleven
      targetSize: 100
    - name: "scale-down"
      schedule: "0 2 * * *"
      targetSize: 10
"""
IDS = [f"CRN{n:03}" for n in range(1, 14)]
TO_HPA = "{apiVersion: autoscaling/v1, kind: HorizontalPodAutoscaler, name: order-hpa}"
UP = 'name: up, schedule: "@date 2026-11-26 23:00:00", targetSize: 100'
DOWN = 'name: down, schedule: "@date 2026-11-27 03:00:00", targetSize: 10'


def applied(text: str, fleet: Fleet, id: str) -> str:
    """``text`` after the edits of every hit of a rule, the last edit first."""
    lines = text.splitlines(keepends=True)
    edits = sorted(
        (edit for hit in hits_of(id, fleet) for edit in hit.edits),
        key=lambda one: (one.line, one.column),
        reverse=True,
    )
    for edit in edits:
        line = lines[edit.line - 1]
        lines[edit.line - 1] = line[: edit.column - 1] + edit.text + line[edit.end_column - 1 :]
    return "".join(lines)


def test_the_five_fields_of_a_crontab_drop_the_service_two_minutes_into_the_sale() -> None:
    hits = hits_of("CRN001", fleet_of(ARTICLE, sale=facts()))

    assert [hit.document.place(hit.path)[0] for hit in hits] == [12, 15]
    assert "it fires every hour at mm:ss 02:00" in hits[1].message
    assert (
        "at 2026-11-27 00:02:00 +08:00, 2 min into the sale, order-service goes from 100 to 10 pods"
        in hits[1].why
    )
    assert "takes it back at 2026-11-27 00:23:30 +08:00, 21 min 30 s later" in hits[1].why
    assert 'Write "0 0 2 * * *"' in hits[1].fix


def test_the_fix_of_five_fields_is_six_and_keeps_the_comment() -> None:
    fleet = fleet_of(ARTICLE, sale=facts())

    text = applied(ARTICLE, fleet, "CRN001")

    assert 'schedule: "0 30 23 * * *"  # half past eleven' in text
    assert 'schedule: "0 0 2 * * *"' in text
    assert hits_of("CRN001", fleet_of(text, sale=facts())) == []


@pytest.mark.parametrize("text", ["0 30 23 * *", "*/5 * * * *", "0 2 1 * *", "99 2 * * *"])
def test_five_fields_that_can_be_read_in_two_ways_are_left_to_a_person(text: str) -> None:
    fleet = fleet_of(cron_yaml(f'name: up, schedule: "{text}", targetSize: 5'))

    hits = hits_of("CRN001", fleet)

    assert len(hits) == 1
    assert hits[0].edits == ()


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ('"0 0 24 * * *"', "24 is above 23"),
        ("17", "empty"),
        ("[1]", "empty"),
        ('"@Daily"', "no descriptor"),
    ],
    ids=["hour", "number", "list", "case"],
)
def test_a_schedule_that_the_controller_refuses_is_an_error(schedule: str, said: str) -> None:
    hits = hits_of("CRN001", fleet_of(cron_yaml(f"name: up, schedule: {schedule}, targetSize: 5")))

    assert len(hits) == 1
    assert said in hits[0].message


def test_six_fields_and_descriptors_are_fine() -> None:
    fleet = fleet_of(cron_yaml(UP, DOWN, 'name: c, schedule: "0 0 4 * * *", targetSize: 3'))

    assert hits_of("CRN001", fleet) == []


def test_a_star_for_the_seconds_is_sixty_runs_a_minute() -> None:
    text = cron_yaml('name: up, schedule: "* 30 23 * * *", targetSize: 5')
    fleet = fleet_of(text)

    hits = hits_of("CRN002", fleet)

    assert "fires 60 times a minute" in hits[0].message
    assert '"0 30 23 * * *"' in applied(text, fleet, "CRN002")


@pytest.mark.parametrize(
    ("year", "said"), [(2020, "in the past"), (2028, "over a year ahead")], ids=["past", "ahead"]
)
def test_the_year_of_a_date_does_not_count(year: int, said: str) -> None:
    job = f'name: up, schedule: "@date {year}-11-26 23:30:00", targetSize: 5'

    hits = hits_of("CRN003", fleet_of(cron_yaml(job), sale=facts()))

    assert said in hits[0].message
    assert "it fires at 2026-11-26 23:30:00 +08:00" in hits[0].message


def test_a_date_of_this_sale_is_fine() -> None:
    assert hits_of("CRN003", fleet_of(cron_yaml(UP, DOWN), sale=facts())) == []


def test_a_recurring_job_of_a_one_day_sale_is_told_the_date_it_means() -> None:
    jobs = (
        'name: up, schedule: "0 30 23 * * *", targetSize: 100',
        'name: down, schedule: "0 0 3 * * *", targetSize: 10',
    )

    hits = hits_of("CRN004", fleet_of(cron_yaml(*jobs), sale=facts()))

    assert [hit.fix for hit in hits] == [
        'Write "@date 2026-11-26 23:30:00".',
        'Write "@date 2026-11-27 03:00:00".',
    ]


def test_run_once_is_added_only_where_day_and_month_are_fixed() -> None:
    text = cron_yaml(
        'name: up, schedule: "0 30 23 26 11 *", targetSize: 100',
        'name: down, schedule: "0 0 3 * * *", targetSize: 10',
    )
    fleet = fleet_of(text, sale=facts())

    mended = applied(text, fleet, "CRN004")

    assert 'schedule: "0 30 23 26 11 *", runOnce: true, targetSize' in mended
    assert mended.count("runOnce") == 1


def test_run_once_is_added_on_a_line_of_its_own_in_block_style() -> None:
    text = ARTICLE.replace("30 23 * * *", "0 30 23 26 11 *")
    fleet = fleet_of(text, sale=facts())

    assert "# half past eleven\n      runOnce: true\n" in applied(text, fleet, "CRN004")


def test_a_cronhpa_and_an_hpa_on_one_deployment_fight() -> None:
    text = cron_yaml(UP, DOWN)
    fleet = fleet_of(text, HPA)

    hits = hits_of("CRN005", fleet)

    assert "and so does the HPA order-hpa" in hits[0].message
    assert "between 10 and 50" in hits[0].why
    mended = applied(text, fleet, "CRN005")
    assert "kind: HorizontalPodAutoscaler, name: order-hpa}" in mended
    assert hits_of("CRN005", fleet_of(mended, HPA)) == []


def test_a_target_above_the_hpas_max_raises_it_for_good() -> None:
    hits = hits_of("CRN006", fleet_of(cron_yaml(UP, DOWN, target=TO_HPA), HPA))

    assert [hit.message for hit in hits] == [
        "order-cron: up wants 100 pods, the HPA order-hpa has max 50: max becomes 100 for good"
    ]


def test_a_min_that_no_job_lowers_again_is_told() -> None:
    up = 'name: up, schedule: "@date 2026-11-26 23:00:00", targetSize: 40'

    alone = hits_of("CRN006", fleet_of(cron_yaml(up, target=TO_HPA), HPA))
    paired = hits_of("CRN006", fleet_of(cron_yaml(up, DOWN, target=TO_HPA), HPA))

    assert "raises min of the HPA order-hpa from 10 to 40" in alone[0].message
    assert paired == []


@pytest.mark.parametrize(
    ("jobs", "said"),
    [
        ((UP, UP.replace("100", "50")), "two jobs are called up"),
        ((UP, 'name: b, schedule: "@date 2026-11-26 23:00:59", targetSize: 9'), "59 s apart"),
        (('name: a, schedule: "0 0 0 * * *", targetSize: 1', 'name: b, schedule: "30 59 23 * * *", targetSize: 2'), "30 s apart"),
        ((UP.replace("100", "-1"),), "to -1 pods"),
        ((UP.replace("100", "0"),), "to 0 pods"),
        ((UP.replace("100", "many"),), "no whole number"),
    ],
    ids=["names", "near", "midnight", "negative", "zero", "text"],
)  # fmt: skip
def test_jobs_that_collide_or_make_no_sense_are_errors(jobs: tuple[str, ...], said: str) -> None:
    hits = hits_of("CRN007", fleet_of(cron_yaml(*jobs), sale=facts()))

    assert any(said in hit.message for hit in hits)


def test_jobs_a_minute_apart_and_on_different_days_do_not_collide() -> None:
    apart = ('name: a, schedule: "0 0 0 * * *", targetSize: 1', 'name: b, schedule: "0 1 0 * * *", targetSize: 2')  # fmt: skip
    days = ('name: a, schedule: "0 0 0 1 * *", targetSize: 1', 'name: b, schedule: "0 0 0 2 * *", targetSize: 2')  # fmt: skip

    assert hits_of("CRN007", fleet_of(cron_yaml(*apart))) == []
    assert hits_of("CRN007", fleet_of(cron_yaml(*days))) == []


def test_jobs_of_two_cronhpas_on_one_workload_collide_too() -> None:
    fleet = fleet_of(cron_yaml(UP), cron_yaml(UP.replace("100", "7"), name="other"))

    hits = hits_of("CRN007", fleet)

    assert "0 s apart" in hits[0].message
    assert "of order-cron" in hits[0].message


def test_a_version_without_a_group_panics_the_controller() -> None:
    text = cron_yaml(UP, target="{apiVersion: v1, kind: Deployment, name: order-service}")
    fleet = fleet_of(text)

    assert "the controller panics" in hits_of("CRN008", fleet)[0].message
    assert "apiVersion: apps/v1, kind: Deployment" in applied(text, fleet, "CRN008")


def test_exclude_dates_say_which_run_they_take() -> None:
    text = cron_yaml(
        'name: up, schedule: "@date 2026-11-26 00:30:00", targetSize: 100',
        extra='  excludeDates: ["* * * 15 11 *", "x"]\n',
    )
    sale = facts(now=datetime(2026, 11, 25, tzinfo=UTC))

    hits = hits_of("CRN009", fleet_of(text, sale=sale))

    assert "not understood and ignored: `x`" in hits[0].message
    assert (
        "does not go to 100 pods" not in hits[0].why or "up at 2026-11-26 00:30:00" in hits[0].why
    )
    assert hits_of("CRN009", fleet_of(cron_yaml(UP, extra="  excludeDates: []\n"))) == []


def test_a_scale_up_two_minutes_before_the_sale_is_too_late() -> None:
    late = 'name: up, schedule: "@date 2026-11-26 23:58:00", targetSize: 100'

    hits = hits_of("CRN010", fleet_of(cron_yaml(late), sale=facts()))

    assert "only 2 min before the sale; 30 min are wanted" in hits[0].message
    # 120 boot + 20 image + 1 + 10 start + 0 readiness + 16 load balancer + 0 slow start
    assert "= 167 s" in hits[0].why


def test_a_scale_up_half_an_hour_before_is_early_enough() -> None:
    job = 'name: up, schedule: "@date 2026-11-26 23:30:00", targetSize: 100'

    assert hits_of("CRN010", fleet_of(cron_yaml(job), sale=facts())) == []


def test_a_scale_down_inside_the_sale_says_what_is_left() -> None:
    hits = hits_of("CRN011", fleet_of(ARTICLE, sale=facts()))

    assert len(hits) == 1
    assert (
        "takes order-service from 100 to 10 pods at 2026-11-27 00:02:00 +08:00" in hits[0].message
    )
    assert "10 of the 100 pods" in hits[0].why
    assert "4,500 requests a second of 45,000" in hits[0].why
    assert "It happens 2 times" in hits[0].why


def test_a_scale_down_after_the_close_is_fine() -> None:
    assert hits_of("CRN011", fleet_of(cron_yaml(UP, DOWN), sale=facts())) == []


def test_the_zone_of_the_controller_decides_whether_a_down_job_is_inside() -> None:
    down = 'name: down, schedule: "@date 2026-11-26 17:00:00", targetSize: 10'  # 01:00 in Shanghai
    jobs = cron_yaml(UP.replace("2026-11-26 23:00:00", "2026-11-26 15:00:00"), down)

    assert hits_of("CRN011", fleet_of(jobs, sale=facts(zone="UTC")))
    assert hits_of("CRN011", fleet_of(jobs, sale=facts())) == []


def test_the_controllers_own_tz_wins_over_the_profile() -> None:
    controller = """apiVersion: apps/v1
kind: Deployment
metadata: {name: kubernetes-cronhpa-controller, namespace: kube-system}
spec: {template: {spec: {containers: [{name: c, env: [{name: TZ, value: UTC}]}]}}}
"""
    hits = hits_of("CRN012", fleet_of(cron_yaml(UP), controller, sale=facts()))

    assert "written for Asia/Shanghai, but the controller runs in UTC" in hits[0].message
    assert hits[0].why == "Every job of order-cron runs 8 h too late."
    assert hits[0].severity == "error"


def test_a_cronhpa_that_says_no_zone_is_warned_of_and_told_the_sales_other_clock() -> None:
    sale = 'apiVersion: saleops/v1\nname: s\nwindow: {opens: "2026-11-26T16:00:00+00:00", closes: "2026-11-26T18:00:00+00:00"}\n'
    documents = (*parse_text("c.yaml", ARTICLE).documents, *parse_text("sale.yaml", sale).documents)

    hits = hits_of("CRN012", Fleet(documents, sale=facts()))

    assert "says nowhere in which zone" in hits[0].message
    assert "which is 2026-11-27 00:00:00+08:00 to the controller" in hits[0].why


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("sale", [None, facts()], ids=["no sale", "sale"])
def test_wrong_types_anywhere_are_no_reason_to_raise(id: str, sale: SaleFacts | None) -> None:
    shapes = (
        "spec: 5",
        "spec: {jobs: {a: 1}}",
        "spec: {jobs: [1, null, {schedule: {}, targetSize: [], name: 7, runOnce: x}], scaleTargetRef: []}",
        "spec: {scaleTargetRef: {kind: 1, name: [], apiVersion: {}}, excludeDates: {a: b}, jobs: [{schedule: '@date 9999-12-31 23:59:59', targetSize: 99999999999}]}",  # noqa: E501
        "spec: {scaleTargetRef: {kind: Deployment, name: x}, excludeDates: [1, null], jobs: [{schedule: '* * * * * *', targetSize: 1}, {schedule: ', , , , ,', targetSize: 2}]}",  # noqa: E501
        "spec: {scaleTargetRef: {kind: Deployment, name: x}, jobs: [{schedule: '@date 0000-01-01 00:00:00', targetSize: true, runOnce: true}, {schedule: '@every 1s', targetSize: 3}]}",  # noqa: E501
        "metadata: {annotations: {saleops.dev/controller-zone: ../etc/passwd}}",
    )
    for shape in shapes:
        text = f"kind: CronHorizontalPodAutoscaler\napiVersion: autoscaling.alibabacloud.com/v1beta1\n{shape}\n"

        for hit in hits_of(id, fleet_of(text, sale=sale)):
            assert hit.message


def test_every_cron_rule_explains_itself() -> None:
    hits_of("CRN001", fleet_of(ARTICLE))

    for id in IDS:
        rule = RULES[id]
        assert all((rule.title, rule.why, rule.fix, rule.source, rule.bad, rule.good)), id
