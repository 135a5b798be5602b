//! A session: what one connection may say, in order, and what it is told.
//!
//! | file | part |
//! |---|---|
//! | `outcome` | results, column metadata, parameters |
//!
//! Core: the one that accepted the connection; `Rc`, never sent. `execute` runs one statement at a time; `cancel` may be called from another task of the core while it runs.

pub mod outcome;

use std::rc::Rc;

pub use outcome::{ColumnMeta, Done, Outcome, Param, Prepared, RowSet, ServerStatus, SqlType};

use crate::error::{EngineError, Result};
use crate::shard::{Core, SessionSlot};

/// How a session came about.
#[derive(Debug, Clone)]
pub struct ConnectInfo {
    pub user: String,
    /// Address of the client, `host:port`.
    pub peer: String,
    /// The database named in the handshake.
    pub database: Option<String>,
    pub kind: ConnectionKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionKind {
    Mysql,
    Http,
    /// Statements of the server's own.
    Internal,
}

/// One connection's state. See the head of the module.
pub struct Session {
    core: Rc<Core>,
    info: ConnectInfo,
}

impl Session {
    /// A session for a registered connection; enters its database, where one is named (error 5501 if it is unknown). `hang_up` is called once, by
    /// KILL, after the running statement is cancelled.
    pub async fn open(
        core: &Rc<Core>,
        slot: SessionSlot,
        info: ConnectInfo,
        hang_up: Box<dyn Fn()>,
    ) -> Result<Rc<Session>> {
        let _ = (slot, hang_up);
        Ok(Rc::new(Session { core: core.clone(), info }))
    }

    /// The connection id: what KILL names.
    pub fn id(&self) -> u32 {
        0
    }

    /// COM_INIT_DB and USE. `catalog.db` is understood.
    pub async fn init_db(&self, _database: &str) -> Result<()> {
        Err(EngineError::unsupported("databases"))
    }

    /// Cuts a text into statements, minding quotes and comments. Empty ones are left out.
    pub fn split(&self, text: &str) -> Result<Vec<String>> {
        Ok(vec![text.to_string()])
    }

    /// Runs one statement. An error leaves the session usable.
    pub async fn execute(&self, _sql: &str) -> Result<Outcome> {
        Err(EngineError::unsupported("statements"))
    }

    /// Parses and plans a statement with `?` parameters.
    pub async fn prepare(&self, _sql: &str) -> Result<Prepared> {
        Err(EngineError::unsupported("prepared statements"))
    }

    /// Runs a prepared statement. The number of parameters must be that of `Prepared::params`.
    pub async fn execute_prepared(&self, _id: u32, _params: Vec<Param>) -> Result<Outcome> {
        Err(EngineError::unsupported("prepared statements"))
    }

    pub fn close_prepared(&self, _id: u32) {}

    /// COM_RESET_CONNECTION: variables, user variables and prepared statements go; the database stays.
    pub fn reset(&self) {}

    pub fn status(&self) -> ServerStatus {
        ServerStatus { autocommit: true, in_transaction: false }
    }

    /// Cancels the running statement: the socket closed, or KILL.
    pub fn cancel(&self) {}

    pub fn info(&self) -> &ConnectInfo {
        &self.info
    }

    pub fn core(&self) -> &Rc<Core> {
        &self.core
    }
}
