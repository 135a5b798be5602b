//! What one core asks another to do for a query. `Send`: ids, frozen buffers, channel ends and reply slots.

use arrow::array::RecordBatch;
use futures::FutureExt;
use starling_storage::ids::{Seq, TabletId};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;

use super::fragment::{self, FragmentWork};
use super::site::SiteRef;
use crate::error::{EngineError, Result};
use crate::runtime::task::panic_text;
use crate::runtime::{Class, Reply};
use crate::shard::Core;

/// A message of the query lane. The name is its main use: to start a fragment.
pub struct FragmentRequest(pub(super) Work);

pub(super) enum Work {
    Fragment(Box<FragmentWork>),
    Get(GetRequest),
    Count(Reply<Vec<(TabletId, u64)>>),
}

/// Rows by primary key.
pub(super) struct GetRequest {
    pub at: Seq,
    /// The key columns, by tablet.
    pub keys: Vec<(TabletId, RecordBatch)>,
    pub columns: Arc<[usize]>,
    /// Per tablet the rows found, and for each of them the index of its key.
    pub reply: Reply<Result<Vec<(RecordBatch, Vec<u32>)>>>,
}

/// Does what another core asks for. Called by the core's pump; it does not wait.
pub fn start(core: &Rc<Core>, request: FragmentRequest) {
    match request.0 {
        Work::Fragment(work) => {
            let site: SiteRef = core.clone();
            fragment::start(&site, *work);
        }
        Work::Get(request) => {
            let here = core.clone();
            core.spawn(Class::Control, "point read", async move {
                let GetRequest { at, keys, columns, reply } = request;
                let found = AssertUnwindSafe(get(&here, at, &keys, &columns)).catch_unwind().await;
                reply.send(found.unwrap_or_else(|panic| Err(EngineError::internal(panic_text(&*panic)))));
            });
        }
        Work::Count(reply) => reply.send(super::counts::here(core)),
    }
}

/// Reads from tablets of this core.
pub(super) async fn get(
    core: &Rc<Core>,
    at: Seq,
    keys: &[(TabletId, RecordBatch)],
    columns: &[usize],
) -> Result<Vec<(RecordBatch, Vec<u32>)>> {
    let mut found = Vec::with_capacity(keys.len());
    for (tablet, keys) in keys {
        let tablet = core.find_tablet(*tablet)?;
        found.push(tablet.get(at, keys, columns).await?);
    }
    Ok(found)
}
