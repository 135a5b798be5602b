//! The events of the demo: new orders, and status updates of orders whose age falls off over 20 days.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use starling_engine::types::civil::SECOND;
use starling_engine::types::text::push_datetime;

/// Days over which the history is spread.
const DAYS: u64 = 20;
/// A status is followed by the next one; the last two are ends.
const STATUSES: [&str; 6] = ["CREATED", "PAID", "PACKED", "SHIPPED", "DELIVERED", "RETURNED"];
/// One event in so many is a new order, the others are updates.
const INSERT_EVERY: u64 = 4;

/// Makes events. Deterministic but for the clock.
pub(super) struct Orders {
    /// Orders there are: ids 0 to `count`.
    count: u64,
    history: u64,
    random: u64,
}

impl Orders {
    pub(super) fn new(history: u64) -> Orders {
        Orders { count: 0, history, random: 0x5eed_0f0d_e505 }
    }

    /// How many orders of the history are not made yet.
    pub(super) fn history_left(&self) -> u64 {
        self.history.saturating_sub(self.count)
    }

    /// Up to `rows` orders of the history as CSV, oldest first; how many.
    pub(super) fn history(&mut self, rows: u64, csv: &mut String) -> u64 {
        let rows = rows.min(self.history_left());
        let span = DAYS * 86_400;
        for _ in 0..rows {
            let age = span - span * self.count / self.history.max(1);
            let status = self.below(STATUSES.len() as u64) as usize;
            self.line(self.count, status, now_seconds() - age, csv);
            self.count += 1;
        }
        rows
    }

    /// `rows` events as CSV.
    pub(super) fn events(&mut self, rows: u64, csv: &mut String) {
        let now = now_seconds();
        for _ in 0..rows {
            if self.below(INSERT_EVERY) == 0 {
                self.line(self.count, 0, now, csv);
                self.count += 1;
            } else {
                let (order, status) = (self.old_order(), 1 + self.below(STATUSES.len() as u64 - 1) as usize);
                self.line(order, status, now, csv);
            }
        }
    }

    /// An order whose age halves in likelihood every two days' worth of orders.
    fn old_order(&mut self) -> u64 {
        let day = (self.count / DAYS).max(1);
        let mut back = 0;
        while back < DAYS - 1 && self.below(10) < 7 {
            back += 1;
        }
        let age = back * day + self.below(day);
        self.count.saturating_sub(1 + age.min(self.count - 1))
    }

    fn line(&mut self, order: u64, status: usize, at: u64, csv: &mut String) {
        // The same order always has the same amount: an update changes its status and its time.
        let cents = 100 + order.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 99_900;
        let mut time = Vec::with_capacity(19);
        push_datetime(&mut time, at as i64 * SECOND);
        let (status, time) = (STATUSES[status], String::from_utf8_lossy(&time));
        writeln!(csv, "o-{order:012},{status},{}.{:02},{time}", cents / 100, cents % 100)
            .expect("writing to a String cannot fail");
    }

    /// xorshift64*. Source: Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016.
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}

pub(super) fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_go_back_over_the_history_and_never_beyond() {
        let mut orders = Orders::new(10_000);
        let mut csv = String::new();
        while orders.history(3000, &mut csv) > 0 {}
        assert_eq!(csv.lines().count(), 10_000);
        csv.clear();
        orders.events(20_000, &mut csv);
        let ids: Vec<u64> = csv.lines().filter_map(|line| line.get(2..14)?.parse().ok()).collect();
        assert_eq!(ids.len(), 20_000);
        let inserts = ids.iter().filter(|id| **id >= 10_000).count();
        assert!(ids.iter().any(|id| *id < 1000), "some updates are as old as the history");
        assert!(inserts > 4000, "{inserts}");
    }
}
