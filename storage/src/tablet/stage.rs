//! Staging: everything about a batch that can fail or takes I/O, done before its transaction gets a number (R2, R6).
//!
//! Of rows with equal keys the last one counts. Exact tags need no probe: they are looked up again at apply, in memory. Hashed tags
//! are probed at p, and every candidate is verified against the stored key columns; keys written between p and apply are
//! found in the tablet's memory of recent keys. Big batches become sorted, synced segment files.

use super::keys::{TaggedKeys, last_of_each_key};
use super::merge::{Merge, Output};
use super::recent::Ticket;
use super::{State, Tablet};
use crate::error::{Result, StorageError};
use crate::index::Locator;
use crate::log::{PartBody, StagedFile, TabletPart};
use crate::rows::{self, Rows};
use crate::rowset::Rowset;
use crate::schema::Predicate;
use crate::segment::Segment;
use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
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
        ProbedKeys { keys: TaggedKeys { tags: Vec::new(), keys: None }, at: Vec::new() }
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

/// A batch brought into the order in which it is applied: upserts (full rows), then deletes (keys); no key twice.
pub(super) struct Normal {
    pub(super) upserts: RecordBatch,
    /// Rows of which only the key columns count.
    pub(super) deletes: Option<RecordBatch>,
    pub(super) keys: TaggedKeys,
}

impl Tablet {
    /// Stages rows: see the head of this file. Several batches of one transaction are staged and applied one after the other.
    ///
    /// Errors: `Invalid` for rows of another shape, NULL in a NOT NULL column, a delete without a primary key; those of the disk.
    pub async fn stage(&self, rows: Rows) -> Result<Staged> {
        if rows.len() > self.env.limits.staged_rows || rows.memory_bytes() > self.env.limits.staged_bytes {
            return self.stage_files(rows).await;
        }
        let normal = self.normalize(&rows)?;
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

    pub(super) async fn stage_memory(&self, normal: Normal, part: TabletPart) -> Result<Staged> {
        self.index().await?;
        // The ticket comes first: whatever is written from here on is remembered for this batch (R6).
        let ticket = self.open_ticket();
        let keys = self.probe(normal.keys).await?;
        Ok(Staged { part, body: StagedBody::Memory(StagedRows { upserts: normal.upserts, keys }), ticket })
    }

    /// Checks the rows and drops all but the last row of each key.
    pub(super) fn normalize(&self, rows: &Rows) -> Result<Normal> {
        let batch = &rows.batch;
        if batch.num_columns() != self.arrow.fields().len() {
            let (found, expected) = (batch.num_columns(), self.arrow.fields().len());
            return Err(StorageError::Invalid(format!("rows of {found} columns for a tablet of {expected}")));
        }
        if !self.is_primary() {
            if rows.deletes.as_ref().is_some_and(|d| d.count_set_bits() > 0) {
                return Err(StorageError::Invalid("a row delete needs a primary key".into()));
            }
            let keys = TaggedKeys { tags: Vec::new(), keys: None };
            return Ok(Normal { upserts: self.full_rows(batch)?, deletes: None, keys });
        }
        self.check_keys(batch)?;
        let mut keys = self.codec.tag(batch)?;
        let (mut batch, mut deletes) = (batch.clone(), rows.deletes.clone());
        if let Some(kept) = last_of_each_key(&keys) {
            deletes = deletes.map(|d| BooleanBuffer::collect_bool(kept.len(), |i| d.value(kept[i] as usize)));
            batch = take_record_batch(&batch, &UInt32Array::from(kept))?;
            keys = self.codec.tag(&batch)?;
        }
        let Some(deletes) = deletes.filter(|d| d.count_set_bits() > 0) else {
            return Ok(Normal { upserts: self.full_rows(&batch)?, deletes: None, keys });
        };
        let upserts = filter_record_batch(&batch, &BooleanArray::new(!&deletes, None))?;
        let deletes = filter_record_batch(&batch, &BooleanArray::new(deletes, None))?;
        let ordered = concat_batches(&batch.schema(), [&upserts, &deletes])?;
        Ok(Normal { upserts: self.full_rows(&upserts)?, deletes: Some(deletes), keys: self.codec.tag(&ordered)? })
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
        let mut bytes = Vec::with_capacity(normal.upserts.get_array_memory_size() + 64);
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

    /// R6: a big batch is sorted into segment files, which are synced before the number.
    async fn stage_files(&self, rows: Rows) -> Result<Staged> {
        let normal = self.normalize(&rows)?;
        drop(rows);
        self.index().await?;
        let mut files = Vec::new();
        for (batch, deletes) in [(Some(normal.upserts), false), (normal.deletes, true)] {
            let Some(batch) = batch.filter(|batch| batch.num_rows() > 0) else { continue };
            // Only keys count in a delete, but a segment has full rows: the rest is written as it came.
            let schema = if deletes { self.relaxed_schema() } else { self.schema.clone() };
            let mut merge = Merge::new(schema.clone(), self.env.clone());
            merge.add_memory(0, &[(0, batch)], None).await?;
            let mut output = Output::new(self, schema);
            merge.run(&mut output, &mut Vec::new()).await?;
            for written in output.finish().await? {
                files.push((
                    StagedFile { file: written.file, rows: written.rows, bytes: written.bytes, deletes },
                    written,
                ));
            }
        }
        self.env.disk.sync_dir("seg").await?;
        let ticket = self.open_ticket();
        let mut segments = Vec::with_capacity(files.len());
        for (file, _) in &files {
            segments.push(self.open_staged(*file).await?);
        }
        let part = self.part_of(PartBody::Files(files.into_iter().map(|f| f.0).collect()));
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
