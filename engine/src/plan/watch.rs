//! `WatchExec`: put above nodes that can make many rows of few. DataFusion's operators yield where their leaves do; a join over rows that
//! are in memory already would hold its thread for hours, and nobody could cancel it.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::SchedulingType;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;

use crate::exec::query::SlowQuery;

/// Looks at every batch of its input whether the query is over, and yields now and then.
#[derive(Debug)]
pub struct WatchExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl WatchExec {
    /// The node, watched where it needs to be.
    pub(super) fn over(node: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        let multiplies = node.is::<HashJoinExec>()
            || node.is::<NestedLoopJoinExec>()
            || node.is::<CrossJoinExec>()
            || node.is::<RecursiveQueryExec>()
            || node.is::<UnnestExec>();
        if multiplies { Arc::new(WatchExec::new(node)) } else { node }
    }

    fn new(input: Arc<dyn ExecutionPlan>) -> WatchExec {
        let properties = input.properties().as_ref().clone().with_scheduling_type(SchedulingType::Cooperative);
        WatchExec { input, properties: Arc::new(properties) }
    }
}

impl DisplayAs for WatchExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "WatchExec")
    }
}

impl ExecutionPlan for WatchExec {
    fn name(&self) -> &str {
        "WatchExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(WatchExec::new(children.remove(0))))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context.clone())?;
        let Some(query) = context.session_config().get_extension::<SlowQuery>() else { return Ok(input) };
        let batches = input.map(move |batch| query.check().and(batch));
        Ok(Box::pin(cooperative(RecordBatchStreamAdapter::new(self.schema(), batches))))
    }
}
