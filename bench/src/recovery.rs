//! i: kill -9 to first query over a large primary-key table. j: bytes of the primary index per random BIGINT key.

use std::fmt::Write;
use std::time::{Duration, Instant};

use starling_tests::Server;
use starling_tests::server::DataDir;

use crate::report::Report;
use crate::{Scale, machine, target};

const CREATE: &str = "CREATE TABLE t (k BIGINT NOT NULL, v BIGINT) PRIMARY KEY(k) DISTRIBUTED BY HASH(k) BUCKETS 8";
/// Rows of one load.
const BATCH: u64 = 200_000;

pub fn run(cores: u16, scale: Scale, report: &mut Report) -> Result<(), String> {
    let (keys, rounds) = scale.pick((500_000, 3), (10_000_000, 3), (50_000_000, 3));
    let data = DataDir::new("bench-i");
    let mut server = target::start(&data, cores)?;
    fill(&server, keys)?;
    for round in 0..rounds {
        // Some commits that are not flushed yet, so that the log has something to say.
        let more: String = (0..1000).map(|n| format!("{},{round}\n", key(n))).collect();
        target::load(&server, "test.t", more.as_bytes())?;
        server.kill();
        let started = Instant::now();
        server = target::start(&data, cores)?;
        report.figure("kill_to_serving", started.elapsed().as_secs_f64(), "s", 1);
        let mut sql = target::database(&server, "test")?;
        let found = sql.query(&format!("SELECT v FROM t WHERE k = {}", key(7))).map_err(target::said)?.text();
        report.figure("kill_to_first_point_read", started.elapsed().as_secs_f64(), "s", 1);
        if found != [[round.to_string()]] {
            return Err(format!("the last commit before the kill is not there: {found:?}"));
        }
        let counted = sql.query("SELECT COUNT(*) FROM t").map_err(target::said)?.text();
        report.figure("kill_to_first_count", started.elapsed().as_secs_f64(), "s", 1);
        if counted != [[keys.to_string()]] {
            return Err(format!("{counted:?} rows, not {keys}"));
        }
    }
    Ok(())
}

pub fn index_bytes(cores: u16, scale: Scale, report: &mut Report) -> Result<(), String> {
    let steps: &[u64] =
        scale.pick(&[500_000, 1_000_000], &[1_000_000, 5_000_000, 10_000_000], &[1_000_000, 10_000_000, 50_000_000]);
    let data = DataDir::new("bench-j");
    let server = target::start(&data, cores)?;
    let before = machine::resident_bytes(server.pid());
    for &keys in steps {
        fill(&server, keys)?;
        // Flushes and compaction settle, so that the resident size is not of them.
        std::thread::sleep(Duration::from_secs(5));
        let bytes = target::metric(&server, "starling_index_bytes")?;
        report.figure(&format!("index_bytes_per_key_{keys}"), bytes / keys as f64, "bytes", keys);
        let resident = machine::resident_bytes(server.pid()).saturating_sub(before);
        report.figure(&format!("resident_bytes_per_row_{keys}"), resident as f64 / keys as f64, "bytes", keys);
    }
    Ok(())
}

/// Fills the table up to `keys` keys.
fn fill(server: &Server, keys: u64) -> Result<(), String> {
    let mut sql = target::database(server, "test")?;
    let there = match sql.query("SELECT COUNT(*) FROM t") {
        Ok(result) => result.text()[0][0].parse().unwrap_or(0),
        Err(_) => sql.query(CREATE).map(|_| 0).map_err(target::said)?,
    };
    for first in (there..keys).step_by(BATCH as usize) {
        let mut csv = String::with_capacity(BATCH as usize * 30);
        for n in first..keys.min(first + BATCH) {
            writeln!(csv, "{},{n}", key(n)).expect("writing to a String cannot fail");
        }
        target::load(server, "test.t", csv.as_bytes())?;
    }
    Ok(())
}

/// The n-th key: a bijection of 64 bits, so that keys are random and never twice (finaliser of splitmix64).
fn key(n: u64) -> i64 {
    let mut x = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ (x >> 31)) as i64
}
