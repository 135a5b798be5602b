//! Planning: from an optimised logical plan to fragments and the exchanges between them.
//!
//! | file | part |
//! |---|---|
//! | `table` | `StarlingTable`: a table of the catalog as DataFusion sees it |
//! | `pushdown` | filters that storage evaluates itself |
//! | `scan` | `ScanExec`: the leaf that reads a table |
//! | `source` | `SourceExec`: the leaf that reads an exchange |
//! | `union` | `UnionAllExec`: union core by core |
//! | `watch` | `WatchExec`: where a query of the slow lane sees that it is over |
//! | `placement` | how rows lie on cores: hash classes, buckets, placements |
//! | `distribute` | the pass: decides distribution bottom-up and cuts fragments |
//! | `join` | join modes: colocated, towards a bucketed side, broadcast, hash |
//! | `fragment` | `DistributedPlan`, `Fragment`, `Exchange` |
//! | `lanes` | which part of a fragment runs in which lane |
//! | `check` | refuses a plan that must not run |
//! | `explain` | EXPLAIN |
//!
//! All of it is plain computation on the planner thread: no I/O, no tokio. DataFusion gives its *initial* physical plan and none of its
//! physical optimiser rules; only the pass here says what is colocated (design 6.4).

mod check;
mod distribute;
pub mod explain;
pub mod fragment;
mod join;
pub mod lanes;
pub mod placement;
pub mod pushdown;
pub mod scan;
pub mod source;
pub mod table;
mod union;
pub mod watch;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use datafusion::execution::context::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::scalar_subquery::ScalarSubqueryExec;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::SessionConfig;

pub use explain::explain;
pub use fragment::{DistributedPlan, Exchange, ExchangeId, Fragment};
pub use scan::ScanExec;
pub use table::StarlingTable;

use crate::error::{EngineError, Result};
use fragment::Subquery;

/// Rows of a batch between operators of the slow lane.
pub const BATCH_ROWS: usize = 8192;

/// What planning needs besides the statement.
#[derive(Clone)]
pub struct PlanContext {
    /// How many cores the plan is for.
    pub cores: u16,
    /// A side of a join with at most this many rows may be sent to every core.
    pub broadcast_rows_max: u64,
    /// Whether whole fragments may run on the reactor; off, only scans do (for tests that compare the lanes).
    pub fast_lane: bool,
    state: Arc<SessionState>,
}

impl PlanContext {
    /// The context for plans on `cores` cores.
    pub fn new(cores: u16) -> PlanContext {
        let state = SessionStateBuilder::new()
            .with_config(session_config(cores))
            .with_optimizer_rules(vec![])
            .with_analyzer_rules(vec![])
            .with_physical_optimizer_rules(vec![])
            .build();
        PlanContext { cores, broadcast_rows_max: 200_000, fast_lane: true, state: Arc::new(state) }
    }
}

/// Settings of DataFusion that the binder, the optimiser and the planner must agree on.
///
/// Partitioned dynamic filters would route rows by DataFusion's hash, which never meets ours; correlated subqueries become joins in the
/// optimiser, uncorrelated scalar ones stay, because as joins they would not see that a second row is an error.
pub fn session_config(cores: u16) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_target_partitions(usize::from(cores).max(2))
        .with_batch_size(BATCH_ROWS)
        .with_information_schema(false);
    let optimizer = &mut config.options_mut().optimizer;
    optimizer.enable_dynamic_filter_pushdown = false;
    optimizer.enable_join_dynamic_filter_pushdown = false;
    optimizer.enable_topk_dynamic_filter_pushdown = false;
    optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    optimizer.enable_physical_uncorrelated_scalar_subquery = true;
    optimizer.prefer_hash_join = true;
    optimizer.enable_piecewise_merge_join = false;
    config.options_mut().execution.skip_physical_aggregate_schema_check = true;
    config
}

/// Turns an optimised logical plan into fragments. Called on the planner thread.
///
/// Errors: what DataFusion cannot plan is 1064; a plan the checker refuses is an internal error.
pub fn plan_query(logical: &LogicalPlan, context: &PlanContext) -> Result<Arc<DistributedPlan>> {
    let planner = DefaultPhysicalPlanner::default();
    // Nothing in planning waits: table scans are made from memory.
    let physical = futures::executor::block_on(planner.create_physical_plan(logical, context.state.as_ref()))
        .map_err(EngineError::from)?;
    plan_physical(physical, context)
}

/// As [`plan_query`], from DataFusion's initial physical plan.
pub fn plan_physical(physical: Arc<dyn ExecutionPlan>, context: &PlanContext) -> Result<Arc<DistributedPlan>> {
    let (main, subqueries) = match physical.downcast_ref::<ScalarSubqueryExec>() {
        None => (physical, Vec::new()),
        Some(node) => {
            let plan = |link: &datafusion::physical_plan::scalar_subquery::ScalarSubqueryLink| {
                let plan = plan_physical(link.plan.clone(), context)?;
                Ok(Subquery { plan, index: link.index, results: node.results().clone() })
            };
            (node.input().clone(), node.subqueries().iter().map(plan).collect::<Result<Vec<_>>>()?)
        }
    };
    let plan = distribute::distribute(main, subqueries, context).map_err(EngineError::from)?;
    check::check(&plan)?;
    Ok(Arc::new(plan))
}
