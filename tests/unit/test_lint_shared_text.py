"""Edits touch only what is meant at one place: anchors, merges, placeholders, JSON, other line ends."""

import json
from pathlib import Path

import pytest

from lint_lab import TODAY, lint_text, lint_texts
from saleops.config.yaml_stream import parse_stream
from saleops.operations.lint.fixing import FixPlan, plan_fixes
from saleops.operations.lint.linting import lint
from saleops.operations.lint.parsing import parse_text
from saleops.operations.lint.reading import Texts, read_paths

HEAD = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec:
  replicas: 3
  selector: {matchLabels: {app: d}}
  template:
    metadata: {labels: {app: d}}
    spec:
      containers:
      - name: c
        image: a:1
"""
MERGED = """\
        readinessProbe: &p
          httpGet: {path: /readyz, port: 80}
          timeoutSeconds: 2
          failureThreshold: 2
          periodSeconds: 5
        livenessProbe:
          <<: *p
          httpGet: {path: /livez, port: 80}
"""
ALIASED = MERGED.split("        livenessProbe:")[0] + "        livenessProbe: *p\n"
ANCHORED = """\
        livenessProbe: &lp
          httpGet: {path: /livez, port: 80}
          timeoutSeconds: 1
          periodSeconds: 5
        readinessProbe:
          <<: *lp
          httpGet: {path: /readyz, port: 80}
"""
PLAIN = """\
        livenessProbe:
          httpGet: {path: /livez, port: 80}
"""
BODY = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "e"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "e"}},
        "template": {
            "metadata": {"labels": {"app": "e"}},
            "spec": {
                "containers": [
                    {
                        "name": "e",
                        "image": "x:1",
                        "livenessProbe": {"httpGet": {"path": "/livez", "port": 80}},
                    }
                ]
            },
        },
    },
}


def plan(**texts: str) -> FixPlan:
    named = {name.replace("_", "."): text for name, text in texts.items()}
    return plan_fixes(Texts(named), lambda some: lint(some, today=TODAY).findings)


def value_of(text: str) -> object:
    return [one.value for one in parse_text("x.yaml", text).documents]


@pytest.mark.parametrize("probes", [MERGED, ALIASED, ANCHORED], ids=["merge", "alias", "anchor"])
def test_a_fix_never_changes_what_another_probe_inherits(probes: str) -> None:
    before = parse_text("x.yaml", HEAD + probes).documents[0]
    held = before.at("spec", "template", "spec", "containers", 0, "readinessProbe")

    for fix in plan(x_yaml=HEAD + probes).fixes:
        after = parse_text("x.yaml", fix.after).documents[0]
        assert after.at("spec", "template", "spec", "containers", 0, "readinessProbe") == held


def test_the_reader_marks_what_is_shared() -> None:
    document = parse_text(
        "x.yaml", "a: &x {b: 1}\nc: *x\nd:\n  <<: *x\n  e: 2\nf: {b: 1}\n"
    ).documents[0]

    owned = [path for path in document.places if path and document.owns(path)]

    assert ("f", "b") in owned
    assert ("d", "e") in owned
    assert not {("a", "b"), ("c", "b"), ("d", "b")} & set(owned)


def test_an_items_share_of_a_list_is_marked_too() -> None:
    text = "kind: List\napiVersion: v1\nitems:\n- &x {kind: A, apiVersion: v1}\n- *x\n- {kind: B, apiVersion: v1}\n"

    assert [one.owns(("kind",)) for one in parse_text("x.yaml", text).documents] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("indent", [None, 2], ids=["one-line", "laid-out"])
def test_a_fix_of_json_is_json(indent: int | None) -> None:
    (fix,) = plan(x_json=json.dumps(BODY, indent=indent)).fixes

    probe = json.loads(fix.after)["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]
    assert probe == {
        "failureThreshold": 6,
        "timeoutSeconds": 5,
        "httpGet": {"path": "/livez", "port": 80},
    }


def test_a_json_file_does_not_keep_its_neighbours_from_being_mended() -> None:
    assert [one.file for one in plan(a_json=json.dumps(BODY), b_yaml=HEAD + PLAIN).fixes] == [
        "a.json",
        "b.yaml",
    ]


@pytest.mark.parametrize("end", ["\r\n", "\r"], ids=["windows", "old-mac"])
def test_inserted_lines_end_as_the_others_do(end: str) -> None:
    text = (HEAD + PLAIN).replace("\n", end)

    (fix,) = plan(x_yaml=text).fixes

    assert fix.after.count(end) == text.count(end) + 2
    assert "\n" not in fix.after.replace(end, "")
    assert value_of(fix.after) == value_of(fix.after.replace(end, "\n"))


@pytest.mark.parametrize("number", ["timeoutSeconds", "failureThreshold", "periodSeconds"])
def test_a_placeholder_is_neither_judged_nor_written_over(number: str) -> None:
    text = HEAD + PLAIN + f"          {number}: HELMSUBST_PROBE\n"

    assert not [one for one in lint_text(text) if one.id in ("PRB001", "PRB002", "PRB010")]
    assert plan(x_yaml=text) == FixPlan()


def test_a_number_that_is_not_there_is_not_written_over_its_key() -> None:
    text = HEAD + PLAIN + "          timeoutSeconds:\n"

    for fix in plan(x_yaml=text).fixes:
        assert not parse_stream(fix.after, Path("x")).faults


def test_only_what_can_be_mended_counts_as_mendable() -> None:
    found = lint_text(HEAD + MERGED)

    assert [one.id for one in found if one.edits and one.id == "PRB002"] == []


def test_a_suppression_in_a_value_is_no_suppression() -> None:
    comment = "# saleops: ignore PRB001, PRB002 until 2099-01-01 reason: because"
    probe = HEAD + PLAIN
    inside = probe.replace("image: a:1", f'image: "a:1 {comment}"')
    block = (
        probe
        + f"---\nkind: ConfigMap\napiVersion: v1\nmetadata: {{name: m}}\ndata:\n  x: |\n    {comment}\n    y: 1\n"
    )
    beside = probe.replace("livenessProbe:", f"livenessProbe: {comment}")

    assert not lint_texts({"x.yaml": inside}).suppressed
    assert "SUP003" not in {one.id for one in lint_text(inside) + lint_text(block)}
    assert {one.finding.id for one in lint_texts({"x.yaml": beside}).suppressed} == {
        "PRB001",
        "PRB002",
    }


@pytest.mark.parametrize("at", [0, 9_000], ids=["first", "late"])
def test_a_zero_byte_anywhere_is_said_in_the_same_way(at: int) -> None:
    data = b"# " + b"x" * at + b"\0\n"

    texts = read_paths(["-"], stdin=lambda: data)

    assert [(one.id, one.message) for one in texts.troubles] == [
        ("SRC004", "Not looked at: it looks like a binary file")
    ]
