//! Stage: rows of a transaction arrive at the owner of their tablets, before the number (R6). Small amounts are gathered; each tablet's
//! rows are sorted, probed and, when big, written and synced by `Tablet::stage`. What can fail, fails here (R2).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use starling_storage::ids::{TabletId, TxnId};
use starling_storage::log::TabletPart;
use starling_storage::rows::Rows;
use starling_storage::tablet::Staged;

use super::Core;
use super::message::{StageReply, StageRequest};
use crate::error::{EngineError, Result};
use crate::limits::{STAGE_BYTES, WRITE_MEMORY_WAIT};
use crate::runtime::Class;
use crate::runtime::task::within;
use crate::txn::{TurnGuard, bytes_of};

/// What this core has staged, by transaction.
#[derive(Default)]
pub(super) struct StageTable {
    by_txn: RefCell<HashMap<TxnId, Rc<StagedTxn>>>,
    bytes: Rc<Cell<usize>>,
}

/// A transaction's rows at one owner. Its messages come one at a time.
pub(super) struct StagedTxn {
    gathered: RefCell<BTreeMap<TabletId, Gathered>>,
    parts: RefCell<Vec<StagedPart>>,
    shares: RefCell<Vec<TurnGuard>>,
    bytes: Cell<usize>,
    all: Rc<Cell<usize>>,
}

#[derive(Default)]
struct Gathered {
    rows: Vec<Rows>,
    bytes: usize,
}

/// A part of the record, and the work done for it beforehand.
pub(super) struct StagedPart {
    pub part: TabletPart,
    pub staged: Option<Staged>,
}

impl Drop for StagedTxn {
    fn drop(&mut self) {
        self.all.set(self.all.get() - self.bytes.get());
    }
}

impl StagedTxn {
    fn charge(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes);
        self.all.set(self.all.get() + bytes);
    }

    fn discharge(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() - bytes);
        self.all.set(self.all.get() - bytes);
    }

    pub fn take_parts(&self) -> Vec<StagedPart> {
        self.parts.take()
    }

    pub fn hold(&self, shares: Vec<TurnGuard>) {
        self.shares.borrow_mut().extend(shares);
    }
}

impl StageTable {
    fn enter(&self, txn: TxnId) -> Rc<StagedTxn> {
        let new = || {
            Rc::new(StagedTxn {
                gathered: RefCell::default(),
                parts: RefCell::default(),
                shares: RefCell::default(),
                bytes: Cell::new(0),
                all: self.bytes.clone(),
            })
        };
        self.by_txn.borrow_mut().entry(txn).or_insert_with(new).clone()
    }

    pub fn get(&self, txn: TxnId) -> Option<Rc<StagedTxn>> {
        self.by_txn.borrow().get(&txn).cloned()
    }

    /// For publish: it is this core's no longer once applied. Dropping it gives its shares back.
    pub fn take(&self, txn: TxnId) -> Option<Rc<StagedTxn>> {
        self.by_txn.borrow_mut().remove(&txn)
    }

    pub fn release_shares(&self, txn: TxnId) {
        if let Some(staged) = self.get(txn) {
            drop(staged.shares.take());
        }
    }

    /// Bytes staged or gathered.
    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }

    pub fn len(&self) -> usize {
        self.by_txn.borrow().len()
    }
}

/// The load went away: its shares go at once, its files in the background. A stage that runs meanwhile gives up what it has made when it
/// is done.
pub(super) fn abort(core: &Rc<Core>, txn: TxnId) {
    if let Some(staged) = core.staged.take(txn) {
        give_up(core, &staged);
    }
}

/// Gives back what a transaction holds here that will not be committed.
fn give_up(core: &Rc<Core>, staged: &StagedTxn) {
    drop(staged.shares.take());
    let parts = staged.take_parts();
    if parts.is_empty() {
        return;
    }
    let own = core.clone();
    core.spawn(Class::Background, "discard", async move {
        for StagedPart { part, staged } in parts {
            let (Some(tablet), Some(staged)) = (own.tablet(part.tablet), staged) else { continue };
            if let Err(error) = tablet.discard(staged).await {
                tracing::warn!(core = own.id().0, tablet = part.tablet.0, %error, "staged files are left for the next start");
            }
        }
    });
}

pub(super) async fn handle(core: &Rc<Core>, mut request: StageRequest) {
    // The load is gone; its Abort, on a faster lane, may have been here already.
    if request.reply.is_abandoned() {
        return;
    }
    let staged = core.staged.enter(request.txn);
    let result = stage(core, &staged, &mut request).await;
    if !core.staged.get(request.txn).is_some_and(|known| Rc::ptr_eq(&known, &staged)) {
        // Aborted while it was staged: nobody else knows of the files and shares that were added since.
        give_up(core, &staged);
    }
    request.reply.send(result);
}

async fn stage(core: &Rc<Core>, txn: &StagedTxn, request: &mut StageRequest) -> Result<StageReply> {
    wait_for_memory(core).await?;
    for (tablet, rows) in std::mem::take(&mut request.rows) {
        // Slices share their buffers: only what a slice shows is counted.
        let bytes = rows.iter().map(bytes_of).sum();
        txn.charge(bytes);
        let mut gathered = txn.gathered.borrow_mut();
        let of_tablet = gathered.entry(tablet).or_default();
        of_tablet.rows.extend(rows);
        of_tablet.bytes += bytes;
    }
    let due = |g: &Gathered| request.finish || g.bytes >= STAGE_BYTES;
    let due: Vec<TabletId> = txn.gathered.borrow().iter().filter(|(_, g)| due(g)).map(|(id, _)| *id).collect();
    for id in due {
        let Some(gathered) = txn.gathered.borrow_mut().remove(&id) else { continue };
        let tablet = core.tablets.live(id)?;
        let staged = tablet.stage_all(gathered.rows).await?;
        // What went to files is not memory any more: a load of any size passes.
        txn.discharge(gathered.bytes);
        txn.charge(staged.iter().map(Staged::memory_bytes).sum());
        let part = |staged: Staged| StagedPart { part: tablet.part(&staged), staged: Some(staged) };
        txn.parts.borrow_mut().extend(staged.into_iter().map(part));
    }
    if !request.finish {
        return Ok(StageReply::default());
    }
    for (id, predicates) in std::mem::take(&mut request.delete_where) {
        let tablet = core.tablets.live(id)?;
        let staged = tablet.stage_delete(predicates)?;
        txn.parts.borrow_mut().push(StagedPart { part: tablet.part(&staged), staged: Some(staged) });
    }
    let parts: Vec<TabletPart> = txn.parts.borrow().iter().map(|staged| staged.part.clone()).collect();
    let shared = request.share && share_all(core, txn, &parts);
    Ok(StageReply { parts, shared })
}

/// The shares of all tablets if all are free, else none.
fn share_all(core: &Core, txn: &StagedTxn, parts: &[TabletPart]) -> bool {
    let mut tablets: Vec<TabletId> = parts.iter().map(|part| part.tablet).collect();
    tablets.sort_unstable();
    tablets.dedup();
    // A tablet that was dropped meanwhile is found out in the queue, with an error.
    let share = |id| core.tablets.live(id).ok().and_then(|_| core.turns.try_share(id));
    let shares: Option<Vec<TurnGuard>> = tablets.into_iter().map(share).collect();
    let granted = shares.is_some();
    txn.hold(shares.unwrap_or_default());
    granted
}

/// Waits while memtables and staged rows are over their budget; flushes are asked for meanwhile. Error: they stay over it.
async fn wait_for_memory(core: &Rc<Core>) -> Result<()> {
    let over = || core.write_memory() > core.budgets().write;
    if !over() {
        return Ok(());
    }
    let wait = async {
        while over() {
            core.kick.notify();
            glommio::timer::sleep(Duration::from_millis(5)).await;
        }
    };
    if within(WRITE_MEMORY_WAIT, wait).await.is_some() {
        return Ok(());
    }
    core.metrics().load_refused_for_memory();
    Err(EngineError::memory_limit(format!("loads on core {}", core.id()), core.write_memory(), core.budgets().write))
}

impl Core {
    /// Bytes of memtables and of staged rows.
    pub fn write_memory(&self) -> usize {
        self.tablets.write_memory() + self.staged.bytes()
    }
}
