//! The tablets a core owns, dropped ones included until no snapshot needs them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use starling_storage::ids::{Seq, TabletId};
use starling_storage::tablet::Tablet;

use crate::error::{EngineError, Result};

/// How old the sum of write memory may be.
const WRITE_MEMORY_AGE: Duration = Duration::from_millis(10);

/// See the head of the file.
pub(super) struct Tablets {
    owned: RefCell<BTreeMap<TabletId, Rc<Tablet>>>,
    /// Dropped by this number: readers older than it still find them.
    dropped: RefCell<BTreeMap<TabletId, Seq>>,
    /// Could not be opened, and why: their tables answer with that, the rest serves (R16).
    damaged: BTreeMap<TabletId, EngineError>,
    write_memory: Cell<(Option<Instant>, usize)>,
}

impl Tablets {
    pub fn new(owned: BTreeMap<TabletId, Rc<Tablet>>, damaged: BTreeMap<TabletId, EngineError>) -> Tablets {
        Tablets { owned: RefCell::new(owned), dropped: RefCell::default(), damaged, write_memory: Cell::default() }
    }

    pub fn get(&self, id: TabletId) -> Option<Rc<Tablet>> {
        self.owned.borrow().get(&id).cloned()
    }

    /// For reads. Error: it is damaged, or not there.
    pub fn find(&self, id: TabletId) -> Result<Rc<Tablet>> {
        self.get(id).ok_or_else(|| match self.damaged.get(&id) {
            Some(error) => error.clone(),
            None => EngineError::table_gone(format!("of tablet {id}")),
        })
    }

    /// For writes: a dropped tablet is not there any more.
    pub fn live(&self, id: TabletId) -> Result<Rc<Tablet>> {
        if self.dropped.borrow().contains_key(&id) {
            return Err(EngineError::table_gone(format!("of tablet {id}")));
        }
        self.find(id)
    }

    pub fn insert(&self, id: TabletId, tablet: Rc<Tablet>) {
        self.owned.borrow_mut().insert(id, tablet);
    }

    /// The newest commit that changed one of these tablets, as far as it is applied here.
    pub fn last_written(&self, tablets: &[TabletId]) -> Seq {
        let owned = self.owned.borrow();
        tablets.iter().filter_map(|id| owned.get(id)).map(|tablet| tablet.last_written()).max().unwrap_or(Seq::ZERO)
    }

    /// All that are not dropped.
    pub fn all(&self) -> Vec<(TabletId, Rc<Tablet>)> {
        let dropped = self.dropped.borrow();
        let owned = self.owned.borrow();
        owned.iter().filter(|(id, _)| !dropped.contains_key(id)).map(|(id, t)| (*id, t.clone())).collect()
    }

    pub fn mark_dropped(&self, id: TabletId, seq: Seq) {
        if self.owned.borrow().contains_key(&id) {
            self.dropped.borrow_mut().insert(id, seq);
        }
    }

    /// Takes out the tablets that no snapshot from `horizon` on needs.
    pub fn take_unneeded(&self, horizon: Seq) -> Vec<(TabletId, Rc<Tablet>)> {
        let mut dropped = self.dropped.borrow_mut();
        let gone: Vec<TabletId> = dropped.iter().filter(|(_, seq)| **seq <= horizon).map(|(id, _)| *id).collect();
        dropped.retain(|_, seq| *seq > horizon);
        let mut owned = self.owned.borrow_mut();
        gone.into_iter().filter_map(|id| Some((id, owned.remove(&id)?))).collect()
    }

    /// Bytes of rows in memory and of what belongs to them; the primary indexes are not counted. At most a moment old: it costs a walk
    /// over all rowsets.
    pub fn write_memory(&self) -> usize {
        let (at, bytes) = self.write_memory.get();
        if at.is_some_and(|at| at.elapsed() < WRITE_MEMORY_AGE) {
            return bytes;
        }
        let bytes = self.walk();
        self.write_memory.set((Some(Instant::now()), bytes));
        bytes
    }

    fn walk(&self) -> usize {
        let stats = |tablet: &Rc<Tablet>| {
            let stats = tablet.stats();
            stats.memory_bytes.saturating_sub(stats.index_bytes)
        };
        self.owned.borrow().values().map(stats).sum()
    }
}
