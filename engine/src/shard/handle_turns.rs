//! Turns: an UPDATE or DELETE wants to write alone, or a load that found somebody in its way queues (R7). Waits in the queue of each tablet,
//! in tablet order. Whoever stops waiting says so by a release, which may arrive before the turn does.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use starling_storage::ids::{Seq, TxnId};

use super::Core;
use super::message::TurnsRequest;
use crate::txn::{Mode, TurnGuard};

/// Exclusive turns granted or waited for, by transaction.
#[derive(Default)]
pub(super) struct HeldTurns {
    by_txn: RefCell<HashMap<TxnId, Vec<TurnGuard>>>,
}

impl HeldTurns {
    /// Gives the turns of a transaction back, or makes it stop waiting.
    pub fn release(&self, txn: TxnId, issued: Option<Seq>) {
        let Some(guards) = self.by_txn.borrow_mut().remove(&txn) else { return };
        if let Some(seq) = issued {
            guards.iter().for_each(|guard| guard.issued(seq));
        }
    }

    fn enter(&self, txn: TxnId) {
        self.by_txn.borrow_mut().entry(txn).or_default();
    }

    /// False: it stopped waiting meanwhile.
    fn hold(&self, txn: TxnId, guard: TurnGuard) -> bool {
        match self.by_txn.borrow_mut().get_mut(&txn) {
            Some(guards) => {
                guards.push(guard);
                true
            }
            None => false,
        }
    }

    fn take(&self, txn: TxnId) -> Vec<TurnGuard> {
        self.by_txn.borrow_mut().remove(&txn).unwrap_or_default()
    }
}

pub(super) async fn handle(core: &Rc<Core>, request: TurnsRequest) {
    let TurnsRequest { txn, tablets, mode, reply } = request;
    // The requester is gone; its release, on a faster lane, may have been here already.
    if reply.is_abandoned() {
        return;
    }
    core.held_turns.enter(txn);
    for &tablet in &tablets {
        let guard = core.turns.acquire(tablet, mode).await;
        if !core.held_turns.hold(txn, guard) {
            return;
        }
        if let Err(error) = core.tablets.live(tablet) {
            drop(core.held_turns.take(txn));
            return reply.send(Err(error));
        }
    }
    match mode {
        Mode::Shared => share(core, txn),
        // R7: every number issued there is applied here before anyone reads.
        Mode::Exclusive => core.applier.through(core.turns.issued(&tablets)).await,
    }
    // A load gives its shares back when its rows are applied here; other cores may be behind, and W with them. Who reads at W must not miss it.
    let written = core.tablets.last_written(&tablets);
    reply.send(Ok(core.turns.issued(&tablets).max(written)));
}

/// The shares of a load stay with what it has staged, until that is applied or aborted.
fn share(core: &Core, txn: TxnId) {
    let guards = core.held_turns.take(txn);
    if let Some(staged) = core.staged.get(txn) {
        staged.hold(guards);
    }
}
