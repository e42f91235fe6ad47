"""What lint reads, and where it says that things stand."""

import json
from pathlib import Path

import pytest

from lint_lab import ids, lint_text, lint_texts
from saleops.errors import ConfigError
from saleops.operations.lint.parsing import parse_text
from saleops.operations.lint.reading import FILE_MAX_BYTES, Texts, parse_texts, read_paths

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"


def read(*paths: Path | str, stdin: bytes = b"") -> Texts:
    return read_paths([str(one) for one in paths], stdin=lambda: stdin)


def said(text: str, name: str = "x.yaml") -> list[tuple[str, int, str]]:
    return [(one.id, one.line, one.message) for one in lint_text(text, name=name)]


def test_a_folder_is_walked_without_hidden_and_foreign_folders(tmp_path: Path) -> None:
    for name in (
        "a.yaml",
        "k8s/b.yml",
        ".git/c.yaml",
        "node_modules/d.yaml",
        "vendor/e.tf",
        "f.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(POD)

    assert [Path(one).name for one in read(tmp_path).texts] == ["a.yaml", "b.yml"]


def test_a_loop_of_links_ends_and_a_file_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(POD)
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "again").symlink_to(tmp_path)
    (tmp_path / "twin.yaml").symlink_to(tmp_path / "a.yaml")

    assert len(read(tmp_path, tmp_path / "a.yaml").texts) == 1


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file") as caught:
        read(tmp_path / "missing")

    assert caught.value.hint


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"a: \xff\n", "not UTF-8"),
        (b"\x7fELF\0\0\0", "binary"),
        ("a: 1".encode("utf-16"), "UTF-16"),
        (b"a" * (FILE_MAX_BYTES + 1), "bytes"),
    ],
    ids=["latin", "binary", "utf16", "huge"],
)
def test_a_file_that_is_no_text_is_named(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "x.yaml").write_bytes(data)

    troubles = parse_texts(read(tmp_path)).troubles

    assert [(one.id, reason in one.message) for one in troubles] == [("SRC004", True)]


def test_a_pipe_in_a_folder_is_named_and_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "x.yaml")

    assert "regular" in read(tmp_path).troubles[0].message


def test_standard_input_is_read_once_and_recognised() -> None:
    texts = read("-", "-", stdin=b'\xef\xbb\xbf{"cluster_type": "ManagedKubernetes"}')

    assert list(texts.texts) == ["stdin"]
    assert parse_texts(texts).documents[0].format == "json"


@pytest.mark.parametrize(
    ("text", "format_"),
    [
        ('resource "alicloud_vpc" "a" {\n}\n', "terraform"),
        ("local x = 1\nreturn x\n", "lua"),
        (POD, "kubernetes"),
        ("[]", "json"),
        ("apiVersion: saleops/v1\n", "sale"),
        ("apiVersion: saleops/profile/v1\n", "profile"),
        ("on: push\n", "yaml"),
    ],
)
def test_a_text_without_a_name_is_known_by_its_looks(text: str, format_: str) -> None:
    assert parse_text("stdin", text).documents[0].format == format_


def test_what_helm_prints_is_read_document_by_document_with_its_lines() -> None:
    text = "---\n# Source: a/templates/a.yaml\n---\n# Source: b\n" + POD + "---\n\n---\n" + POD

    documents = parse_text("x.yaml", text).documents

    assert [one.first_line for one in documents] == [5, 11]
    assert documents[1].place(("metadata", "name")) == (13, 18)


def test_a_list_is_unfolded_and_its_items_keep_their_places() -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n- kind: Pod\n  apiVersion: v1\n  metadata:\n    name: b\n"

    (pod,) = parse_text("x.yaml", text).documents

    assert (pod.kind, pod.name, pod.place(("metadata", "name")), pod.first_line) == (
        "Pod",
        "b",
        (7, 11),
        4,
    )


def test_items_of_a_pod_list_are_pods() -> None:
    text = json.dumps(
        {"apiVersion": "v1", "kind": "PodList", "items": [{"metadata": {"name": "b"}}]}
    )

    assert [one.kind for one in parse_text("x.json", text).documents] == ["Pod"]


def test_merge_keys_and_aliases_have_their_values_and_places() -> None:
    text = "base: &base\n  a: 1\n  b: {c: 2}\none:\n  <<: *base\n  a: 3\ntwo: *base\n"

    (document,) = parse_text("x.yaml", text).documents

    assert document.value["one"] == {"a": 3, "b": {"c": 2}}
    assert document.place(("one", "b", "c")) == (3, 10)
    assert document.place(("two", "a")) == (2, 6)


def test_a_key_given_twice_is_said_and_the_rest_is_still_read() -> None:
    found = parse_text("x.yaml", "a: 1\na: 2\nb: 3\n")

    assert found.documents[0].value == {"a": 1, "b": 3}
    assert said("a: 1\na: 2\nb: 3\n") == [("SRC002", 2, "a is given twice (first in line 1)")]


def test_a_broken_document_does_not_hide_the_next_one() -> None:
    parsed = parse_text("x.yaml", "a: [1\n---\n" + POD + "---\n\tb: 1\n---\n" + POD)

    assert len(parsed.documents) == 2
    assert [(one.id, one.document.first_line) for one in parsed.troubles] == [
        ("SRC001", 2),
        ("SRC001", 7),
    ]
    assert "not with tabs" in parsed.troubles[1].message


@pytest.mark.parametrize(
    "text",
    [
        "replicas: {{ .Values.replicas }}\n",
        "{{- if .x }}\na: 1\n{{- end }}\n",
        "a:\n{{ toYaml .b | indent 2 }}\n",
    ],
)
def test_a_template_is_said_to_be_one(text: str) -> None:
    ((id, _, message),) = said(text)

    assert id == "SRC003"
    assert "nobody has rendered" in message


def test_braces_in_a_text_are_no_template() -> None:
    assert said('a: "{{ $labels.instance }}"\n') == []


def test_the_templates_of_a_chart_are_said_once() -> None:
    report = lint_texts(
        {
            "c/Chart.yaml": "name: c\n",
            "c/templates/a.yaml": "a: {{ .x }}\n",
            "c/templates/b.yaml": "a: {{ .x }}\n",
        }
    )

    assert [(one.file, one.message) for one in report.findings] == [
        ("c/Chart.yaml", "This chart has 2 templates that nobody has rendered")
    ]


def test_deep_nesting_and_endless_aliases_are_said_and_cost_little() -> None:
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{f'*a{n - 1},' * 9}]\n" for n in range(1, 12))

    assert [one[0] for one in said("[" * 5_000)] == ["SRC004"]
    assert [one[0] for one in said(bomb)] == ["SRC004"]
    assert [one[0] for one in said("[" * 100_000, "x.json")] == ["SRC004"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('{"a": 1,}', 1, "double quotes"),
        ('{"a":\n  tru}', 2, "Expecting value"),
        ('{"a": 1} x', 1, "Extra data"),
    ],
)
def test_broken_json_is_said_with_its_line(text: str, line: int, words: str) -> None:
    ((id, found, message),) = said(text, "x.json")

    assert (id, found) == ("SRC001", line)
    assert words in message


def test_json_that_yaml_stumbles_over_is_read_all_the_same() -> None:
    parsed = parse_text("x.json", '{"a": "\\ud83d\\ude00", "b":1, "c\\/d": "\\u00e9"}')

    assert parsed.troubles == []
    assert parsed.documents[0].value == {"a": "😀", "b": 1, "c/d": "é"}


def test_a_key_twice_in_json_is_said() -> None:
    assert [one[:2] for one in said('{"a": 1,\n "a": 2}', "x.json")] == [("SRC002", 2)]


TERRAFORM = """\
variable "zone" {}
resource "alicloud_vpc" "a" {
  cidr_block = "10.0.0.0/8"
  tags       = { team = "shop", list = [1, var.zone] }
  rule {
    port = 1
  }
  rule {
    port = 2
  }
}
resource "alicloud_vpc" "b" {
  name = "${var.zone}-b"
  text = <<EOT
hello
EOT
}
"""


def test_terraform_is_plain_values_with_places() -> None:
    (document,) = parse_text("x.tf", TERRAFORM).documents

    vpc = document.at("resource", "alicloud_vpc", "a", 0)
    assert vpc["cidr_block"] == "10.0.0.0/8"
    assert vpc["tags"] == {"team": "shop", "list": [1, "${var.zone}"]}
    assert [one["port"] for one in vpc["rule"]] == [1, 2]
    at = ("resource", "alicloud_vpc", "a", 0)
    assert document.place(at) == (2, 1)
    assert document.place((*at, "cidr_block")) == (3, 16)
    assert document.place((*at, "cidr_block"), key=True) == (3, 3)
    assert document.place((*at, "tags", "list", 1)) == (4, 44)
    assert document.place((*at, "rule", 1, "port")) == (9, 12)
    assert document.at("resource", "alicloud_vpc", "b", 0, "name") == "${var.zone}-b"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('resource "a" "b" {\n  x = \n}\n', 2),
        ('resource "a" "b" {\n  x = 1\n', 2),
        ("a = 1\na {\n}\n", 1),
        ("@", 1),
    ],
)
def test_broken_terraform_is_said_with_its_line(text: str, line: int) -> None:
    ((id, found, _),) = said(text, "x.tf")

    assert (id, found) == ("SRC001", line)


def test_terraform_as_json_looks_like_terraform() -> None:
    text = '{"resource": {"alicloud_vpc": {"a": {"cidr_block": "10.0.0.0/8"}}}}'

    (document,) = parse_text("x.tf.json", text).documents

    assert document.at("resource", "alicloud_vpc", "a", 0, "cidr_block") == "10.0.0.0/8"
    assert document.place(("resource", "alicloud_vpc", "a", 0, "cidr_block")) == (1, 52)


def test_mistakes_in_a_sale_file_and_a_profile_are_findings() -> None:
    sale = lint_text("apiVersion: saleops/v1\nwindw: 1\n")
    profile = lint_text("apiVersion: saleops/profile/v1\nnetwork: {vpc_cidr: 1.2.3.0/24}\n")

    assert {one.id for one in (*sale, *profile)} == {"SRC005"}
    assert [(one.line, one.message) for one in sale if "windw" in one.message] == [
        (2, "windw: there is no such key (did you mean window?)")
    ]
    assert "no private block" in profile[0].message


def test_unknown_tags_are_passed_over() -> None:
    assert (
        ids(lint_text("a: !Ref x\nb: !!binary aGk=\nc: !vault |\n  xyz\nd: !GetAtt [a, b]\n")) == []
    )
