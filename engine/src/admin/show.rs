//! The SHOW statements: the columns of starrocks.md 8.2, the rows of this server.

use super::describe;
use super::grid::{Cell, Grid};
use super::information_schema::{self, INFORMATION_SCHEMA, SystemState, time_text};
use crate::catalog::{Catalog, Table};
use crate::error::{EngineError, Result};
use crate::functions;
use crate::session::Warning;
use crate::session::variables::{MYSQL_VERSION, STARROCKS_VERSION};
use crate::shard::ProcessInfo;
use crate::sql::statement::{ShowFilter, ShowKind, TableName};

/// Collations that clients know by number: name, charset, id, whether it is its charset's default.
pub const COLLATIONS: &[(&str, &str, i64, &str)] = &[
    ("utf8_general_ci", "utf8", 33, "Yes"),
    ("utf8mb4_general_ci", "utf8mb4", 45, "Yes"),
    ("utf8mb4_unicode_ci", "utf8mb4", 224, ""),
    ("utf8mb4_0900_ai_ci", "utf8mb4", 255, ""),
    ("binary", "binary", 63, "Yes"),
];

/// What a SHOW statement needs of its session.
pub struct ShowContext<'a> {
    pub database: Option<&'a str>,
    pub system: &'a SystemState,
    pub warnings: &'a [Warning],
    pub user: &'a str,
    /// Unix seconds of the start of the server.
    pub started: u64,
}

impl ShowContext<'_> {
    fn catalog(&self) -> &Catalog {
        &self.system.catalog
    }

    fn db<'b>(&'b self, name: &'b Option<String>) -> Result<&'b str> {
        name.as_deref().or(self.database).ok_or_else(EngineError::no_database)
    }

    fn table(&self, name: &TableName) -> Result<&Table> {
        self.catalog().table(self.db(&name.db)?, &name.table).map(|t| t.as_ref())
    }
}

/// Runs a SHOW statement but for its WHERE clause, which the caller evaluates over the grid.
pub fn show(kind: &ShowKind, filter: &ShowFilter, context: &ShowContext) -> Result<Grid> {
    let mut grid = grid(kind, context)?;
    if let Some(pattern) = &filter.like {
        grid.rows.retain(|row| match row.first() {
            Some(Cell::Text(text)) => like(text, pattern),
            Some(Cell::Int(number)) => like(&number.to_string(), pattern),
            Some(Cell::Null) | None => false,
        });
    }
    Ok(grid)
}

fn grid(kind: &ShowKind, context: &ShowContext) -> Result<Grid> {
    Ok(match kind {
        ShowKind::Databases => {
            let mut grid = Grid::new(["Database"]);
            information_schema::database_names(context.catalog()).into_iter().for_each(|n| grid.push([n.into()]));
            grid
        }
        ShowKind::Tables { db, full } => tables(context, context.db(db)?, *full)?,
        ShowKind::TableStatus { db } => table_status(context, context.db(db)?)?,
        ShowKind::Columns { table, full } => match is_system(context, table) {
            true => system_columns(context, table, *full)?,
            false => describe::columns(context.table(table)?, *full),
        },
        ShowKind::CreateTable(table) => describe::create_table(context.table(table)?),
        ShowKind::CreateDatabase(name) => {
            context.catalog().database(name)?;
            let mut grid = Grid::new(["Database", "Create Database"]);
            grid.push([name.as_str().into(), format!("CREATE DATABASE `{name}`").into()]);
            grid
        }
        ShowKind::Index(table) => index(context, context.table(table)?),
        ShowKind::Variables { global, verbose } => variables(context, *global, *verbose),
        ShowKind::Status => status(context),
        ShowKind::Warnings | ShowKind::Errors => warnings(context, *kind == ShowKind::Errors),
        ShowKind::WarningCount => {
            let mut grid = Grid::new(["#@@session.warning_count"]);
            grid.push([Cell::Int(context.warnings.len() as i64)]);
            grid
        }
        ShowKind::Processlist { full } => processes(&context.system.processes, *full),
        ShowKind::Engines => engines(),
        ShowKind::Charset => {
            let mut grid = Grid::new(["Charset", "Description", "Default collation", "#Maxlen"]);
            grid.push(["utf8".into(), "UTF-8 Unicode".into(), "utf8_general_ci".into(), Cell::Int(3)]);
            grid.push(["utf8mb4".into(), "UTF-8 Unicode".into(), "utf8mb4_general_ci".into(), Cell::Int(4)]);
            grid
        }
        ShowKind::Collation => {
            let mut grid = Grid::new(["Collation", "Charset", "#Id", "Default", "Compiled", "#Sortlen"]);
            for (name, charset, id, default) in COLLATIONS {
                grid.push([
                    (*name).into(),
                    (*charset).into(),
                    Cell::Int(*id),
                    (*default).into(),
                    "Yes".into(),
                    Cell::Int(1),
                ]);
            }
            grid
        }
        ShowKind::Grants => {
            let mut grid = Grid::new(["UserIdentity", "Catalog", "Grants"]);
            let grants = "GRANT 'root' TO 'root'@'%'";
            grid.push([format!("'{}'@'%'", context.user).into(), Cell::Null, grants.into()]);
            grid
        }
        ShowKind::Catalogs => {
            let mut grid = Grid::new(["Catalog", "Type", "Comment"]);
            grid.push([
                "default_catalog".into(),
                "Internal".into(),
                "An internal catalog contains this cluster's self-managed tables.".into(),
            ]);
            grid
        }
        ShowKind::Frontends => frontends(context),
        ShowKind::Backends => backends(context),
        ShowKind::Partitions(table) => partitions(context, context.table(table)?),
        ShowKind::Tablets(table) => tablets(context.table(table)?),
        ShowKind::Data { table } => data(context, table.as_ref())?,
        ShowKind::Functions => {
            let mut grid = Grid::new(["Signature", "Return Type", "Function Type", "Intermediate Type", "Properties"]);
            let registry = functions::registry();
            let kinds = [
                ("Scalar", registry.scalar_names()),
                ("Aggregate", registry.aggregate_names()),
                ("Window", registry.window_names()),
            ];
            for (kind, names) in kinds {
                names
                    .into_iter()
                    .for_each(|n| grid.push([n.into(), Cell::Null, kind.into(), "NULL".into(), "{}".into()]));
            }
            grid
        }
        other => Grid::new(empty_columns(other).iter()),
    })
}

/// Columns of statements that list what this server never has.
fn empty_columns(kind: &ShowKind) -> &'static [&'static str] {
    match kind {
        ShowKind::Plugins => &[
            "Name",
            "Type",
            "Description",
            "Version",
            "JavaVersion",
            "ClassName",
            "SoName",
            "Sources",
            "Status",
            "Properties",
        ],
        ShowKind::Privileges => &["Privilege", "Context", "Comment"],
        ShowKind::ComputeNodes => &[
            "ComputeNodeId",
            "IP",
            "HeartbeatPort",
            "BePort",
            "HttpPort",
            "BrpcPort",
            "LastStartTime",
            "LastHeartbeat",
            "Alive",
            "SystemDecommissioned",
            "ClusterDecommissioned",
            "ErrMsg",
            "Version",
            "CpuCores",
            "NumRunningQueries",
            "MemUsedPct",
            "CpuUsedPct",
            "HasStoragePath",
        ],
        ShowKind::OpenTables => &["Database", "Table", "#In_use", "#Name_locked"],
        ShowKind::Triggers => &[
            "Trigger",
            "Event",
            "Table",
            "Statement",
            "Timing",
            "Created",
            "sql_mode",
            "Definer",
            "character_set_client",
            "collation_connection",
            "Database Collation",
        ],
        ShowKind::Events => &[
            "Db",
            "Name",
            "Definer",
            "Time zone",
            "Type",
            "Execute at",
            "Interval value",
            "Interval field",
            "Starts",
            "Ends",
            "Status",
            "Originator",
            "character_set_client",
            "collation_connection",
            "Database Collation",
        ],
        ShowKind::Routines => &[
            "Db",
            "Name",
            "Type",
            "Definer",
            "Modified",
            "Created",
            "Security_type",
            "Comment",
            "character_set_client",
            "collation_connection",
            "Database Collation",
        ],
        ShowKind::Delete => &["TableName", "PartitionName", "CreateTime", "DeleteCondition", "State"],
        ShowKind::Load => &[
            "#JobId",
            "Label",
            "State",
            "Progress",
            "Type",
            "Priority",
            "EtlInfo",
            "TaskInfo",
            "ErrorMsg",
            "CreateTime",
            "EtlStartTime",
            "EtlFinishTime",
            "LoadStartTime",
            "LoadFinishTime",
            "TrackingSQL",
            "JobDetails",
        ],
        ShowKind::RoutineLoad => &[
            "#Id",
            "Name",
            "CreateTime",
            "PauseTime",
            "EndTime",
            "DbName",
            "TableName",
            "State",
            "DataSourceType",
            "CurrentTaskNum",
            "JobProperties",
            "DataSourceProperties",
            "CustomProperties",
            "Statistic",
            "Progress",
            "ReasonOfStateChanged",
            "ErrorLogUrls",
            "TrackingSQL",
            "OtherMsg",
        ],
        ShowKind::AlterTable => &[
            "#JobId",
            "TableName",
            "CreateTime",
            "FinishTime",
            "IndexName",
            "IndexId",
            "OriginIndexId",
            "SchemaVersion",
            "TransactionId",
            "State",
            "Msg",
            "Progress",
            "Timeout",
        ],
        ShowKind::MaterializedViews => &[
            "#id",
            "database_name",
            "name",
            "refresh_type",
            "is_active",
            "inactive_reason",
            "partition_type",
            "task_id",
            "task_name",
            "rows",
            "text",
        ],
        _ => &[],
    }
}

fn is_system(context: &ShowContext, table: &TableName) -> bool {
    table.db.as_deref().or(context.database).is_some_and(|db| db.eq_ignore_ascii_case(INFORMATION_SCHEMA))
}

fn system_columns(context: &ShowContext, table: &TableName, full: bool) -> Result<Grid> {
    let provider = information_schema::table(&table.table, context.system)?;
    let plain = ["Field", "Type", "Null", "Key", "Default", "Extra"];
    let all = ["Field", "Type", "Collation", "Null", "Key", "Default", "Extra", "Privileges", "Comment"];
    let mut grid = if full { Grid::new(all) } else { Grid::new(plain) };
    for field in provider.schema().fields() {
        let name: Cell = field.name().to_uppercase().into();
        let ty: Cell =
            if *field.data_type() == arrow::datatypes::DataType::Int64 { "bigint" } else { "varchar(65533)" }.into();
        match full {
            true => {
                grid.push([name, ty, Cell::Null, "YES".into(), "".into(), Cell::Null, "".into(), "".into(), "".into()])
            }
            false => grid.push([name, ty, "YES".into(), "".into(), Cell::Null, "".into()]),
        }
    }
    Ok(grid)
}

/// DESC of a table, a system one included.
pub fn describe_table(table: &TableName, context: &ShowContext) -> Result<Grid> {
    match is_system(context, table) {
        true => system_columns(context, table, false),
        false => Ok(describe::describe(context.table(table)?)),
    }
}

fn tables(context: &ShowContext, db: &str, full: bool) -> Result<Grid> {
    let first = format!("Tables_in_{db}");
    let mut grid = if full { Grid::new([first.as_str(), "Table_type"]) } else { Grid::new([first.as_str()]) };
    let system = db.eq_ignore_ascii_case(INFORMATION_SCHEMA);
    let names: Vec<String> = if system {
        information_schema::table_names()
    } else if information_schema::has_database(context.catalog(), db) && !context.catalog().has_database(db) {
        Vec::new()
    } else {
        let id = context.catalog().database(db)?.id;
        context.catalog().tables(id).map(|t| t.name.clone()).collect()
    };
    let kind = if system { "SYSTEM VIEW" } else { "BASE TABLE" };
    for name in names {
        grid.push(if full { vec![name.into(), kind.into()] } else { vec![name.into()] });
    }
    Ok(grid)
}

/// Columns of SHOW TABLE STATUS, and of information_schema.tables; NULL where there is none.
const TABLE_STATUS: [(&str, &str); 18] = [
    ("Name", "TABLE_NAME"),
    ("Engine", "ENGINE"),
    ("#Version", "VERSION"),
    ("Row_format", ""),
    ("#Rows", "TABLE_ROWS"),
    ("#Avg_row_length", "AVG_ROW_LENGTH"),
    ("#Data_length", "DATA_LENGTH"),
    ("#Max_data_length", "MAX_DATA_LENGTH"),
    ("#Index_length", "INDEX_LENGTH"),
    ("#Data_free", "DATA_FREE"),
    ("#Auto_increment", "AUTO_INCREMENT"),
    ("Create_time", "CREATE_TIME"),
    ("Update_time", "UPDATE_TIME"),
    ("Check_time", "CHECK_TIME"),
    ("Collation", "TABLE_COLLATION"),
    ("#Checksum", "CHECKSUM"),
    ("Create_options", "CREATE_OPTIONS"),
    ("Comment", "TABLE_COMMENT"),
];

fn table_status(context: &ShowContext, db: &str) -> Result<Grid> {
    // The server's own tables have no status.
    if !context.catalog().has_database(db) && information_schema::has_database(context.catalog(), db) {
        return Ok(Grid::new(TABLE_STATUS.map(|(name, _)| name)));
    }
    context.catalog().database(db)?;
    let tables = information_schema::tables(context.system);
    Ok(tables.chosen(&TABLE_STATUS, &[("TABLE_SCHEMA", db)]))
}

/// Columns of SHOW INDEX, and of information_schema.statistics.
const INDEX: [(&str, &str); 12] = [
    ("Table", "TABLE_NAME"),
    ("#Non_unique", "NON_UNIQUE"),
    ("Key_name", "INDEX_NAME"),
    ("#Seq_in_index", "SEQ_IN_INDEX"),
    ("Column_name", "COLUMN_NAME"),
    ("Collation", "COLLATION"),
    ("#Cardinality", "CARDINALITY"),
    ("#Sub_part", "SUB_PART"),
    ("Packed", "PACKED"),
    ("Null", "NULLABLE"),
    ("Index_type", "INDEX_TYPE"),
    ("Comment", "COMMENT"),
];

fn index(context: &ShowContext, table: &Table) -> Grid {
    let statistics = information_schema::statistics(context.system);
    statistics.chosen(&INDEX, &[("TABLE_SCHEMA", &table.db_name), ("TABLE_NAME", &table.name)])
}

fn variables(context: &ShowContext, global: bool, verbose: bool) -> Grid {
    let mut grid = match verbose {
        true => Grid::new(["Variable_name", "Value", "Default_value", "#Is_changed"]),
        false => Grid::new(["Variable_name", "Value"]),
    };
    for (name, value, default) in context.system.variables.all(global) {
        let changed =
            i64::from(value != default && !(value == "ON" && default == "1") && !(value == "OFF" && default == "0"));
        grid.push(match verbose {
            true => vec![name.into(), value.into(), default.into(), Cell::Int(changed)],
            false => vec![name.into(), value.into()],
        });
    }
    grid
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn status(context: &ShowContext) -> Grid {
    let mut grid = Grid::new(["Variable_name", "Value"]);
    let uptime = now().saturating_sub(context.started);
    grid.push(["Ssl_cipher".into(), "".into()]);
    grid.push(["Threads_connected".into(), context.system.processes.len().to_string().into()]);
    grid.push(["Uptime".into(), uptime.to_string().into()]);
    grid
}

fn warnings(context: &ShowContext, errors_only: bool) -> Grid {
    let mut grid = Grid::new(["Level", "#Code", "Message"]);
    for warning in context.warnings.iter().filter(|w| !errors_only || w.level == "Error") {
        grid.push([warning.level.into(), Cell::Int(i64::from(warning.code)), warning.message.as_str().into()]);
    }
    grid
}

/// SHOW PROCESSLIST and information_schema.processlist.
pub fn processes(processes: &[ProcessInfo], full: bool) -> Grid {
    let mut grid = Grid::new([
        "ServerName",
        "#Id",
        "User",
        "Host",
        "Db",
        "Command",
        "ConnectionStartTime",
        "#Time",
        "State",
        "Info",
        "IsPending",
        "Warehouse",
        "CNGroup",
    ]);
    for process in processes {
        let info = process.info.as_ref().map(|text| match full {
            true => text.clone(),
            false => text.chars().take(100).collect(),
        });
        grid.push([
            "localhost".into(),
            Cell::Int(i64::from(process.id)),
            process.user.as_str().into(),
            process.host.as_str().into(),
            process.db.clone().into(),
            process.command.as_str().into(),
            Cell::Null,
            Cell::Int(process.seconds as i64),
            process.state.as_str().into(),
            info.into(),
            "false".into(),
            "default_warehouse".into(),
            "".into(),
        ]);
    }
    grid
}

pub fn engines() -> Grid {
    let mut grid = Grid::new(["Engine", "Support", "Comment", "Transactions", "XA", "Savepoints"]);
    grid.push([
        "OLAP".into(),
        "DEFAULT".into(),
        "Default storage engine of Starling".into(),
        "NO".into(),
        "NO".into(),
        "NO".into(),
    ]);
    grid
}

fn frontends(context: &ShowContext) -> Grid {
    let mut grid = Grid::new([
        "Name",
        "IP",
        "EditLogPort",
        "HttpPort",
        "QueryPort",
        "RpcPort",
        "Role",
        "ClusterId",
        "Join",
        "Alive",
        "ReplayedJournalId",
        "LastHeartbeat",
        "IsHelper",
        "ErrMsg",
        "StartTime",
        "Version",
    ]);
    let start = time_text(context.started);
    grid.push([
        "starling".into(),
        "127.0.0.1".into(),
        "9010".into(),
        "8030".into(),
        "9030".into(),
        "9020".into(),
        "LEADER".into(),
        "1".into(),
        "true".into(),
        "true".into(),
        context.catalog().version().0.to_string().into(),
        time_text(now()).into(),
        "true".into(),
        "".into(),
        start.into(),
        format!("{STARROCKS_VERSION} (MySQL {MYSQL_VERSION})").into(),
    ]);
    grid
}

fn backends(context: &ShowContext) -> Grid {
    let mut grid = Grid::new([
        "BackendId",
        "IP",
        "HeartbeatPort",
        "BePort",
        "HttpPort",
        "BrpcPort",
        "LastStartTime",
        "LastHeartbeat",
        "Alive",
        "SystemDecommissioned",
        "ClusterDecommissioned",
        "TabletNum",
        "DataUsedCapacity",
        "AvailCapacity",
        "TotalCapacity",
        "UsedPct",
        "MaxDiskUsedPct",
        "ErrMsg",
        "Version",
        "Status",
        "DataTotalCapacity",
        "DataUsedPct",
        "CpuCores",
    ]);
    let tablets = context.catalog().tablet_ids().count().to_string();
    grid.push([
        "10001".into(),
        "127.0.0.1".into(),
        "9050".into(),
        "9060".into(),
        "8030".into(),
        "8060".into(),
        time_text(context.started).into(),
        time_text(now()).into(),
        "true".into(),
        "false".into(),
        "false".into(),
        tablets.into(),
        Cell::Null,
        Cell::Null,
        Cell::Null,
        Cell::Null,
        Cell::Null,
        "".into(),
        STARROCKS_VERSION.into(),
        "{}".into(),
    ]);
    grid
}

fn partitions(context: &ShowContext, table: &Table) -> Grid {
    let mut grid = Grid::new([
        "#PartitionId",
        "PartitionName",
        "#VisibleVersion",
        "VisibleVersionTime",
        "#VisibleVersionHash",
        "State",
        "PartitionKey",
        "Range",
        "DistributionKey",
        "#Buckets",
        "#ReplicationNum",
        "StorageMedium",
        "CooldownTime",
        "LastConsistencyCheckTime",
        "DataSize",
        "IsInMemory",
        "#RowCount",
    ]);
    let key: Vec<&str> =
        table.schema.bucket_positions().iter().map(|&p| table.schema.columns[p].name.as_str()).collect();
    let key = if key.is_empty() { "ALL KEY".to_string() } else { key.join(", ") };
    let rows = context.system.row_counts.get(&table.id).map(|r| *r as i64);
    grid.push([
        Cell::Int(table.id.0 as i64),
        table.name.as_str().into(),
        Cell::Int(context.catalog().version().0 as i64),
        time_text(table.created).into(),
        Cell::Int(0),
        "NORMAL".into(),
        "".into(),
        "".into(),
        key.into(),
        Cell::Int(i64::from(table.buckets)),
        Cell::Int(1),
        "SSD".into(),
        "9999-12-31 23:59:59".into(),
        Cell::Null,
        Cell::Null,
        "false".into(),
        rows.into(),
    ]);
    grid
}

fn tablets(table: &Table) -> Grid {
    let mut grid = Grid::new([
        "#TabletId",
        "#ReplicaId",
        "#BackendId",
        "SchemaHash",
        "#Version",
        "DataSize",
        "#RowCount",
        "State",
    ]);
    for tablet in &table.tablets {
        grid.push([
            Cell::Int(tablet.0 as i64),
            Cell::Int(tablet.0 as i64),
            Cell::Int(10_001),
            Cell::Null,
            Cell::Null,
            Cell::Null,
            Cell::Null,
            "NORMAL".into(),
        ]);
    }
    grid
}

fn data(context: &ShowContext, table: Option<&TableName>) -> Result<Grid> {
    let mut grid = Grid::new(["TableName", "Size", "ReplicaCount", "#RowCount"]);
    let line = |table: &Table| {
        let rows: Cell = context.system.row_counts.get(&table.id).map(|r| *r as i64).into();
        vec![table.name.as_str().into(), Cell::Null, table.buckets.to_string().into(), rows]
    };
    match table {
        Some(name) => grid.push(line(context.table(name)?)),
        None => {
            let id = context.catalog().database(context.db(&None)?)?.id;
            context.catalog().tables(id).for_each(|t| grid.push(line(t)));
        }
    }
    Ok(grid)
}

/// LIKE of SHOW statements: `%`, `_`, escape `\`, case apart as in MySQL.
pub fn like(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) =
        (text.to_lowercase().chars().collect(), pattern.to_lowercase().chars().collect());
    // The classic two-pointer match: on failure go back to the last % and let it take one character more.
    let (mut t, mut p, mut retry) = (0, 0, None);
    while t < text.len() {
        let escaped = pattern.get(p) == Some(&'\\') && p + 1 < pattern.len();
        let wanted = if escaped { pattern.get(p + 1) } else { pattern.get(p) };
        match wanted {
            Some('%') if !escaped => {
                retry = Some((p, t));
                p += 1;
                continue;
            }
            Some(&c) if (c == '_' && !escaped) || c == text[t] => {
                (t, p) = (t + 1, p + 1 + usize::from(escaped));
                continue;
            }
            _ => {}
        }
        let Some((star, from)) = retry else { return false };
        retry = Some((star, from + 1));
        (p, t) = (star + 1, from + 1);
    }
    pattern[p..].iter().all(|&c| c == '%')
}

#[cfg(test)]
mod tests {
    use super::like;

    #[test]
    fn like_matches_as_mysql() {
        for (text, pattern, expect) in [
            ("abc", "abc", true),
            ("abc", "ABC", true),
            ("abc", "a%", true),
            ("abc", "%c", true),
            ("abc", "a_c", true),
            ("abc", "a\\_c", false),
            ("a_c", "a\\_c", true),
            ("abc", "%%", true),
            ("", "%", true),
            ("", "", true),
            ("abc", "", false),
            ("aXbXc", "a%x%c", true),
            ("aab", "%ab", true),
            ("lower_case_table_names", "lower\\_case\\_%", true),
        ] {
            assert_eq!(like(text, pattern), expect, "{text} like {pattern}");
        }
    }
}
