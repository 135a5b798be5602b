"""Compares joins written by hand and random queries between Starling (over MySQL) and DuckDB on the same rows.

usage: random_queries.py MYSQL_PORT prepare          makes the tables, by inserts, updates and deletes
       random_queries.py MYSQL_PORT run SEED COUNT   compares the joins and COUNT random queries, those that can be also prepared; the same SEED, the same queries

The tables of a seed-free, fixed random history: k is INT in `a` (10 buckets) and BIGINT in `b` (7 buckets), so joins on k shuffle and widen.
"""

import decimal
import random
import re
import sys

import duckdb
import mysql.connector
import pymysql
from compare import difference, in_any_order

DATABASE = "differential"
WORDS = ["ash", "beech", "Cedar", "elm", "fir", "oak", "pine", "yew", "ash%tree", "o_k"]

TABLES = {
    "a": ("k INT NOT NULL, i INT, d DECIMAL(12, 2), f DOUBLE, s VARCHAR(20), dt DATE, ts DATETIME, b BOOLEAN", "PRIMARY KEY(k) DISTRIBUTED BY HASH(k) BUCKETS 10"),
    "b": ("k BIGINT NOT NULL, i BIGINT, g TINYINT, s VARCHAR(20), dt DATE, d DECIMAL(18, 4)", "DUPLICATE KEY(k) DISTRIBUTED BY HASH(k) BUCKETS 7"),
    "c": ("s VARCHAR(20) NOT NULL, name VARCHAR(30), w SMALLINT", "PRIMARY KEY(s) DISTRIBUTED BY HASH(s) BUCKETS 3"),
    "e": ("k INT NOT NULL, v INT", "DUPLICATE KEY(k) DISTRIBUTED BY HASH(k)"),
}

JOINS = [
    "SELECT a.k, b.i FROM a JOIN b ON a.k = b.k",
    "SELECT COUNT(*), SUM(a.i), SUM(b.i) FROM a JOIN b ON a.k = b.k",
    "SELECT a.k, b.i FROM a LEFT JOIN b ON a.k = b.k",
    "SELECT a.k, b.k, b.i FROM a RIGHT JOIN b ON a.k = b.k AND a.i > 10",
    "SELECT a.k, b.k FROM a FULL JOIN b ON a.k = b.k",
    "SELECT a.k FROM a WHERE a.k IN (SELECT b.k FROM b)",
    "SELECT a.k FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.k = a.k)",
    "SELECT b.k FROM b WHERE b.i NOT IN (SELECT a.i FROM a WHERE a.i IS NOT NULL)",
    "SELECT b.k FROM b WHERE b.i NOT IN (SELECT a.i FROM a)",
    "SELECT a.s, c.name, COUNT(*) FROM a JOIN b ON a.k = b.k JOIN c ON c.s = a.s GROUP BY a.s, c.name",
    "SELECT a.k, c.w FROM a LEFT JOIN c ON a.s = c.s WHERE c.w IS NULL OR c.w > 3",
    "SELECT x.k, y.k FROM a x JOIN a y ON x.i = y.k",
    "SELECT x.g, COUNT(*) FROM b x JOIN b y ON x.k = y.k AND x.i < y.i GROUP BY x.g",
    "SELECT a.k, e.v FROM a JOIN e ON a.k = e.k",
    "SELECT COUNT(*) FROM a CROSS JOIN c",
]


class Queries:
    """Random SELECTs that mean the same in both dialects."""

    def __init__(self, seed: int):
        self.r = random.Random(seed)

    COLUMNS = {
        "a": {"num": ["k", "i"], "dec": ["d"], "float": ["f"], "text": ["s"], "date": ["dt"], "time": ["ts"], "bool": ["b"]},
        "b": {"num": ["k", "i", "g"], "dec": ["d"], "text": ["s"], "date": ["dt"]},
        "c": {"num": ["w"], "text": ["s", "name"]},
        "e": {"num": ["k", "v"]},
    }

    def column(self, tables, kind):
        found = [f"{alias}.{c}" for alias, table in tables for c in self.COLUMNS[table].get(kind, [])]
        return self.r.choice(found) if found else None

    def number(self, tables, depth=2) -> str:
        r = self.r
        choice = r.randrange(15) if depth else r.randrange(3)
        n = lambda: self.number(tables, depth - 1)
        if choice < 2:
            return self.column(tables, "num") or str(r.randrange(20))
        if choice == 2:
            return str(r.randrange(-5, 60))
        if choice == 3:
            return f"({n()} {r.choice('+-')} {n()})"
        if choice == 4:
            return f"({n()} * {r.randrange(-3, 7)})"
        if choice == 5:
            return f"CASE WHEN {self.condition(tables, depth - 1)} THEN {n()} ELSE {n()} END"
        if choice == 6:
            return f"COALESCE({n()}, {n()})"
        if choice == 7:
            return f"NULLIF({n()}, {n()})"
        if choice == 8:
            return f"({n()} % {r.randrange(2, 9)})"
        if choice == 9 and self.column(tables, "date"):
            return f"{r.choice(['year', 'month', 'day', 'quarter'])}({self.column(tables, 'date')})"
        if choice == 10 and self.column(tables, "text"):
            return f"length({self.column(tables, 'text')})"
        if choice == 11 and self.column(tables, "date"):
            return f"CASE {self.column(tables, 'date')} WHEN '2026-03-04' THEN {n()} ELSE day({self.column(tables, 'date')}) END"
        if choice == 12 and depth > 1:
            table = r.choice("abe")
            return f"(SELECT {r.choice(['MAX', 'MIN', 'COUNT'])}(q.k) FROM {table} q WHERE q.k {r.choice(['=', '<'])} {r.randrange(100)})"
        if choice == 13 and depth > 1:
            return f"CASE WHEN {self.subquery(tables)} THEN {n()} ELSE {n()} END"
        return f"(- {n()})"

    def decimal(self, tables) -> str:
        """A DECIMAL or DOUBLE."""
        r = self.r
        column = self.column(tables, r.choice(["dec", "float"])) or self.column(tables, "dec") or f"{r.randrange(1, 999) / 100}"
        other = self.column(tables, "num")
        forms = ["{0}", "({0} + {1})", "({0} * 3)", "({0} - 1.25)", "({1} / 4)", "({1} / NULLIF({1}, 0))", "round({0}, 1)", "floor({0})", "ceil({0})", "COALESCE({0}, 0)"]
        return r.choice(forms).format(column, other or "7")

    def text(self, tables, depth=1) -> str:
        r = self.r
        column = self.column(tables, "text")
        if column is None or (depth and r.random() < 0.1):
            return f"'{r.choice(WORDS)}'"
        if depth and r.random() < 0.2:
            return r.choice([f"concat(COALESCE({column}, ''), '-', lower(COALESCE({column}, 'x')))", f"replace({column}, 'e', 'E')", f"left({column}, 2)", f"right({column}, 2)", f"trim({column})", f"lpad({column}, 6, '*')", f"reverse({column})", f"CASE WHEN {self.condition(tables, 0)} THEN {column} ELSE 'other' END"]) if not column.startswith("'") else column
        return r.choice([column, column, f"upper({column})", f"substring({column}, {r.randrange(1, 4)}, {r.randrange(1, 4)})", f"COALESCE({column}, 'none')"])

    def condition(self, tables, depth=2) -> str:
        r = self.r
        choice = r.randrange(13) if depth else r.randrange(9)
        compare = r.choice(["=", "<>", "<", "<=", ">", ">="])
        if choice == 0:
            return f"{self.number(tables, 1)} {compare} {self.number(tables, 1)}"
        if choice == 1:
            return f"{self.number(tables, 0)} BETWEEN {r.randrange(0, 20)} AND {r.randrange(10, 60)}"
        if choice == 2:
            return f"{self.text(tables)} {compare} '{r.choice(WORDS)}'"
        if choice == 3:
            return f"{self.text(tables)} LIKE '{r.choice(['%a%', 'o%', '%k', '_l_', '%', 'a%e', 'C%'])}'"
        if choice == 4:
            return f"{self.text(tables, 0)} {r.choice(['IN', 'NOT IN'])} ({', '.join(repr(w) for w in r.sample(WORDS, 3))})"
        if choice == 5:
            kind = r.choice(["num", "dec", "text", "date", "time", "bool", "float"])
            return f"{self.column(tables, kind) or self.number(tables, 1)} IS {r.choice(['', 'NOT '])}NULL"
        if choice == 6 and self.column(tables, "date"):
            return f"{self.column(tables, 'date')} {compare} '2026-{r.randrange(1, 13):02}-{r.randrange(1, 29):02}'"
        if choice == 7 and self.column(tables, "dec"):
            return f"{self.column(tables, 'dec')} {compare} {r.randrange(0, 10000) / 100}"
        if choice == 8:
            return f"{self.column(tables, 'num')} {r.choice(['IN', 'NOT IN'])} ({', '.join(str(r.randrange(80)) for _ in range(4))})"
        if choice == 9:
            return f"NOT ({self.condition(tables, depth - 1)})"
        if choice == 10 and depth > 1:
            return self.subquery(tables)
        return f"({self.condition(tables, depth - 1)} {r.choice(['AND', 'OR'])} {self.condition(tables, depth - 1)})"

    def subquery(self, tables) -> str:
        r = self.r
        table = r.choice("abe")
        inner = [("q", table)]
        outer = self.column(tables, "num")
        where = self.condition(inner, 1)
        form = r.randrange(4)
        if form == 0:
            return f"{outer} {r.choice(['IN', 'NOT IN'])} (SELECT q.k FROM {table} q WHERE {where})"
        if form == 1:
            return f"{r.choice(['', 'NOT '])}EXISTS (SELECT 1 FROM {table} q WHERE q.k = {outer} AND {where})"
        if form == 2:
            return f"{outer} {r.choice('<>')} (SELECT {r.choice(['AVG', 'MIN', 'MAX'])}(q.k) FROM {table} q WHERE {where})"
        return f"{outer} {r.choice('<>')} (SELECT COUNT(*) FROM {table} q WHERE q.k = {outer})"

    def source(self):
        """Joined tables: aliases with the table whose columns each has, and the FROM clause."""
        r = self.r
        first = r.choice("aaabbe")
        tables, text = [("t0", first)], f"{first} t0"
        for number in range(1, r.choice([1, 1, 2, 2, 3])):
            table = r.choice("abce")
            alias = f"t{number}"
            if table == "c":
                left = self.column(tables, "text")
                if left is None:
                    continue
                on = f"{left} = {alias}.s"
            else:
                on = f"{self.column(tables, 'num')} = {alias}.k"
            if r.random() < 0.3:
                on += f" AND {self.condition([(alias, table)], 1)}"
            if table != "c" and r.random() < 0.15:
                named = f"(SELECT * FROM {table} i WHERE {self.condition([('i', table)], 1)})"
            else:
                named = table
            text += f" {r.choice(['JOIN', 'JOIN', 'LEFT JOIN', 'RIGHT JOIN', 'FULL JOIN'])} {named} {alias} ON {on}"
            tables.append((alias, table))
        return tables, text

    def aggregate(self, tables) -> str:
        r = self.r
        kind = r.choice(["num", "dec", "float", "text", "date", "time"])
        column = self.column(tables, kind) or self.number(tables, 1)
        forms = ["COUNT({})", "MIN({})", "MAX({})", "COUNT(DISTINCT {})"]
        if kind in ("num", "dec", "float"):
            forms += ["SUM({})", "AVG({})", "SUM({})"]
        return r.choice(forms + ["COUNT(*)"]).format(column)

    def items(self, tables):
        return [self.r.choice([self.number, self.number, self.text, self.text, self.decimal])(tables) for _ in range(self.r.randrange(1, 4))]

    def grouped(self) -> str:
        r = self.r
        tables, source = self.source()
        keys = self.items(tables) if r.random() < 0.8 else []
        # A bare number would be a position, and a subquery in ROLLUP is no syntax.
        keys = [key for key in dict.fromkeys(keys) if "." in key and "SELECT" not in key]
        aggregates = [self.aggregate(tables) for _ in range(r.randrange(1, 4))]
        columns = ", ".join(f"{item} AS c{n}" for n, item in enumerate(keys + aggregates))
        text = f"SELECT {columns} FROM {source}"
        if r.random() < 0.6:
            text += f" WHERE {self.condition(tables)}"
        if keys:
            listed = ", ".join(keys)
            text += f" GROUP BY {r.choice(['{}', '{}', '{}', 'ROLLUP({})', 'CUBE({})']).format(listed)}"
        if keys and r.random() < 0.3:
            text += f" HAVING {r.choice(['COUNT(*)', 'MAX(t0.k)', 'SUM(t0.k)'])} > {r.randrange(4)}"
        return text

    def plain(self) -> str:
        r = self.r
        tables, source = self.source()
        columns = ", ".join(f"{item} AS c{n}" for n, item in enumerate(self.items(tables)))
        distinct = "DISTINCT " if r.random() < 0.2 else ""
        text = f"SELECT {distinct}{columns} FROM {source}"
        if r.random() < 0.8:
            text += f" WHERE {self.condition(tables)}"
        return text

    def window(self) -> str:
        r = self.r
        table = r.choice("ae")
        tables = [("t0", table)]
        order = "t0.k" if table == "a" else "t0.k, t0.v"
        part = f"PARTITION BY {self.text(tables, 0) if table == 'a' else 't0.v % 5'} "
        number = self.column(tables, "num")
        call = r.choice(
            [
                f"ROW_NUMBER() OVER ({part}ORDER BY {order})",
                f"RANK() OVER ({part}ORDER BY {number})",
                f"DENSE_RANK() OVER (ORDER BY {number} DESC)",
                f"SUM({number}) OVER ({part}ORDER BY {order} ROWS BETWEEN {r.randrange(4)} PRECEDING AND CURRENT ROW)",
                f"COUNT(*) OVER ({part})",
                f"MAX({number}) OVER ({part}ORDER BY {order})",
                f"LAG(t0.k, {r.randrange(1, 3)}) OVER ({part}ORDER BY {order})",
                f"FIRST_VALUE(t0.k) OVER ({part}ORDER BY {order})",
            ]
        )
        return f"SELECT {'DISTINCT ' if table == 'e' else ''}{order}, {call} AS w FROM {table} t0 WHERE {self.condition(tables, 1)}"

    def set_operation(self) -> str:
        r = self.r
        sides = []
        for _ in range(r.choice([2, 2, 3])):
            tables, source = self.source()
            sides.append(f"SELECT {self.number(tables)} AS c0, {self.text(tables)} AS c1 FROM {source} WHERE {self.condition(tables)}")
        return f" {r.choice(['UNION', 'UNION ALL', 'INTERSECT', 'EXCEPT'])} ".join(sides)

    def next(self):
        """A query and whether its order counts."""
        r = self.r
        text = r.choice([self.plain, self.plain, self.grouped, self.grouped, self.grouped, self.window, self.set_operation])()
        wrap = r.random()
        if wrap < 0.1:
            text = f"WITH x AS ({text}) SELECT COUNT(*) FROM x"
        elif wrap < 0.3:
            width = self.width(text)
            order = ", ".join(f"{n + 1}{r.choice(['', ' DESC'])}" for n in range(width))
            offset = f" OFFSET {r.randrange(1, 9)}" if r.random() < 0.3 else ""
            return f"SELECT * FROM ({text}) x ORDER BY {order} LIMIT {r.randrange(1, 40)}{offset}", True
        return text, False

    def width(self, text) -> int:
        return len(self.db.execute(f"DESCRIBE {text}").fetchall())


def history():
    """Statements that make the rows, for both engines."""
    r = random.Random(7)
    null = lambda value, share=0.1: "NULL" if r.random() < share else value
    word = lambda: f"'{r.choice(WORDS)}'"
    date = lambda: f"'2026-{r.randrange(1, 13):02}-{r.randrange(1, 29):02}'"
    time = lambda: f"'2026-{r.randrange(1, 13):02}-{r.randrange(1, 29):02} {r.randrange(24):02}:{r.randrange(60):02}:00'"
    decimal = lambda: f"{r.randrange(-500, 10000)}.{r.randrange(100):02}"
    a = lambda k: f"({k}, {null(r.randrange(80))}, {null(decimal())}, {null(repr(round(r.uniform(-9, 99), 3)))}, {null(word())}, {null(date())}, {null(time())}, {null(r.choice(['TRUE', 'FALSE']))})"
    b = lambda k: f"({k}, {null(r.randrange(100), 0.02)}, {null(r.randrange(-20, 20))}, {null(word())}, {null(date())}, {null(decimal())})"
    yield "a", [a(k) for k in range(0, 600, 2)]
    yield "b", [b(r.randrange(500)) for _ in range(700)]
    yield "c", [f"('{w}', {null(repr(w.upper() + ' tree'))}, {null(r.randrange(10))})" for w in WORDS[:-2]]
    yield "e", [f"({r.randrange(60)}, {r.randrange(50)})" for _ in range(120)]
    yield None, "DELETE FROM a WHERE k % 10 = 4"
    yield None, "UPDATE a SET i = i + 1, s = 'oak' WHERE k % 14 = 6"
    yield None, "DELETE FROM b WHERE k = 77"
    yield "a", [a(k) for k in range(601, 700, 3)]
    yield None, "UPDATE a SET d = d * 2 WHERE dt > '2026-06-01' AND i IS NOT NULL"
    yield "b", [b(r.randrange(400, 900)) for _ in range(300)]


def statements():
    for name, (columns, _) in TABLES.items():
        yield f"CREATE TABLE {name} ({columns})"
    for table, rows in history():
        if table is None:
            yield rows
        else:
            yield f"INSERT INTO {table} VALUES {', '.join(rows)}"


def prepare(cursor):
    cursor.execute(f"CREATE DATABASE {DATABASE}")
    cursor.execute(f"USE {DATABASE}")
    for sql in statements():
        if sql.startswith("CREATE TABLE "):
            sql += " " + TABLES[sql.split()[2]][1]
        cursor.execute(sql)


def duck():
    db = duckdb.connect()
    db.execute("SET default_null_order = 'nulls_first_on_asc_last_on_desc'")
    for sql in statements():
        db.execute(sql.replace(" TINYINT", " INT"))  # arithmetic of DuckDB stays in 8 bits, ours does not
    return db


LITERAL = re.compile(r"'[^']*'|(?<![\w.])\d+(?:\.\d+)?(?![\w.])")


def parametrised(sql):
    """The statement with the constants of its WHERE clause as parameters, and their values; None where a constant may be part of a grouping expression."""
    head, where, tail = sql.partition(" WHERE ")
    if not where or "GROUP BY" in sql or " ORDER BY " in sql or " UNION" in sql or " INTERSECT" in sql or " EXCEPT" in sql:
        return None
    values = []

    def take(match):
        text = match[0]
        values.append(text[1:-1] if text[0] == "'" else decimal.Decimal(text) if "." in text else int(text))
        return "?"

    return head + where + LITERAL.sub(take, tail), values


def rows_of(cursor, prepared, sql):
    """The rows of a query: as text, or as a prepared statement with parameters where that is possible and `prepared` is a cursor."""
    statement = prepared and parametrised(sql)
    if statement is None:
        cursor.execute(sql)
        return list(cursor.fetchall())
    prepared.execute(*statement)
    return list(prepared.fetchall())


def compare(cursor, db, sql, ordered, prepared=None):
    try:
        want = db.execute(sql).fetchall()
    except duckdb.Error as error:
        return f"DuckDB: {error}"
    try:
        got = rows_of(cursor, prepared, sql)
    except (pymysql.MySQLError, mysql.connector.Error) as error:
        return f"{'prepared: ' if prepared else ''}{error}"
    return difference(got, want) if ordered else difference(in_any_order(got), in_any_order(want))


def run(cursor, port, seed, count) -> int:
    cursor.execute(f"USE {DATABASE}")
    connection = mysql.connector.connect(host="127.0.0.1", port=port, user="root", database=DATABASE, use_pure=True)
    prepared = connection.cursor(prepared=True)
    db = duck()
    for table in TABLES:
        problem = compare(cursor, db, f"SELECT * FROM {table}", False)
        assert problem is None, f"table {table}: {problem}"
    queries = Queries(seed)
    queries.db = db
    failed = 0
    for number in range(len(JOINS) + count):
        sql, ordered = (JOINS[number], False) if number < len(JOINS) else queries.next()
        for way in (None, prepared):
            problem = compare(cursor, db, sql, ordered, way)
            if problem is not None:
                failed += 1
                print(f"{sql};\n  -- {problem}", flush=True)
    print(f"seed {seed}: {len(JOINS)} joins and {count} random queries, {failed} differ")
    return 1 if failed else 0


def main() -> int:
    port, verb, arguments = int(sys.argv[1]), sys.argv[2], [int(a) for a in sys.argv[3:]]
    cursor = pymysql.connect(host="127.0.0.1", port=port, user="root", autocommit=True).cursor()
    if verb == "prepare":
        prepare(cursor)
        return 0
    return run(cursor, port, *arguments)


if __name__ == "__main__":
    sys.exit(main())
