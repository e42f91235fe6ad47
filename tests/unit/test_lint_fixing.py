"""--fix: single places change, everything else stays, and a second run has nothing to do."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lint_lab import CRON, TODAY
from saleops.domain.lint import rules
from saleops.domain.lint.findings import Edit, Finding
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.rules import Hit, Rule
from saleops.errors import ConfigError, Refused
from saleops.operations.lint.fixing import FileFix, FixPlan, apply_fixes, edited, plan_fixes
from saleops.operations.lint.linting import lint
from saleops.operations.lint.reading import Texts
from saleops.operations.lint.running import load_rules


def finding(*edits: Edit, id: str = "XXX001") -> Finding:
    return Finding(id, "error", "x.yaml", 1, 1, "m", "w", "f", "s", edits)


def findings_of(texts: Texts) -> tuple[Finding, ...]:
    return lint(texts, today=TODAY).findings


def rule_that(edits: dict[str, str]) -> Rule:
    """A rule that wants other words in place of some."""

    def check(fleet: Fleet) -> Iterator[Hit]:
        for one in fleet.documents:
            for number, line in enumerate(one.text.split("\n"), 1):
                for word, new in edits.items():
                    if (at := line.find(word)) >= 0:
                        edit = Edit(number, at + 1, number, at + 1 + len(word), new)
                        yield Hit(one, (), f"line {number}: {word}", edits=(edit,))

    load_rules()
    return Rule("XXX001", "info", "t", "w", "f", "s", check)


@pytest.mark.parametrize(
    ("text", "edits", "after"),
    [
        ("a: 1\nb: 2\n", [Edit(2, 4, 2, 5, "3")], "a: 1\nb: 3\n"),
        ("a: 1\r\nb: 2\r\n", [Edit(2, 4, 2, 5, "3")], "a: 1\r\nb: 3\r\n"),
        ("a: 1\nb: 2", [Edit(2, 5, 2, 5, "\nc: 3")], "a: 1\nb: 2\nc: 3"),
        ("a: 1\nb: 2\n", [Edit(3, 1, 3, 1, "c: 3\n")], "a: 1\nb: 2\nc: 3\n"),
        ("a: 1\nb: 2\nc: 3\n", [Edit(2, 1, 3, 1, "")], "a: 1\nc: 3\n"),
        ("日本: 1\n", [Edit(1, 5, 1, 6, "2")], "日本: 2\n"),
        ("a: 1\n", [Edit(9, 1, 9, 2, "x")], "a: 1\n"),
        ("a: 1\n", [Edit(1, 3, 1, 2, "x")], "a: 1\n"),
        ("", [Edit(1, 1, 1, 1, "a: 1\n")], "a: 1\n"),
    ],
    ids=["word", "windows", "at-end", "after-end", "line", "wide", "nowhere", "backwards", "empty"],
)
def test_an_edit_changes_its_place_and_nothing_else(
    text: str, edits: list[Edit], after: str
) -> None:
    assert edited(text, [finding(*edits)])[0] == after


def test_of_two_edits_of_one_place_the_first_is_made() -> None:
    first, second = Edit(1, 4, 1, 5, "2"), Edit(1, 1, 1, 5, "b: 3")

    assert edited("a: 1\n", [finding(first), finding(second)]) == ("a: 2\n", ["XXX001"])


def test_a_findings_edits_are_made_together_or_not_at_all() -> None:
    whole = finding(Edit(1, 4, 1, 5, "2"), Edit(2, 4, 2, 5, "2"))
    half = finding(Edit(2, 4, 2, 5, "9"), Edit(3, 4, 3, 5, "9"))

    assert edited("a: 1\nb: 1\nc: 1\n", [whole, half])[0] == "a: 2\nb: 2\nc: 1\n"


def test_two_findings_that_want_the_same_edit_are_both_mended() -> None:
    edit = Edit(1, 4, 1, 5, "2")

    assert edited("a: 1\n", [finding(edit, id="A"), finding(edit, id="B")]) == (
        "a: 2\n",
        ["A", "B"],
    )


def test_a_schedule_is_mended_and_its_comments_stay() -> None:
    texts = Texts({"x.yaml": CRON})

    (fix,) = plan_fixes(texts, findings_of).fixes

    assert fix.ids[0] == "CRN001"
    assert "# half past eleven" in fix.after
    assert '"0 30 23 * * *"' in fix.after
    assert [line for line in fix.diff.splitlines() if line[:2] in ("--", "++")] == [
        "--- a/x.yaml",
        "+++ b/x.yaml",
    ]
    assert plan_fixes(Texts({"x.yaml": fix.after}), findings_of) == FixPlan()


def test_fixes_that_overlap_are_made_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        rules.RULES, "XXX001", rule_that({"one two": "three", "two": "2", "three": "3"})
    )

    (fix,) = plan_fixes(Texts({"x.yaml": "a: one two\n"}), findings_of).fixes

    assert fix.after == "a: 3\n"


def test_an_edit_that_breaks_a_file_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(rules.RULES, "XXX001", rule_that({"good": "[", "fine": "better"}))

    fixes = plan_fixes(Texts({"x.yaml": "a: good\n", "y.yaml": "a: fine\n"}), findings_of).fixes

    assert [(one.file, one.after) for one in fixes] == [("y.yaml", "a: better\n")]


def test_edits_that_never_come_to_rest_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(rules.RULES, "XXX001", rule_that({"tick": "tock", "tock": "tick"}))

    assert len(plan_fixes(Texts({"x.yaml": "a: tick\n"}), findings_of).fixes) <= 1


def test_a_file_is_replaced_whole_with_its_mode_and_its_mark(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\n")
    path.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(path)

    apply_fixes([FileFix(str(link), "a: 1\r\n", "a: 2\r\n", ("X",))])

    assert path.read_bytes() == b"\xef\xbb\xbfa: 2\r\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["link.yaml", "x.yaml"]


def test_a_file_that_has_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a: 9\n")

    with pytest.raises(Refused, match="has changed since it was read") as caught:
        apply_fixes([FileFix(str(path), "a: 1\n", "a: 2\n", ("X",))])

    assert path.read_text() == "a: 9\n"
    assert caught.value.hint


def test_a_file_that_has_gone_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot write"):
        apply_fixes([FileFix(str(tmp_path / "x.yaml"), "a: 1\n", "a: 2\n", ("X",))])


def test_a_file_that_its_edits_break_is_left_alone_and_named() -> None:
    good, bad = Edit(1, 4, 1, 5, "2"), Edit(1, 4, 1, 5, "[")
    texts = Texts({"bad.yaml": "a: 1\n", "good.yaml": "a: 1\n"})

    def said(some: Texts) -> list[Finding]:
        return [
            Finding("XXX001", "error", file, 1, 1, "m", "w", "f", "s", (edit,))
            for file, edit in (("bad.yaml", bad), ("good.yaml", good))
        ]

    plan = plan_fixes(texts, said)

    assert [(one.file, one.after) for one in plan.fixes] == [("good.yaml", "a: 2\n")]
    assert plan.left_alone == ("bad.yaml",)
