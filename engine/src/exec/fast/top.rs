//! Top-n: keeps the first n rows seen so far in a heap of their encoded sort keys, and of the slices only those that still own one of
//! them.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr};

use super::{SLICE_ROWS, evaluate};
use crate::error::{EngineError, Result};
use crate::exec::query::Shared;

/// Slices kept before the rows that still matter are copied together.
const SLICES_MAX: usize = 256;

/// A row that is among the first n; the greatest comes out of the heap first.
struct Candidate {
    key: OwnedRow,
    slice: usize,
    row: usize,
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Candidate) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Candidate) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Candidate) -> Ordering {
        self.key.row().cmp(&other.key.row())
    }
}

/// The operator.
pub struct Top {
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    fields: Vec<(datafusion::arrow::compute::SortOptions, Arc<dyn PhysicalExpr>)>,
    converter: Option<RowConverter>,
    fetch: usize,
    heap: BinaryHeap<Candidate>,
    slices: Vec<RecordBatch>,
    schema: SchemaRef,
    /// The rows in order, once there are no more to push.
    sorted: Option<std::vec::IntoIter<Candidate>>,
}

impl Top {
    pub fn new(order: &LexOrdering, fetch: usize, schema: SchemaRef) -> Top {
        let exprs = order.iter().map(|e| e.expr.clone()).collect();
        let fields = order.iter().map(|e| (e.options, e.expr.clone())).collect();
        Top { exprs, fields, converter: None, fetch, heap: BinaryHeap::new(), slices: Vec::new(), schema, sorted: None }
    }

    pub fn push(&mut self, batch: &RecordBatch, shared: &Shared) -> Result<()> {
        if self.fetch == 0 {
            return Ok(());
        }
        let columns = self.exprs.iter().map(|expr| evaluate(expr, batch, shared)).collect::<Result<Vec<_>>>()?;
        if self.converter.is_none() {
            let field = |((options, _), column): (&(_, _), &arrow::array::ArrayRef)| {
                SortField::new_with_options(column.data_type().clone(), *options)
            };
            let fields = self.fields.iter().zip(&columns).map(field).collect();
            self.converter = Some(RowConverter::new(fields).map_err(EngineError::internal)?);
        }
        let Some(converter) = &self.converter else { return Ok(()) };
        let keys = converter.convert_columns(&columns).map_err(EngineError::internal)?;
        let slice = self.slices.len();
        let mut used = false;
        for row in 0..batch.num_rows() {
            let key = keys.row(row);
            if self.heap.len() >= self.fetch {
                match self.heap.peek() {
                    Some(greatest) if key < greatest.key.row() => drop(self.heap.pop()),
                    _ => continue,
                }
            }
            self.heap.push(Candidate { key: key.owned(), slice, row });
            used = true;
        }
        if used {
            self.slices.push(batch.clone());
            if self.slices.len() > SLICES_MAX {
                self.compact()?;
            }
        }
        Ok(())
    }

    /// Copies the rows that still matter into one slice.
    fn compact(&mut self) -> Result<()> {
        let mut kept = std::mem::take(&mut self.heap).into_vec();
        let rows = self.rows(&kept)?;
        for (row, candidate) in kept.iter_mut().enumerate() {
            (candidate.slice, candidate.row) = (0, row);
        }
        self.slices = vec![rows];
        self.heap = kept.into();
        Ok(())
    }

    fn rows(&self, candidates: &[Candidate]) -> Result<RecordBatch> {
        if self.schema.fields().is_empty() {
            return Err(EngineError::internal("a top-n over rows without columns"));
        }
        let slices: Vec<&RecordBatch> = self.slices.iter().collect();
        let indices: Vec<_> = candidates.iter().map(|c| (c.slice, c.row)).collect();
        interleave_record_batch(&slices, &indices).map_err(EngineError::internal)
    }

    /// The rows in order, a slice at a time.
    pub fn drain(&mut self) -> Result<Option<RecordBatch>> {
        let heap = &mut self.heap;
        let sorted = self.sorted.get_or_insert_with(|| std::mem::take(heap).into_sorted_vec().into_iter());
        let part: Vec<Candidate> = sorted.take(SLICE_ROWS).collect();
        if part.is_empty() {
            return Ok(None);
        }
        self.rows(&part).map(Some)
    }
}
