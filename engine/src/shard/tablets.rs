//! The tablets a core owns, dropped ones included until no snapshot needs them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
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

    /// Takes out the dropped tablets that no snapshot from `horizon` on needs, but for those in `busy`.
    pub fn take_unneeded(&self, horizon: Seq, busy: &BTreeSet<TabletId>) -> Vec<(TabletId, Rc<Tablet>)> {
        let mut dropped = self.dropped.borrow_mut();
        let unneeded = |id: &TabletId, seq: &Seq| *seq <= horizon && !busy.contains(id);
        let gone: Vec<TabletId> = dropped.iter().filter(|(id, seq)| unneeded(id, seq)).map(|(id, _)| *id).collect();
        dropped.retain(|id, seq| !unneeded(id, seq));
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

#[cfg(test)]
mod tests {
    use super::*;
    use starling_storage::cache::PageCache;
    use starling_storage::disk::SimDisk;
    use starling_storage::schema::{Column, ColumnType, TableKind, TabletSchema};
    use starling_storage::tablet::TabletEnv;
    use std::sync::Arc;

    fn tablet(id: TabletId) -> Rc<Tablet> {
        let column = Column {
            id: 0,
            name: "k".into(),
            ty: ColumnType::BigInt,
            nullable: false,
            default: None,
            comment: String::new(),
        };
        let schema = TabletSchema {
            version: 1,
            kind: TableKind::PrimaryKey,
            columns: vec![column],
            key_columns: 1,
            sort_columns: vec![0],
            bucket_columns: vec![0],
        };
        let env =
            TabletEnv { disk: SimDisk::new(1).disk(), cache: PageCache::new(1 << 20), limits: Default::default() };
        Tablet::create(id, Arc::new(schema), env)
    }

    /// An edit behind the one that drops the tablet would bring it back at the next start, or stop that start as damage.
    #[test]
    fn a_dropped_tablet_waits_for_its_rewrite() {
        let (id, none) = (TabletId(7), BTreeSet::new());
        let tablets = Tablets::new(BTreeMap::from([(id, tablet(id))]), BTreeMap::new());
        tablets.mark_dropped(id, Seq(3));
        assert!(tablets.take_unneeded(Seq(2), &none).is_empty(), "a snapshot reads it");
        assert!(tablets.take_unneeded(Seq(3), &BTreeSet::from([id])).is_empty(), "it is being rewritten");
        assert!(tablets.live(id).is_err() && tablets.get(id).is_some());
        assert_eq!(tablets.take_unneeded(Seq(3), &none).len(), 1);
        assert!(tablets.get(id).is_none() && tablets.take_unneeded(Seq(9), &none).is_empty());
    }
}
