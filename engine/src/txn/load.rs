//! A load: one transaction that writes rows. Lives on the coordinator, the session's core.

use std::time::Duration;

use starling_storage::ids::{Seq, TxnId};
use starling_storage::rows::Rows;

use super::Turns;
use crate::error::{EngineError, Result};

/// What makes a load; names the label that is generated when the user gives none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadKind {
    Insert,
    Update,
    Delete,
    StreamLoad,
    /// The server's own.
    Internal,
}

/// How to load.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The user's label; `None`: one is generated and not kept (R9).
    pub label: Option<String>,
    pub kind: LoadKind,
    /// From begin to answer. After it a commit that is durable but not visible answers `visible: false` (Publish Timeout).
    pub timeout: Duration,
}

/// What a commit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub txn: TxnId,
    pub seq: Seq,
    pub label: String,
    /// Rows written (primary key: keys upserted; duplicate: rows appended).
    pub upserted: u64,
    /// Rows deleted that were there.
    pub deleted: u64,
    /// False: safe in the log, but not visible before the timeout (Publish Timeout).
    pub visible: bool,
}

/// A transaction that writes rows. Dropping it aborts it.
pub struct Load {
    txn: TxnId,
    label: String,
}

impl Load {
    pub fn label(&self) -> &str {
        &self.label
    }

    pub fn txn(&self) -> TxnId {
        self.txn
    }

    /// Adds rows in table column order: cut by bucket and sent to the owners. Waits when the owners are behind. Later rows win.
    pub async fn push(&mut self, _rows: Rows) -> Result<()> {
        Err(EngineError::unsupported("loads"))
    }

    /// Commits; answers when the rows are visible (or `visible: false`). An error means that nothing of it is there.
    /// `turns`: those of an UPDATE or DELETE; they are released with the number.
    pub async fn commit(self, _turns: Option<Turns>) -> Result<Committed> {
        Err(EngineError::unsupported("loads"))
    }

    /// Gives up; nothing of it is there.
    pub async fn abort(self) {}
}
