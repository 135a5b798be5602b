//! UPDATE loses no concurrent change (P3, R7), and a flood of one-row commits leaves few rowsets.

use std::time::Instant;

use starling_tests::server::DataDir;
use starling_tests::{Server, setting, stream_load};

#[test]
fn concurrent_updates_lose_nothing() {
    let (clients, updates) = (8u64, setting("STARLING_UPDATES", 100));
    let data = DataDir::new("updates");
    let server = Server::start(&data, 2);
    let mut sql = server.database("test");
    sql.query("CREATE TABLE t (k BIGINT NOT NULL, v BIGINT) PRIMARY KEY(k) DISTRIBUTED BY HASH(k) BUCKETS 2").unwrap();
    sql.query("INSERT INTO t VALUES (1, 0), (2, 0)").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut sql = server.database("test");
                for _ in 0..updates {
                    sql.query("UPDATE t SET v = v + 1 WHERE k = 1").unwrap();
                }
            });
        }
        // Loads into the same table, other keys, all the while.
        scope.spawn(|| {
            for i in 0..updates {
                let row = format!("{},{i}\n", 10 + i);
                stream_load(server.http(), "test.t", &[("column_separator", ",")], row.as_bytes())
                    .unwrap()
                    .expect_rows(1);
            }
        });
    });
    let sum = sql.query("SELECT v FROM t WHERE k = 1").unwrap().text();
    assert_eq!(sum, [[(clients * updates).to_string()]]);
    assert_eq!(sql.query("SELECT COUNT(*) FROM t").unwrap().text(), [[(updates + 2).to_string()]]);
}

#[test]
fn many_small_commits_stay_small() {
    let commits = setting("STARLING_SMALL_COMMITS", 2_000);
    let clients = 8;
    let data = DataDir::new("small");
    let server = Server::start(&data, 2);
    let mut sql = server.database("test");
    sql.query("CREATE TABLE t (k BIGINT NOT NULL, v BIGINT) PRIMARY KEY(k) DISTRIBUTED BY HASH(k) BUCKETS 2").unwrap();
    std::thread::scope(|scope| {
        for client in 0..clients {
            let server = &server;
            scope.spawn(move || {
                let mut sql = server.database("test");
                for i in (client..commits).step_by(clients as usize) {
                    sql.query(&format!("INSERT INTO t VALUES ({i}, {i})")).unwrap();
                }
            });
        }
    });
    let total = commits * (commits - 1) / 2;
    let want = [[commits.to_string(), total.to_string()]];
    assert_eq!(sql.query("SELECT COUNT(*), SUM(v) FROM t").unwrap().text(), want);
    // The same rows in one commit, to compare scans with.
    sql.query("CREATE TABLE one (k BIGINT NOT NULL, v BIGINT) PRIMARY KEY(k) DISTRIBUTED BY HASH(k) BUCKETS 2")
        .unwrap();
    let csv: String = (0..commits).map(|i| format!("{i},{i}\n")).collect();
    stream_load(server.http(), "test.one", &[("column_separator", ",")], csv.as_bytes()).unwrap();
    let mut time = |table: &str| {
        let mut times: Vec<_> = (0..9)
            .map(|_| {
                let started = Instant::now();
                sql.query(&format!("SELECT COUNT(*), SUM(v) FROM {table}")).unwrap();
                started.elapsed()
            })
            .collect();
        times.sort();
        times[4]
    };
    let (many, one) = (time("t"), time("one"));
    println!("scan of {commits} one-row commits {many:?}, of one commit {one:?}");
    assert!(many < one * 2 + std::time::Duration::from_millis(5), "{many:?} against {one:?}");
    let files = std::fs::read_dir(data.path().join("seg")).map_or(0, Iterator::count);
    let logs = std::fs::read_dir(data.path().join("log")).map_or(0, Iterator::count);
    assert!(files <= 64 && logs <= 32, "{files} segment files, {logs} log segments");
}
