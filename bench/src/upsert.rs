//! a3: durable upserts a second through Stream Load, over a table that is there already. The bodies are made before the clock starts.

use std::sync::Mutex;
use std::time::Instant;

use starling_tests::server::DataDir;

use crate::latency::Latencies;
use crate::orders::Orders;
use crate::report::Report;
use crate::{Scale, target};

/// Rows of one load.
const BATCH: u64 = 50_000;
/// Connections that load at once.
const CONNECTIONS: usize = 2;

pub fn run(cores: u16, scale: Scale, report: &mut Report) -> Result<(), String> {
    let (base, batches) = scale.pick((400_000, 20), (4_000_000, 80), (20_000_000, 160));
    let data = DataDir::new("bench-a3");
    let server = target::start(&data, cores)?;
    let (mut sql, mut orders) = target::filled(&server, base, BATCH, Orders::inserts)?;
    let bodies: Vec<String> = (0..batches).map(|_| orders.events(BATCH)).collect();
    let bytes: usize = bodies.iter().map(String::len).sum();
    let (cpu, started) = (target::cpu(&server), Instant::now());
    let latencies = send(&server, bodies)?;
    let (wall, cpu) = (started.elapsed().as_secs_f64(), target::cpu(&server) - cpu);
    let rows = (batches * BATCH) as f64;
    report.figure("upserts_per_core", rows / cpu, "rows/CPU-s", batches);
    report.figure("upserts_wall", rows / wall, "rows/s", batches);
    report.figure("bytes_per_core", bytes as f64 / cpu / 1e6, "MB/CPU-s", batches);
    latencies.report("load", report);
    let counted = sql.query("SELECT COUNT(*) FROM orders").map_err(target::said)?.text();
    match counted == [[orders.count.to_string()]] {
        true => Ok(()),
        false => Err(format!("the table holds {counted:?} rows, not {}: the figures are void", orders.count)),
    }
}

fn send(server: &starling_tests::Server, bodies: Vec<String>) -> Result<Latencies, String> {
    let (queue, all) = (Mutex::new(bodies), Mutex::new(Latencies::default()));
    let worker = || -> Result<(), String> {
        let mut mine = Latencies::default();
        loop {
            let next = queue.lock().ok().and_then(|mut queue| queue.pop());
            let Some(body) = next else { break };
            let started = Instant::now();
            target::load(server, "test.orders", body.as_bytes())?;
            mine.record(started.elapsed());
        }
        all.lock().map(|mut all| all.add(&mine)).map_err(|_| "a loader panicked".to_string())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a loader panicked".to_string())?)
    })?;
    all.into_inner().map_err(|_| "a loader panicked".into())
}
