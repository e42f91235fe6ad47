"""A repair's rows in SQL: whole rows, compared and set in one transaction that holds their locks.

It works on the connection of an order book, through the same two ways to the database (sql_dialect.py), so what may be retried
is retried there. Rows are locked in the order the sale locks them in: orders, then stock, then charges and parcels.
"""

from collections.abc import Sequence

from saleops.adapters.sql_dialect import DuplicateKey, Row, SqlDialect, Transaction, chunks, marks
from saleops.domain.repair import Row as RepairRow
from saleops.domain.repair import RowChange, Swap
from saleops.errors import StoreUnavailable
from saleops.ports.repair import Changed, Fate

COLUMNS = {
    "orders": (
        "order_id", "buyer", "sku", "units", "price_fen", "created_ms", "due_ms", "idempotency_key",
        "payment_token", "state", "tx_id",
    ),
    "stock": ("sku", "total", "sold", "shards"),
    "charges": ("charge_id", "idempotency_key", "order_id", "amount_fen", "state", "at_ms"),
    "parcels": ("parcel_id", "dispatch_key", "order_id", "at_ms"),
    "products": ("sku", "stock"),
}  # fmt: skip
"""What a repair may touch: table -> its columns, the primary key first. Products are only read."""

_ORDER_OF_LOCKS = ("orders", "stock", "charges", "parcels")


_WHEN = frozenset({"at_ms", "created_ms", "due_ms"})


class _Refused(Exception):
    """A guard does not hold: roll back and say so."""

    def __init__(self, outcome: Changed) -> None:
        super().__init__(outcome.detail)
        self.outcome = outcome


class SqlBookRepair:
    """BookRepair on a SQL order book."""

    def __init__(self, book: SqlDialect) -> None:
        self._book = book

    def rows(self, table: str, column: str, values: Sequence[str]) -> list[RepairRow]:
        if column not in COLUMNS[table]:
            raise ValueError(f"{table} has no column {column}")
        found: list[RepairRow] = []
        for part in chunks(sorted(set(values))):
            query = f"SELECT {', '.join(COLUMNS[table])} FROM {table} WHERE {column} IN ({marks(len(part))})"  # noqa: S608 # names of ours
            found += [
                _named(table, row) for row in self._book._read(f"reading {table}", query, part)
            ]  # the dialect's own way
        return found

    def swap(self, act: Swap) -> Changed:
        try:
            return self._book._transact("repairing", lambda sql: self._swap(sql, act))  # as above
        except _Refused as refused:
            return refused.outcome
        except DuplicateKey:
            return Changed(Fate.CHANGED, "another row has the same key")
        except ValueError as error:  # a CHECK, a value that does not fit
            return Changed(Fate.SHORT, str(error))

    def _swap(self, sql: Transaction, act: Swap) -> Changed:
        changes = sorted(act.rows, key=lambda one: (_ORDER_OF_LOCKS.index(one.table), one.key))
        there = [self._find(sql, one) for one in changes]
        pairs = list(zip(changes, there, strict=True))
        if all(_is_done(row, one) for one, row in pairs):
            return Changed(Fate.ALREADY)
        for one, row in pairs:
            if not _matches(row, one.before):
                raise _Refused(Changed(Fate.CHANGED, _difference(one, row)))
        # A key may pass from a row that goes to one that comes.
        for one, row in sorted(pairs, key=lambda pair: pair[0].after is not None):
            self._write(sql, one, row)
        self._move_sold(sql, act)
        return Changed(Fate.DONE)

    def _find(self, sql: Transaction, one: RowChange) -> RepairRow | None:
        columns = COLUMNS[one.table]
        column = one.by or columns[0]
        if column not in columns:
            raise ValueError(f"{one.table} has no column {column}")
        query = f"SELECT {', '.join(columns)} FROM {one.table} WHERE {column} = ?{self._lock}"  # noqa: S608 # names of ours
        rows = sql.rows(query, (one.key,))
        return _named(one.table, rows[0]) if rows else None

    @property
    def _lock(self) -> str:
        return str(getattr(self._book, "lock_rows", ""))

    def _write(self, sql: Transaction, one: RowChange, row: RepairRow | None) -> None:
        columns = COLUMNS[one.table]
        if one.after is None:
            if row is not None:
                sql.run(f"DELETE FROM {one.table} WHERE {columns[0]} = ?", (row[columns[0]],))  # noqa: S608 # as above
        elif row is None:
            sql.insert(one.table, ", ".join(columns), [tuple(one.after[name] for name in columns)])
        else:
            changed = [name for name in one.after if one.after[name] != row[name]]
            if changed:
                places = ", ".join(f"{name} = ?" for name in changed)
                values = [one.after[name] for name in changed]
                key = row[columns[0]]
                sql.run(f"UPDATE {one.table} SET {places} WHERE {columns[0]} = ?", (*values, key))  # noqa: S608 # as above

    def _move_sold(self, sql: Transaction, act: Swap) -> None:
        taken = {sku: units for sku, units in sorted(act.sold.items()) if units > 0}
        given = {sku: -units for sku, units in sorted(act.sold.items()) if units < 0}
        moved = (sql.take(taken) if taken else 0) + (sql.give_back(given) if given else 0)
        if moved != len(taken) + len(given):
            detail = f"the guarded stock of {', '.join(act.sold)} does not allow it"
            raise _Refused(Changed(Fate.SHORT, detail))


def _named(table: str, row: Row) -> RepairRow:
    named: dict[str, int | str] = {}
    for name, value in zip(COLUMNS[table], row, strict=True):
        plain = value.decode() if isinstance(value, bytes) else value
        if isinstance(plain, float | None):
            raise StoreUnavailable(
                f"a row of {table} holds {name}={plain!r}, which nothing of ours has written; nothing was changed",
                hint="Mend or remove that row by hand.",
            )
        named[name] = plain
    return named


def _matches(row: RepairRow | None, wanted: RepairRow | None) -> bool:
    if row is None or wanted is None:
        return row is None and wanted is None
    return all(row.get(name) == value for name, value in wanted.items())


def _is_done(row: RepairRow | None, one: RowChange) -> bool:
    """Whether the row is as ``one`` leaves it. When a row was made is no matter: another repair made it a moment earlier."""
    wanted = one.after
    if wanted is not None and one.before is None:
        wanted = {name: value for name, value in wanted.items() if name not in _WHEN}
    return _matches(row, wanted)


def _difference(one: RowChange, row: RepairRow | None) -> str:
    what = f"{one.table} {one.key}"
    if row is None:
        return f"{what} is not there"
    if one.before is None:
        return f"{what} is there already"
    names = [name for name, value in one.before.items() if row.get(name) != value]
    return f"{what} has another {', '.join(names)} than when the plan was made"
