//! INSERT: literals without planner, expressions and queries through it (starrocks.md 3.1).

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, StringBuilder};
use sqlparser::ast::{self, Expr, UnaryOperator, Value};
use starling_storage::schema::{Column, DefaultValue};

use super::literals::{self, Stop, Values, stands_for_itself};
use super::rows::{RowBuilder, count_mismatch, target_columns};
use super::sink::{InsertOptions, Sink};
use super::{Done, Outcome, Run, Session, Warning};
use crate::catalog::{HIDDEN_DATABASE, Table};
use crate::error::{EngineError, Result};
use crate::limits::INSERT_SLICE_ROWS;
use crate::runtime::task::Slice;
use crate::sql::statement::{Insert, InsertSource, InsertValue, TableName};
use crate::txn::{Committed, Load, LoadKind, LoadOptions};

/// Rows of one VALUES query where the values are expressions.
const EXPRESSION_ROWS: usize = 500;

impl Session {
    /// A table that statements may write.
    pub(super) fn target(&self, name: &TableName) -> Result<Arc<Table>> {
        let table = self.table_of(name)?;
        match table.db_name == HIDDEN_DATABASE {
            true => Err(EngineError::analyze(format!("the tables of {HIDDEN_DATABASE} are the server's own"))),
            false => Ok(table),
        }
    }

    pub(super) async fn open_load(&self, table: &Table, kind: LoadKind, label: Option<String>) -> Result<Load> {
        let timeout = Duration::from_secs(self.state.borrow().variables.number("insert_timeout").max(1));
        self.core().open_load(table.id, LoadOptions { label, kind, timeout }).await
    }

    /// The fast exit: `None` when the statement is none of literals only.
    pub(super) async fn insert_literals(&self, sql: &str, run: &Run) -> Result<Option<Outcome>> {
        let Some(head) = literals::head(sql) else { return Ok(None) };
        let table = self.target(&head.table)?;
        let columns = target_columns(&table, &head.columns)?;
        let types = columns.iter().map(|&c| table.schema.columns[c].ty).collect();
        let options = self.insert_options(&[])?;
        let mut values = Values::new(sql, head.rows_at, types);
        let (mut sink, mut slice) = (None, Slice::start());
        loop {
            let part = match values.next(INSERT_SLICE_ROWS) {
                Ok(Some(part)) => part,
                Ok(None) => break,
                // What was pushed so far goes with the load.
                Err(Stop::Unknown) => return Ok(None),
                Err(Stop::Count(got)) => return Err(count_mismatch(columns.len(), got)),
            };
            let sink = match &mut sink {
                Some(sink) => sink,
                none => none.insert(self.sink(&table, &columns, &options, None).await?),
            };
            sink.push(&part.columns, part.rows, run).await?;
            slice.yield_if_over().await;
        }
        self.state.borrow_mut().warnings.clear();
        match sink {
            Some(sink) => self.commit_insert(sink, &options, run).await.map(Some),
            None => Ok(None),
        }
    }

    pub(super) async fn insert(&self, insert: Insert, run: &Run) -> Result<Outcome> {
        let table = self.target(&insert.table)?;
        let columns = target_columns(&table, &insert.columns)?;
        let options = self.insert_options(&insert.properties)?;
        match insert.source {
            InsertSource::Values(rows) => {
                if let Some(row) = rows.iter().find(|row| row.len() != columns.len()) {
                    return Err(count_mismatch(columns.len(), row.len()));
                }
                let mut sink = self.sink(&table, &columns, &options, insert.label).await?;
                self.push_values(&mut sink, &table, &columns, rows, run).await?;
                self.commit_insert(sink, &options, run).await
            }
            InsertSource::Query(query) => {
                let mut rows = self.run_query_for(*query, run, Some(options.timeout)).await?;
                if rows.columns.len() != columns.len() {
                    return Err(count_mismatch(columns.len(), rows.columns.len()));
                }
                let mut sink = self.sink(&table, &columns, &options, insert.label).await?;
                while let Some(batch) = rows.next().await? {
                    sink.push(batch.columns(), batch.num_rows(), run).await?;
                }
                drop(rows);
                self.commit_insert(sink, &options, run).await
            }
        }
    }

    async fn push_values(
        &self,
        sink: &mut Sink,
        table: &Table,
        columns: &[usize],
        rows: Vec<Vec<InsertValue>>,
        run: &Run,
    ) -> Result<()> {
        let targets: Vec<&Column> = columns.iter().map(|&c| &table.schema.columns[c]).collect();
        if let Some(arrays) = literal_columns(&rows, &targets)? {
            return sink.push(&arrays, rows.len(), run).await;
        }
        for part in rows.chunks(EXPRESSION_ROWS) {
            let query = values_query(part, &targets)?;
            let mut batches = self.run_query(query, run).await?;
            while let Some(batch) = batches.next().await? {
                sink.push(batch.columns(), batch.num_rows(), run).await?;
            }
        }
        Ok(())
    }

    async fn commit_insert(&self, mut sink: Sink, options: &InsertOptions, run: &Run) -> Result<Outcome> {
        let rows = sink.flush(run).await?;
        if sink.builder.filtered > 0 {
            self.check_filtered(rows, &sink.builder, options)?;
        }
        run.check()?;
        let warnings = u16::try_from(sink.builder.filtered).unwrap_or(u16::MAX);
        let committed = sink.commit().await?;
        Ok(Outcome::Done(Done { affected: rows, last_insert_id: 0, warnings, info: info(&committed) }))
    }

    /// Lenient mode: too many rows left out fail the statement; fewer are a warning.
    fn check_filtered(&self, loaded: u64, builder: &RowBuilder, options: &InsertOptions) -> Result<()> {
        let ratio = options.max_filter_ratio;
        let reason = builder.reason.clone().unwrap_or_default();
        if builder.filtered as f64 > ratio * (loaded + builder.filtered) as f64 {
            let text = format!(
                "too many filtered rows: {} filtered, {loaded} loaded, max_filter_ratio is {ratio}; {reason}",
                builder.filtered
            );
            return Err(EngineError::new(5604, b"22000", text));
        }
        self.state.borrow_mut().warnings = vec![Warning { level: "Warning", code: 1265, message: reason }];
        Ok(())
    }
}

/// The info text of the OK packet; clients take it apart by pattern, so the quotes matter.
pub(super) fn info(committed: &Committed) -> String {
    let status = if committed.visible { "VISIBLE" } else { "COMMITTED" };
    format!("{{'label':'{}', 'status':'{status}', 'txnId':'{}'}}", committed.label, committed.txn)
}

/// The columns of rows that are literals throughout, as text; `None` when one is an expression.
fn literal_columns(rows: &[Vec<InsertValue>], targets: &[&Column]) -> Result<Option<Vec<ArrayRef>>> {
    let mut builders: Vec<StringBuilder> = targets.iter().map(|_| StringBuilder::new()).collect();
    for row in rows {
        for ((value, column), builder) in row.iter().zip(targets).zip(&mut builders) {
            match value {
                InsertValue::Default => builder.append_option(default_text(column)?),
                InsertValue::Expr(expr) => match literal_text(expr) {
                    Some(Literal::Null) => builder.append_null(),
                    Some(Literal::Text(text)) => builder.append_value(text),
                    Some(Literal::Number(text)) if stands_for_itself(&text, column.ty) => builder.append_value(text),
                    _ => return Ok(None),
                },
            }
        }
    }
    Ok(Some(builders.into_iter().map(|mut b| Arc::new(b.finish()) as ArrayRef).collect()))
}

enum Literal {
    Null,
    Text(String),
    Number(String),
}

fn literal_text(expr: &Expr) -> Option<Literal> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Null => Some(Literal::Null),
            Value::SingleQuotedString(text) => Some(Literal::Text(text.clone())),
            Value::Number(text, _) => Some(Literal::Number(text.clone())),
            Value::Boolean(value) => Some(Literal::Number(u8::from(*value).to_string())),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match literal_text(expr)? {
            Literal::Number(text) if !text.starts_with('-') => Some(Literal::Number(format!("-{text}"))),
            _ => None,
        },
        _ => None,
    }
}

/// The text of a column's default; NULL where there is none and the column may be NULL. Error 1364 otherwise.
fn default_text(column: &Column) -> Result<Option<String>> {
    match &column.default {
        Some(DefaultValue::Literal(text)) => Ok(Some(text.clone())),
        Some(DefaultValue::CurrentTimestamp(precision)) => Ok(Some(super::rows::now_text(*precision))),
        Some(DefaultValue::Null) | None if column.nullable => Ok(None),
        Some(DefaultValue::Null) | None => Err(EngineError::no_default(&column.name)),
    }
}

/// The default of a column as an expression.
pub(super) fn default_expr(column: &Column) -> Result<Expr> {
    Ok(Expr::value(match default_text(column)? {
        Some(text) => Value::SingleQuotedString(text),
        None => Value::Null,
    }))
}

/// `VALUES (...), ...` as a query.
fn values_query(rows: &[Vec<InsertValue>], targets: &[&Column]) -> Result<ast::Query> {
    let row = |row: &Vec<InsertValue>| -> Result<Vec<Expr>> {
        row.iter()
            .zip(targets)
            .map(|(value, column)| match value {
                InsertValue::Default => default_expr(column),
                InsertValue::Expr(expr) => Ok(expr.clone()),
            })
            .collect()
    };
    let rows: Vec<Vec<Expr>> = rows.iter().map(row).collect::<Result<_>>()?;
    crate::sql::bind::values_query(rows)
}
