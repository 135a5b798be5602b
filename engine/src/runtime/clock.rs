//! Wall clock and randomness, in one place.

use std::time::{SystemTime, UNIX_EPOCH};

pub fn unix_micros() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64)
}

pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// Random bits from the kernel, for labels and scrambles.
pub fn random_u64() -> u64 {
    super::thread::random_u64()
}
