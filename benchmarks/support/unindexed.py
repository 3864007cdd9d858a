"""SQLite at its best without an index: a table per collection, a column for each field that a query names.

Its only order is that of tenants and ids, which also bounds a scan to one tenant. Filtering, sorting and the
limit are SQLite's; the connection is set up as the store's own. Of the forms in which a question can be put
the quickest counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

from service_common.storage import Direction, Key, Query, Value
from service_common.storage.encoding import pack, unpack
from service_common.storage.ordering import microseconds
from service_common.storage.sqlite.file import connect

from benchmarks.support.population import Population
from benchmarks.support.questions import Question
from benchmarks.support.specimens import Fields

_SEPARATOR = "\x1f"
_ROWS_AT_ONCE = 1_000
_KEYS = ("tenant", "id")

Found = list[tuple[Key, Fields]]


class Form(Enum):
    """How a scan is put.

    Attributes:
        PLAIN: One select.
        LATE: The keys of the page first, then its documents; less to sort.
        COPY: LATE, with the keys from a second table that holds the fields alone. Each write pays for that
            table as for an index, and it answers all queries, slowly: it is shown, and not what counts.
    """

    PLAIN = "plain"
    LATE = "late"
    COPY = "copy"


class Unindexed:
    """The documents as tables.

    Args:
        path: A file that is not there yet.
        now: What has expired at this time is absent.
    """

    def __init__(self, path: Path, now: datetime) -> None:
        self._connection = connect(path)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._now = microseconds(now)

    def load(self, population: Population) -> None:
        """Store a collection."""
        fields = list(population.makers)
        columns = ", ".join(_column(each) for each in fields)
        keys = "tenant TEXT NOT NULL, id TEXT NOT NULL"
        end = "PRIMARY KEY (tenant, id)) WITHOUT ROWID"
        name = population.name
        # The document comes last: reading the columns before it never walks its overflow pages.
        self._connection.execute(f"CREATE TABLE {name} ({keys}, {columns}, data BLOB NOT NULL, {end}")
        self._connection.execute(f"CREATE TABLE {name}_copy ({keys}, {columns}, {end}")
        places = ", ".join("?" * (len(fields) + 3))
        rows: list[tuple[Any, ...]] = []
        self._connection.execute("BEGIN")
        for key, document in sorted(population.documents(), key=lambda each: each[0].path()):
            values = (native(document.get(each)) for each in fields)
            rows.append((key.tenant, key.id, *values, pack(document)))
        self._connection.executemany(f"INSERT INTO {name} VALUES ({places})", rows)
        self._connection.execute(
            f"INSERT INTO {name}_copy SELECT {', '.join(_KEYS)}, {columns} FROM {name} ORDER BY tenant, id"
        )
        self._connection.execute("COMMIT")

    def count(self, question: Question) -> int:
        """Return how many documents match."""
        where, values = self._where(question)
        sql = f"SELECT count(*) FROM {question.population.name} WHERE {where}"
        return int(self._connection.execute(sql, values).fetchone()[0])

    def page(self, question: Question, form: Form) -> Found:
        """Return a page of the documents that match."""
        sql, values = self._statement(question, form)
        # One more than asked for, as the store reads too: it tells whether there is a next page.
        rows = self._connection.execute(sql, values).fetchall()[: question.query.limit]
        collection = question.population.collection
        return [(Key(collection, tenant, name), unpack(data)) for tenant, name, data in rows]

    def plan(self, question: Question, form: Form) -> str:
        """Return what SQLite says that it does."""
        sql, values = self._statement(question, form)
        return said_plan(self._connection.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall())

    def close(self) -> None:
        """Release the file."""
        self._connection.close()

    def _statement(self, question: Question, form: Form) -> tuple[str, list[Any]]:
        name = question.population.name
        where, values = self._where(question)
        order = ", ".join(
            f"{column} DESC" if descending else column for column, descending in _order(question.query)
        )
        rest = f"WHERE {where} ORDER BY {order} LIMIT {question.query.limit + 1}"
        if form is Form.PLAIN:
            return f"SELECT tenant, id, data FROM {name} {rest}", values
        keys = f"SELECT tenant, id FROM {name}{'_copy' if form is Form.COPY else ''} {rest}"
        # CROSS JOIN fixes the order of the join, and with it the order of the answer.
        return f"SELECT tenant, id, data FROM ({keys}) CROSS JOIN {name} USING (tenant, id)", values

    def _where(self, question: Question) -> tuple[str, list[Any]]:
        query, shape = question.query, question.query.shape
        compared: list[tuple[str, Value]] = [
            (f"{_column(name)} IS ?", query.equals[name]) for name in shape.equals
        ]
        if query.tenant is not None:
            compared.insert(0, ("tenant = ?", query.tenant))
        if shape.contains is not None:
            compared.append((f"instr({_column(shape.contains)}, ?)", [query.contains]))
        for operator, bound in ((">=", query.lower), ("<=", query.upper)):
            if bound is not None:
                compared.append((f"{_column(shape.order[0].field)} {operator} ?", bound))
        parts = [each for each, _ in compared]
        values = [native(value) for _, value in compared]
        ttl_field = _ttl_field(question.population)
        if ttl_field is not None:
            parts.append(f"({_column(ttl_field)} IS NULL OR {_column(ttl_field)} > ?)")
            values.append(self._now)
        if question.after is not None:
            part, more = _behind(question)
            parts.append(part)
            values += more
        return " AND ".join(parts) or "1", values


def native(value: Value) -> Any:
    """Return the value as SQLite orders it."""
    if isinstance(value, datetime):
        return microseconds(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return _SEPARATOR + "".join(f"{each!r}{_SEPARATOR}" for each in value)
    return value


def said_plan(rows: Sequence[Sequence[Any]]) -> str:
    """Return the answer to EXPLAIN QUERY PLAN on one line."""
    return "; ".join(str(row[3]) for row in rows)


def _ttl_field(population: Population) -> str | None:
    return next(
        each.ttl_field for each in population.schema.collections if each.name == population.collection
    )


def _column(name: str) -> str:
    return '"f_' + name.replace('"', '""') + '"'


def _order(query: Query) -> list[tuple[str, bool]]:
    """Return the columns of the order, and whether each descends."""
    order = [(_column(each.field), each.direction is Direction.DESCENDING) for each in query.shape.order]
    descending = bool(order) and order[-1][1]
    # A tenant that is given is the same in all rows: sorting by it too would only cost time.
    return [*order, *((key, descending) for key in _KEYS if key != "tenant" or query.tenant is None)]


def _behind(question: Question) -> tuple[str, list[Any]]:
    """Return the condition for what comes after a document in the order."""
    after = question.after
    assert after is not None
    known = {"tenant": after.key.tenant, "id": after.key.id}
    known |= {_column(each.field): native(after.data[each.field]) for each in question.query.shape.order}
    parts: list[str] = []
    values: list[Any] = []
    equal: list[str] = []
    for column, descending in _order(question.query):
        parts.append(
            " AND ".join([*(f"{each} IS ?" for each in equal), f"{column} {'<' if descending else '>'} ?"])
        )
        values += [known[each] for each in (*equal, column)]
        equal.append(column)
    return f"({' OR '.join(parts)})", values
