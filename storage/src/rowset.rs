//! A rowset: immutable rows of a tablet that are found by slot and row number. Either the rows of recent commits in memory (one
//! [`Memtable`]) or one segment file. With it live its dead rows and the range of snapshots that read it.
//!
//! A rewrite gives its inputs an end: snapshots below it still read them, later ones read the outputs (R14). The slot of an
//! input then translates positions through the rewrite's [`RowMap`], until the index and every staged transaction have
//! been re-pointed.

use crate::delvector::DelVector;
use crate::error::Result;
use crate::ids::{FileId, Seq};
use crate::index::Locator;
use crate::manifest::FileMeta;
use crate::memtable::Memtable;
use crate::segment::Segment;
use arrow::array::RecordBatch;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Where the rows are.
pub enum RowsetData {
    /// In memory, protected by the log.
    Memory(Memtable),
    /// In one segment file.
    File {
        /// The open file.
        segment: Rc<Segment>,
        /// What the manifest says (or will say) of it.
        meta: FileMeta,
    },
}

/// Rows under one slot of the tablet.
pub struct Rowset {
    /// Its slot in the tablet's table.
    pub slot: u16,
    /// The rows.
    pub data: RowsetData,
    /// Snapshots from here on read it. A memtable begins at 0: its commit bounds say what a snapshot sees.
    pub from: Seq,
    /// Snapshots below this read it; [`Seq::MAX`] until it is rewritten.
    pub until: Cell<Seq>,
    /// Delete predicates up to this number were applied when it was written.
    pub clean: Seq,
    /// Whether the manifest names it: false for memtables and for files of a commit above F.
    pub in_manifest: Cell<bool>,
    /// Its dead rows.
    pub dead: RefCell<DelVector>,
}

impl Rowset {
    /// The memtable, if it is one.
    pub fn memtable(&self) -> Option<&Memtable> {
        match &self.data {
            RowsetData::Memory(memtable) => Some(memtable),
            RowsetData::File { .. } => None,
        }
    }

    /// The file, if it is one.
    pub fn file(&self) -> Option<(&Rc<Segment>, &FileMeta)> {
        match &self.data {
            RowsetData::Memory(_) => None,
            RowsetData::File { segment, meta } => Some((segment, meta)),
        }
    }

    /// The id of its file.
    pub fn file_id(&self) -> Option<FileId> {
        self.file().map(|(_, meta)| meta.file)
    }

    /// Rows, dead ones included.
    pub fn rows(&self) -> u32 {
        match &self.data {
            RowsetData::Memory(memtable) => memtable.rows(),
            RowsetData::File { segment, .. } => segment.rows(),
        }
    }

    /// Rows that a snapshot reads of it, dead ones included. Whether it reads this rowset was decided when the snapshot was taken: a
    /// switch since then may have set `until` below it, and it reads on all the same.
    pub fn rows_at(&self, at: Seq) -> u32 {
        match &self.data {
            RowsetData::Memory(memtable) => memtable.rows_at(at),
            RowsetData::File { segment, .. } => segment.rows(),
        }
    }

    /// The number from which on the row is there: its commit, or for a file that merges several the snapshot it begins at.
    pub fn born(&self, row: u32) -> Seq {
        match &self.data {
            RowsetData::Memory(memtable) => memtable.born(row),
            RowsetData::File { .. } => self.from,
        }
    }

    /// Some columns of the given rows (ascending). I/O for files only.
    pub async fn take(&self, columns: &[usize], rows: &[u32]) -> Result<RecordBatch> {
        match &self.data {
            RowsetData::Memory(memtable) => memtable.take(columns, rows),
            RowsetData::File { segment, .. } => segment.take(columns, rows).await,
        }
    }

    /// Bytes of memory held beside the page cache.
    pub fn memory_bytes(&self) -> usize {
        let rows = self.memtable().map_or(0, Memtable::bytes);
        rows + self.dead.borrow().bytes()
    }
}

/// Input row -> output row of a rewrite, for one input rowset.
pub struct RowMap {
    /// Ordinal in the sequence of all output rows, [`RowMap::DROPPED`] for a row that was dead at c.
    to: Vec<u32>,
    /// First ordinal and slot of each output, ascending.
    outputs: Rc<[(u32, u16)]>,
}

impl RowMap {
    /// Ordinal of a row that has no place in the output.
    pub const DROPPED: u32 = u32::MAX;

    /// From the ordinals of an input's rows and the outputs' first ordinals and slots.
    pub fn new(to: Vec<u32>, outputs: Rc<[(u32, u16)]>) -> RowMap {
        RowMap { to, outputs }
    }

    /// Where the row is now; [`Locator::NONE`] when it was dropped.
    pub fn get(&self, row: u32) -> Locator {
        match self.to.get(row as usize) {
            None | Some(&RowMap::DROPPED) => Locator::NONE,
            Some(&ordinal) => {
                let n = self.outputs.partition_point(|output| output.0 <= ordinal);
                let (first, slot) = self.outputs[n - 1];
                Locator { slot, row: ordinal - first }
            }
        }
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.to.capacity() * 4
    }
}

/// What a slot of the tablet stands for.
pub enum Slot {
    /// Nothing: it can be given out.
    Free,
    /// A rowset that is read.
    Live(Rc<Rowset>),
    /// A rewritten rowset: positions into it go through the map (R14).
    Moved {
        /// Input row -> output row.
        map: RowMap,
        /// Whether every entry of the index has been translated.
        repointed: bool,
        /// Staged transactions with a ticket below this may hold positions into it.
        tickets: u64,
        /// History entries before this count may hold positions into it.
        history: u64,
    },
}

/// The slots of a tablet.
#[derive(Default)]
pub struct Slots {
    slots: Vec<Slot>,
    taken: usize,
}

impl Slots {
    /// Most rowsets a tablet may have at a time, [`Locator::NONE`]'s slot excluded.
    pub const MAX: usize = u16::MAX as usize;

    /// Reserves a slot by filling it with what `make` builds for its number; `None` when all are taken.
    pub fn add(&mut self, make: impl FnOnce(u16) -> Rc<Rowset>) -> Option<Rc<Rowset>> {
        let free = self.slots.iter().position(|slot| matches!(slot, Slot::Free)).unwrap_or(self.slots.len());
        if free >= Slots::MAX {
            return None;
        }
        let rowset = make(free as u16);
        if free == self.slots.len() {
            self.slots.push(Slot::Free);
        }
        self.slots[free] = Slot::Live(rowset.clone());
        self.taken += 1;
        Some(rowset)
    }

    /// Gives back the slot of a rowset that was never read.
    pub fn free(&mut self, slot: u16) {
        self.slots[slot as usize] = Slot::Free;
        self.taken -= 1;
    }

    /// Puts a moved slot in place of a live one.
    pub fn set_moved(&mut self, slot: u16, map: RowMap, tickets: u64, history: u64) {
        self.slots[slot as usize] = Slot::Moved { map, repointed: false, tickets, history };
    }

    /// Marks every moved slot as translated in the index.
    pub fn set_repointed(&mut self, done: &[u16]) {
        for &slot in done {
            if let Slot::Moved { repointed, .. } = &mut self.slots[slot as usize] {
                *repointed = true;
            }
        }
    }

    /// Frees moved slots that nothing can refer to any more: no ticket below `tickets` and no history entry before
    /// `history` is left.
    pub fn free_moved(&mut self, oldest_ticket: u64, oldest_history: u64) {
        for slot in &mut self.slots {
            if let Slot::Moved { repointed: true, tickets, history, .. } = slot
                && *tickets <= oldest_ticket
                && *history <= oldest_history
            {
                *slot = Slot::Free;
                self.taken -= 1;
            }
        }
    }

    /// Where the row at `locator` is now, through any number of rewrites; [`Locator::NONE`] when a rewrite dropped it.
    #[inline]
    pub fn resolve(&self, mut locator: Locator) -> Locator {
        while !locator.is_none()
            && let Slot::Moved { map, .. } = &self.slots[locator.slot as usize]
        {
            locator = map.get(locator.row);
        }
        locator
    }

    /// The rowset of a resolved position.
    #[inline]
    pub fn rowset(&self, slot: u16) -> Option<&Rc<Rowset>> {
        match self.slots.get(slot as usize) {
            Some(Slot::Live(rowset)) => Some(rowset),
            _ => None,
        }
    }

    /// How many slots are taken.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Bytes of the row maps.
    pub fn bytes(&self) -> usize {
        let maps = self.slots.iter().map(|slot| match slot {
            Slot::Moved { map, .. } => map.bytes(),
            _ => 0,
        });
        maps.sum::<usize>() + self.slots.capacity() * size_of::<Slot>()
    }
}
