"""Who may use the sale's PolarDB: the addresses that may call, the shop's account, and the database that is made with its rights.

No API lists databases, so ours is made together with our account's rights to it, and found by them. All of it goes with the
cluster.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, ClassVar

from saleops.domain.cloud.allowances import WORLD, Callers, addresses_in, list_name, repairs
from saleops.domain.cloud.calls import Answer, Call
from saleops.domain.cloud.database import DATABASE, DatabasePart
from saleops.domain.cloud.ours import Row, Scope, condition_of, rows_in, text
from saleops.domain.cloud.resources import Condition, Found, Known, Look, Patience

ACCOUNT = "database/account"


class DatabaseAllowance(DatabasePart):
    kind: ClassVar[str] = "PolarDB whitelist"
    patience: ClassVar[Patience] = Patience(first_s=1, every_s=5, timeout_s=300)

    def __init__(self, scope: Scope, callers: Callers) -> None:
        super().__init__(scope, "database/whitelist", "db-whitelist", (DATABASE, *callers.needs))
        self.callers = callers
        self.list_name = list_name(scope.sale)

    def look(self, known: Known) -> Look:
        answer = yield Call(
            "polardb", "DescribeDBClusterAccessWhitelist", {"DBClusterId": known(DATABASE)}
        )
        lists = {
            text(row.get("DBClusterIPArrayName")): addresses_in(row.get("SecurityIps"))
            for row in rows_in(answer, "Items", "DBClusterIPArray")
        }
        if self.list_name not in lists:
            return None
        standing = yield from self.callers.standing(known)
        return Found(
            Condition.READY,
            "Available",
            {"id": known(DATABASE)},
            {
                "addresses": [one for one in lists[self.list_name] if one not in standing],
                "open_to_the_world": sorted(
                    name for name, addresses in lists.items() if WORLD in addresses
                ),
            },
        )

    def desired(self, known: Known) -> Mapping[str, Any]:
        return {"addresses": sorted(self.callers.wanted(known)), "open_to_the_world": []}

    def _base(self, known: Known) -> Call:
        return Call("polardb", "ModifyDBClusterAccessWhitelist", {"DBClusterId": known(DATABASE)})

    def create(self, known: Known) -> Call:
        return repairs(
            self._base(known),
            name_field="DBClusterIPArrayName",
            ours=self.list_name,
            wanted=self.callers.wanted(known),
            observed=(),
            open_lists=(),
        )[0]

    def change(self, known: Known, found: Found, fields: Sequence[str]) -> Sequence[Call]:
        observed = found.fields.get("addresses") or ()
        return repairs(
            self._base(known),
            name_field="DBClusterIPArrayName",
            ours=self.list_name,
            wanted=self.callers.wanted(known) if "addresses" in fields else observed,
            observed=observed,
            open_lists=(found.fields.get("open_to_the_world") or ())
            if "open_to_the_world" in fields
            else (),
        )

    def delete(self, known: Known, found: Found) -> Sequence[Call]:
        return ()  # it goes with the cluster


class Account(DatabasePart):
    """The shop's account. ``password`` is asked for when the call is made, and never kept."""

    kind: ClassVar[str] = "PolarDB account"
    patience: ClassVar[Patience] = Patience(first_s=2, every_s=5, timeout_s=600)

    def __init__(self, scope: Scope, account: str, password: Callable[[], str]) -> None:
        super().__init__(scope, ACCOUNT, "db-account", (DATABASE,))
        self.account = account
        self._password = password

    def look(self, known: Known) -> Look:
        row = yield from _account(known, self.account)
        if row is None:
            return None
        state = text(row.get("AccountStatus"))
        outputs = {"id": self.account}
        return Found(
            condition_of(state, ready=("Available",), leaving=("Deleting",)), state, outputs
        )

    def desired(self, known: Known) -> Mapping[str, Any]:
        return {}

    def create(self, known: Known) -> Call:
        return Call(
            "polardb",
            "CreateAccount",
            {
                "DBClusterId": known(DATABASE),
                "AccountName": self.account,
                "AccountPassword": self._password(),
                "AccountType": "Normal",
                "AccountDescription": f"the shop of the sale {self.scope.sale}",
            },
        )

    def delete(self, known: Known, found: Found) -> Sequence[Call]:
        return ()  # it goes with the cluster


class Schema(DatabasePart):
    """The database, made with the account's right to it."""

    kind: ClassVar[str] = "database"
    patience: ClassVar[Patience] = Patience(first_s=2, every_s=5, timeout_s=600)

    def __init__(self, scope: Scope, database: str, account: str) -> None:
        super().__init__(scope, "database/schema", "db-schema", (DATABASE, ACCOUNT))
        self.database = database
        self.account = account

    def look(self, known: Known) -> Look:
        row = yield from _account(known, self.account)
        for right in rows_in(row or {}, "DatabasePrivileges"):
            if right.get("DBName") == self.database:
                privilege = text(right.get("AccountPrivilege"))
                outputs = {"id": self.database}
                return Found(Condition.READY, "Available", outputs, {"privilege": privilege})
        return None

    def desired(self, known: Known) -> Mapping[str, Any]:
        return {"privilege": "ReadWrite"}

    def create(self, known: Known) -> Call:
        return Call(
            "polardb",
            "CreateDatabase",
            {
                "DBClusterId": known(DATABASE),
                "DBName": self.database,
                "CharacterSetName": "utf8mb4",
                "AccountName": self.account,
                "AccountPrivilege": "ReadWrite",
            },
        )

    def delete(self, known: Known, found: Found) -> Sequence[Call]:
        return ()  # it goes with the cluster


def _account(known: Known, account: str) -> Generator[Call, Answer, Row | None]:
    answer = yield Call(
        "polardb", "DescribeAccounts", {"DBClusterId": known(DATABASE), "AccountName": account}
    )
    return next(
        (row for row in rows_in(answer, "Accounts") if row.get("AccountName") == account), None
    )
