//! CREATE TABLE: what the clauses mean together (starrocks.md 1.1, 1.2, 1.4, 1.7).

use starling_storage::schema::{Column, ColumnType, DefaultValue, TableKind, TabletSchema};

use super::rows;
use crate::catalog::NewTable;
use crate::error::{EngineError, Result};
use crate::sql::statement::{ColumnDef, CreateTable, KeyClause};

const NAME_CHARS_MAX: usize = 1_024;
/// Columns of a table whose statement names no key: at most this many, and bytes of their index entries.
const DEFAULT_KEY_COLUMNS: usize = 3;
const DEFAULT_KEY_BYTES: usize = 36;
/// Properties that are accepted and kept. Those that would change what a query answers are not among them.
const PROPERTIES: &[&str] = &[
    "base_compaction_forbidden_time_ranges",
    "bloom_filter_columns",
    "bloom_filter_fpp",
    "bucket_size",
    "colocate_with",
    "compression",
    "datacache.enable",
    "datacache.partition_duration",
    "enable_async_write_back",
    "enable_load_profile",
    "enable_persistent_index",
    "fast_schema_evolution",
    "file_bundling",
    "foreign_key_constraints",
    "in_memory",
    "labels.location",
    "light_schema_change",
    "mutable_bucket_num",
    "persistent_index_type",
    "primary_index_cache_expire_sec",
    "replicated_storage",
    "replication_num",
    "short_key",
    "storage_cooldown_time",
    "storage_cooldown_ttl",
    "storage_format",
    "storage_medium",
    "storage_type",
    "storage_volume",
    "tablet_type",
    "unique_constraints",
    "version_info",
    "write_quorum",
];

/// Checks the statement and makes the table of it. `db` names the colocate group's space.
pub(super) fn new_table(create: &CreateTable, db: &str) -> Result<NewTable> {
    check_object_name(&create.name.table).map_err(|()| EngineError::bad_table_name(&create.name.table))?;
    check_columns(&create.columns)?;
    let properties = check_properties(&create.properties)?;
    let key = match &create.key {
        Some(key) => key.clone(),
        None => {
            KeyClause { kind: TableKind::Duplicate, columns: default_key(&create.columns, create.order_by.is_empty()) }
        }
    };
    let key_columns = check_key(&create.columns, &key)?;
    let columns: Vec<Column> = create
        .columns
        .iter()
        .enumerate()
        .map(|(at, def)| column(at, def, key.kind, at < key_columns))
        .collect::<Result<_>>()?;
    let schema = TabletSchema {
        version: 1,
        kind: key.kind,
        key_columns: key_columns as u32,
        sort_columns: sort_columns(create, key_columns)?,
        bucket_columns: bucket_columns(create, &key, key_columns)?,
        columns,
    };
    let colocate =
        properties.iter().find(|(k, v)| k == "colocate_with" && !v.is_empty()).map(|(_, v)| format!("{db}.{v}"));
    if colocate.is_some() && schema.bucket_columns.is_empty() {
        return Err(EngineError::bad_property("colocate_with", "a table distributed by RANDOM cannot be colocated"));
    }
    Ok(NewTable {
        name: create.name.table.clone(),
        schema,
        buckets: create.distribution.as_ref().and_then(|d| d.buckets),
        colocate_group: colocate,
        properties,
        comment: create.comment.clone(),
    })
}

/// Databases and tables: a letter or underscore, then letters, digits, underscores (and hyphens, which StarRocks takes in practice).
pub(super) fn check_object_name(name: &str) -> std::result::Result<(), ()> {
    let mut chars = name.chars();
    let first = chars.next().is_some_and(|c| c.is_alphabetic() || c == '_');
    let rest = chars.all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    if first && rest && name.chars().count() <= NAME_CHARS_MAX { Ok(()) } else { Err(()) }
}

fn check_columns(columns: &[ColumnDef]) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    for column in columns {
        let name = &column.name;
        let reserved = ["__op", "__row"].iter().any(|r| name.to_lowercase().starts_with(r));
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) || reserved {
            return Err(EngineError::bad_column_name(name));
        }
        if !seen.insert(name.to_lowercase()) {
            return Err(EngineError::duplicate_column(name));
        }
    }
    Ok(())
}

fn check_properties(properties: &[(String, String)]) -> Result<Vec<(String, String)>> {
    let unknown: Vec<String> =
        properties.iter().filter(|(k, _)| !is_known(k)).map(|(k, v)| format!("{k}={v}")).collect();
    if !unknown.is_empty() {
        return Err(EngineError::analyze(format!("Unknown properties: {{{}}}", unknown.join(", "))));
    }
    let mut kept: Vec<(String, String)> = Vec::new();
    for (key, value) in properties {
        let key = key.to_lowercase();
        check_property(&key, value)?;
        kept.retain(|(k, _)| *k != key);
        kept.push((key, value.clone()));
    }
    Ok(kept)
}

fn is_known(key: &str) -> bool {
    PROPERTIES.binary_search(&key.to_lowercase().as_str()).is_ok()
}

fn check_property(key: &str, value: &str) -> Result<()> {
    let valid = match key {
        "replication_num" => value.parse::<u16>().is_ok_and(|n| n > 0),
        "enable_persistent_index"
        | "in_memory"
        | "replicated_storage"
        | "fast_schema_evolution"
        | "light_schema_change" => value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false"),
        "bucket_size" | "mutable_bucket_num" | "primary_index_cache_expire_sec" | "short_key" => {
            value.parse::<u64>().is_ok()
        }
        "bloom_filter_fpp" => value.parse::<f64>().is_ok_and(|f| (0.0001..=0.05).contains(&f)),
        "storage_medium" => value.eq_ignore_ascii_case("ssd") || value.eq_ignore_ascii_case("hdd"),
        "write_quorum" => ["one", "majority", "all"].iter().any(|q| value.eq_ignore_ascii_case(q)),
        "compression" => {
            let name = value.split('(').next().unwrap_or_default();
            ["lz4", "zstd", "zlib", "snappy"].iter().any(|c| name.eq_ignore_ascii_case(c))
        }
        _ => true,
    };
    if valid { Ok(()) } else { Err(EngineError::bad_property(key, format!("'{value}' is not a value of it"))) }
}

/// The key of a duplicate table that names none: leading columns up to three and 36 bytes of index entry; a string is taken and ends the list.
fn default_key(columns: &[ColumnDef], plain: bool) -> Vec<String> {
    let (mut names, mut bytes) = (Vec::new(), 0);
    if !plain {
        return names;
    }
    for column in columns {
        let Some(length) = index_bytes(column.ty) else { break };
        bytes += length;
        let first_string = names.is_empty() && column.ty.is_string();
        if names.len() == DEFAULT_KEY_COLUMNS || (bytes > DEFAULT_KEY_BYTES && !first_string) {
            break;
        }
        names.push(column.name.clone());
        if matches!(column.ty, ColumnType::Varchar(_)) {
            break;
        }
    }
    names
}

/// Bytes of a column in the prefix index; `None` for what cannot be a key.
fn index_bytes(ty: ColumnType) -> Option<usize> {
    match ty {
        ColumnType::Boolean | ColumnType::TinyInt => Some(1),
        ColumnType::SmallInt => Some(2),
        ColumnType::Int => Some(4),
        ColumnType::BigInt | ColumnType::DateTime => Some(8),
        ColumnType::LargeInt => Some(16),
        ColumnType::Decimal { precision, .. } => Some(match precision {
            0..=9 => 4,
            10..=18 => 8,
            _ => 16,
        }),
        ColumnType::Date => Some(3),
        ColumnType::Char(length) => Some(length as usize),
        ColumnType::Varchar(_) => Some(20),
        ColumnType::Float | ColumnType::Double => None,
    }
}

fn position(columns: &[ColumnDef], name: &str, clause: &str) -> Result<usize> {
    let found = columns.iter().position(|c| c.name.to_lowercase() == name.to_lowercase());
    found.ok_or_else(|| EngineError::analyze(format!("{clause} column({name}) doesn't exist in the table")))
}

fn check_key(columns: &[ColumnDef], key: &KeyClause) -> Result<usize> {
    for (at, name) in key.columns.iter().enumerate() {
        let found = position(columns, name, "Key")?;
        if key.columns[..at].iter().any(|n| n.to_lowercase() == name.to_lowercase()) {
            return Err(EngineError::duplicate_column(name));
        }
        if found != at {
            let text = "Key columns must be the first few columns of the schema and the order of the key columns must be consistent with \
                        the order of the schema";
            return Err(EngineError::new(5003, b"HY000", format!("Getting analyzing error. Detail message: {text}")));
        }
        let ty = columns[found].ty;
        let refused = match ty {
            ColumnType::Float | ColumnType::Double => true,
            ColumnType::Decimal { .. } => key.kind == TableKind::PrimaryKey,
            _ => false,
        };
        if refused {
            let ty = crate::admin::describe::short_type(ty);
            return Err(EngineError::analyze(format!("Invalid data type of key column '{name}': '{ty}'")));
        }
    }
    Ok(key.columns.len())
}

fn column(at: usize, def: &ColumnDef, kind: TableKind, is_key: bool) -> Result<Column> {
    let primary = is_key && kind == TableKind::PrimaryKey;
    if primary && def.nullable == Some(true) {
        return Err(EngineError::analyze(format!(
            "primary key column '{}' cannot be nullable; leave out NULL",
            def.name
        )));
    }
    let nullable = !primary && def.nullable.unwrap_or(true);
    match &def.default {
        Some(DefaultValue::Null) if !nullable => {
            return Err(EngineError::new(
                1067,
                b"42000",
                format!("Invalid default value for '{}': it is NOT NULL", def.name),
            ));
        }
        Some(DefaultValue::CurrentTimestamp(_)) if def.ty != ColumnType::DateTime => {
            let text = format!("Invalid default value for '{}': CURRENT_TIMESTAMP is of DATETIME columns", def.name);
            return Err(EngineError::new(1067, b"42000", text));
        }
        _ => {}
    }
    let column = Column {
        id: at as u32,
        name: def.name.clone(),
        ty: def.ty,
        nullable,
        default: def.default.clone(),
        comment: def.comment.clone(),
    };
    if let Some(DefaultValue::Literal(text)) = &def.default {
        rows::literal_array(text, &column, 1).map_err(|_| {
            EngineError::new(
                1067,
                b"42000",
                format!("Invalid default value for '{}': '{text}' is not of its type", def.name),
            )
        })?;
    }
    Ok(column)
}

fn sort_columns(create: &CreateTable, key_columns: usize) -> Result<Vec<u32>> {
    if create.order_by.is_empty() {
        return Ok((0..key_columns as u32).collect());
    }
    let mut sort = Vec::new();
    for name in &create.order_by {
        let at = position(&create.columns, name, "Sort key")?;
        if matches!(create.columns[at].ty, ColumnType::Float | ColumnType::Double) {
            return Err(EngineError::analyze(format!("Sort key column '{name}' cannot be FLOAT or DOUBLE")));
        }
        if sort.contains(&(at as u32)) {
            return Err(EngineError::duplicate_column(name));
        }
        sort.push(at as u32);
    }
    Ok(sort)
}

fn bucket_columns(create: &CreateTable, key: &KeyClause, key_columns: usize) -> Result<Vec<u32>> {
    let primary = key.kind == TableKind::PrimaryKey;
    let Some(distribution) = &create.distribution else {
        return Ok(if primary { (0..key_columns as u32).collect() } else { Vec::new() });
    };
    if distribution.columns.is_empty() && primary {
        return Err(EngineError::analyze(
            "PRIMARY KEY tables cannot be distributed by RANDOM; use DISTRIBUTED BY HASH(key columns)",
        ));
    }
    let mut buckets = Vec::new();
    for name in &distribution.columns {
        let at = position(&create.columns, name, "Distribution")?;
        if matches!(create.columns[at].ty, ColumnType::Float | ColumnType::Double) {
            return Err(EngineError::analyze(format!("Distribution column '{name}' cannot be FLOAT or DOUBLE")));
        }
        if primary && at >= key_columns {
            return Err(EngineError::analyze(format!("Distribution column[{name}] is not key column")));
        }
        if buckets.contains(&(at as u32)) {
            return Err(EngineError::duplicate_column(name));
        }
        buckets.push(at as u32);
    }
    Ok(buckets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{self, Statement};

    fn table(sql: &str) -> Result<NewTable> {
        match sql::parse(sql).unwrap().statement {
            Statement::CreateTable(create) => new_table(&create, "db"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn properties_are_sorted_for_the_search() {
        assert!(PROPERTIES.windows(2).all(|w| w[0] < w[1]));
    }

    #[test]
    fn the_seed_table() {
        let seed = table(
            "CREATE TABLE orders (order_id VARCHAR(50) NOT NULL, status VARCHAR(20), amount DECIMAL(10, 2), updated_at DATETIME)
             PRIMARY KEY(order_id) DISTRIBUTED BY HASH(order_id) BUCKETS 10 PROPERTIES (\"enable_persistent_index\" = \"true\");",
        )
        .unwrap();
        assert_eq!((seed.schema.kind, seed.schema.key_columns, seed.buckets), (TableKind::PrimaryKey, 1, Some(10)));
        assert_eq!((seed.schema.sort_columns, seed.schema.bucket_columns), (vec![0], vec![0]));
        let nullable: Vec<bool> = seed.schema.columns.iter().map(|c| c.nullable).collect();
        assert_eq!(nullable, [false, true, true, true]);
    }

    #[test]
    fn default_keys_and_distributions() {
        let key = |columns: &str| table(&format!("create table t ({columns})")).unwrap().schema.key_columns;
        assert_eq!(key("a int, b int, c int, d int"), 3);
        assert_eq!(key("a varchar(100), b int"), 1);
        assert_eq!(key("a int, b varchar(10), c int"), 2);
        assert_eq!(key("a int, b double, c int"), 1);
        assert_eq!(key("a double, b int"), 0);
        assert_eq!(key("a char(40), b int"), 1);
        assert_eq!(key("a int, b char(40)"), 1);
        let random = table("create table t (a int)").unwrap();
        assert!(random.schema.bucket_columns.is_empty());
        let primary = table("create table t (a int, b int, c int) primary key (a, b) order by (c)").unwrap().schema;
        assert_eq!((primary.bucket_columns, primary.sort_columns), (vec![0, 1], vec![2]));
    }

    #[test]
    fn refused_tables() {
        for (sql, code, part) in [
            ("create table t (a int, A int)", 1060, "Duplicate"),
            ("create table t (__op int)", 1166, "__op"),
            ("create table `1t` (a int)", 1103, "1t"),
            ("create table t (a int, b int) primary key (b)", 5003, "first few columns"),
            ("create table t (a int) primary key (x)", 1064, "doesn't exist"),
            ("create table t (a decimal(9,2)) primary key (a)", 1064, "Invalid data type"),
            ("create table t (a double) duplicate key (a)", 1064, "Invalid data type"),
            ("create table t (a int null) primary key (a)", 1064, "cannot be nullable"),
            ("create table t (a int, b int) primary key (a) distributed by hash(b)", 1064, "not key column"),
            ("create table t (a int) primary key (a) distributed by random", 1064, "RANDOM"),
            ("create table t (a int) properties ('foo' = 'bar', 'x' = 'y')", 1064, "{foo=bar, x=y}"),
            ("create table t (a int) properties ('replication_num' = '0')", 5063, "replication_num"),
            ("create table t (a int default current_timestamp)", 1067, "CURRENT_TIMESTAMP"),
            ("create table t (a int not null default null)", 1067, "NOT NULL"),
            ("create table t (a int) distributed by random properties ('colocate_with' = 'g')", 5063, "colocate"),
        ] {
            let error = table(sql).map(|_| ()).expect_err(sql);
            assert_eq!(error.code, code, "{sql}: {}", error.message);
            assert!(error.message.contains(part), "{sql}: {}", error.message);
        }
    }
}
