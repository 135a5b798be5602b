//! Execution of distributed plans: fragments on cores, exchanges between them, rows back to the session.
//!
//! | file | part |
//! |---|---|
//! | `query` | `QueryHandle`, and what the fragments of a query share |
//! | `launch` | `run`: channels are made, fragments are sent to their cores |
//! | `request` | `FragmentRequest`: what cores ask of each other |
//! | `fragment` | a fragment on its core, in one of two lanes |
//! | `fast/` | the fast lane: pipelines of our own operators on the reactor |
//! | `channel` | the channel of an exchange, and its receiving end |
//! | `outlet` | the sending end: cuts rows by route |
//! | `result` | `ResultStream`: the rows, on the session's core |
//! | `point` | reads by primary key, without planner |
//! | `counts` | rows by table, for the planner |
//! | `budget` | memory and places of queries |
//! | `profile` | EXPLAIN ANALYZE |
//! | `site` | what a fragment needs of its core |
//!
//! A query fails as a whole: the first error of any fragment is its error, every other fragment stops at its next batch, and the channels
//! that close take their neighbours along. Nothing here blocks a reactor: fast operators yield by time slice, everything else runs in the
//! slow lane.

pub mod budget;
pub mod channel;
mod counts;
pub mod fast;
pub mod fragment;
mod launch;
mod outlet;
mod point;
pub mod profile;
pub mod query;
mod request;
mod result;
pub mod site;

#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::sync::Arc;

pub use counts::row_counts;
pub use point::{PointColumns, point_get};
pub use query::QueryHandle;
pub use request::{FragmentRequest, start};
pub use result::ResultStream;

use crate::error::Result;
use crate::plan::DistributedPlan;
use crate::shard::Core;
use site::SiteRef;

/// Runs a plan at the handle's snapshot, with the session on this core. Rows come as they are made; dropping the stream ends the query.
///
/// Errors: 1317 when it is cancelled, 5024 when its time is over, 5609 when its memory is, and whatever the operators report.
pub async fn run(core: &Rc<Core>, plan: Arc<DistributedPlan>, query: QueryHandle) -> Result<ResultStream> {
    let site: SiteRef = core.clone();
    launch::run(&site, plan, query).await
}

/// Runs a plan to its end and tells what each operator did: EXPLAIN ANALYZE.
pub async fn analyze(core: &Rc<Core>, plan: Arc<DistributedPlan>, query: QueryHandle) -> Result<Vec<String>> {
    let site: SiteRef = core.clone();
    launch::analyze(&site, plan, query).await
}
