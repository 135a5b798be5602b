"""Makes the same random changes in Starling (over MySQL) and in DuckDB and compares the tables after each few.

usage: random_changes.py MYSQL_PORT SEED COUNT [FIRST]

Changes: INSERT of values, of a SELECT and with a column list (a partial update where the table has a primary key), UPDATE and DELETE with expressions,
subqueries and joins. The changes of a seed are one sequence: a run with FIRST replays those before FIRST in DuckDB only, so that a server that was
restarted in between is compared too.
"""

import sys

import duckdb
import pymysql
from compare import difference, in_any_order
from random_queries import WORDS, Queries

DATABASE = "changes"
TABLES = {
    "a": ("k INT NOT NULL, i INT, d DECIMAL(12, 2), f DOUBLE, s VARCHAR(40), dt DATE, ts DATETIME, b BOOLEAN", "k"),
    "b": ("k BIGINT NOT NULL, i BIGINT, g INT, s VARCHAR(40), dt DATE, d DECIMAL(18, 4)", None),
    "e": ("k INT NOT NULL, v INT", "k"),
}
STARLING = {
    "a": "PRIMARY KEY(k) DISTRIBUTED BY HASH(k) BUCKETS 10",
    "b": "DUPLICATE KEY(k) DISTRIBUTED BY HASH(k) BUCKETS 7",
    "e": "PRIMARY KEY(k) DISTRIBUTED BY HASH(k) BUCKETS 3",
}
# What a changed value may be, by column: small enough that no sum of a few thousand overflows.
KINDS = {"i": "num", "g": "num", "v": "num", "d": "dec", "f": "float", "s": "text", "dt": "date", "ts": "time", "b": "bool"}
EVERY = 10


class Changes(Queries):
    """Random statements, each as a pair: for Starling and for DuckDB."""

    def literal(self, column) -> str:
        r, kind = self.r, KINDS.get(column, "key")
        if kind == "key":
            return str(r.randrange(150))
        if r.random() < 0.15:
            return "NULL"
        date = f"2026-{r.randrange(1, 13):02}-{r.randrange(1, 29):02}"
        return {
            "num": lambda: str(r.randrange(-50, 90)),
            "dec": lambda: f"{r.randrange(-500, 900)}.{r.randrange(100):02}",
            "float": lambda: repr(round(r.uniform(-9, 99), 3)),
            "text": lambda: f"'{r.choice(WORDS)}'",
            "date": lambda: f"'{date}'",
            "time": lambda: f"'{date} {r.randrange(24):02}:{r.randrange(60):02}:00'",
            "bool": lambda: r.choice(["TRUE", "FALSE"]),
        }[kind]()

    def columns(self, table):
        return [definition.split()[0] for definition in TABLES[table][0].replace("(12, 2)", "").replace("(18, 4)", "").split(", ")]

    def value(self, table, column) -> str:
        """An expression over the row that is changed."""
        tables, kind = [(table, table)], KINDS[column]
        if self.r.random() < 0.3:
            return self.literal(column)
        if kind == "num":
            return f"({self.number(tables)}) % 1000"
        if kind == "text":
            return f"left({self.text(tables)}, 12)"
        return self.column(tables, kind)

    def upsert(self, table, columns, source):
        """INSERT by key: DuckDB is told what Starling's column list means."""
        listed = ", ".join(columns)
        ours = f"INSERT INTO {table} ({listed}) {source}"
        if TABLES[table][1] is None:
            return ours, ours
        changed = ", ".join(f"{c} = EXCLUDED.{c}" for c in columns if c != "k")
        return ours, f"{ours} ON CONFLICT (k) DO {'UPDATE SET ' + changed if changed else 'NOTHING'}"

    def insert(self):
        r, table = self.r, self.r.choice("aabe")
        columns = self.columns(table)
        if r.random() < 0.5:
            columns = ["k"] + [c for c in columns[1:] if r.random() < 0.4]
        if r.random() < 0.3:
            source = r.choice("abe")
            tables = [("q", source)]
            items = ", ".join("q.k" if c == "k" else self.literal(c) if KINDS[c] not in ("num", "text") else f"MAX(q.k) % 100" if KINDS[c] == "num" else "MAX('s')" for c in columns)
            return self.upsert(table, columns, f"SELECT {items} FROM {source} q WHERE {self.condition(tables, 1)} AND q.k < 150 GROUP BY q.k")
        keys = r.sample(range(150), r.randrange(1, 30))  # each key once: in one statement the last would win
        rows = ", ".join(f"({', '.join(str(key) if c == 'k' else self.literal(c) for c in columns)})" for key in keys)
        return self.upsert(table, columns, f"VALUES {rows}")

    def update(self):
        r, table = self.r, self.r.choice("aaee")
        columns = [c for c in self.columns(table) if c != "k"]
        changed = r.sample(columns, r.randrange(1, min(3, len(columns)) + 1))
        condition = self.condition([(table, table)], 2)
        if r.random() < 0.25:
            numbers = [c for c in changed if KINDS[c] == "num"] or [{"a": "i", "e": "v"}[table]]
            source = r.choice([t for t in "abe" if t != table])
            sql = f"UPDATE {table} SET {numbers[0]} = x.m FROM (SELECT k, MAX(k) % 90 AS m FROM {source} GROUP BY k) x WHERE {table}.k = x.k AND {condition}"
            return sql, sql
        sets = ", ".join(f"{c} = {self.value(table, c)}" for c in changed)
        sql = f"UPDATE {table} SET {sets} WHERE {condition}"
        return sql, sql

    def delete(self):
        r, table = self.r, self.r.choice("abe")
        if table == "b":  # a table without primary key takes columns and constants only
            simple = [f"k = {r.randrange(150)}", f"g IN ({r.randrange(50)}, {r.randrange(50)})", "i IS NULL AND dt > '2026-05-05'", f"s = '{r.choice(WORDS)}' AND g < {r.randrange(-30, 30)}"]
            sql = f"DELETE FROM b WHERE {r.choice(simple)}"
            return sql, sql
        narrow = f"{table}.k % {r.randrange(3, 9)} = {r.randrange(3)}"
        if r.random() < 0.25:
            source = r.choice([t for t in "abe" if t != table])
            sql = f"DELETE FROM {table} USING {source} WHERE {table}.k = {source}.k AND {narrow} AND {self.condition([(source, source)], 1)}"
            return sql, sql
        sql = f"DELETE FROM {table} WHERE {narrow} AND {self.condition([(table, table)], 2)}"
        return sql, sql

    def next(self):
        return self.r.choice([self.insert, self.insert, self.insert, self.update, self.update, self.delete])()


def duck():
    db = duckdb.connect()
    for table, (columns, key) in TABLES.items():
        db.execute(f"CREATE TABLE {table} ({columns}{f', PRIMARY KEY ({key})' if key else ''})")
    return db


def first_difference(cursor, db):
    for table in TABLES:
        cursor.execute(f"SELECT * FROM {table}")
        problem = difference(in_any_order(list(cursor.fetchall())), in_any_order(db.execute(f"SELECT * FROM {table}").fetchall()))
        if problem is not None:
            return f"table {table}: {problem}"
    return None


def main() -> int:
    port, seed, count = (int(a) for a in sys.argv[1:4])
    first = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    cursor = pymysql.connect(host="127.0.0.1", port=port, user="root", autocommit=True).cursor()
    if first == 0:
        cursor.execute(f"CREATE DATABASE {DATABASE}")
    cursor.execute(f"USE {DATABASE}")
    if first == 0:
        for table, (columns, _) in TABLES.items():
            cursor.execute(f"CREATE TABLE {table} ({columns}) {STARLING[table]}")
    db, changes, since = duck(), Changes(seed), []
    for number in range(first + count):
        ours, theirs = changes.next()
        db.execute(theirs)
        if number < first:
            continue
        since.append(ours)
        try:
            cursor.execute(ours)
        except pymysql.MySQLError as error:
            print(f"{ours};\n  -- {error}")
            return 1
        if number % EVERY == 0 or number + 1 == first + count:
            problem = first_difference(cursor, db)
            if problem is not None:
                print(";\n".join(since) + f";\n  -- {problem}")
                return 1
            since = []
    rows = {table: db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in TABLES}
    print(f"seed {seed}: changes {first} to {first + count} equal; rows {rows}")
    return 0


sys.exit(main())
