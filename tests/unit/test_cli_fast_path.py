"""``saleops --help``, ``--version`` and completion: answered from rendered text, by a process that loads nothing."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from saleops import __version__
from saleops.__main__ import page_for
from saleops.cli import render

HEAVY = {"typer", "rich", "pydantic", "importlib.metadata", "importlib.resources", "typing", "json"}
HEAVY |= {"asyncio", "locust", "redis", "httpx", "granian", "inspect", "pathlib"}
ANSWERED = [
    [],
    ["help"],
    ["-h"],
    ["--help"],
    ["--version"],
    ["-V"],
    ["help", "exit-codes"],
    ["completion", "bash"],
]


def environment(**changes: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SALEOPS_", "NO_COLOR", "FORCE_COLOR", "COV_"))
    }
    return {**kept, "TERM": "xterm", **changes}


def saleops(*arguments: str, **changes: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "saleops", *arguments],
        capture_output=True,
        encoding="utf-8",
        env=environment(**changes),
        timeout=60,
        check=False,
    )


def on_a_terminal(*arguments: str, **changes: str) -> str:
    """What ``saleops`` prints when its stdout is a terminal."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "saleops", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env=environment(**changes),
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux says so when the last writer has gone
            break
        if not part:
            break
        said += part
    os.close(ours)
    assert child.wait(60) == 0
    return said.decode().replace("\r\n", "\n")


def rendered(name: str) -> str:
    return (render.RENDERED / name).read_text(encoding="utf-8")


def test_rendered_pages_are_what_typer_prints_today() -> None:
    assert render.stale(render.pages()) == [], "run `python -m saleops.cli.render`"


def test_the_slow_path_prints_the_same_help() -> None:
    slow = saleops("-q", "--help", COLUMNS="80").stdout
    lines = [line.rstrip(" ") for line in slow.split("\n")]

    assert "\n".join(lines).rstrip("\n") + "\n" == rendered("help.txt")


@pytest.mark.parametrize("arguments", ANSWERED, ids=" ".join)
def test_what_needs_no_work_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; sys.argv = ['saleops', *sys.argv[1:]]; before = set(sys.modules)\n"
        "from saleops.__main__ import main; code = main()\n"
        "sys.stderr.write(' '.join(set(sys.modules) - before)); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
        check=False,
    )

    assert done.returncode == 0
    assert done.stdout
    loaded = set(done.stderr.split())
    assert loaded & HEAVY == set()
    assert {one for one in loaded if one.startswith("saleops")} <= {
        "saleops",
        "saleops.__main__",
        "saleops.cli",
        "saleops.cli.terminal",
    }


@pytest.mark.parametrize("arguments", ANSWERED[:4], ids=" ".join)
def test_no_arguments_and_help_show_the_help_page(arguments: list[str]) -> None:
    done = saleops(*arguments)

    assert (done.returncode, done.stdout, done.stderr) == (0, rendered("help.txt"), "")


def test_the_version_is_one_line() -> None:
    assert saleops("--version").stdout == f"saleops {__version__}\n"


def test_help_is_coloured_on_a_terminal_only() -> None:
    assert on_a_terminal("--help") == rendered("help.ansi")
    assert "\x1b" not in saleops("--help").stdout


@pytest.mark.parametrize(
    "changes", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"SALEOPS_COLOR": "never"}], ids=str
)
def test_a_terminal_that_wants_no_colour_gets_none(changes: dict[str, str]) -> None:
    assert on_a_terminal("help", "output", **changes) == rendered("help-output.txt")


@pytest.mark.parametrize("changes", [{"FORCE_COLOR": "1"}, {"SALEOPS_COLOR": "always"}], ids=str)
def test_a_pipe_that_wants_colour_gets_it(changes: dict[str, str]) -> None:
    assert saleops("--help", **changes).stdout == rendered("help.ansi")


def test_no_color_wins_over_force_color() -> None:
    assert "\x1b" not in saleops("--help", NO_COLOR="1", FORCE_COLOR="1").stdout


@pytest.mark.parametrize(
    "changes", [{"SALEOPS_ASCII": "1"}, {"PYTHONIOENCODING": "ascii"}], ids=str
)
def test_help_can_be_ascii(changes: dict[str, str]) -> None:
    done = saleops("--help", **changes)

    assert done.returncode == 0
    assert done.stdout.isascii()
    assert "?" not in done.stdout


def test_completion_scripts_are_never_coloured() -> None:
    assert "\x1b" not in saleops("completion", "zsh", FORCE_COLOR="1").stdout


def test_a_reader_that_leaves_is_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "saleops", "--help"],
        stdout=writer,
        stderr=subprocess.PIPE,
        env=environment(),
        timeout=60,
        check=False,
    )
    os.close(writer)

    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    "arguments", [["help", "../../errors"], ["help", "/etc/passwd"], ["completion", ".."]], ids=str
)
def test_a_page_name_never_leaves_the_folder(arguments: list[str]) -> None:
    assert page_for(arguments) == ""


@pytest.mark.parametrize(
    "arguments", [["seed"], ["--help", "x"], ["-o", "json"], ["help", "a", "b"]]
)
def test_everything_else_is_work(arguments: list[str]) -> None:
    assert page_for(arguments) == ""


def test_a_missing_page_falls_back_to_the_slow_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import saleops.__main__ as entry

    monkeypatch.setattr(entry, "_RENDERED", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["saleops", "help", "exit-codes"])

    assert entry.main() == 0
    assert capsys.readouterr().out == rendered("help-exit-codes.txt")


def test_no_page_is_wider_than_a_terminal() -> None:
    for one in render.RENDERED.glob("help*.txt"):
        for line in one.read_text(encoding="utf-8").splitlines():
            assert len(line) <= 80, (one.name, line)
