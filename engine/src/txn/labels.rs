//! Labels (R9): rows of the hidden primary-key table `_starling_.labels`, written by the transaction they name, in the same record.
//!
//! The owner of a label's tablet reserves it when the load begins, so that two loads never run under one label, and looks whether it was
//! used before. The reservation ends when the row is applied or the load aborted. Generated labels are not kept. User labels expire
//! by age and by count; expiry is an ordinary load that deletes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use starling_storage::StorageError;
use starling_storage::ids::{CoreId, Seq, TabletId, TxnId};
use starling_storage::key::bucket_hash;
use starling_storage::rows::Rows;
use starling_storage::schema::{Column, ColumnType, TableKind, TabletSchema};

use super::load::{LoadKind, LoadOptions};
use crate::catalog::{HIDDEN_DATABASE, LABELS_TABLE, NewTable, Table};
use crate::error::{EngineError, LabelStatus, Result};
use crate::limits::{LABEL_BYTES_MAX, LABELS_PER_TABLET_MAX};
use crate::runtime::clock::{random_u64, unix_micros};
use crate::runtime::reply;
use crate::shard::Core;
use crate::shard::message::{LabelKey, LabelRequest, Request};

/// Buckets of the hidden table.
const BUCKETS: u32 = 16;
/// Position of the transaction id among its columns.
const TXN_COLUMN: usize = 2;

/// The label of one load.
pub(super) struct Label {
    pub text: String,
    /// Set for a label of the user's: where it belongs.
    key: Option<LabelKey>,
    /// The core that has been asked to reserve it, once it has been asked.
    pub reserved_at: Option<CoreId>,
}

impl Label {
    pub(super) fn new(options: &LoadOptions, table: &Table) -> Result<Label> {
        match &options.label {
            None => Ok(Label { text: generate(options.kind), key: None, reserved_at: None }),
            Some(text) => {
                check(text)?;
                let key = LabelKey { db: table.db.0 as i64, label: text.clone() };
                Ok(Label { text: text.clone(), key: Some(key), reserved_at: None })
            }
        }
    }
}

fn check(label: &str) -> Result<()> {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if label.is_empty() || label.len() > LABEL_BYTES_MAX {
        return Err(EngineError::bad_label(label, format!("it must have 1 to {LABEL_BYTES_MAX} bytes")));
    }
    if !label.chars().all(valid) {
        return Err(EngineError::bad_label(label, "only letters, digits, '-', '_', '.' and ':' are allowed"));
    }
    Ok(())
}

/// A random (version 4) UUID behind the word for the statement.
fn generate(kind: LoadKind) -> String {
    let (high, low) = (random_u64(), random_u64());
    let (a, b, c) = (high >> 32, high >> 16 & 0xffff, high & 0x0fff | 0x4000);
    let (d, e) = (low >> 48 & 0x3fff | 0x8000, low & 0xffff_ffff_ffff);
    format!("{}{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}", kind.prefix())
}

/// Reserves a label of the user's at its owner. Error: `label_exists`.
pub(super) async fn reserve(core: &Rc<Core>, txn: TxnId, label: &mut Label) -> Result<()> {
    let Some(key) = label.key.clone() else { return Ok(()) };
    let (tablet, owner) = home(core, &key)?;
    label.reserved_at = Some(owner);
    let (answer, slot) = reply();
    core.mailbox(owner).request(Request::Label(LabelRequest { txn, tablet, key, reply: answer })).await?;
    slot.recv().await?
}

/// The tablet of a label and its owner.
fn home(core: &Core, key: &LabelKey) -> Result<(TabletId, CoreId)> {
    let catalog = core.catalog();
    let table = catalog.table(HIDDEN_DATABASE, LABELS_TABLE)?;
    let hash = bucket_hash(&key_columns(key), 1)?[0];
    let bucket = table.bucket_of(hash);
    Ok((table.tablets[bucket as usize], table.owner(bucket, core.cores())))
}

fn key_columns(key: &LabelKey) -> Vec<ArrayRef> {
    vec![Arc::new(Int64Array::from(vec![key.db])), Arc::new(StringArray::from(vec![key.label.as_str()]))]
}

/// The row that says the label is used, for the record of its transaction.
pub(super) fn row(core: &Core, txn: TxnId, label: &Label) -> Result<Option<(Arc<Table>, Rows)>> {
    let Some(key) = &label.key else { return Ok(None) };
    let table = core.catalog().table(HIDDEN_DATABASE, LABELS_TABLE)?.clone();
    let mut columns = key_columns(key);
    columns.push(Arc::new(Int64Array::from(vec![txn.0 as i64])));
    columns.push(Arc::new(TimestampMicrosecondArray::from(vec![unix_micros()])));
    let batch = RecordBatch::try_new(table.schema.arrow(), columns).map_err(StorageError::from)?;
    Ok(Some((table, Rows::upserts(batch))))
}

/// Labels reserved at this core.
#[derive(Default)]
pub(crate) struct Reservations {
    by_key: RefCell<HashMap<LabelKey, TxnId>>,
    by_txn: RefCell<HashMap<TxnId, LabelKey>>,
}

impl Reservations {
    /// Reserves, or gives the transaction that has it.
    fn take(&self, key: &LabelKey, txn: TxnId) -> Result<(), TxnId> {
        if let Some(holder) = self.by_key.borrow().get(key) {
            return Err(*holder);
        }
        self.by_key.borrow_mut().insert(key.clone(), txn);
        self.by_txn.borrow_mut().insert(txn, key.clone());
        Ok(())
    }

    /// The transaction is applied or aborted.
    pub(crate) fn release(&self, txn: TxnId) {
        if let Some(key) = self.by_txn.borrow_mut().remove(&txn) {
            self.by_key.borrow_mut().remove(&key);
        }
    }
}

/// The owner's side of `reserve`.
pub(crate) async fn handle(core: &Rc<Core>, request: LabelRequest) {
    // The load went away before this was read; its Abort may have overtaken us.
    if request.reply.is_abandoned() {
        return;
    }
    let LabelRequest { txn, tablet, key, reply } = request;
    if let Err(holder) = core.labels().take(&key, txn) {
        return reply.send(Err(EngineError::label_exists(&key.label, holder.0, LabelStatus::Running)));
    }
    let result = match find(core, tablet, &key).await {
        Ok(None) => Ok(()),
        Ok(Some(used_by)) => Err(EngineError::label_exists(&key.label, used_by, LabelStatus::Finished)),
        Err(error) => Err(error),
    };
    if result.is_err() {
        core.labels().release(txn);
    }
    reply.send(result);
}

/// The transaction that used a label. Reads all that is applied here, visible or not: a label in flight to W is used.
async fn find(core: &Rc<Core>, tablet: TabletId, key: &LabelKey) -> Result<Option<u64>> {
    let owned = core.tablet(tablet).ok_or_else(|| EngineError::table_gone(LABELS_TABLE))?;
    let fields = vec![owned.schema().arrow().field(0).clone(), owned.schema().arrow().field(1).clone()];
    let schema = Arc::new(arrow::datatypes::Schema::new(fields));
    let keys = RecordBatch::try_new(schema, key_columns(key)).map_err(StorageError::from)?;
    let (found, _) = owned.get(Seq::MAX, &keys, &[TXN_COLUMN]).await?;
    Ok((found.num_rows() > 0).then(|| found.column(0).as_primitive::<Int64Type>().value(0) as u64))
}

/// The hidden table.
pub(crate) fn table() -> NewTable {
    let column = |id, name: &str, ty| Column {
        id,
        name: name.to_string(),
        ty,
        nullable: false,
        default: None,
        comment: String::new(),
    };
    let columns = vec![
        column(0, "db", ColumnType::BigInt),
        column(1, "label", ColumnType::Varchar(LABEL_BYTES_MAX as u32)),
        column(2, "txn", ColumnType::BigInt),
        column(3, "finished", ColumnType::DateTime),
    ];
    let schema = TabletSchema {
        version: 1,
        kind: TableKind::PrimaryKey,
        columns,
        key_columns: 2,
        sort_columns: vec![0, 1],
        bucket_columns: vec![0, 1],
    };
    NewTable {
        name: LABELS_TABLE.to_string(),
        schema,
        buckets: Some(BUCKETS),
        colocate_group: None,
        properties: Vec::new(),
        comment: "labels of loads".to_string(),
    }
}

/// Which rows of `finished` (ascending by label in any order) are to go: older than the limit, or the oldest beyond the count.
fn expired(finished: &[i64], now: i64, keep: Duration) -> Vec<usize> {
    let horizon = now - keep.as_micros() as i64;
    let mut order: Vec<usize> = (0..finished.len()).collect();
    order.sort_unstable_by_key(|&row| finished[row]);
    let surplus = finished.len().saturating_sub(LABELS_PER_TABLET_MAX);
    order
        .into_iter()
        .enumerate()
        .filter(|&(rank, row)| rank < surplus || finished[row] < horizon)
        .map(|(_, r)| r)
        .collect()
}

/// A tablet's labels in full as rows that delete those that have expired; `None` when none have.
pub(crate) fn expiry_of(batch: &RecordBatch, now: i64, keep: Duration) -> Result<Option<Rows>> {
    let finished = batch.column(3).as_primitive::<TimestampMicrosecondType>();
    let gone = expired(finished.values(), now, keep);
    if gone.is_empty() {
        return Ok(None);
    }
    let rows = arrow::array::UInt32Array::from_iter_values(gone.iter().map(|&row| row as u32));
    let batch = arrow::compute::take_record_batch(batch, &rows).map_err(StorageError::from)?;
    let deletes = BooleanBuffer::new_set(batch.num_rows());
    Ok(Some(Rows { batch, deletes: Some(deletes) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_the_user_are_checked() {
        assert!(check("l1-_.:").is_ok());
        assert_eq!(check("").unwrap_err().code, 5082);
        assert_eq!(check(&"x".repeat(LABEL_BYTES_MAX + 1)).unwrap_err().code, 5082);
        assert_eq!(check("a b").unwrap_err().code, 5082);
        let generated = generate(LoadKind::Insert);
        assert!(
            generated.starts_with("insert_") && generated.len() == "insert_".len() + 36 && check(&generated).is_ok()
        );
        assert_ne!(generated, generate(LoadKind::Insert));
    }

    #[test]
    fn a_reservation_ends_with_its_transaction() {
        let reservations = Reservations::default();
        let key = LabelKey { db: 1, label: "l".into() };
        assert_eq!(reservations.take(&key, TxnId(1)), Ok(()));
        assert_eq!(reservations.take(&key, TxnId(2)), Err(TxnId(1)));
        reservations.release(TxnId(2));
        assert_eq!(reservations.take(&key, TxnId(2)), Err(TxnId(1)));
        reservations.release(TxnId(1));
        assert_eq!(reservations.take(&key, TxnId(2)), Ok(()));
    }

    #[test]
    fn labels_expire_by_age_and_by_count() {
        let day = 24 * 3600 * 1_000_000;
        let keep = crate::limits::LABEL_KEEP;
        assert_eq!(expired(&[9 * day, day, 8 * day], 10 * day, keep), vec![1]);
        let many: Vec<i64> = (0..LABELS_PER_TABLET_MAX as i64 + 2).rev().collect();
        assert_eq!(expired(&many, 10, keep), vec![many.len() - 1, many.len() - 2]);
    }
}
