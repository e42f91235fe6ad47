"""YAML as we read it: YAML 1.2's scalars, places, and bounds against files that were made to hurt."""

import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from saleops.config.sale import load_sale
from saleops.config.yaml_lines import FILE_MAX_BYTES, parse_yaml, read_yaml
from saleops.errors import ConfigError

FILE = Path("sale.yaml")


def value_of(text: str) -> Any:
    return parse_yaml(f"x: {text}\n", FILE).value["x"]


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, FILE)
    return caught.value.message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12:30:45", "12:30:45"),
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("true", True),
        ("False", False),
        ("", None),
        ("~", None),
        ("null", None),
        ("1e3", 1000.0),
        ("-1.5", -1.5),
        (".5", 0.5),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("2026-11-27", "2026-11-27"),
        ("2026-11-27T00:00:00+08:00", "2026-11-27T00:00:00+08:00"),
        ("-.inf", -math.inf),
        ("=", "="),
        ("'5'", "5"),
        ('"5"', "5"),
        ("!!str 5", "5"),
        ('!!int "5"', 5),
        ("9" * 5000, "9" * 5000),  # int() itself would refuse so many digits
        ("|\n  two\n  lines", "two\nlines\n"),
    ],
)
def test_a_plain_scalar_means_what_yaml_1_2_says(text: str, value: object) -> None:
    found = value_of(text)

    assert found == value
    assert type(found) is type(value)


def test_a_value_knows_its_line_and_column_and_a_missing_one_its_parent() -> None:
    document = parse_yaml("a:\n  b: [1, 22]\n  é: x\n", FILE)

    assert document.where(("a", "b", 1)) == "sale.yaml:2:10"
    assert document.where(("a", "b"), key=True) == "sale.yaml:2:3"
    assert document.where(("a", "é")) == "sale.yaml:3:6"
    assert document.where(("a", "nothing", "here")) == "sale.yaml:2:3"


def test_an_alias_repeats_values_and_their_places() -> None:
    document = parse_yaml("a: &one {p: [1]}\nb: *one\n", FILE)

    assert document.value == {"a": {"p": [1]}, "b": {"p": [1]}}
    assert document.where(("b", "p", 0)) == "sale.yaml:1:14"
    assert document.where(("b",)) == "sale.yaml:2:4"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "sale.yaml:1:1: the file is empty"),
        ("# only words\n", "the file is empty"),
        ("a: 1\na: 2\n", "sale.yaml:2:1: a is given twice (first in line 1)"),
        ("a: 1\n---\nb: 2\n", "sale.yaml:2:1: a second document begins here"),
        ("a: [1", "sale.yaml:2:1: did not find expected"),
        ("a: b: c", "sale.yaml:1:5: mapping values are not allowed"),
        ("a:\n\t- 1\n", "sale.yaml:2:1: found character that cannot start any token (indent with spaces"),
        ("a: @x", "sale.yaml:1:4:"),
        ("a: *b", "sale.yaml:1:4: *b repeats something that is not there"),
        ("a: &a [*a]", "sale.yaml:1:8: *a repeats something that is not there"),
        ("a: !secret x", "sale.yaml:1:4: the tag !secret means nothing here"),
        ("a: !!python/object:os.system x", "means nothing here"),
        ("!!set {a: 1}", "means nothing here"),
        ("? [a]\n: b", "a key is a word"),
        ("a: \x07", "sale.yaml:1:4: the character '\\x07' has no place in a text file"),
        ('a: "\\ud800"', "sale.yaml:1:7:"),
        ("%FOO\n---\na: 1", "sale.yaml:1"),
    ],
)  # fmt: skip
def test_what_is_no_sale_file_hears_where_and_why(text: str, said: str) -> None:
    assert said in refused(text)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("unit", ["[", "{a: ", "- ", "[{x: "])
def test_a_megabyte_of_open_brackets_is_refused_at_once(unit: str) -> None:
    # composed by libyaml alone, the first takes minutes and others crash the process.
    assert "nested deeper than" in refused(unit * (1_000_000 // len(unit)))


@pytest.mark.timeout(10)
def test_a_billion_laughs_do_not_unfold() -> None:
    lines = ["a0: &a0 [lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]

    assert "aliases count" in refused("\n".join(lines))


def test_a_file_that_cannot_be_a_sale_is_refused_with_its_name(tmp_path: Path) -> None:
    large, latin, utf16 = (tmp_path / name for name in ("large", "latin", "utf16"))
    large.write_bytes(b"#" * (FILE_MAX_BYTES + 1))
    latin.write_bytes("a: 1\nname: Caf\xe9\n".encode("latin-1"))
    utf16.write_bytes("name: drop\n".encode("utf-16"))
    os.mkfifo(tmp_path / "pipe")

    for path, said in (
        (large, "large:1:1: more than 1,048,576 bytes are no sale file"),
        (latin, "latin:2:1: this line is not UTF-8 (it looks like Latin-1"),
        (utf16, "utf16:1:1: this line is not UTF-8 (it looks like UTF-16)"),
        (tmp_path / "pipe", "is not a regular file"),
        (tmp_path, "is a folder, not a sale file"),
        (tmp_path / "missing.yaml", "there is no such file"),
        (tmp_path / ("x" * 300), "cannot be read"),
        (Path("a\0b"), "cannot be read"),
    ):
        with pytest.raises(ConfigError) as caught:
            load_sale(path)
        assert said in caught.value.message


@pytest.mark.timeout(20)
def test_a_python_without_libyaml_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: &x {b: [1, no, 12:30:45]}\nc: *x\n"
    with_c = parse_yaml(text, FILE)

    monkeypatch.delattr(yaml, "CSafeLoader")

    assert parse_yaml(text, FILE) == with_c
    assert "nested deeper than" in refused("[" * 1000)
    assert "a lone surrogate" in refused('a: "\\ud800"')
    assert "no place in a text file" in refused("a: \x07")


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "sale.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: drop\n")

    assert read_yaml(path).value == {"name": "drop"}


@pytest.mark.parametrize("text", ["5", "- a\n", "text", "~"])
def test_a_sale_file_is_a_mapping(tmp_path: Path, text: str) -> None:
    path = tmp_path / "sale.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError, match="a sale file is a mapping"):
        load_sale(path)


@settings(max_examples=300, deadline=None)
@given(
    st.text(alphabet=st.sampled_from("ab:-[]{}&*!?|>'\"#%@,\n\t \\0x1.~\x00\u2028é"), max_size=60)
)
def test_no_text_brings_more_than_a_config_error(text: str) -> None:
    with suppress(ConfigError):
        parse_yaml(text, FILE)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200))
def test_no_bytes_bring_more_than_a_config_error(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.yaml"
    path.write_bytes(data)
    with suppress(ConfigError):
        load_sale(path)
