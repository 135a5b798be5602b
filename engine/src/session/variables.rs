//! System variables: those that clients read or set (clients.md 3.2, starrocks.md 8.4). A session holds what it changed; everything else is the default,
//! or what SET GLOBAL made of it for sessions that begin later.

use std::collections::BTreeMap;
use std::sync::Mutex;

use sqlparser::ast;

use crate::error::{EngineError, Result};
use crate::functions::zone_named;

/// What kind of value a variable takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Int,
    Text,
}

/// Who may set a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Session,
    /// SET SESSION is error 1229.
    Global,
    /// SET is accepted and without effect: drivers set these.
    Fixed,
}

struct Variable {
    name: &'static str,
    default: &'static str,
    kind: Kind,
    scope: Scope,
}

const fn variable(name: &'static str, default: &'static str, kind: Kind, scope: Scope) -> Variable {
    Variable { name, default, kind, scope }
}

/// What VERSION() says; what MySQL drivers decide by.
pub const MYSQL_VERSION: &str = "8.0.33";
/// What CURRENT_VERSION() says: the release of StarRocks whose behaviour is matched; tools read it by character position.
pub const STARROCKS_VERSION: &str = "3.5.0-starling";

/// All of them, by name.
static VARIABLES: &[Variable] = &[
    variable("activate_all_roles_on_login", "0", Kind::Bool, Scope::Global),
    variable("auto_increment_increment", "1", Kind::Int, Scope::Session),
    variable("autocommit", "1", Kind::Bool, Scope::Session),
    variable("big_query_profile_threshold", "0s", Kind::Text, Scope::Session),
    variable("broadcast_row_limit", "15000000", Kind::Int, Scope::Session),
    variable("catalog", "default_catalog", Kind::Text, Scope::Fixed),
    variable("cbo_decimal_cast_string_strict", "1", Kind::Bool, Scope::Session),
    variable("cbo_enable_low_cardinality_optimize", "1", Kind::Bool, Scope::Session),
    variable("cbo_eq_base_type", "DECIMAL", Kind::Text, Scope::Session),
    variable("character_set_client", "utf8mb4", Kind::Text, Scope::Session),
    variable("character_set_connection", "utf8mb4", Kind::Text, Scope::Session),
    variable("character_set_database", "utf8mb4", Kind::Text, Scope::Session),
    variable("character_set_filesystem", "binary", Kind::Text, Scope::Session),
    variable("character_set_results", "utf8mb4", Kind::Text, Scope::Session),
    variable("character_set_server", "utf8mb4", Kind::Text, Scope::Session),
    variable("character_set_system", "utf8mb4", Kind::Text, Scope::Fixed),
    variable("chunk_size", "4096", Kind::Int, Scope::Session),
    variable("collation_connection", "utf8mb4_general_ci", Kind::Text, Scope::Session),
    variable("collation_database", "utf8mb4_general_ci", Kind::Text, Scope::Session),
    variable("collation_server", "utf8mb4_general_ci", Kind::Text, Scope::Session),
    variable("completion_type", "NO_CHAIN", Kind::Text, Scope::Session),
    variable("connect_timeout", "10", Kind::Int, Scope::Session),
    variable("custom_query_id", "", Kind::Text, Scope::Session),
    variable("default_authentication_plugin", "mysql_native_password", Kind::Text, Scope::Fixed),
    variable("default_storage_engine", "OLAP", Kind::Text, Scope::Session),
    variable("default_tmp_storage_engine", "OLAP", Kind::Text, Scope::Session),
    variable("disable_join_reorder", "0", Kind::Bool, Scope::Session),
    variable("div_precision_increment", "4", Kind::Int, Scope::Session),
    variable("dynamic_overwrite", "0", Kind::Bool, Scope::Session),
    variable("enable_insert_partial_update", "1", Kind::Bool, Scope::Session),
    variable("enable_insert_strict", "1", Kind::Bool, Scope::Session),
    variable("enable_pipeline_engine", "1", Kind::Bool, Scope::Session),
    variable("enable_populate_datacache", "1", Kind::Bool, Scope::Session),
    variable("enable_profile", "0", Kind::Bool, Scope::Session),
    variable("enable_query_cache", "0", Kind::Bool, Scope::Session),
    variable("enable_query_queue_load", "0", Kind::Bool, Scope::Global),
    variable("enable_query_queue_select", "0", Kind::Bool, Scope::Global),
    variable("enable_scan_datacache", "1", Kind::Bool, Scope::Session),
    variable("enable_spill", "0", Kind::Bool, Scope::Session),
    variable("exec_mem_limit", "0", Kind::Int, Scope::Session),
    variable("explicit_defaults_for_timestamp", "1", Kind::Bool, Scope::Session),
    variable("foreign_key_checks", "1", Kind::Bool, Scope::Session),
    variable("forward_to_leader", "0", Kind::Bool, Scope::Session),
    variable("forward_to_master", "0", Kind::Bool, Scope::Session),
    variable("group_concat_max_len", "1024", Kind::Int, Scope::Session),
    variable("have_openssl", "DISABLED", Kind::Text, Scope::Fixed),
    variable("have_query_cache", "NO", Kind::Text, Scope::Fixed),
    variable("have_ssl", "DISABLED", Kind::Text, Scope::Fixed),
    variable("hostname", "localhost", Kind::Text, Scope::Fixed),
    variable("init_connect", "", Kind::Text, Scope::Global),
    variable("innodb_lock_wait_timeout", "50", Kind::Int, Scope::Session),
    variable("insert_max_filter_ratio", "0", Kind::Text, Scope::Session),
    variable("insert_timeout", "14400", Kind::Int, Scope::Session),
    variable("interactive_timeout", "3600", Kind::Int, Scope::Session),
    variable("io_tasks_per_scan_operator", "4", Kind::Int, Scope::Session),
    variable("language", "/starling/", Kind::Text, Scope::Global),
    variable("last_insert_id", "0", Kind::Int, Scope::Session),
    variable("lc_time_names", "en_US", Kind::Text, Scope::Session),
    variable("license", "Apache License 2.0", Kind::Text, Scope::Global),
    variable("load_mem_limit", "0", Kind::Int, Scope::Session),
    variable("lock_wait_timeout", "50", Kind::Int, Scope::Session),
    variable("log_bin", "0", Kind::Bool, Scope::Fixed),
    variable("lower_case_file_system", "0", Kind::Bool, Scope::Fixed),
    variable("lower_case_table_names", "0", Kind::Int, Scope::Global),
    variable("max_allowed_packet", "67108864", Kind::Int, Scope::Fixed),
    variable("max_connections", "4096", Kind::Int, Scope::Fixed),
    variable("max_execution_time", "0", Kind::Int, Scope::Session),
    variable("net_buffer_length", "16384", Kind::Int, Scope::Fixed),
    variable("net_read_timeout", "60", Kind::Int, Scope::Session),
    variable("net_write_timeout", "60", Kind::Int, Scope::Session),
    variable("new_planner_optimize_timeout", "3000", Kind::Int, Scope::Session),
    variable("optimizer_switch", "", Kind::Text, Scope::Session),
    variable("parallel_fragment_exec_instance_num", "1", Kind::Int, Scope::Session),
    variable("partial_update_mode", "auto", Kind::Text, Scope::Session),
    variable("performance_schema", "0", Kind::Bool, Scope::Fixed),
    variable("pipeline_dop", "0", Kind::Int, Scope::Session),
    variable("pipeline_profile_level", "1", Kind::Int, Scope::Session),
    variable("pipeline_sink_dop", "0", Kind::Int, Scope::Session),
    variable("port", "9030", Kind::Int, Scope::Fixed),
    variable("prefer_compute_node", "0", Kind::Bool, Scope::Session),
    variable("protocol_version", "10", Kind::Int, Scope::Fixed),
    variable("query_cache_size", "1048576", Kind::Int, Scope::Global),
    variable("query_cache_type", "0", Kind::Int, Scope::Session),
    variable("query_mem_limit", "0", Kind::Int, Scope::Session),
    variable("query_timeout", "300", Kind::Int, Scope::Session),
    variable("read_only", "0", Kind::Bool, Scope::Fixed),
    variable("resource_group", "", Kind::Text, Scope::Session),
    variable("runtime_profile_report_interval", "10", Kind::Int, Scope::Session),
    variable("server_id", "1", Kind::Int, Scope::Fixed),
    variable("skip_networking", "0", Kind::Bool, Scope::Fixed),
    variable("socket", "", Kind::Text, Scope::Fixed),
    variable("spill_mode", "auto", Kind::Text, Scope::Session),
    variable("sql_auto_is_null", "0", Kind::Bool, Scope::Session),
    variable("sql_big_selects", "1", Kind::Bool, Scope::Session),
    variable("sql_dialect", "StarRocks", Kind::Text, Scope::Session),
    variable("sql_mode", "ONLY_FULL_GROUP_BY", Kind::Text, Scope::Session),
    variable("sql_notes", "1", Kind::Bool, Scope::Session),
    variable("sql_quote_show_create", "1", Kind::Bool, Scope::Session),
    variable("sql_safe_updates", "0", Kind::Bool, Scope::Session),
    variable("sql_select_limit", "9223372036854775807", Kind::Int, Scope::Session),
    variable("sql_warnings", "0", Kind::Bool, Scope::Session),
    variable("storage_engine", "OLAP", Kind::Text, Scope::Session),
    variable("super_read_only", "0", Kind::Bool, Scope::Fixed),
    variable("system_time_zone", "UTC", Kind::Text, Scope::Global),
    variable("time_zone", "UTC", Kind::Text, Scope::Session),
    variable("transaction_isolation", "REPEATABLE-READ", Kind::Text, Scope::Session),
    variable("transaction_read_only", "0", Kind::Bool, Scope::Session),
    variable("tx_isolation", "REPEATABLE-READ", Kind::Text, Scope::Session),
    variable("tx_read_only", "0", Kind::Bool, Scope::Session),
    variable("unique_checks", "1", Kind::Bool, Scope::Session),
    variable("use_compute_nodes", "-1", Kind::Int, Scope::Session),
    variable("version", MYSQL_VERSION, Kind::Text, Scope::Global),
    variable("version_comment", "Starling, StarRocks compatible", Kind::Text, Scope::Global),
    variable("version_compile_machine", "x86_64", Kind::Text, Scope::Fixed),
    variable("version_compile_os", "Linux", Kind::Text, Scope::Fixed),
    variable("wait_timeout", "28800", Kind::Int, Scope::Session),
    variable("warehouse", "default_warehouse", Kind::Text, Scope::Fixed),
];

/// Variables that sessions often set and that no plan depends on.
const IGNORED_BY_PLANNING: [&str; 8] = [
    "autocommit",
    "collation_connection",
    "max_execution_time",
    "query_mem_limit",
    "query_timeout",
    "sql_auto_is_null",
    "transaction_isolation",
    "tx_isolation",
];

/// What SET GLOBAL changed since the start. Read when a session begins; no statement touches it otherwise.
static GLOBALS: Mutex<BTreeMap<&'static str, String>> = Mutex::new(BTreeMap::new());

/// The variables of a session.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    changed: BTreeMap<&'static str, String>,
}

fn find(name: &str) -> Option<&'static Variable> {
    VARIABLES.binary_search_by(|v| v.name.cmp(name)).ok().map(|at| &VARIABLES[at])
}

fn globals() -> BTreeMap<&'static str, String> {
    match GLOBALS.lock() {
        Ok(globals) => globals.clone(),
        Err(poisoned) => poisoned.into_inner().clone(),
    }
}

impl Variables {
    /// Those of a new session.
    pub fn begin() -> Variables {
        Variables { changed: globals() }
    }

    /// The value as text; `None`: no such variable. `name` in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        let variable = find(name)?;
        Some(self.changed.get(variable.name).map_or(variable.default, String::as_str))
    }

    /// A number; 0 where the text is none.
    pub fn number(&self, name: &str) -> u64 {
        self.get(name).and_then(|v| v.parse().ok()).unwrap_or(0)
    }

    pub fn is_on(&self, name: &str) -> bool {
        self.get(name) == Some("1")
    }

    /// Values of the variables that planning reads, where they are not the defaults.
    pub fn planning_key(&self) -> String {
        let read = |name: &str| !IGNORED_BY_PLANNING.contains(&name) && !name.starts_with("character_set");
        let changed = self
            .changed
            .iter()
            .filter(|(name, value)| read(name) && find(name).is_some_and(|v| v.default != value.as_str()));
        changed.map(|(name, value)| format!("{name}={value}\n")).collect()
    }

    /// As a literal, for `@@name`.
    pub fn literal(&self, name: &str, global: bool) -> Option<ast::Value> {
        let variable = find(name)?;
        let text = match global {
            true => globals().get(variable.name).cloned().unwrap_or_else(|| variable.default.to_string()),
            false => self.get(name)?.to_string(),
        };
        Some(match variable.kind {
            Kind::Text => ast::Value::SingleQuotedString(text),
            Kind::Bool | Kind::Int => ast::Value::Number(text, false),
        })
    }

    /// SET. `value` is `None` for DEFAULT. Errors: 1193 unknown, 1229 global only, 1231 not of its type.
    pub fn set(&mut self, name: &str, value: Option<&str>, global: bool) -> Result<()> {
        let variable = find(name).ok_or_else(|| EngineError::unknown_variable(name))?;
        let value = match value {
            Some(value) => checked(variable, value)?,
            None => variable.default.to_string(),
        };
        match variable.scope {
            Scope::Fixed => return Ok(()),
            Scope::Global if !global => {
                let text = format!("Variable '{name}' is a GLOBAL variable and should be set with SET GLOBAL");
                return Err(EngineError::new(1229, b"HY000", text));
            }
            Scope::Global | Scope::Session => {}
        }
        if global {
            let mut globals = match GLOBALS.lock() {
                Ok(globals) => globals,
                Err(poisoned) => poisoned.into_inner(),
            };
            globals.insert(variable.name, value.clone());
        }
        // StarRocks changes the setting session too.
        self.changed.insert(variable.name, value.clone());
        if let Some(twin) = twin(variable.name) {
            self.changed.insert(twin, value);
        }
        Ok(())
    }

    /// SET NAMES.
    pub fn set_names(&mut self, charset: Option<&str>, collation: Option<&str>) -> Result<()> {
        let charset = charset.unwrap_or("utf8mb4").to_lowercase();
        let known = ["utf8", "utf8mb3", "utf8mb4", "latin1", "ascii", "binary", "gbk", "gb2312", "big5", "cp1252"];
        if !known.contains(&charset.as_str()) {
            return Err(EngineError::new(1115, b"42000", format!("Unknown character set: '{charset}'")));
        }
        for name in ["character_set_client", "character_set_connection", "character_set_results"] {
            self.set(name, Some(&charset), false)?;
        }
        if let Some(collation) = collation {
            self.set("collation_connection", Some(collation), false)?;
        }
        Ok(())
    }

    /// All, as (name, value, default): SHOW VARIABLES.
    pub fn all(&self, global: bool) -> Vec<(&'static str, String, &'static str)> {
        let globals = if global { globals() } else { BTreeMap::new() };
        let changed = if global { &globals } else { &self.changed };
        let shown = |v: &Variable, text: &str| match v.kind {
            Kind::Bool => if text == "1" { "ON" } else { "OFF" }.to_string(),
            Kind::Int | Kind::Text => text.to_string(),
        };
        let line = |v: &'static Variable| {
            let value = changed.get(v.name).map_or(v.default, String::as_str);
            (v.name, shown(v, value), v.default)
        };
        VARIABLES.iter().map(line).collect()
    }
}

/// The old and the new name of one setting.
fn twin(name: &str) -> Option<&'static str> {
    match name {
        "transaction_isolation" => Some("tx_isolation"),
        "tx_isolation" => Some("transaction_isolation"),
        "transaction_read_only" => Some("tx_read_only"),
        "tx_read_only" => Some("transaction_read_only"),
        _ => None,
    }
}

/// The stored form of a value, or why it is none.
fn checked(variable: &Variable, value: &str) -> Result<String> {
    let bad = || EngineError::bad_variable_value(variable.name, value);
    match variable.kind {
        Kind::Text if variable.name == "time_zone" && zone_named(value).is_none() => {
            Err(EngineError::new(1298, b"HY000", format!("Unknown or incorrect time zone: '{value}'")))
        }
        Kind::Text => Ok(value.to_string()),
        Kind::Bool => match value.to_ascii_lowercase().as_str() {
            "1" | "on" | "true" => Ok("1".to_string()),
            "0" | "off" | "false" => Ok("0".to_string()),
            _ => Err(bad()),
        },
        Kind::Int => {
            let number: i128 = volume(value).ok_or_else(bad)?;
            let range = match variable.name {
                "query_timeout" | "insert_timeout" => 1..=259_200,
                "use_compute_nodes" => -1..=i128::from(i64::MAX),
                _ => 0..=i128::from(u64::MAX),
            };
            if range.contains(&number) { Ok(number.to_string()) } else { Err(bad()) }
        }
    }
}

/// A number, also with the units of volumes (`2G`).
fn volume(text: &str) -> Option<i128> {
    let text = text.trim().to_ascii_uppercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].trim_end_matches('B') {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        "P" => 50,
        _ => return None,
    };
    digits.parse::<i64>().ok().map(|n| i128::from(n) << shift).or_else(|| digits.parse::<u64>().ok().map(i128::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_defaults_are_of_their_kind() {
        assert!(VARIABLES.windows(2).all(|w| w[0].name < w[1].name));
        for variable in VARIABLES {
            assert_eq!(checked(variable, variable.default).unwrap(), variable.default, "{}", variable.name);
        }
    }

    #[test]
    fn set_checks_names_scopes_and_values() {
        let mut variables = Variables::default();
        variables.set("autocommit", Some("OFF"), false).unwrap();
        assert!(!variables.is_on("autocommit"));
        variables.set("autocommit", None, false).unwrap();
        assert!(variables.is_on("autocommit"));
        variables.set("query_mem_limit", Some("2G"), false).unwrap();
        assert_eq!(variables.number("query_mem_limit"), 2 << 30);
        let code = |e: Result<()>| e.err().map(|e| e.code);
        assert_eq!(code(variables.set("nonsense", Some("1"), false)), Some(1193));
        assert_eq!(code(variables.set("license", Some("1"), false)), Some(1229));
        assert_eq!(code(variables.set("query_timeout", Some("abc"), false)), Some(1231));
        assert_eq!(code(variables.set("query_timeout", Some("0"), false)), Some(1231));
        variables.set_names(Some("utf8"), None).unwrap();
        assert_eq!(variables.get("character_set_client"), Some("utf8"));
        assert_eq!(code(variables.set_names(Some("klingon"), None)), Some(1115));
    }
}
