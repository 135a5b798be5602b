//! Snapshots and scans. A scan goes rowset by rowset, at most eight vectors at a time: dead rows out, pruned vectors out, predicate
//! columns first, the other columns only where something survived (late materialisation; Abadi et al., ICDE 2007). It yields
//! between pieces.
//!
//! A snapshot holds its rowsets by `Rc`, so that rewriting and reclaiming go on under it (R15).

use super::predicate::evaluate;
use super::{DeleteWhere, check_age};
use crate::delvector::DeadView;
use crate::disk::DiskRef;
use crate::error::{Result, StorageError};
use crate::ids::Seq;
use crate::memtable::Memtable;
use crate::rowset::{Rowset, RowsetData};
use crate::schema::Predicate;
use crate::segment::Segment;
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat_batches, filter};
use arrow::datatypes::SchemaRef;
use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

/// Rows of a piece: eight vectors.
const PIECE_ROWS: u32 = 8 * VECTOR_ROWS;
const VECTOR_ROWS: u32 = crate::encoding::VECTOR_ROWS as u32;
/// Deaths above the snapshot that a scan takes note of between two yields (P7).
const CATCH_UP: usize = 4096;
/// When fewer than one row in this many survives, single values are decoded instead of ranges.
const SPARSE: usize = 64;

/// What to read.
#[derive(Clone, Debug)]
pub struct ScanSpec {
    /// Column positions, in the order of the result. None: the batches have rows and no columns.
    pub columns: Vec<usize>,
    /// All of them must match; evaluated exactly.
    pub predicates: Vec<Predicate>,
    /// Stop after so many rows.
    pub limit: Option<usize>,
    /// Rows of a batch at most; small remainders are gathered until there are about as many.
    pub batch_rows: usize,
}

impl Default for ScanSpec {
    fn default() -> ScanSpec {
        ScanSpec { columns: Vec::new(), predicates: Vec::new(), limit: None, batch_rows: PIECE_ROWS as usize }
    }
}

/// What a scan has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanCounters {
    /// Rowsets visited.
    pub rowsets: u64,
    /// Vectors of 1024 rows that were looked at; memory counts as well.
    pub vectors_read: u64,
    /// Vectors that zone maps, short keys or delete vectors excluded.
    pub vectors_pruned: u64,
    /// Rows that were alive in the vectors read.
    pub rows_read: u64,
    /// Rows returned.
    pub rows_returned: u64,
    /// Bytes of the columns decoded or sliced.
    pub bytes: u64,
}

/// What a tablet holds at one number.
pub struct TabletSnapshot {
    at: Seq,
    rowsets: Vec<Rc<Rowset>>,
    deletes: Rc<Vec<Rc<DeleteWhere>>>,
    schema: SchemaRef,
    disk: DiskRef,
    oldest: Rc<Cell<Seq>>,
}

impl TabletSnapshot {
    pub(super) fn new(
        at: Seq,
        rowsets: Vec<Rc<Rowset>>,
        deletes: Rc<Vec<Rc<DeleteWhere>>>,
        schema: SchemaRef,
        disk: DiskRef,
        oldest: Rc<Cell<Seq>>,
    ) -> TabletSnapshot {
        TabletSnapshot { at, rowsets, deletes, schema, disk, oldest }
    }

    /// Its number.
    pub fn at(&self) -> Seq {
        self.at
    }

    /// Rows in its rowsets, dead ones included: an upper bound of what a scan returns.
    pub fn rows_max(&self) -> u64 {
        self.rowsets.iter().map(|rowset| u64::from(rowset.rows_at(self.at))).sum()
    }

    /// A scan of all its rows, in no promised order.
    pub fn scan(self, spec: ScanSpec) -> TabletScan {
        let columns: Vec<_> = spec.columns.iter().filter_map(|&c| self.schema.fields().get(c).cloned()).collect();
        let schema = Arc::new(arrow::datatypes::Schema::new(columns));
        TabletScan {
            at: self.at,
            left: self.rowsets.into(),
            deletes: self.deletes,
            table_columns: self.schema.fields().len(),
            schema,
            disk: self.disk,
            oldest: self.oldest,
            current: None,
            ready: VecDeque::new(),
            pending: Vec::new(),
            pending_rows: 0,
            counters: ScanCounters::default(),
            spec,
        }
    }
}

/// A running scan.
pub struct TabletScan {
    at: Seq,
    spec: ScanSpec,
    left: VecDeque<Rc<Rowset>>,
    deletes: Rc<Vec<Rc<DeleteWhere>>>,
    table_columns: usize,
    schema: SchemaRef,
    disk: DiskRef,
    /// What only snapshots below this read may be gone (R11).
    oldest: Rc<Cell<Seq>>,
    current: Option<Cursor>,
    ready: VecDeque<RecordBatch>,
    pending: Vec<RecordBatch>,
    pending_rows: usize,
    counters: ScanCounters,
}

/// Where a scan is within a rowset.
struct Cursor {
    rowset: Rc<Rowset>,
    view: DeadView,
    /// Conditions of deletes that this rowset has still to apply: with the rows, from the first on, that are older.
    deletes: Vec<(Rc<DeleteWhere>, u32)>,
    pieces: VecDeque<Piece>,
}

enum Piece {
    Memory { first: u32, batch: RecordBatch },
    File { segment: Rc<Segment>, rows: Range<u32> },
}

impl TabletScan {
    /// The schema of its batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// What it has done so far.
    pub fn counters(&self) -> ScanCounters {
        self.counters
    }

    /// The next rows; `None` at the end. Batches are never empty.
    ///
    /// Errors: `Invalid` for a column that is not there or a value of another type than its column; `SnapshotTooOld` when its pin was
    /// taken away; `Corrupt`; those of the disk.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        self.check()?;
        loop {
            let left = self.spec.limit.map_or(usize::MAX, |l| l - (self.counters.rows_returned as usize).min(l));
            if left == 0 {
                return Ok(None);
            }
            if let Some(batch) = self.ready.pop_front() {
                let batch = if batch.num_rows() > left { batch.slice(0, left) } else { batch };
                self.counters.rows_returned += batch.num_rows() as u64;
                return Ok(Some(batch));
            }
            if self.pending_rows >= left {
                self.gather()?;
                continue;
            }
            match self.piece().await? {
                Some(piece) => self.evaluate(piece).await?,
                None if self.pending.is_empty() => return Ok(None),
                None => self.gather()?,
            }
            self.disk.yield_now().await;
        }
    }

    fn check(&self) -> Result<()> {
        check_age(self.at, self.oldest.get())?;
        let used = self.spec.columns.iter().copied().chain(self.spec.predicates.iter().map(Predicate::column));
        match used.filter(|&column| column >= self.table_columns).max() {
            Some(column) => Err(StorageError::Invalid(format!("column {column} of {}", self.table_columns))),
            None => Ok(()),
        }
    }

    /// The next piece of the current rowset, or of the next one.
    async fn piece(&mut self) -> Result<Option<Piece>> {
        loop {
            if let Some(cursor) = &mut self.current {
                if let Some(piece) = cursor.pieces.pop_front() {
                    return Ok(Some(piece));
                }
                self.current = None;
            }
            let Some(rowset) = self.left.pop_front() else { return Ok(None) };
            self.counters.rowsets += 1;
            let cursor = self.open(rowset).await?;
            self.current = Some(cursor);
        }
    }

    async fn open(&mut self, rowset: Rc<Rowset>) -> Result<Cursor> {
        let pieces = match &rowset.data {
            RowsetData::Memory(memtable) => memory_pieces(memtable, rowset.rows_at(self.at))?,
            RowsetData::File { segment, .. } => {
                let set = segment.prune(&self.spec.predicates).await?;
                self.counters.vectors_pruned += (set.vectors() - set.count()) as u64;
                let cut = |range: Range<u32>| {
                    let ends = range.clone().step_by(PIECE_ROWS as usize);
                    ends.map(move |start| start..range.end.min(start.saturating_add(PIECE_ROWS))).collect::<Vec<_>>()
                };
                let file = |rows| Piece::File { segment: segment.clone(), rows };
                set.row_ranges().into_iter().flat_map(cut).map(file).collect()
            }
        };
        let applies = |delete: &&Rc<DeleteWhere>| delete.seq <= self.at && delete.seq > rowset.clean;
        let older = |delete: &Rc<DeleteWhere>| match rowset.memtable() {
            Some(memtable) => memtable.rows_at(Seq(delete.seq.0 - 1)),
            None => u32::MAX,
        };
        let deletes = self.deletes.iter().filter(applies).map(|delete| (delete.clone(), older(delete))).collect();
        let view = rowset.dead.borrow().view(self.at);
        Ok(Cursor { rowset, view, deletes, pieces })
    }

    /// Reads a piece and keeps what survives.
    async fn evaluate(&mut self, piece: Piece) -> Result<()> {
        let Some(cursor) = &mut self.current else { return Ok(()) };
        let (first, rows) = match &piece {
            Piece::Memory { first, batch } => (*first, batch.num_rows()),
            Piece::File { rows, .. } => (rows.start, rows.len()),
        };
        let vectors = rows.div_ceil(VECTOR_ROWS as usize) as u64;
        while !cursor.view.catch_up(&cursor.rowset.dead.borrow(), CATCH_UP) {
            self.disk.yield_now().await;
        }
        // Here, in one step with the look at the dead rows: they may be folded at any await.
        check_age(self.at, self.oldest.get())?;
        let live = cursor.view.live(&cursor.rowset.dead.borrow(), first, rows as u32);
        if live.as_ref().is_some_and(|live| live.count_set_bits() == 0) {
            self.counters.vectors_pruned += vectors;
            return Ok(());
        }
        self.counters.vectors_read += vectors;
        self.counters.rows_read += live.as_ref().map_or(rows, BooleanBuffer::count_set_bits) as u64;
        let mut columns = Columns { piece, read: Vec::new() };
        let mut mask = live;
        let deletes = cursor.deletes.clone();
        for (delete, older) in &deletes {
            let matches = columns.matches(&delete.predicates, None).await?;
            let old = older.saturating_sub(first) as usize;
            let dies = BooleanBuffer::collect_bool(rows, |row| row < old && matches.value(row));
            mask = Some(and(mask, !&dies));
        }
        if !self.spec.predicates.is_empty() {
            mask = Some(columns.matches(&self.spec.predicates, mask).await?);
        }
        let batch = columns.select(&self.spec.columns, mask, &self.schema).await?;
        self.counters.bytes += columns.read.iter().map(|(_, array)| array.get_array_memory_size() as u64).sum::<u64>();
        self.keep(batch)
    }

    /// Passes big batches on, gathers small ones.
    fn keep(&mut self, batch: RecordBatch) -> Result<()> {
        let (rows, most) = (batch.num_rows(), self.spec.batch_rows.max(1));
        if rows == 0 {
            return Ok(());
        }
        if rows * 2 >= most {
            self.gather()?;
            for start in (0..rows).step_by(most) {
                self.ready.push_back(batch.slice(start, most.min(rows - start)));
            }
            return Ok(());
        }
        if self.pending_rows + rows > most {
            self.gather()?;
        }
        self.pending_rows += rows;
        self.pending.push(batch);
        Ok(())
    }

    fn gather(&mut self) -> Result<()> {
        self.pending_rows = 0;
        match self.pending.len() {
            0 => {}
            1 => self.ready.extend(self.pending.pop()),
            _ => self.ready.push_back(concat_batches(&self.schema, &std::mem::take(&mut self.pending))?),
        }
        Ok(())
    }
}

fn memory_pieces(memtable: &Memtable, rows: u32) -> Result<VecDeque<Piece>> {
    let mut pieces = VecDeque::new();
    for (first, batch) in memtable.batches(rows)? {
        for start in (0..batch.num_rows()).step_by(PIECE_ROWS as usize) {
            let batch = batch.slice(start, (batch.num_rows() - start).min(PIECE_ROWS as usize));
            pieces.push_back(Piece::Memory { first: first + start as u32, batch });
        }
    }
    Ok(pieces)
}

fn and(a: Option<BooleanBuffer>, b: BooleanBuffer) -> BooleanBuffer {
    match a {
        Some(a) => &a & &b,
        None => b,
    }
}

/// The columns of a piece, read when first asked for.
struct Columns {
    piece: Piece,
    read: Vec<(usize, ArrayRef)>,
}

impl Columns {
    fn rows(&self) -> usize {
        match &self.piece {
            Piece::Memory { batch, .. } => batch.num_rows(),
            Piece::File { rows, .. } => rows.len(),
        }
    }

    async fn load(&mut self, wanted: &[usize]) -> Result<()> {
        let mut missing: Vec<usize> = wanted.iter().copied().filter(|c| !self.read.iter().any(|r| r.0 == *c)).collect();
        missing.sort_unstable();
        missing.dedup();
        match &self.piece {
            Piece::Memory { batch, .. } => self.read.extend(missing.iter().map(|&c| (c, batch.column(c).clone()))),
            Piece::File { .. } if missing.is_empty() => {}
            Piece::File { segment, rows } => {
                let batch = segment.read(&missing, rows.start, rows.len() as u32).await?;
                self.read.extend(missing.into_iter().zip(batch.columns().iter().cloned()));
            }
        }
        Ok(())
    }

    fn column(&self, column: usize) -> Result<&ArrayRef> {
        let found = self.read.iter().find(|read| read.0 == column).map(|read| &read.1);
        found.ok_or_else(|| StorageError::Invalid(format!("column {column} was not read")))
    }

    /// The rows of `mask` that match all predicates; one column after the other, and no further once nothing is left.
    async fn matches(&mut self, predicates: &[Predicate], mut mask: Option<BooleanBuffer>) -> Result<BooleanBuffer> {
        for predicate in predicates {
            if mask.as_ref().is_some_and(|mask| mask.count_set_bits() == 0) {
                break;
            }
            self.load(&[predicate.column()]).await?;
            mask = Some(and(mask, evaluate(predicate, self.column(predicate.column())?)?));
        }
        Ok(mask.unwrap_or_else(|| BooleanBuffer::new_set(self.rows())))
    }

    /// The chosen columns of the chosen rows.
    async fn select(
        &mut self,
        columns: &[usize],
        mask: Option<BooleanBuffer>,
        schema: &SchemaRef,
    ) -> Result<RecordBatch> {
        let rows = self.rows();
        let mask = mask.filter(|mask| mask.count_set_bits() < rows);
        let count = mask.as_ref().map_or(rows, BooleanBuffer::count_set_bits);
        if count == 0 {
            return Ok(RecordBatch::new_empty(schema.clone()));
        }
        let mut few: Vec<(usize, ArrayRef)> = Vec::new();
        if let (Piece::File { segment, rows }, Some(mask)) = (&self.piece, &mask)
            && count * SPARSE < rows.len()
        {
            let mut missing: Vec<usize> =
                columns.iter().copied().filter(|c| !self.read.iter().any(|r| r.0 == *c)).collect();
            missing.sort_unstable();
            missing.dedup();
            if !missing.is_empty() {
                let chosen: Vec<u32> = mask.set_indices().map(|row| rows.start + row as u32).collect();
                let batch = segment.take(&missing, &chosen).await?;
                few = missing.into_iter().zip(batch.columns().iter().cloned()).collect();
            }
        }
        let rest: Vec<usize> = columns.iter().copied().filter(|c| !few.iter().any(|f| f.0 == *c)).collect();
        self.load(&rest).await?;
        let mask = mask.map(|mask| BooleanArray::new(mask, None));
        let mut arrays = Vec::with_capacity(columns.len());
        for &column in columns {
            arrays.push(match (few.iter().find(|f| f.0 == column), &mask) {
                (Some(few), _) => few.1.clone(),
                (None, Some(mask)) => filter(self.column(column)?, mask)?,
                (None, None) => self.column(column)?.clone(),
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(schema.clone(), arrays, &options)?)
    }
}
