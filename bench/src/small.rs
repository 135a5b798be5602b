//! c2: small durable commits, one-row INSERTs over MySQL.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use starling_tests::Server;
use starling_tests::server::DataDir;

use crate::latency::Latencies;
use crate::report::Report;
use crate::{Scale, target};

/// Clients that commit at once.
const CLIENTS: u64 = 64;

pub fn run(cores: u16, scale: Scale, report: &mut Report) -> Result<(), String> {
    let (alone, seconds) = scale.pick((2_000, 5), (10_000, 20), (50_000, 60));
    let data = DataDir::new("bench-c2");
    let server = target::start(&data, cores)?;
    let mut sql = target::database(&server, "test")?;
    sql.query("CREATE TABLE t (k BIGINT NOT NULL, v VARCHAR(20)) PRIMARY KEY(k) DISTRIBUTED BY HASH(k) BUCKETS 4")
        .map_err(target::said)?;
    let next = AtomicU64::new(0);
    let mut one = Latencies::default();
    for _ in 0..alone {
        insert(&mut sql, &next, &mut one)?;
    }
    one.report("insert_idle", report);
    let (cpu, started) = (target::cpu(&server), Instant::now());
    let many = flood(&server, &next, Duration::from_secs(seconds))?;
    let (wall, cpu) = (started.elapsed().as_secs_f64(), target::cpu(&server) - cpu);
    report.figure("commits_64_clients", many.count() as f64 / wall, "commits/s", many.count());
    report.figure("commits_per_core", many.count() as f64 / cpu, "commits/CPU-s", many.count());
    many.report("insert_64_clients", report);
    let counted = sql.query("SELECT COUNT(*) FROM t").map_err(target::said)?.text();
    match counted == [[next.load(Ordering::Relaxed).to_string()]] {
        true => Ok(()),
        false => Err(format!("the table holds {counted:?} rows, not {next:?}: the figures are void")),
    }
}

fn insert(
    sql: &mut starling_wire::client::MysqlClient,
    next: &AtomicU64,
    latencies: &mut Latencies,
) -> Result<(), String> {
    let key = next.fetch_add(1, Ordering::Relaxed);
    let started = Instant::now();
    sql.query(&format!("INSERT INTO t VALUES ({key}, 'value {key}')")).map_err(target::said)?;
    latencies.record(started.elapsed());
    Ok(())
}

fn flood(server: &Server, next: &AtomicU64, time: Duration) -> Result<Latencies, String> {
    let end = Instant::now() + time;
    let client = || -> Result<Latencies, String> {
        let (mut sql, mut mine) = (target::database(server, "test")?, Latencies::default());
        while Instant::now() < end {
            insert(&mut sql, next, &mut mine)?;
        }
        Ok(mine)
    };
    let mut all = Latencies::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        for thread in threads {
            all.add(&thread.join().map_err(|_| "a client panicked".to_string())??);
        }
        Ok::<(), String>(())
    })?;
    Ok(all)
}
