//! DDL takes a number (R10). Core 0 runs one change at a time: check, take the exclusive turns of what goes away, log, apply on every core.
//!
//! The turns are kept until the change is visible, so a load into a tablet that is dropped either has its number before the drop or is
//! told that the table is gone.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use starling_storage::ids::{CoreId, Seq, TabletId};
use starling_storage::log::{CommitRecord, PartBody, TabletPart};

use super::commit::{self, Ready};
use crate::catalog::{Catalog, CatalogEdit, CatalogOp};
use crate::error::Result;
use crate::limits::LOCK_WAIT_TIMEOUT;
use crate::runtime::fatal::fatal;
use crate::shard::Core;

/// Runs a change on core 0. It is visible on all cores when this returns.
pub(crate) async fn run(core: &Rc<Core>, op: &CatalogOp) -> Result<Arc<Catalog>> {
    let _one_at_a_time = core.ddl_turn().take().await;
    let catalog = core.catalog();
    let Some(edit) = catalog.resolve(op, core.cores(), crate::runtime::clock::unix_seconds())? else {
        return Ok(catalog);
    };
    let dropped = catalog.dropped_by(&edit);
    let turns = if dropped.is_empty() { None } else { Some(core.turns(&dropped, LOCK_WAIT_TIMEOUT).await?) };
    let bytes = Bytes::from(edit.to_bytes());
    let seq = log_and_apply(core, Arc::new(edit), bytes.clone()).await?;
    drop(turns);
    remember(core, seq, bytes).await;
    Ok(core.catalog())
}

async fn log_and_apply(core: &Rc<Core>, edit: Arc<CatalogEdit>, bytes: Bytes) -> Result<Seq> {
    let part = TabletPart { tablet: TabletId::CATALOG, schema_version: 0, body: PartBody::Ddl(bytes) };
    let record = CommitRecord { seq: Seq::ZERO, txn: core.new_txn(), parts: vec![part] };
    let space = core.log().reserve(record.encoded_len()).await?;
    let permit = core.commits().take().await;
    let participants = (0..core.cores()).map(CoreId).collect();
    let outcome = commit::start(core, Ready { record, space, participants, ddl: Some(edit), turns: None, permit });
    let seq = outcome.durable.recv().await?;
    outcome.visible.recv().await?;
    Ok(seq)
}

/// The change is visible: its home is the catalog log now, and the commit log may let go of it (R15).
async fn remember(core: &Rc<Core>, seq: Seq, bytes: Bytes) {
    let Some(log) = core.catalog_log() else { return };
    let mut result = log.append(seq, bytes).await;
    if result.is_ok() && log.checkpoint_due() {
        let catalog = core.catalog();
        result = log.checkpoint(catalog.version(), Bytes::from(catalog.to_bytes())).await;
    }
    if let Err(error) = result {
        fatal(format!("the catalog log failed: {error}"));
    }
}
