//! The rows being built: one buffer per column of the table. A row is pushed field by field and then ended, or rejected: a rejected
//! row leaves nothing behind.

use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanBufferBuilder, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use starling_storage::rows::{Rows, relaxed};
use starling_storage::schema::{ColumnType, DefaultValue, TabletSchema};

use super::column::{Bad, ColumnBuf};
use super::target::Target;
use crate::types::type_name;

/// Rows in a batch before it is handed on.
const BATCH_ROWS: usize = 16 * 1024;
/// Bytes in a batch before it is handed on.
const BATCH_BYTES: usize = 4 << 20;

/// A type as messages show it.
fn sql_name(ty: ColumnType) -> String {
    match ty {
        ColumnType::Char(bytes) => format!("char({bytes})"),
        ColumnType::Varchar(bytes) => format!("varchar({bytes})"),
        ColumnType::LargeInt => "largeint(40)".into(),
        other => type_name(&other.arrow()),
    }
}

/// Rows under construction.
pub struct RowBuilder {
    schema: Arc<TabletSchema>,
    arrow: SchemaRef,
    arrow_relaxed: SchemaRef,
    columns: Vec<ColumnBuf>,
    /// Columns no field fills, with the text of their default (`None`: NULL).
    defaults: Rc<[(usize, Option<Vec<u8>>)]>,
    deletes: BooleanBufferBuilder,
    any_delete: bool,
    all_deletes: bool,
    strict: bool,
    rows: usize,
    /// Bytes of input in these rows.
    bytes: usize,
}

impl RowBuilder {
    /// For one load. `now`: the text of CURRENT_TIMESTAMP, one value for the whole load.
    pub fn new(schema: &Arc<TabletSchema>, target: &Target, strict: bool, now: &str) -> RowBuilder {
        let default = |position: &usize| {
            let text = match &schema.columns[*position].default {
                Some(DefaultValue::Literal(text)) => Some(text.clone().into_bytes()),
                Some(DefaultValue::CurrentTimestamp(_)) => Some(now.as_bytes().to_vec()),
                Some(DefaultValue::Null) | None => None,
            };
            (*position, text)
        };
        RowBuilder {
            schema: schema.clone(),
            arrow: schema.arrow(),
            arrow_relaxed: relaxed(schema),
            columns: schema.columns.iter().map(ColumnBuf::new).collect(),
            defaults: target.unnamed.iter().map(default).collect(),
            deletes: BooleanBufferBuilder::new(0),
            any_delete: false,
            all_deletes: target.all_deletes,
            strict,
            rows: 0,
            bytes: 0,
        }
    }

    /// How many whole rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether the batch should be handed on.
    pub fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    /// One value of the row. `None`: NULL. An error is the reason for rejecting the row.
    #[inline]
    pub fn push(&mut self, column: usize, value: Option<&[u8]>, delete: bool) -> Result<(), String> {
        let required = !(delete || self.all_deletes) || column < self.schema.key_columns as usize;
        self.bytes += value.map_or(0, <[u8]>::len);
        let buffer = &mut self.columns[column];
        let pushed = match value {
            Some(text) => buffer.push_text(text, self.strict && required, required),
            None => buffer.push_null(required),
        };
        pushed.map_err(|bad| self.reason(column, value, bad))
    }

    /// A column that the row does not have: its default, or NULL.
    pub fn push_missing(&mut self, column: usize, delete: bool) -> Result<(), String> {
        let text = match &self.schema.columns[column].default {
            Some(DefaultValue::Literal(text)) if !delete => Some(text.clone()),
            _ => None,
        };
        self.push(column, text.as_ref().map(String::as_bytes), delete)
    }

    fn reason(&self, column: usize, value: Option<&[u8]>, bad: Bad) -> String {
        let shown =
            String::from_utf8_lossy(&value.unwrap_or(b"NULL")[..value.map_or(4, |v| v.len().min(64))]).into_owned();
        let (name, ty) = (self.columns[column].name(), sql_name(self.schema.columns[column].ty));
        match bad {
            Bad::Uncastable => format!("Value '{shown}' is out of range or not of type {ty} of column '{name}'"),
            Bad::Null => format!("NULL value in non-nullable column '{name}'"),
            Bad::TooLong(bytes) => {
                format!("String '{shown}' of {bytes} bytes is too long for column '{name}' ({ty})")
            }
            Bad::Utf8 => format!("Value of column '{name}' is not UTF-8"),
        }
    }

    /// Ends the row: unnamed columns take their defaults.
    pub fn end_row(&mut self, delete: bool) -> Result<(), String> {
        let delete = delete || self.all_deletes;
        let defaults = self.defaults.clone();
        for (column, text) in defaults.iter() {
            self.push(*column, if delete { None } else { text.as_deref() }, delete)?;
        }
        debug_assert!(self.columns.iter().all(|c| c.len() == self.rows + 1));
        self.deletes.append(delete);
        self.any_delete |= delete;
        self.rows += 1;
        Ok(())
    }

    /// Takes the unfinished row back.
    pub fn reject_row(&mut self) {
        self.columns.iter_mut().for_each(|column| column.truncate(self.rows));
    }

    /// The rows so far; the builder starts anew. `None`: there are none.
    pub fn take(&mut self) -> Option<Rows> {
        self.bytes = 0;
        if self.rows == 0 {
            return None;
        }
        let arrays: Vec<ArrayRef> = self.columns.iter_mut().map(ColumnBuf::finish).collect();
        let bits = self.deletes.finish();
        let deletes = std::mem::take(&mut self.any_delete).then_some(bits);
        let schema = if deletes.is_some() { &self.arrow_relaxed } else { &self.arrow };
        let options = RecordBatchOptions::new().with_row_count(Some(std::mem::take(&mut self.rows)));
        let batch = RecordBatch::try_new_with_options(schema.clone(), arrays, &options);
        Some(Rows { batch: batch.expect("buffers have the schema's types and one length"), deletes })
    }
}
