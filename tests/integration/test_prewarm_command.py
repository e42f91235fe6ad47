"""``saleops prewarm cache`` as a person runs it: a sale file, a seeded database, a real Redis."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import redis

from saleops.cli.main import main
from saleops.ports.orders import SaleRow
from saleops.wiring import open_order_book
from shelf import item

SALE_FILE = """\
apiVersion: saleops/v1
name: midnight-drop
window: {opens: 2026-11-27T00:00:00+08:00, closes: 2026-11-27T02:00:00+08:00}
items:
  - {sku: sku-000000, name: Tee, price: 1.00, stock: 5}
"""


@pytest.fixture
def sale(tmp_path: Path) -> Path:
    path = tmp_path / "sale.yaml"
    path.write_text(SALE_FILE)
    return path


def seed(database_url: str) -> None:
    with open_order_book(database_url) as book:
        book.migrate()
        book.begin_sale(SaleRow("midnight-drop", "epoch", "v1", 600, 600, False))
        book.add_items([(item(n), 1) for n in range(600)])
        book.finish_sale("midnight-drop")


@pytest.fixture
def seeded(sqlite_url: str) -> str:
    seed(sqlite_url)
    return sqlite_url


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str],
    sale: Path,
    redis_url: str,
    tmp_path: Path,
) -> Any:
    """Runs ``saleops prewarm cache`` on ``database``; gives exit code, stdout and stderr."""

    def call(database: str, *flags: str) -> tuple[int, str, str]:
        state = ["--state-dir", str(tmp_path / "state")]
        urls = ["--redis", redis_url, "--database", database]
        code = main(["prewarm", "cache", str(sale), *state, *urls, *flags])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_it_warms_the_cache_and_prints_one_document(run: Any, seeded: str) -> None:
    code, out, _ = run(seeded, "-o", "json")

    report = json.loads(out)
    assert code == 0
    assert report["schema"] == "saleops/prewarm/v1"
    assert (report["written"], report["db_queries"], report["problems"]) == (600, 0, [])
    assert report["expiry_max_share"] <= 0.02


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(
    run: Any, seeded: str, redis_url: str
) -> None:
    code, out, _ = run(seeded, "--dry-run", "-o", "json")

    plan = json.loads(out)
    assert code == 0
    assert (plan["schema"], plan["products"]) == ("saleops/prewarm-plan/v1", 600)
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


def test_people_get_the_verdict_in_words(run: Any, seeded: str) -> None:
    code, out, err = run(seeded)

    assert code == 0
    assert "600 of 600" in out
    assert "verdict\twarm" in out
    assert "Traceback" not in err


def test_with_no_urls_it_uses_the_embedded_engines_of_the_state(
    sale: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Not tmp_path: the path of a unix socket must stay short.
    with TemporaryDirectory(prefix="so-") as state:
        seed(f"sqlite:///{state}/orders.db")

        code = main(["prewarm", "cache", str(sale), "--state-dir", state, "-o", "json"])

        assert code == 0
        assert json.loads(capsys.readouterr().out)["problems"] == []


@pytest.mark.parametrize(("has_tables", "expected"), [(True, 5), (False, 4)])
def test_a_sale_that_is_not_seeded_is_refused_with_the_next_command(
    run: Any, sqlite_url: str, has_tables: bool, expected: int
) -> None:
    if has_tables:
        with open_order_book(sqlite_url) as book:
            book.migrate()

    code, out, err = run(sqlite_url)

    assert code == expected
    assert out == ""
    assert "saleops seed" in err


def test_a_sale_file_that_is_missing_is_a_config_error(run: Any, seeded: str, sale: Path) -> None:
    sale.unlink()

    assert run(seeded)[0] == 2
