//! Counters of a core, plain cells without sharing, and their Prometheus text. A scrape asks every core for a `CoreReport`; the core is a
//! label that is added then. Latencies are hdr histograms in microseconds, rendered as summaries.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use starling_storage::cache::CacheStats;
use starling_storage::ids::Seq;
use starling_storage::log::LogStats;

use crate::error::Result;
use crate::runtime::task::Held;
use crate::shard::Core;
use crate::shard::message::Control;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $metric:literal, $help:literal;)*) => {
        /// Counters of one core.
        pub struct CoreMetrics {
            $($(#[$doc])* pub $name: Cell<u64>,)*
            query_micros: RefCell<Histogram<u64>>,
            load_micros: RefCell<Histogram<u64>>,
        }

        impl Default for CoreMetrics {
            fn default() -> CoreMetrics {
                CoreMetrics { $($name: Cell::new(0),)* query_micros: histogram(), load_micros: histogram() }
            }
        }

        /// A copy of the counters of one core.
        #[derive(Debug, Clone)]
        pub struct Counters {
            $(pub $name: u64,)*
            pub query_micros: Histogram<u64>,
            pub load_micros: Histogram<u64>,
        }

        impl CoreMetrics {
            pub fn snapshot(&self) -> Counters {
                Counters {
                    $($name: self.$name.get(),)*
                    query_micros: self.query_micros.borrow().clone(),
                    load_micros: self.load_micros.borrow().clone(),
                }
            }
        }

        fn render_counters(text: &mut Text, reports: &[CoreReport]) {
            $(text.family($metric, "counter", $help, reports, |r| r.counters.$name);)*
        }
    };
}

counters! {
    queries = "starling_queries_total", "statements that read, finished";
    queries_failed = "starling_queries_failed_total", "statements that ended with an error";
    plans = "starling_plans_total", "statements planned from their syntax; the others ran by plans that were kept, or without";
    connections = "starling_connections_total", "connections accepted";
    loads = "starling_loads_total", "transactions committed";
    loads_failed = "starling_loads_failed_total", "transactions that failed or were aborted";
    loads_refused = "starling_loads_refused_memory_total", "stages refused because writes were over their memory";
    rows_loaded = "starling_rows_loaded_total", "rows of committed transactions";
    bytes_received = "starling_load_bytes_total", "bytes of load bodies received";
    changes_read_again = "starling_changes_read_again_total", "times an UPDATE or DELETE read again because what it had read was changed";
    applies = "starling_applies_total", "transactions applied";
    flushes = "starling_flushes_total", "memtables flushed to files";
    compactions = "starling_compactions_total", "compactions";
    rewrite_failures = "starling_rewrite_failures_total", "flushes and compactions that failed and will be tried again";
    files_removed = "starling_files_removed_total", "segment files removed";
}

fn histogram() -> RefCell<Histogram<u64>> {
    RefCell::new(Histogram::new_with_bounds(1, 3_600_000_000, 2).expect("the bounds are valid"))
}

fn add(counter: &Cell<u64>, by: u64) {
    counter.set(counter.get() + by);
}

impl CoreMetrics {
    pub fn query_finished(&self, took: Duration) {
        add(&self.queries, 1);
        self.query_micros.borrow_mut().saturating_record(took.as_micros() as u64);
    }

    pub fn query_failed(&self) {
        add(&self.queries_failed, 1);
    }

    pub(crate) fn planned(&self) {
        add(&self.plans, 1);
    }

    pub fn connection_accepted(&self) {
        add(&self.connections, 1);
    }

    pub fn load_bytes_received(&self, bytes: u64) {
        add(&self.bytes_received, bytes);
    }

    pub(crate) fn load_committed(&self, rows: u64, took: Duration) {
        add(&self.loads, 1);
        add(&self.rows_loaded, rows);
        self.load_micros.borrow_mut().saturating_record(took.as_micros() as u64);
    }

    pub(crate) fn load_failed(&self) {
        add(&self.loads_failed, 1);
    }

    pub(crate) fn load_refused_for_memory(&self) {
        add(&self.loads_refused, 1);
    }

    pub(crate) fn change_read_again(&self) {
        add(&self.changes_read_again, 1);
    }

    pub(crate) fn applied(&self) {
        add(&self.applies, 1);
    }

    pub(crate) fn flushed(&self) {
        add(&self.flushes, 1);
    }

    pub(crate) fn compacted(&self) {
        add(&self.compactions, 1);
    }

    pub(crate) fn rewrite_failed(&self) {
        add(&self.rewrite_failures, 1);
    }

    pub(crate) fn files_removed(&self, count: u64) {
        add(&self.files_removed, count);
    }
}

/// Sums over the tablets of a core.
#[derive(Debug, Clone, Copy, Default)]
pub struct TabletTotals {
    pub count: u64,
    pub live_rows: u64,
    pub dead_rows: u64,
    pub memtable_rows: u64,
    pub files: u64,
    pub file_bytes: u64,
    pub memory_bytes: u64,
    pub index_bytes: u64,
}

/// What one core reports of itself.
#[derive(Debug, Clone)]
pub struct CoreReport {
    pub core: u16,
    pub counters: Counters,
    pub tablets: TabletTotals,
    pub cache: CacheStats,
    pub log: LogStats,
    pub write_memory: u64,
    pub write_memory_max: u64,
    pub staged: u64,
    pub sessions: u64,
    pub pins: u64,
    pub pins_expired: u64,
    /// Numbers between W and the oldest pin.
    pub pin_age: u64,
    pub watermark: Seq,
    pub commits_in_flight: u64,
    pub numbers_in_flight: u64,
    pub polls: u64,
    pub long_polls: u64,
    pub longest_poll_micros: u64,
    /// Polls over 2 ms of CPU time, by task (P7).
    pub held: BTreeMap<&'static str, Held>,
    pub stalls: Histogram<u64>,
    pub gaps: Histogram<u64>,
    pub pauses: u64,
}

/// Gathers from every core and renders the text that `/metrics` answers.
pub async fn scrape(core: &Rc<Core>) -> Result<String> {
    let reports = core.ask_all(|reply| Control::Report { reply }).await?;
    Ok(render(&reports))
}

/// Gathers from every core.
pub async fn reports(core: &Rc<Core>) -> Result<Vec<CoreReport>> {
    core.ask_all(|reply| Control::Report { reply }).await
}

/// Prometheus text format, version 0.0.4.
pub fn render(reports: &[CoreReport]) -> String {
    let mut text = Text(String::new());
    render_counters(&mut text, reports);
    render_storage(&mut text, reports);
    render_runtime(&mut text, reports);
    text.summary("starling_query_seconds", "time from statement to its last row", reports, |r| {
        &r.counters.query_micros
    });
    text.summary("starling_load_seconds", "time from begin to durable", reports, |r| &r.counters.load_micros);
    text.0
}

fn render_storage(text: &mut Text, reports: &[CoreReport]) {
    let mut gauge = |name, help, value: fn(&CoreReport) -> u64| text.family(name, "gauge", help, reports, value);
    gauge("starling_tablets", "tablets owned", |r| r.tablets.count);
    gauge("starling_rows_live", "rows that newest snapshots see", |r| r.tablets.live_rows);
    gauge("starling_rows_dead", "dead rows that still take space", |r| r.tablets.dead_rows);
    gauge("starling_memtable_rows", "rows in memtables", |r| r.tablets.memtable_rows);
    gauge("starling_segment_files", "segment files", |r| r.tablets.files);
    gauge("starling_segment_bytes", "bytes of segment files", |r| r.tablets.file_bytes);
    gauge("starling_tablet_memory_bytes", "bytes of memtables, indexes and delete vectors", |r| r.tablets.memory_bytes);
    gauge("starling_index_bytes", "bytes of primary indexes", |r| r.tablets.index_bytes);
    gauge("starling_write_memory_bytes", "bytes of memtables and staged rows", |r| r.write_memory);
    gauge("starling_write_memory_max_bytes", "their limit", |r| r.write_memory_max);
    gauge("starling_cache_bytes", "bytes of the page cache", |r| r.cache.bytes as u64);
    gauge("starling_log_segments", "log segments that hold records", |r| r.log.segments);
    gauge("starling_log_segment_bytes", "bytes of these segments", |r| r.log.segment_bytes);
    text.seconds("starling_log_sync_seconds", "last write and fdatasync of the log", reports, |r| {
        r.log.last_sync_micros
    });
    let mut counter = |name, help, value: fn(&CoreReport) -> u64| text.family(name, "counter", help, reports, value);
    counter("starling_cache_hits_total", "pages found in the cache", |r| r.cache.hits);
    counter("starling_cache_misses_total", "pages read from files", |r| r.cache.misses);
    counter("starling_log_records_total", "records appended", |r| r.log.records);
    counter("starling_log_groups_total", "groups synced", |r| r.log.groups);
    counter("starling_log_bytes_total", "bytes written to the log", |r| r.log.bytes);
    counter("starling_log_recycled_total", "segments recycled", |r| r.log.recycled);
}

fn render_runtime(text: &mut Text, reports: &[CoreReport]) {
    let mut gauge = |name, help, value: fn(&CoreReport) -> u64| text.family(name, "gauge", help, reports, value);
    gauge("starling_sessions", "open connections", |r| r.sessions);
    gauge("starling_pins", "snapshots in use", |r| r.pins);
    gauge("starling_pin_age_commits", "commits between W and the oldest pin", |r| r.pin_age);
    gauge("starling_watermark", "W, the last visible commit", |r| r.watermark.0);
    gauge("starling_staged_transactions", "transactions staged and not yet applied", |r| r.staged);
    gauge("starling_commits_in_flight", "commits between number and visible", |r| r.commits_in_flight);
    gauge("starling_numbers_in_flight", "numbers issued and not yet visible (core 0)", |r| r.numbers_in_flight);
    let longest = |r: &CoreReport| r.longest_poll_micros;
    text.seconds("starling_poll_longest_seconds", "longest task poll by the wall clock", reports, longest);
    let mut counter = |name, help, value: fn(&CoreReport) -> u64| text.family(name, "counter", help, reports, value);
    counter("starling_polls_total", "task polls", |r| r.polls);
    counter("starling_polls_long_total", "task polls over 2 ms by the wall clock", |r| r.long_polls);
    counter("starling_snapshots_too_old_total", "snapshots that were too old to be kept", |r| r.pins_expired);
    counter("starling_pauses_total", "times the reactor slept for the slow lane", |r| r.pauses);
    counter("starling_polls_long_cpu_total", "task polls over 2 ms of CPU time", |r| {
        r.held.values().map(|held| held.polls).sum()
    });
    text.by_task("starling_task_long_polls_total", "counter", "polls over 2 ms of CPU time by task", reports, |h| {
        h.polls as f64
    });
    text.by_task("starling_task_longest_poll_seconds", "gauge", "longest of these polls by CPU time", reports, |h| {
        h.longest_micros as f64 / 1e6
    });
    text.summary("starling_poll_cpu_seconds", "CPU time of task polls, sampled", reports, |r| &r.stalls);
    text.summary("starling_poll_off_cpu_seconds", "time off the CPU within a poll, sampled", reports, |r| &r.gaps);
}

/// Prometheus text under construction.
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn line(&mut self, line: impl Display) {
        writeln!(self.0, "{line}").expect("a string takes what is written");
    }

    fn family(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        reports: &[CoreReport],
        value: impl Fn(&CoreReport) -> u64,
    ) {
        self.head(name, kind, help);
        for report in reports {
            self.line(format_args!("{name}{{core=\"{}\"}} {}", report.core, value(report)));
        }
    }

    /// A gauge of a time, from microseconds: Prometheus counts time in seconds.
    fn seconds(&mut self, name: &str, help: &str, reports: &[CoreReport], micros: impl Fn(&CoreReport) -> u64) {
        self.head(name, "gauge", help);
        for report in reports {
            self.line(format_args!("{name}{{core=\"{}\"}} {}", report.core, micros(report) as f64 / 1e6));
        }
    }

    fn by_task(&mut self, name: &str, kind: &str, help: &str, reports: &[CoreReport], value: impl Fn(&Held) -> f64) {
        self.head(name, kind, help);
        for report in reports {
            for (task, held) in &report.held {
                self.line(format_args!("{name}{{core=\"{}\",task=\"{task}\"}} {}", report.core, value(held)));
            }
        }
    }

    fn summary<'a>(
        &mut self,
        name: &str,
        help: &str,
        reports: &'a [CoreReport],
        histogram: impl Fn(&'a CoreReport) -> &'a Histogram<u64>,
    ) {
        self.head(name, "summary", help);
        for report in reports {
            let (core, h) = (report.core, histogram(report));
            for quantile in [0.5, 0.9, 0.99, 0.999, 1.0] {
                let seconds = h.value_at_quantile(quantile) as f64 / 1e6;
                self.line(format_args!("{name}{{core=\"{core}\",quantile=\"{quantile}\"}} {seconds}"));
            }
            let sum = h.mean() * h.len() as f64 / 1e6;
            self.line(format_args!("{name}_sum{{core=\"{core}\"}} {sum}"));
            self.line(format_args!("{name}_count{{core=\"{core}\"}} {}", h.len()));
        }
    }
}
