"""One connection to MySQL and its kin (MariaDB, PolarDB): opening it, losing it, and what may be tried again.

Everything sent here may be sent twice (the port says so), therefore:

- a deadlock or a lock that was not granted in time was rolled back by the server: the whole transaction runs again, a bounded
  number of times, after a random pause;
- a lost connection is opened again once, and the work runs again. If the loss came after COMMIT went out, nobody
  knows whether the first run is in; the second run finds out by its own keys. From there on "nothing was written" cannot be
  said any more: whatever else fails, a full server, a lock, a primary that is read-only now, the caller hears
  UnknownOutcome;
- a connection that the server closed while it was idle is noticed before anything is sent (its socket is
  readable), without a ping.

Values are escaped by the driver's rules for ``sql_mode`` without NO_BACKSLASH_ESCAPES, which the session sets itself.
"""

import random
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import pymysql
from pymysql.constants import CLIENT, CR, ER

from saleops.adapters.sql_dialect import DuplicateKey, Row
from saleops.domain.connections import ConnectionRoom
from saleops.errors import ConfigError, StoreUnavailable
from saleops.ports.orders import UnknownOutcome

T = TypeVar("T")
Connection: TypeAlias = "pymysql.Connection[pymysql.cursors.Cursor]"

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 20.0  # longer than LOCK_WAIT_S, so that the server is the one to give up
LOCK_WAIT_S = 5
BUSY_TRIES = 8
BUSY_LIMIT_S = 10.0  # after this a busy database is reported, however few the tries
BUSY_PAUSE_S = 0.02  # doubled each time, and multiplied by a random number of 0.5 to 1.5
PACKET_CHARS = 4 * 1024 * 1024  # of one INSERT; servers accept 16 MB or more by default

_CONNECTION_KILLED = 1927  # MariaDB
_READ_ONLY_TRANSACTION, _READ_ONLY_MODE = 1792, 1836
_CHECK_FAILED = {3819, 4025}  # MySQL's number, MariaDB's
_IDLE_CLOSED = 4031  # MySQL 8: the server says so before it hangs up
_LOST = {
    CR.CR_SERVER_GONE_ERROR,
    CR.CR_SERVER_LOST,
    ER.SERVER_SHUTDOWN,
    _CONNECTION_KILLED,
    _IDLE_CLOSED,
}
_BUSY = {ER.LOCK_DEADLOCK, ER.LOCK_WAIT_TIMEOUT, ER.QUERY_INTERRUPTED}
_READ_ONLY = {ER.OPTION_PREVENTS_STATEMENT, _READ_ONLY_TRANSACTION, _READ_ONLY_MODE}

_SETUP = (
    # Strict, so that a value which does not fit is an error and never cut; no NO_BACKSLASH_ESCAPES, see above.
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', "
    f"innodb_lock_wait_timeout = {LOCK_WAIT_S}, lock_wait_timeout = {LOCK_WAIT_S}",
    # Every statement sees what is committed now, and waits only for rows it really changes.
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
)


@dataclass(frozen=True, slots=True)
class MysqlAddress:
    """Where the database is and who asks. Its text never holds the password."""

    host: str
    port: int
    user: str
    database: str
    password: str = field(repr=False)
    unix_socket: str = ""
    ssl_ca: str = ""

    def __str__(self) -> str:
        where = self.unix_socket or f"{self.host}:{self.port}"
        return f"mysql://{self.user}@{where}/{self.database}"


def mysql_address(url: str) -> MysqlAddress:
    """Parse ``mysql://user:password@host:port/database[?unix_socket=/path][&ssl_ca=/path]``, percent-decoded.

    With ``ssl_ca`` the server's certificate and name are verified; without, TLS is used where the server offers it.
    Raises ConfigError, without the password.
    """
    hint = "Use mysql://user:password@host:3306/database; encode @ : / % in the password as %40 %3A %2F %25."
    try:
        parts = urlsplit(url)
        port = parts.port or 3306
        options = dict(
            parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        )
    except ValueError:
        raise ConfigError(
            "the database URL cannot be read (its port or its options); nothing was opened",
            hint=hint,
        ) from None  # the cause may quote the password
    database = unquote(parts.path.removeprefix("/"))
    unknown = sorted(options.keys() - {"unix_socket", "ssl_ca"})
    problem = (
        "its scheme is not mysql://"
        if parts.scheme != "mysql"
        else "the database's name is missing"
        if not database
        else "the database's name holds a /"
        if "/" in database
        else "the user is missing"
        if not parts.username
        else f"unknown options: {', '.join(unknown)}"
        if unknown
        else "a # must be written %23"
        if parts.fragment
        else ""
    )
    if problem:
        raise ConfigError(f"the database URL is wrong: {problem}; nothing was opened", hint=hint)
    return MysqlAddress(
        host=parts.hostname or "localhost",
        port=port,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=database,
        unix_socket=options.get("unix_socket", ""),
        ssl_ca=options.get("ssl_ca", ""),
    )


class MysqlSession:
    """The one connection, opened at the first use and again after a loss."""

    def __init__(self, address: MysqlAddress) -> None:
        self._address = address
        self._connection: Connection | None = None
        self._as_one = False  # several calls write one thing
        self._in_doubt = False  # a COMMIT of it got no answer

    @contextmanager
    def as_one(self) -> Iterator[Callable[[], bool]]:
        """The calls of the block try to write one and the same thing. Once a COMMIT of it got no answer, whatever fails
        later leaves its outcome unknown. Gives a function that says whether that happened."""
        self._as_one, self._in_doubt = True, False
        try:
            yield lambda: self._in_doubt
        finally:
            self._as_one = self._in_doubt = False

    def close(self) -> None:
        """Hang up; the next use opens the connection again."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.open:
            connection.close()

    def read(self, what: str, sql: str, values: Sequence[object] = ()) -> Sequence[Row]:
        """The rows of one SELECT, outside a transaction."""
        return self._retried(what, lambda connection, _: rows_of(connection, sql, values))

    def transact(
        self,
        what: str,
        work: Callable[[Connection], T],
        *,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> T:
        """BEGIN, ``work``, COMMIT. ``answer_timeout_s`` is for each statement's answer."""

        def act(connection: Connection, sending: "_Sending") -> T:
            # The driver takes it when it connects, and looks at it whenever it reads.
            connection._read_timeout = answer_timeout_s  # type: ignore[attr-defined]
            try:
                connection.query("BEGIN")
                result = work(connection)
                sending.commit = True
                connection.query("COMMIT")
            finally:
                connection._read_timeout = ANSWER_TIMEOUT_S  # type: ignore[attr-defined]
            return result

        return self._retried(what, act)

    def room(self) -> ConnectionRoom:
        """How many connections the server grants us, and how many are taken (one of them is ours)."""
        what = "counting the server's connections"
        limits = "SELECT @@GLOBAL.max_connections, @@SESSION.max_user_connections"
        [(server, of_user)] = self.read(what, limits)
        [(_, used)] = self.read(what, "SHOW GLOBAL STATUS LIKE 'Threads_connected'")
        # Without the right to see other users' connections the second number is 0, which means no limit of its own.
        return ConnectionRoom(min(server, of_user) if of_user else server, int(used))

    def send_packet(self, what: str, packet: str) -> None:
        """Several statements that hold their own BEGIN and COMMIT, in one round trip. The server stops at the first that fails;
        then all is rolled back. Raises DuplicateKey, also for a NULL where none may be."""

        def act(connection: Connection, sending: "_Sending") -> None:
            sending.commit = True
            connection.query(packet)
            while connection._result.has_next:  # type: ignore[attr-defined] # pymysql shows it on cursors only
                connection.next_result()

        self._retried(what, act)

    def _retried(self, what: str, act: Callable[[Connection, "_Sending"], T]) -> T:
        commit_sent, reopened = self._in_doubt, False
        busy = 0
        deadline = time.monotonic() + BUSY_LIMIT_S
        while True:
            try:
                connection = self._open(what)
            except StoreUnavailable as error:
                if commit_sent:
                    raise self.unknown(what, error) from error
                raise
            sending = _Sending()
            try:
                return act(connection, sending)
            except pymysql.Error as error:
                code = code_of(error)
                if code in _LOST or not connection.open:
                    self._hang_up()
                    commit_sent = commit_sent or sending.commit
                    self._in_doubt = commit_sent and self._as_one
                    if not reopened:
                        reopened = True
                        continue
                    if commit_sent:
                        raise self.unknown(what, error) from error
                    raise self._explained(what, error) from error
                self._roll_back(connection)
                if code in (ER.DUP_ENTRY, ER.BAD_NULL_ERROR):
                    raise DuplicateKey from error
                busy += 1
                if code not in _BUSY or busy >= BUSY_TRIES or time.monotonic() > deadline:
                    explained = self._explained(what, error)
                    unsure = commit_sent or (code == ER.ERROR_DURING_COMMIT and sending.commit)
                    if unsure and isinstance(explained, StoreUnavailable):
                        raise self.unknown(what, error) from error
                    raise explained from error
                time.sleep(BUSY_PAUSE_S * 2 ** min(busy, 4) * random.uniform(0.5, 1.5))
            except Exception:
                self._roll_back(connection)
                raise
            except BaseException:
                self._hang_up()  # interrupted between a question and its answer: the next one would read it
                raise

    def _open(self, what: str) -> Connection:
        if self._connection is not None and not _hung_up(self._connection):
            return self._connection
        self._hang_up()
        address = self._address
        connection: Connection = pymysql.connect(
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password.encode(),  # as text, the driver takes Latin-1 only
            database=address.database,
            unix_socket=address.unix_socket or None,
            ssl_ca=address.ssl_ca or None,
            ssl_verify_cert=True if address.ssl_ca else None,
            ssl_verify_identity=True if address.ssl_ca else None,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,  # seconds, fractions too
            read_timeout=ANSWER_TIMEOUT_S,
            write_timeout=ANSWER_TIMEOUT_S,
            client_flag=CLIENT.MULTI_STATEMENTS,
            program_name="saleops",
            defer_connect=True,
        )
        try:
            connection.connect(
                _unix_connection(address.unix_socket) if address.unix_socket else None
            )
            for statement in _SETUP:
                connection.query(statement)
        except (pymysql.Error, OSError) as error:
            if connection.open:
                connection.close()
            raise self._explained(what, error) from error
        self._connection = connection
        return connection

    def _hang_up(self) -> None:
        """Drop the connection without a word: it is dead or in an unknown state."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection._force_close()  # type: ignore[attr-defined] # the public close() talks to the server first

    def _roll_back(self, connection: Connection) -> None:
        try:
            connection.query("ROLLBACK")
        except pymysql.Error:
            self._hang_up()  # the server rolls back when it sees the connection gone

    def unknown(self, what: str, error: Exception) -> UnknownOutcome:
        """A COMMIT got no answer, and ``error`` keeps us from finding out what became of it."""
        return UnknownOutcome(
            f"{what}: the connection to {self._address} broke during COMMIT ({_text_of(error)}); "
            "it is written or it is not",
            hint="Ask for the transaction's state once the database answers again.",
        )

    def _explained(self, what: str, error: Exception) -> Exception:
        code, text = code_of(error), _text_of(error)
        values = (pymysql.err.DataError, pymysql.err.IntegrityError)
        if isinstance(error, values) or code in _CHECK_FAILED:
            return ValueError(
                f"{what}: {self._address} refused a value ({text}); nothing was written"
            )
        if code in _READ_ONLY:
            self._hang_up()  # the address may lead to the new primary next time
        hint = _HINTS.get(code)
        return StoreUnavailable(f"{what}: {self._address}: {text}; nothing was written", hint=hint)


class _Sending:
    """Whether COMMIT has gone out in this run."""

    commit = False


def rows_of(connection: Connection, sql: str, values: Sequence[object] = ()) -> Sequence[Row]:
    with connection.cursor() as cursor:
        cursor.execute(sql.replace("?", "%s"), tuple(values))
        return cursor.fetchall()


def code_of(error: Exception) -> int:
    """The server's or the client's error number; 0 where there is none."""
    if isinstance(error, pymysql.err.InterfaceError):
        return int(CR.CR_SERVER_GONE_ERROR)  # "(0, '')": the driver's word for a closed connection
    code = error.args[0] if error.args else 0
    return code if isinstance(code, int) else 0


def _text_of(error: Exception) -> str:
    if isinstance(error, pymysql.Error) and len(error.args) > 1:
        return str(error.args[1]) or "the connection is closed"
    return str(error)


def _hung_up(connection: Connection) -> bool:
    """True if the server closed the connection, or said something (only its good-bye comes unasked)."""
    if not connection.open:
        return True
    sock: Any = connection._sock  # type: ignore[attr-defined] # the driver does not show it
    if isinstance(sock, socket.socket) and type(sock) is socket.socket:
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    return False  # TLS keeps records of its own in the socket; there the first statement finds out


def _unix_connection(path: str) -> socket.socket:
    """pymysql leaks its unix socket when nobody listens; this one is closed."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(CONNECT_TIMEOUT_S)
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


_TOO_MANY = (
    "Raise max_connections, or run fewer workers: `saleops doctor` counts what a serve takes."
)

_HINTS: dict[int, str] = {
    ER.ACCESS_DENIED_ERROR: "Check user and password in the database URL (@ : / % encoded as %40 %3A %2F %25).",
    ER.DBACCESS_DENIED_ERROR: "GRANT this user all rights on the database, or name another one.",
    ER.TABLEACCESS_DENIED_ERROR: "GRANT this user all rights on the database.",
    ER.BAD_DB_ERROR: "CREATE DATABASE first, with CHARACTER SET utf8mb4, or name another one.",
    ER.NO_SUCH_TABLE: "Run `saleops seed` first: it creates the tables.",
    ER.CON_COUNT_ERROR: _TOO_MANY,
    ER.TOO_MANY_USER_CONNECTIONS: _TOO_MANY,
    ER.USER_LIMIT_REACHED: _TOO_MANY,
    ER.OPTION_PREVENTS_STATEMENT: "The server is read-only: use the primary's address.",
    _READ_ONLY_TRANSACTION: "The server is read-only: use the primary's address.",
    _READ_ONLY_MODE: "The server is read-only: use the primary's address.",
    ER.LOCK_WAIT_TIMEOUT: "Look for a long transaction in SHOW PROCESSLIST.",
    CR.CR_CONN_HOST_ERROR: "Is the server running, and are host and port right?",
}
