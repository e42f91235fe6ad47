"""Made-up items, the same for every run: as objects, as a CSV file, as a sale file."""

from collections.abc import Iterator
from pathlib import Path

from saleops.domain.items import Item

SALE = "bench"
SHELVES = [("Grocery", "Snacks"), ("Beverages", "Tea"), ("Household", "Paper, towels"), ("", "")]


def made_up(count: int) -> Iterator[Item]:
    for n in range(count):
        department, category = SHELVES[n % len(SHELVES)]
        yield Item(
            sku=f"{10**6 + n}",
            name=f"Organic Item {n} 12 OZ",
            price_fen=99 + n * 37 % 50_000,
            stock=9 + n % 500,
            limit_per_buyer=n % 3,
            popularity=1.0 + n % 7,
            department=department,
            category=category,
        )


def write_sale(folder: Path, *, count: int) -> Path:
    """sale.yaml and items.csv in ``folder``. Returns the first."""
    with (folder / "items.csv").open("w", encoding="utf-8") as file:
        file.write("sku,name,price,stock,limit_per_buyer,popularity,department,category\n")
        for one in made_up(count):
            file.write(
                f"{one.sku},{one.name},{one.price_fen / 100:.2f},{one.stock},{one.limit_per_buyer},{one.popularity:g},"
                f'"{one.department}","{one.category}"\n'
            )
    path = folder / "sale.yaml"
    path.write_text(
        "apiVersion: saleops/v1\n"
        f"name: {SALE}\n"
        "window: {opens: 2026-11-27T00:00:00+08:00, closes: 2026-11-27T02:00:00+08:00}\n"
        "items: {file: items.csv}\n"
        "traffic: {baseline_rps: 100, peak_rps: 1000, peak_orders_per_s: 100}\n",
        encoding="utf-8",
    )
    return path
