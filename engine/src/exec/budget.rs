//! What queries may use: memory, and places in the slow lane. Both are granted by the session's core, for all cores, before any fragment
//! starts, so that no two queries wait for each other half-way.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool, MemoryReservation};

use crate::limits::SLOW_LANE_TASKS_MAX;
use crate::runtime::event::Event;

/// The share of one core in what queries may use. Queries whose session is on this core draw from it, wherever their fragments run.
pub struct Budget {
    memory: Arc<Memory>,
    fragments: Cell<usize>,
    fragments_max: usize,
    freed: Event,
}

#[derive(Debug)]
struct Memory {
    used: AtomicUsize,
    max: usize,
}

impl Budget {
    /// `memory` in bytes, for this core's sessions.
    pub fn new(memory: usize, cores: u16) -> Rc<Budget> {
        // Half of the places, because a fragment whose query is over keeps its place until its next poll.
        let fragments_max = (SLOW_LANE_TASKS_MAX / 2 / usize::from(cores.max(1))).max(1);
        let memory = Arc::new(Memory { used: AtomicUsize::new(0), max: memory });
        Rc::new(Budget { memory, fragments: Cell::new(0), fragments_max, freed: Event::new() })
    }

    /// Waits for the places of a query with so many fragments in the slow lane.
    pub async fn admit(self: &Rc<Budget>, fragments: usize) -> Admission {
        let places = fragments.min(self.fragments_max);
        let fits = || {
            let used = self.fragments.get() + places;
            (used <= self.fragments_max).then(|| self.fragments.set(used))
        };
        self.freed.until(fits).await;
        Admission { of: self.clone(), places }
    }

    /// A pool for one query: bounded by its own limit and by what is left of the core's share.
    pub fn pool(&self, limit: usize) -> Arc<dyn MemoryPool> {
        Arc::new(QueryPool { used: AtomicUsize::new(0), max: limit, core: self.memory.clone() })
    }

    /// Bytes reserved by running queries.
    pub fn memory_used(&self) -> usize {
        self.memory.used.load(Ordering::Relaxed)
    }
}

/// The places of one query.
#[must_use]
pub struct Admission {
    of: Rc<Budget>,
    places: usize,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.of.fragments.set(self.of.fragments.get() - self.places);
        self.of.freed.notify();
    }
}

#[derive(Debug)]
struct QueryPool {
    used: AtomicUsize,
    max: usize,
    core: Arc<Memory>,
}

/// Adds when the sum stays within `max`.
fn add_within(used: &AtomicUsize, bytes: usize, max: usize) -> std::result::Result<(), usize> {
    let add = |now: usize| now.checked_add(bytes).filter(|&sum| sum <= max);
    used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).map(|_| ())
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &str {
        "query"
    }

    fn grow(&self, _reservation: &MemoryReservation, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        self.core.used.fetch_add(bytes, Ordering::Relaxed);
    }

    fn shrink(&self, _reservation: &MemoryReservation, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.core.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn try_grow(&self, _reservation: &MemoryReservation, bytes: usize) -> Result<()> {
        let refused =
            |used: usize, max: usize| DataFusionError::ResourcesExhausted(format!("{bytes} more than {used} of {max}"));
        add_within(&self.used, bytes, self.max).map_err(|used| refused(used, self.max))?;
        add_within(&self.core.used, bytes, self.core.max).map_err(|used| {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            refused(used, self.core.max)
        })
    }

    fn reserved(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.max.min(self.core.max))
    }
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "query pool, {} of {} bytes", self.reserved(), self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::execution::memory_pool::MemoryConsumer;
    use futures::FutureExt;

    #[test]
    fn queries_share_the_core_and_keep_their_own_limit() {
        let budget = Budget::new(100, 1);
        let (one, two) = (budget.pool(80), budget.pool(1000));
        let (a, b) = (MemoryConsumer::new("a").register(&one), MemoryConsumer::new("b").register(&two));
        assert!(a.try_grow(81).is_err() && budget.memory_used() == 0);
        a.try_grow(80).unwrap();
        assert!(b.try_grow(21).is_err() && two.reserved() == 0);
        b.try_grow(20).unwrap();
        drop(a);
        b.try_grow(80).unwrap();
        assert_eq!(budget.memory_used(), 100);
        b.free();
        assert_eq!(budget.memory_used(), 0);
    }

    #[test]
    fn a_query_waits_until_it_has_all_its_places() {
        let budget = Budget::new(0, 1);
        let max = SLOW_LANE_TASKS_MAX / 2;
        let first = budget.admit(max - 1).now_or_never().unwrap();
        let second = budget.admit(1).now_or_never().unwrap();
        assert!(budget.admit(1).now_or_never().is_none());
        drop(second);
        let third = budget.admit(1).now_or_never();
        assert!(third.is_some());
        drop((first, third));
        // More than there are counts as all.
        assert!(budget.admit(10 * max).now_or_never().is_some());
    }
}
