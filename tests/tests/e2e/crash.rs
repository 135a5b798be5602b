//! kill -9 at random moments, under concurrent loads; starts with 1, 2 and 3 cores in turn (P1, P2, P3).
//!
//! Each writer loads batches, one after the other, each with a label. A batch upserts the writer's own keys of table `state`, which
//! are spread over all tablets, to the batch's number, or appends rows that name it to `log`. After a crash every batch that was
//! acknowledged must be there, the one that was under way wholly or not at all, and its label must say which.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use starling_tests::server::DataDir;
use starling_tests::{Random, Server, setting, stream_load};
use starling_wire::client::MysqlClient;

/// Writers of each table.
const WRITERS: u64 = 3;
/// Keys of one writer of `state`, rows of one batch of `log`.
const ROWS: u64 = 60;

/// What a writer knows of its batches.
#[derive(Clone, Copy, Default, Debug)]
struct Progress {
    /// The greatest batch that was acknowledged.
    acknowledged: u64,
    /// The batch whose answer never came.
    in_doubt: Option<u64>,
}

#[test]
fn nothing_acknowledged_is_lost() {
    let rounds = setting("STARLING_CRASH_ROUNDS", 6);
    let seed = setting("STARLING_CRASH_SEED", 1);
    println!("seed {seed}, {rounds} rounds");
    let mut random = Random::new(seed);
    let data = DataDir::new("crash");
    let mut progress = vec![Progress::default(); 2 * WRITERS as usize];
    for round in 0..rounds {
        let cores = [2, 1, 3][round as usize % 3];
        let server = Server::start(&data, cores);
        prepare(&server);
        check(&server, &mut progress, round);
        let pause = Duration::from_millis(100 + random.below(1500));
        write_until_killed(server, &mut progress, pause);
    }
    let server = Server::start(&data, 2);
    check(&server, &mut progress, rounds);
    let total: u64 = progress.iter().map(|p| p.acknowledged).sum();
    println!("{rounds} crashes, {total} batches acknowledged, none lost, doubled or torn");
    assert!(total > rounds, "the writers hardly wrote: {progress:?}");
}

fn prepare(server: &Server) {
    let mut sql = server.database("test");
    for create in [
        "CREATE TABLE IF NOT EXISTS state (k BIGINT NOT NULL, writer BIGINT, batch BIGINT, pad VARCHAR(100)) \
         PRIMARY KEY(k) DISTRIBUTED BY HASH(k) BUCKETS 5",
        "CREATE TABLE IF NOT EXISTS log (writer BIGINT, batch BIGINT, n BIGINT, pad VARCHAR(100)) \
         DUPLICATE KEY(writer, batch) DISTRIBUTED BY HASH(n) BUCKETS 4",
    ] {
        sql.query(create).unwrap_or_else(|error| panic!("{create}: {error}"));
    }
}

/// Runs all writers, kills the server after `pause`, and leaves in `progress` what each of them knows.
fn write_until_killed(server: Server, progress: &mut [Progress], pause: Duration) {
    let stop = AtomicBool::new(false);
    let http = server.http();
    std::thread::scope(|scope| {
        for (writer, progress) in progress.iter_mut().enumerate() {
            let stop = &stop;
            scope.spawn(move || write(http, writer as u64, progress, stop));
        }
        std::thread::sleep(pause);
        server.kill();
        stop.store(true, Ordering::Release);
    });
}

fn write(http: SocketAddr, writer: u64, progress: &mut Progress, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        let batch = progress.acknowledged + 1;
        let (table, body) = batch_of(writer, batch);
        let label = label_of(writer, batch);
        let headers = [("label", label.as_str()), ("column_separator", ",")];
        match stream_load(http, table, &headers, body.as_bytes()) {
            Ok(reply) if reply.succeeded() => progress.acknowledged = batch,
            Ok(reply) => panic!("writer {writer} batch {batch}: {}", reply.json),
            Err(_) => {
                progress.in_doubt = Some(batch);
                return;
            }
        }
    }
}

fn label_of(writer: u64, batch: u64) -> String {
    format!("w{writer}-b{batch}")
}

fn is_state(writer: u64) -> bool {
    writer < WRITERS
}

fn batch_of(writer: u64, batch: u64) -> (&'static str, String) {
    let pad = "x".repeat((batch % 90) as usize);
    match is_state(writer) {
        true => {
            let row = |n| format!("{},{writer},{batch},{pad}\n", writer * 1000 + n);
            ("test.state", (0..ROWS).map(row).collect())
        }
        false => ("test.log", (0..ROWS).map(|n| format!("{writer},{batch},{n},{pad}\n")).collect()),
    }
}

/// Every batch is there or not as its writer knows; settles those in doubt by their labels.
fn check(server: &Server, progress: &mut [Progress], round: u64) {
    let mut sql = server.database("test");
    for (writer, known) in progress.iter_mut().enumerate() {
        let writer = writer as u64;
        let found = match is_state(writer) {
            true => state_batch(&mut sql, writer, round),
            false => log_batches(&mut sql, writer, round),
        };
        let in_doubt = known.in_doubt.take();
        let allowed = [Some(known.acknowledged), in_doubt];
        assert!(
            allowed.contains(&Some(found)),
            "round {round}: writer {writer} finds batch {found}, acknowledged {}, in doubt {in_doubt:?}",
            known.acknowledged
        );
        if let Some(batch) = in_doubt {
            settle(server.http(), writer, batch, found == batch, round);
            known.acknowledged = batch;
        }
    }
    // Everything again, now that nothing is in doubt: a row twice or a torn batch shows here too.
    for (writer, known) in progress.iter().enumerate() {
        let writer = writer as u64;
        let found = match is_state(writer) {
            true => state_batch(&mut sql, writer, round),
            false => log_batches(&mut sql, writer, round),
        };
        assert_eq!(found, known.acknowledged, "round {round}: writer {writer} after its label was settled");
    }
}

/// Repeats a batch with its label: refused exactly when it is there (P2).
fn settle(http: SocketAddr, writer: u64, batch: u64, there: bool, round: u64) {
    let (table, body) = batch_of(writer, batch);
    let label = label_of(writer, batch);
    let headers = [("label", label.as_str()), ("column_separator", ",")];
    let reply = stream_load(http, table, &headers, body.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let want = if there { "Label Already Exists" } else { "Success" };
    assert_eq!(reply.text("Status"), want, "round {round}: {label}: {}", reply.json);
}

/// The batch number that all keys of a writer hold; 0: no rows.
fn state_batch(sql: &mut MysqlClient, writer: u64, round: u64) -> u64 {
    let query =
        format!("SELECT COUNT(*), MIN(batch), MAX(batch), COUNT(DISTINCT k) FROM state WHERE writer = {writer}");
    let row = numbers(sql, &query);
    if row[0] == 0 {
        return 0;
    }
    assert_eq!((row[0], row[3]), (ROWS, ROWS), "round {round}: writer {writer} has rows missing or twice: {row:?}");
    assert_eq!(row[1], row[2], "round {round}: writer {writer}'s batch is torn");
    row[1]
}

/// How many batches a writer of `log` has; every one must be whole, and none missing.
fn log_batches(sql: &mut MysqlClient, writer: u64, round: u64) -> u64 {
    let inner =
        format!("SELECT batch, COUNT(*) AS c, COUNT(DISTINCT n) AS d FROM log WHERE writer = {writer} GROUP BY batch");
    let row = numbers(
        sql,
        &format!(
            "SELECT COUNT(*), COALESCE(MAX(batch), 0), COALESCE(MIN(c), {ROWS}), COALESCE(MAX(c), {ROWS}), COALESCE(MIN(d), {ROWS}) FROM ({inner}) g"
        ),
    );
    assert_eq!(row[0], row[1], "round {round}: writer {writer} has a batch missing: {row:?}");
    assert_eq!(row[2..], [ROWS; 3], "round {round}: writer {writer} has a batch that is torn or doubled: {row:?}");
    row[1]
}

fn numbers(sql: &mut MysqlClient, query: &str) -> Vec<u64> {
    let result = sql.query(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    result.text()[0].iter().map(|text| text.parse().unwrap_or(0)).collect()
}
