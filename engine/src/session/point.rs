//! Reads by primary key without planner: `SELECT columns FROM t WHERE key = literal [AND ...]` and `key IN (...)`. What is not exactly of that form is
//! left to the planner; so is a value whose comparison with the key is more than equality of the same type.

use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int8Array, Int16Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Schema, SchemaRef};
use sqlparser::ast::{self, BinaryOperator, Expr, SelectItem, SetExpr, TableFactor, UnaryOperator, Value};
use starling_storage::schema::{Column, ColumnType, TabletSchema};

use super::{ColumnMeta, Outcome, Param, RowSet, Run, Session, SqlType};
use crate::catalog::{Catalog, Table};
use crate::error::Result;
use crate::exec;
use crate::sql::labels::{self, Label};
use crate::types::{CastMode, cast_array};

/// Keys of one statement.
const KEYS_MAX: usize = 4_096;

/// The value of one key column.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum KeyValue {
    Text(String),
    Number(String),
    /// The nth parameter, from 0.
    Param(usize),
}

/// A recognised read.
#[derive(Debug, Clone)]
pub(super) struct PointRead {
    pub table: Arc<Table>,
    /// What is read of each row: every column once, however often the result names it.
    columns: exec::PointColumns,
    /// Where the result's columns are among them; `None`: the same in the same order.
    order: Option<Vec<usize>>,
    metas: Rc<[ColumnMeta]>,
    keys: Vec<Vec<KeyValue>>,
    key_schema: SchemaRef,
    limit: usize,
}

/// Recognises a read by primary key; `None`: the planner's.
pub(super) fn recognise(
    query: &ast::Query,
    texts: Option<&[String]>,
    catalog: &Catalog,
    database: Option<&str>,
) -> Option<PointRead> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let plain_query =
        query.with.is_none() && query.order_by.is_none() && query.fetch.is_none() && query.for_clause.is_none();
    let plain_select = select.distinct.is_none()
        && select.having.is_none()
        && select.qualify.is_none()
        && select.into.is_none()
        && select.named_window.is_empty()
        && select.top.is_none()
        && matches!(&select.group_by, ast::GroupByExpr::Expressions(e, m) if e.is_empty() && m.is_empty());
    let [from] = select.from.as_slice() else { return None };
    if !plain_query || !plain_select || !from.joins.is_empty() {
        return None;
    }
    let TableFactor::Table { name, alias, args: None, version: None, sample: None, .. } = &from.relation else {
        return None;
    };
    let parts: Vec<&str> = name.0.iter().map(|p| p.as_ident().map(|i| i.value.as_str())).collect::<Option<_>>()?;
    let (db, table) = match parts.as_slice() {
        [table] => (database?, *table),
        [db, table] => (*db, *table),
        _ => return None,
    };
    let table = catalog.table(db, table).ok()?;
    let relation = match alias {
        Some(alias) if alias.columns.is_empty() => alias.name.value.as_str(),
        Some(_) => return None,
        None => table.name.as_str(),
    };
    let keys = keys_of(select.selection.as_ref()?, table, relation)?;
    let limit = limit_of(query.limit_clause.as_ref())?;
    let columns = columns_of(&select.projection, &table.schema, relation)?;
    let labels = labels::labels(query, texts);
    let metas = metas(table, relation, &columns, &labels)?.into();
    let mut unique = columns.clone();
    unique.sort_unstable();
    unique.dedup();
    let place = |at: &usize| unique.binary_search(at).unwrap_or_default();
    let order = (unique != columns).then(|| columns.iter().map(place).collect());
    let columns = exec::PointColumns::new(table, &unique).ok()?;
    Some(PointRead { table: table.clone(), columns, order, metas, keys, key_schema: key_schema(table), limit })
}

/// The key columns in storage types.
fn key_schema(table: &Table) -> SchemaRef {
    let keys = table.schema.key_columns as usize;
    let fields: Vec<_> = table.schema.arrow().fields().iter().take(keys).cloned().collect();
    Arc::new(Schema::new(fields))
}

fn limit_of(clause: Option<&ast::LimitClause>) -> Option<usize> {
    match clause {
        None => Some(usize::MAX),
        Some(ast::LimitClause::LimitOffset { limit: Some(Expr::Value(value)), offset: None, limit_by })
            if limit_by.is_empty() =>
        {
            match &value.value {
                Value::Number(text, _) => text.parse().ok(),
                _ => None,
            }
        }
        Some(_) => None,
    }
}

fn columns_of(items: &[SelectItem], schema: &TabletSchema, relation: &str) -> Option<Vec<usize>> {
    let mut columns = Vec::with_capacity(items.len());
    for item in items {
        match item {
            SelectItem::Wildcard(options)
                if *options == ast::WildcardAdditionalOptions::default() || is_plain(options) =>
            {
                columns.extend(0..schema.columns.len());
            }
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                columns.push(column_of(expr, schema, relation)?)
            }
            _ => return None,
        }
    }
    Some(columns)
}

fn is_plain(options: &ast::WildcardAdditionalOptions) -> bool {
    options.opt_except.is_none()
        && options.opt_exclude.is_none()
        && options.opt_replace.is_none()
        && options.opt_rename.is_none()
}

fn column_of(expr: &Expr, schema: &TabletSchema, relation: &str) -> Option<usize> {
    let name = match expr {
        Expr::Identifier(name) => name,
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [table, name] if table.value == relation => name,
            _ => return None,
        },
        _ => return None,
    };
    schema.columns.iter().position(|c| c.name.to_lowercase() == name.value.to_lowercase())
}

fn metas(table: &Table, relation: &str, columns: &[usize], labels: &[Label]) -> Option<Vec<ColumnMeta>> {
    let mut names = Vec::with_capacity(columns.len());
    for label in labels {
        match label {
            Label::Text(text) => names.push(text.clone()),
            Label::Wildcard => names.extend(table.schema.columns.iter().map(|c| c.name.clone())),
        }
    }
    let meta = |(&at, name): (&usize, String)| {
        let column = &table.schema.columns[at];
        ColumnMeta {
            name,
            org_name: column.name.clone(),
            table: relation.to_string(),
            org_table: table.name.clone(),
            db: table.db_name.clone(),
            ty: SqlType::of_column(column.ty),
            nullable: column.nullable,
        }
    };
    (names.len() == columns.len()).then(|| columns.iter().zip(names).map(meta).collect())
}

/// The keys that a condition names, if it names keys and nothing else.
pub(super) fn keys_of(selection: &Expr, table: &Table, relation: &str) -> Option<Vec<Vec<KeyValue>>> {
    if !table.is_primary_key() {
        return None;
    }
    let count = table.schema.key_columns as usize;
    if let Expr::InList { expr, list, negated: false } = unnested(selection) {
        let single = count == 1 && column_of(expr, &table.schema, relation) == Some(0) && list.len() <= KEYS_MAX;
        return single.then(|| list.iter().map(|v| value_of(v).map(|v| vec![v])).collect::<Option<_>>())?;
    }
    let mut values: Vec<Option<KeyValue>> = vec![None; count];
    equalities(selection, table, relation, &mut values)?;
    Some(vec![values.into_iter().collect::<Option<_>>()?])
}

fn unnested(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => unnested(inner),
        other => other,
    }
}

fn equalities(expr: &Expr, table: &Table, relation: &str, values: &mut [Option<KeyValue>]) -> Option<()> {
    let Expr::BinaryOp { left, op, right } = unnested(expr) else { return None };
    match op {
        BinaryOperator::And => {
            equalities(left, table, relation, values)?;
            equalities(right, table, relation, values)
        }
        BinaryOperator::Eq => {
            let (at, value) = match column_of(left, &table.schema, relation) {
                Some(at) => (at, value_of(right)?),
                None => (column_of(right, &table.schema, relation)?, value_of(left)?),
            };
            // A column that is named twice, or is no key, is the planner's.
            let slot = values.get_mut(at)?;
            slot.is_none().then(|| *slot = Some(value))
        }
        _ => None,
    }
}

fn value_of(expr: &Expr) -> Option<KeyValue> {
    match unnested(expr) {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(KeyValue::Text(text.clone())),
            Value::Number(text, _) => Some(KeyValue::Number(text.clone())),
            Value::Placeholder(name) => {
                name.trim_start_matches('?').parse::<usize>().ok()?.checked_sub(1).map(KeyValue::Param)
            }
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match value_of(expr)? {
            KeyValue::Number(text) if !text.starts_with('-') => Some(KeyValue::Number(format!("-{text}"))),
            _ => None,
        },
        _ => None,
    }
}

/// The keys as a batch of the key columns in storage types, each key once. `None`: a value is not one of its column's type.
pub(super) fn key_batch(table: &Table, keys: &[Vec<KeyValue>], params: &[Param]) -> Option<RecordBatch> {
    let columns = &table.schema.columns[..table.schema.key_columns as usize];
    let mut rows: Vec<Vec<String>> = Vec::with_capacity(keys.len());
    for key in keys {
        rows.push(
            key.iter().zip(columns).map(|(value, column)| key_text(value, column, params)).collect::<Option<_>>()?,
        );
    }
    if rows.len() > 1 {
        rows.sort();
        rows.dedup();
    }
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(columns.len());
    for (at, column) in columns.iter().enumerate() {
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row[at].as_str())));
        let cast = cast_array(&texts, column.ty, false, CastMode::Strict).ok()?;
        if !cast.rejected.is_empty() {
            return None;
        }
        arrays.push(cast.array);
    }
    RecordBatch::try_new(key_schema(table), arrays).ok()
}

/// `key_batch` without the way through texts: one key, of integer columns, all of them parameters that came as integers. `None`: it is
/// another one, or a value is out of its column's range, which is for `key_batch` to say.
fn integer_key_batch(read: &PointRead, params: &[Param]) -> Option<RecordBatch> {
    let [key] = read.keys.as_slice() else { return None };
    let array = |(value, column): (&KeyValue, &Column)| -> Option<ArrayRef> {
        let number = match value {
            KeyValue::Param(at) => match *params.get(*at)? {
                Param::Int(number) => number,
                Param::UInt(number) => number.try_into().ok()?,
                _ => return None,
            },
            _ => return None,
        };
        Some(match column.ty {
            ColumnType::TinyInt => Arc::new(Int8Array::from_iter_values([number.try_into().ok()?])),
            ColumnType::SmallInt => Arc::new(Int16Array::from_iter_values([number.try_into().ok()?])),
            ColumnType::Int => Arc::new(Int32Array::from_iter_values([number.try_into().ok()?])),
            ColumnType::BigInt => Arc::new(Int64Array::from_iter_values([number])),
            _ => return None,
        })
    };
    let arrays = key.iter().zip(&read.table.schema.columns).map(array).collect::<Option<_>>()?;
    RecordBatch::try_new(read.key_schema.clone(), arrays).ok()
}

/// The canonical text of a key value, where comparing it with the column is equality of the column's own type.
fn key_text(value: &KeyValue, column: &Column, params: &[Param]) -> Option<String> {
    let owned;
    let value = match value {
        KeyValue::Param(at) => {
            owned = match params.get(*at)? {
                Param::Int(number) => KeyValue::Number(number.to_string()),
                Param::UInt(number) => KeyValue::Number(number.to_string()),
                Param::Text(text) => KeyValue::Text(text.clone()),
                Param::Bytes(bytes) => KeyValue::Text(String::from_utf8(bytes.clone()).ok()?),
                date @ Param::Date { .. } => KeyValue::Text(date.text()),
                moment @ Param::DateTime { .. } if column.ty == ColumnType::DateTime => KeyValue::Text(moment.text()),
                _ => return None,
            };
            &owned
        }
        other => other,
    };
    let integer = |text: &str| text.parse::<i128>().ok().map(|n| n.to_string());
    match (column.ty, value) {
        (ColumnType::Char(_) | ColumnType::Varchar(_), KeyValue::Text(text)) => Some(text.clone()),
        (ColumnType::Boolean, KeyValue::Number(text)) if text == "0" || text == "1" => Some(text.clone()),
        (
            ColumnType::TinyInt | ColumnType::SmallInt | ColumnType::Int | ColumnType::BigInt | ColumnType::LargeInt,
            KeyValue::Number(text) | KeyValue::Text(text),
        ) => integer(text),
        (ColumnType::Date, KeyValue::Text(text)) if text.len() <= 10 => Some(text.clone()),
        (ColumnType::DateTime, KeyValue::Text(text)) => Some(text.clone()),
        _ => None,
    }
}

impl Session {
    /// Runs a recognised read. `None`: a value sends it to the planner after all.
    pub(super) async fn point_read(&self, read: &PointRead, params: &[Param], run: &Run) -> Result<Option<Outcome>> {
        let keys = integer_key_batch(read, params).or_else(|| key_batch(&read.table, &read.keys, params));
        let Some(keys) = keys else { return Ok(None) };
        run.check()?;
        let pin = self.core().pin();
        let (mut rows, _) = exec::point_get(self.core(), &read.table, &pin, &keys, &read.columns).await?;
        if let Some(order) = &read.order {
            rows = rows.project(order).map_err(starling_storage::StorageError::from)?;
        }
        if rows.num_rows() > read.limit {
            rows = rows.slice(0, read.limit);
        }
        Ok(Some(Outcome::Rows(RowSet::ready(read.metas.clone(), [rows]))))
    }
}

#[cfg(test)]
mod tests {
    use starling_storage::ids::{DbId, TableId};
    use starling_storage::schema::TableKind;

    use super::*;

    fn read(types: &[ColumnType]) -> PointRead {
        let column = |(id, ty): (usize, &ColumnType)| {
            let (name, comment) = (format!("k{id}"), String::new());
            Column { id: id as u32, name, ty: *ty, nullable: false, default: None, comment }
        };
        let schema = TabletSchema {
            version: 1,
            kind: TableKind::PrimaryKey,
            columns: types.iter().enumerate().map(column).collect(),
            key_columns: types.len() as u32,
            sort_columns: (0..types.len() as u32).collect(),
            bucket_columns: (0..types.len() as u32).collect(),
        };
        let table = Arc::new(Table {
            id: TableId(1),
            db: DbId(1),
            db_name: "d".to_string(),
            name: "t".to_string(),
            schema: Arc::new(schema),
            buckets: 1,
            auto_buckets: false,
            colocate_group: None,
            properties: Vec::new(),
            comment: String::new(),
            tablets: Vec::new(),
            created: 0,
        });
        PointRead {
            columns: exec::PointColumns::new(&table, &[0]).unwrap(),
            order: None,
            metas: Rc::new([]),
            keys: vec![(0..types.len()).map(KeyValue::Param).collect()],
            key_schema: key_schema(&table),
            limit: usize::MAX,
            table,
        }
    }

    #[test]
    fn integer_keys_are_what_the_way_through_texts_makes_of_them() {
        use ColumnType::{BigInt, Int, SmallInt, TinyInt};
        let numbers =
            [i64::MIN, i64::from(i32::MIN) - 1, -32_769, -129, -128, -1, 0, 7, 127, 128, 40_000, 1 << 40, i64::MAX];
        let params = numbers.map(Param::Int).into_iter().chain([Param::UInt(5), Param::UInt(u64::MAX)]);
        let params: Vec<Param> = params.collect();
        for types in [&[BigInt][..], &[Int], &[SmallInt], &[TinyInt], &[Int, BigInt], &[TinyInt, SmallInt]] {
            let read = read(types);
            let mut quick = 0;
            for first in &params {
                for second in &params {
                    let given = [first.clone(), second.clone()];
                    let slow = key_batch(&read.table, &read.keys, &given);
                    let fast = integer_key_batch(&read, &given);
                    assert_eq!(fast, slow, "{types:?} {given:?}");
                    quick += usize::from(fast.is_some());
                }
            }
            assert!(quick > 0, "{types:?}");
        }
    }

    #[test]
    fn other_keys_take_the_way_through_texts() {
        for (ty, param) in [
            (ColumnType::BigInt, Param::Text("1".to_string())),
            (ColumnType::LargeInt, Param::Int(1)),
            (ColumnType::Varchar(9), Param::Text("a".to_string())),
        ] {
            let read = read(&[ty]);
            assert_eq!(integer_key_batch(&read, std::slice::from_ref(&param)), None);
            assert!(key_batch(&read.table, &read.keys, &[param]).is_some());
        }
    }
}
