"""The wheel carries everything: built from a copy of the checkout, installed away from it, it rehearses a sale.

Built twice: straight from the sources, and from the sdist, because that is what package indexes do. Dependencies
come from the environment that runs the tests, through a .pth file, so that only saleops itself is from the wheel.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

pytestmark = [pytest.mark.xdist_group("heavy"), pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE", "src", "services", "lua", "templates")


@dataclass
class Built:
    sdist: Path
    from_sdist: Path
    from_checkout: Path


def environment() -> dict[str, str]:
    """Ours without what would let a child find the checkout."""
    ours = ("SALEOPS_", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def build(source: Path, out: Path, *what: str) -> None:
    wanted = re.search(r"setuptools>=(\d+)", (source / "pyproject.toml").read_text())
    assert wanted is not None
    have = int(version("setuptools").partition(".")[0])
    isolation = ["--no-isolation"] if have >= int(wanted[1]) else []
    done = subprocess.run(
        [sys.executable, "-m", "build", *isolation, *what, "--outdir", str(out), str(source)],
        cwd=out,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    # A copy, so that build/ and egg-info of this test never get into the checkout, nor old ones from there in here.
    folder = tmp_path_factory.mktemp("build")
    source = folder / "checkout"
    source.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in BUILT_FROM:
        one = ROOT / name
        if one.is_dir():
            shutil.copytree(one, source / name, symlinks=True, ignore=ignore)
        elif one.exists():
            shutil.copy(one, source / name)
    plain, through = folder / "plain", folder / "through"
    plain.mkdir()
    through.mkdir()
    build(source, through)  # the sdist, and the wheel from it
    build(source, plain, "--wheel")
    [sdist] = through.glob("*.tar.gz")
    [from_sdist] = through.glob("*.whl")
    [from_checkout] = plain.glob("*.whl")
    return Built(sdist, from_sdist, from_checkout)


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def travelling_files() -> set[str]:
    """What has to be in the wheel, by its name there."""
    package = ROOT / "src" / "saleops"
    wanted = {
        f"saleops/{folder}/{one.relative_to(ROOT / folder)}"
        for folder in ("lua", "templates", "services")
        for one in (ROOT / folder).rglob("*")
        if one.is_file() and one.suffix != ".pyc"
    }
    wanted |= {f"saleops/cli/rendered/{one.name}" for one in (package / "cli/rendered").iterdir()}
    wanted |= {f"saleops/{one.relative_to(package)}" for one in package.rglob("*.py")}
    return wanted | {"saleops/py.typed"}


@pytest.mark.parametrize("which", ["from_checkout", "from_sdist"])
def test_every_script_template_service_and_page_is_in_the_wheel(built: Built, which: str) -> None:
    wanted, there = travelling_files(), names_in(getattr(built, which))

    assert sum(name.endswith(".lua") for name in wanted) > 15
    assert wanted - there == set()


def test_the_wheel_holds_the_package_and_nothing_else(built: Built) -> None:
    tops = {name.split("/")[0] for name in names_in(built.from_checkout)}

    assert {name for name in tops if not name.endswith(".dist-info")} == {"saleops"}
    assert not [name for name in names_in(built.from_checkout) if "__pycache__" in name]


def test_both_ways_make_the_same_wheel(built: Built) -> None:
    assert names_in(built.from_checkout) == names_in(built.from_sdist)


def test_the_sdist_has_the_sources(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert {"pyproject.toml", "src/saleops/__main__.py"} <= names
    assert "src/saleops/lua/stock/reserve.lua" in names


@dataclass
class Installed:
    """saleops in an environment of its own, away from the checkout."""

    bin: Path
    folder: Path

    def run(self, *command: str, timeout_s: float = 60) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd=self.folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


@pytest.fixture(scope="module")
def installed(built: Built) -> Iterator[Installed]:
    # Not tmp_path: the path of the engine's unix socket must stay short.
    with TemporaryDirectory(prefix="so-") as folder:
        home, work = Path(folder) / "env", Path(folder) / "work"
        work.mkdir()
        venv.create(home, with_pip=False, symlinks=True)
        site = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
        bin_folder = home / "bin"
        pip = [sys.executable, "-m", "pip", "--python", str(bin_folder / "python")]
        subprocess.run(
            [*pip, "install", "--quiet", "--no-deps", "--no-index", str(built.from_sdist)],
            env=environment(),
            check=True,
            timeout=120,
        )
        # addsitedir would follow the editable install's own .pth back to the checkout; a plain path does not.
        (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
        yield Installed(bin_folder, work)


def test_it_is_imported_from_the_wheel(installed: Installed) -> None:
    done = installed.run(
        "python", "-c", "import saleops, saleops.services as s; print(saleops.__file__, s.__file__)"
    )

    assert done.returncode == 0, done.stderr
    for path in done.stdout.split():
        assert Path(path).is_relative_to(installed.bin.parent)
        assert not Path(path).resolve().is_relative_to(ROOT)


def test_the_installed_command_tells_its_version_and_helps(installed: Installed) -> None:
    from saleops import __version__

    assert installed.run("saleops", "--version").stdout == f"saleops {__version__}\n"
    assert "rehearse" in installed.run("saleops", "--help").stdout


def test_the_installed_command_rehearses_a_sale_it_wrote_itself(installed: Installed) -> None:
    wrote = installed.run("saleops", "init", "drop")
    assert wrote.returncode == 0, wrote.stderr
    sale = installed.folder / "drop" / "sale.yaml"
    text = sale.read_text()
    # A machine that runs other tests beside this one may be slow; what counts here is that all of it runs.
    text = re.sub(r"error_rate: \S+", "error_rate: 0.05", text)
    sale.write_text(text)

    done = installed.run(
        *("saleops", "rehearse", str(sale), "--duration", "6", "--peak", "100", "-o", "json"),
        timeout_s=150,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "GO"
