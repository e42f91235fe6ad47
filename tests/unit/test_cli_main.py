"""How a command ends: errors, hints, exit codes, signals, closed pipes."""

import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import typer

from saleops.cli.commands import COMMANDS, Entry
from saleops.cli.main import main
from saleops.errors import ConfigError, GateFailed, Refused, SaleopsError, StoreUnavailable
from saleops.events import Started

Fails = Callable[[BaseException], None]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fails:
    """Makes ``saleops fail`` raise what it is given."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    raised: list[BaseException] = []
    app = typer.Typer()

    @app.command()
    def fail(ctx: typer.Context) -> None:
        ctx.obj.screen.observe(Started("failing"))
        raise raised[0]

    module = ModuleType("tests_fail_command")
    module.app = app  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(COMMANDS, "fail", Entry(module.__name__, "Fail.", "Run"))
    return raised.append


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("bad file", hint="Fix it."), 2),
        (GateFailed("NO-GO", hint="Look."), 3),
        (StoreUnavailable("no Redis", hint="Start it."), 4),
        (Refused("unsafe", hint="Use --yes."), 5),
    ],
)
def test_a_foreseen_error_is_two_lines_and_its_exit_code(
    failing: Fails, error: SaleopsError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(error)

    assert main(["fail", "-q"]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"error: {error.message}\nhint:  {error.hint}\n"


def test_many_lines_of_an_error_line_up(failing: Fails, capsys: pytest.CaptureFixture[str]) -> None:
    failing(ConfigError("sale.yaml:1: one\nsale.yaml:2: two"))

    assert main(["-q", "fail"]) == 2
    assert capsys.readouterr().err == "error: sale.yaml:1: one\n       sale.yaml:2: two\n"


def test_machines_get_the_error_as_the_last_line(
    failing: Fails, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(Refused("unsafe", hint="Use --yes."))

    assert main(["fail", "-o", "json"]) == 5
    said = capsys.readouterr()
    assert said.out == ""
    assert json.loads(said.err.splitlines()[-1]) == {
        "schema": "saleops/error/v1",
        "error": {"message": "unsafe", "hint": "Use --yes.", "exit_code": 5},
    }


@pytest.mark.parametrize("arguments", [["sed", "-o", "json"], ["help", "-ojson", "--nope"]])
def test_a_usage_error_before_the_format_is_known_is_json_too(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    document = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert document["error"]["exit_code"] == 2


def test_an_error_ends_the_stream(failing: Fails, capsys: pytest.CaptureFixture[str]) -> None:
    failing(GateFailed("NO-GO"))

    assert main(["fail", "-o", "ndjson"]) == 3
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["type"] for one in lines] == ["version", "started", "error"]
    assert lines[-1]["error"]["exit_code"] == 3


def test_a_bug_is_saved_for_its_user_only_and_named(
    failing: Fails, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(KeyError("redis://:secret@host/0"))

    assert main(["fail"]) == 1
    said = capsys.readouterr().err
    (crash,) = (tmp_path / "saleops").iterdir()
    assert str(crash) in said
    assert "Traceback" not in said
    assert stat.S_IMODE(crash.stat().st_mode) == 0o600
    assert "Traceback" in crash.read_text()
    assert "secret" not in said + crash.read_text()


def test_debug_shows_the_traceback(failing: Fails, capsys: pytest.CaptureFixture[str]) -> None:
    failing(ConfigError("bad file"))

    assert main(["fail", "--debug"]) == 2
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.endswith("error: bad file\n")


def test_a_home_that_cannot_be_written_does_not_hide_the_bug(
    failing: Fails,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(blocked))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(blocked))
    failing(RuntimeError("boom"))

    assert main(["fail"]) == 1
    assert "--debug" in capsys.readouterr().err


def test_errors_of_a_group_of_tasks_are_all_told(
    failing: Fails, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(
        ExceptionGroup("tasks", [ConfigError("one"), ExceptionGroup("", [StoreUnavailable("two")])])
    )

    assert main(["fail", "-q"]) == 4
    assert capsys.readouterr().err == "error: one\nerror: two\n"


def test_a_group_with_a_bug_in_it_is_a_bug(failing: Fails) -> None:
    failing(ExceptionGroup("tasks", [ConfigError("one"), KeyError("x")]))

    assert main(["fail"]) == 1


@pytest.mark.parametrize(
    ("stop", "code"),
    [(KeyboardInterrupt(), 130), (SystemExit(7), 7), (typer.Exit(3), 3), (typer.Abort(), 5)],
    ids=repr,
)
def test_other_ends_have_their_codes(failing: Fails, stop: BaseException, code: int) -> None:
    failing(stop)

    assert main(["fail"]) == code


def test_terminal_control_in_an_error_is_spelled_out(
    failing: Fails, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(ConfigError("sku \x1b[2J\r is odd"))

    assert main(["-q", "fail"]) == 2
    assert capsys.readouterr().err == "error: sku \\x1b[2J\\r is odd\n"


def test_the_handler_of_sigterm_is_put_back(failing: Fails) -> None:
    before = signal.getsignal(signal.SIGTERM)
    failing(ConfigError("x"))

    main(["fail"])

    assert signal.getsignal(signal.SIGTERM) is before


CHILD = """
import asyncio, signal, sys, types
import typer
from saleops.cli.commands import COMMANDS, Entry
from saleops.cli.main import main

app = typer.Typer()

@app.command()
def work() -> None:
    async def run() -> None:
        try:
            print("ready", flush=True)
            await asyncio.Event().wait()
        finally:
            print("cleaned up", flush=True)
    if "plain" in sys.argv:
        try:
            print("ready", flush=True)
            signal.pause()
        finally:
            print("cleaned up", flush=True)
    asyncio.run(run())

module = types.ModuleType("work_command")
module.app = app
sys.modules["work_command"] = module
COMMANDS["work"] = Entry("work_command", "Work.", "Run")
sys.exit(main(["work"]))
"""


@pytest.mark.parametrize("kind", ["plain", "asyncio"])
@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_lets_the_work_clean_up(kind: str, number: int, code: int, word: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), kind],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(number)
    out, err = child.communicate(timeout=30)

    assert (child.returncode, out) == (code, "cleaned up\n")
    assert err == f"error: {word} before the work was done\n"


def test_a_reader_that_leaves_ends_the_command_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "saleops", "--version", "-o", "json"],
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(writer)

    assert (done.returncode, done.stderr) == (141, b"")


def test_colour_can_be_switched_off_for_a_help_page() -> None:
    for choice, colored in (("always", True), ("never", False)):
        done = subprocess.run(
            [sys.executable, "-m", "saleops", "completion", "--color", choice, "-h"],
            capture_output=True,
            text=True,
            env={**os.environ, "TERM": "xterm", "FORCE_COLOR": "1"},
            timeout=60,
            check=True,
        )
        assert ("\x1b[" in done.stdout) is colored


def test_every_topic_is_on_the_help_page() -> None:
    from saleops.cli.topics import TOPICS

    done = subprocess.run(
        [sys.executable, "-m", "saleops", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert [one for one in TOPICS if one not in done.stdout] == []


def test_every_exit_code_of_the_error_tree_is_explained() -> None:
    from saleops.cli.topics import TOPICS

    for code in (ConfigError, GateFailed, StoreUnavailable, Refused):
        assert f"\n    {code.exit_code}   " in TOPICS["exit-codes"]


def test_an_unknown_topic_suggests_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "exit-code"]) == 2
    assert "Did you mean 'exit-codes'?" in capsys.readouterr().err
