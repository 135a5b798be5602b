//! From the number to the answer. Everything that can fail is behind us (R2): what is left waits only for the device and for
//! predecessors. It runs as a task of its own, so that a client that goes away leaves no number unfinished, and an error or a
//! panic here ends the process.

use std::rc::Rc;
use std::sync::Arc;

use starling_storage::ids::{CoreId, Seq};
use starling_storage::log::{CommitRecord, Reservation};

use super::{Numbered, Turns};
use crate::catalog::CatalogEdit;
use crate::error::Result;
use crate::runtime::event::Permit;
use crate::runtime::fatal::fatal;
use crate::runtime::{Class, Reply, ReplySlot, reply};
use crate::shard::Core;
use crate::shard::message::{Applied, Control, Publish};

/// A transaction that has everything but its number.
pub(super) struct Ready {
    /// The number is filled in here.
    pub record: CommitRecord,
    pub space: Reservation,
    /// The cores whose tablets it names, ascending.
    pub participants: Vec<CoreId>,
    pub ddl: Option<Arc<CatalogEdit>>,
    /// Released with the number (R7). DDL keeps its turns elsewhere, until it is visible.
    pub turns: Option<Turns>,
    pub permit: Permit,
}

/// The two moments a client may wait for.
pub(super) struct Outcome {
    /// The number, once the record is durable: the transaction will be there, whatever happens.
    pub durable: ReplySlot<Seq>,
    /// Visible: W has passed it.
    pub visible: ReplySlot<Applied>,
}

/// Commits. What is returned may be dropped; the commit goes on.
pub(super) fn start(core: &Rc<Core>, ready: Ready) -> Outcome {
    let ((durable, durable_slot), (visible, visible_slot)) = (reply(), reply());
    let task = finish(core.clone(), ready, durable, visible);
    core.spawn_vital(Class::Publish, "commit", task);
    Outcome { durable: durable_slot, visible: visible_slot }
}

async fn finish(core: Rc<Core>, mut ready: Ready, durable: Reply<Seq>, visible: Reply<Applied>) {
    let Ok(numbered) = number(&core, &ready.participants).await else {
        // The sequencer is gone: this process stops, and the record was never written.
        return;
    };
    let seq = numbered.seq;
    ready.record.seq = seq;
    let ticket = core.log().append(&ready.record, ready.space);
    if let Some(turns) = ready.turns {
        turns.release(seq, &ready.participants);
    }
    if let Err(error) = ticket.durable().await {
        fatal(format!("the log of core {} failed with number {seq} issued: {error}", core.id()));
    }
    // R4: Publish is sent after the record's fdatasync.
    let answers = publish(&core, &numbered, &ready.record, ready.ddl.as_ref());
    durable.send(seq);
    let mut applied = Applied::default();
    for answer in answers {
        let Ok(part) = answer.recv().await else { return };
        applied.upserted += part.upserted;
        applied.deleted += part.deleted;
    }
    let (answer, slot) = reply();
    core.control(CoreId(0), Control::Applied { seq, reply: answer });
    // R5: answered when W >= seq.
    if slot.recv().await.is_ok() {
        visible.send(applied);
    }
    drop(ready.permit);
}

async fn number(core: &Rc<Core>, participants: &[CoreId]) -> Result<Numbered> {
    let (answer, slot) = reply();
    core.control(CoreId(0), Control::Number { participants: participants.to_vec(), reply: answer });
    slot.recv().await
}

fn publish(
    core: &Rc<Core>,
    numbered: &Numbered,
    record: &CommitRecord,
    ddl: Option<&Arc<CatalogEdit>>,
) -> Vec<ReplySlot<Applied>> {
    let one = |&(owner, prev): &(CoreId, Seq)| {
        let (answer, slot) = reply();
        let publish = Publish { seq: numbered.seq, prev, txn: record.txn, ddl: ddl.cloned(), reply: answer };
        core.control(owner, Control::Publish(publish));
        slot
    };
    numbered.prev.iter().map(one).collect()
}
