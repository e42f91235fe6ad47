"""Prices are exact, whether they come from a CSV file or as a YAML number."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from saleops.config.item_rows import PRICE_MAX_FEN, price_of
from saleops.config.items import InlineItems
from saleops.config.yaml_lines import parse_yaml


@given(st.integers(0, PRICE_MAX_FEN))
def test_every_cent_survives_as_text(fen: int) -> None:
    assert price_of(f"{fen // 100}.{fen % 100:02d}") == fen


@given(st.integers(0, PRICE_MAX_FEN))
def test_every_cent_survives_as_a_number_in_the_sale_file(fen: int) -> None:
    text = f"[{{sku: a, name: A, stock: 1, price: {fen // 100}.{fen % 100:02d}}}]"
    document = parse_yaml(text, Path("sale.yaml"))

    [item] = InlineItems(document.value, lambda *at: document.where(at)).stream()

    assert item.price_fen == fen
