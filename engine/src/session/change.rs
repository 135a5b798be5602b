//! UPDATE and DELETE (R7): read at a snapshot without turns, take the exclusive turns of the tablets the rows are in, evaluate again if a tablet
//! that was read has changed since, write, commit. No concurrent change is lost: between the last evaluation and the number nobody else writes those tablets.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use sqlparser::ast::{self, Expr, Ident, SelectItem};
use starling_storage::ids::{Seq, TabletId};
use starling_storage::key::bucket_hash;

use super::insert::{default_expr, info};
use super::rows::{self, RowBuilder, target_columns};
use super::{Done, Outcome, Run, Session, point};
use crate::catalog::Table;
use crate::error::{EngineError, Result};
use crate::exec;
use crate::limits::{CHANGE_BYTES_MAX, LOCK_WAIT_TIMEOUT};
use crate::sql::bind::{self, PlannedQuery};
use crate::sql::statement::{Delete, InsertValue, TableName, Update};
use crate::txn::{LoadKind, Turns};
use crate::types;

/// Evaluations under turns that found rows in yet other tablets, before all tablets of the table are taken.
const WIDENINGS_MAX: usize = 3;

/// What is done with the rows that the query finds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// The rows are whole rows: they replace those of their keys.
    Write,
    /// The rows are keys.
    Delete,
}

/// Rows read at a snapshot.
struct Found {
    batches: Vec<RecordBatch>,
    at: Seq,
}

impl Session {
    pub(super) async fn update(&self, update: Update, run: &Run) -> Result<Outcome> {
        let table = self.target(&update.table)?;
        let query = self.update_query(&table, &update)?;
        let alone = update.from.is_empty() && update.with.is_none();
        let relation = relation_name(&update.table, update.alias.as_deref());
        let keys = update.selection.as_ref().filter(|_| alone).and_then(|s| keys(s, &table, &relation));
        self.change(&table, query, keys, Change::Write, run).await
    }

    pub(super) async fn delete(&self, delete: Delete, run: &Run) -> Result<Outcome> {
        let table = self.target(&delete.table)?;
        if !table.is_primary_key() {
            return self.delete_where(&table, delete, run).await;
        }
        let alone = delete.using.is_empty() && delete.with.is_none();
        let relation = relation_name(&delete.table, delete.alias.as_deref());
        if let Some(keys) = delete.selection.as_ref().filter(|_| alone).and_then(|s| keys(s, &table, &relation)) {
            return self.delete_keys(&table, &keys, run).await;
        }
        let query = self.delete_query(&table, &delete)?;
        self.change(&table, query, None, Change::Delete, run).await
    }

    /// `SELECT` of whole rows with the assigned values in place.
    pub(super) fn update_query(&self, table: &Table, update: &Update) -> Result<ast::Query> {
        if !table.is_primary_key() {
            let text = format!("table '{}' does not support update; only primary key tables do", table.name);
            return Err(EngineError::analyze(text));
        }
        let Some(selection) = &update.selection else {
            return Err(EngineError::analyze(
                "must specify where clause to prevent full table update; write WHERE true to mean all rows",
            ));
        };
        let names: Vec<String> = update.assignments.iter().map(|(name, _)| name.clone()).collect();
        let targets = target_columns(table, &names)?;
        let mut values: Vec<Option<Expr>> = vec![None; table.schema.columns.len()];
        for (&at, (name, value)) in targets.iter().zip(&update.assignments) {
            if at < table.schema.key_columns as usize {
                return Err(EngineError::analyze(format!("primary key column cannot be updated: {name}")));
            }
            values[at] = Some(match value {
                InsertValue::Default => default_expr(&table.schema.columns[at])?,
                InsertValue::Expr(expr) => expr.clone(),
            });
        }
        let relation = relation_name(&update.table, update.alias.as_deref());
        let items = values
            .into_iter()
            .enumerate()
            .map(|(at, value)| value.unwrap_or_else(|| column_of(&relation, &table.schema.columns[at].name)));
        let target = target_relation(&update.table, update.alias.as_deref());
        Ok(select(items.collect(), target, &update.from, selection, update.with.clone()))
    }

    /// `SELECT` of the keys.
    pub(super) fn delete_query(&self, table: &Table, delete: &Delete) -> Result<ast::Query> {
        let selection = delete.selection.as_ref().ok_or_else(no_where)?;
        let relation = relation_name(&delete.table, delete.alias.as_deref());
        let keys = &table.schema.columns[..table.schema.key_columns as usize];
        let items = keys.iter().map(|column| column_of(&relation, &column.name)).collect();
        let target = target_relation(&delete.table, delete.alias.as_deref());
        Ok(select(items, target, &delete.using, selection, delete.with.clone()))
    }

    /// DELETE by primary key reads nothing: whether the rows are there is known when the delete is staged.
    async fn delete_keys(&self, table: &Arc<Table>, keys: &RecordBatch, run: &Run) -> Result<Outcome> {
        let mut load = self.open_load(table, LoadKind::Delete, None).await?;
        load.push(rows::deletes(table, keys.columns(), keys.num_rows())?).await?;
        run.check()?;
        let committed = load.commit(None).await?;
        Ok(Outcome::Done(Done { affected: committed.deleted, info: info(&committed), ..Done::default() }))
    }

    /// `keys`: the keys that the condition names, where it names keys; their tablets' turns are then taken first, and the rows are read once.
    async fn change(
        &self,
        table: &Arc<Table>,
        query: ast::Query,
        keys: Option<RecordBatch>,
        change: Change,
        run: &Run,
    ) -> Result<Outcome> {
        let planned = self.plan(query.clone(), None, self.system_state(false).await?, run).await?;
        // Everything that may wait for others comes before the turns.
        let kind = if change == Change::Write { LoadKind::Update } else { LoadKind::Delete };
        let mut load = self.open_load(table, kind, None).await?;
        let mut turns: Option<Turns> = None;
        let mut found: Option<Found> = None;
        let mut tablets = match &keys {
            Some(keys) => touched(table, std::slice::from_ref(keys))?,
            None => touched(table, &found.insert(self.find(&planned, run).await?).batches)?,
        };
        for widening in 0.. {
            if tablets.is_empty() {
                break;
            }
            drop(turns.take());
            let wanted: Vec<TabletId> = tablets.iter().copied().collect();
            let held = self.core().turns(&wanted, LOCK_WAIT_TIMEOUT).await?;
            run.check()?;
            turns = Some(held);
            if let Some(found) = &found {
                if !self.has_changed(&planned, found.at).await? {
                    break;
                }
                self.core().metrics().change_read_again();
            }
            // R7: what was read has changed since.
            let planned = match planned.plan.is_reusable() {
                true => planned.clone(),
                false => self.plan(query.clone(), None, self.system_state(false).await?, run).await?,
            };
            let now = touched(table, &found.insert(self.find(&planned, run).await?).batches)?;
            if now.is_subset(&tablets) {
                break;
            }
            tablets.extend(now);
            if widening >= WIDENINGS_MAX {
                tablets.extend(table.tablets.iter().copied());
            }
        }
        let all: Vec<usize> = (0..table.schema.columns.len()).collect();
        let mut builder = RowBuilder::new(table, &all, &[], true)?;
        for batch in found.map(|found| found.batches).unwrap_or_default() {
            let rows = match change {
                Change::Write => builder.build(batch.columns(), batch.num_rows())?,
                Change::Delete => rows::deletes(table, batch.columns(), batch.num_rows())?,
            };
            load.push(rows).await?;
        }
        run.check()?;
        let committed = load.commit(turns).await?;
        let affected = if change == Change::Write { committed.upserted } else { committed.deleted };
        Ok(Outcome::Done(Done { affected, info: info(&committed), ..Done::default() }))
    }

    /// Whether a tablet that the query reads was written after `at`: commits elsewhere, however many, change nothing of what was read. Asked under the
    /// turns, so that of the tablets to be written nobody can say otherwise afterwards.
    async fn has_changed(&self, planned: &PlannedQuery, at: Seq) -> Result<bool> {
        if self.core().watermark() == at {
            return Ok(false);
        }
        let tablets: Vec<TabletId> = planned.plan.tablets().into_iter().collect();
        Ok(self.core().last_written(&tablets).await? > at)
    }

    /// Runs the query at the newest snapshot and keeps its rows.
    async fn find(&self, planned: &PlannedQuery, run: &Run) -> Result<Found> {
        run.check()?;
        let mut handle = self.query_handle(run);
        handle.timeout = None;
        let at = handle.pin.seq();
        let mut stream = exec::run(self.core(), planned.plan.clone(), handle).await?;
        let (mut batches, mut bytes) = (Vec::new(), 0);
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            bytes += batch.get_array_memory_size();
            if bytes > CHANGE_BYTES_MAX {
                let text = format!(
                    "the statement changes more than {CHANGE_BYTES_MAX} bytes of rows; narrow its WHERE and repeat it"
                );
                return Err(EngineError::limit("CHANGE_BYTES_MAX", text));
            }
            batches.push(batch);
        }
        Ok(Found { batches, at })
    }

    /// DELETE of a duplicate key table: the condition itself is logged, every tablet applies it.
    async fn delete_where(&self, table: &Arc<Table>, delete: Delete, run: &Run) -> Result<Outcome> {
        let selection = delete.selection.ok_or_else(no_where)?;
        if !delete.using.is_empty() || delete.with.is_some() {
            return Err(EngineError::analyze("only primary key tables support USING and WITH in DELETE"));
        }
        let target = target_relation(&delete.table, delete.alias.as_deref());
        let items = table.schema.columns.iter().map(|c| Expr::Identifier(Ident::new(&c.name))).collect();
        let query = select(items, target, &[], &selection, None);
        let context = self.bind_context(self.system_state(false).await?);
        let schema = table.schema.clone();
        let predicates = self.on_planner(run, move || bind::simple_predicates(query, &schema, &context)).await?;
        let mut load = self.open_load(table, LoadKind::Delete, None).await?;
        if let Some(predicates) = predicates {
            load.delete_where(&predicates);
        }
        run.check()?;
        let committed = load.commit(None).await?;
        Ok(Outcome::Done(Done { affected: 0, info: info(&committed), ..Done::default() }))
    }
}

fn no_where() -> EngineError {
    EngineError::analyze("Where clause is not set; write WHERE true or TRUNCATE TABLE to delete all rows")
}

/// The keys that a condition names, if it names keys and nothing else.
fn keys(selection: &Expr, table: &Table, relation: &str) -> Option<RecordBatch> {
    point::key_batch(table, &point::keys_of(selection, table, relation)?, &[])
}

/// How columns of the changed table are qualified.
fn relation_name(name: &TableName, alias: Option<&str>) -> String {
    alias.unwrap_or(&name.table).to_string()
}

fn column_of(relation: &str, column: &str) -> Expr {
    Expr::CompoundIdentifier(vec![Ident::with_quote('`', relation), Ident::with_quote('`', column)])
}

fn target_relation(name: &TableName, alias: Option<&str>) -> ast::TableWithJoins {
    let parts = name.db.iter().chain([&name.table]).map(|part| Ident::with_quote('`', part)).collect::<Vec<_>>();
    let alias = alias.map(|alias| ast::TableAlias {
        explicit: true,
        name: Ident::with_quote('`', alias),
        columns: Vec::new(),
        at: None,
    });
    bind::table_relation(parts.into(), alias)
}

fn select(
    items: Vec<Expr>,
    target: ast::TableWithJoins,
    others: &[ast::TableWithJoins],
    selection: &Expr,
    with: Option<ast::With>,
) -> ast::Query {
    let mut query = bind::constant_query(Expr::value(ast::Value::Null));
    query.with = with;
    if let ast::SetExpr::Select(select) = query.body.as_mut() {
        let alias = |at: usize| Ident::with_quote('`', format!("c{at}"));
        let item = |(at, expr)| SelectItem::ExprWithAlias { expr, alias: alias(at) };
        select.projection = items.into_iter().enumerate().map(item).collect();
        select.from = std::iter::once(target).chain(others.iter().cloned()).collect();
        select.selection = Some(selection.clone());
    }
    query
}

/// The tablets of rows that begin with the key columns.
fn touched(table: &Table, batches: &[RecordBatch]) -> Result<BTreeSet<TabletId>> {
    let mut tablets = BTreeSet::new();
    for batch in batches {
        let column = |at: usize| -> ArrayRef { types::to_storage(batch.column(at), table.schema.columns[at].ty) };
        let columns: Vec<ArrayRef> = table.schema.bucket_positions().into_iter().map(column).collect();
        tablets.extend(tablets_of(table, &columns, batch.num_rows())?);
    }
    Ok(tablets)
}

/// The tablets of rows; `columns`: their bucket columns in storage types.
pub(super) fn tablets_of(table: &Table, columns: &[ArrayRef], rows: usize) -> Result<BTreeSet<TabletId>> {
    let hashes = bucket_hash(columns, rows)?;
    Ok(hashes.into_iter().map(|hash| table.tablets[table.bucket_of(hash) as usize]).collect())
}
