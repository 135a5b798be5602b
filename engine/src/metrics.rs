//! Counters of a core: plain cells, no sharing. Scraping gathers a copy from every core and renders Prometheus text.

use std::cell::Cell;

/// Counters of one core.
#[derive(Default)]
pub struct CoreMetrics {
    pub queries: Cell<u64>,
}
