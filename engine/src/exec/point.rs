//! Point and multi-key reads: the keys are cut by bucket, each owner is asked once for all of its keys, and no planner is involved.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{interleave_record_batch, take_record_batch};
use arrow::datatypes::{DataType, SchemaRef};
use starling_storage::ids::{CoreId, Seq, TabletId};
use starling_storage::key::bucket_hash;

use super::fast::wide_column;
use super::request::{FragmentRequest, GetRequest, Work, get};
use crate::catalog::Table;
use crate::error::{EngineError, Result};
use crate::plan::table::sql_schema;
use crate::runtime::reply;
use crate::shard::Core;
use crate::txn::Pin;

/// What a point read gives of each row. Made once for a statement: names and types cost more than the read of one row.
#[derive(Debug, Clone)]
pub struct PointColumns {
    /// Positions in the table.
    positions: Arc<[usize]>,
    /// Of the result, in the types of expressions.
    schema: SchemaRef,
}

impl PointColumns {
    /// `positions`: columns of the table, as they follow each other in the result.
    pub fn new(table: &Table, positions: &[usize]) -> Result<PointColumns> {
        let schema = sql_schema(&table.schema).project(positions).map_err(EngineError::internal)?;
        Ok(PointColumns { positions: positions.into(), schema: Arc::new(schema) })
    }
}

/// The rows of a primary-key table whose keys are `keys` (the key columns in table order, in storage types), as the snapshot sees them:
/// `columns` of each row found, and for each of them the index of its key, ascending. Keys that are not there are left out.
///
/// Errors: the table was dropped meanwhile; those of storage.
pub async fn point_get(
    core: &Rc<Core>,
    table: &Arc<Table>,
    pin: &Pin,
    keys: &RecordBatch,
    columns: &PointColumns,
) -> Result<(RecordBatch, Vec<u32>)> {
    let owners = by_owner(core, table, keys)?;
    // Owners work at the same time; this core's own part needs no message.
    let (mut pieces, mut waiting) = (Vec::new(), Vec::new());
    let mut own = None;
    for (owner, part) in owners {
        if owner == core.id() {
            own = Some(part);
            continue;
        }
        let (answer, slot) = reply();
        let (numbers, keys): (Vec<_>, Vec<_>) =
            part.into_iter().map(|(tablet, rows, keys)| (rows, (tablet, keys))).unzip();
        let request = GetRequest { at: pin.seq(), keys, columns: columns.positions.clone(), reply: answer };
        core.send_fragment(owner, FragmentRequest(Work::Get(request))).await?;
        waiting.push((numbers, slot));
    }
    if let Some(part) = own {
        pieces.extend(read_here(core, pin.seq(), part, &columns.positions).await.map_err(|e| named(e, table))?);
    }
    for (numbers, slot) in waiting {
        let found = slot.recv().await?.map_err(|e| named(e, table))?;
        pieces.extend(numbers.into_iter().zip(found).map(|(rows, (batch, which))| (batch, numbered(&rows, which))));
    }
    assembled(columns, pieces)
}

type Part = Vec<(TabletId, Vec<u32>, RecordBatch)>;

/// The keys of each owner by tablet, with their indices.
fn by_owner(core: &Core, table: &Table, keys: &RecordBatch) -> Result<Vec<(CoreId, Part)>> {
    // Bucket columns of a primary-key table are key columns, and those come first.
    let positions = table.schema.bucket_positions();
    let columns: Vec<_> = positions.iter().filter_map(|&c| keys.columns().get(c).cloned()).collect();
    if columns.len() != positions.len() {
        return Err(EngineError::internal(format!("{} is not bucketed by its key", table.full_name())));
    }
    let hashes = bucket_hash(&columns, keys.num_rows())?;
    if let [hash] = hashes[..] {
        let bucket = table.bucket_of(hash);
        let part = vec![(table.tablets[bucket as usize], vec![0], keys.clone())];
        return Ok(vec![(table.owner(bucket, core.cores()), part)]);
    }
    let mut buckets: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (row, hash) in (0u32..).zip(hashes) {
        buckets.entry(table.bucket_of(hash)).or_default().push(row);
    }
    let whole = buckets.len() == 1;
    let mut owners: BTreeMap<CoreId, Part> = BTreeMap::new();
    for (bucket, rows) in buckets {
        let part = match whole {
            true => keys.clone(),
            false => take_record_batch(keys, &UInt32Array::from(rows.clone())).map_err(EngineError::internal)?,
        };
        let tablet = table.tablets[bucket as usize];
        owners.entry(table.owner(bucket, core.cores())).or_default().push((tablet, rows, part));
    }
    Ok(owners.into_iter().collect())
}

async fn read_here(core: &Rc<Core>, at: Seq, part: Part, columns: &[usize]) -> Result<Vec<(RecordBatch, Vec<u32>)>> {
    let (numbers, keys): (Vec<_>, Vec<_>) = part.into_iter().map(|(tablet, rows, keys)| (rows, (tablet, keys))).unzip();
    let found = get(core, at, &keys, columns).await?;
    Ok(numbers.into_iter().zip(found).map(|(rows, (batch, which))| (batch, numbered(&rows, which))).collect())
}

/// Indices within a tablet's keys as indices within all keys.
fn numbered(rows: &[u32], which: Vec<u32>) -> Vec<u32> {
    which.into_iter().map(|i| rows[i as usize]).collect()
}

fn named(error: EngineError, table: &Table) -> EngineError {
    if error.code == EngineError::table_gone("").code { EngineError::table_gone(table.full_name()) } else { error }
}

/// All rows in key order, in the types of expressions.
fn assembled(columns: &PointColumns, mut pieces: Vec<(RecordBatch, Vec<u32>)>) -> Result<(RecordBatch, Vec<u32>)> {
    let schema = &columns.schema;
    pieces.retain(|(batch, _)| batch.num_rows() > 0);
    let mut order: Vec<(u32, usize, usize)> = Vec::new();
    for (piece, (_, which)) in pieces.iter().enumerate() {
        order.extend(which.iter().enumerate().map(|(row, &key)| (key, piece, row)));
    }
    order.sort_unstable();
    let numbers = order.iter().map(|(key, ..)| *key).collect();
    let rows = match pieces.as_slice() {
        [] => return Ok((RecordBatch::new_empty(schema.clone()), Vec::new())),
        [(only, which)] if which.is_sorted() => only.clone(),
        _ if columns.positions.is_empty() => pieces[0].0.clone(),
        several => {
            let batches: Vec<_> = several.iter().map(|(batch, _)| batch).collect();
            let indices: Vec<_> = order.iter().map(|&(_, piece, row)| (piece, row)).collect();
            interleave_record_batch(&batches, &indices).map_err(EngineError::internal)?
        }
    };
    let widened = rows.columns().iter().zip(schema.fields()).map(|(column, field)| match field.data_type() {
        DataType::Decimal256(..) if column.data_type() != field.data_type() => wide_column(column),
        _ => Ok(column.clone()),
    });
    let options = RecordBatchOptions::new().with_row_count(Some(order.len()));
    let rows = RecordBatch::try_new_with_options(schema.clone(), widened.collect::<Result<_>>()?, &options);
    Ok((rows.map_err(EngineError::internal)?, numbers))
}
