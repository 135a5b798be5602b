//! Staging: everything about a batch that can fail or takes I/O, done before its transaction gets a number (R2, R6).
//!
//! Of rows with equal keys the last one counts. Exact tags need no probe: they are looked up again at apply, in memory. Hashed tags
//! are probed at p, and every candidate is verified against the stored key columns; keys written between p and apply are
//! found in the tablet's memory of recent keys. Big batches become sorted, synced segment files.

use super::keys::{LastOfEachKey, TaggedKeys};
use super::merge::Merge;
use super::recent::Ticket;
use super::{State, Tablet};
use crate::error::{Result, StorageError};
use crate::index::Locator;
use crate::log::{PartBody, StagedFile, TabletPart};
use crate::rows::{self, Rows};
use crate::rowset::{Rowset, Slots};
use crate::schema::Predicate;
use crate::segment::Segment;
use arrow::array::{Array, ArrayRef, AsArray, BooleanBufferBuilder, RecordBatch, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat_batches, take_record_batch};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Keys probed between two yields.
const PROBE_KEYS: usize = 8192;

/// A batch that is ready to be committed. Dropping it forgets it; files it wrote are removed by [`Tablet::discard`] or at the next start.
#[must_use = "a staged batch is committed by apply or given up by discard"]
pub struct Staged {
    pub(super) part: TabletPart,
    pub(super) body: StagedBody,
    pub(super) ticket: Ticket,
}

pub(super) enum StagedBody {
    /// Rows for the memtable.
    Memory(StagedRows),
    /// Files: upserts, then keys to delete.
    Files(Vec<StagedSegment>),
    /// A delete by condition.
    DeleteWhere(Vec<Predicate>),
}

pub(super) struct StagedRows {
    pub(super) upserts: RecordBatch,
    /// Keys of the upserts, then of the deletes; without a primary key empty.
    pub(super) keys: ProbedKeys,
}

pub(super) struct StagedSegment {
    pub(super) file: StagedFile,
    pub(super) segment: Rc<Segment>,
    /// Keys of its rows in their order; without a primary key empty.
    pub(super) keys: ProbedKeys,
}

/// Keys with where each was at p.
pub(super) struct ProbedKeys {
    pub(super) keys: TaggedKeys,
    /// For hashed tags: the verified position at p. Empty for exact ones.
    pub(super) at: Vec<Locator>,
}

impl ProbedKeys {
    pub(super) fn none() -> ProbedKeys {
        ProbedKeys { keys: TaggedKeys::default(), at: Vec::new() }
    }
}

impl Staged {
    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        let keys = |keys: &ProbedKeys| keys.keys.bytes() + keys.at.capacity() * size_of::<Locator>();
        let body = match &self.body {
            StagedBody::Memory(rows) => rows.upserts.get_array_memory_size() + keys(&rows.keys),
            StagedBody::Files(files) => files.iter().map(|file| keys(&file.keys)).sum(),
            StagedBody::DeleteWhere(_) => 0,
        };
        let encoded = if let PartBody::Rows(bytes) = &self.part.body { bytes.len() } else { 0 };
        body + encoded
    }

    /// The tablet's part of the commit record.
    pub fn part(&self) -> &TabletPart {
        &self.part
    }
}

/// The keys of a batch, and its rows that a later one of the same key writes over, descending.
struct Chosen {
    keys: TaggedKeys,
    lost: Vec<u32>,
}

impl Chosen {
    /// The rows that count.
    fn kept(&self, rows: usize) -> BooleanBuffer {
        let mut kept = BooleanBufferBuilder::new(rows);
        kept.append_n(rows, true);
        self.lost.iter().for_each(|&row| kept.set_bit(row as usize, false));
        kept.finish()
    }
}

/// A batch brought into the order in which it is applied: upserts (full rows), then deletes (keys); no key twice.
struct Normal {
    upserts: RecordBatch,
    /// Rows of which only the key columns count.
    deletes: Option<RecordBatch>,
    /// Of the upserts, then of the deletes.
    keys: TaggedKeys,
}

/// Bytes of a batch's values, not of the buffers it may share with others.
fn batch_bytes(batch: &RecordBatch) -> usize {
    let bytes = |column: &ArrayRef| match column.as_string_opt::<i32>() {
        Some(text) => {
            let offsets = text.value_offsets();
            (offsets[text.len()] - offsets[0]) as usize + text.len() * 4
        }
        None => column.data_type().primitive_width().map_or(column.len() / 8 + 1, |width| width * column.len()),
    };
    batch.columns().iter().map(bytes).sum()
}

impl Tablet {
    /// Stages rows: see the head of this file. Several batches of one transaction are staged and applied one after the other.
    ///
    /// Errors: `Invalid` for rows of another shape, NULL in a NOT NULL column, a delete without a primary key; `Limit` when compaction
    /// does not keep up; those of the disk.
    pub async fn stage(&self, rows: Rows) -> Result<Staged> {
        self.check_rowsets()?;
        let chosen = self.choose(&rows).await?;
        let limits = &self.env.limits;
        if rows.len() > limits.staged_rows || batch_bytes(&rows.batch) > limits.staged_bytes {
            return self.stage_files(rows, chosen).await;
        }
        let normal = self.normalize(&rows, chosen)?;
        let part = self.rows_part(&normal)?;
        self.stage_memory(normal, part).await
    }

    /// Stages a delete by condition, for a table without a primary key: rows older than its commit that match all predicates.
    ///
    /// Errors: `Invalid` for a table with a primary key, no predicate, or a column that is not there.
    pub fn stage_delete(&self, predicates: Vec<Predicate>) -> Result<Staged> {
        let columns = self.schema.columns.len();
        if self.is_primary() || predicates.is_empty() || predicates.iter().any(|p| p.column() >= columns) {
            return Err(StorageError::Invalid(
                "delete by condition needs a duplicate-key table and known columns".into(),
            ));
        }
        let part = self.part_of(PartBody::DeleteWhere(predicates.clone()));
        Ok(Staged { part, body: StagedBody::DeleteWhere(predicates), ticket: self.open_ticket() })
    }

    /// The tablet's part of the commit record.
    pub fn part(&self, staged: &Staged) -> TabletPart {
        staged.part.clone()
    }

    /// Gives up a staged batch and removes its files.
    pub async fn discard(&self, staged: Staged) -> Result<()> {
        match staged.body {
            StagedBody::Files(files) => self.unlink(&files.iter().map(|f| f.file.file).collect::<Vec<_>>()).await,
            _ => Ok(()),
        }
    }

    pub(super) fn open_ticket(&self) -> Ticket {
        let turns = self.state.borrow().turns;
        self.tickets.open(turns)
    }

    pub(super) fn part_of(&self, body: PartBody) -> TabletPart {
        TabletPart { tablet: self.id, schema_version: self.schema.version, body }
    }

    /// Replay: stages the rows of a record, in memory whatever their number.
    pub(super) async fn stage_again(&self, rows: Rows, part: TabletPart) -> Result<Staged> {
        let chosen = self.choose(&rows).await?;
        self.stage_memory(self.normalize(&rows, chosen)?, part).await
    }

    async fn stage_memory(&self, normal: Normal, part: TabletPart) -> Result<Staged> {
        self.index().await?;
        // The ticket comes first: whatever is written from here on is remembered for this batch (R6).
        let ticket = self.open_ticket();
        let keys = self.probe(normal.keys).await?;
        Ok(Staged { part, body: StagedBody::Memory(StagedRows { upserts: normal.upserts, keys }), ticket })
    }

    /// R2: an apply must find a slot, so staging stops at half of them.
    fn check_rowsets(&self) -> Result<()> {
        let taken = self.state.borrow().slots.taken();
        if taken < Slots::MAX / 2 {
            return Ok(());
        }
        let detail = format!("{taken} of at most {}; compaction does not keep up, load more slowly", Slots::MAX / 2);
        Err(StorageError::Limit { limit: "rowsets of a tablet", detail })
    }

    /// Checks the rows and finds the last one of each key, in slices.
    async fn choose(&self, rows: &Rows) -> Result<Chosen> {
        let batch = &rows.batch;
        if batch.num_columns() != self.arrow.fields().len() {
            let (found, expected) = (batch.num_columns(), self.arrow.fields().len());
            return Err(StorageError::Invalid(format!("rows of {found} columns for a tablet of {expected}")));
        }
        let deletes = rows.deletes.as_ref().is_some_and(|d| d.count_set_bits() > 0);
        if !self.is_primary() {
            if deletes {
                return Err(StorageError::Invalid("a row delete needs a primary key".into()));
            }
            return Ok(Chosen { keys: TaggedKeys::default(), lost: Vec::new() });
        }
        self.check_keys(batch)?;
        let keys = self.tag_keys(batch).await?;
        let mut last = LastOfEachKey::new(batch.num_rows());
        let mut end = batch.num_rows();
        while end > 1 {
            let start = end.saturating_sub(PROBE_KEYS);
            last.scan(&keys, start..end);
            end = start;
            self.env.disk.yield_now().await;
        }
        Ok(Chosen { keys, lost: last.lost() })
    }

    /// Brings a small batch into the order in which it is applied.
    fn normalize(&self, rows: &Rows, chosen: Chosen) -> Result<Normal> {
        let deletes = rows.deletes.as_ref().filter(|d| d.count_set_bits() > 0);
        if deletes.is_none() && chosen.lost.is_empty() {
            return Ok(Normal { upserts: self.full_rows(&rows.batch)?, deletes: None, keys: chosen.keys });
        }
        let kept = chosen.kept(rows.len());
        let dies = |row: &u32| deletes.is_some_and(|deletes| deletes.value(*row as usize));
        let (gone, mut order): (Vec<u32>, Vec<u32>) = kept.set_indices().map(|row| row as u32).partition(dies);
        let upserts = take_record_batch(&rows.batch, &UInt32Array::from(order.clone()))?;
        order.extend(&gone);
        let keys = chosen.keys.take(&order);
        let deletes = match gone.is_empty() {
            true => None,
            false => Some(take_record_batch(&rows.batch, &UInt32Array::from(gone))?),
        };
        Ok(Normal { upserts: self.full_rows(&upserts)?, deletes, keys })
    }

    /// The batch under the tablet's own schema, which refuses NULL where the table does.
    fn full_rows(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let full = RecordBatch::try_new_with_options(self.arrow.clone(), batch.columns().to_vec(), &options);
        full.map_err(|e| StorageError::Invalid(format!("rows do not fit the table: {e}")))
    }

    fn check_keys(&self, batch: &RecordBatch) -> Result<()> {
        for (column, field) in batch.columns().iter().zip(self.arrow.fields()).take(self.schema.key_columns as usize) {
            if column.data_type() != field.data_type() {
                let (name, ty) = (field.name(), field.data_type());
                return Err(StorageError::Invalid(format!("key column {name} is {}, not {ty}", column.data_type())));
            }
            if !field.is_nullable() && column.null_count() > 0 {
                return Err(StorageError::Invalid(format!("NULL in key column {}", field.name())));
            }
        }
        Ok(())
    }

    /// R1: the record holds the rows; replay stages them again.
    fn rows_part(&self, normal: &Normal) -> Result<TabletPart> {
        let mut bytes = Vec::with_capacity(batch_bytes(&normal.upserts) + 64 * (normal.upserts.num_columns() + 1));
        let rows = match &normal.deletes {
            None => Rows::upserts(normal.upserts.clone()),
            Some(deletes) => {
                let relaxed = rows::relaxed(&self.schema);
                let upserts = RecordBatch::try_new(relaxed.clone(), normal.upserts.columns().to_vec())?;
                let deletes = RecordBatch::try_new(relaxed.clone(), deletes.columns().to_vec())?;
                let first = upserts.num_rows();
                let batch = concat_batches(&relaxed, [&upserts, &deletes])?;
                let marks = BooleanBuffer::collect_bool(batch.num_rows(), |row| row >= first);
                Rows { batch, deletes: Some(marks) }
            }
        };
        rows::encode(&rows, &mut bytes)?;
        Ok(self.part_of(PartBody::Rows(Bytes::from(bytes))))
    }

    /// R6: where each key is now. The caller has opened its ticket.
    pub(super) async fn probe(&self, keys: TaggedKeys) -> Result<ProbedKeys> {
        let Some(encoded) = keys.keys.clone() else {
            return Ok(ProbedKeys { keys, at: Vec::new() });
        };
        let mut at = vec![Locator::NONE; keys.tags.len()];
        for first in (0..keys.tags.len()).step_by(PROBE_KEYS) {
            let last = keys.tags.len().min(first + PROBE_KEYS);
            let groups = self.state.borrow().candidates(&keys.tags[first..last]);
            for (rowset, mut rows) in groups.into_values() {
                rows.sort_unstable();
                let numbers: Vec<u32> = rows.iter().map(|row| row.0).collect();
                let stored = rowset.take(&self.schema.key_positions(), &numbers).await?;
                let stored = self.codec.encode(&stored)?;
                for (i, &(row, key)) in rows.iter().enumerate() {
                    let key = first + key as usize;
                    if stored.get(i) == encoded.get(key) {
                        at[key] = Locator { slot: rowset.slot, row };
                    }
                }
            }
            self.env.disk.yield_now().await;
        }
        Ok(ProbedKeys { keys, at })
    }

    /// R6: a big batch is sorted into segment files, which are synced before the number. What the writer refuses (NULL in a NOT NULL
    /// column) fails here as well.
    async fn stage_files(&self, rows: Rows, chosen: Chosen) -> Result<Staged> {
        self.index().await?;
        let kept = chosen.kept(rows.len());
        drop(chosen);
        let gone = rows.deletes.as_ref().map(|deletes| &kept & deletes).filter(|gone| gone.count_set_bits() > 0);
        let upserts = match &gone {
            Some(gone) => &kept & &!gone,
            None => kept,
        };
        let mut files = Vec::new();
        for (mask, deletes) in [(Some(upserts), false), (gone, true)] {
            let Some(mask) = mask.filter(|mask| mask.count_set_bits() > 0) else { continue };
            // Only keys count in a delete, but a segment has full rows: the rest is written as it came.
            let schema = if deletes { self.relaxed_schema() } else { self.schema.clone() };
            let mut merge = Merge::new(schema, self.env.clone());
            let mut live = |first: u32, batch: &RecordBatch| Ok(Some(mask.slice(first as usize, batch.num_rows())));
            merge.add_memory(0, &[(0, rows.batch.clone())], Some(&mut live)).await?;
            for written in merge.write(self, &mut []).await? {
                files.push(StagedFile { file: written.file, rows: written.rows, bytes: written.bytes, deletes });
            }
        }
        drop(rows);
        let ticket = self.open_ticket();
        let mut segments = Vec::with_capacity(files.len());
        for file in &files {
            segments.push(self.open_staged(*file).await?);
        }
        let part = self.part_of(PartBody::Files(files));
        Ok(Staged { part, body: StagedBody::Files(segments), ticket })
    }

    /// Opens a staged file, and reads and probes its keys.
    pub(super) async fn open_staged(&self, file: StagedFile) -> Result<StagedSegment> {
        let segment = Segment::open(&self.env.disk, &self.env.cache, &file.file.path(), file.file).await?;
        if segment.rows() != file.rows {
            return Err(StorageError::corrupt(&file.file.path(), 0, format!("{} rows", file.rows), segment.rows()));
        }
        let keys = if self.is_primary() {
            let keys = self.read_keys(&segment).await?;
            self.probe(keys).await?
        } else {
            ProbedKeys::none()
        };
        Ok(StagedSegment { file, segment, keys })
    }

    fn relaxed_schema(&self) -> std::sync::Arc<crate::schema::TabletSchema> {
        let mut schema = (*self.schema).clone();
        schema.columns.iter_mut().skip(schema.key_columns as usize).for_each(|column| column.nullable = true);
        schema.sort_columns = (0..schema.key_columns).collect();
        std::sync::Arc::new(schema)
    }
}

/// Candidates of a probe by rowset: (row there, index of the key).
pub(super) type Candidates = BTreeMap<u16, (Rc<Rowset>, Vec<(u32, u32)>)>;

impl State {
    /// The rows that may hold the keys of these hashed tags.
    pub(super) fn candidates(&self, tags: &[u64]) -> Candidates {
        let mut found = Vec::with_capacity(tags.len());
        self.index.candidates(tags, &mut found);
        let mut groups = Candidates::new();
        for (key, locator) in found {
            self.group(&mut groups, locator, key);
        }
        groups
    }

    /// Adds one position, translated, to its rowset's group.
    pub(super) fn group(&self, groups: &mut Candidates, locator: Locator, key: u32) {
        let locator = self.slots.resolve(locator);
        if let Some(rowset) = self.slots.rowset(locator.slot) {
            let group = groups.entry(locator.slot).or_insert_with(|| (rowset.clone(), Vec::new()));
            group.1.push((locator.row, key));
        }
    }
}
