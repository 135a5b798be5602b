//! What the database should hold: the transactions, applied one after the other by number to maps.

use crate::error::{Result, StorageError};
use crate::ids::TabletId;
use crate::rows::Rows;
use crate::schema::{Column, ColumnType, CompareOp, Predicate, Scalar, TableKind, TabletSchema};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::Int64Type;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A change of one tablet.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Rows (key, value); no value: delete the key.
    Rows(Vec<(i64, Option<i64>)>),
    /// Delete rows with a key up to this one (tables without a primary key).
    DeleteUpTo(i64),
}

/// A change of the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ddl {
    Create(TabletId),
    Drop(TabletId),
}

/// A transaction.
#[derive(Clone, Debug, Default)]
pub(super) struct Transaction {
    pub(super) changes: Vec<(TabletId, Change)>,
    pub(super) ddl: Option<Ddl>,
}

/// All tablets at one number: per tablet its rows (key, value), sorted.
pub(super) type Tables = BTreeMap<TabletId, Vec<(i64, i64)>>;

/// The tables after the given transactions.
pub(super) fn tables(history: &[Transaction]) -> Tables {
    let mut tables = Tables::new();
    for transaction in history {
        for (tablet, change) in &transaction.changes {
            if let Some(rows) = tables.get_mut(tablet) {
                apply(*tablet, rows, change);
            }
        }
        match transaction.ddl {
            Some(Ddl::Create(tablet)) => drop(tables.insert(tablet, Vec::new())),
            Some(Ddl::Drop(tablet)) => drop(tables.remove(&tablet)),
            None => {}
        }
    }
    tables.values_mut().for_each(|rows| rows.sort_unstable());
    tables
}

fn apply(tablet: TabletId, rows: &mut Vec<(i64, i64)>, change: &Change) {
    match change {
        Change::DeleteUpTo(bound) => rows.retain(|(key, _)| key > bound),
        Change::Rows(new) => {
            for &(key, value) in new {
                if schema(tablet).kind == TableKind::PrimaryKey {
                    rows.retain(|(k, _)| *k != key);
                }
                rows.extend(value.map(|value| (key, value)));
            }
        }
    }
}

/// Every fourth tablet keeps all rows, every third has keys that the index must verify; the rest have keys in the slot.
pub(super) fn schema(tablet: TabletId) -> Arc<TabletSchema> {
    let kind = if tablet.0.is_multiple_of(4) { TableKind::Duplicate } else { TableKind::PrimaryKey };
    let key = if tablet.0.is_multiple_of(3) { ColumnType::Varchar(40) } else { ColumnType::BigInt };
    let column = |id: u32, name: &str, ty| Column {
        id,
        name: name.to_string(),
        ty,
        nullable: false,
        default: None,
        comment: String::new(),
    };
    Arc::new(TabletSchema {
        version: 1,
        kind,
        columns: vec![
            column(0, "k", key),
            column(1, "v", ColumnType::BigInt),
            column(2, "pad", ColumnType::Varchar(9000)),
        ],
        key_columns: 1,
        sort_columns: vec![0],
        bucket_columns: vec![0],
    })
}

fn key_text(key: i64) -> String {
    format!("key-{key:012}")
}

/// A function of the value: a torn or mixed row shows.
fn pad(value: i64) -> String {
    let len = if value % 11 == 0 { 3000 } else { value % 5 } as usize;
    char::from(b'a' + (value % 26) as u8).to_string().repeat(len)
}

/// The rows as they arrive.
pub(super) fn rows(tablet: TabletId, changes: &[(i64, Option<i64>)]) -> Result<Rows> {
    let schema = schema(tablet);
    let keys = changes.iter().map(|c| c.0);
    let keys: ArrayRef = match schema.columns[0].ty {
        ColumnType::BigInt => Arc::new(Int64Array::from_iter_values(keys)),
        _ => Arc::new(StringArray::from_iter_values(keys.map(key_text))),
    };
    let values = changes.iter().map(|c| c.1.unwrap_or(0));
    let pads = StringArray::from_iter_values(changes.iter().map(|c| c.1.map_or(String::new(), pad)));
    let batch = RecordBatch::try_new(
        schema.arrow(),
        vec![keys, Arc::new(Int64Array::from_iter_values(values)), Arc::new(pads)],
    )?;
    let deletes = changes.iter().any(|c| c.1.is_none());
    Ok(Rows { batch, deletes: deletes.then(|| BooleanBuffer::collect_bool(changes.len(), |i| changes[i].1.is_none())) })
}

/// The rows of a batch of a scan of all columns.
pub(super) fn unpack(batch: &RecordBatch, out: &mut Vec<(i64, i64)>) -> Result<()> {
    let (values, pads) = (batch.column(1).as_primitive::<Int64Type>(), batch.column(2).as_string::<i32>());
    for row in 0..batch.num_rows() {
        let key = match batch.column(0).as_primitive_opt::<Int64Type>() {
            Some(keys) => keys.value(row),
            None => batch.column(0).as_string::<i32>().value(row).trim_start_matches("key-").parse().unwrap_or(-1),
        };
        let value = values.value(row);
        if pads.value(row) != pad(value) {
            return Err(StorageError::Invalid(format!("row {key} is torn: value {value}, pad {:?}", pads.value(row))));
        }
        out.push((key, value));
    }
    Ok(())
}

/// The condition of [`Change::DeleteUpTo`].
pub(super) fn up_to(tablet: TabletId, bound: i64) -> Vec<Predicate> {
    let value = match schema(tablet).columns[0].ty {
        ColumnType::BigInt => Scalar::Int(bound),
        _ => Scalar::Text(key_text(bound)),
    };
    vec![Predicate::Compare { column: 0, op: CompareOp::Le, value }]
}

impl Ddl {
    /// Bytes as the log and the catalog log carry them.
    pub(super) fn bytes(self) -> Vec<u8> {
        let (tag, tablet) = match self {
            Ddl::Create(tablet) => (1, tablet),
            Ddl::Drop(tablet) => (2, tablet),
        };
        let mut bytes = vec![tag];
        bytes.extend(tablet.0.to_le_bytes());
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Ddl> {
        let wrong = || StorageError::Invalid(format!("catalog change {bytes:?}"));
        let tablet = TabletId(u64::from_le_bytes(bytes.get(1..).and_then(|b| b.try_into().ok()).ok_or_else(wrong)?));
        match bytes.first() {
            Some(1) => Ok(Ddl::Create(tablet)),
            Some(2) => Ok(Ddl::Drop(tablet)),
            _ => Err(wrong()),
        }
    }
}
