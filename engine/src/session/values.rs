//! What of a session goes into a statement as literals: variables and the functions that speak of the session. A frozen copy, because planning happens on
//! another thread.

use std::collections::HashMap;

use sqlparser::ast::Value;

use super::Session;
use super::variables::{MYSQL_VERSION, STARROCKS_VERSION, Variables};
use crate::sql::names::SessionValues;

/// See the head of the file. `Send`.
pub struct Values {
    variables: Variables,
    user_variables: HashMap<String, Value>,
    database: Option<String>,
    user: String,
    host: String,
    connection: u32,
    row_count: i64,
}

impl Session {
    pub(super) fn values(&self) -> Values {
        let state = self.state.borrow();
        Values {
            variables: state.variables.clone(),
            user_variables: state.user_variables.clone(),
            database: state.database.clone(),
            user: self.info().user.clone(),
            host: self.info().peer.rsplit_once(':').map_or(self.info().peer.as_str(), |(host, _)| host).to_string(),
            connection: self.id(),
            row_count: state.row_count,
        }
    }
}

fn text(text: impl Into<String>) -> Value {
    Value::SingleQuotedString(text.into())
}

fn number(number: impl ToString) -> Value {
    Value::Number(number.to_string(), false)
}

impl SessionValues for Values {
    fn system(&self, name: &str, global: bool) -> Option<Value> {
        match name {
            "identity" => Some(number(0)),
            "pseudo_thread_id" => Some(number(self.connection)),
            "warning_count" | "error_count" => Some(number(0)),
            "timestamp" => {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                Some(number(now.as_secs()))
            }
            _ => self.variables.literal(name, global),
        }
    }

    fn user_variable(&self, name: &str) -> Value {
        self.user_variables.get(name).cloned().unwrap_or(Value::Null)
    }

    fn function(&self, name: &str) -> Option<Value> {
        Some(match name {
            "database" | "schema" => self.database.clone().map_or(Value::Null, text),
            "user" | "session_user" | "system_user" => text(format!("'{}'@'{}'", self.user, self.host)),
            "current_user" => text(format!("'{}'@'%'", self.user)),
            "version" => text(MYSQL_VERSION),
            "current_version" => text(STARROCKS_VERSION),
            "connection_id" => number(self.connection),
            "catalog" | "current_catalog" => text("default_catalog"),
            "current_role" => text(if self.user == "root" { "root" } else { "NONE" }),
            "current_warehouse" => text("default_warehouse"),
            "last_insert_id" | "found_rows" => number(0),
            "row_count" => number(self.row_count),
            _ => return None,
        })
    }
}
