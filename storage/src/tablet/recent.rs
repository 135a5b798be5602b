//! What a staged transaction must know of the commits that overtook it (R6): the keys written since its p, deletes included,
//! with where each is now, across flushes. Kept only while a transaction is staged, and only for hashed keys: exact tags are
//! simply looked up again when the transaction is applied, which costs no I/O.

use crate::index::Locator;
use crate::key::Keys;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;

/// Keys after which a new generation begins, so that old ones can go while others are staged.
const GENERATION_KEYS: usize = 1 << 14;

/// The transactions staged at a tablet. Each holds its p as a count of applies finished when it probed: a transaction may have
/// several parts for one tablet, applied under one number, and each of them counts.
#[derive(Default)]
pub(super) struct Tickets {
    open: RefCell<BTreeMap<u64, u64>>,
    next: std::cell::Cell<u64>,
}

impl Tickets {
    /// Registers a transaction that probes at `p`, before it looks at anything.
    pub(super) fn open(self: &Rc<Tickets>, p: u64) -> Ticket {
        let number = self.next.get();
        self.next.set(number + 1);
        self.open.borrow_mut().insert(number, p);
        Ticket { tickets: self.clone(), number, p }
    }

    /// The least p of a staged transaction.
    pub(super) fn least(&self) -> Option<u64> {
        // Tickets are opened with ascending p.
        self.open.borrow().values().next().copied()
    }

    /// The number of the oldest staged transaction, or of the next one.
    pub(super) fn oldest(&self) -> u64 {
        self.open.borrow().keys().next().copied().unwrap_or(self.next.get())
    }

    /// The number of the next transaction.
    pub(super) fn next(&self) -> u64 {
        self.next.get()
    }

    pub(super) fn count(&self) -> usize {
        self.open.borrow().len()
    }
}

/// A staged transaction's place among the others; given back when dropped.
pub(super) struct Ticket {
    tickets: Rc<Tickets>,
    number: u64,
    pub(super) p: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.tickets.open.borrow_mut().remove(&self.number);
    }
}

struct Entry {
    turn: u64,
    keys: u32,
    row: u32,
    at: Locator,
    /// The entry before it under the same tag, [`u32::MAX`] for none.
    previous: u32,
}

#[derive(Default)]
struct Generation {
    newest: HashMap<u64, u32>,
    entries: Vec<Entry>,
    keys: Vec<Rc<Keys>>,
    last: u64,
}

/// Keys written lately.
#[derive(Default)]
pub(super) struct Recent {
    generations: VecDeque<Generation>,
}

impl Recent {
    /// Makes room for a commit's keys and says under which number their rows are added.
    pub(super) fn begin(&mut self, turn: u64, keys: &Rc<Keys>) -> u32 {
        if self.generations.back().is_none_or(|g| g.entries.len() >= GENERATION_KEYS) {
            self.generations.push_back(Generation::default());
        }
        let generation = self.generations.back_mut().expect("pushed above");
        generation.last = turn;
        generation.keys.push(keys.clone());
        generation.keys.len() as u32 - 1
    }

    /// Adds a key of the commit begun last: `at` is its new position, [`Locator::NONE`] when it was deleted.
    pub(super) fn add(&mut self, tag: u64, turn: u64, keys: u32, row: u32, at: Locator) {
        let generation = self.generations.back_mut().expect("begin comes first");
        let number = generation.entries.len() as u32;
        let previous = generation.newest.insert(tag, number).unwrap_or(u32::MAX);
        generation.entries.push(Entry { turn, keys, row, at, previous });
    }

    /// Where `key` was put by the newest commit above `p` that wrote it; `None` when none did.
    pub(super) fn find(&self, tag: u64, key: &[u8], p: u64) -> Option<Locator> {
        for generation in self.generations.iter().rev().take_while(|g| g.last > p) {
            let mut next = generation.newest.get(&tag).copied().unwrap_or(u32::MAX);
            while let Some(entry) = generation.entries.get(next as usize) {
                if entry.turn > p && generation.keys[entry.keys as usize].get(entry.row as usize) == key {
                    return Some(entry.at);
                }
                next = entry.previous;
            }
        }
        None
    }

    /// Forgets what no staged transaction can ask for: everything up to `least`, or all when nothing is staged.
    pub(super) fn prune(&mut self, least: Option<u64>) {
        match least {
            None => self.generations.clear(),
            Some(least) => {
                while self.generations.front().is_some_and(|g| g.last <= least) {
                    self.generations.pop_front();
                }
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.generations.iter().map(|g| g.entries.capacity() * (size_of::<Entry>() + 20)).sum()
    }
}
