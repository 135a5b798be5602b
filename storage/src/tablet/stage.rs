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
use crate::key::Keys;
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

/// Keys probed together: the pages of a file are opened once for all of them.
const PROBE_KEYS: usize = 8192;
/// Keys looked at between two yields (P7).
const SLICE_KEYS: usize = 1024;
/// Rows, and about as many bytes, of a batch in memory that are handled in one go (P7).
const PIECE_ROWS: usize = 4096;
const PIECE_BYTES: usize = 512 << 10;

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

/// Which rows of all batches are deletes; `None` when there is no such mark.
fn joined_deletes(rows: &[Rows]) -> Option<BooleanBuffer> {
    rows.iter().any(|rows| rows.deletes.is_some()).then(|| {
        let mut bits = BooleanBufferBuilder::new(rows.iter().map(Rows::len).sum());
        for rows in rows {
            match &rows.deletes {
                Some(deletes) => bits.append_buffer(deletes),
                None => bits.append_n(rows.len(), false),
            }
        }
        bits.finish()
    })
}

/// Rows in their order, gathered and cut into pieces that are handled in one go.
fn pieces(rows: Vec<Rows>) -> Vec<Vec<Rows>> {
    let (mut pieces, mut piece, mut count, mut bytes) = (Vec::new(), Vec::new(), 0, 0);
    for rows in rows {
        let all = batch_bytes(&rows.batch);
        let parts = (all / PIECE_BYTES + 1).max(rows.len().div_ceil(PIECE_ROWS));
        let step = rows.len().div_ceil(parts).max(1);
        for start in (0..rows.len()).step_by(step) {
            let len = step.min(rows.len() - start);
            let deletes = rows.deletes.as_ref().map(|deletes| deletes.slice(start, len));
            if !piece.is_empty() && (count + len > PIECE_ROWS || bytes + all / parts > PIECE_BYTES) {
                pieces.push(std::mem::take(&mut piece));
                (count, bytes) = (0, 0);
            }
            (count, bytes) = (count + len, bytes + all / parts);
            piece.push(Rows { batch: rows.batch.slice(start, len), deletes });
        }
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

impl Tablet {
    /// Stages rows that came in any number of batches, the later ones written over the earlier ones. Many become files, few are staged
    /// in pieces that are small enough to be handled in one go (P7). What it gives is applied in this order, under one number.
    ///
    /// Errors: as [`Tablet::stage`]; nothing is left behind.
    pub async fn stage_all(&self, rows: Vec<Rows>) -> Result<Vec<Staged>> {
        if self.is_big(&rows) {
            self.check_rowsets()?;
            let chosen = self.choose(&rows).await?;
            return Ok(vec![self.stage_files(rows, chosen).await?]);
        }
        let mut staged = Vec::new();
        for piece in pieces(rows) {
            let piece = self.join(piece)?;
            self.env.disk.yield_now().await;
            staged.push(self.stage(piece).await?);
        }
        Ok(staged)
    }

    /// Whether rows go to files.
    fn is_big(&self, rows: &[Rows]) -> bool {
        let limits = &self.env.limits;
        rows.iter().map(Rows::len).sum::<usize>() > limits.staged_rows
            || rows.iter().map(|rows| batch_bytes(&rows.batch)).sum::<usize>() > limits.staged_bytes
    }

    /// Some batches as one, which shares its memory with no other: a memtable that keeps it is charged for what it shows.
    fn join(&self, mut rows: Vec<Rows>) -> Result<Rows> {
        if rows.len() == 1 && rows[0].len() < SLICE_KEYS {
            // So few are copied by the memtable.
            return Ok(rows.remove(0));
        }
        let deletes = joined_deletes(&rows);
        let schema = if deletes.is_some() { rows::relaxed(&self.schema) } else { self.arrow.clone() };
        // One batch alone would be given back as the slice that it may be; beside an empty one it is copied.
        let empty = RecordBatch::new_empty(schema.clone());
        let batches = rows.iter().map(|rows| &rows.batch).chain([&empty]);
        Ok(Rows { batch: concat_batches(&schema, batches)?, deletes })
    }

    /// Stages one batch: see the head of this file. Several batches of one transaction are staged and applied one after the other.
    ///
    /// Errors: `Invalid` for rows of another shape, NULL in a NOT NULL column, a delete without a primary key; `Limit` when compaction
    /// does not keep up; those of the disk.
    pub async fn stage(&self, rows: Rows) -> Result<Staged> {
        self.check_rowsets()?;
        let one = std::slice::from_ref(&rows);
        let chosen = self.choose(one).await?;
        if self.is_big(one) {
            return self.stage_files(vec![rows], chosen).await;
        }
        let normal = self.normalize(&rows, chosen)?;
        self.env.disk.yield_now().await;
        let part = self.rows_part(&normal)?;
        self.env.disk.yield_now().await;
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
        let chosen = self.choose(std::slice::from_ref(&rows)).await?;
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
    async fn choose(&self, rows: &[Rows]) -> Result<Chosen> {
        for rows in rows {
            self.check(rows)?;
        }
        if !self.is_primary() {
            return Ok(Chosen { keys: TaggedKeys::default(), lost: Vec::new() });
        }
        let keys = self.tag_keys(rows.iter().map(|rows| &rows.batch)).await?;
        let mut last = LastOfEachKey::new(keys.tags.len());
        let mut end = keys.tags.len();
        while end > 1 {
            let start = end.saturating_sub(SLICE_KEYS);
            last.scan(&keys, start..end);
            end = start;
            self.env.disk.yield_now().await;
        }
        Ok(Chosen { keys, lost: last.lost() })
    }

    fn check(&self, rows: &Rows) -> Result<()> {
        let batch = &rows.batch;
        if batch.num_columns() != self.arrow.fields().len() {
            let (found, expected) = (batch.num_columns(), self.arrow.fields().len());
            return Err(StorageError::Invalid(format!("rows of {found} columns for a tablet of {expected}")));
        }
        if self.is_primary() {
            return self.check_keys(batch);
        }
        match rows.deletes.as_ref().is_some_and(|d| d.count_set_bits() > 0) {
            true => Err(StorageError::Invalid("a row delete needs a primary key".into())),
            false => Ok(()),
        }
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
            let mut groups = Candidates::new();
            for start in (first..last).step_by(SLICE_KEYS) {
                let tags = &keys.tags[start..last.min(start + SLICE_KEYS)];
                self.state.borrow().candidates(tags, start as u32, &mut groups);
                self.env.disk.yield_now().await;
            }
            for (rowset, mut rows) in groups.into_values() {
                rows.sort_unstable();
                // A file is read page by page, with other tasks in between; of memory a slice at a time is copied.
                let together = if rowset.memtable().is_some() { SLICE_KEYS } else { PROBE_KEYS };
                for rows in rows.chunks(together) {
                    self.verify(&rowset, rows, &encoded, &mut at).await?;
                }
            }
        }
        Ok(ProbedKeys { keys, at })
    }

    /// Compares the keys of candidates (row, index of the key) with those that are looked for.
    async fn verify(
        &self,
        rowset: &Rc<Rowset>,
        candidates: &[(u32, u32)],
        wanted: &Keys,
        at: &mut [Locator],
    ) -> Result<()> {
        let numbers: Vec<u32> = candidates.iter().map(|row| row.0).collect();
        let stored = rowset.take(&self.schema.key_positions(), &numbers).await?;
        for (slice, candidates) in candidates.chunks(SLICE_KEYS).enumerate() {
            let stored = self.codec.encode(&stored.slice(slice * SLICE_KEYS, candidates.len()))?;
            for (i, &(row, key)) in candidates.iter().enumerate() {
                if stored.get(i) == wanted.get(key as usize) {
                    at[key as usize] = Locator { slot: rowset.slot, row };
                }
            }
            self.env.disk.yield_now().await;
        }
        Ok(())
    }

    /// R6: a big batch is sorted into segment files, which are synced before the number. What the writer refuses (NULL in a NOT NULL
    /// column) fails here as well.
    async fn stage_files(&self, rows: Vec<Rows>, chosen: Chosen) -> Result<Staged> {
        self.index().await?;
        let kept = chosen.kept(rows.iter().map(Rows::len).sum());
        drop(chosen);
        let gone = joined_deletes(&rows).map(|deletes| &kept & &deletes).filter(|gone| gone.count_set_bits() > 0);
        let upserts = match &gone {
            Some(gone) => &kept & &!gone,
            None => kept,
        };
        let batches = self.numbered(&rows, gone.is_some())?;
        drop(rows);
        let mut files = Vec::new();
        for (mask, deletes) in [(Some(upserts), false), (gone, true)] {
            let Some(mask) = mask.filter(|mask| mask.count_set_bits() > 0) else { continue };
            // Only keys count in a delete, but a segment has full rows: the rest is written as it came.
            let schema = if deletes { self.relaxed_schema() } else { self.schema.clone() };
            let mut merge = Merge::new(schema, self.env.clone());
            let mut live = |first: u32, batch: &RecordBatch| Ok(Some(mask.slice(first as usize, batch.num_rows())));
            merge.add_memory(0, &batches, Some(&mut live)).await?;
            for written in merge.write(self, &mut []).await? {
                files.push(StagedFile { file: written.file, rows: written.rows, bytes: written.bytes, deletes });
            }
        }
        drop(batches);
        let ticket = self.open_ticket();
        let mut segments = Vec::with_capacity(files.len());
        for file in &files {
            segments.push(self.open_staged(*file).await?);
        }
        let part = self.part_of(PartBody::Files(files));
        Ok(Staged { part, body: StagedBody::Files(segments), ticket })
    }

    /// The batches under one schema, each with the number of its first row.
    fn numbered(&self, rows: &[Rows], deletes: bool) -> Result<Vec<(u32, RecordBatch)>> {
        let schema = if deletes { rows::relaxed(&self.schema) } else { self.arrow.clone() };
        let mut first = 0;
        let number = |rows: &Rows| {
            let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
            let batch = RecordBatch::try_new_with_options(schema.clone(), rows.batch.columns().to_vec(), &options)
                .map_err(|e| StorageError::Invalid(format!("rows do not fit the table: {e}")))?;
            first += rows.len() as u32;
            Ok((first - rows.len() as u32, batch))
        };
        rows.iter().map(number).collect()
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
    /// Adds the rows that may hold the keys of these hashed tags; the first of them is key number `first`.
    fn candidates(&self, tags: &[u64], first: u32, groups: &mut Candidates) {
        let mut found = Vec::with_capacity(tags.len());
        self.index.candidates(tags, &mut found);
        for (key, locator) in found {
            self.group(groups, locator, first + key);
        }
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
