"""The table of commands and the group that loads a command when it is called."""

import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated

import pytest
import typer

from saleops.cli.commands import COMMANDS, Entry, load_command
from saleops.cli.context import Context, context_of
from saleops.cli.main import main, root_command
from saleops.cli.topics import TOPICS
from saleops.errors import ConfigError

SDKS = {
    "alibabacloud_tea_openapi",
    "alibabacloud_cs20151215",
    "alibabacloud_credentials",
    "darabonba",
}


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> list[Context]:
    """Commands ``probe`` and ``pair one`` in the table; the list gets the Context of each call."""
    seen: list[Context] = []
    single, group = typer.Typer(), typer.Typer()

    @single.command()
    def probe(
        ctx: typer.Context,
        words: Annotated[list[str] | None, typer.Argument()] = None,
        units: Annotated[int, typer.Option()] = 1,
    ) -> None:
        """Probe [all|one] things.

        Examples:
          saleops probe --units 3
        """
        seen.append(context_of(ctx))

    @group.callback()
    def pair() -> None:
        """Two commands."""

    @group.command("one")
    def one(ctx: typer.Context, out: Annotated[str, typer.Option("--out")] = "") -> None:
        """The first."""
        seen.append(context_of(ctx))

    for name, app in (("probe", single), ("pair", group)):
        module = ModuleType(f"tests_{name}_command")
        module.app = app  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(COMMANDS, name, Entry(module.__name__, f"Help of {name}.", "Run"))
    return seen


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_loads(name: str) -> None:
    command = load_command(name, inherited=root_command().params)

    assert command.name == name
    assert (command.help or "").strip(), f"{name} has no help page"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example(name: str) -> None:
    command = load_command(name)
    pages = [command, *getattr(command, "commands", {}).values()]

    assert any("Example" in (one.help or "") for one in pages)


def test_help_lines_are_sentences_that_fit() -> None:
    for name, entry in COMMANDS.items():
        assert entry.help.endswith("."), name
        assert len(entry.help) <= 64, name


def test_the_root_command_imports_no_command() -> None:
    code = (
        "import sys; from saleops.cli.main import root_command; root_command();print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    loaded = set(done.stdout.split())
    assert {entry.module for entry in COMMANDS.values()} & loaded == set()
    assert {
        *SDKS,
        "rich",
        "pydantic",
        "asyncio",
        "yaml",
        "redis",
        "httpx",
        "locust",
    } & loaded == set()


def test_a_command_that_runs_in_a_pipe_loads_no_rich() -> None:
    code = (
        "import sys; from saleops.cli.main import main; code = main(['--version', '-o', 'json']);"
        "assert code == 0; sys.stderr.write(' '.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    loaded = set(done.stderr.split())
    assert {
        *SDKS,
        "rich",
        "asyncio",
        "yaml",
        "redis",
        "httpx",
        "locust",
        "granian",
    } & loaded == set()


def test_no_command_loads_a_cloud_sdk_before_it_talks_to_a_cloud() -> None:
    code = (
        "import sys; from saleops.cli.commands import COMMANDS, load_command; import saleops.wiring\n"
        "[load_command(name) for name in COMMANDS]; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert SDKS & set(done.stdout.split()) == set()


@pytest.mark.parametrize(
    ("typo", "meant"), [("sed", "seed"), ("rehears", "rehearse"), ("doktor", "doctor")]
)
def test_a_typo_hears_what_was_meant(
    typo: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([typo]) == 2
    assert f"error: no such command '{typo}'. Did you mean '{meant}'" in capsys.readouterr().err


def test_help_after_a_command_works_in_both_spellings(
    probe: list[Context], capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["probe", "-h"], ["probe", "word", "--help"], ["help", "probe"]):
        assert main(arguments) == 0
        page = capsys.readouterr().out
        assert "Usage: saleops probe" in page
        assert "Probe [all|one] things." in page, "brackets are no markup"
        assert "   saleops probe --units 3" in page, "examples stay indented"
        assert "<bool>" not in page
        assert "--output" in page
    assert probe == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["-o", "json", "-q", "probe"],
        ["probe", "-o", "json", "-q"],
        ["-q", "probe", "--output=json"],
        ["-o", "yaml", "probe", "-q", "-o", "json"],
    ],
    ids=" ".join,
)
def test_global_options_work_on_both_sides_of_the_command(
    probe: list[Context], arguments: list[str]
) -> None:
    assert main(arguments) == 0

    assert probe[0].options.output == "json"
    assert probe[0].options.quiet
    assert probe[0].screen.output == "json"


def test_global_options_reach_commands_of_groups(probe: list[Context]) -> None:
    assert main(["pair", "-v", "one", "-o", "yaml"]) == 0

    assert (probe[0].options.output, probe[0].options.verbose) == ("yaml", 1)


def test_an_option_of_the_command_wins_over_the_global_one(probe: list[Context]) -> None:
    assert main(["pair", "one", "--out", "/nowhere/at/all"]) == 0

    assert probe[0].options.out is None


def test_a_flag_wins_over_the_environment_and_that_over_the_default(
    probe: list[Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALEOPS_OUTPUT", "yaml")
    monkeypatch.setenv("SALEOPS_QUIET", "1")

    assert main(["probe"]) == 0
    assert main(["probe", "-o", "ndjson"]) == 0

    assert [(one.options.output, one.options.quiet) for one in probe] == [
        ("yaml", True),
        ("ndjson", True),
    ]


@pytest.mark.parametrize("where", ["/nowhere/at/all.json", "/tmp"])
def test_an_impossible_out_is_refused_before_any_work(
    probe: list[Context], where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["probe", "--out", where]) == 2
    assert "--out" in capsys.readouterr().err
    assert probe == []


def test_a_module_of_ours_that_is_missing_fails_only_when_it_is_called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setitem(COMMANDS, "gone", Entry("saleops.cli.gone", "Not here.", "Run"))

    assert main(["-q", "--help"]) == 0
    assert "Not here." in capsys.readouterr().out
    assert main(["gone"]) == 1


def test_a_missing_package_is_named_with_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_sdk(name: str) -> ModuleType:
        raise ModuleNotFoundError("No module", name="rocketmq.v5.client")

    monkeypatch.setattr(importlib, "import_module", no_sdk)
    with pytest.raises(ConfigError, match="needs the package rocketmq") as caught:
        load_command("seed")

    assert caught.value.hint == "Run `pip install 'saleops[rocketmq]'`."


def test_a_command_app_runs_without_the_root_command(probe: list[Context]) -> None:
    from typer.testing import CliRunner

    result = CliRunner().invoke(sys.modules["tests_probe_command"].app, [])

    assert result.exit_code == 0, result.output
    assert probe[0].options.output == "table"


def test_the_glossary_and_the_topic_explain_the_same_words() -> None:
    page = (Path(__file__).parents[2] / "docs" / "glossary.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", page, flags=re.M)
    topic = " ".join(TOPICS["words"].split())

    assert len(rows) > 12
    assert topic == " ".join(["Words of saleops", *(f"{word} {text}" for word, text in rows)])


def test_a_quoted_command_is_explained_like_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "dlq replay"]) == 0
    quoted = capsys.readouterr().out
    assert main(["help", "dlq", "replay"]) == 0
    assert capsys.readouterr().out == quoted


@pytest.mark.parametrize("name", ["dlq", "mq", "prewarm"])
def test_a_group_alone_shows_its_page_and_is_no_mistake(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name]) == 0
    assert f"Usage: saleops {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_pages_name_arguments_as_people_write_them_and_have_one_heading_of_examples(
    name: str,
) -> None:
    command = load_command(name)
    for page in [command, *getattr(command, "commands", {}).values()]:
        assert (page.help or "").count("Example") == (page.help or "").count("Examples:") <= 1
        for param in page.params:
            if param.name in (
                "sale",
                "sale_file",
                "redis",
                "database",
                "broker",
                "url",
                "duration",
            ):
                assert param.metavar in ("SALE", "URL", "SECONDS", "FILE"), (name, param.name)
