//! `UnionAllExec`: the union of its inputs, partition by partition, one input after the other. DataFusion's own union adds up the
//! partitions of its inputs, which would no longer be one a core.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
};
use futures::{StreamExt, TryStreamExt};

use super::scan::leaf_properties;

/// The union of inputs that have equally many partitions.
#[derive(Debug)]
pub struct UnionAllExec {
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    properties: Arc<PlanProperties>,
}

impl UnionAllExec {
    /// The schema is the union's, whose columns may be nullable where an input's are not.
    pub(super) fn new(inputs: Vec<Arc<dyn ExecutionPlan>>, schema: SchemaRef) -> UnionAllExec {
        let partitions = inputs.first().map_or(1, |input| input.output_partitioning().partition_count());
        UnionAllExec { inputs, properties: leaf_properties(schema, Partitioning::UnknownPartitioning(partitions)) }
    }
}

impl DisplayAs for UnionAllExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "UnionAllExec")
    }
}

impl ExecutionPlan for UnionAllExec {
    fn name(&self) -> &str {
        "UnionAllExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().collect()
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(UnionAllExec::new(children, self.schema())))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let inputs =
            self.inputs.iter().map(|input| input.execute(partition, context.clone())).collect::<Result<Vec<_>>>()?;
        let target = schema.clone();
        let batches = futures::stream::iter(inputs).flatten().and_then(move |batch| {
            let renamed = with_schema(&batch, target.clone());
            async move { renamed }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }

    fn statistics_from_inputs(&self, _inputs: &[Arc<Statistics>], _args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        Ok(Arc::new(Statistics::new_unknown(&self.schema())))
    }
}

/// The same columns under another schema.
pub(crate) fn with_schema(batch: &RecordBatch, schema: SchemaRef) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema, batch.columns().to_vec(), &options)?)
}
