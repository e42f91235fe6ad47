"""What people did to a sale by hand, in SQL: the journal, and the breaks they accepted."""

from collections.abc import Sequence

from saleops.adapters.sql_batch import check_key
from saleops.adapters.sql_dialect import SqlDialect, Transaction, chunks
from saleops.ports.orders import Accepted, JournalEntry

_JOURNAL = "entry_id, at_ms, who, command, text"
_ACCEPTED = "kind, id, sku, who, why, at_ms"


class SqlJournal(SqlDialect):
    def write_journal(self, entry: JournalEntry) -> None:
        check_key("entry_id", entry.entry_id)
        row = (entry.entry_id, entry.at_ms, entry.who, entry.command, entry.text)
        self._transact(
            "writing the journal",
            lambda sql: sql.insert("journal", _JOURNAL, [row], keep="entry_id"),
        )

    def journal(self, *, limit: int) -> list[JournalEntry]:
        rows = self._read(
            "reading the journal",
            f"SELECT {_JOURNAL} FROM journal ORDER BY at_ms DESC, entry_id DESC LIMIT ?",  # noqa: S608 # a constant
            (limit,),
        )
        return [
            JournalEntry(entry_id=entry_id, at_ms=at_ms, who=who, command=command, text=text)
            for entry_id, at_ms, who, command, text in rows
        ]

    def accept(self, rows: Sequence[Accepted]) -> None:
        for row in rows:
            check_key("kind", row.kind)
        values = sorted((r.kind, r.id, r.sku, r.who, r.why, r.at_ms) for r in rows)
        if values:
            self._transact(
                "accepting breaks",
                lambda sql: sql.insert("accepted", _ACCEPTED, values, keep="kind"),
            )

    def unaccept(self, keys: Sequence[tuple[str, str, str]]) -> None:
        def work(sql: Transaction) -> None:
            for part in chunks(sorted(set(keys))):
                where = " OR ".join(["(kind = ? AND id = ? AND sku = ?)"] * len(part))
                values = [text for key in part for text in key]
                sql.run(f"DELETE FROM accepted WHERE {where}", values)  # noqa: S608 # marks alone

        if keys:
            self._transact("forgetting what was accepted", work)

    def accepted(self) -> list[Accepted]:
        rows = self._read(
            "reading what was accepted",
            f"SELECT {_ACCEPTED} FROM accepted ORDER BY kind, id, sku",  # noqa: S608 # a constant
        )
        return [
            Accepted(kind=kind, id=_text(name), sku=_text(sku), who=who, why=why, at_ms=at_ms)
            for kind, name, sku, who, why, at_ms in rows
        ]


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
