//! Point reads by primary key at a snapshot (R13). The index knows only the newest position of a key; what a commit above the snapshot
//! replaced is in the history. While inputs of a rewrite are kept for snapshots below its c, a read below that c searches
//! the rowsets it sees instead: births of single rows are not kept beyond the memtable.

use super::stage::Candidates;
use super::{ScanSpec, State, Tablet};
use crate::error::{Result, StorageError};
use crate::ids::Seq;
use crate::index::Locator;
use crate::schema::{Predicate, Scalar, TabletSchema};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use std::collections::HashMap;
use std::sync::Arc;

impl Tablet {
    /// The rows of `keys` (a batch of the key columns) as a snapshot at `at` sees them: `columns` of each row found, and for each
    /// of them the index of its key, ascending. A key given twice is found twice.
    ///
    /// Errors: `Invalid` for a table without primary key or keys of other types; `SnapshotTooOld`; those of the disk.
    pub async fn get(&self, at: Seq, keys: &RecordBatch, columns: &[usize]) -> Result<(RecordBatch, Vec<u32>)> {
        if !self.is_primary() || keys.num_columns() != self.schema.key_columns as usize {
            return Err(StorageError::Invalid("a point read needs the columns of a primary key".into()));
        }
        self.index().await?;
        self.check_age(at)?;
        if self.state.borrow().ends_after(at) {
            return self.search(at, keys, columns).await;
        }
        let wanted = self.codec.tag(keys)?;
        let groups = self.state.borrow().versions(&wanted.tags, at);
        let width = if wanted.keys.is_some() { self.schema.key_columns as usize } else { 0 };
        // Key columns come first when they must be compared.
        let read: Vec<usize> = (0..width).chain(columns.iter().copied()).collect();
        let shown: Vec<usize> = (width..read.len()).collect();
        let (mut pieces, mut found) = (Vec::new(), Vec::new());
        for (rowset, mut rows) in groups.into_values() {
            rows.sort_unstable();
            let numbers: Vec<u32> = rows.iter().map(|row| row.0).collect();
            let mut batch = rowset.take(&read, &numbers).await?;
            if let Some(encoded) = &wanted.keys {
                let stored = self.codec.encode(&batch)?;
                let same = |i: &usize| stored.get(*i) == encoded.get(rows[*i].1 as usize);
                let kept: Vec<u32> = (0..rows.len()).filter(same).map(|i| i as u32).collect();
                found.extend(kept.iter().map(|&i| rows[i as usize].1));
                batch = take_record_batch(&batch, &UInt32Array::from(kept))?;
            } else {
                found.extend(rows.iter().map(|row| row.1));
            }
            pieces.push(if width == 0 { batch } else { batch.project(&shown)? });
        }
        self.in_key_order(columns, &pieces, found)
    }

    fn in_key_order(
        &self,
        columns: &[usize],
        pieces: &[RecordBatch],
        found: Vec<u32>,
    ) -> Result<(RecordBatch, Vec<u32>)> {
        let schema = Arc::new(self.arrow.project(columns)?);
        if found.is_empty() {
            return Ok((RecordBatch::new_empty(schema), found));
        }
        let pieces = pieces.iter().map(|piece| {
            let rows = RecordBatchOptions::new().with_row_count(Some(piece.num_rows()));
            RecordBatch::try_new_with_options(schema.clone(), piece.columns().to_vec(), &rows)
        });
        let mut pieces = pieces.collect::<Result<Vec<_>, _>>()?;
        let all = if pieces.len() == 1 { pieces.swap_remove(0) } else { concat_batches(&schema, &pieces)? };
        if found.is_sorted() {
            return Ok((all, found));
        }
        let mut order: Vec<u32> = (0..found.len() as u32).collect();
        order.sort_unstable_by_key(|&i| found[i as usize]);
        let found = order.iter().map(|&i| found[i as usize]).collect();
        Ok((take_record_batch(&all, &UInt32Array::from(order))?, found))
    }

    /// The slow way, below the c of a rewrite: scans what the snapshot sees for the keys.
    async fn search(&self, at: Seq, keys: &RecordBatch, columns: &[usize]) -> Result<(RecordBatch, Vec<u32>)> {
        let width = self.schema.key_columns as usize;
        let mut predicates = Vec::new();
        for column in 0..width {
            let values = (0..keys.num_rows()).filter_map(|row| scalar(&self.schema, keys.column(column), column, row));
            predicates.push(Predicate::In { column: column as u32, values: values.collect() });
        }
        let encoder = crate::key::KeyEncoder::new(self.schema.key_positions());
        let wanted = encoder.encode_all(keys)?;
        let mut by_key: HashMap<&[u8], Vec<u32>> = HashMap::new();
        (0..wanted.len()).for_each(|key| by_key.entry(wanted.get(key)).or_default().push(key as u32));
        let read: Vec<usize> = (0..width).chain(columns.iter().copied()).collect();
        let mut scan = self.snapshot(at).scan(ScanSpec { columns: read, predicates, ..ScanSpec::default() });
        let shown: Vec<usize> = (width..width + columns.len()).collect();
        let (mut pieces, mut found) = (Vec::new(), Vec::new());
        while let Some(batch) = scan.next().await? {
            let stored = encoder.encode_all(&batch)?;
            let mut rows = Vec::new();
            for row in 0..batch.num_rows() {
                for &key in by_key.get(stored.get(row)).into_iter().flatten() {
                    rows.push(row as u32);
                    found.push(key);
                }
            }
            pieces.push(take_record_batch(&batch, &UInt32Array::from(rows))?.project(&shown)?);
        }
        self.in_key_order(columns, &pieces, found)
    }
}

impl State {
    /// Whether a rowset is kept for snapshots at `at` that later ones do not read.
    fn ends_after(&self, at: Seq) -> bool {
        self.rowsets.iter().any(|rowset| rowset.until.get() < Seq::MAX && rowset.until.get() > at)
    }

    /// The versions of these tags that are alive at `at`: born at or before it, and not dead by then. Where tags are exact there is
    /// at most one for each.
    fn versions(&self, tags: &[u64], at: Seq) -> Candidates {
        let mut newest = Vec::with_capacity(tags.len());
        self.index.candidates(tags, &mut newest);
        let mut groups = Candidates::new();
        let mut add = |locator: Locator, key: u32| {
            let locator = self.slots.resolve(locator);
            if self.slots.rowset(locator.slot).is_some_and(|rowset| rowset.born(locator.row) <= at) {
                self.group(&mut groups, locator, key);
            }
        };
        newest.into_iter().for_each(|(key, locator)| add(locator, key));
        if self.last_death() > at {
            for (key, &tag) in tags.iter().enumerate() {
                self.history.died_after(tag, at, |locator, _| add(locator, key as u32));
            }
        }
        groups
    }

    fn last_death(&self) -> Seq {
        self.history.last()
    }
}

/// The value of a key column as a predicate holds it.
fn scalar(schema: &TabletSchema, column: &ArrayRef, position: usize, row: usize) -> Option<Scalar> {
    if column.is_null(row) {
        return None;
    }
    Some(match schema.columns[position].ty.arrow() {
        DataType::Boolean => Scalar::Bool(column.as_boolean().value(row)),
        DataType::Int8 => Scalar::Int(column.as_primitive::<Int8Type>().value(row).into()),
        DataType::Int16 => Scalar::Int(column.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => Scalar::Int(column.as_primitive::<Int32Type>().value(row).into()),
        DataType::Date32 => Scalar::Int(column.as_primitive::<Date32Type>().value(row).into()),
        DataType::Int64 => Scalar::Int(column.as_primitive::<Int64Type>().value(row)),
        DataType::Timestamp(_, _) => Scalar::Int(column.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::Float32 => Scalar::Float(column.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => Scalar::Float(column.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, _) => Scalar::Wide(column.as_primitive::<Decimal128Type>().value(row)),
        _ => Scalar::Text(column.as_string::<i32>().value(row).to_string()),
    })
}
