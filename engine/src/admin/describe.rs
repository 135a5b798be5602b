//! How a table is shown: DESC, SHOW COLUMNS, SHOW CREATE TABLE (starrocks.md 1.8, 1.9).

use std::fmt::Write;

use starling_storage::schema::{Column, ColumnType, DefaultValue, TableKind};

use super::grid::{Cell, Grid};
use crate::catalog::Table;

/// The type as SHOW CREATE TABLE and COLUMN_TYPE print it, with display widths.
pub fn full_type(ty: ColumnType) -> String {
    match ty {
        ColumnType::Boolean => "boolean".to_string(),
        ColumnType::TinyInt => "tinyint(4)".to_string(),
        ColumnType::SmallInt => "smallint(6)".to_string(),
        ColumnType::Int => "int(11)".to_string(),
        ColumnType::BigInt => "bigint(20)".to_string(),
        ColumnType::LargeInt => "largeint(40)".to_string(),
        ColumnType::Decimal { precision, scale } => format!("decimal({precision}, {scale})"),
        other => short_type(other),
    }
}

/// The type as DESC prints it.
pub fn short_type(ty: ColumnType) -> String {
    match ty {
        ColumnType::Boolean => "boolean".to_string(),
        ColumnType::TinyInt => "tinyint".to_string(),
        ColumnType::SmallInt => "smallint".to_string(),
        ColumnType::Int => "int".to_string(),
        ColumnType::BigInt => "bigint".to_string(),
        ColumnType::LargeInt => "largeint".to_string(),
        ColumnType::Float => "float".to_string(),
        ColumnType::Double => "double".to_string(),
        ColumnType::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
        ColumnType::Date => "date".to_string(),
        ColumnType::DateTime => "datetime".to_string(),
        ColumnType::Char(length) => format!("char({length})"),
        ColumnType::Varchar(length) => format!("varchar({length})"),
    }
}

/// The default as DESC and information_schema show it.
pub fn default_text(column: &Column) -> Option<String> {
    match &column.default {
        Some(DefaultValue::Literal(text)) => Some(text.clone()),
        Some(DefaultValue::CurrentTimestamp(0)) => Some("CURRENT_TIMESTAMP".to_string()),
        Some(DefaultValue::CurrentTimestamp(precision)) => Some(format!("CURRENT_TIMESTAMP({precision})")),
        Some(DefaultValue::Null) | None => None,
    }
}

/// COLUMN_KEY of a column: PRI or DUP for key columns.
pub fn column_key(table: &Table, at: usize) -> &'static str {
    match table.kind() {
        _ if at >= table.schema.key_columns as usize => "",
        TableKind::PrimaryKey => "PRI",
        TableKind::Duplicate => "DUP",
    }
}

fn yes_no(nullable: bool) -> &'static str {
    if nullable { "YES" } else { "NO" }
}

/// DESC.
pub fn describe(table: &Table) -> Grid {
    let mut grid = Grid::new(["Field", "Type", "Null", "Key", "Default", "Extra"]);
    for (at, column) in table.schema.columns.iter().enumerate() {
        let key = match table.kind() {
            TableKind::PrimaryKey => at < table.schema.key_columns as usize,
            TableKind::Duplicate => table.schema.sort_columns.contains(&(at as u32)),
        };
        grid.push([
            column.name.as_str().into(),
            short_type(column.ty).into(),
            yes_no(column.nullable).into(),
            if key { "true" } else { "false" }.into(),
            default_text(column).into(),
            "".into(),
        ]);
    }
    grid
}

/// SHOW [FULL] COLUMNS.
pub fn columns(table: &Table, full: bool) -> Grid {
    let plain = ["Field", "Type", "Null", "Key", "Default", "Extra"];
    let all = ["Field", "Type", "Collation", "Null", "Key", "Default", "Extra", "Privileges", "Comment"];
    let mut grid = if full { Grid::new(all) } else { Grid::new(plain) };
    for (at, column) in table.schema.columns.iter().enumerate() {
        let (name, ty): (Cell, Cell) = (column.name.as_str().into(), short_type(column.ty).into());
        let (null, key) = (yes_no(column.nullable).into(), column_key(table, at).into());
        let default = default_text(column).into();
        if full {
            let collation: Cell = column.ty.is_string().then_some("utf8_general_ci").into();
            grid.push([name, ty, collation, null, key, default, "".into(), "".into(), column.comment.as_str().into()]);
        } else {
            grid.push([name, ty, null, key, default, "".into()]);
        }
    }
    grid
}

/// SHOW CREATE TABLE.
pub fn create_table(table: &Table) -> Grid {
    let mut grid = Grid::new(["Table", "Create Table"]);
    grid.push([table.name.as_str().into(), create_table_text(table).into()]);
    grid
}

/// The statement that makes the table again.
pub fn create_table_text(table: &Table) -> String {
    let schema = &table.schema;
    let names = |positions: &[u32]| {
        let name = |&at: &u32| format!("`{}`", schema.columns[at as usize].name);
        positions.iter().map(name).collect::<Vec<_>>().join(", ")
    };
    let columns: Vec<String> = schema.columns.iter().map(column_text).collect();
    let mut text = format!("CREATE TABLE `{}` (\n{}\n) ENGINE=OLAP \n", table.name, columns.join(",\n"));
    let key: Vec<u32> = (0..schema.key_columns).collect();
    let kind = match schema.kind {
        TableKind::PrimaryKey => "PRIMARY KEY",
        TableKind::Duplicate => "DUPLICATE KEY",
    };
    // Writing to a string cannot fail.
    if !key.is_empty() {
        let _ = writeln!(text, "{kind}({})", names(&key));
    }
    if !table.comment.is_empty() {
        let _ = writeln!(text, "COMMENT \"{}\"", escaped(&table.comment));
    }
    match schema.bucket_columns.is_empty() {
        true => text.push_str("DISTRIBUTED BY RANDOM"),
        false => {
            let _ = write!(text, "DISTRIBUTED BY HASH({})", names(&schema.bucket_columns));
        }
    }
    match table.auto_buckets {
        true => text.push('\n'),
        false => {
            let _ = writeln!(text, " BUCKETS {} ", table.buckets);
        }
    }
    if schema.sort_columns != key && !schema.sort_columns.is_empty() {
        let _ = writeln!(text, "ORDER BY({})", names(&schema.sort_columns));
    }
    let properties = properties(table);
    let lines: Vec<String> = properties.iter().map(|(k, v)| format!("\"{k}\" = \"{}\"", escaped(v))).collect();
    let _ = write!(text, "PROPERTIES (\n{}\n);", lines.join(",\n"));
    text
}

/// The user's properties and those that always show, by name.
pub fn properties(table: &Table) -> Vec<(String, String)> {
    let mut properties = table.properties.clone();
    let always = [
        ("compression", "LZ4"),
        ("fast_schema_evolution", "true"),
        ("replicated_storage", "true"),
        ("replication_num", "1"),
    ];
    let primary = [("enable_persistent_index", "true")];
    let primary = if table.is_primary_key() { primary.as_slice() } else { &[] };
    for (key, value) in always.iter().chain(primary) {
        if table.property(key).is_none() {
            properties.push((key.to_string(), value.to_string()));
        }
    }
    properties.sort();
    properties
}

fn column_text(column: &Column) -> String {
    let mut text =
        format!("  `{}` {} {}", column.name, full_type(column.ty), if column.nullable { "NULL" } else { "NOT NULL" });
    match &column.default {
        Some(DefaultValue::Literal(value)) => {
            let _ = write!(text, " DEFAULT \"{}\"", escaped(value));
        }
        Some(DefaultValue::CurrentTimestamp(_)) => {
            let _ = write!(text, " DEFAULT {}", default_text(column).unwrap_or_default());
        }
        Some(DefaultValue::Null) | None => {}
    }
    let _ = write!(text, " COMMENT \"{}\"", escaped(&column.comment));
    text
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
