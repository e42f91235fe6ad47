"""`saleops render k8s`: what it writes is strict Kubernetes, the same every time, holds no secret, and spares edited files."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s_golden import GOLDEN, PROFILE, SALE, golden_texts
from saleops.cli.main import main
from saleops.config.profile import Profile, default_profile, load_profile
from saleops.config.sale import Sale, load_sale
from saleops.domain.cronhpa import parse_schedule
from saleops.errors import ConfigError, Refused
from saleops.operations.k8s_schemas import check_texts, problems_in
from saleops.operations.k8s_texts import texts_of
from saleops.operations.made_switches import made_vswitches
from saleops.operations.render_k8s import apply_render, manifests_of, plan_render

IMAGES = "registry.example.com/shop"


@pytest.fixture(scope="module")
def sale() -> Sale:
    return load_sale(SALE)


@pytest.fixture(scope="module")
def profile() -> Profile:
    return load_profile(PROFILE)


def changed(sale: Sale, **fields: Any) -> Sale:
    return sale.model_copy(update=fields)


def profile_with(**fields: Any) -> Profile:
    return Profile.model_validate({"apiVersion": "saleops/profile/v1", **fields})


def documents(texts: dict[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, text in texts.items():
        if name.endswith(".yaml"):
            for document in yaml.safe_load_all(text):
                yield name, document


def of_kind(texts: dict[str, str], *kinds: str) -> list[dict[str, Any]]:
    return [one for _, one in documents(texts) if one["kind"] in kinds]


def test_the_example_sale_renders_as_its_golden_files() -> None:
    texts = golden_texts()
    there = {
        str(file.relative_to(GOLDEN)): file.read_text(encoding="utf-8")
        for file in GOLDEN.rglob("*")
        if file.is_file()
    }

    assert sorted(texts) == sorted(there), "run `make golden` and read its diff"
    for name, text in texts.items():
        assert text == there[name], f"{name}: run `make golden` and read its diff"


VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "no-spot": {"nodes": {"spot_share": 0.0}},
    "all-spot": {"nodes": {"spot_share": 1.0}},
    "proxysql": {"kubernetes": {"proxysql": True}},
    "kruise": {"kubernetes": {"prepull": "kruise", "pull_secret": "registry"}},
    "no-edge-certificate": {"kubernetes": {"certificate_id": "1-ap-southeast-1"}},
    "edge-untrusted": {"edge": {"domain": "a.example.com", "origin": "b.example.com"}},
    "digest": {"kubernetes": {"tag": "sha256:" + "a" * 64}},
    "taints": {"nodes": {"taints": [{"key": "burst", "value": "", "effect": "NoSchedule"}]}},
    "numbers": {"kubernetes": {"log_project": "2026", "monitoring_namespace": "1"}},
    "telemetry": {"kubernetes": {"otlp_endpoint": "http://otel.true.svc.cluster.local:4317"}},
}


@pytest.mark.parametrize("name", list(VARIANTS))
def test_every_document_is_strict_kubernetes(sale: Sale, name: str) -> None:
    texts = texts_of(manifests_of(sale, profile_with(**VARIANTS[name]), images=IMAGES), sale)

    assert check_texts(texts) == []


@pytest.mark.parametrize("word", ["true", "2026", "null", "1e5", "no", "0x1f", "a" * 42, "aliyun"])
def test_a_sale_may_have_a_name_that_yaml_reads_as_something_else(sale: Sale, word: str) -> None:
    named = changed(sale, name=word)

    assert check_texts(texts_of(manifests_of(named, default_profile(), images=IMAGES), named)) == []


@pytest.mark.parametrize("version", ["1.30", "1.34"])
def test_older_and_newer_clusters_take_it_too(version: str) -> None:
    assert check_texts(golden_texts(), version=version) == []


def test_two_runs_give_the_same_bytes(sale: Sale, profile: Profile) -> None:
    assert texts_of(manifests_of(sale, profile), sale) == texts_of(
        manifests_of(sale, profile), sale
    )


def test_no_secret_is_rendered_and_the_example_is_not_applied(sale: Sale) -> None:
    texts = golden_texts()
    (listed,) = of_kind({"kustomization.yaml": texts["kustomization.yaml"]}, "Kustomization")

    assert [name for name, one in documents(texts) if one["kind"] == "Secret"] == [
        "secret.example.yaml"
    ] * 2
    assert "secret.example.yaml" not in listed["resources"]
    assert set(listed["resources"]) < set(texts)
    shape = json.loads(of_kind(texts, "Secret")[0]["stringData"]["settings.json"])
    assert "REPLACE" in shape["database_url"]
    assert shape["opens_ms"] == sale.window.opens_ms


def test_the_settings_of_the_example_are_what_services_read() -> None:
    import msgspec

    from saleops.config.settings import ServiceSettings

    text = of_kind(golden_texts(), "Secret")[0]["stringData"]["settings.json"]

    assert msgspec.json.decode(text, type=ServiceSettings).sale == "midnight-drop"


def test_every_listed_file_is_there_and_every_object_has_one_name() -> None:
    seen = set()
    texts = golden_texts()
    listed = of_kind({"kustomization.yaml": texts["kustomization.yaml"]}, "Kustomization")[0]
    for name in listed["resources"]:
        for _, one in documents({name: texts[name]}):
            key = one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]
            assert key not in seen
            seen.add(key)


def test_each_selector_has_pods_and_each_autoscaler_a_deployment() -> None:
    texts = golden_texts()
    pods = [
        one["spec"]["template"]["metadata"]["labels"]
        for one in of_kind(texts, "Deployment", "DaemonSet")
    ]
    deployments = {one["metadata"]["name"] for one in of_kind(texts, "Deployment")}
    autoscalers = {one["metadata"]["name"] for one in of_kind(texts, "HorizontalPodAutoscaler")}

    def matched(labels: dict[str, str]) -> int:
        return sum(labels.items() <= one.items() for one in pods)

    for service in of_kind(texts, "Service"):
        assert matched(service["spec"]["selector"])
    for budget in of_kind(texts, "PodDisruptionBudget"):
        assert matched(budget["spec"]["selector"]["matchLabels"]) == 1
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    for policy in of_kind(texts, "NetworkPolicy"):
        labels = policy["spec"]["podSelector"].get("matchLabels")
        assert labels is None or matched(labels)
    for one in of_kind(texts, "CronHorizontalPodAutoscaler"):
        target = one["spec"]["scaleTargetRef"]
        known = autoscalers if target["kind"] == "HorizontalPodAutoscaler" else deployments
        assert target["name"] in known
    assert autoscalers <= deployments


def test_cron_jobs_fire_before_hold_and_after_the_sale(sale: Sale) -> None:
    start = datetime(2026, 11, 1, tzinfo=UTC)
    for one in of_kind(golden_texts(), "CronHorizontalPodAutoscaler"):
        zone = one["metadata"]["annotations"]["saleops.dev/controller-zone"]
        fires = {
            job["name"]: parse_schedule(job["schedule"]).next_after(start, zone)
            for job in one["spec"]["jobs"]
        }
        assert all(job["runOnce"] for job in one["spec"]["jobs"])
        moments = sorted(moment for moment in fires.values() if moment)
        assert all((b - a).total_seconds() >= 60 for a, b in pairwise(moments))
        if "sale-up" in fires:
            up, down = fires["sale-up"], fires["sale-down"]
            assert up is not None
            assert down is not None
            assert (sale.window.opens - up).total_seconds() >= 1_800
            assert (down - sale.window.closes).total_seconds() >= 900


def test_the_floor_lies_within_the_autoscaler_s_bounds() -> None:
    texts = golden_texts()
    bounds = {
        one["metadata"]["name"]: (one["spec"]["minReplicas"], one["spec"]["maxReplicas"])
        for one in of_kind(texts, "HorizontalPodAutoscaler")
    }
    for one in of_kind(texts, "CronHorizontalPodAutoscaler"):
        if one["spec"]["scaleTargetRef"]["kind"] == "HorizontalPodAutoscaler":
            low, high = bounds[one["metadata"]["name"]]
            sizes = [job["targetSize"] for job in one["spec"]["jobs"]]
            assert all(low <= size <= high for size in sizes)
            assert sizes[-1] == low


def test_scale_down_is_frozen_and_lifted_by_hand_afterwards() -> None:
    texts = golden_texts()
    applied = {name: text for name, text in texts.items() if name.startswith("services/")}

    for one in of_kind(applied, "HorizontalPodAutoscaler"):
        assert one["spec"]["behavior"]["scaleDown"] == {"selectPolicy": "Disabled"}
    after = of_kind(
        {"after.yaml": texts["after-the-sale/autoscalers.yaml"]}, "HorizontalPodAutoscaler"
    )
    assert len(after) == len(of_kind(applied, "HorizontalPodAutoscaler"))
    assert all("Disabled" not in json.dumps(one) for one in after)


def test_pods_run_locked_and_are_told_apart_from_the_sale_s_size() -> None:
    for one in of_kind(golden_texts(), "Deployment", "DaemonSet"):
        pod = one["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["imagePullPolicy"] == "IfNotPresent"
            assert "cpu" in container["resources"]["requests"]


def test_the_core_of_checkout_can_never_be_on_a_spot_node(sale: Sale) -> None:
    texts = golden_texts()
    for name in ("order-core", "payment-core"):
        (core,) = (one for one in of_kind(texts, "Deployment") if one["metadata"]["name"] == name)
        affinity = core["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
        terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        assert [one["matchExpressions"][0]["values"] for one in terms] == [["NoSpot"], ["core"]]
    plain = texts_of(
        manifests_of(sale, profile_with(nodes={"spot_share": 0.0}), images=IMAGES), sale
    )
    assert "spot-handler.yaml" not in plain
    assert "order-core" not in "".join(plain.values())


def test_default_deny_comes_first_and_only_named_edges_are_open() -> None:
    policies = of_kind(golden_texts(), "NetworkPolicy")
    ports = {
        policy["metadata"]["name"]: sorted(
            port["port"] for rule in policy["spec"].get("egress", ()) for port in rule["ports"]
        )
        for policy in policies
    }

    assert policies[0]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert ports["proxysql"] == [3306]
    assert ports["order"] == [4317, 6033, 6379, 8080]
    assert ports["catalog"] == [4317, 6033, 6379]
    for policy in policies:
        for direction, peers in (("ingress", "from"), ("egress", "to")):
            for rule in policy["spec"].get(direction, ()):
                assert rule[peers]
                assert rule["ports"]


def test_a_sale_without_vswitches_is_written_but_its_load_balancer_is_not_applied(
    sale: Sale, tmp_path: Path
) -> None:
    plan = plan_render(sale, default_profile(), tmp_path / "k8s", images=IMAGES)

    listed = yaml.safe_load(plan.folder.texts["kustomization.yaml"])["resources"]
    assert "load-balancer.yaml" in plan.folder.texts
    assert "load-balancer.yaml" not in listed
    assert "saleops provision network" in plan.result.missing[0]
    assert "Not complete" in plan.folder.texts["README.md"]


def test_provision_s_journal_completes_the_load_balancer(sale: Sale) -> None:
    lines = []
    for number, zone in enumerate(sale.zones):
        lines += [
            {"type": "intent", "number": number, "key": f"vswitch/node/{zone}", "action": "create"},
            {
                "type": "outcome",
                "number": number,
                "ok": True,
                "ids": {"VSwitchId": f"vsw-{number}"},
            },
        ]
    made = made_vswitches(lines)

    planned = manifests_of(sale, default_profile(), images=IMAGES, vswitches=made)

    assert planned.balancer.complete
    assert [id for _, id in planned.balancer.vswitches] == ["vsw-0", "vsw-1", "vsw-2"]
    gone = {
        "type": "intent",
        "number": 9,
        "key": "vswitch/node/" + sale.zones[0],
        "action": "delete",
    }
    assert sale.zones[0] not in made_vswitches([*lines, gone, {**lines[1], "number": 9}])


@pytest.mark.parametrize(
    "line",
    [
        {},
        {"type": "intent"},
        {"type": "outcome", "number": "x"},
        {"type": "outcome", "number": 1, "ok": True, "ids": 3},
    ],
    ids=["empty", "no-key", "text-number", "odd-ids"],
)
def test_odd_lines_of_a_journal_are_passed_over(line: dict[str, Any]) -> None:
    assert made_vswitches([line]) == {}


def test_a_vswitch_that_somebody_named_goes_before_provision_s(
    sale: Sale, profile: Profile
) -> None:
    planned = manifests_of(sale, profile, vswitches={sale.zones[0]: "vsw-made"})

    assert planned.balancer.vswitches[0] == (sale.zones[0], "vsw-t4n0a")


@pytest.mark.parametrize("zone", ["Asia/Atlantis", "Asia", "Etc"])
def test_a_clock_that_does_not_exist_is_a_mistake_in_the_profile(sale: Sale, zone: str) -> None:
    with pytest.raises(ConfigError, match="no time zone"):
        manifests_of(sale, profile_with(cluster={"timezone": zone}), images=IMAGES)


def test_a_sale_without_zones_is_refused_with_the_way_out(sale: Sale) -> None:
    with pytest.raises(ConfigError, match="no zones") as caught:
        manifests_of(changed(sale, zones=()), default_profile(), images=IMAGES)
    assert "zones" in str(caught.value.hint)


def test_one_zone_is_rendered_without_a_load_balancer_and_says_so(sale: Sale) -> None:
    one = changed(sale, zones=sale.zones[:1])
    planned = manifests_of(one, default_profile(), images=IMAGES)
    texts = texts_of(planned, one)

    assert check_texts(texts) == []
    assert "load-balancer.yaml" not in texts
    assert "readinessGates" not in texts["services/order.yaml"]
    assert any("second zone" in one for one in planned.missing)


def test_a_sale_that_sizes_one_service_still_runs_all_four(sale: Sale) -> None:
    only = changed(sale, services={"order": sale.services["order"]})
    texts = texts_of(manifests_of(only, default_profile(), images=IMAGES), only)

    assert check_texts(texts) == []
    assert {f"services/{name}.yaml" for name in ("catalog", "order", "payment", "shipping")} <= set(
        texts
    )


def test_a_gateway_in_the_sale_file_is_the_one_door(sale: Sale) -> None:
    size = sale.services["catalog"]
    with_gateway = changed(sale, services={**sale.services, "gateway": size, "fraud": size})
    planned = manifests_of(with_gateway, default_profile(), images=IMAGES)
    texts = texts_of(planned, with_gateway)

    assert check_texts(texts) == []
    assert [one["metadata"]["name"] for one in of_kind(texts, "Ingress")] == ["gateway"]
    assert "readinessGates" not in texts["services/order.yaml"]
    assert any(one.startswith("fraud: none of our services") for one in planned.notes)
    assert "upstreams" in texts["secret.example.yaml"]


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public", "kube-drop"])
def test_a_namespace_of_kubernetes_itself_is_refused(
    sale: Sale, profile: Profile, tmp_path: Path, name: str
) -> None:
    with pytest.raises(ConfigError, match="namespace would be Kubernetes' own"):
        plan_render(changed(sale, name=name), profile, tmp_path / "k8s")

    assert not (tmp_path / "k8s").exists()


def test_huge_pods_are_refused(sale: Sale) -> None:
    huge = sale.services["order"].model_copy(update={"memory": "900Gi"})

    with pytest.raises(ConfigError, match="cannot be sized"):
        manifests_of(changed(sale, services={"order": huge}), default_profile(), images=IMAGES)


def test_too_few_connections_stop_the_autoscalers_at_the_peak(sale: Sale) -> None:
    limits = sale.limits.model_copy(update={"database_connections": 130})
    planned = manifests_of(changed(sale, limits=limits), default_profile(), images=IMAGES)

    assert all(one.most == one.peak for one in planned.workloads)
    assert any("database connections" in one for one in planned.notes)


@pytest.mark.parametrize("images", ["", "UPPER.example.com/x", "a b", "x:tag:tag", "../etc"])
def test_images_have_to_be_somewhere(sale: Sale, images: str) -> None:
    with pytest.raises(ConfigError) as caught:
        manifests_of(sale, default_profile(), images=images)
    assert "--images" in str(caught.value.hint)


def test_a_second_run_changes_nothing(sale: Sale, profile: Profile, tmp_path: Path) -> None:
    first = apply_render(plan_render(sale, profile, tmp_path))
    second = apply_render(plan_render(sale, profile, tmp_path))

    assert first.written
    assert not second.written
    assert {one.state for one in second.files} == {"same"}


def test_an_edited_file_stays_unless_forced(sale: Sale, profile: Profile, tmp_path: Path) -> None:
    apply_render(plan_render(sale, profile, tmp_path))
    edited = tmp_path / "services" / "order.yaml"
    edited.write_text(edited.read_text() + "# mine\n")

    with pytest.raises(Refused, match=r"services/order\.yaml") as caught:
        plan_render(sale, profile, tmp_path)
    assert "--force" in str(caught.value.hint)
    assert edited.read_text().endswith("# mine\n")

    apply_render(plan_render(sale, profile, tmp_path, force=True))
    assert not edited.read_text().endswith("# mine\n")


def test_a_file_that_is_no_longer_part_is_removed(
    sale: Sale, profile: Profile, tmp_path: Path
) -> None:
    apply_render(plan_render(sale, profile, tmp_path))
    assert (tmp_path / "proxysql.yaml").exists()

    apply_render(plan_render(sale, profile, tmp_path, proxysql=False))

    assert not (tmp_path / "proxysql.yaml").exists()


def test_a_manifest_that_names_files_elsewhere_removes_nothing(
    sale: Sale, profile: Profile, tmp_path: Path
) -> None:
    import hashlib

    outside = tmp_path / "outside"
    outside.write_text("keep")
    folder = tmp_path / "k8s"
    apply_render(plan_render(sale, profile, folder))
    manifest = folder / ".saleops-render.json"
    document = json.loads(manifest.read_text())
    document["files"]["../outside"] = [hashlib.sha256(b"keep").hexdigest()]
    manifest.write_text(json.dumps(document))

    apply_render(plan_render(sale, profile, folder, proxysql=False))

    assert outside.read_text() == "keep"


def test_a_folder_that_is_a_file_is_a_mistake_in_the_flag(
    sale: Sale, profile: Profile, tmp_path: Path
) -> None:
    (tmp_path / "k8s").write_text("")

    with pytest.raises(ConfigError) as caught:
        apply_render(plan_render(sale, profile, tmp_path / "k8s"))
    assert "--to" in str(caught.value.hint)


def command(folder: Path, *more: str) -> int:
    return main(["render", "k8s", str(SALE), "--profile", str(PROFILE), "--to", str(folder), *more])


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = command(tmp_path / "k8s", "--dry-run", "-o", "json")

    document = json.loads(capsys.readouterr().out)
    assert code == 0
    assert (document["schema"], document["written"]) == ("saleops/render-k8s/v1", False)
    assert not (tmp_path / "k8s").exists()


def test_the_command_writes_and_says_what_is_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path / "k8s") == 0
    assert "kubectl apply -k" in capsys.readouterr().err
    assert command(tmp_path / "k8s") == 0
    assert capsys.readouterr().out.startswith("no change")


@pytest.mark.parametrize("name", list(VARIANTS))
def test_what_we_render_is_clean_under_our_own_rules(sale: Sale, tmp_path: Path, name: str) -> None:
    made = profile_with(**VARIANTS[name])
    apply_render(plan_render(sale, made, tmp_path, images=IMAGES))

    assert lint_findings(tmp_path, sale, made) == []


def test_the_golden_files_are_clean_under_our_own_rules(sale: Sale, profile: Profile) -> None:
    assert lint_findings(GOLDEN, sale, profile) == []


def lint_findings(folder: Path, sale: Sale, profile: Profile) -> list[str]:
    from saleops.operations.lint.linting import lint
    from saleops.operations.lint.reading import read_paths
    from saleops.operations.lint.sale_facts import facts_of

    texts = read_paths([str(folder)], stdin=lambda: b"")
    facts = facts_of(sale, profile, now=datetime(2026, 11, 20, tzinfo=UTC))
    report = lint(texts, today=date(2026, 11, 20), sale=facts)
    return [f"{one.file}:{one.line} {one.id} {one.message}" for one in report.findings]


def test_the_time_machine_says_go_for_what_we_render(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["lint", "--timeline", str(SALE), str(GOLDEN)])

    assert code == 0
    assert "GO: capacity meets demand" in capsys.readouterr().out


def test_without_the_schemas_package_it_is_said_that_nobody_checked(
    sale: Sale, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saleops.operations.render_k8s.can_validate", lambda: False)

    result = plan_render(sale, profile, tmp_path).result

    assert not result.validated
    assert any("pip install kubernetes-validate" in one for one in result.notes)


def test_checking_without_the_schemas_package_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saleops.operations.k8s_schemas.can_validate", lambda: False)

    with pytest.raises(ConfigError, match="kubernetes-validate is not installed"):
        problems_in({"kind": "Pod"})


def test_an_unknown_field_is_a_problem() -> None:
    document = of_kind(golden_texts(), "Deployment")[0]
    document["spec"]["template"]["spec"]["terminationGrace"] = 60

    assert problems_in(document)
    assert problems_in([]) == ["this is no Kubernetes object"]
    assert problems_in({"kind": "Nothing", "apiVersion": "v9"})
