//! What the edges count. Counters are relaxed atomics, one block a core, written by that core only; a scrape or COM_STATISTICS on any
//! core reads them all (metric counters are on the short list of memory that cores share).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use starling_storage::ids::CoreId;

/// Counters of one core.
#[derive(Debug, Default)]
pub struct CoreStats {
    /// MySQL connections open now; the acceptor adds, the core subtracts.
    pub mysql_open: AtomicU64,
    /// HTTP connections open now.
    pub http_open: AtomicU64,
    /// Commands of MySQL clients.
    pub commands: AtomicU64,
    /// Statements run, text and prepared.
    pub statements: AtomicU64,
    /// Logins refused.
    pub logins_refused: AtomicU64,
    /// Rows of results sent.
    pub rows_sent: AtomicU64,
    /// Bytes received and sent on sockets of either protocol.
    pub bytes_received: AtomicU64,
    /// See `bytes_received`.
    pub bytes_sent: AtomicU64,
    /// Sessions ended because a send was stuck.
    pub sends_stuck: AtomicU64,
    /// HTTP requests.
    pub http_requests: AtomicU64,
    /// Panics caught in sessions and requests.
    pub panics: AtomicU64,
}

/// Adds to a counter.
pub fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// The counters of all cores.
#[derive(Debug)]
pub struct Stats {
    cores: Vec<CoreStats>,
    started: Instant,
}

impl Stats {
    pub fn new(cores: u16) -> Arc<Stats> {
        Arc::new(Stats { cores: (0..cores).map(|_| CoreStats::default()).collect(), started: Instant::now() })
    }

    /// The counters of `core`, which the caller knows to exist.
    pub fn core(&self, core: CoreId) -> &CoreStats {
        &self.cores[usize::from(core.0)]
    }

    pub fn cores(&self) -> &[CoreStats] {
        &self.cores
    }

    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The sum of one counter over all cores.
    pub fn sum(&self, of: impl Fn(&CoreStats) -> &AtomicU64) -> u64 {
        self.cores.iter().map(|core| of(core).load(Ordering::Relaxed)).sum()
    }

    /// The counters as Prometheus text.
    pub fn prometheus(&self, out: &mut String) {
        type Field = fn(&CoreStats) -> &AtomicU64;
        let fields: [(&str, &str, &str, Field); 11] = [
            ("mysql_connections", "gauge", "MySQL connections open now", |s| &s.mysql_open),
            ("http_connections", "gauge", "HTTP connections open now", |s| &s.http_open),
            ("mysql_commands_total", "counter", "Commands of MySQL clients", |s| &s.commands),
            ("mysql_statements_total", "counter", "Statements run", |s| &s.statements),
            ("mysql_logins_refused_total", "counter", "Logins refused", |s| &s.logins_refused),
            ("mysql_rows_sent_total", "counter", "Rows of results sent", |s| &s.rows_sent),
            ("net_bytes_received_total", "counter", "Bytes received from clients", |s| &s.bytes_received),
            ("net_bytes_sent_total", "counter", "Bytes sent to clients", |s| &s.bytes_sent),
            ("net_sends_stuck_total", "counter", "Connections ended because a send was stuck", |s| &s.sends_stuck),
            ("http_requests_total", "counter", "HTTP requests", |s| &s.http_requests),
            ("net_panics_total", "counter", "Panics caught in sessions and requests", |s| &s.panics),
        ];
        for (name, kind, help, field) in fields {
            out.push_str(&format!("# HELP starling_{name} {help}\n# TYPE starling_{name} {kind}\n"));
            for (core, stats) in self.cores.iter().enumerate() {
                let value = field(stats).load(Ordering::Relaxed);
                out.push_str(&format!("starling_{name}{{core=\"{core}\"}} {value}\n"));
            }
        }
        let uptime = self.uptime().as_secs_f64();
        out.push_str("# HELP starling_uptime_seconds Seconds since the start\n# TYPE starling_uptime_seconds gauge\n");
        out.push_str(&format!("starling_uptime_seconds {uptime:.3}\n"));
    }
}
