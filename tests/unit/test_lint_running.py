"""Running rules: a failing one, choices, suppressions and their own mistakes."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from lint_lab import TODAY, ids, lint_text, lint_texts
from saleops.domain.lint import rules
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.rules import Hit, Rule
from saleops.domain.lint.suppressions import comments, matches
from saleops.errors import ConfigError
from saleops.operations.lint import running
from saleops.operations.lint.explaining import explain, known_id, rule_list
from saleops.operations.lint.linting import Choice, lint
from saleops.operations.lint.reading import Texts
from saleops.operations.lint.suppressing import read_settings

TWICE = "a: 1\na: 2\n"


def test_every_module_of_rules_has_rules() -> None:
    folder = Path(running.__file__).parents[2]
    found = {one.check.__module__ for one in running.load_rules().values()}

    for layer in ("domain", "operations"):
        for one in (folder / layer / "lint").glob("rules_*.py"):
            assert f"saleops.{layer}.lint.{one.stem}" in found


@pytest.mark.parametrize("id", [one.id for one in rule_list().rules])
def test_every_rule_says_why_what_to_write_and_where_it_is_from(id: str) -> None:
    one = explain(id)

    assert one.title
    assert len(one.why) > 20
    assert len(one.fix) > 5
    assert len(one.source) > 5


def test_a_rule_that_raises_is_named_and_the_others_are_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(fleet: Fleet) -> Iterator[Hit]:
        yield Hit(fleet.documents[0], (), "said before it failed")
        raise KeyError("jobs")

    running.load_rules()
    broken = Rule("XXX001", "error", "t", "w", "f", "s", fails)
    monkeypatch.setitem(rules.RULES, "XXX001", broken)

    report = lint(Texts({"x.yaml": TWICE}), today=TODAY)

    assert ids(report.findings) == ["XXX001", "SRC002"]
    assert [one.id for one in report.bugs] == ["XXX001"]
    assert "KeyError: 'jobs' (test_lint_running.py:" in report.bugs[0].detail


def test_the_same_thing_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(fleet: Fleet) -> Iterator[Hit]:
        for _ in range(2):
            yield Hit(fleet.documents[0], ("a",), "the same")

    running.load_rules()
    monkeypatch.setitem(rules.RULES, "XXX001", Rule("XXX001", "info", "t", "w", "f", "s", twice))

    assert ids(lint_text("a: 1\n")) == ["XXX001"]


@pytest.mark.parametrize(
    ("choice", "found"),
    [
        (Choice(only={"SRC002"}), ["SRC002"]),
        (Choice(only={"SRC001"}), []),
        (Choice(skip={"SRC002"}), []),
        (Choice(least="warning", severities={"SRC002": "info"}), []),
        (Choice(least="warning", severities={"SRC002": "warning"}), ["SRC002"]),
    ],
)
def test_rules_are_chosen_and_counted_as_asked(choice: Choice, found: list[str]) -> None:
    report = lint_texts({"x.yaml": TWICE}, choice=choice)

    assert ids(report.findings) == found
    assert all(one.severity == choice.severities.get(one.id, "error") for one in report.findings)


IGNORE = "# saleops: ignore SRC002 until 2026-12-31 reason: the tool wants it"


@pytest.mark.parametrize(
    "text",
    [
        f"a: 1\na: 2 {IGNORE}\n",
        f"a: 1\n{IGNORE}\na: 2\n",
        f"a: 1\n{IGNORE}\n# more words\n\na: 2\n",
        f"a: 1\n{IGNORE}\nb:\n  c: 1\n  c: 2 # saleops: ignore SRC002, CRN001 until 2026-12-31 reason: x\na: 2\n",
        f"b:\n  a: 1\n{IGNORE}\n  a:\n    c: 2\n",
    ],
    ids=["beside", "above", "far-above", "another", "block"],
)
def test_a_suppression_covers_its_line_or_the_next_one(text: str) -> None:
    report = lint_texts({"x.yaml": text})

    shown = [one for one in report.findings if one.id == "SRC002"]
    assert len(report.suppressed) == 1
    assert report.suppressed[0].reason in ("the tool wants it", "x")
    assert report.suppressed[0].until == date(2026, 12, 31)
    assert len(shown) == (1 if "c: 1" in text else 0)


def test_a_suppression_covers_no_other_line_and_no_other_rule() -> None:
    assert ids(lint_text(f"{IGNORE}\nb: 1\na: 1\na: 2\n")) == ["SUP003", "SRC002"]
    assert "SRC002" in ids(lint_text(f"a: 1\n{IGNORE.replace('SRC002', 'SRC001')}\na: 2\n"))


@pytest.mark.parametrize(
    ("comment", "words"),
    [
        ("# saleops: ignore SRC002", "has no day it ends on and has no reason"),
        ("# saleops: ignore SRC002 until 2026-12-31", "has no reason"),
        ("# saleops: ignore SRC002 reason: because", "has no day"),
        ("# saleops: ignore SRC002 until tomorrow reason: because", "'tomorrow', which is no day"),
        ("# saleops: ignore until 2026-12-31 reason: because", "names no rule"),
        ("# saleops: ignore", "names no rule"),
    ],
)
def test_half_a_suppression_is_an_error_and_suppresses_nothing(comment: str, words: str) -> None:
    found = lint_text(f"a: 1\n{comment}\na: 2\n")

    assert ids(found) == ["SUP001", "SRC002"]
    assert words in found[0].message
    assert found[0].line == 2


def test_an_expired_suppression_says_so_and_the_finding_comes_back() -> None:
    found = lint_text("a: 1\n# saleops: ignore SRC002 until 2026-10-31 reason: soon\na: 2\n")

    assert ids(found) == ["SUP002", "SRC002"]
    assert found[0].message == "The suppression of SRC002 ended on 2026-10-31, 1 day ago"


def test_a_suppression_holds_on_its_last_day() -> None:
    assert lint_text("a: 1\n# saleops: ignore SRC002 until 2026-11-01 reason: soon\na: 2\n") == []


def test_a_suppression_that_covers_nothing_is_a_warning_unless_its_rule_did_not_run() -> None:
    text = f"{IGNORE}\nb: 1\n"

    assert [(one.id, one.severity) for one in lint_text(text)] == [("SUP003", "warning")]
    assert not lint_texts({"x.yaml": text}, choice=Choice(only={"SRC001"})).findings
    assert not lint_texts({"x.yaml": text}, choice=Choice(skip={"SRC002"})).findings


def test_a_suppression_of_a_rule_that_is_none_is_an_error() -> None:
    (found,) = lint_text(f"{IGNORE.replace('SRC002', 'SRC092')}\nb: 1\n", name="x.yaml")[:1]

    assert found.id == "SUP004"
    assert "did you mean SRC002?" in found.message


def test_lua_has_its_own_comments() -> None:
    (one,) = comments(
        "x.lua", "local a -- saleops: ignore LUA001 until 2026-12-31 reason: sold by hand\n"
    )

    assert (one.ids, one.lines, one.wrong) == (("LUA001",), frozenset({1}), "")


LINT_FILE = """\
apiVersion: saleops/lint/v1
rules: {SRC004: "off", SRC001: warning}
ignore:
  - {id: SRC002, path: "old/**", reason: goes with release 7, expires: 2026-12-31}
  - {id: SRC001, path: "old/**"}
"""


def test_the_lint_file_suppresses_by_path_and_sets_severities(tmp_path: Path) -> None:
    (tmp_path / "lint.yaml").write_text(LINT_FILE)
    settings = read_settings(tmp_path / "lint.yaml")
    texts = Texts(
        {"old/a/x.yaml": TWICE, "new/x.yaml": TWICE, "b.yaml": "a: [", "c.yaml": "[" * 200}
    )

    report = lint(texts, today=TODAY, settings=settings)

    assert [(one.id, one.severity, Path(one.file).name) for one in report.findings] == [
        ("SUP001", "error", "lint.yaml"),
        ("SRC001", "warning", "b.yaml"),
        ("SRC002", "error", "x.yaml"),
    ]
    assert [one.finding.file for one in report.suppressed] == ["old/a/x.yaml"]
    assert report.suppressed[0].by.endswith("lint.yaml:4")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rules: {}\n", "apiVersion: this is missing"),
        ("apiVersion: saleops/lint/v1\nignored: []\n", "did you mean ignore?"),
        ("apiVersion: saleops/lint/v1\nrules: {alb: error}\n", "rules"),
        ("[]", "lint.yaml:1:1"),
        ("a: [", "lint.yaml:2:1"),
    ],
)
def test_mistakes_in_the_lint_file_are_named_with_their_place(
    tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "lint.yaml").write_text(text)

    with pytest.raises(ConfigError, match=words.replace("?", r"\?")) as caught:
        read_settings(tmp_path / "lint.yaml")

    assert caught.value.hint


@pytest.mark.parametrize(
    ("glob", "file", "match"),
    [
        ("**", "a/b.yaml", True),
        ("*.yaml", "a/b.yaml", True),
        ("a/*.yaml", "a/b.yaml", True),
        ("a/*.yaml", "a/c/b.yaml", False),
        ("a/**", "a/c/b.yaml", True),
        ("**/c/*.yaml", "c/b.yaml", True),
        ("a/?.yaml", "./a/b.yaml", True),
        ("a.yaml", "axyaml", False),
    ],
)
def test_globs(glob: str, file: str, match: bool) -> None:
    assert matches(glob, file) is match


def test_an_unknown_rule_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"did you mean SRC00\d\?") as caught:
        known_id("SRC00")

    assert caught.value.hint
    assert known_id("src001") == "SRC001"
