//! `SourceExec`: the leaf of a fragment that reads an exchange. It finds its receivers in the query's runtime, which the task context
//! carries, so that a plan holds no state and can run many times.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_datafusion_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};

use super::fragment::ExchangeId;
use super::scan::leaf_properties;
use crate::exec::query::SlowQuery;

/// How a [`SourceExec`] divides what it receives into partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// Partition p is what core p receives.
    PerCore,
    /// One partition. Any lane may read it, once.
    Single,
    /// Partition p is what sender p sends, in its order: input of a merge.
    PerSender,
    /// One partition that can be read again and again (recursive queries).
    Replayed,
}

/// Reads an exchange.
#[derive(Debug)]
pub struct SourceExec {
    exchange: ExchangeId,
    kind: SourceKind,
    properties: Arc<PlanProperties>,
}

impl SourceExec {
    pub(super) fn new(exchange: ExchangeId, kind: SourceKind, schema: SchemaRef, partitions: usize) -> SourceExec {
        SourceExec {
            exchange,
            kind,
            properties: leaf_properties(schema, Partitioning::UnknownPartitioning(partitions)),
        }
    }

    /// As `new`, for rows that come in an order.
    pub(super) fn ordered(
        exchange: ExchangeId,
        kind: SourceKind,
        order: datafusion::physical_expr::LexOrdering,
        schema: SchemaRef,
        partitions: usize,
    ) -> SourceExec {
        let mut properties = leaf_properties(schema, Partitioning::UnknownPartitioning(partitions)).as_ref().clone();
        let mut equivalence = properties.equivalence_properties().clone();
        equivalence.add_ordering(order);
        properties.set_eq_properties(equivalence);
        SourceExec { exchange, kind, properties: Arc::new(properties) }
    }

    /// Which exchange.
    pub fn exchange(&self) -> ExchangeId {
        self.exchange
    }

    /// How it is divided.
    pub fn kind(&self) -> SourceKind {
        self.kind
    }
}

impl DisplayAs for SourceExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "SourceExec: exchange={}", self.exchange.0)
    }
}

impl ExecutionPlan for SourceExec {
    fn name(&self) -> &str {
        "SourceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let query = context
            .session_config()
            .get_extension::<SlowQuery>()
            .ok_or_else(|| internal_datafusion_err!("an exchange is read outside of a query"))?;
        query.open(self.exchange, self.kind, partition, self.schema())
    }

    fn statistics_from_inputs(&self, _inputs: &[Arc<Statistics>], _args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        Ok(Arc::new(Statistics::new_unknown(&self.schema())))
    }
}
