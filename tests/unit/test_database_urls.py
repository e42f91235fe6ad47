"""Addresses of orders databases: what is understood, what is refused, and that no password is ever shown."""

from pathlib import Path

import pytest

from saleops.adapters.mysql_session import mysql_address
from saleops.adapters.sqlite_orders import SqliteOrderBook
from saleops.errors import ConfigError


def test_a_full_mysql_url_is_percent_decoded() -> None:
    address = mysql_address(
        "mysql://sale%40ops:p%40ss%2Fw%3Ard%25@db.example:3307/sale%20one"
        "?unix_socket=/run/my%20sql.sock&ssl_ca=/etc/ca.pem"
    )
    assert (address.user, address.password) == ("sale@ops", "p@ss/w:rd%")
    assert (address.host, address.port, address.database) == ("db.example", 3307, "sale one")
    assert (address.unix_socket, address.ssl_ca) == ("/run/my sql.sock", "/etc/ca.pem")


def test_a_short_mysql_url_takes_the_usual_port_and_no_password() -> None:
    address = mysql_address("mysql://root@localhost/sale")
    assert (address.port, address.password, address.unix_socket) == (3306, "", "")


def test_the_text_of_an_address_holds_no_password() -> None:
    address = mysql_address("mysql://root:s3cret@[::1]:3306/sale")
    assert address.host == "::1"
    assert "s3cret" not in f"{address} {address!r}"


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("mysql://root:s3cret@localhost", "database's name is missing"),
        ("mysql://root:s3cret@localhost/", "database's name is missing"),
        ("mysql://root:s3cret@localhost/a/b", "holds a /"),
        ("mysql://:s3cret@localhost/sale", "user is missing"),
        ("mysql://localhost/sale", "user is missing"),
        ("mysql://root:s3cret@localhost:port/sale", "port"),
        ("mysql://root:s3cret@localhost:99999/sale", "port"),
        ("mysql://root:s3cret@localhost/sale?sslmode=off", "unknown options: sslmode"),
        ("mysql://root:s3cret@localhost/sale?s3cret", "options"),
        ("mysql://root:s3cret@localhost/sale#x", "%23"),
        ("postgres://root:s3cret@localhost/sale", "scheme"),
        ("mysql://root:s3cret/w@localhost/sale", "port"),
    ],
)
def test_a_wrong_mysql_url_is_refused_without_its_password(url: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word) as refusal:
        mysql_address(url)
    assert "s3cret" not in f"{refusal.value.message} {refusal.value.hint}"
    assert refusal.value.__cause__ is None
    assert "mysql://user:password@" in (refusal.value.hint or "")


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite://host/db", "sqlite:///a?mode=ro", "sqlite:///a%00b"]
)
def test_a_wrong_sqlite_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="no address of a SQLite file") as refusal:
        SqliteOrderBook.from_url(url)
    assert refusal.value.hint


def test_sqlite_urls_are_relative_with_three_slashes_and_absolute_with_four(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for url in ("sqlite:///here%20it%20is.db", f"sqlite:///{tmp_path}/absolute.db"):
        book = SqliteOrderBook.from_url(url)
        book.migrate()
        book.close()
    assert (tmp_path / "here it is.db").exists()
    assert (tmp_path / "absolute.db").exists()
