//! Publish: a durable transaction is applied, in the order of R4, one at a time. No I/O (R6). An error here ends the process: the record is
//! durable, so the only way on is to replay it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use starling_storage::ids::Seq;
use starling_storage::tablet::Tablet;

use super::Core;
use super::message::{Applied, Publish};
use crate::catalog::{CatalogEdit, HIDDEN_DATABASE};
use crate::runtime::event::Event;
use crate::runtime::fatal::fatal;

/// What waits to be applied on this core.
pub(super) struct Applier {
    /// By the number that must be applied before.
    pending: RefCell<HashMap<Seq, Publish>>,
    applied: Cell<Seq>,
    changed: Event,
}

impl Applier {
    /// Everything up to `cut` is applied.
    pub fn new(cut: Seq) -> Applier {
        Applier { pending: RefCell::default(), applied: Cell::new(cut), changed: Event::new() }
    }

    pub fn submit(&self, publish: Publish) {
        self.pending.borrow_mut().insert(publish.prev, publish);
        self.changed.notify();
    }

    /// Waits until this core has applied `seq`, which was issued for it.
    pub async fn through(&self, seq: Seq) {
        self.changed.until(|| (self.applied.get() >= seq).then_some(())).await;
    }

    async fn next(&self) -> Publish {
        self.changed.until(|| self.pending.borrow_mut().remove(&self.applied.get())).await
    }

    fn done(&self, seq: Seq) {
        self.applied.set(seq);
        self.changed.notify();
    }
}

/// The one task that applies.
pub(super) async fn run(core: Rc<Core>) {
    loop {
        let publish = core.applier.next().await;
        let (seq, txn) = (publish.seq, publish.txn);
        let applied = match &publish.ddl {
            Some(edit) => apply_ddl(&core, seq, edit),
            None => apply(&core, &publish).await,
        };
        core.applier.done(seq);
        core.labels().release(txn);
        core.metrics().applied();
        publish.reply.send(applied);
        // Hundreds of small ones may be waiting (P7).
        core.disk.yield_now().await;
    }
}

async fn apply(core: &Rc<Core>, publish: &Publish) -> Applied {
    let seq = publish.seq;
    let Some(staged) = core.staged.take(publish.txn) else {
        fatal(format!("number {seq}: nothing is staged on core {} for transaction {}", core.id(), publish.txn))
    };
    let mut applied = Applied::default();
    for work in staged.take_parts() {
        // R10: a tablet that was dropped in the meantime is passed over, as replay does.
        let Ok(tablet) = core.tablets.live(work.part.tablet) else { continue };
        match tablet.apply(seq, &work.part, work.staged).await {
            Ok(done) if !is_hidden(core, work.part.tablet) => {
                applied.upserted += done.upserted;
                applied.deleted += done.deleted;
            }
            Ok(_) => {}
            Err(error) => fatal(format!("number {seq} cannot be applied to tablet {}: {error}", work.part.tablet)),
        }
    }
    // The shares of its turns go here (R7).
    drop(staged);
    applied
}

fn is_hidden(core: &Core, tablet: starling_storage::ids::TabletId) -> bool {
    core.catalog.borrow().tablet(tablet).is_some_and(|(table, _)| table.db_name == HIDDEN_DATABASE)
}

/// Applies a change of the catalog: this core's copy, and the tablets it owns (R10).
fn apply_ddl(core: &Rc<Core>, seq: Seq, edit: &CatalogEdit) -> Applied {
    let old = core.catalog();
    let new = old.apply(seq, edit);
    for dropped in old.dropped_by(edit) {
        core.tablets.mark_dropped(dropped, seq);
    }
    for id in new.tablet_ids() {
        if let (None, Some((table, bucket))) = (core.tablet(id), new.tablet(id))
            && table.owner(bucket, core.cores()) == core.id()
        {
            core.tablets.insert(id, Tablet::create(id, table.schema.clone(), core.tablet_env()));
        }
    }
    core.catalog.replace(new.into());
    core.kick.notify();
    Applied::default()
}
