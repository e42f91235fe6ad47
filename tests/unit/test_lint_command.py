"""``saleops lint``: what it prints in each format, its exit codes, its questions."""

import io
import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from lint_lab import CRON, TODAY
from saleops.cli.main import main

TWICE = "a: 1\na: 2\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("SALEOPS_OUTPUT", "SALEOPS_YES"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "x.yaml").write_text(TWICE)
    (tmp_path / "good.yaml").write_text("a: 1\n")
    (tmp_path / "cron.yaml").write_text(CRON)
    return tmp_path


def test_findings_are_a_line_each_and_exit_3(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lint", "x.yaml"]) == 3

    out, err = capsys.readouterr()
    assert out == "x.yaml:2:1: error SRC002: a is given twice (first in line 1)\n"
    assert "1 error, 0 warnings in 1 file" in err
    assert "hint:  `saleops lint explain SRC002` says more." in err


def test_nothing_found_exits_0(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", "good.yaml"]) == 0

    assert capsys.readouterr().out == ""


def test_warnings_exit_3_only_when_asked(folder: Path) -> None:
    assert main(["lint", "x.yaml", "--severity", "SRC002=warning"]) == 0
    assert main(["lint", "x.yaml", "--severity", "SRC002=warning", "--fail-on", "warning"]) == 3
    assert main(["lint", "x.yaml", "--skip", "SRC002"]) == 0
    assert main(["lint", "x.yaml", "--rule", "crn001"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lint", "nowhere"], "No such file"),
        (["lint", "x.yaml", "--rule", "SRC02"], "did you mean SRC002?"),
        (["lint", "x.yaml", "--severity", "SRC002"], "a rule and its level"),
        (["lint", "x.yaml", "--severity", "SRC002=fatal"], "a rule and its level"),
        (["lint", "x.yaml", "--config", "none.yaml"], "no such file"),
        (["lint", "x.yaml", "--sale", "none.yaml"], "no such file"),
        (["lint", "x.yaml", "--profile", "p.yaml"], "--profile belongs to a sale"),
        (["lint", "explain", "XYZ001"], "there is no rule"),
        (["lint", "x.yaml", "-o", "xml"], "xml"),
        (["lint", "check"], "PATH"),
    ],
)
def test_a_wrong_argument_exits_2_and_says_why(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(arguments) == 2

    assert words in capsys.readouterr().err


def test_json_has_the_documented_fields(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", "x.yaml", "-o", "json"]) == 3

    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "saleops/lint/v1"
    (found,) = document["findings"]
    assert {**found, "why": "", "fix": "", "source": ""} == {
        "id": "SRC002",
        "severity": "error",
        "file": "x.yaml",
        "line": 2,
        "column": 1,
        "message": "a is given twice (first in line 1)",
        "why": "",
        "fix": "",
        "source": "",
        "fixable": False,
    }
    assert document["files"] == 1
    assert document["errors"] == 1
    assert document["seconds"] >= 0


def test_sarif_names_rules_places_and_suppressions(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ignored = "# saleops: ignore SRC002 until 2999-01-01 reason: wanted\n"
    (folder / "a b.yaml").write_text(f"a: 1\n{ignored}a: 2\n")

    assert main(["lint", "x.yaml", "a b.yaml", "cron.yaml", "-o", "sarif"]) == 3

    log = json.loads(capsys.readouterr().out)
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert log["version"] == "2.1.0"
    assert run["invocations"] == [{"executionSuccessful": True}]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
        place = result["locations"][0]["physicalLocation"]
        assert place["region"]["startLine"] >= 1
        assert " " not in place["artifactLocation"]["uri"]
    hidden = [one for one in run["results"] if "suppressions" in one]
    assert [one["suppressions"][0]["kind"] for one in hidden] == ["inSource"]
    assert hidden[0]["suppressions"][0]["justification"].startswith("wanted")
    mended = next(one for one in run["results"] if one["ruleId"] == "CRN001")
    (change,) = mended["fixes"][0]["artifactChanges"]
    assert change["replacements"][0]["insertedContent"]["text"]


def test_sarif_goes_into_a_file_and_names_a_rule_that_failed(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from saleops.domain.lint import rules
    from saleops.operations.lint.running import load_rules

    load_rules()
    broken: Any = lambda fleet: 1 / 0  # noqa: E731
    monkeypatch.setitem(
        rules.RULES, "XXX001", rules.Rule("XXX001", "error", "t", "w", "f", "s", broken)
    )

    assert main(["lint", "x.yaml", "-o", "sarif", "--out", "lint.sarif"]) == 1

    assert capsys.readouterr().out == ""
    (run,) = json.loads((folder / "lint.sarif").read_text())["runs"]
    (told,) = run["invocations"][0]["toolExecutionNotifications"]
    assert run["invocations"][0]["executionSuccessful"] is False
    assert told["associatedRule"] == {"id": "XXX001"}
    assert [one["ruleId"] for one in run["results"]] == ["SRC002"]


def test_on_a_terminal_findings_stand_below_their_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    from saleops.cli.context import Context
    from saleops.cli.lint_views import result_of
    from saleops.cli.screen import Screen
    from saleops.operations.lint.linting import lint
    from saleops.operations.lint.reading import Texts

    stdout = Terminal()
    screen = Screen(stdout=stdout, environ={"TERM": "xterm", "COLUMNS": "100", "NO_COLOR": "1"})
    report = lint(Texts({"x.yaml": TWICE}), today=TODAY)
    Context(screen).screen.show(result_of(report, (), 0.5))

    lines = [line.rstrip() for line in stdout.getvalue().splitlines()]
    assert lines[0].endswith("x.yaml")
    assert "2:1  error  SRC002  a is given twice (first in line 1)" in lines[1]
    assert any(line.strip().startswith("fix: ") for line in lines)
    assert lines[-1] == "1 error, 0 warnings in 1 file in 0.50 s"


def test_junit_counts_failures_and_skipped_ones(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ignored = "# saleops: ignore SRC002 until 2999-01-01 reason: <wanted> \x01\n"
    (folder / "y.yaml").write_text(f"a: 1\n{ignored}a: 2\n".replace("\x01", "&"))

    assert main(["lint", "x.yaml", "y.yaml", "-o", "junit"]) == 3

    root = ET.fromstring(capsys.readouterr().out)
    assert (root.get("tests"), root.get("failures"), root.get("skipped")) == ("2", "1", "1")
    assert [one.get("name") for one in root.iter("testsuite")] == ["x.yaml", "y.yaml"]


def test_junit_of_a_clean_run_has_a_test_that_passed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lint", "good.yaml", "-o", "junit"]) == 0

    root = ET.fromstring(capsys.readouterr().out)
    assert (root.get("tests"), root.get("failures")) == ("1", "0")


def test_a_rule_that_fails_exits_1_and_shows_the_other_findings(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from saleops.domain.lint import rules
    from saleops.operations.lint.running import load_rules

    load_rules()
    broken: Any = lambda fleet: 1 / 0  # noqa: E731
    monkeypatch.setitem(
        rules.RULES, "XXX001", rules.Rule("XXX001", "error", "t", "w", "f", "s", broken)
    )

    assert main(["lint", "x.yaml"]) == 1

    out, err = capsys.readouterr()
    assert "SRC002" in out
    assert "XXX001 failed: ZeroDivisionError" in err
    assert "--skip XXX001" in err


def test_standard_input_is_linted_under_its_name(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TWICE.encode())))

    assert main(["lint", "-", "--stdin-name", "chart.yaml"]) == 3

    assert capsys.readouterr().out.startswith("chart.yaml:2:1: error")


def test_the_lint_file_here_is_used(folder: Path) -> None:
    (folder / ".saleops-lint.yaml").write_text(
        'apiVersion: saleops/lint/v1\nrules: {SRC002: "off"}\n'
    )

    assert main(["lint", "x.yaml"]) == 0


def test_fix_shows_its_changes_and_makes_none_under_dry_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["lint", "cron.yaml", "--rule", "CRN001", "--fix", "--dry-run"])

    out = capsys.readouterr().out
    assert '-      schedule: "30 23 * * *"   # half past eleven\n' in out
    assert '+      schedule: "0 30 23 * * *"   # half past eleven\n' in out
    assert (folder / "cron.yaml").read_text() == CRON


def test_fix_asks_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", "cron.yaml", "--fix"]) == 5

    assert "with --yes to go ahead" in capsys.readouterr().err
    assert (folder / "cron.yaml").read_text() == CRON


def test_fix_mends_files_and_has_nothing_to_do_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lint", "cron.yaml", "--rule", "CRN001", "--fix", "--yes"]) == 0
    mended = (folder / "cron.yaml").read_text()
    assert main(["lint", "cron.yaml", "--rule", "CRN001", "--fix", "--yes"]) == 0

    assert "There is nothing to fix" in capsys.readouterr().err
    assert (folder / "cron.yaml").read_text() == mended != CRON


def test_fix_of_standard_input_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(CRON.encode())))

    assert main(["lint", "-", "--fix", "--yes"]) == 2

    assert "--dry-run" in capsys.readouterr().err


def test_explain_says_why_and_shows_both_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", "explain", "ACK001"]) == 0

    out = capsys.readouterr().out
    for words in ("ACK001 (error)", "On sale day:", "Write instead:", "Bad:", "Good:", "Source:"):
        assert words in out


def test_rules_lists_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", "rules", "-o", "json"]) == 0

    rules = json.loads(capsys.readouterr().out)["rules"]
    assert [one["id"] for one in rules] == sorted(one["id"] for one in rules)
    assert {"SRC001", "CRN001", "ALB001", "ACK001"} <= {one["id"] for one in rules}
