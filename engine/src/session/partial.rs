//! Partial update: an INSERT that names some columns of a primary key table leaves the others of rows that are there as they are (starrocks.md 3.1). It is
//! a read-modify-write and follows R7 as UPDATE does: exclusive turns of the tablets, then the rows as they are now, then the number.
//!
//! All rows of a statement name the same columns, so of several rows with one key the last one wins in each of them by being the last.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, interleave};
use arrow::datatypes::Schema;
use starling_storage::StorageError;
use starling_storage::ids::TabletId;
use starling_storage::rows::Rows;
use starling_storage::schema::{Column, DefaultValue};

use super::change::tablets_of;
use super::rows::RowBuilder;
use crate::catalog::Table;
use crate::error::{EngineError, Result};
use crate::exec;
use crate::limits::{INSERT_SLICE_ROWS, LOCK_WAIT_TIMEOUT, PARTIAL_HELD_BYTES_MAX};
use crate::runtime::task::Slice;
use crate::shard::Core;
use crate::txn::{Pin, Turns, bytes_of};
use crate::types;

/// The rows of one statement on their way from "the named columns" to whole rows.
pub(super) struct Partial {
    table: Arc<Table>,
    /// Positions of the columns that existing rows keep.
    kept: Vec<usize>,
    /// Rows that wait for the turns.
    held: Vec<Rows>,
    bytes: usize,
    /// The turns, and a snapshot taken under them.
    turns: Option<(Turns, Pin)>,
}

impl Partial {
    /// `None`: the columns are all there is to write. Columns whose default is an expression are written even when they are not named. Error 6014: a key
    /// column is not named.
    pub(super) fn of(table: &Arc<Table>, columns: &[usize]) -> Result<Option<Partial>> {
        let schema = &table.schema;
        if !table.is_primary_key() || columns.len() == schema.columns.len() {
            return Ok(None);
        }
        let keys = schema.key_columns as usize;
        if let Some(missing) = (0..keys).find(|key| !columns.contains(key)) {
            let name = &schema.columns[missing].name;
            let text = format!(
                "Getting analyzing error. Detail message: must define key columns in INSERT with a column list (partial update): '{name}' is missing"
            );
            return Err(EngineError::new(6014, b"42000", text));
        }
        let written = |at: &usize| columns.contains(at) || is_expression(&schema.columns[*at]);
        let kept: Vec<usize> = (keys..schema.columns.len()).filter(|at| !written(at)).collect();
        let partial = Partial { table: table.clone(), kept, held: Vec::new(), bytes: 0, turns: None };
        Ok((!partial.kept.is_empty()).then_some(partial))
    }

    pub(super) fn kept(&self) -> &[usize] {
        &self.kept
    }

    /// Takes rows in; gives back those that may be completed now. What is held is bounded: more rows than that take the turns of the whole table.
    pub(super) async fn hold(&mut self, core: &Rc<Core>, rows: Rows) -> Result<Vec<Rows>> {
        self.bytes += bytes_of(&rows);
        self.held.push(rows);
        if self.turns.is_none() {
            if self.bytes <= PARTIAL_HELD_BYTES_MAX {
                return Ok(Vec::new());
            }
            let all = self.table.tablets.clone();
            self.take_turns(core, &all).await?;
        }
        Ok(std::mem::take(&mut self.held))
    }

    /// The rows that are still held, with the turns of their tablets taken.
    pub(super) async fn release(&mut self, core: &Rc<Core>) -> Result<Vec<Rows>> {
        if self.turns.is_none() && !self.held.is_empty() {
            let positions = self.table.schema.bucket_positions();
            let mut tablets = std::collections::BTreeSet::new();
            for rows in &self.held {
                let columns: Vec<ArrayRef> = positions.iter().map(|&at| rows.batch.column(at).clone()).collect();
                tablets.extend(tablets_of(&self.table, &columns, rows.len())?);
            }
            let tablets: Vec<TabletId> = tablets.into_iter().collect();
            self.take_turns(core, &tablets).await?;
        }
        Ok(std::mem::take(&mut self.held))
    }

    /// The turns, for the commit.
    pub(super) fn into_turns(self) -> Option<Turns> {
        self.turns.map(|(turns, _)| turns)
    }

    async fn take_turns(&mut self, core: &Rc<Core>, tablets: &[TabletId]) -> Result<()> {
        let turns = core.turns(tablets, LOCK_WAIT_TIMEOUT).await?;
        // Nobody else writes these tablets until the number is taken: what is read here stays so.
        self.turns = Some((turns, core.pin()));
        Ok(())
    }

    /// Whole rows: those whose key is there have its values in the kept columns, the others the defaults that `builder` gave them.
    pub(super) async fn complete(&self, core: &Rc<Core>, rows: &Rows, builder: &mut RowBuilder) -> Result<Vec<Rows>> {
        let (mut whole, mut slice) = (Vec::new(), Slice::start());
        for start in (0..rows.len()).step_by(INSERT_SLICE_ROWS) {
            let part = rows.batch.slice(start, INSERT_SLICE_ROWS.min(rows.len() - start));
            whole.push(self.complete_slice(core, part, builder).await?);
            slice.yield_if_over().await;
        }
        Ok(whole)
    }

    async fn complete_slice(&self, core: &Rc<Core>, part: RecordBatch, builder: &mut RowBuilder) -> Result<Rows> {
        let Some((_, pin)) = &self.turns else {
            return Err(EngineError::internal("a partial update reads without turns"));
        };
        let keys = self.key_batch(&part)?;
        let kept = exec::PointColumns::new(&self.table, &self.kept)?;
        let (found, which) = exec::point_get(core, &self.table, pin, &keys, &kept).await?;
        let mut place: Vec<(usize, usize)> = (0..part.num_rows()).map(|row| (0, row)).collect();
        for (at, key) in which.iter().enumerate() {
            place[*key as usize] = (1, at);
        }
        let mut columns = part.columns().to_vec();
        for (&at, there) in self.kept.iter().zip(found.columns()) {
            let there = types::to_storage(there, self.table.schema.columns[at].ty);
            columns[at] = interleave(&[&columns[at], &there], &place).map_err(StorageError::from)?;
        }
        let relaxed = RecordBatch::try_new(part.schema(), columns).map_err(StorageError::from)?;
        let whole = self.refuse_without_default(relaxed, builder)?;
        let whole = RecordBatch::try_new(self.table.schema.arrow(), whole.columns().to_vec());
        Ok(Rows::upserts(whole.map_err(StorageError::from)?))
    }

    /// A row that is new needs a value in every column that takes no NULL.
    fn refuse_without_default(&self, rows: RecordBatch, builder: &mut RowBuilder) -> Result<RecordBatch> {
        for &at in &self.kept {
            let (column, values) = (&self.table.schema.columns[at], rows.column(at));
            if column.nullable || values.null_count() == 0 {
                continue;
            }
            let keep: BooleanArray = (0..rows.num_rows()).map(|row| Some(values.is_valid(row))).collect();
            builder.leave_out(values.null_count() as u64, EngineError::no_default(&column.name))?;
            return self
                .refuse_without_default(filter_record_batch(&rows, &keep).map_err(StorageError::from)?, builder);
        }
        Ok(rows)
    }

    fn key_batch(&self, part: &RecordBatch) -> Result<RecordBatch> {
        let range: Range<usize> = 0..self.table.schema.key_columns as usize;
        let fields: Vec<_> = self.table.schema.arrow().fields()[range.clone()].to_vec();
        let keys = RecordBatch::try_new(Arc::new(Schema::new(fields)), part.columns()[range].to_vec());
        Ok(keys.map_err(StorageError::from)?)
    }
}

fn is_expression(column: &Column) -> bool {
    matches!(column.default, Some(DefaultValue::CurrentTimestamp(_)))
}
