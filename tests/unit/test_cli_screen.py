"""The screen: results on stdout in every format, everything else on stderr, questions only to people."""

import csv
import io
import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
import yaml
from rich.console import Console

from saleops.cli.documents import document_of, plain_of
from saleops.cli.progress import Bars, Lines, Stream, duration
from saleops.cli.screen import Screen, Sheet, as_rich
from saleops.cli.terminal import OutputClosed
from saleops.errors import ConfigError, Refused
from saleops.events import Advanced, Finished, Started, Warned

BOXES = set("╭╮╰╯─│┌┐└┘━┃")


class Kind(Enum):
    HOT = "hot"


@dataclass(frozen=True)
class Row:
    sku: str
    units: int


@dataclass(frozen=True)
class Report:
    schema: ClassVar[str] = "saleops/test/v1"

    sale: str
    rows: tuple[Row, ...] = (Row("a", 1), Row("b", 20))
    kind: Kind = Kind.HOT
    opens: datetime = datetime(2026, 11, 27, tzinfo=UTC)
    rate: float = float("nan")
    tags: frozenset[str] = frozenset({"y", "x"})
    where: Path = Path("/srv")
    timing: dict[str, float] = field(default_factory=lambda: {"p99_ms": 1.25})


@dataclass(frozen=True)
class Drawn:
    schema: ClassVar[str] = "saleops/drawn/v1"

    rows: list[Row]


@as_rich.register
def _(report: Drawn) -> list[Any]:
    return [Sheet(("SKU", "units"), [(one.sku, one.units) for one in report.rows]), "2 SKUs"]


class Terminal(io.StringIO):
    """A stream that says a person is there."""

    def isatty(self) -> bool:
        return True


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def screen(
    *,
    terminal: bool = False,
    typed: str = "",
    environ: dict[str, str] | None = None,
    **options: Any,
) -> Screen:
    stream = Terminal if terminal else io.StringIO
    made = Screen(
        stdin=stream(typed),
        stdout=stream(),
        stderr=stream(),
        environ={"TERM": "xterm"} if environ is None else environ,
    )
    chosen = {"output": "table", "out": None, "quiet": False, "verbose": 0, "color": "auto"}
    made.configure(**{**chosen, **options})
    return made


def said(stream: Any) -> str:
    text = stream.getvalue()
    assert isinstance(text, str)
    return text


def test_json_is_one_document_with_its_schema_first() -> None:
    one = screen(output="json")
    one.show(Report("midnight"))

    document = json.loads(said(one.stdout))
    assert next(iter(document)) == "schema"
    assert document == {
        "schema": "saleops/test/v1",
        "sale": "midnight",
        "rows": [{"sku": "a", "units": 1}, {"sku": "b", "units": 20}],
        "kind": "hot",
        "opens": "2026-11-27T00:00:00+00:00",
        "rate": None,
        "tags": ["x", "y"],
        "where": "/srv",
        "timing": {"p99_ms": 1.25},
    }
    assert said(one.stderr) == ""


def test_yaml_is_the_same_document() -> None:
    as_json, as_yaml = screen(output="json"), screen(output="yaml")
    for one in (as_json, as_yaml):
        one.show(Report("double 11: 双十一"))

    assert yaml.safe_load(said(as_yaml.stdout)) == json.loads(said(as_json.stdout))


def test_structs_models_and_mappings_are_results_too() -> None:
    class Answer(msgspec.Struct, rename="camel"):
        schema: ClassVar[str] = "saleops/answer/v1"
        orders_count: int

    assert document_of(Answer(3)) == {"schema": "saleops/answer/v1", "ordersCount": 3}
    assert document_of({"n": 1, "schema": "saleops/x/v1"}) == {"schema": "saleops/x/v1", "n": 1}


@pytest.mark.parametrize("result", [Row("a", 1), {"n": 1}, "text", 3, None], ids=repr)
def test_a_result_without_a_schema_is_a_bug(result: object) -> None:
    with pytest.raises(TypeError):
        screen().show(result)


def test_a_second_document_is_a_bug() -> None:
    one = screen(output="json")
    one.show(Report("a"))

    with pytest.raises(TypeError, match="one document"):
        one.show(Report("b"))


def test_what_has_no_json_form_is_a_bug() -> None:
    with pytest.raises(TypeError, match="bytes has no JSON form"):
        plain_of({"key": b"raw"})


def test_a_file_name_that_is_no_utf8_is_still_json() -> None:
    raw = io.BytesIO()
    one = Screen(stdout=io.TextIOWrapper(raw, encoding="utf-8"), environ={})
    one.configure(output="json", out=None, quiet=False, verbose=0, color="auto")
    one.show({"schema": "saleops/x/v1", "name": os.fsdecode(b"caf\xe9")})

    assert json.loads(raw.getvalue())["name"] == "caf\udce9"


def test_an_ascii_stdout_gets_escapes_in_documents() -> None:
    raw = io.BytesIO()
    one = Screen(stdout=io.TextIOWrapper(raw, encoding="ascii"), environ={})
    one.configure(output="json", out=None, quiet=False, verbose=0, color="auto")
    one.show({"schema": "saleops/x/v1", "name": "双十一"})

    assert json.loads(raw.getvalue())["name"] == "双十一"


def test_a_pipe_gets_rows_between_tabs_and_no_boxes() -> None:
    one = screen()
    one.show(Drawn([Row("a" * 200, 1), Row("tab\there", 2)]))

    assert said(one.stdout) == f"SKU\tunits\n{'a' * 200}\t1\ntab\\there\t2\n\n2 SKUs\n"


def test_a_terminal_gets_a_table() -> None:
    one = screen(terminal=True)
    one.show(Drawn([Row("a", 1)]))

    assert BOXES & set(said(one.stdout))
    assert "2 SKUs" in said(one.stdout)


@pytest.mark.parametrize(
    ("environ", "options", "colored"),
    [
        ({"TERM": "xterm"}, {}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, {}, False),
        ({"TERM": "xterm"}, {"color": "never"}, False),
        ({"TERM": "dumb"}, {}, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, {"color": "always"}, True),
    ],
    ids=str,
)
def test_colour_follows_flag_then_environment(
    environ: dict[str, str], options: dict[str, str], colored: bool
) -> None:
    one = screen(terminal=True, environ=environ, **options)
    one.fail("it broke", hint=None, exit_code=4)

    assert ("\x1b[" in said(one.stderr)) is colored


def test_ascii_only_draws_no_boxes() -> None:
    one = screen(terminal=True, environ={"TERM": "xterm", "SALEOPS_ASCII": "1"})
    one.observe(Started("seed", 10, "SKUs"))
    one.observe(Finished("seed", "all in"))
    one.show(Drawn([Row("a…", 1)]))

    assert said(one.stdout).isascii()
    assert said(one.stderr).isascii()


@pytest.mark.parametrize("terminal", [True, False])
def test_an_unregistered_result_is_shown_from_its_document(terminal: bool) -> None:
    one = screen(terminal=terminal)
    one.show(Report("midnight"))

    text = said(one.stdout)
    for word in ("midnight", "timing.p99_ms", "1.25", "sku", "20"):
        assert word in text


def test_a_table_of_rich_becomes_rows_in_a_pipe() -> None:
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table

    @dataclass(frozen=True)
    class Rich:
        schema: ClassVar[str] = "saleops/rich/v1"

    @as_rich.register
    def _(report: Rich) -> Any:
        table = Table("name", "n", title="T")
        table.add_row("[bold]x[/]", "1")
        table.add_row("y" * 100, "2")
        return Group(table, Panel("done"))

    one = screen()
    one.show(Rich())

    rows = list(csv.reader(said(one.stdout).splitlines(), delimiter="\t"))
    assert rows == [["name", "n"], ["x", "1"], ["y" * 100, "2"], ["done"]]


def test_data_cannot_move_the_cursor() -> None:
    for terminal in (True, False):
        one = screen(terminal=terminal, color="never")
        one.show(Drawn([Row("\x1b[2Jgone\x9b", 1)]))
        one.note("\x1b]0;title\x07")
        one.observe(Warned("\x1b[31mred"))

        assert "\x1b[2J" not in said(one.stdout)
        assert "\x9b" not in said(one.stdout)
        assert "\x1b]0" not in said(one.stderr)
        assert "\x1b[31m" not in said(one.stderr)


def test_out_is_written_whole_and_stdout_stays_empty(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    one = screen(output="json", out=path)
    one.show(Report("a"))

    assert json.loads(path.read_text())["sale"] == "a"
    assert said(one.stdout) == ""
    assert str(path) in said(one.stderr)
    assert os.listdir(tmp_path) == ["report.json"]


def test_out_follows_links_and_spares_devices(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    screen(out=link).show(Drawn([]))
    screen(out=Path("/dev/null")).show(Drawn([]))

    assert link.is_symlink()
    assert target.read_text().startswith("SKU")
    assert Path("/dev/null").is_char_device()


def test_an_out_that_cannot_be_written_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot write"):
        screen(out=tmp_path / "gone" / "x").show(Drawn([]))


def test_a_reader_that_left_ends_the_command_with_141() -> None:
    one = Screen(stdout=Closed(), environ={})
    with pytest.raises(OutputClosed) as caught:
        one.show(Drawn([]))

    assert caught.value.code == 141


def test_work_goes_on_when_nobody_reads_stderr() -> None:
    one = Screen(stdout=io.StringIO(), stderr=Closed(), environ={})
    one.observe(Started("seed"))
    one.note("hello")
    one.show(Drawn([]))

    assert said(one.stdout)


def test_ndjson_streams_events_and_ends_with_the_result() -> None:
    one = screen(output="ndjson")
    one.observe(Started("seed", 10, "SKUs"))
    before = said(one.stdout)
    one.observe(Advanced("seed", 5))
    one.observe(Warned("slow", {"url": "redis://:secret@h"}))
    one.emit({"type": "sample", "rps": 7})
    one.observe(Finished("seed", "ok"))
    one.show(Report("a"))

    lines = [json.loads(line) for line in said(one.stdout).splitlines()]
    assert len(before.splitlines()) == 2, "events come as they happen"
    assert [line["type"] for line in lines] == [
        "version",
        "started",
        "advanced",
        "warned",
        "sample",
        "finished",
        "result",
    ]
    assert lines[-1]["result"]["schema"] == "saleops/test/v1"
    assert "secret" not in said(one.stdout)
    assert said(one.stderr) == ""


def test_ndjson_can_go_to_a_file(tmp_path: Path) -> None:
    one = screen(output="ndjson", out=tmp_path / "events")
    one.observe(Started("seed"))
    one.show(Report("a"))
    one.close()

    assert len((tmp_path / "events").read_text().splitlines()) == 3
    assert said(one.stdout) == ""


def test_a_stream_thins_out_totals_and_nothing_else() -> None:
    now_s, records = [0.0], []
    stream = Stream(records.append, clock=lambda: now_s[0])
    for done in range(100):
        stream(Advanced("seed", done))
        now_s[0] += 0.01
    stream(Finished("seed"))

    assert len(records) in (6, 7)
    assert records[-1]["type"] == "finished"


def test_off_a_terminal_lines_are_changes_of_state_and_a_slow_heartbeat() -> None:
    now_s, written = [0.0], []
    lines = Lines(written.append, clock=lambda: now_s[0])
    lines(Started("seed", 1000, "SKUs"))
    for done in range(0, 1000, 10):
        now_s[0] += 0.25
        lines(Advanced("seed", done))
    lines(Finished("seed", "all in"))
    lines(Finished("check", "oversold", ok=False))
    lines(Warned("slow", {"p99": "9 s"}))

    assert written == [
        "seed: started (1,000 SKUs)\n",
        "seed: 390/1,000 SKUs (39%), 39/s, 15.6 s left\n",
        "seed: 790/1,000 SKUs (79%), 40/s, 5.2 s left\n",
        "seed: done in 25.0 s: all in\n",
        "check: FAILED: oversold\n",
        "warning: slow\n",
        "  p99: 9 s\n",
    ]


def test_a_heartbeat_counts_nothing_where_there_is_no_total_and_rates_no_seconds() -> None:
    now_s, written = [0.0], []
    lines = Lines(written.append, clock=lambda: now_s[0])
    lines(Started("waiting", unit="orders"))
    lines(Started("draining"))
    lines(Started("load", 40, "s"))
    now_s[0] = 10
    lines(Advanced("waiting", 0, "7 left"))
    lines(Advanced("draining", 0))
    lines(Advanced("load", 10, "200 rps wanted"))

    assert written[3:] == [
        "waiting: 7 left\n",
        "draining: 10.0 s so far\n",
        "load: 10/40 s (25%), 30.0 s left, 200 rps wanted\n",
    ]


@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_task_without_a_total_has_neither_bar_nor_count(ascii_only: bool) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, color_system=None)
    bars = Bars(console, ascii_only=ascii_only)
    bars(Started("waiting", unit="orders"))
    bars(Advanced("waiting", 0, "some left"))
    bars(Finished("waiting"))

    text = file.getvalue()
    assert "waiting" in text
    assert not [mark for mark in ("━", "[....", "0 orders", "/s") if mark in text]


def test_a_terminal_gets_bars_that_are_gone_before_the_result() -> None:
    one = screen(terminal=True)
    one.observe(Started("seed", 10, "SKUs"))
    one.observe(Advanced("seed", 5, "half"))
    one.note("by the way")
    one.observe(Warned("careful"))
    one.observe(Finished("seed", "10 SKUs in"))
    one.show(Drawn([Row("a", 1)]))

    text = said(one.stderr)
    assert "✓" in text
    assert "by the way" in text
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l"), "the cursor is shown again"


def test_a_failed_command_gives_the_terminal_back() -> None:
    one = screen(terminal=True)
    one.observe(Started("seed", 10))
    one.fail("it broke", hint="Fix it.", exit_code=4)

    text = said(one.stderr)
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_leaves_only_results_and_errors(terminal: bool) -> None:
    one = screen(terminal=terminal, quiet=True, color="never")
    one.observe(Started("seed", 10))
    one.observe(Advanced("seed", 5))
    one.observe(Warned("slow"))
    one.observe(Finished("seed"))
    one.note("by the way")
    one.show(Drawn([]))
    assert said(one.stderr) == ""

    one.fail("it broke", hint=None, exit_code=4)
    assert said(one.stderr) == "error: it broke\n"


def test_details_are_for_verbose_readers() -> None:
    silent, verbose = screen(), screen(verbose=1)
    for one in (silent, verbose):
        one.detail("pool of 8")

    assert (said(silent.stderr), said(verbose.stderr)) == ("", "pool of 8\n")


@pytest.mark.parametrize("typed", ["y\n", "YES\n"])
def test_a_person_who_agrees_is_asked_on_stderr(typed: str) -> None:
    one = screen(terminal=True, typed=typed)
    one.confirm("Really?", yes=False)

    assert said(one.stderr) == "Really? [y/N] "
    assert said(one.stdout) == ""


@pytest.mark.parametrize("typed", ["", "\n", "n\n", "yep\n"])
def test_anything_but_yes_is_no(typed: str) -> None:
    with pytest.raises(Refused, match="not confirmed; nothing was changed"):
        screen(terminal=True, typed=typed).confirm("Really?", yes=False)


def test_without_a_terminal_nothing_is_asked_and_the_flag_is_named() -> None:
    one = screen(typed="y\n")
    with pytest.raises(Refused) as caught:
        one.confirm("Clear 3 SKUs?", yes=False, flag="--yes")

    assert "--yes" in (caught.value.hint or "")
    assert said(one.stderr) == ""


def test_yes_is_a_flag_or_a_variable() -> None:
    screen().confirm("Really?", yes=True)
    screen(environ={"SALEOPS_YES": "1"}).confirm("Really?", yes=False)
    with pytest.raises(Refused):
        screen(environ={"SALEOPS_YES": "0"}).confirm("Really?", yes=False)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (60, "1 min 0 s"),
        (3599.6, "1 h 0 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_lengths_of_time_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text
