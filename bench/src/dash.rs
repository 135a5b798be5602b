//! Dashboard queries while orders are imported at a fixed rate, against the same queries when nothing else happens.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use starling_tests::Server;
use starling_tests::server::DataDir;
use starling_wire::client::MysqlClient;

use crate::latency::Latencies;
use crate::orders::Orders;
use crate::report::Report;
use crate::{Scale, target};

const QUERIES: [(&str, &str); 4] = [
    (
        "status_sums",
        "SELECT status, COUNT(*), SUM(amount) FROM orders WHERE dt >= '2026-01-06' GROUP BY status ORDER BY status",
    ),
    (
        "top_cities",
        "SELECT city, COUNT(*) AS c FROM orders WHERE status = 3 AND dt >= '2026-01-13' GROUP BY city ORDER BY c DESC, city LIMIT 10",
    ),
    ("merchant_days", "SELECT dt, SUM(amount) FROM orders WHERE merchant_id = 42 GROUP BY dt ORDER BY dt"),
    ("point", "SELECT status, amount FROM orders WHERE order_id = 4242"),
];
/// Rows a second that are imported meanwhile.
const RATE: u64 = 50_000;
/// Loads a second.
const LOADS: u64 = 10;

pub fn run(cores: u16, scale: Scale, report: &mut Report) -> Result<(), String> {
    let (rows, rounds) = scale.pick((400_000, 100), (4_000_000, 200), (20_000_000, 500));
    let data = DataDir::new("bench-dash");
    let server = target::start(&data, cores)?;
    // All statuses from the start: else a query for one that the imports bring is compared with reading nothing.
    let (mut sql, mut orders) = target::filled(&server, rows, 100_000, Orders::settled)?;
    std::thread::sleep(Duration::from_secs(3));
    let idle = measure(&mut sql, rounds)?;
    let stop = AtomicBool::new(false);
    let (busy, imported) = std::thread::scope(|scope| {
        let import = scope.spawn(|| import(&server, &mut orders, &stop));
        let busy = measure(&mut sql, rounds);
        stop.store(true, Ordering::Release);
        (busy, import.join().map_err(|_| "the importer panicked".to_string()))
    });
    let (busy, imported) = (busy?, imported??);
    report.figure("imported", imported, "rows/s", 1);
    for (number, (name, _)) in QUERIES.iter().enumerate() {
        idle[number].report(&format!("{name}_idle"), report);
        busy[number].report(&format!("{name}_during_imports"), report);
        report.figure(&format!("{name}_slowdown_p50"), busy[number].at(0.5) / idle[number].at(0.5), "x", rounds);
    }
    Ok(())
}

fn measure(sql: &mut MysqlClient, rounds: u64) -> Result<Vec<Latencies>, String> {
    let mut all = vec![Latencies::default(); QUERIES.len()];
    for _ in 0..rounds {
        for ((_, query), latencies) in QUERIES.iter().zip(&mut all) {
            let started = Instant::now();
            sql.query(query).map_err(target::said)?;
            latencies.record(started.elapsed());
        }
    }
    Ok(all)
}

/// Imports at the fixed rate until told to stop; gives the rate it reached.
fn import(server: &Server, orders: &mut Orders, stop: &AtomicBool) -> Result<f64, String> {
    let started = Instant::now();
    let mut loads = 0;
    while !stop.load(Ordering::Acquire) {
        let due = started + Duration::from_secs(1) * loads as u32 / LOADS as u32;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let csv = orders.events(RATE / LOADS);
        target::load(server, "test.orders", csv.as_bytes())?;
        loads += 1;
    }
    Ok((loads * (RATE / LOADS)) as f64 / started.elapsed().as_secs_f64())
}
