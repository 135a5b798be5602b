//! Opening a tablet from the manifest's state. Scans can begin at once; the primary index is built from the key columns when a stage, a
//! point read or a replayed record first asks for it, or when [`Tablet::index`] is called ahead of them.

use super::keys::TaggedKeys;
use super::{DeleteWhere, Tablet, TabletEnv};
use crate::delvector::DelVector;
use crate::error::{Result, StorageError};
use crate::ids::{Seq, TabletId};
use crate::index::{Locator, PrimaryIndex};
use crate::key::Keys;
use crate::manifest::TabletState;
use crate::rowset::{Rowset, RowsetData};
use crate::schema::TabletSchema;
use crate::segment::Segment;
use arrow::array::RecordBatch;
use std::rc::Rc;
use std::sync::Arc;

/// Rows whose keys are read at a time; a multiple of a vector.
const KEY_ROWS: u32 = 8192;
/// Rows whose keys are handled between two yields (P7).
const SLICE_ROWS: usize = 2048;
/// Empty shards of the index, of up to 90 KiB each, made between two yields.
const SHARDS: usize = 4;

impl Tablet {
    /// The tablet as its files tell it at F. The caller then replays the records above F, in order (R15, R16).
    ///
    /// Errors: `Corrupt` and `NotFound` name the file; they hold back this tablet only.
    pub async fn open(
        id: TabletId,
        schema: Arc<TabletSchema>,
        state: TabletState,
        env: TabletEnv,
    ) -> Result<Rc<Tablet>> {
        let tablet = Tablet::create(id, schema, env);
        tablet.load(state).await?;
        Ok(tablet)
    }

    pub(super) async fn load(self: &Rc<Tablet>, state: TabletState) -> Result<()> {
        let tablet = self;
        tablet.index_ready.set(!tablet.is_primary() || state.files.is_empty());
        for meta in state.files {
            let path = meta.file.path();
            let segment = Segment::open(&tablet.env.disk, &tablet.env.cache, &path, meta.file).await?;
            if segment.rows() != meta.rows {
                return Err(StorageError::corrupt(&path, 0, format!("{} rows", meta.rows), segment.rows()));
            }
            let dead = match state.deletes.get(&meta.file) {
                Some(bytes) => DelVector::from_roaring(bytes, &path)?,
                None => DelVector::default(),
            };
            let mut inner = tablet.state.borrow_mut();
            inner.next_file_after(meta.file.number);
            // Delete predicates up to its newest row were applied when it was written; a later one is harmless twice.
            let clean = meta.max_seq;
            // Every snapshot of this process is at F or above.
            let rowset = inner.add_rowset(RowsetData::File { segment, meta }, Seq::ZERO, clean)?;
            rowset.in_manifest.set(true);
            *rowset.dead.borrow_mut() = dead;
        }
        let mut inner = tablet.state.borrow_mut();
        (inner.applied, inner.flushed, inner.last_written) = (state.flushed, state.flushed, state.flushed);
        inner.next_file = inner.next_file.max(state.next_file);
        let deletes = state.predicates.into_iter();
        inner.predicates = Rc::new(deletes.map(|(seq, predicates)| Rc::new(DeleteWhere { seq, predicates })).collect());
        Ok(())
    }

    /// Makes sure the primary index is there; builds it in slices when it is not. Concurrent callers wait for the one that builds.
    pub async fn index(&self) -> Result<()> {
        if self.index_ready.get() {
            return Ok(());
        }
        let _turn = self.indexing.hold().await;
        if self.index_ready.get() {
            return Ok(());
        }
        // Nothing writes meanwhile: stage, apply and rewrites come through here first.
        let rowsets: Vec<Rc<Rowset>> = self.state.borrow().rowsets.clone();
        let live = rowsets.iter().map(|rowset| (rowset.rows() - rowset.dead.borrow().dead()) as usize).sum();
        let mut index = PrimaryIndex::for_keys(live);
        while index.add_shards(SHARDS) {
            self.env.disk.yield_now().await;
        }
        for rowset in &rowsets {
            self.index_rowset(&mut index, rowset).await?;
        }
        self.state.borrow_mut().index = index;
        self.index_ready.set(true);
        Ok(())
    }

    async fn index_rowset(&self, index: &mut PrimaryIndex, rowset: &Rowset) -> Result<()> {
        let Some((segment, _)) = rowset.file() else { return Ok(()) };
        let columns = self.schema.key_positions();
        let mut start = 0;
        while start < segment.rows() {
            let len = KEY_ROWS.min(segment.rows() - start);
            let batch = segment.read(&columns, start, len).await?;
            for from in (0..batch.num_rows()).step_by(SLICE_ROWS) {
                let batch = batch.slice(from, SLICE_ROWS.min(batch.num_rows() - from));
                self.index_rows(index, rowset, start + from as u32, &batch)?;
                self.env.disk.yield_now().await;
            }
            start += len;
        }
        Ok(())
    }

    /// Adds the live rows of a batch of key columns, whose first row is `first`.
    fn index_rows(&self, index: &mut PrimaryIndex, rowset: &Rowset, first: u32, batch: &RecordBatch) -> Result<()> {
        let tags = self.codec.tag(batch)?.tags;
        let rows: Vec<u32> = {
            let dead = rowset.dead.borrow();
            (first..first + batch.num_rows() as u32).filter(|&row| !dead.is_dead(row)).collect()
        };
        let live: Vec<u64> = rows.iter().map(|row| tags[(row - first) as usize]).collect();
        index.insert_all(&live, |i| Locator { slot: rowset.slot, row: rows[i] });
        Ok(())
    }

    /// The keys of all rows of a segment, read in slices.
    pub(super) async fn read_keys(&self, segment: &Segment) -> Result<TaggedKeys> {
        let columns = self.schema.key_positions();
        let mut builder = KeysBuilder::default();
        let mut start = 0;
        while start < segment.rows() {
            let len = KEY_ROWS.min(segment.rows() - start);
            let batch = segment.read(&columns, start, len).await?;
            for from in (0..batch.num_rows()).step_by(SLICE_ROWS) {
                builder.add(self.codec.tag(&batch.slice(from, SLICE_ROWS.min(batch.num_rows() - from)))?);
                self.env.disk.yield_now().await;
            }
            start += len;
        }
        Ok(builder.finish())
    }

    /// The keys of all rows of some batches, in slices.
    pub(super) async fn tag_keys(&self, batches: impl Iterator<Item = &RecordBatch>) -> Result<TaggedKeys> {
        let mut builder = KeysBuilder::default();
        for batch in batches {
            for start in (0..batch.num_rows()).step_by(SLICE_ROWS) {
                builder.add(self.codec.tag(&batch.slice(start, SLICE_ROWS.min(batch.num_rows() - start)))?);
                self.env.disk.yield_now().await;
            }
        }
        Ok(builder.finish())
    }
}

/// Gathers keys slice by slice.
#[derive(Default)]
struct KeysBuilder {
    tags: Vec<u64>,
    keys: Option<Keys>,
}

impl KeysBuilder {
    fn add(&mut self, more: TaggedKeys) {
        self.tags.extend(more.tags);
        if let Some(more) = more.keys {
            let keys = self.keys.get_or_insert_default();
            (0..more.len()).for_each(|row| keys.push(more.get(row)));
        }
    }

    fn finish(self) -> TaggedKeys {
        TaggedKeys { tags: self.tags, keys: self.keys.map(Rc::new) }
    }
}
