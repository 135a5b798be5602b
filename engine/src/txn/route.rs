//! Cutting rows by bucket hash: which rows of a batch go to which bucket. Pure; runs on the coordinator.

use arrow::array::{ArrayRef, BooleanBufferBuilder, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::take_record_batch;
use starling_storage::key::bucket_hash;
use starling_storage::rows::Rows;

use crate::catalog::Table;
use crate::error::{EngineError, Result};

/// Cuts `rows` (table column order) by bucket. Order within a bucket is kept. `spread` chooses the bucket of tables that are distributed
/// at random.
pub(super) fn cut(table: &Table, rows: Rows, spread: u64) -> Result<Vec<(u32, Rows)>> {
    check(table, &rows)?;
    if table.buckets == 1 || rows.is_empty() {
        return Ok(vec![(0, rows)]);
    }
    let positions = table.schema.bucket_positions();
    if positions.is_empty() {
        return Ok(vec![(table.bucket_of(spread), rows)]);
    }
    let columns: Vec<ArrayRef> = positions.iter().map(|&c| rows.batch.column(c).clone()).collect();
    let hashes = bucket_hash(&columns, rows.len())?;
    let mut buckets: Vec<Vec<u32>> = vec![Vec::new(); table.buckets as usize];
    for (row, hash) in hashes.into_iter().enumerate() {
        buckets[table.bucket_of(hash) as usize].push(row as u32);
    }
    let mut pieces = Vec::new();
    for (bucket, picked) in buckets.into_iter().enumerate().filter(|(_, picked)| !picked.is_empty()) {
        let piece = if picked.len() == rows.len() { rows.clone() } else { pick(&rows, picked)? };
        pieces.push((bucket as u32, piece));
    }
    Ok(pieces)
}

fn check(table: &Table, rows: &Rows) -> Result<()> {
    let (expected, found) = (table.schema.columns.len(), rows.batch.num_columns());
    if expected != found {
        return Err(EngineError::internal(format!("{found} columns for {}, which has {expected}", table.full_name())));
    }
    for (column, array) in table.schema.columns.iter().zip(rows.batch.columns()) {
        if array.data_type() != &column.ty.arrow() {
            let text = format!("{} for column {} of type {:?}", array.data_type(), column.name, column.ty);
            return Err(EngineError::internal(text));
        }
    }
    Ok(())
}

fn pick(rows: &Rows, picked: Vec<u32>) -> Result<Rows> {
    let deletes = rows.deletes.as_ref().map(|bits| pick_bits(bits, &picked));
    let batch =
        take_record_batch(&rows.batch, &UInt32Array::from(picked)).map_err(starling_storage::StorageError::from)?;
    Ok(Rows { batch, deletes })
}

fn pick_bits(bits: &BooleanBuffer, picked: &[u32]) -> BooleanBuffer {
    let mut out = BooleanBufferBuilder::new(picked.len());
    picked.iter().for_each(|&row| out.append(bits.value(row as usize)));
    out.finish()
}

/// Bytes of `rows`, of slices only what they show.
pub(crate) fn bytes_of(rows: &Rows) -> usize {
    rows.batch.columns().iter().map(|c| c.to_data().get_slice_memory_size().unwrap_or(0)).sum()
}
