"""Items from a CSV file: what is read, what each bad row hears, and what a million of them may cost."""

import csv
import io
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saleops.config import items as items_module
from saleops.config.item_rows import parse_row
from saleops.config.items import FileItems, ItemsSummary
from saleops.domain.items import Item
from saleops.errors import ConfigError

HEADER = "sku,name,price,stock\n"
RETAIL = Path(__file__).parents[2] / "examples" / "midnight-drop" / "items.csv"


def source(folder: Path, text: str | bytes) -> FileItems:
    path = folder / "items.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return FileItems(path)


def read(folder: Path, text: str | bytes) -> list[Item]:
    return list(source(folder, text).stream())


def complaint(folder: Path, text: str | bytes) -> str:
    """What a file hears in the pass that checks, without the folder in front of the name."""
    with pytest.raises(ConfigError) as caught:
        source(folder, text).summary()
    assert caught.value.hint
    return caught.value.message.replace(f"{folder}/", "")


def rows(count: int, *, start: int = 0) -> str:
    return "".join(f"s-{number},Name {number},1.5,2\n" for number in range(start, start + count))


def test_a_row_becomes_an_item_to_the_cent(tmp_path: Path) -> None:
    assert read(tmp_path, f"{HEADER}1082185,Bananas 40 LB,0.98,17639\n") == [
        Item("1082185", "Bananas 40 LB", 98, 17639)
    ]


def test_columns_stand_in_any_order_and_may_be_left_empty(tmp_path: Path) -> None:
    text = "category,Stock, sku ,popularity,name,limit_per_buyer,price,department\n"

    found = read(tmp_path, f"{text}Fruit,3,a,,Cap,,10,Produce\n,3,b,2.5,Hat,2,0.5,\n")

    assert found == [
        Item("a", "Cap", 1000, 3, 0, 1.0, "Produce", "Fruit"),
        Item("b", "Hat", 50, 3, 2, 2.5, "", ""),
    ]


@pytest.mark.parametrize(
    "text",
    [
        HEADER + 'a,"Cap, red",1,2\n',
        "\ufeff" + HEADER + 'a,"Cap, red",1,2\n',
        (HEADER + 'a,"Cap, red",1,2\n').replace("\n", "\r\n"),
        (HEADER + 'a,"Cap, red",1,2\n').replace("\n", "\r"),
        HEADER + 'a,"Cap, red",1,2',
        "\n" + HEADER + '\n\na,"Cap, red",1,2\n\n\n',
        HEADER + 'a, "Cap"" red" ,1,2\n'.replace('"Cap"" red"', '"Cap, red"').replace(" ", "", 1).replace(" ,", ","),
        HEADER + ' a ,"Cap, red  ", 1.00 , 2\n',
    ],
)  # fmt: skip
def test_spreadsheets_write_the_same_file_in_many_ways(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == [Item("a", "Cap, red", 100, 2)]


def test_a_line_break_in_a_quoted_name_becomes_a_space_and_lines_still_count(
    tmp_path: Path,
) -> None:
    text = HEADER + 'a,"Cap\nred",1,2\nb,"Hat\r\nblue",1,2\nc,Bag,1,x\n'

    assert complaint(tmp_path, text).startswith("items.csv:6: stock: 'x'")
    assert [item.name for item in read(tmp_path, text.replace("x\n", "2\n"))] == [
        "Cap red", "Hat blue", "Bag"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a,Cap,12.345,2", "price: '12.345' has more than 2 decimals"),
        ("a,Cap,-1,2", "price: -1 is below 0"),
        ("a,Cap,,2", "price: is empty"),
        ("a,Cap,free,2", "price: 'free' is not a price like 2.45"),
        ("a,Cap,1e3,2", "price: '1e3' is not a price like 2.45"),
        ("a,Cap,nan,2", "price: 'nan' is not a price"),
        ("a,Cap,$5,2", "price: '$5' is not a bare number (did you mean 5?)"),
        ("a,Cap,5 USD,2", "price: '5 USD' is not a bare number (did you mean 5?)"),
        ('a,Cap,"1,299.00",2', "price: '1,299.00' is not a bare number (did you mean 1299.00?)"),
        ('a,Cap,"12,50",2', "price: '12,50' has a decimal comma (did you mean 12.50?)"),
        ("a,Cap,99999999999,2", "price: '99999999999' is more than 10,000,000"),
        ("a,Cap,10000000.01,2", "price: 10000000.01 is more than 10,000,000"),
        ("a,Cap,\u0661,2", "price: '\u0661' is not a price"),
        ("a,Cap,1,-1", "stock: -1 is below 0"),
        ("a,Cap,1,1.5", "stock: 1.5 is a fraction of a unit; units are whole"),
        ("a,Cap,1,2.0", "stock: 2.0 is not a whole number (did you mean 2?)"),
        ('a,Cap,1,"1,000"', "stock: '1,000' is not a bare number (did you mean 1000?)"),
        ("a,Cap,1,", "stock: is empty"),
        ("a,Cap,1,10000000000", "stock: 10000000000 is more than 1,000,000,000"),
        ("a,Cap,1," + "9" * 5000, "stock: '9999"),
        ("a,Cap,1,1_000", "stock: '1_000' is not a whole number"),
        ("a,Cap,1,\u0665", "stock: '\u0665' is not a whole number"),
        (",Cap,1,2", "sku: is empty"),
        ("a b,Cap,1,2", "sku: 'a b' holds ' '; letters, digits and . _ - : / are allowed (did you mean a-b?)"),
        ("caf\u00e9,Cap,1,2", "sku: 'caf\u00e9' holds '\\xe9'"),
        ("a" * 65 + ",Cap,1,2", "has 65 characters; 64 is the most"),
        ("..,Cap,1,2", "sku: '..' must start with a letter or digit"),
        ("a/../b,Cap,1,2", "sku: 'a/../b' must start with a letter or digit, and so must each part after a slash"),
        ("a\x00,Cap,1,2", "sku: 'a\\x00' holds '\\x00'"),
        ("a,,1,2", "name: is empty"),
        ("a,  ,1,2", "name: is empty"),
        ("a,C\x00p,1,2", "name: holds the control character '\\x00'"),
        ("a,\x1b[31mCap,1,2", "name: holds the control character '\\x1b'"),
        ("a," + "x" * 201 + ",1,2", "name: has 201 characters; 200 is the most"),
        ("a,Cap,1", "3 values in 4 columns (a value is missing)"),
        ("a,Cap, red,1,2", "5 values in 4 columns (quote a value that holds a comma)"),
        ('a,"Cap" red,1,2', "inside a quoted value a quote is written twice"),
        ('a,"Cap,1,2', "a quote is opened and never closed"),
        ('a,"' + "x" * 140_000, "a value has more than 131,072 characters"),
        ("x" * 140_000, "a value has more than 131,072 characters"),
    ],
)  # fmt: skip
def test_a_bad_row_hears_its_line_its_column_and_what_is_wrong(
    tmp_path: Path, row: str, said: str
) -> None:
    found = complaint(tmp_path, f"{HEADER}{rows(1)}{row}\n")

    assert said in found
    assert found.startswith(("items.csv:3: ", "items.csv:4: ", "items.csv:6: "))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("limit_per_buyer,-1", "limit_per_buyer: -1 is below 0"),
        ("limit_per_buyer,0.5", "limit_per_buyer: 0.5 is a fraction"),
        ("popularity,-1", "popularity: '-1' is not a number of 0 or more"),
        ("popularity,nan", "popularity: 'nan' is not a number"),
        ("popularity,inf", "popularity: 'inf' is not a number"),
        ("popularity,1e400", "popularity: '1e400' is more than"),
        ("popularity,1_0", "popularity: '1_0' is not a number"),
        ("department,\x07", "department: holds the control character"),
    ],
)
def test_optional_columns_are_checked_too(tmp_path: Path, value: str, said: str) -> None:
    column, _, text = value.partition(",")

    assert f"items.csv:2: {said}" in complaint(
        tmp_path, f"{HEADER.strip()},{column}\na,Cap,1,2,{text}\n"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "items.csv:1: the file is empty"),
        ("\n\n", "items.csv:1: the file is empty"),
        (HEADER, "items.csv: there are no items"),
        ("sku,name,price\n", "items.csv:1: stock: this column is missing"),
        ("sku,name,price,stok\n", "items.csv:1: stok: there is no such column (did you mean stock?)"),
        ("sku,name,price,stock,x\n", "items.csv:1: x: there is no such column (known: sku, name"),
        ("sku,name,price,stock,sku\n", "items.csv:1: sku: this column is there twice"),
        ("sku;name;price;stock\n", "items.csv:1: the columns are separated by ';', not by commas"),
        ("sku\tname\tprice\tstock\n", "items.csv:1: the columns are separated by '\\t', not by commas"),
        ("a-1,Cap,9.99,5\n", "items.csv:1: sku: this column is missing"),
        ("," * 60_000, "... and"),
    ],
)  # fmt: skip
def test_a_header_names_known_columns(tmp_path: Path, text: str, said: str) -> None:
    assert said in complaint(tmp_path, text)


def test_a_line_that_is_not_utf8_is_named_though_the_decoder_reads_ahead(tmp_path: Path) -> None:
    text = (HEADER + rows(3000)).encode() + "x,Caf\xe9,1,2\n".encode("latin-1")

    assert complaint(tmp_path, text) == (
        "items.csv:3002: this line is not UTF-8 (it looks like Latin-1 or Windows-1252)"
    )
    assert "it looks like UTF-16" in complaint(tmp_path, (HEADER + rows(3)).encode("utf-16"))


def test_many_bad_rows_are_named_up_to_twenty_and_then_reading_stops(tmp_path: Path) -> None:
    lines = complaint(tmp_path, HEADER + "a,Cap,1,x\n" * 5000).splitlines()

    assert len(lines) == 21
    assert lines[0].startswith("items.csv:2: ")
    assert lines[-1] == "... and maybe more: reading stopped after 20 errors"


def test_bad_rows_far_apart_are_all_named(tmp_path: Path) -> None:
    text = HEADER + rows(1200) + "x,Cap,1,-1\n" + rows(1200, start=1200) + "y,Cap,1,-2\n"

    assert complaint(tmp_path, text).splitlines() == [
        "items.csv:1202: stock: -1 is below 0",
        "items.csv:2403: stock: -2 is below 0",
    ]


def test_a_duplicate_sku_is_named_with_both_lines(tmp_path: Path) -> None:
    text = HEADER + 's-5,"two\nlines",1,2\n' + rows(1500)

    assert complaint(tmp_path, text) == "items.csv:9: sku: s-5 is there already, at items.csv:2"


def test_skus_that_only_share_a_hash_are_no_duplicates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items_module, "hash", lambda sku: 7, raising=False)

    assert source(tmp_path, HEADER + rows(3)).summary().items_count == 3
    assert "s-1 is there already" in complaint(tmp_path, HEADER + rows(3) + rows(1, start=1))


def test_duplicates_are_found_when_hashes_are_compared_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items_module, "_HASHES_AT_ONCE", 100)

    said = complaint(tmp_path, HEADER + rows(1000) + rows(2, start=500))

    assert said.splitlines() == [
        "items.csv:1002: sku: s-500 is there already, at items.csv:502",
        "items.csv:1003: sku: s-501 is there already, at items.csv:503",
    ]


@pytest.mark.timeout(10)
def test_too_many_rows_are_refused_without_reading_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items_module, "ITEMS_MAX", 10_000)
    bad_end = b"\xff\xff,never read\n"

    assert complaint(tmp_path, (HEADER + rows(30_000)).encode() + bad_end).endswith(
        "more than 10,000 items; nothing was changed"
    )
    assert source(tmp_path, HEADER + rows(10_000)).summary().items_count == 10_000


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path / "missing.csv", "there is no such file"),
        (tmp_path, "is a folder"),
        (tmp_path / "pipe", "is not a regular file"),
        (Path("a\0b"), "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=said):
            FileItems(path).summary()


def test_a_file_that_changes_after_it_was_checked_is_not_sent(tmp_path: Path) -> None:
    found = source(tmp_path, HEADER + rows(3))
    found.summary()
    source(tmp_path, HEADER + rows(4))

    with pytest.raises(ConfigError, match="changed after it was checked"):
        next(found.stream())


def test_a_stream_gives_nothing_of_a_block_with_a_bad_row(tmp_path: Path) -> None:
    sent: list[Item] = []
    stream: Iterator[Item] = source(tmp_path, HEADER + rows(3) + "x,Cap,1,-1\n").stream()

    with pytest.raises(ConfigError, match="stock: -1 is below 0"):
        sent.extend(stream)
    assert sent == []


def test_the_summary_counts_and_its_version_follows_the_content(tmp_path: Path) -> None:
    base = HEADER + rows(1203)
    found = source(tmp_path, base).summary()

    assert found == ItemsSummary(1203, 2406, 1203.0, found.version)
    same = base.replace("1.5,2", "1.50,2").replace("s-0,Name 0", 's-0,"Name 0 "')
    # A blank line sends its block the slow way and moves the ends of blocks; neither may show.
    assert source(tmp_path, same.replace("s-7,", "\n\ns-7,")).summary() == found
    for changed in ("1.5,3", "1.51,2"):
        other = base.replace("Name 9,1.5,2", f"Name 9,{changed}")
        assert source(tmp_path, other).summary().version != found.version
    assert (
        source(tmp_path, base.replace("Name 9,", "Name nine,")).summary().version != found.version
    )


CELL = st.text(
    alphabet=st.sampled_from("ab1.,-\"' \n\r\t\x00é\u00a0\u2028$_/:5"), max_size=6
) | st.sampled_from(["1.5", "2", "a-1", "0", "1e3", "-1", ""])


@settings(max_examples=200, deadline=None)
@given(table=st.lists(st.lists(CELL, min_size=4, max_size=4), min_size=1, max_size=4))
def test_fast_and_slow_reading_agree_on_every_row(
    table: list[list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    for row in table:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(row)
        slow = parse_row(dict(zip(("sku", "name", "price", "stock"), row, strict=True)))
        try:
            [fast] = read(folder, HEADER + text.getvalue())
        except ConfigError:
            assert isinstance(slow, list)
        else:
            assert fast == slow


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=150), header=st.booleans())
def test_no_bytes_bring_more_than_a_config_error(
    data: bytes, header: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    with suppress(ConfigError):
        source(folder, (HEADER.encode() if header else b"") + data).summary()


def test_two_hundred_thousand_items_pass_in_little_memory(tmp_path: Path) -> None:
    found = source(tmp_path, HEADER + rows(200_000))
    script = (
        "import resource, sys\nfrom pathlib import Path\n"
        "from saleops.config.items import FileItems\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak(); items = FileItems(Path(sys.argv[1]))\n"
        "count = items.summary().items_count\n"
        "assert count == sum(1 for _ in items.stream())\n"
        "print(count, peak() - before)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, str(found.path)], capture_output=True, text=True, check=True
    )

    count, grown = map(int, done.stdout.split())
    assert count == 200_000
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there
    assert grown * unit < 40 * 2**20
    assert resource.RUSAGE_SELF == 0


def test_real_items_pass() -> None:
    summary = FileItems(RETAIL).summary()

    assert summary.items_count == 40
    assert summary.total_popularity > 100_000
