//! Rows of a table from batches of a plan or from literals: which column gets what, defaults, casts, and what is refused (starrocks.md 2.4, 3.1).

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray, new_null_array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::DataType;
use starling_storage::StorageError;
use starling_storage::rows::Rows;
use starling_storage::schema::{Column, DefaultValue};

use crate::admin::describe::full_type;
use crate::catalog::Table;
use crate::error::{EngineError, Result};
use crate::types::{CastMode, Rejected, Rejection, cast_array};

/// Builds rows of one table for one statement.
pub(super) struct RowBuilder {
    table: Arc<Table>,
    /// For each column of the table the input column that fills it; `None`: the default.
    sources: Vec<Option<usize>>,
    /// What a column without input holds, one row of it.
    defaults: Vec<Option<ArrayRef>>,
    mode: CastMode,
    /// Some columns are filled in later: they may hold NULL until then.
    partial: bool,
    /// Rows seen, for messages.
    seen: u64,
    /// Rows left out (lenient mode).
    pub filtered: u64,
    /// The first reason a row was left out for.
    pub reason: Option<String>,
}

/// The positions of named columns; all of them where none is named.
pub(super) fn target_columns(table: &Table, names: &[String]) -> Result<Vec<usize>> {
    if names.is_empty() {
        return Ok((0..table.schema.columns.len()).collect());
    }
    let mut positions = Vec::with_capacity(names.len());
    for name in names {
        let at = table.schema.columns.iter().position(|c| c.name.to_lowercase() == name.to_lowercase());
        let at = at.ok_or_else(|| unknown_column(name))?;
        if positions.contains(&at) {
            return Err(EngineError::new(1110, b"42000", format!("Column '{name}' specified twice")));
        }
        positions.push(at);
    }
    Ok(positions)
}

pub(super) fn unknown_column(name: &str) -> EngineError {
    EngineError::new(
        5509,
        b"42S22",
        format!("Getting analyzing error. Detail message: Column '{name}' cannot be resolved."),
    )
}

pub(super) fn count_mismatch(expected: usize, got: usize) -> EngineError {
    let text = format!(
        "Getting analyzing error. Detail message: Column count doesn't match value count: {expected} columns, {got} values."
    );
    EngineError::new(5604, b"22000", text)
}

/// Rows of one column holding the text, cast to its type.
pub(super) fn literal_array(text: &str, column: &Column, rows: usize) -> Result<ArrayRef> {
    let array: ArrayRef = Arc::new(StringArray::from(vec![text; rows]));
    let cast = cast_array(&array, column.ty, column.nullable, CastMode::Strict)?;
    match cast.rejected.is_empty() {
        true => Ok(cast.array),
        false => Err(EngineError::analyze(format!("'{text}' is not a value of column '{}'", column.name))),
    }
}

/// One row of the default of a column. Error 1364 when it has none.
pub(super) fn default_array(column: &Column) -> Result<ArrayRef> {
    match &column.default {
        Some(DefaultValue::Literal(text)) => literal_array(text, column, 1),
        Some(DefaultValue::CurrentTimestamp(precision)) => literal_array(&now_text(*precision), column, 1),
        Some(DefaultValue::Null) | None if column.nullable => Ok(new_null_array(&column.ty.arrow(), 1)),
        Some(DefaultValue::Null) | None => Err(EngineError::no_default(&column.name)),
    }
}

fn has_default(column: &Column) -> bool {
    column.nullable || !matches!(column.default, Some(DefaultValue::Null) | None)
}

/// Now in UTC, as text of DATETIME.
pub(super) fn now_text(precision: u8) -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let seconds = crate::admin::information_schema::time_text(since.as_secs());
    if precision == 0 {
        return seconds;
    }
    let digits = format!("{:06}", since.subsec_micros());
    format!("{seconds}.{}", &digits[..usize::from(precision).min(6)])
}

impl RowBuilder {
    /// `columns`: the columns of the table that the input gives, in the input's order. `kept`: those that rows which are there keep (partial update);
    /// they need no default, and hold NULL where there is none.
    pub(super) fn new(table: &Arc<Table>, columns: &[usize], kept: &[usize], strict: bool) -> Result<RowBuilder> {
        let source = |at: usize| columns.iter().position(|&c| c == at);
        let sources: Vec<Option<usize>> = (0..table.schema.columns.len()).map(source).collect();
        let default = |(at, column): (usize, &Column)| match sources[at] {
            Some(_) => Ok(None),
            None if kept.contains(&at) && !has_default(column) => Ok(Some(new_null_array(&column.ty.arrow(), 1))),
            None => default_array(column).map(Some),
        };
        let defaults = table.schema.columns.iter().enumerate().map(default).collect::<Result<_>>()?;
        let mode = if strict { CastMode::Strict } else { CastMode::Lenient };
        let (table, partial) = (table.clone(), !kept.is_empty());
        Ok(RowBuilder { table, sources, defaults, mode, partial, seen: 0, filtered: 0, reason: None })
    }

    /// Leaves rows out for a reason. Strict: the reason is the statement's error.
    pub(super) fn leave_out(&mut self, rows: u64, reason: EngineError) -> Result<()> {
        if self.mode == CastMode::Strict {
            return Err(reason);
        }
        self.filtered += rows;
        self.reason.get_or_insert(reason.message);
        Ok(())
    }

    /// Casts a batch of input columns. Strict: an error names the first value that does not fit; lenient: its row is left out.
    pub(super) fn build(&mut self, input: &[ArrayRef], rows: usize) -> Result<Rows> {
        let mut arrays = Vec::with_capacity(self.sources.len());
        let mut rejected: Vec<(usize, Rejected)> = Vec::new();
        for (at, column) in self.table.schema.columns.iter().enumerate() {
            match self.sources[at] {
                Some(source) => {
                    let cast = match input[source].data_type() {
                        // Bare NULLs have a type of their own.
                        DataType::Null => {
                            let nulls = new_null_array(&DataType::Utf8, rows);
                            cast_array(&nulls, column.ty, column.nullable, self.mode)?
                        }
                        _ => cast_array(&input[source], column.ty, column.nullable, self.mode)?,
                    };
                    rejected.extend(cast.rejected.into_iter().map(|r| (at, r)));
                    arrays.push(cast.array);
                }
                None => {
                    let one = self.defaults[at].as_ref().expect("a column without input has a default");
                    let same = arrow::array::UInt32Array::from(vec![0; rows]);
                    arrays.push(arrow::compute::take(one, &same, None).map_err(StorageError::from)?);
                }
            }
        }
        let keep = self.judge(input, rows, &rejected)?;
        self.seen += rows as u64;
        let schema = starling_storage::rows::relaxed(&self.table.schema);
        let batch = RecordBatch::try_new(schema, arrays).map_err(StorageError::from)?;
        let batch = match keep {
            Some(keep) => filter_record_batch(&batch, &keep).map_err(StorageError::from)?,
            None => batch,
        };
        if self.partial {
            return Ok(Rows::upserts(batch));
        }
        let batch =
            RecordBatch::try_new(self.table.schema.arrow(), batch.columns().to_vec()).map_err(StorageError::from)?;
        Ok(Rows::upserts(batch))
    }

    /// Which rows to keep; `None`: all.
    fn judge(
        &mut self,
        input: &[ArrayRef],
        rows: usize,
        rejected: &[(usize, Rejected)],
    ) -> Result<Option<BooleanArray>> {
        let Some((at, first)) = rejected.iter().min_by_key(|(_, r)| r.row) else { return Ok(None) };
        let reason = self.explain(input, *at, first);
        if self.mode == CastMode::Strict {
            return Err(EngineError::new(5610, b"22000", format!("Insert has filtered data in strict mode: {reason}")));
        }
        let mut keep = vec![true; rows];
        rejected.iter().for_each(|(_, r)| keep[r.row as usize] = false);
        self.filtered += keep.iter().filter(|k| !**k).count() as u64;
        self.reason.get_or_insert(reason);
        Ok(Some(BooleanArray::from(keep)))
    }

    fn explain(&self, input: &[ArrayRef], at: usize, rejected: &Rejected) -> String {
        let column = &self.table.schema.columns[at];
        let row = self.seen + u64::from(rejected.row) + 1;
        let name = &column.name;
        match rejected.why {
            Rejection::Null => format!("row {row}: NULL value in non-nullable column '{name}'"),
            Rejection::TooLong { bytes, limit } => {
                format!("row {row}: the string for column '{name}' has {bytes} bytes, more than its {limit}")
            }
            Rejection::Uncastable => {
                let value =
                    self.sources[at].map(|source| shown(&input[source], rejected.row as usize)).unwrap_or_default();
                format!("row {row}: value '{value}' of column '{name}' is not of type {}", full_type(column.ty))
            }
        }
    }
}

/// A value for a message.
fn shown(array: &ArrayRef, row: usize) -> String {
    let text = arrow::util::display::array_value_to_string(array, row).unwrap_or_default();
    text.chars().take(80).collect()
}

/// Deletes of the rows whose keys these are: `input` holds the key columns, in order.
pub(super) fn deletes(table: &Table, input: &[ArrayRef], rows: usize) -> Result<Rows> {
    let schema = starling_storage::rows::relaxed(&table.schema);
    let keys = table.schema.key_columns as usize;
    let mut arrays = Vec::with_capacity(table.schema.columns.len());
    for (at, column) in table.schema.columns.iter().enumerate() {
        arrays.push(match at < keys {
            true => crate::types::to_storage(&input[at], column.ty),
            false => new_null_array(&column.ty.arrow(), rows),
        });
    }
    let batch = RecordBatch::try_new(schema, arrays).map_err(StorageError::from)?;
    Ok(Rows { batch, deletes: Some(arrow::buffer::BooleanBuffer::new_set(rows)) })
}
