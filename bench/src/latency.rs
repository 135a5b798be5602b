//! Latencies of many threads.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::plot;
use crate::report::{Curve, Report};

/// Latencies in nanoseconds.
#[derive(Clone)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies(Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("the bounds are valid"))
    }
}

impl Latencies {
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(latency.as_nanos() as u64);
    }

    pub fn add(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("both histograms have the same bounds");
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Milliseconds at a quantile.
    pub fn at(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e6
    }

    /// p50, p99, p99.9 and the greatest as figures, all quantiles as a curve.
    pub fn report(&self, name: &str, report: &mut Report) {
        for (suffix, quantile) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)] {
            report.figure(&format!("{name}_{suffix}"), self.at(quantile), "ms", self.count());
        }
        // The greatest of n stands for the quantile 1 - 1/n; beyond it there is nothing to draw.
        let last = 1.0 - 1.0 / self.count().max(1) as f64;
        let points = plot::quantiles().into_iter().filter(|q| *q <= last).map(|q| (q, self.at(q))).collect();
        report.curve(Curve { name: name.to_string(), points });
    }
}
