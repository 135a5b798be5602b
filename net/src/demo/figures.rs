//! What the demo measures, shared by its threads. A lock is fine here: these are clients, not cores.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Batches sent and not yet seen; more than this are given up on.
const WAITING_MAX: usize = 10_000;

/// Latencies of one kind, in microseconds.
#[derive(Clone)]
pub(super) struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies(Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are valid"))
    }
}

impl Latencies {
    fn record(&mut self, latency: Duration) {
        self.0.saturating_record(latency.as_micros() as u64);
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// Milliseconds at a quantile, 0 to 1.
    pub(super) fn at(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1000.0
    }
}

/// A second, or the whole run.
#[derive(Clone, Default)]
pub(super) struct Slice {
    pub(super) rows: u64,
    /// A batch from sent to seen by a query.
    pub(super) freshness: Latencies,
    /// A load from sent to answered.
    pub(super) loads: Latencies,
    /// A query from sent to its last row.
    pub(super) queries: Latencies,
}

#[derive(Default)]
struct State {
    second: Slice,
    whole: Slice,
    history: u64,
    waiting: VecDeque<(u64, Instant)>,
    began: Option<Instant>,
}

/// All figures.
#[derive(Default)]
pub(super) struct Figures(Mutex<State>);

impl Figures {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn history_rows(&self, rows: u64) {
        self.state().history += rows;
    }

    pub(super) fn batch_sent(&self, number: u64, at: Instant) {
        let mut state = self.state();
        state.began.get_or_insert(at);
        state.waiting.push_back((number, at));
        if state.waiting.len() > WAITING_MAX {
            state.waiting.pop_front();
        }
    }

    pub(super) fn loaded(&self, rows: u64, latency: Duration) {
        let state = &mut *self.state();
        for slice in [&mut state.second, &mut state.whole] {
            slice.rows += rows;
            slice.loads.record(latency);
        }
    }

    pub(super) fn batch_seen(&self, number: u64, at: Instant) {
        let state = &mut *self.state();
        while let Some((waiting, sent)) = state.waiting.front().copied().filter(|(waiting, _)| *waiting <= number) {
            state.waiting.pop_front();
            // A batch that a newer one overtook between two looks was fresh by then; its own moment is not known.
            if waiting == number {
                for slice in [&mut state.second, &mut state.whole] {
                    slice.freshness.record(at.saturating_duration_since(sent));
                }
            }
        }
    }

    pub(super) fn queried(&self, latency: Duration) {
        let state = &mut *self.state();
        for slice in [&mut state.second, &mut state.whole] {
            slice.queries.record(latency);
        }
    }

    /// What happened since the last call.
    pub(super) fn second(&self) -> Slice {
        std::mem::take(&mut self.state().second)
    }

    /// The whole run, and how long it has been.
    pub(super) fn whole(&self) -> (Slice, Duration) {
        let state = self.state();
        (state.whole.clone(), state.began.map_or(Duration::ZERO, |began| began.elapsed()))
    }

    pub(super) fn history(&self) -> u64 {
        self.state().history
    }
}
