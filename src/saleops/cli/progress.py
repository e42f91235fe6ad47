"""How events look while work runs: bars on a terminal, plain lines elsewhere, JSON lines for machines.

All three are observers of ``saleops.events`` and may be called from any thread. Rates are taken from running totals,
over the last interval for plain lines and over rich's own window for bars, so a resumed run shows its true speed.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from saleops.cli.words import harmless, masked, sentence
from saleops.events import Advanced, Event, Finished, Started, Warned

HEARTBEAT_S = 10.0
"""Off a terminal, running work is heard of at most this often."""

STREAM_INTERVAL_S = 0.2
"""In ndjson, one task's totals come at most this often; starts, ends and warnings always come."""


class Display(Protocol):
    """An observer that can be put away."""

    def __call__(self, event: Event) -> None: ...

    def close(self) -> None: ...


class Nothing:
    """The display of ``-q``."""

    def __call__(self, event: Event) -> None:
        return None

    def close(self) -> None:
        return None


@dataclass(slots=True)
class _Task:
    total: int | None
    unit: str
    began_s: float
    said_s: float
    said_done: int = 0


class Lines:
    """One plain line per change of state, and a heartbeat while work goes on."""

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        heartbeat_s: float = HEARTBEAT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._heartbeat_s = heartbeat_s
        self._clock = clock
        self._tasks: dict[str, _Task] = {}
        self._lock = threading.RLock()  # re-entrant: a signal's handler may report while we do

    def __call__(self, event: Event) -> None:
        with self._lock:
            for line in self._lines(event, self._clock()):
                self._write(f"{sentence(line)}\n")

    def close(self) -> None:
        self._tasks.clear()

    def _lines(self, event: Event, now_s: float) -> list[str]:
        match event:
            case Started(task, total, unit):
                self._tasks[task] = _Task(total, unit, now_s, now_s)
                amount = f" ({total:,} {unit})".replace(" )", ")") if total else ""
                return [f"{task}: started{amount}"]
            case Advanced(task, done, note):
                known = self._tasks.get(task)
                if known is None:
                    known = self._tasks[task] = _Task(None, "", now_s, now_s, done)
                if now_s - known.said_s < self._heartbeat_s:
                    return []
                line = _heartbeat(task, known, done, note, now_s)
                known.said_s, known.said_done = now_s, done
                return [line]
            case Finished(task, note, ok):
                known = self._tasks.pop(task, None)
                took = f" in {duration(now_s - known.began_s)}" if known else ""
                state = "done" if ok else "FAILED"
                return [f"{task}: {state}{took}" + (f": {note}" if note else "")]
            case Warned(message, details):
                extra = [f"  {key}: {text}" for key, text in details.items()]
                return [f"warning: {message}", *extra]


def _heartbeat(task: str, known: _Task, done: int, note: str, now_s: float) -> str:
    if not known.total:
        # Nothing to measure it by: what it says itself, or how long it has been going on.
        return f"{task}: {note or f'{duration(now_s - known.began_s)} so far'}"
    unit = f" {known.unit}" if known.unit else ""
    parts = [f"{task}: {done:,}/{known.total:,}{unit} ({done / known.total:.0%})"]
    rate = (done - known.said_done) / max(now_s - known.said_s, 1e-9)
    if _has_rate(known.unit):
        parts.append(f"{rate:,.0f}/s")
    left = known.total - done
    if rate > 0 and left > 0:
        parts.append(f"{duration(left / rate)} left")
    return ", ".join([*parts, note] if note else parts)


def _has_rate(unit: str) -> bool:
    """Seconds pass at one a second: nobody has to be told."""
    return unit != "s"


def duration(seconds: float) -> str:
    """A length of time for people: ``4.2 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


class Bars:
    """Bars with rate and time left on a terminal, a spinner where no total is known; what has ended stays as one line
    with its mark."""

    def __init__(self, console: Any, *, ascii_only: bool) -> None:
        self._console = console
        self._marks = ("ok", "FAILED", "!") if ascii_only else ("✓", "✗", "!")
        self._ascii = ascii_only
        self._progress: Any = None
        self._rows: dict[str, Any] = {}
        self._began_s: dict[str, float] = {}
        self._lock = threading.RLock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            match event:
                case Started(task, total, unit):
                    self._start(task, total, unit)
                case Advanced(task, done, note):
                    if task not in self._rows:
                        self._start(task, None, "")
                    self._progress.update(self._rows[task], completed=done, note=harmless(note))
                case Finished(task, note, ok):
                    self._finish(task, note, ok=ok)
                case Warned(message, details):
                    extra = "".join(f"\n  {key}: {text}" for key, text in details.items())
                    self._say(self._marks[2], "yellow", f"{message}{extra}")

    def close(self) -> None:
        with self._lock:
            if self._progress is not None:
                self._progress.stop()
                self._progress = None
            self._rows.clear()

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        from rich.text import Text

        with self._lock:
            self._console.print(Text(text))

    def _start(self, task: str, total: int | None, unit: str) -> None:
        if self._progress is None:
            self._progress = _progress(self._console, ascii_only=self._ascii)
            self._progress.start()
        if task in self._rows:
            self._progress.remove_task(self._rows[task])
        self._began_s[task] = time.monotonic()
        self._rows[task] = self._progress.add_task(
            harmless(task), total=total or None, unit=harmless(unit), note=""
        )

    def _finish(self, task: str, note: str, *, ok: bool) -> None:
        row = self._rows.pop(task, None)
        if row is not None:
            self._progress.remove_task(row)
        began_s = self._began_s.pop(task, None)
        took = f"  {duration(time.monotonic() - began_s)}" if began_s is not None else ""
        mark, style = (self._marks[0], "green") if ok else (self._marks[1], "bold red")
        self._say(mark, style, f"{task}{took}" + (f"  {note}" if note else ""))
        if not self._rows:
            self.close()  # nothing runs: give the terminal back, so that results print undisturbed

    def _say(self, mark: str, style: str, message: str) -> None:
        from rich.text import Text

        self._console.print(Text.assemble((mark, style), " ", sentence(message)))


def _progress(console: Any, *, ascii_only: bool) -> Any:
    from rich.progress import (
        BarColumn,
        Progress,
        ProgressColumn,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Count(ProgressColumn):
        def render(self, task: Any) -> Text:
            if not task.total:
                return Text("")
            count = f"{int(task.completed):,}/{int(task.total):,}"
            return Text(f"{count} {task.fields['unit']}".rstrip())

    class Rate(ProgressColumn):
        def render(self, task: Any) -> Text:
            speed = task.speed if task.total and _has_rate(task.fields["unit"]) else None
            return Text("" if speed is None else f"{speed:,.0f}/s", style="dim")

    class Elapsed(ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text(duration(task.elapsed or 0.0), style="dim")

    class AsciiBar(ProgressColumn):
        def render(self, task: Any) -> Text:
            filled = round(task.percentage / 5)
            return Text("[" + "#" * filled + "." * (20 - filled) + "]")

    bar = AsciiBar() if ascii_only else BarColumn(bar_width=20)
    spinner = SpinnerColumn("line" if ascii_only else "dots")

    class Motion(ProgressColumn):
        def render(self, task: Any) -> Any:
            return (bar if task.total else spinner).render(task)

    return Progress(
        TextColumn("{task.description}", markup=False),
        Motion(),
        Count(),
        Rate(),
        Elapsed(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


class Stream:
    """Events as JSON lines, the moment they happen; ``emit`` gets each as a mapping."""

    def __init__(
        self,
        emit: Callable[[dict[str, Any]], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._emit = emit
        self._clock = clock
        self._said_s: dict[str, float] = {}
        self._lock = threading.RLock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, Advanced):
                now_s = self._clock()
                if now_s - self._said_s.get(event.task, -STREAM_INTERVAL_S) < STREAM_INTERVAL_S:
                    return
                self._said_s[event.task] = now_s
            self._emit(record_of(event))

    def close(self) -> None:
        return None


def record_of(event: Event) -> dict[str, Any]:
    """``event`` as a JSON line: its type, the time in UTC, its fields."""
    record: dict[str, Any] = {"type": type(event).__name__.lower(), "t": _now()}
    match event:
        case Started(task, total, unit):
            return {**record, "task": task, "total": total, "unit": unit}
        case Advanced(task, done, note):
            return {**record, "task": task, "done": done, "note": masked(note)}
        case Finished(task, note, ok):
            return {**record, "task": task, "ok": ok, "note": masked(note)}
        case Warned(message, details):
            told = {key: masked(text) for key, text in details.items()}
            return {**record, "message": masked(message), "details": told}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
