//! What EXPLAIN ANALYZE shows: rows, bytes and time of each fragment and operator on each core. Filled when a fragment ends, never while
//! rows flow.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// One operator of one partition of a fragment.
#[derive(Clone, Debug, Default)]
pub struct OperatorProfile {
    /// Its name.
    pub name: String,
    /// Rows it passed on.
    pub rows: u64,
    /// Bytes of those, where it was counted.
    pub bytes: u64,
    /// Time spent in it.
    pub busy: Duration,
    /// More about it.
    pub note: String,
}

/// One partition of a fragment.
#[derive(Clone, Debug)]
pub struct FragmentProfile {
    /// The number of its output exchange.
    pub fragment: usize,
    /// Where it ran.
    pub core: u16,
    /// From start to end.
    pub wall: Duration,
    /// In the order of the rows.
    pub operators: Vec<OperatorProfile>,
}

/// The profiles of a query.
#[derive(Debug, Default)]
pub struct Profile(Mutex<Vec<FragmentProfile>>);

impl Profile {
    /// Adds a fragment that has ended.
    pub fn add(&self, fragment: FragmentProfile) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(fragment);
    }

    /// What has ended so far, by fragment and core.
    pub fn take(&self) -> Vec<FragmentProfile> {
        let mut all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        all.sort_by_key(|p| (std::cmp::Reverse(p.fragment), p.core));
        all
    }

    /// How many have ended.
    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether none has ended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
