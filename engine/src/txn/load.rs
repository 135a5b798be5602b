//! A load: one transaction that writes rows. Lives on the coordinator, the session's core.
//!
//! Rows are cut by bucket, gathered per owner core and sent in messages of about a mebibyte, one in flight per core; the owners stage
//! them. `commit` has every owner finish staging, shares the write turns (R7), sets log space aside (R2), and hands over to `commit`,
//! which cannot fail. Until then dropping the load aborts it: owners forget what they staged.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use starling_storage::ids::{CoreId, Seq, TableId, TabletId, TxnId};
use starling_storage::log::{CommitRecord, TabletPart};
use starling_storage::rows::Rows;
use starling_storage::schema::Predicate;

use super::commit::{self, Ready};
use super::labels::{self, Label};
use super::{Mode, Turns, route};
use crate::catalog::Table;
use crate::error::{EngineError, Result};
use crate::limits::{LOAD_SEND_BYTES, LOAD_SEND_ROWS, ROUTE_ROWS, SHARE_EARLY_ROWS};
use crate::runtime::task::{Slice, within};
use crate::runtime::{ReplySlot, reply};
use crate::shard::Core;
use crate::shard::message::{Control, Request, StageReply, StageRequest, TurnsRequest};

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

impl LoadKind {
    pub(super) fn prefix(self) -> &'static str {
        match self {
            LoadKind::Insert => "insert_",
            LoadKind::Update => "update_",
            LoadKind::Delete => "delete_",
            LoadKind::StreamLoad => "",
            LoadKind::Internal => "internal_",
        }
    }
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
    core: Rc<Core>,
    txn: TxnId,
    label: Label,
    table: Arc<Table>,
    outboxes: BTreeMap<CoreId, Outbox>,
    rows: u64,
    begun: Instant,
    timeout: Duration,
    /// The commit has taken over; dropping aborts nothing.
    handed_over: bool,
}

/// Rows on their way to one owner.
#[derive(Default)]
struct Outbox {
    rows: BTreeMap<TabletId, Vec<Rows>>,
    count: usize,
    bytes: usize,
    delete_where: Vec<(TabletId, Vec<Predicate>)>,
    /// The message that is not yet answered.
    pending: Option<ReplySlot<Result<StageReply>>>,
}

impl Load {
    pub(crate) async fn open(core: &Rc<Core>, table: TableId, options: LoadOptions) -> Result<Load> {
        core.refuse_when_stopping()?;
        let catalog = core.catalog();
        let table = catalog.table_by_id(table).ok_or_else(|| EngineError::table_gone(format!("id {table}")))?;
        let (core, begun, timeout) = (core.clone(), Instant::now(), options.timeout);
        let txn = core.new_txn();
        let label = Label::new(&options, table)?;
        let table = table.clone();
        let mut load =
            Load { core, txn, label, table, outboxes: BTreeMap::new(), rows: 0, begun, timeout, handed_over: false };
        // From here on a drop tells the label's owner.
        labels::reserve(&load.core, load.txn, &mut load.label).await?;
        Ok(load)
    }

    pub fn label(&self) -> &str {
        &self.label.text
    }

    pub fn txn(&self) -> TxnId {
        self.txn
    }

    /// Rows pushed so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds rows in table column order: cut by bucket and sent to the owners. Waits when the owners are behind. Later rows win.
    pub async fn push(&mut self, rows: Rows) -> Result<()> {
        let table = self.table.clone();
        self.rows += rows.len() as u64;
        self.push_to(&table, rows).await
    }

    /// As `push`, into another table: the same transaction, the same record (R1).
    pub async fn push_to(&mut self, table: &Table, rows: Rows) -> Result<()> {
        let mut slice = Slice::start();
        for start in (0..rows.len()).step_by(ROUTE_ROWS) {
            let len = ROUTE_ROWS.min(rows.len() - start);
            let deletes = rows.deletes.as_ref().map(|bits| bits.slice(start, len));
            let piece = Rows { batch: rows.batch.slice(start, len), deletes };
            slice.yield_if_over().await;
            for (bucket, rows) in route::cut(table, piece, self.txn.0 + (start / ROUTE_ROWS) as u64)? {
                self.gather(table, bucket, rows);
            }
            slice.yield_if_over().await;
            self.send_full().await?;
        }
        Ok(())
    }

    /// Deletes the rows that match (tables without a primary key): every tablet takes the condition with it.
    pub fn delete_where(&mut self, predicates: &[Predicate]) {
        let table = self.table.clone();
        for (bucket, &tablet) in table.tablets.iter().enumerate() {
            let owner = table.owner(bucket as u32, self.core.cores());
            self.outboxes.entry(owner).or_default().delete_where.push((tablet, predicates.to_vec()));
        }
    }

    fn gather(&mut self, table: &Table, bucket: u32, rows: Rows) {
        let outbox = self.outboxes.entry(table.owner(bucket, self.core.cores())).or_default();
        let tablet = table.tablets[bucket as usize];
        outbox.count += rows.len();
        outbox.bytes += route::bytes_of(&rows);
        outbox.rows.entry(tablet).or_default().push(rows);
    }

    async fn send_full(&mut self) -> Result<()> {
        let full = |o: &Outbox| o.count >= LOAD_SEND_ROWS || o.bytes >= LOAD_SEND_BYTES;
        let owners: Vec<CoreId> = self.outboxes.iter().filter(|(_, o)| full(o)).map(|(core, _)| *core).collect();
        for owner in owners {
            self.send(owner, false, false).await?;
        }
        Ok(())
    }

    /// Sends what is gathered for a core, once its last message is answered.
    async fn send(&mut self, owner: CoreId, finish: bool, share: bool) -> Result<()> {
        let left = self.time_left()?;
        let Some(outbox) = self.outboxes.get_mut(&owner) else { return Ok(()) };
        if let Some(pending) = outbox.pending.take() {
            within(left, pending.recv())
                .await
                .ok_or_else(|| EngineError::load_timeout(self.timeout.as_secs()))???;
        }
        let (answer, slot) = reply();
        let rows = std::mem::take(&mut outbox.rows).into_iter().collect();
        let delete_where = std::mem::take(&mut outbox.delete_where);
        (outbox.count, outbox.bytes, outbox.pending) = (0, 0, Some(slot));
        let request = StageRequest { txn: self.txn, rows, delete_where, finish, share, reply: answer };
        self.core.mailbox(owner).request(Request::Stage(request)).await
    }

    /// Commits; answers when the rows are visible (or `visible: false`). An error means that nothing of it is there.
    /// `turns`: those of an UPDATE or DELETE; they are released with the number.
    pub async fn commit(mut self, turns: Option<Turns>) -> Result<Committed> {
        if let Some((table, row)) = labels::row(&self.core, self.txn, &self.label)? {
            self.push_to(&table, row).await?;
        }
        let participants: Vec<CoreId> = self.outboxes.keys().copied().collect();
        if participants.is_empty() {
            self.handed_over = true;
            return Ok(self.committed(self.core.watermark(), true));
        }
        let share = turns.is_none();
        let parts = self.finish_staging(&participants, share).await?;
        let record = CommitRecord { seq: Seq::ZERO, txn: self.txn, parts };
        // R2: space before the number, and nothing after it can fail.
        let space = self.core.log().reserve(record.encoded_len()).await?;
        let permit = self.core.commits().take().await;
        self.time_left()?;
        self.handed_over = true;
        let outcome = commit::start(&self.core, Ready { record, space, participants, ddl: None, turns, permit });
        self.await_outcome(outcome).await
    }

    /// Has every owner finish staging and shares the turns; gives the parts of the record.
    async fn finish_staging(&mut self, participants: &[CoreId], share: bool) -> Result<Vec<TabletPart>> {
        let early = share && self.rows <= SHARE_EARLY_ROWS as u64;
        for &owner in participants {
            self.send(owner, true, early).await?;
        }
        let (mut parts, mut shared) = (Vec::new(), true);
        for &owner in participants {
            let Some(slot) = self.outboxes.get_mut(&owner).and_then(|o| o.pending.take()) else { continue };
            let left = self.time_left()?;
            let timeout = self.timeout.as_secs();
            let staged = within(left, slot.recv()).await.ok_or_else(|| EngineError::load_timeout(timeout))???;
            shared &= staged.shared;
            parts.extend(staged.parts);
        }
        if share && !shared {
            self.share_in_order(participants, &parts).await?;
        }
        Ok(parts)
    }

    /// Somebody writes alone or waits to: gives back the shares it has and queues like everybody else, in (core, tablet) order (R7).
    async fn share_in_order(&mut self, participants: &[CoreId], parts: &[TabletPart]) -> Result<()> {
        for &owner in participants {
            self.core.control(owner, Control::ReleaseShares { txn: self.txn });
        }
        let mut tablets: Vec<TabletId> = parts.iter().map(|part| part.tablet).collect();
        tablets.sort_unstable();
        tablets.dedup();
        for (owner, tablets) in self.core.by_owner(&tablets)? {
            let (answer, slot) = reply();
            let request = TurnsRequest { txn: self.txn, tablets, mode: Mode::Shared, reply: answer };
            self.core.mailbox(owner).request(Request::Turns(request)).await?;
            let left = self.time_left()?;
            within(left, slot.recv()).await.ok_or_else(EngineError::lock_wait_timeout)???;
        }
        Ok(())
    }

    async fn await_outcome(mut self, outcome: commit::Outcome) -> Result<Committed> {
        let seq = outcome.durable.recv().await?;
        self.core.metrics().load_committed(self.rows, self.begun.elapsed());
        // It is committed; a client that waits too long is told so (Publish Timeout), never that it failed.
        let left = self.timeout.saturating_sub(self.begun.elapsed()).max(Duration::from_secs(1));
        let applied = match within(left, outcome.visible.recv()).await {
            Some(applied) => Some(applied?),
            None => None,
        };
        let mut committed = self.committed(seq, applied.is_some());
        committed.upserted = applied.map_or(0, |a| a.upserted);
        committed.deleted = applied.map_or(0, |a| a.deleted);
        Ok(committed)
    }

    fn committed(&mut self, seq: Seq, visible: bool) -> Committed {
        let label = std::mem::take(&mut self.label.text);
        Committed { txn: self.txn, seq, label, upserted: 0, deleted: 0, visible }
    }

    fn time_left(&self) -> Result<Duration> {
        let left = self.timeout.saturating_sub(self.begun.elapsed());
        if left.is_zero() { Err(EngineError::load_timeout(self.timeout.as_secs())) } else { Ok(left) }
    }

    /// Gives up; nothing of it is there.
    pub async fn abort(self) {}
}

impl Drop for Load {
    fn drop(&mut self) {
        if self.handed_over {
            return;
        }
        self.core.metrics().load_failed();
        // The slots go first: a stage request that is still on its way is recognised as abandoned.
        let mut owners: Vec<CoreId> = std::mem::take(&mut self.outboxes).into_keys().collect();
        owners.extend(self.label.reserved_at);
        owners.sort_unstable();
        owners.dedup();
        for owner in owners {
            self.core.control(owner, Control::Abort { txn: self.txn });
        }
    }
}
