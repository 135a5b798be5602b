//! What crosses between cores. Everything is `Send`: ids, frozen buffers and reply slots, never references.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use starling_storage::ids::{CoreId, Seq, TabletId, TxnId};
use starling_storage::log::TabletPart;
use starling_storage::rows::Rows;
use starling_storage::schema::Predicate;

use super::Core;
use super::sessions::ProcessInfo;
use crate::catalog::{Catalog, CatalogEdit, CatalogOp};
use crate::error::Result;
use crate::exec::FragmentRequest;
use crate::metrics::CoreReport;
use crate::runtime::Reply;
use crate::txn::{Mode, Numbered};

/// From tasks that may wait (sessions, loads, queries). If the sender goes away, what a request has made goes with `Control::Abort`.
pub enum Request {
    /// load -> owner
    Stage(StageRequest),
    /// load, update -> owner
    Turns(TurnsRequest),
    /// load -> owner of the label
    Label(LabelRequest),
    /// session -> core 0
    Ddl { op: CatalogOp, reply: Reply<Result<Arc<Catalog>>> },
}

/// Of a running query.
pub enum Query {
    /// Start a fragment here. `exec` answers it.
    Fragment(FragmentRequest),
}

/// Served first, never waits; bounded by what can be in flight.
pub enum Control {
    /// coordinator -> sequencer
    Number { participants: Vec<CoreId>, reply: Reply<Numbered> },
    /// coordinator -> owner, after the record is durable (R4)
    Publish(Publish),
    /// coordinator -> sequencer: applied on all its cores. The reply comes when W >= seq.
    Applied { seq: Seq, reply: Reply<()> },
    /// anyone -> sequencer: answer when W >= seq
    AwaitVisible { seq: Seq, reply: Reply<()> },
    /// load -> owner: forget what is staged and held for this transaction. Idempotent.
    Abort { txn: TxnId },
    /// load -> owner: give the shares back, keep what is staged. Idempotent.
    ReleaseShares { txn: TxnId },
    /// coordinator -> owner: give exclusive turns back, with the number issued, or stop waiting for them. Idempotent.
    ReleaseTurns { txn: TxnId, issued: Option<Seq> },
    /// session -> owner: the newest commit that changed one of these tablets, as far as it is applied
    LastWritten { tablets: Vec<TabletId>, reply: Reply<Seq> },
    /// session -> owner of the connection
    Kill { id: u32, query_only: bool, reply: Reply<bool> },
    /// SHOW PROCESSLIST
    ProcessList { reply: Reply<Vec<ProcessInfo>> },
    /// /metrics
    Report { reply: Reply<CoreReport> },
    /// background of another core: how far are your tablets flushed (R15)?
    FlushedThrough { reply: Reply<FlushedThrough> },
    /// background of another core: these hold a log back; flush them.
    Flush { tablets: Vec<(TabletId, Seq)> },
    /// background of another core: its loads wait for memory that old snapshots keep (R11).
    ExpirePins { age: Duration },
    /// Run this on the core: how the outside (`Node`) reaches in.
    Run(Box<dyn FnOnce(&Rc<Core>) + Send>),
}

/// Rows of one transaction for tablets of one core. One in flight per transaction and core, so that order is kept.
pub struct StageRequest {
    pub txn: TxnId,
    pub rows: Vec<(TabletId, Vec<Rows>)>,
    /// Rows of tables without a primary key to delete, by condition.
    pub delete_where: Vec<(TabletId, Vec<Predicate>)>,
    /// These are the last: answer with the parts of the record.
    pub finish: bool,
    /// Share the turns of all tablets of this transaction, if they are free (with `finish` only).
    pub share: bool,
    pub reply: Reply<Result<StageReply>>,
}

/// What an owner has staged.
#[derive(Default)]
pub struct StageReply {
    /// For the record; empty unless `finish`.
    pub parts: Vec<TabletPart>,
    /// The turns are shared. All or none.
    pub shared: bool,
}

/// Turns of some tablets of one core, in tablet order.
pub struct TurnsRequest {
    pub txn: TxnId,
    pub tablets: Vec<TabletId>,
    pub mode: Mode,
    /// The number that must be visible before anyone reads under these turns.
    pub reply: Reply<Result<Seq>>,
}

/// Reserve a label (R9).
pub struct LabelRequest {
    pub txn: TxnId,
    pub tablet: TabletId,
    pub key: LabelKey,
    pub reply: Reply<Result<()>>,
}

/// A label belongs to a database.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LabelKey {
    pub db: i64,
    pub label: String,
}

/// Apply what is staged for `txn`, or a change of the catalog, as number `seq`.
pub struct Publish {
    pub seq: Seq,
    /// Apply that one first (R4).
    pub prev: Seq,
    pub txn: TxnId,
    /// The change of the catalog, where this is DDL.
    pub ddl: Option<Arc<CatalogEdit>>,
    pub reply: Reply<Applied>,
}

/// What an apply did on one core, hidden tables left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    pub upserted: u64,
    pub deleted: u64,
}

/// F of every tablet of a core (R15).
pub struct FlushedThrough {
    pub tablets: Vec<(TabletId, Seq)>,
    /// The greatest F ever written by the core: a durable mark.
    pub mark: Seq,
}

const _: () = assert!(size_of::<Control>() <= 96, "control messages stay small");
