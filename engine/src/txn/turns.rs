//! Write turns (R7). Every tablet's owner keeps a queue of those who want to write: an UPDATE or DELETE alone, loads together.
//!
//! - `TurnTable` is the owner's side: FIFO per tablet; it remembers the greatest number issued under an exclusive turn that was released.
//! - `Turns` is the coordinator's side: exclusive turns of some tablets, taken core by core and within a core in tablet order, so
//!   that no two can wait for each other. Dropping it gives them back.
//!
//! A load holds its share until its rows are applied. That is longer than R7 asks for (only while it asks for its number) and waits for no
//! turn itself, so it cannot deadlock; and whoever gets the exclusive turn would wait for that apply anyway. Applied on one core is not yet visible:
//! the turn is granted together with the newest number that wrote the tablets, and nobody reads under it before W has passed that.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use starling_storage::ids::{CoreId, Seq, TabletId, TxnId};

use crate::error::{EngineError, Result};
use crate::runtime::event::Event;
use crate::runtime::reply;
use crate::runtime::task::within;
use crate::shard::Core;
use crate::shard::message::{Control, Request, TurnsRequest};

/// How a turn is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Shared,
    Exclusive,
}

/// The turns of a core's tablets.
#[derive(Default)]
pub struct TurnTable {
    turns: RefCell<HashMap<TabletId, Turn>>,
    next_ticket: Cell<u64>,
    changed: Event,
}

#[derive(Default)]
struct Turn {
    shared: u32,
    exclusive: bool,
    queue: VecDeque<(u64, Mode)>,
    /// The greatest number issued under an exclusive turn.
    issued: Seq,
}

impl Turn {
    fn allows(&self, mode: Mode) -> bool {
        !self.exclusive && (mode == Mode::Shared || self.shared == 0)
    }

    fn grant(&mut self, mode: Mode) {
        match mode {
            Mode::Shared => self.shared += 1,
            Mode::Exclusive => self.exclusive = true,
        }
    }
}

/// A held turn of one tablet.
#[must_use]
pub struct TurnGuard {
    table: Rc<TurnTable>,
    tablet: TabletId,
    mode: Mode,
}

impl TurnGuard {
    /// R7: a release carries the number issued.
    pub fn issued(&self, seq: Seq) {
        if let Some(turn) = self.table.turns.borrow_mut().get_mut(&self.tablet) {
            turn.issued = turn.issued.max(seq);
        }
    }
}

impl Drop for TurnGuard {
    fn drop(&mut self) {
        if let Some(turn) = self.table.turns.borrow_mut().get_mut(&self.tablet) {
            match self.mode {
                Mode::Shared => turn.shared -= 1,
                Mode::Exclusive => turn.exclusive = false,
            }
        }
        self.table.changed.notify();
    }
}

/// A place in the queue; leaves it when dropped.
struct Queued<'a> {
    table: &'a TurnTable,
    tablet: TabletId,
    ticket: u64,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        if let Some(turn) = self.table.turns.borrow_mut().get_mut(&self.tablet) {
            turn.queue.retain(|(ticket, _)| *ticket != self.ticket);
        }
        self.table.changed.notify();
    }
}

impl TurnTable {
    pub fn new() -> Rc<TurnTable> {
        Rc::new(TurnTable::default())
    }

    /// A share, if nobody holds or waits for the exclusive turn.
    pub fn try_share(self: &Rc<Self>, tablet: TabletId) -> Option<TurnGuard> {
        let mut turns = self.turns.borrow_mut();
        let turn = turns.entry(tablet).or_default();
        if !turn.queue.is_empty() || !turn.allows(Mode::Shared) {
            return None;
        }
        turn.grant(Mode::Shared);
        drop(turns);
        Some(TurnGuard { table: self.clone(), tablet, mode: Mode::Shared })
    }

    /// Waits for a turn, first come first served. Dropping the future leaves the queue.
    pub async fn acquire(self: &Rc<Self>, tablet: TabletId, mode: Mode) -> TurnGuard {
        let ticket = self.next_ticket.get();
        self.next_ticket.set(ticket + 1);
        self.turns.borrow_mut().entry(tablet).or_default().queue.push_back((ticket, mode));
        let queued = Queued { table: self, tablet, ticket };
        let guard = self.changed.until(|| self.try_front(tablet, ticket, mode)).await;
        drop(queued);
        guard
    }

    fn try_front(self: &Rc<Self>, tablet: TabletId, ticket: u64, mode: Mode) -> Option<TurnGuard> {
        let mut turns = self.turns.borrow_mut();
        let turn = turns.get_mut(&tablet)?;
        if turn.queue.front().map(|(first, _)| *first) != Some(ticket) || !turn.allows(mode) {
            return None;
        }
        turn.grant(mode);
        Some(TurnGuard { table: self.clone(), tablet, mode })
    }

    /// The greatest number issued under an exclusive turn of these tablets.
    pub fn issued(&self, tablets: &[TabletId]) -> Seq {
        let turns = self.turns.borrow();
        tablets.iter().filter_map(|tablet| turns.get(tablet)).map(|turn| turn.issued).max().unwrap_or(Seq::ZERO)
    }

    /// A tablet is gone; nobody can hold its turn any more.
    pub fn forget(&self, tablet: TabletId) {
        let mut turns = self.turns.borrow_mut();
        if turns.get(&tablet).is_some_and(|turn| turn.queue.is_empty() && turn.allows(Mode::Exclusive)) {
            turns.remove(&tablet);
        }
    }
}

/// Exclusive write turns of some tablets. Released on drop, or by the commit that takes them.
pub struct Turns {
    core: Rc<Core>,
    txn: TxnId,
    /// The cores asked so far, in order.
    asked: Vec<CoreId>,
    tablets: Vec<TabletId>,
}

impl Turns {
    /// Takes the turns core by core; then waits until every number issued there, and every one that wrote there, is visible (R7).
    pub(crate) async fn take(core: &Rc<Core>, tablets: &[TabletId], wait: Duration) -> Result<Turns> {
        let deadline = Instant::now() + wait;
        let mut turns = Turns { core: core.clone(), txn: core.new_txn(), asked: Vec::new(), tablets: tablets.to_vec() };
        let mut issued = Seq::ZERO;
        for (owner, tablets) in core.by_owner(tablets)? {
            let (answer, slot) = reply();
            turns.asked.push(owner);
            let request = TurnsRequest { txn: turns.txn, tablets, mode: Mode::Exclusive, reply: answer };
            core.mailbox(owner).request(Request::Turns(request)).await?;
            let left = deadline.saturating_duration_since(Instant::now());
            // On a timeout `turns` drops: every core asked is told, whether it has granted or not.
            let granted = within(left, slot.recv()).await.ok_or_else(EngineError::lock_wait_timeout)???;
            issued = issued.max(granted);
        }
        core.await_visible(issued).await?;
        Ok(turns)
    }

    /// The tablets whose turns these are.
    pub fn tablets(&self) -> &[TabletId] {
        &self.tablets
    }

    /// R7: released with the number that was issued, on the cores that take part in it.
    pub(crate) fn release(mut self, seq: Seq, participants: &[CoreId]) {
        for core in std::mem::take(&mut self.asked) {
            let issued = participants.contains(&core).then_some(seq);
            self.core.control(core, Control::ReleaseTurns { txn: self.txn, issued });
        }
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        for core in std::mem::take(&mut self.asked) {
            self.core.control(core, Control::ReleaseTurns { txn: self.txn, issued: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    const T: TabletId = TabletId(1);

    #[test]
    fn exclusive_waits_for_shares_and_later_shares_wait_behind_it() {
        let table = TurnTable::new();
        let (a, b) = (table.try_share(T).unwrap(), table.try_share(T).unwrap());
        let mut update = Box::pin(table.acquire(T, Mode::Exclusive));
        assert!(update.as_mut().now_or_never().is_none());
        assert!(table.try_share(T).is_none(), "a share must not overtake the one who waits");
        let mut load = Box::pin(table.acquire(T, Mode::Shared));
        assert!(load.as_mut().now_or_never().is_none());
        drop(a);
        assert!(update.as_mut().now_or_never().is_none());
        drop(b);
        let held = update.as_mut().now_or_never().unwrap();
        assert!(load.as_mut().now_or_never().is_none());
        held.issued(Seq(7));
        drop(held);
        drop(load.as_mut().now_or_never().unwrap());
        assert_eq!(table.issued(&[T]), Seq(7));
    }

    #[test]
    fn leaving_the_queue_lets_the_next_one_in() {
        let table = TurnTable::new();
        let share = table.try_share(T).unwrap();
        let mut gives_up = Box::pin(table.acquire(T, Mode::Exclusive));
        let mut next = Box::pin(table.acquire(T, Mode::Shared));
        assert!(gives_up.as_mut().now_or_never().is_none() && next.as_mut().now_or_never().is_none());
        drop(gives_up);
        drop(next.as_mut().now_or_never().unwrap());
        drop(share);
        table.forget(T);
        assert!(table.turns.borrow().is_empty());
    }
}
