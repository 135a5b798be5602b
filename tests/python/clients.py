"""PyMySQL and mysql-connector-python against a running server, with everything they send at connect.

usage: clients.py MYSQL_PORT HTTP_PORT
"""

import base64
import datetime
import decimal
import json
import sys
import urllib.request

import mysql.connector
import pymysql

PORT, HTTP = int(sys.argv[1]), int(sys.argv[2])
ROWS = [
    (1, True, 127, 32767, 2**31 - 1, 2**63 - 1, 1.5, 2.25, decimal.Decimal("12345678.90"), datetime.date(2026, 1, 2),
     datetime.datetime(2026, 1, 2, 3, 4, 5), "text 'quoted' \\ \u00e9"),
    (2, False, -128, -32768, -(2**31), -(2**63), -1.5, -2.25, decimal.Decimal("-0.01"), datetime.date(1, 1, 1),
     datetime.datetime(2026, 1, 2, 3, 4, 5, 678900), ""),
    (3,) + (None,) * 11,
]


def pymysql_client():
    connection = pymysql.connect(host="127.0.0.1", port=PORT, user="root", charset="utf8mb4", autocommit=True)
    cursor = connection.cursor()
    cursor.execute("CREATE DATABASE IF NOT EXISTS clients")
    cursor.execute("USE clients")
    cursor.execute("DROP TABLE IF EXISTS types")
    cursor.execute(
        "CREATE TABLE types (k BIGINT NOT NULL, b BOOLEAN, t TINYINT, s SMALLINT, i INT, l BIGINT, f FLOAT, d DOUBLE, "
        "n DECIMAL(10, 2), dt DATE, ts DATETIME, v VARCHAR(100)) PRIMARY KEY(k) DISTRIBUTED BY HASH(k) BUCKETS 3"
    )
    marks = ", ".join(["%s"] * 12)
    assert cursor.executemany(f"INSERT INTO types VALUES ({marks})", ROWS) == 3
    cursor.execute("SELECT * FROM types ORDER BY k")
    for got, want in zip(cursor.fetchall(), ROWS, strict=True):
        assert got == tuple(int(x) if isinstance(x, bool) else x for x in want), (got, want)
    cursor.execute("SELECT v FROM types WHERE k = %s", (1,))
    assert cursor.fetchone() == (ROWS[0][11],)
    connection.ping()
    connection.select_db("clients")
    connection.commit()
    connection.rollback()
    try:
        cursor.execute("SELECT * FROM nosuch")
        raise AssertionError("no error")
    except pymysql.MySQLError as error:
        assert error.args[0] in (1146, 5502), error
    cursor.execute("SHOW TABLES")
    assert ("types",) in cursor.fetchall()
    connection.close()


def connector_client():
    connection = mysql.connector.connect(host="127.0.0.1", port=PORT, user="root", database="clients", use_pure=True)
    cursor = connection.cursor(prepared=True)
    cursor.execute("SELECT k, n, ts, v FROM types WHERE k >= ? ORDER BY k", (1,))
    rows = cursor.fetchall()
    for got, want in zip(rows, ROWS, strict=True):
        assert got == (want[0], want[8], want[10], want[11]), (got, want)
    cursor.execute("INSERT INTO types (k, v, n) VALUES (?, ?, ?)", (4, "four", decimal.Decimal("4.40")))
    assert cursor.rowcount == 1
    cursor.execute("UPDATE types SET v = ? WHERE k = ?", ("FOUR", 4))
    cursor.execute("SELECT v FROM types WHERE k = ?", (4,))
    assert cursor.fetchone() == ("FOUR",)
    cursor.execute("DELETE FROM types WHERE k = ?", (4,))
    cursor.execute("SELECT v FROM types WHERE k = ?", (4,))
    assert cursor.fetchone() is None
    connection.close()


def stream_load():
    body = b'{"k": 10, "v": "json"}\n{"k": 11, "v": "lines"}\n'
    request = urllib.request.Request(f"http://127.0.0.1:{HTTP}/api/clients/types/_stream_load", data=body, method="PUT")
    request.add_header("Authorization", "Basic " + base64.b64encode(b"root:").decode())
    request.add_header("format", "json")
    reply = json.load(urllib.request.urlopen(request))
    assert reply["Status"] == "Success" and reply["NumberLoadedRows"] == 2, reply


pymysql_client()
connector_client()
stream_load()
print("all clients passed")
