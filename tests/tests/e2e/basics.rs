//! Tables, rows, labels and errors, over MySQL and HTTP.

use starling_tests::server::DataDir;
use starling_tests::{Server, stream_load};

/// The statement, verbatim.
const ORDERS: &str = "CREATE TABLE orders (order_id VARCHAR(50) NOT NULL, status VARCHAR(20), amount DECIMAL(10, 2), updated_at DATETIME)
PRIMARY KEY(order_id) DISTRIBUTED BY HASH(order_id) BUCKETS 10 PROPERTIES (\"enable_persistent_index\" = \"true\");";

#[test]
fn a_row_s_life() {
    let data = DataDir::new("life");
    let server = Server::start(&data, 2);
    let mut sql = server.database("test");
    sql.query(ORDERS).unwrap();
    sql.query("INSERT INTO orders VALUES ('a', 'NEW', 1.5, '2026-01-02 03:04:05'), ('b', 'NEW', 2, NULL)").unwrap();
    let csv = b"b,PAID,20.25,2026-01-03 00:00:00\nc,NEW,3,\\N\n";
    let headers = [("label", "l1"), ("column_separator", ",")];
    stream_load(server.http(), "test.orders", &headers, csv).unwrap().expect_rows(2);
    let again = stream_load(server.http(), "test.orders", &headers, csv).unwrap();
    assert_eq!(again.text("Status"), "Label Already Exists");
    assert_eq!(again.text("ExistingJobStatus"), "FINISHED");
    sql.query("UPDATE orders SET amount = amount + 1 WHERE order_id = 'a'").unwrap();
    sql.query("DELETE FROM orders WHERE order_id = 'c'").unwrap();
    let want = [["a", "NEW", "2.50", "2026-01-02 03:04:05"], ["b", "PAID", "20.25", "2026-01-03 00:00:00"]];
    let select = "SELECT * FROM orders ORDER BY order_id";
    assert_eq!(sql.query(select).unwrap().text(), want);
    assert_eq!(sql.query("SELECT status FROM orders WHERE order_id = 'b'").unwrap().text(), [["PAID"]]);
    assert_eq!(server.stop(), Some(0), "SIGTERM ends cleanly");

    // The same after a start with another number of cores, labels included (P1, P2).
    let server = Server::start(&data, 3);
    let mut sql = server.database("test");
    assert_eq!(sql.query(select).unwrap().text(), want);
    let again = stream_load(server.http(), "test.orders", &headers, csv).unwrap();
    assert_eq!(again.text("Status"), "Label Already Exists");
}

#[test]
fn errors_have_their_numbers() {
    let data = DataDir::new("errors");
    let server = Server::start(&data, 2);
    let mut sql = server.connect();
    for (statement, codes) in [
        ("SELEC 1", &[1064][..]),
        ("SELECT * FROM t", &[1046]),
        ("USE nowhere", &[1049, 5501]),
        ("SELECT nosuch(1)", &[1064]),
        ("SELECT @@nosuch", &[1193]),
        ("KILL 999999", &[1094]),
    ] {
        let error = sql.query(statement).expect_err(statement);
        assert!(error.code().is_some_and(|code| codes.contains(&code)), "{statement}: {error}");
    }
    let mut sql = server.database("test");
    sql.query(ORDERS).unwrap();
    for (statement, codes) in [
        ("SELECT * FROM nosuch", &[1146, 5502][..]),
        ("SELECT nosuch FROM orders", &[1054, 5509]),
        (ORDERS, &[1050]),
        ("CREATE DATABASE test", &[1007]),
        ("INSERT INTO orders VALUES (NULL, 'x', 1, NULL)", &[1048, 1064, 5610]),
        ("UPDATE orders SET order_id = 'x' WHERE order_id = 'a'", &[1064]),
        ("CREATE TABLE p (a INT) PARTITION BY RANGE(a) ()", &[1064]),
        ("CREATE TABLE p (a INT) PROPERTIES ('nosuch' = '1')", &[1064, 5063]),
    ] {
        let error = sql.query(statement).expect_err(statement);
        assert!(error.code().is_some_and(|code| codes.contains(&code)), "{statement}: {error}");
    }
    let deep = format!("SELECT 1 WHERE {}", vec!["1 = 2"; 100_000].join(" OR "));
    assert_eq!(sql.query(&deep).expect_err("depth").code(), Some(1064));
    assert_eq!(sql.query("SELECT 1").unwrap().text(), [["1"]], "the session goes on after every error");
}

#[test]
fn a_second_server_is_refused() {
    let data = DataDir::new("second");
    let first = Server::start(&data, 1);
    let refused = Server::start_with(&data, 1, &[]).err().unwrap_or_default();
    assert!(refused.contains("lock") || refused.contains("in use"), "{refused}");
    let port = first.mysql().to_string();
    let other = DataDir::new("second-port");
    let refused = Server::start_with(&other, 1, &["--mysql", &port]).err().unwrap_or_default();
    assert!(refused.contains(&port), "{refused}");
}

#[test]
fn rejected_rows_are_counted_and_shown() {
    let data = DataDir::new("rejected");
    let server = Server::start(&data, 2);
    let mut sql = server.database("test");
    sql.query("CREATE TABLE t (k INT NOT NULL, v VARCHAR(3)) DUPLICATE KEY(k) DISTRIBUTED BY HASH(k) BUCKETS 3")
        .unwrap();
    let body = b"1,a\nx,b\n3,toolong\n4,d\n";
    let strict = [("column_separator", ","), ("strict_mode", "true")];
    let failed = stream_load(server.http(), "test.t", &strict, body).unwrap();
    assert_eq!(failed.text("Status"), "Fail", "{}", failed.json);
    assert!(failed.text("Message").contains("too many filtered rows"), "{}", failed.json);
    assert_eq!(sql.query("SELECT COUNT(*) FROM t").unwrap().text(), [["0"]], "a failed load leaves nothing");
    let lenient = [("column_separator", ","), ("max_filter_ratio", "0.5")];
    let loaded = stream_load(server.http(), "test.t", &lenient, body).unwrap();
    assert_eq!(loaded.number("NumberFilteredRows"), 2, "{}", loaded.json);
    loaded.expect_rows(2);
    let url = loaded.text("ErrorURL").to_string();
    let path = url.split_once("/api/").map(|(_, path)| format!("/api/{path}")).unwrap_or_default();
    let mut http = starling_wire::client::HttpClient::connect(server.http()).unwrap();
    let log = http.get(&path).unwrap().text();
    assert!(log.contains("'x'") && log.contains("toolong"), "{log}");
}
