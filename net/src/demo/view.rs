//! What a person sees: on a terminal a picture that is drawn anew each second, elsewhere one line a second, and a summary at the end.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write, stdout};
use std::net::SocketAddr;

use super::figures::{Figures, Latencies, Slice};

/// Seconds the curves go back.
const CURVE_SECONDS: usize = 60;
/// Eight heights of a bar.
const BARS: [char; 8] =
    ['\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}'];

/// One line, at once; a closed standard output is no reason to stop.
pub(super) fn say(line: &str) {
    let mut out = stdout().lock();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

/// How to look at it with one's own client.
pub(super) fn invite(mysql: SocketAddr) {
    say(&format!("open to any MySQL client: mysql -h {} -P {} -u root demo", mysql.ip(), mysql.port()));
}

/// The live view.
pub(super) struct View {
    terminal: bool,
    mysql: SocketAddr,
    rate: u32,
    rows: Curve,
    freshness: Curve,
    queries: Curve,
    cpus: Cpus,
}

impl View {
    pub(super) fn new(mysql: SocketAddr, rate: u32) -> View {
        let mut cpus = Cpus::default();
        // The first second is measured from here.
        cpus.busy();
        View {
            terminal: stdout().is_terminal(),
            mysql,
            rate,
            rows: Curve::default(),
            freshness: Curve::default(),
            queries: Curve::default(),
            cpus,
        }
    }

    pub(super) fn show(&mut self, second: u64, slice: &Slice) {
        self.rows.push(slice.rows as f64);
        self.freshness.push(slice.freshness.at(0.99));
        self.queries.push(slice.queries.at(0.99));
        let cores = self.cpus.busy();
        if self.terminal { self.draw(second, slice, &cores) } else { line(second, slice, &cores) }
    }

    fn draw(&self, second: u64, slice: &Slice, cores: &[f64]) {
        let mut text = String::from("\x1b[H\x1b[2J");
        text.push_str(&format!("Starling demo, {second} s: orders updated at {} events/s asked for\n\n", self.rate));
        text.push_str(&format!("rows/s            {:>9}  {}\n", slice.rows, self.rows.draw()));
        text.push_str(&format!("{:<17} {:>6} /{:>6} /{:>6}\n", "", "p50", "p99", "p99.9"));
        for (name, latencies, curve) in [
            ("row to dashboard", &slice.freshness, Some(&self.freshness)),
            ("dashboard query", &slice.queries, Some(&self.queries)),
            ("load", &slice.loads, None),
        ] {
            text.push_str(&format!("{name:<17} {}", quantiles(latencies)));
            text.push_str(&curve.map_or(String::new(), |curve| format!("  p99 {}", curve.draw())));
            text.push('\n');
        }
        text.push('\n');
        for (core, busy) in cores.iter().enumerate() {
            let full = (busy / 100.0 * 40.0).round() as usize;
            text.push_str(&format!(
                "CPU {core:<3} {busy:>4.0} % |{}{}|\n",
                "#".repeat(full),
                " ".repeat(40 - full.min(40))
            ));
        }
        text.push_str(&format!(
            "\nlook yourself: mysql -h {} -P {} -u root demo\nCtrl-C ends.\n",
            self.mysql.ip(),
            self.mysql.port()
        ));
        let mut out = stdout().lock();
        drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    }
}

fn line(second: u64, slice: &Slice, cores: &[f64]) {
    let cores = cores.iter().map(|busy| format!("{busy:.0}%")).collect::<Vec<_>>().join(" ");
    say(&format!(
        "{second:>4} s  rows/s {:>8}  fresh {}  query {}  load {}  cpu {cores}",
        slice.rows,
        quantiles(&slice.freshness),
        quantiles(&slice.queries),
        quantiles(&slice.loads)
    ));
}

/// `p50 / p99 / p99.9 ms`.
fn quantiles(latencies: &Latencies) -> String {
    match latencies.count() {
        0 => format!("{:>25}", "-"),
        _ => format!("{:>6.2} /{:>6.2} /{:>6.2} ms", latencies.at(0.5), latencies.at(0.99), latencies.at(0.999)),
    }
}

/// What the run came to.
pub(super) fn summary(figures: &Figures) {
    let (whole, time) = figures.whole();
    let seconds = time.as_secs_f64().max(1e-9);
    say(&format!("\nsummary of {seconds:.1} s over {} orders of history", figures.history()));
    say(&format!("rows upserted     {} ({:.0} a second)", whole.rows, whole.rows as f64 / seconds));
    for (name, latencies) in
        [("row to dashboard", &whole.freshness), ("dashboard query", &whole.queries), ("load", &whole.loads)]
    {
        say(&format!("{name:<17} {}  (p50 / p99 / p99.9, n = {})", quantiles(latencies), latencies.count()));
    }
}

/// The last minute of one figure.
#[derive(Default)]
struct Curve(VecDeque<f64>);

impl Curve {
    fn push(&mut self, value: f64) {
        self.0.push_back(value);
        if self.0.len() > CURVE_SECONDS {
            self.0.pop_front();
        }
    }

    /// Bars from zero to the greatest value, which is written behind them.
    fn draw(&self) -> String {
        let top = self.0.iter().copied().fold(0.0, f64::max);
        let bar = |value: &f64| match top > 0.0 {
            true => BARS[((value / top * 7.0).round() as usize).min(7)],
            false => BARS[0],
        };
        format!("{} max {top:.1}", self.0.iter().map(bar).collect::<String>())
    }
}

/// How busy each CPU was, from the kernel's own account.
#[derive(Default)]
struct Cpus {
    before: Vec<(u64, u64)>,
}

impl Cpus {
    /// Percent busy per CPU since the last call; empty where the kernel does not say.
    fn busy(&mut self) -> Vec<f64> {
        let now: Vec<(u64, u64)> = std::fs::read_to_string("/proc/stat")
            .unwrap_or_default()
            .lines()
            .filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "))
            .map(busy_and_all)
            .collect();
        let percent = |(after, before): (&(u64, u64), &(u64, u64))| {
            let all = after.1.saturating_sub(before.1).max(1);
            after.0.saturating_sub(before.0) as f64 * 100.0 / all as f64
        };
        let busy = now.iter().zip(&self.before).map(percent).collect();
        self.before = now;
        busy
    }
}

/// Ticks of a `/proc/stat` line: busy, and all. Fields: user nice system idle iowait irq softirq steal.
fn busy_and_all(line: &str) -> (u64, u64) {
    let ticks: Vec<u64> = line.split_ascii_whitespace().skip(1).take(8).filter_map(|t| t.parse().ok()).collect();
    let all = ticks.iter().sum::<u64>();
    let idle = ticks.iter().skip(3).take(2).sum::<u64>();
    (all - idle, all)
}
