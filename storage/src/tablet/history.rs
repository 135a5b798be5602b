//! The position each new row replaced, until no pin needs it (R13): a point read at an older snapshot finds its row through it.
//!
//! Append-only and unindexed, because nearly every read is at W and needs no more than the last few entries. A chunk that is
//! full is sorted by tag the first time a read looks into it.

use crate::ids::Seq;
use crate::index::Locator;
use std::cell::RefCell;
use std::collections::VecDeque;

/// Entries of a chunk; sorting one takes well under a millisecond.
const CHUNK: usize = 4096;

#[derive(Clone, Copy)]
struct Entry {
    tag: u64,
    died: Seq,
    at: Locator,
}

#[derive(Default)]
struct Chunk {
    entries: RefCell<Vec<Entry>>,
    sorted: std::cell::Cell<bool>,
    last: Seq,
}

/// Replaced and deleted positions, in the order of the numbers at which they died.
#[derive(Default)]
pub(super) struct History {
    chunks: VecDeque<Chunk>,
    /// Entries pruned so far.
    pruned: u64,
    len: u64,
}

impl History {
    /// The row at `at` was replaced or deleted at `died`.
    pub(super) fn push(&mut self, tag: u64, died: Seq, at: Locator) {
        if self.chunks.back().is_none_or(|chunk| chunk.entries.borrow().len() >= CHUNK) {
            self.chunks.push_back(Chunk::default());
        }
        let chunk = self.chunks.back_mut().expect("pushed above");
        chunk.last = died;
        chunk.entries.get_mut().push(Entry { tag, died, at });
        self.len += 1;
    }

    /// Every position under `tag` that died above `at`: (position, number of its death), in no order.
    pub(super) fn died_after(&self, tag: u64, at: Seq, mut found: impl FnMut(Locator, Seq)) {
        for chunk in self.chunks.iter().rev().take_while(|chunk| chunk.last > at) {
            let full = chunk.entries.borrow().len() >= CHUNK;
            if full && !chunk.sorted.replace(true) {
                chunk.entries.borrow_mut().sort_unstable_by_key(|entry| entry.tag);
            }
            let entries = chunk.entries.borrow();
            let from = if chunk.sorted.get() { entries.partition_point(|entry| entry.tag < tag) } else { 0 };
            for entry in &entries[from..] {
                if entry.tag == tag && entry.died > at {
                    found(entry.at, entry.died);
                } else if chunk.sorted.get() && entry.tag != tag {
                    break;
                }
            }
        }
    }

    /// The newest death.
    pub(super) fn last(&self) -> Seq {
        self.chunks.back().map_or(Seq::ZERO, |chunk| chunk.last)
    }

    /// R11: forgets what no snapshot at `oldest` or above asks for.
    pub(super) fn prune(&mut self, oldest: Seq) {
        while self.chunks.front().is_some_and(|chunk| chunk.last <= oldest) {
            let gone = self.chunks.pop_front().map_or(0, |chunk| chunk.entries.borrow().len() as u64);
            self.pruned += gone;
            self.len -= gone;
        }
    }

    /// Count of all entries ever pushed.
    pub(super) fn end(&self) -> u64 {
        self.pruned + self.len
    }

    /// Count of the entries that were pruned: the position of the oldest one left.
    pub(super) fn start(&self) -> u64 {
        self.pruned
    }

    pub(super) fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<Entry>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_died_after_a_snapshot_and_forgets_the_rest() {
        let mut history = History::default();
        for i in 0..10_000u64 {
            history.push(i % 100, Seq(i / 10 + 1), Locator { slot: 0, row: i as u32 });
        }
        let rows = |history: &History, tag, at| {
            let mut rows = Vec::new();
            history.died_after(tag, Seq(at), |locator, died| rows.push((locator.row, died.0)));
            rows.sort();
            rows
        };
        let want: Vec<(u32, u64)> =
            (0..10_000).filter(|i| i % 100 == 42 && i / 10 + 1 > 200).map(|i| (i as u32, i / 10 + 1)).collect();
        assert_eq!(rows(&history, 42, 200), want);
        history.prune(Seq(500));
        assert_eq!(rows(&history, 42, 960).len(), 4);
        assert!(history.start() > 0 && history.end() == 10_000);
        history.prune(Seq(1000));
        assert_eq!((history.start(), history.bytes()), (10_000, 0));
    }
}
