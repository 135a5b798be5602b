"""Runs the TPC-H queries in Starling (over MySQL) and in DuckDB on the same files and compares the results.

usage: tpch.py MYSQL_PORT DATABASE FILES_DIRECTORY QUERIES_DIRECTORY
"""

import pathlib
import sys
import time

import duckdb
import pymysql
from compare import difference


def duck(files: pathlib.Path, tables_sql: str) -> duckdb.DuckDBPyConnection:
    db = duckdb.connect()
    for statement in tables_sql.split(";"):
        statement = "\n".join(line for line in statement.splitlines() if not line.startswith("--")).strip()
        if not statement:
            continue
        head = statement.split(") DUPLICATE KEY")[0] + ")"
        name = head.split()[2]
        db.execute(head)
        db.execute(f"COPY {name} FROM '{files}/{name}.csv' (DELIMITER '|', HEADER false, QUOTE '', ESCAPE '')")
    return db


def main() -> int:
    port, database, files, queries = int(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3]), pathlib.Path(sys.argv[4])
    db = duck(files, (queries / "tables.sql").read_text())
    ours = pymysql.connect(host="127.0.0.1", port=port, user="root", database=database).cursor()
    failed, total = 0, [0.0, 0.0]
    for path in sorted(queries.glob("q*.sql")):
        sql = path.read_text().strip().rstrip(";")
        started = time.perf_counter()
        want = db.execute(sql).fetchall()
        between = time.perf_counter()
        try:
            ours.execute(sql)
            got = list(ours.fetchall())
            problem = difference(got, want)
        except pymysql.MySQLError as error:
            problem = str(error)
        ended = time.perf_counter()
        total[0] += ended - between
        total[1] += between - started
        verdict = problem or f"equal, {len(want)} rows"
        print(f"{path.stem} starling {ended - between:.3f} s duckdb {between - started:.3f} s {verdict}", flush=True)
        failed += problem is not None
    print(f"total starling {total[0]:.2f} s duckdb {total[1]:.2f} s")
    print(f"{22 - failed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
