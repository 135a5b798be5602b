//! information_schema (starrocks.md 8.8, clients.md 3.4): tables made from the catalog when a statement names them, read by the same planner as any other.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use starling_storage::ids::TableId;
use starling_storage::schema::{Column, ColumnType, TableKind};

use super::describe::{column_key, default_text, full_type, properties};
use super::grid::{Cell, Grid};
use crate::catalog::{Catalog, HIDDEN_DATABASE, RESERVED_DATABASES, Table};
use crate::error::{EngineError, Result};
use crate::session::Variables;
use crate::shard::ProcessInfo;

/// Name of the database; compared without case.
pub const INFORMATION_SCHEMA: &str = "information_schema";

/// What its tables are made of. `Send`: goes to the planner thread with the statement.
#[derive(Clone, Default)]
pub struct SystemState {
    pub catalog: Arc<Catalog>,
    pub row_counts: HashMap<TableId, u64>,
    pub variables: Variables,
    pub processes: Vec<ProcessInfo>,
}

/// Names of the databases a user sees, in order.
pub fn database_names(catalog: &Catalog) -> Vec<String> {
    let visible = catalog.databases().map(|d| d.name.clone()).filter(|n| n != HIDDEN_DATABASE);
    let mut names: Vec<String> = visible.chain(RESERVED_DATABASES.iter().map(|n| n.to_string())).collect();
    names.sort();
    names.dedup();
    names
}

/// Whether a session may enter the database.
pub fn has_database(catalog: &Catalog, name: &str) -> bool {
    catalog.has_database(name) || RESERVED_DATABASES.iter().any(|r| r.eq_ignore_ascii_case(name))
}

/// A table by name, case apart. Error 1109 when there is none (Trino looks for that number).
pub fn table(name: &str, state: &SystemState) -> Result<Arc<dyn TableProvider>> {
    let name = name.to_lowercase();
    let grid = grid(&name, state).ok_or_else(|| {
        let text = format!("Unknown table '{}' in information_schema", name.to_uppercase());
        EngineError::new(1109, b"42S02", text)
    })?;
    let table = MemTable::try_new(grid.schema(true), vec![vec![grid.batch(true)?]])?;
    Ok(Arc::new(table))
}

/// Names of all tables here, upper-case.
pub fn table_names() -> Vec<String> {
    let empty = EMPTY.iter().map(|(name, _)| *name);
    let mut names: Vec<String> = MADE.iter().copied().chain(empty).map(str::to_uppercase).collect();
    names.sort();
    names
}

const MADE: &[&str] = &[
    "schemata",
    "tables",
    "columns",
    "engines",
    "character_sets",
    "collations",
    "collation_character_set_applicability",
    "key_column_usage",
    "table_constraints",
    "statistics",
    "processlist",
    "global_variables",
    "session_variables",
    "tables_config",
    "partitions_meta",
    "user_privileges",
];

/// Tables that exist and have no rows: what they would list is not built or never happens here.
const EMPTY: &[(&str, &[&str])] = &[
    (
        "views",
        &[
            "TABLE_CATALOG",
            "TABLE_SCHEMA",
            "TABLE_NAME",
            "VIEW_DEFINITION",
            "CHECK_OPTION",
            "IS_UPDATABLE",
            "DEFINER",
            "SECURITY_TYPE",
            "CHARACTER_SET_CLIENT",
            "COLLATION_CONNECTION",
        ],
    ),
    (
        "referential_constraints",
        &[
            "CONSTRAINT_CATALOG",
            "CONSTRAINT_SCHEMA",
            "CONSTRAINT_NAME",
            "UNIQUE_CONSTRAINT_CATALOG",
            "UNIQUE_CONSTRAINT_SCHEMA",
            "UNIQUE_CONSTRAINT_NAME",
            "MATCH_OPTION",
            "UPDATE_RULE",
            "DELETE_RULE",
            "TABLE_NAME",
            "REFERENCED_TABLE_NAME",
        ],
    ),
    (
        "column_privileges",
        &["GRANTEE", "TABLE_CATALOG", "TABLE_SCHEMA", "TABLE_NAME", "COLUMN_NAME", "PRIVILEGE_TYPE", "IS_GRANTABLE"],
    ),
    ("table_privileges", &["GRANTEE", "TABLE_CATALOG", "TABLE_SCHEMA", "TABLE_NAME", "PRIVILEGE_TYPE", "IS_GRANTABLE"]),
    ("schema_privileges", &["GRANTEE", "TABLE_CATALOG", "TABLE_SCHEMA", "PRIVILEGE_TYPE", "IS_GRANTABLE"]),
    (
        "applicable_roles",
        &[
            "USER",
            "HOST",
            "GRANTEE",
            "GRANTEE_HOST",
            "ROLE_NAME",
            "ROLE_HOST",
            "IS_GRANTABLE",
            "IS_DEFAULT",
            "IS_MANDATORY",
        ],
    ),
    (
        "routines",
        &[
            "SPECIFIC_NAME",
            "ROUTINE_CATALOG",
            "ROUTINE_SCHEMA",
            "ROUTINE_NAME",
            "ROUTINE_TYPE",
            "DTD_IDENTIFIER",
            "ROUTINE_BODY",
            "ROUTINE_DEFINITION",
            "EXTERNAL_NAME",
            "EXTERNAL_LANGUAGE",
            "PARAMETER_STYLE",
            "IS_DETERMINISTIC",
            "SQL_DATA_ACCESS",
            "SQL_PATH",
            "SECURITY_TYPE",
            "CREATED",
            "LAST_ALTERED",
            "SQL_MODE",
            "ROUTINE_COMMENT",
            "DEFINER",
            "CHARACTER_SET_CLIENT",
            "COLLATION_CONNECTION",
            "DATABASE_COLLATION",
        ],
    ),
    (
        "parameters",
        &[
            "SPECIFIC_CATALOG",
            "SPECIFIC_SCHEMA",
            "SPECIFIC_NAME",
            "#ORDINAL_POSITION",
            "PARAMETER_MODE",
            "PARAMETER_NAME",
            "DATA_TYPE",
            "#CHARACTER_MAXIMUM_LENGTH",
            "#CHARACTER_OCTET_LENGTH",
            "#NUMERIC_PRECISION",
            "#NUMERIC_SCALE",
            "CHARACTER_SET_NAME",
            "COLLATION_NAME",
            "DTD_IDENTIFIER",
            "ROUTINE_TYPE",
        ],
    ),
    (
        "triggers",
        &[
            "TRIGGER_CATALOG",
            "TRIGGER_SCHEMA",
            "TRIGGER_NAME",
            "EVENT_MANIPULATION",
            "EVENT_OBJECT_CATALOG",
            "EVENT_OBJECT_SCHEMA",
            "EVENT_OBJECT_TABLE",
            "#ACTION_ORDER",
            "ACTION_CONDITION",
            "ACTION_STATEMENT",
            "ACTION_ORIENTATION",
            "ACTION_TIMING",
            "CREATED",
            "SQL_MODE",
            "DEFINER",
        ],
    ),
    (
        "events",
        &[
            "EVENT_CATALOG",
            "EVENT_SCHEMA",
            "EVENT_NAME",
            "DEFINER",
            "TIME_ZONE",
            "EVENT_BODY",
            "EVENT_DEFINITION",
            "EVENT_TYPE",
            "EXECUTE_AT",
            "INTERVAL_VALUE",
            "INTERVAL_FIELD",
            "SQL_MODE",
            "STARTS",
            "ENDS",
            "STATUS",
            "ON_COMPLETION",
            "CREATED",
            "LAST_ALTERED",
            "LAST_EXECUTED",
            "EVENT_COMMENT",
        ],
    ),
    (
        "partitions",
        &[
            "TABLE_CATALOG",
            "TABLE_SCHEMA",
            "TABLE_NAME",
            "PARTITION_NAME",
            "SUBPARTITION_NAME",
            "#PARTITION_ORDINAL_POSITION",
            "#SUBPARTITION_ORDINAL_POSITION",
            "PARTITION_METHOD",
            "SUBPARTITION_METHOD",
            "PARTITION_EXPRESSION",
            "SUBPARTITION_EXPRESSION",
            "PARTITION_DESCRIPTION",
            "#TABLE_ROWS",
            "#AVG_ROW_LENGTH",
            "#DATA_LENGTH",
            "#MAX_DATA_LENGTH",
            "#INDEX_LENGTH",
            "#DATA_FREE",
            "CREATE_TIME",
            "UPDATE_TIME",
            "CHECK_TIME",
            "#CHECKSUM",
            "PARTITION_COMMENT",
            "NODEGROUP",
            "TABLESPACE_NAME",
        ],
    ),
    ("plugins", &["PLUGIN_NAME", "PLUGIN_VERSION", "PLUGIN_STATUS", "PLUGIN_TYPE", "PLUGIN_DESCRIPTION"]),
    ("keywords", &["WORD", "#RESERVED"]),
    (
        "files",
        &[
            "#FILE_ID",
            "FILE_NAME",
            "FILE_TYPE",
            "TABLESPACE_NAME",
            "TABLE_CATALOG",
            "TABLE_SCHEMA",
            "TABLE_NAME",
            "LOGFILE_GROUP_NAME",
            "#LOGFILE_GROUP_NUMBER",
            "ENGINE",
            "FULLTEXT_KEYS",
            "#DELETED_ROWS",
            "#UPDATE_COUNT",
            "#FREE_EXTENTS",
            "#TOTAL_EXTENTS",
            "#EXTENT_SIZE",
            "#INITIAL_SIZE",
            "#MAXIMUM_SIZE",
            "#AUTOEXTEND_SIZE",
            "CREATION_TIME",
            "LAST_UPDATE_TIME",
            "LAST_ACCESS_TIME",
            "#RECOVER_TIME",
            "#TRANSACTION_COUNTER",
            "#VERSION",
            "ROW_FORMAT",
            "#TABLE_ROWS",
            "#AVG_ROW_LENGTH",
            "#DATA_LENGTH",
            "#MAX_DATA_LENGTH",
            "#INDEX_LENGTH",
            "#DATA_FREE",
            "CREATE_TIME",
            "UPDATE_TIME",
            "CHECK_TIME",
            "#CHECKSUM",
            "STATUS",
            "EXTRA",
        ],
    ),
    ("global_status", &["VARIABLE_NAME", "VARIABLE_VALUE"]),
    ("session_status", &["VARIABLE_NAME", "VARIABLE_VALUE"]),
    (
        "materialized_views",
        &[
            "#MATERIALIZED_VIEW_ID",
            "TABLE_SCHEMA",
            "TABLE_NAME",
            "REFRESH_TYPE",
            "IS_ACTIVE",
            "INACTIVE_REASON",
            "PARTITION_TYPE",
            "#TASK_ID",
            "TASK_NAME",
            "LAST_REFRESH_START_TIME",
            "LAST_REFRESH_FINISHED_TIME",
            "LAST_REFRESH_DURATION",
            "LAST_REFRESH_STATE",
            "LAST_REFRESH_FORCE_REFRESH",
            "LAST_REFRESH_START_PARTITION",
            "LAST_REFRESH_END_PARTITION",
            "LAST_REFRESH_BASE_REFRESH_PARTITIONS",
            "LAST_REFRESH_MV_REFRESH_PARTITIONS",
            "LAST_REFRESH_ERROR_CODE",
            "LAST_REFRESH_ERROR_MESSAGE",
            "#TABLE_ROWS",
            "MATERIALIZED_VIEW_DEFINITION",
        ],
    ),
    (
        "tasks",
        &["TASK_NAME", "CREATE_TIME", "SCHEDULE", "CATALOG", "DATABASE", "DEFINITION", "EXPIRE_TIME", "PROPERTIES"],
    ),
    (
        "task_runs",
        &[
            "QUERY_ID",
            "TASK_NAME",
            "CREATE_TIME",
            "FINISH_TIME",
            "STATE",
            "CATALOG",
            "DATABASE",
            "DEFINITION",
            "EXPIRE_TIME",
            "#ERROR_CODE",
            "ERROR_MESSAGE",
            "PROGRESS",
            "EXTRA_MESSAGE",
            "PROPERTIES",
        ],
    ),
    (
        "loads",
        &[
            "#JOB_ID",
            "LABEL",
            "DATABASE_NAME",
            "STATE",
            "PROGRESS",
            "TYPE",
            "PRIORITY",
            "#SCAN_ROWS",
            "#FILTERED_ROWS",
            "#UNSELECTED_ROWS",
            "#SINK_ROWS",
            "ETL_INFO",
            "TASK_INFO",
            "CREATE_TIME",
            "ETL_START_TIME",
            "ETL_FINISH_TIME",
            "LOAD_START_TIME",
            "LOAD_FINISH_TIME",
            "JOB_DETAILS",
            "ERROR_MSG",
            "TRACKING_URL",
            "TRACKING_SQL",
            "REJECTED_RECORD_PATH",
        ],
    ),
    ("load_tracking_logs", &["#JOB_ID", "LABEL", "DATABASE_NAME", "TRACKING_LOG", "TYPE"]),
    (
        "routine_load_jobs",
        &[
            "#ID",
            "NAME",
            "CREATE_TIME",
            "PAUSE_TIME",
            "END_TIME",
            "DB_NAME",
            "TABLE_NAME",
            "STATE",
            "DATA_SOURCE_TYPE",
            "#CURRENT_TASK_NUM",
            "JOB_PROPERTIES",
            "DATA_SOURCE_PROPERTIES",
            "CUSTOM_PROPERTIES",
            "STATISTICS",
            "PROGRESS",
            "REASONS_OF_STATE_CHANGED",
            "ERROR_LOG_URLS",
            "TRACKING_SQL",
            "OTHER_MSG",
        ],
    ),
];

fn grid(name: &str, state: &SystemState) -> Option<Grid> {
    Some(match name {
        "schemata" => schemata(state),
        "tables" => tables(state),
        "columns" => columns(state),
        "engines" => super::show::engines(),
        "character_sets" => character_sets(),
        "collations" => collations(),
        "collation_character_set_applicability" => {
            let mut grid = Grid::new(["COLLATION_NAME", "CHARACTER_SET_NAME"]);
            super::show::COLLATIONS
                .iter()
                .for_each(|(name, charset, _, _)| grid.push([(*name).into(), (*charset).into()]));
            grid
        }
        "key_column_usage" => key_column_usage(state),
        "table_constraints" => table_constraints(state),
        "statistics" => statistics(state),
        "processlist" => super::show::processes(&state.processes, true),
        "global_variables" => variables(state, true),
        "session_variables" => variables(state, false),
        "tables_config" => tables_config(state),
        "partitions_meta" => partitions_meta(state),
        "user_privileges" => {
            let mut grid = Grid::new(["GRANTEE", "TABLE_CATALOG", "PRIVILEGE_TYPE", "IS_GRANTABLE"]);
            grid.push(["'root'@'%'".into(), "def".into(), "SELECT".into(), "YES".into()]);
            grid
        }
        other => {
            let (_, columns) = EMPTY.iter().find(|(name, _)| *name == other)?;
            Grid::new(columns.iter())
        }
    })
}

fn user_tables(state: &SystemState) -> impl Iterator<Item = &Arc<Table>> {
    state.catalog.all_tables().filter(|t| t.db_name != HIDDEN_DATABASE)
}

fn schemata(state: &SystemState) -> Grid {
    let mut grid =
        Grid::new(["CATALOG_NAME", "SCHEMA_NAME", "DEFAULT_CHARACTER_SET_NAME", "DEFAULT_COLLATION_NAME", "SQL_PATH"]);
    for name in database_names(&state.catalog) {
        grid.push(["def".into(), name.into(), "utf8".into(), "utf8_general_ci".into()]);
    }
    grid
}

/// `YYYY-MM-DD hh:mm:ss` in UTC.
pub fn time_text(seconds: u64) -> String {
    let days = (seconds / 86_400) as i64;
    // Civil date of a day count, by Howard Hinnant's algorithm (chrono-compatible low-level date algorithms).
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let second = seconds % 86_400;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
}

pub(super) fn tables(state: &SystemState) -> Grid {
    let mut grid = Grid::new([
        "TABLE_CATALOG",
        "TABLE_SCHEMA",
        "TABLE_NAME",
        "TABLE_TYPE",
        "ENGINE",
        "#VERSION",
        "ROW_FORMAT",
        "#TABLE_ROWS",
        "#AVG_ROW_LENGTH",
        "#DATA_LENGTH",
        "#MAX_DATA_LENGTH",
        "#INDEX_LENGTH",
        "#DATA_FREE",
        "#AUTO_INCREMENT",
        "CREATE_TIME",
        "UPDATE_TIME",
        "CHECK_TIME",
        "TABLE_COLLATION",
        "#CHECKSUM",
        "CREATE_OPTIONS",
        "TABLE_COMMENT",
    ]);
    for table in user_tables(state) {
        let rows = state.row_counts.get(&table.id).map(|r| *r as i64);
        grid.push([
            "def".into(),
            table.db_name.as_str().into(),
            table.name.as_str().into(),
            "BASE TABLE".into(),
            "StarRocks".into(),
            Cell::Null,
            "NULL".into(),
            rows.into(),
            Cell::Null,
            Cell::Null,
            Cell::Null,
            Cell::Null,
            Cell::Null,
            Cell::Null,
            time_text(table.created).into(),
            Cell::Null,
            Cell::Null,
            "utf8_general_ci".into(),
            Cell::Null,
            Cell::Null,
            table.comment.as_str().into(),
        ]);
    }
    for name in table_names() {
        grid.push(["def".into(), INFORMATION_SCHEMA.into(), name.into(), "SYSTEM VIEW".into(), "MEMORY".into()]);
    }
    grid
}

/// DATA_TYPE: MySQL's word.
fn data_type(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::Boolean | ColumnType::TinyInt => "tinyint",
        ColumnType::SmallInt => "smallint",
        ColumnType::Int => "int",
        ColumnType::BigInt => "bigint",
        ColumnType::LargeInt => "largeint",
        ColumnType::Float => "float",
        ColumnType::Double => "double",
        ColumnType::Decimal { .. } => "decimal",
        ColumnType::Date => "date",
        ColumnType::DateTime => "datetime",
        ColumnType::Char(_) => "char",
        ColumnType::Varchar(_) => "varchar",
    }
}

/// COLUMN_TYPE: as SHOW CREATE TABLE, but without blanks, and a boolean is MySQL's.
fn column_type(ty: ColumnType) -> String {
    match ty {
        ColumnType::Boolean => "tinyint(1)".to_string(),
        other => full_type(other).replace(", ", ","),
    }
}

/// Precision and scale of a number.
fn digits(ty: ColumnType) -> Option<(i64, Option<i64>)> {
    match ty {
        ColumnType::Boolean => Some((1, Some(0))),
        ColumnType::TinyInt => Some((3, Some(0))),
        ColumnType::SmallInt => Some((5, Some(0))),
        ColumnType::Int => Some((10, Some(0))),
        ColumnType::BigInt => Some((19, Some(0))),
        ColumnType::LargeInt => Some((39, Some(0))),
        ColumnType::Float => Some((7, None)),
        ColumnType::Double => Some((15, None)),
        ColumnType::Decimal { precision, scale } => Some((i64::from(precision), Some(i64::from(scale)))),
        ColumnType::Date | ColumnType::DateTime | ColumnType::Char(_) | ColumnType::Varchar(_) => None,
    }
}

fn length(ty: ColumnType) -> Option<i64> {
    match ty {
        ColumnType::Char(length) | ColumnType::Varchar(length) => Some(i64::from(length)),
        _ => None,
    }
}

fn columns(state: &SystemState) -> Grid {
    let mut grid = Grid::new([
        "TABLE_CATALOG",
        "TABLE_SCHEMA",
        "TABLE_NAME",
        "COLUMN_NAME",
        "#ORDINAL_POSITION",
        "COLUMN_DEFAULT",
        "IS_NULLABLE",
        "DATA_TYPE",
        "#CHARACTER_MAXIMUM_LENGTH",
        "#CHARACTER_OCTET_LENGTH",
        "#NUMERIC_PRECISION",
        "#NUMERIC_SCALE",
        "#DATETIME_PRECISION",
        "CHARACTER_SET_NAME",
        "COLLATION_NAME",
        "COLUMN_TYPE",
        "COLUMN_KEY",
        "EXTRA",
        "PRIVILEGES",
        "COLUMN_COMMENT",
        "#COLUMN_SIZE",
        "#DECIMAL_DIGITS",
        "GENERATION_EXPRESSION",
        "#SRS_ID",
    ]);
    for table in user_tables(state) {
        for (at, column) in table.schema.columns.iter().enumerate() {
            grid.push(column_row(table, at, column));
        }
    }
    grid
}

fn column_row(table: &Table, at: usize, column: &Column) -> Vec<Cell> {
    let (length, digits) = (length(column.ty), digits(column.ty));
    let string = column.ty.is_string();
    let size = length.or(digits.map(|d| d.0));
    vec![
        "def".into(),
        table.db_name.as_str().into(),
        table.name.as_str().into(),
        column.name.as_str().into(),
        (at as i64 + 1).into(),
        default_text(column).into(),
        if column.nullable { "YES" } else { "NO" }.into(),
        data_type(column.ty).into(),
        length.into(),
        length.into(),
        digits.map(|d| d.0).into(),
        digits.and_then(|d| d.1).into(),
        (column.ty == ColumnType::DateTime).then_some(6).into(),
        string.then_some("utf8").into(),
        string.then_some("utf8_general_ci").into(),
        column_type(column.ty).into(),
        column_key(table, at).into(),
        "".into(),
        "".into(),
        column.comment.as_str().into(),
        size.into(),
        digits.and_then(|d| d.1).into(),
        "".into(),
    ]
}

fn character_sets() -> Grid {
    let mut grid = Grid::new(["CHARACTER_SET_NAME", "DEFAULT_COLLATE_NAME", "DESCRIPTION", "#MAXLEN"]);
    for (name, collation) in [("utf8", "utf8_general_ci"), ("utf8mb4", "utf8mb4_general_ci")] {
        grid.push([name.into(), collation.into(), "UTF-8 Unicode".into(), Cell::Int(4)]);
    }
    grid
}

fn collations() -> Grid {
    let mut grid = Grid::new(["COLLATION_NAME", "CHARACTER_SET_NAME", "#ID", "IS_DEFAULT", "IS_COMPILED", "#SORTLEN"]);
    for (name, charset, id, default) in super::show::COLLATIONS {
        grid.push([(*name).into(), (*charset).into(), Cell::Int(*id), (*default).into(), "Yes".into(), Cell::Int(1)]);
    }
    grid
}

fn key_names(table: &Table) -> impl Iterator<Item = (i64, &str)> {
    let keys = if table.is_primary_key() { table.schema.key_columns as usize } else { 0 };
    table.schema.columns[..keys].iter().enumerate().map(|(at, c)| (at as i64 + 1, c.name.as_str()))
}

fn key_column_usage(state: &SystemState) -> Grid {
    let mut grid = Grid::new([
        "CONSTRAINT_CATALOG",
        "CONSTRAINT_SCHEMA",
        "CONSTRAINT_NAME",
        "TABLE_CATALOG",
        "TABLE_SCHEMA",
        "TABLE_NAME",
        "COLUMN_NAME",
        "#ORDINAL_POSITION",
        "#POSITION_IN_UNIQUE_CONSTRAINT",
        "REFERENCED_TABLE_SCHEMA",
        "REFERENCED_TABLE_NAME",
        "REFERENCED_COLUMN_NAME",
    ]);
    for table in user_tables(state) {
        let (db, name): (Cell, Cell) = (table.db_name.as_str().into(), table.name.as_str().into());
        for (at, column) in key_names(table) {
            let constraint = "PRIMARY".into();
            grid.push([
                "def".into(),
                db.clone(),
                constraint,
                "def".into(),
                db.clone(),
                name.clone(),
                column.into(),
                at.into(),
            ]);
        }
    }
    grid
}

fn table_constraints(state: &SystemState) -> Grid {
    let mut grid = Grid::new([
        "CONSTRAINT_CATALOG",
        "CONSTRAINT_SCHEMA",
        "CONSTRAINT_NAME",
        "TABLE_SCHEMA",
        "TABLE_NAME",
        "CONSTRAINT_TYPE",
        "ENFORCED",
    ]);
    for table in user_tables(state).filter(|t| t.is_primary_key()) {
        let (db, name): (Cell, Cell) = (table.db_name.as_str().into(), table.name.as_str().into());
        grid.push(["def".into(), db.clone(), "PRIMARY".into(), db, name, "PRIMARY KEY".into(), "YES".into()]);
    }
    grid
}

pub(super) fn statistics(state: &SystemState) -> Grid {
    let mut grid = Grid::new([
        "TABLE_CATALOG",
        "TABLE_SCHEMA",
        "TABLE_NAME",
        "#NON_UNIQUE",
        "INDEX_SCHEMA",
        "INDEX_NAME",
        "#SEQ_IN_INDEX",
        "COLUMN_NAME",
        "COLLATION",
        "#CARDINALITY",
        "#SUB_PART",
        "PACKED",
        "NULLABLE",
        "INDEX_TYPE",
        "COMMENT",
        "INDEX_COMMENT",
    ]);
    for table in user_tables(state) {
        let (db, name): (Cell, Cell) = (table.db_name.as_str().into(), table.name.as_str().into());
        for (at, column) in key_names(table) {
            grid.push([
                "def".into(),
                db.clone(),
                name.clone(),
                Cell::Int(0),
                db.clone(),
                "PRIMARY".into(),
                at.into(),
                column.into(),
                "A".into(),
                Cell::Null,
                Cell::Null,
                Cell::Null,
                "".into(),
                "HASH".into(),
                "".into(),
                "".into(),
            ]);
        }
    }
    grid
}

fn variables(state: &SystemState, global: bool) -> Grid {
    let mut grid = Grid::new(["VARIABLE_NAME", "VARIABLE_VALUE"]);
    for (name, value, _) in state.variables.all(global) {
        grid.push([name.into(), value.into()]);
    }
    grid
}

fn joined<'a>(table: &'a Table, positions: impl Iterator<Item = u32> + 'a) -> String {
    positions.map(|p| format!("`{}`", table.schema.columns[p as usize].name)).collect::<Vec<_>>().join(", ")
}

fn tables_config(state: &SystemState) -> Grid {
    let mut grid = Grid::new([
        "TABLE_SCHEMA",
        "TABLE_NAME",
        "TABLE_ENGINE",
        "TABLE_MODEL",
        "PRIMARY_KEY",
        "PARTITION_KEY",
        "DISTRIBUTE_KEY",
        "DISTRIBUTE_TYPE",
        "#DISTRIBUTE_BUCKET",
        "SORT_KEY",
        "PROPERTIES",
        "#TABLE_ID",
    ]);
    for table in user_tables(state) {
        let model = match table.kind() {
            TableKind::PrimaryKey => "PRI_KEYS",
            TableKind::Duplicate => "DUP_KEYS",
        };
        let schema = &table.schema;
        let random = schema.bucket_columns.is_empty();
        let properties = properties(table);
        let properties: Vec<String> = properties.iter().map(|(k, v)| format!("{k:?}:{v:?}")).collect();
        grid.push([
            table.db_name.as_str().into(),
            table.name.as_str().into(),
            "OLAP".into(),
            model.into(),
            joined(table, 0..schema.key_columns).into(),
            "".into(),
            joined(table, schema.bucket_columns.iter().copied()).into(),
            if random { "RANDOM" } else { "HASH" }.into(),
            i64::from(table.buckets).into(),
            joined(table, schema.sort_columns.iter().copied()).into(),
            format!("{{{}}}", properties.join(",")).into(),
            (table.id.0 as i64).into(),
        ]);
    }
    grid
}

fn partitions_meta(state: &SystemState) -> Grid {
    let mut grid = Grid::new([
        "DB_NAME",
        "TABLE_NAME",
        "PARTITION_NAME",
        "#PARTITION_ID",
        "DISTRIBUTION_KEY",
        "#BUCKETS",
        "#REPLICATION_NUM",
        "#ROW_COUNT",
    ]);
    for table in user_tables(state) {
        let key = joined(table, table.schema.bucket_columns.iter().copied());
        grid.push([
            table.db_name.as_str().into(),
            table.name.as_str().into(),
            table.name.as_str().into(),
            (table.id.0 as i64).into(),
            key.into(),
            i64::from(table.buckets).into(),
            Cell::Int(1),
            state.row_counts.get(&table.id).map(|r| *r as i64).into(),
        ]);
    }
    grid
}
