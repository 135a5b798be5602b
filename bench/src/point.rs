//! d1: prepared point reads by primary key, binary protocol, closed loop, by number of connections.

use std::time::{Duration, Instant};

use starling_tests::server::DataDir;
use starling_tests::{Random, Server};
use starling_wire::value::Value;

use crate::latency::Latencies;
use crate::orders::Orders;
use crate::report::Report;
use crate::{Scale, target};

const QUERY: &str = "SELECT user_id, status, amount, updated, sku FROM orders WHERE order_id = ?";
/// The tail within which a rate counts.
const P99_MS: f64 = 5.0;

pub fn run(cores: u16, scale: Scale, report: &mut Report) -> Result<(), String> {
    let (rows, seconds) = scale.pick((200_000, 2), (4_000_000, 5), (20_000_000, 20));
    let data = DataDir::new("bench-d1");
    let server = target::start(&data, cores)?;
    target::filled(&server, rows, 100_000, Orders::inserts)?;
    let mut best = 0.0f64;
    for connections in [1, 4, 16, 32, 64, 128] {
        let (cpu, started) = (target::cpu(&server), Instant::now());
        let latencies = read(&server, rows, connections, Duration::from_secs(seconds))?;
        let (wall, cpu) = (started.elapsed().as_secs_f64(), target::cpu(&server) - cpu);
        let rate = latencies.count() as f64 / wall;
        report.figure(&format!("qps_{connections}_connections"), rate, "queries/s", latencies.count());
        report.figure(
            &format!("qps_per_core_{connections}_connections"),
            latencies.count() as f64 / cpu,
            "queries/CPU-s",
            latencies.count(),
        );
        latencies.report(&format!("read_{connections}_connections"), report);
        if latencies.at(0.99) <= P99_MS {
            best = best.max(rate);
        }
    }
    report.figure("qps_at_p99_5ms", best, "queries/s", 1);
    Ok(())
}

fn read(server: &Server, rows: u64, connections: u64, time: Duration) -> Result<Latencies, String> {
    let end = Instant::now() + time;
    let client = |seed: u64| -> Result<Latencies, String> {
        let (mut random, mut mine) = (Random::new(seed + 1), Latencies::default());
        let mut sql = target::database(server, "test")?;
        let statement = sql.prepare(QUERY).map_err(target::said)?;
        while Instant::now() < end {
            let key = Value::Int(random.below(rows) as i64);
            let started = Instant::now();
            let result = sql.execute(&statement, &[key]).map_err(target::said)?;
            mine.record(started.elapsed());
            if result.rows.len() != 1 {
                return Err(format!("a key that is there gave {} rows", result.rows.len()));
            }
        }
        Ok(mine)
    };
    let mut all = Latencies::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..connections).map(|seed| scope.spawn(move || client(seed))).collect();
        for thread in threads {
            all.add(&thread.join().map_err(|_| "a client panicked".to_string())??);
        }
        Ok::<(), String>(())
    })?;
    Ok(all)
}
