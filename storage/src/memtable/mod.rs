//! The rows of recent commits, in memory and protected by the log. Append-only: every commit adds its rows at the end, so a
//! snapshot reads a prefix and the packed sequence of R12 is the list of commit boundaries. A million one-row commits are
//! one memtable, not a million rowsets.
//!
//! Rows lie in frozen Arrow batches and one small tail. A big commit becomes a frozen batch as it is; small ones gather in the
//! tail (`tail.rs`) until it is worth a batch. A scan slices frozen batches and copies at most one tail.
//!
//! Lives on the tablet's owner core inside its rowset; every call is synchronous.

mod tail;
#[cfg(test)]
mod tests;

use crate::error::Result;
use crate::ids::Seq;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::SchemaRef;
use std::cell::RefCell;
use std::sync::Arc;
use tail::Tail;

/// Rows after which the tail becomes a frozen batch.
const TAIL_ROWS: usize = 4096;
/// A commit of this many rows is kept as the batch it came in.
const BATCH_ROWS: usize = 1024;

/// Rows of the newest commits of a tablet.
pub struct Memtable {
    schema: SchemaRef,
    created_micros: u64,
    state: RefCell<State>,
}

struct State {
    frozen: Vec<Frozen>,
    tail: Tail,
    /// Rows of all frozen batches: the row number at which the tail begins.
    frozen_rows: u32,
    frozen_bytes: usize,
    /// (number, rows at its end), ascending in both; a commit without rows has a bound of its own.
    bounds: Vec<(Seq, u32)>,
    /// The tail as a batch, as of its row count, so that scans in a row copy it once.
    tail_copy: Option<RecordBatch>,
}

#[derive(Clone)]
struct Frozen {
    first: u32,
    batch: RecordBatch,
}

impl Memtable {
    /// An empty memtable.
    ///
    /// Errors: `Invalid` for a column type that cannot be stored.
    pub fn new(schema: SchemaRef, now_micros: u64) -> Result<Memtable> {
        let state = State {
            frozen: Vec::new(),
            tail: Tail::new(schema.clone())?,
            frozen_rows: 0,
            frozen_bytes: 0,
            bounds: Vec::new(),
            tail_copy: None,
        };
        Ok(Memtable { schema, created_micros: now_micros, state: RefCell::new(state) })
    }

    /// Appends the rows of commit `seq`, which is not below any earlier one; returns the number of the first row.
    pub fn append(&self, seq: Seq, batch: &RecordBatch) -> Result<u32> {
        let mut state = self.state.borrow_mut();
        let first = state.frozen_rows + state.tail.rows() as u32;
        let rows = batch.num_rows();
        if rows >= BATCH_ROWS {
            state.freeze_tail()?;
            state.push(batch.clone());
        } else if rows > 0 {
            state.tail.append(batch);
            if state.tail.rows() >= TAIL_ROWS {
                state.freeze_tail()?;
            }
        }
        let end = first + rows as u32;
        match state.bounds.last_mut() {
            Some(last) if last.0 == seq => last.1 = end,
            last => {
                debug_assert!(last.is_none_or(|last| last.0 < seq), "commits are applied in order");
                state.bounds.push((seq, end));
            }
        }
        Ok(first)
    }

    /// Rows of all commits.
    pub fn rows(&self) -> u32 {
        let state = self.state.borrow();
        state.frozen_rows + state.tail.rows() as u32
    }

    /// Rows of the commits up to `seq`: a snapshot's prefix.
    pub fn rows_at(&self, seq: Seq) -> u32 {
        let state = self.state.borrow();
        match state.bounds.partition_point(|bound| bound.0 <= seq) {
            0 => 0,
            n => state.bounds[n - 1].1,
        }
    }

    /// The commit that wrote the row.
    pub fn born(&self, row: u32) -> Seq {
        let state = self.state.borrow();
        let n = state.bounds.partition_point(|bound| bound.1 <= row);
        state.bounds.get(n).map_or(Seq::MAX, |bound| bound.0)
    }

    /// The first and the last commit; `None` while there is none.
    pub fn span(&self) -> Option<(Seq, Seq)> {
        let state = self.state.borrow();
        Some((state.bounds.first()?.0, state.bounds.last()?.0))
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        let state = self.state.borrow();
        state.frozen_bytes + state.tail.bytes() + state.bounds.capacity() * size_of::<(Seq, u32)>()
    }

    /// When it was made.
    pub fn created_micros(&self) -> u64 {
        self.created_micros
    }

    /// The first `rows` rows as batches with the row number at which each begins.
    pub fn batches(&self, rows: u32) -> Result<Vec<(u32, RecordBatch)>> {
        let mut state = self.state.borrow_mut();
        let within = state.frozen.iter().take_while(|f| f.first < rows);
        let mut batches: Vec<(u32, RecordBatch)> =
            within.map(|f| (f.first, f.batch.slice(0, f.batch.num_rows().min((rows - f.first) as usize)))).collect();
        if rows > state.frozen_rows {
            let first = state.frozen_rows;
            let copy = state.tail_copy(&self.schema)?;
            batches.push((first, copy.slice(0, (rows - first) as usize)));
        }
        Ok(batches)
    }

    /// Some columns of the given rows (ascending).
    pub fn take(&self, columns: &[usize], rows: &[u32]) -> Result<RecordBatch> {
        let schema = Arc::new(self.schema.project(columns)?);
        let state = self.state.borrow();
        let mut pieces = Vec::new();
        let mut at = 0;
        while at < rows.len() {
            let n = state.frozen.partition_point(|f| f.first <= rows[at]);
            let end = if n < state.frozen.len() { state.frozen[n].first } else { state.frozen_rows };
            let arrays: Vec<ArrayRef> = if rows[at] >= state.frozen_rows {
                // A tail row; point reads and verifications ask for few, so each is copied by itself.
                let row = (rows[at] - state.frozen_rows) as usize;
                at += 1;
                state.tail.copy(columns, row..row + 1)?
            } else {
                let frozen = &state.frozen[n - 1];
                let run = rows[at..].partition_point(|&row| row < end);
                let picked = arrow::array::UInt32Array::from_iter_values(
                    rows[at..at + run].iter().map(|row| row - frozen.first),
                );
                at += run;
                columns.iter().map(|&c| take(frozen.batch.column(c), &picked, None)).collect::<Result<_, _>>()?
            };
            let count = RecordBatchOptions::new().with_row_count(arrays.first().map(|a| a.len()).or(Some(0)));
            pieces.push(RecordBatch::try_new_with_options(schema.clone(), arrays, &count)?);
        }
        match pieces.len() {
            1 => Ok(pieces.swap_remove(0)),
            _ => Ok(concat_batches(&schema, &pieces)?),
        }
    }
}

impl State {
    fn push(&mut self, batch: RecordBatch) {
        let rows = batch.num_rows() as u32;
        self.frozen_bytes += batch.get_array_memory_size();
        self.frozen.push(Frozen { first: self.frozen_rows, batch });
        self.frozen_rows += rows;
    }

    fn freeze_tail(&mut self) -> Result<()> {
        self.tail_copy = None;
        if self.tail.rows() > 0 {
            let batch = self.tail.freeze()?;
            self.push(batch);
        }
        Ok(())
    }

    /// The whole tail as a batch, copied when rows were added since the last call.
    fn tail_copy(&mut self, schema: &SchemaRef) -> Result<RecordBatch> {
        let rows = self.tail.rows();
        if self.tail_copy.as_ref().is_none_or(|copy| copy.num_rows() != rows) {
            let all: Vec<usize> = (0..schema.fields().len()).collect();
            let arrays = self.tail.copy(&all, 0..rows)?;
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            self.tail_copy = Some(RecordBatch::try_new_with_options(schema.clone(), arrays, &options)?);
        }
        Ok(self.tail_copy.clone().expect("made just now"))
    }
}
