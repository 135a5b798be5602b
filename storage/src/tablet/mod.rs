//! A tablet: one bucket of a table, owned by one core. What its rows are at every number that is still pinned.
//!
//! | part | what |
//! |---|---|
//! | `stage.rs` | before the number: last wins, probe, verify; big batches to synced files (R2, R6) |
//! | `apply.rs` | publish and replay: a deterministic function of the tablet and the record (R4, R6) |
//! | `scan.rs`, `predicate.rs` | snapshots and scans with pruning and late materialisation |
//! | `get.rs` | point reads, also at older snapshots (R13) |
//! | `rewrite.rs`, `merge.rs` | flush and compaction, one routine (R14, R15) |
//! | `policy.rs` | when to flush and what to compact |
//! | `open.rs` | from the manifest's state; the primary index is built from the key columns when it is first needed |
//! | `keys.rs`, `recent.rs`, `history.rs` | parts of the above |
//!
//! Not `Send`. All methods take `&self` and are called on the owner core; no `RefCell` borrow lives across an await. One apply runs at a
//! time, in the order of the numbers (the caller's pump sees to that); everything else may overlap at awaits.
//!
//! Invariants: every key has at most one live row, and the index points at it (through [`Slots::resolve`]); rows and deaths above
//! F are in memory and in the log; a rowset is read by the snapshots in `[from, until)`, and these ranges of a rewrite's inputs and
//! outputs meet without a gap.

mod apply;
mod get;
mod history;
mod keys;
mod merge;
mod open;
mod policy;
mod predicate;
mod recent;
mod rewrite;
mod scan;
mod stage;

pub use policy::{Rewrite, RewriteContext};
pub use rewrite::RewriteReport;
pub use scan::{ScanCounters, ScanSpec, TabletScan, TabletSnapshot};
pub use stage::Staged;

use crate::cache::PageCache;
use crate::disk::DiskRef;
use crate::error::{Result, StorageError};
use crate::ids::{FileId, Seq, TabletId};
use crate::index::PrimaryIndex;
use crate::memtable::Memtable;
use crate::rowset::{Rowset, RowsetData, Slots};
use crate::rules::{Rule, off};
use crate::schema::{Predicate, TableKind, TabletSchema};
use crate::wait::Exclusive;
use arrow::datatypes::SchemaRef;
use history::History;
use keys::KeyCodec;
use recent::{Recent, Tickets};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// Sizes at which a tablet does things. One set for all tablets of a core.
#[derive(Clone, Debug)]
pub struct TabletLimits {
    /// A memtable is sealed at this many rows.
    pub memtable_rows: u32,
    /// A memtable is sealed at this many bytes.
    pub memtable_bytes: usize,
    /// A memtable is flushed when it is this old, so that a quiet tablet does not hold the log back.
    pub memtable_age_micros: u64,
    /// A batch of more rows than this is staged as files (R6).
    pub staged_rows: usize,
    /// A batch of more bytes than this is staged as files.
    pub staged_bytes: usize,
    /// Rows of a segment at most.
    pub segment_rows: u32,
    /// So many files of one size class are compacted together.
    pub tier_files: usize,
    /// A file is rewritten when this percentage of its rows is dead.
    pub dead_percent: u32,
    /// Rows handled between two yields.
    pub slice_rows: usize,
}

impl Default for TabletLimits {
    fn default() -> TabletLimits {
        TabletLimits {
            memtable_rows: 1 << 20,
            memtable_bytes: 64 << 20,
            memtable_age_micros: 60_000_000,
            staged_rows: 64 << 10,
            staged_bytes: 64 << 20,
            segment_rows: 2 << 20,
            tier_files: 4,
            dead_percent: 30,
            slice_rows: 512,
        }
    }
}

/// What a tablet works with.
#[derive(Clone)]
pub struct TabletEnv {
    /// The data directory, as the owner core sees it.
    pub disk: DiskRef,
    /// The owner core's page cache.
    pub cache: Rc<PageCache>,
    /// Sizes.
    pub limits: TabletLimits,
}

/// What an apply did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Rows written.
    pub upserted: u64,
    /// Of these, rows that replaced one with the same key.
    pub replaced: u64,
    /// Rows that a delete found and removed. A delete predicate counts nothing: its rows are found when they are read.
    pub deleted: u64,
}

/// Sizes of a tablet, for metrics and policy.
#[derive(Clone, Copy, Debug, Default)]
pub struct TabletStats {
    /// Rows, dead ones not included.
    pub live_rows: u64,
    /// Dead rows that still take space.
    pub dead_rows: u64,
    /// Memtables.
    pub memtables: usize,
    /// Rows in memtables.
    pub memtable_rows: u64,
    /// Segment files that newest snapshots read.
    pub files: usize,
    /// Bytes of these files.
    pub file_bytes: u64,
    /// Rowsets that only older snapshots read.
    pub retired: usize,
    /// Bytes of memory held: memtables, delete vectors, index, histories, maps.
    pub memory_bytes: usize,
    /// Keys in the primary index.
    pub index_keys: usize,
    /// Bytes of the primary index, exactly.
    pub index_bytes: usize,
    /// Transactions staged and not yet applied or dropped.
    pub staged: usize,
}

/// A delete by condition of a table without a primary key.
pub(crate) struct DeleteWhere {
    pub(crate) seq: Seq,
    pub(crate) predicates: Vec<Predicate>,
}

/// A tablet.
pub struct Tablet {
    id: TabletId,
    schema: Arc<TabletSchema>,
    arrow: SchemaRef,
    env: TabletEnv,
    codec: KeyCodec,
    state: RefCell<State>,
    tickets: Rc<Tickets>,
    /// R15: one manifest edit in flight.
    editing: Exclusive,
    indexing: Exclusive,
    index_ready: Cell<bool>,
    flushing: Cell<bool>,
    compacting: Cell<bool>,
    /// R11: what only snapshots below this read may be gone. Shared with the scans.
    oldest: Rc<Cell<Seq>>,
}

struct State {
    /// Everything up to here is applied.
    applied: Seq,
    /// Applies finished, parts of one number counted one by one.
    turns: u64,
    /// F: everything up to here is in files, durably.
    flushed: Seq,
    /// The newest commit that changed rows.
    last_written: Seq,
    slots: Slots,
    /// What some snapshot reads, oldest first; those with an end are retired and go when no pin is below it.
    rowsets: Vec<Rc<Rowset>>,
    /// The memtable that takes rows; also in `rowsets`.
    active: Option<Rc<Rowset>>,
    index: PrimaryIndex,
    recent: Recent,
    history: History,
    /// Delete predicates that some rowset has still to apply, ascending; replaced as a whole.
    predicates: Rc<Vec<Rc<DeleteWhere>>>,
    next_file: u64,
    /// The c of each running rewrite: deaths above it are not folded (R14).
    running: Vec<Seq>,
}

impl Tablet {
    /// A new, empty tablet.
    pub fn create(id: TabletId, schema: Arc<TabletSchema>, env: TabletEnv) -> Rc<Tablet> {
        let codec = KeyCodec::new(&schema);
        Tablet::with_codec(id, schema, env, codec)
    }

    fn with_codec(id: TabletId, schema: Arc<TabletSchema>, env: TabletEnv, codec: KeyCodec) -> Rc<Tablet> {
        let state = State {
            applied: Seq::ZERO,
            turns: 0,
            flushed: Seq::ZERO,
            last_written: Seq::ZERO,
            slots: Slots::default(),
            rowsets: Vec::new(),
            active: None,
            index: PrimaryIndex::default(),
            recent: Recent::default(),
            history: History::default(),
            predicates: Rc::default(),
            next_file: 0,
            running: Vec::new(),
        };
        Rc::new(Tablet {
            id,
            arrow: schema.arrow(),
            codec,
            schema,
            env,
            state: RefCell::new(state),
            tickets: Rc::default(),
            editing: Exclusive::default(),
            indexing: Exclusive::default(),
            index_ready: Cell::new(true),
            flushing: Cell::new(false),
            compacting: Cell::new(false),
            oldest: Rc::default(),
        })
    }

    /// Its id.
    pub fn id(&self) -> TabletId {
        self.id
    }

    /// The shape of its rows.
    pub fn schema(&self) -> &Arc<TabletSchema> {
        &self.schema
    }

    /// The Arrow schema of full rows.
    pub fn arrow_schema(&self) -> &SchemaRef {
        &self.arrow
    }

    /// The newest number applied here.
    pub fn applied(&self) -> Seq {
        self.state.borrow().applied
    }

    /// F: everything up to this number is in files, durably.
    pub fn flushed(&self) -> Seq {
        self.state.borrow().flushed
    }

    /// The newest commit that changed rows; what was read at or after it is still so (R7).
    pub fn last_written(&self) -> Seq {
        self.state.borrow().last_written
    }

    /// Whether commits above F wait to be flushed.
    pub fn is_dirty(&self) -> bool {
        let state = self.state.borrow();
        state.last_written > state.flushed
    }

    /// Bytes of memory held, the page cache not included.
    pub fn memory_bytes(&self) -> usize {
        self.stats().memory_bytes
    }

    /// Bytes of memory that only older snapshots read: replaced positions, when rows died, memtables that were rewritten.
    pub fn kept_bytes(&self) -> usize {
        let state = self.state.borrow();
        let kept = |rowset: &Rc<Rowset>| match rowset.until.get() < Seq::MAX {
            true => rowset.memory_bytes(),
            false => rowset.dead.borrow().log_bytes(),
        };
        state.history.bytes() + state.rowsets.iter().map(kept).sum::<usize>()
    }

    /// Sizes. Costs a walk over the rowsets.
    pub fn stats(&self) -> TabletStats {
        let state = self.state.borrow();
        let mut stats = TabletStats {
            index_keys: state.index.len(),
            index_bytes: state.index.bytes(),
            staged: self.tickets.count(),
            memory_bytes: state.index.bytes() + state.slots.bytes() + state.history.bytes() + state.recent.bytes(),
            ..TabletStats::default()
        };
        for rowset in &state.rowsets {
            stats.memory_bytes += rowset.memory_bytes();
            if rowset.until.get() < Seq::MAX {
                stats.retired += 1;
                continue;
            }
            let (rows, dead) = (u64::from(rowset.rows()), u64::from(rowset.dead.borrow().dead()));
            stats.live_rows += rows - dead;
            stats.dead_rows += dead;
            match &rowset.data {
                RowsetData::Memory(_) => {
                    stats.memtables += 1;
                    stats.memtable_rows += rows;
                }
                RowsetData::File { meta, .. } => {
                    stats.files += 1;
                    stats.file_bytes += meta.bytes;
                }
            }
        }
        stats
    }

    /// What a snapshot at `at` reads; holds its rowsets, so that no file goes under it (R15). `at` is <= W, and pinned: once the pin is
    /// gone and others have been reclaimed for, reading it on is an error.
    pub fn snapshot(&self, at: Seq) -> TabletSnapshot {
        let state = self.state.borrow();
        let within = |rowset: &&Rc<Rowset>| rowset.from <= at && at < rowset.until.get();
        TabletSnapshot::new(
            at,
            state.rowsets.iter().filter(within).cloned().collect(),
            state.predicates.clone(),
            self.arrow.clone(),
            self.env.disk.clone(),
            self.oldest.clone(),
        )
    }

    /// R11: an error when what a snapshot at `at` needs may be gone.
    fn check_age(&self, at: Seq) -> Result<()> {
        check_age(at, self.oldest.get())
    }

    /// R11, R12, R13: frees what only snapshots below `oldest` read (`oldest` is the least pin, or W without one), and returns the files
    /// that nobody reads any more, for the caller to remove. A file that a fragment still holds is returned by a later call (R15).
    pub fn reclaim(&self, oldest: Seq) -> Vec<FileId> {
        self.oldest.set(self.oldest.get().max(oldest));
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let mut gone = Vec::new();
        // Fragments that opened a rowset before the switch still hold it: then it stays, whatever the pins say [unlink-open].
        state.rowsets.retain(|rowset| {
            let keep = rowset.until.get() > oldest || Rc::strong_count(rowset) > 1;
            if !keep {
                gone.extend(rowset.file_id());
            }
            keep
        });
        // R12, R14: deaths fold below the oldest pin, not above F, and not above the c of a running rewrite.
        let pinned = if off(Rule::RewriteUnpinned) { &[][..] } else { &state.running };
        let flushed = if off(Rule::FoldAboveF) { Seq::MAX } else { state.flushed };
        let bound = oldest.min(flushed).min(pinned.iter().min().copied().unwrap_or(Seq::MAX));
        state.rowsets.iter().for_each(|rowset| rowset.dead.borrow_mut().fold(bound));
        state.history.prune(oldest);
        state.recent.prune(self.tickets.least());
        state.slots.free_moved(self.tickets.oldest(), state.history.start());
        let clean = state.rowsets.iter().map(|rowset| rowset.clean).min().unwrap_or(Seq::MAX);
        if state.predicates.first().is_some_and(|first| first.seq <= clean) {
            state.predicates = Rc::new(state.predicates.iter().filter(|p| p.seq > clean).cloned().collect());
        }
        gone.iter().for_each(|&file| self.env.cache.forget(file));
        gone
    }

    /// Removes files that [`Tablet::reclaim`] returned. A file that is not there is no error: a crash may have come between.
    pub async fn unlink(&self, files: &[FileId]) -> Result<()> {
        for file in files {
            match self.env.disk.remove(&file.path()).await {
                Ok(()) | Err(StorageError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn is_primary(&self) -> bool {
        self.schema.kind == TableKind::PrimaryKey
    }

    fn new_file(&self) -> FileId {
        let mut state = self.state.borrow_mut();
        state.next_file += 1;
        FileId { tablet: self.id, number: state.next_file - 1 }
    }
}

fn check_age(at: Seq, oldest: Seq) -> Result<()> {
    if at < oldest { Err(StorageError::SnapshotTooOld { at, oldest }) } else { Ok(()) }
}

impl State {
    /// The memtable that takes the next commit, made when there is none.
    fn active(&mut self, tablet: &Tablet) -> Result<Rc<Rowset>> {
        if let Some(active) = &self.active {
            return Ok(active.clone());
        }
        let memtable = Memtable::new(tablet.arrow.clone(), tablet.env.disk.now_micros())?;
        let rowset = self.add_rowset(RowsetData::Memory(memtable), Seq::ZERO, Seq::ZERO)?;
        self.active = Some(rowset.clone());
        Ok(rowset)
    }

    /// Puts a rowset among those that are read from `from` on.
    fn add_rowset(&mut self, data: RowsetData, from: Seq, clean: Seq) -> Result<Rc<Rowset>> {
        let make = |slot| {
            Rc::new(Rowset {
                slot,
                data,
                from,
                until: Cell::new(Seq::MAX),
                clean,
                in_manifest: Cell::new(false),
                dead: RefCell::default(),
            })
        };
        let rowset = self.slots.add(make).ok_or(StorageError::Limit {
            limit: "rowsets of a tablet",
            detail: format!("{} are in use; compaction does not keep up", Slots::MAX),
        })?;
        self.rowsets.push(rowset.clone());
        Ok(rowset)
    }

    /// Ends the active memtable when it is full; the next commit begins another.
    fn seal_if_full(&mut self, limits: &TabletLimits) {
        let full = |m: &Memtable| m.rows() >= limits.memtable_rows || m.bytes() >= limits.memtable_bytes;
        if self.active.as_ref().and_then(|active| active.memtable()).is_some_and(full) {
            self.active = None;
        }
    }
}

#[cfg(test)]
mod tests;
