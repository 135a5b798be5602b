//! The last look at a plan: what must never run is refused here rather than found by a hang. DataFusion's exchanges would start tokio
//! tasks and hash by another function than ours, and a partition that no core runs would lose rows.

use std::sync::Arc;

use datafusion::physical_plan::analyze::AnalyzeExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::scalar_subquery::ScalarSubqueryExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::fragment::{At, DistributedPlan, Fragment};
use super::scan::ScanExec;
use super::source::SourceExec;
use crate::error::{EngineError, Result};

/// Checks every fragment.
pub(super) fn check(plan: &DistributedPlan) -> Result<()> {
    plan.fragments.iter().try_for_each(|fragment| check_fragment(plan, fragment))
}

fn check_fragment(plan: &DistributedPlan, fragment: &Fragment) -> Result<()> {
    let partitions = fragment.plan.output_partitioning().partition_count();
    let wanted = match fragment.at {
        At::EveryCore => usize::from(plan.cores),
        At::Coordinator => 1,
    };
    if partitions != wanted {
        return Err(EngineError::internal(format!(
            "a fragment has {partitions} partitions instead of {wanted}: {}",
            fragment.plan.name()
        )));
    }
    match fragment.pipeline {
        Some(_) => Ok(()),
        None => check_node(&fragment.plan),
    }
}

fn check_node(node: &Arc<dyn ExecutionPlan>) -> Result<()> {
    let refused = node.is::<RepartitionExec>()
        || node.is::<CoalescePartitionsExec>()
        || node.is::<AnalyzeExec>()
        || node.is::<ScalarSubqueryExec>()
        || node.is::<ScanExec>();
    // A merge reads an exchange directly; over anything else its inputs would be the work of several cores.
    let merge = node.downcast_ref::<SortPreservingMergeExec>().is_some_and(|m| !m.input().is::<SourceExec>());
    let join = node.downcast_ref::<HashJoinExec>();
    let undecided = join.is_some_and(|j| *j.partition_mode() == PartitionMode::Auto);
    if refused || merge || undecided {
        return Err(EngineError::internal(format!("{} must not be in a plan for the slow lane", node.name())));
    }
    node.children().into_iter().try_for_each(check_node)
}
