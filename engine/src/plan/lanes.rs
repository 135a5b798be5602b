//! Lanes: which part of a fragment runs as a pipeline of our own operators on the reactor, and which as DataFusion's in the slow lane.
//!
//! A fragment whose every node we have an operator for is a [`Pipeline`]. Any other keeps DataFusion's nodes, and each of its scans,
//! with what can go with it, is cut off as a pipeline of its own on the same core: tablets are read on their owner's reactor only.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNode;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NegativeExpr,
    NotExpr, TryCastExpr,
};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use futures::{FutureExt, TryStreamExt};

use super::fragment::ExchangeId;
use super::placement::HashClass;
use super::scan::ScanExec;
use super::source::{SourceExec, SourceKind};

/// Rows that a top-n of the fast lane keeps at most; more is a sort.
pub const TOP_N_ROWS_MAX: usize = 16 * 1024;

/// Functions that take well under 100 us for 1,024 rows.
const CHEAP_FUNCTIONS: &[&str] = &[
    "__bool",
    "__extract",
    "__interval_add",
    "__interval_sub",
    "__negative",
    "__time_slice",
    "abs",
    "add",
    "bit_shift_left",
    "bit_shift_right",
    "bit_shift_right_logical",
    "bitand",
    "bitor",
    "bitxor",
    "cast",
    "ceil",
    "char_length",
    "coalesce",
    "concat",
    "date",
    "date_part",
    "date_trunc",
    "datediff",
    "day",
    "dayofmonth",
    "dayofweek",
    "dayofyear",
    "days_add",
    "days_sub",
    "divide",
    "ends_with",
    "floor",
    "greatest",
    "hour",
    "hours_add",
    "hours_sub",
    "if",
    "ifnull",
    "int_divide",
    "least",
    "left",
    "length",
    "lower",
    "minute",
    "mod",
    "month",
    "months_add",
    "months_sub",
    "multiply",
    "nullif",
    "nvl",
    "quarter",
    "right",
    "round",
    "second",
    "sign",
    "sqrt",
    "starts_with",
    "substr",
    "substring",
    "subtract",
    "timestampdiff",
    "to_date",
    "trim",
    "truncate",
    "upper",
    "weekday",
    "year",
];

/// Aggregate functions whose state is a few values a group.
const SMALL_STATES: &[&str] = &["avg", "bool_and", "bool_or", "count", "max", "min", "sum"];

/// A chain of operators of the fast lane.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Where the rows come from.
    pub input: Input,
    /// What is done to them, in order.
    pub stages: Vec<Stage>,
    /// What comes out.
    pub schema: SchemaRef,
}

/// Where the rows of a pipeline come from.
#[derive(Debug, Clone)]
pub enum Input {
    /// The tablets of this core.
    Scan(Arc<ScanExec>),
    /// An exchange, and what its rows look like.
    Exchange(ExchangeId, SchemaRef),
    /// The plan itself.
    Rows(Vec<RecordBatch>),
}

/// An operator of the fast lane.
#[derive(Debug, Clone)]
pub enum Stage {
    /// Keeps rows for which the expression is true.
    Filter(Arc<dyn PhysicalExpr>),
    /// Computes columns.
    Project {
        /// One expression a column.
        exprs: Vec<Arc<dyn PhysicalExpr>>,
        /// What comes out.
        schema: SchemaRef,
    },
    /// Passes on some rows after skipping some.
    Limit {
        /// How many it skips.
        skip: usize,
        /// How many it passes on.
        fetch: Option<usize>,
    },
    /// One row a group.
    Aggregate(Arc<Aggregation>),
    /// Passes on the first rows in an order.
    TopN {
        /// The order.
        order: LexOrdering,
        /// How many.
        fetch: usize,
    },
}

/// Which half of an aggregation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// Rows to states.
    Partial,
    /// States to values.
    Final,
    /// Rows to values.
    Whole,
}

/// An aggregation of the fast lane.
#[derive(Debug)]
pub struct Aggregation {
    /// What goes in and comes out.
    pub half: Half,
    /// GROUP BY expressions; none: one row comes out.
    pub groups: Vec<Arc<dyn PhysicalExpr>>,
    /// The functions.
    pub functions: Vec<Arc<AggregateFunctionExpr>>,
    /// The FILTER condition of each function.
    pub filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
    /// Groups, then per function its states or its value.
    pub schema: SchemaRef,
}

impl Stage {
    /// Its name in EXPLAIN.
    pub fn name(&self) -> &'static str {
        match self {
            Stage::Filter(_) => "SELECT",
            Stage::Project { .. } => "Project",
            Stage::Limit { .. } => "LIMIT",
            Stage::TopN { .. } => "TOP-N",
            Stage::Aggregate(_) => "AGGREGATE",
        }
    }
}

/// The pipeline that does what `plan` does; `None` when some node has no operator in the fast lane.
pub fn compile(plan: &Arc<dyn ExecutionPlan>) -> Option<Pipeline> {
    let schema = plan.schema();
    if plan.is::<ScanExec>() {
        let scan: Arc<dyn std::any::Any + Send + Sync> = plan.clone();
        let input = Input::Scan(scan.downcast::<ScanExec>().ok()?);
        return Some(Pipeline { input, stages: Vec::new(), schema });
    }
    if let Some(source) = plan.downcast_ref::<SourceExec>() {
        let ours = matches!(source.kind(), SourceKind::PerCore | SourceKind::Single);
        return ours.then(|| Pipeline {
            input: Input::Exchange(source.exchange(), schema.clone()),
            stages: Vec::new(),
            schema,
        });
    }
    if is_constant(plan) {
        return Some(Pipeline { input: Input::Rows(constant_rows(plan).ok()?), stages: Vec::new(), schema });
    }
    let stage = stage(plan)?;
    let mut pipeline = compile(plan.children().first()?)?;
    pipeline.stages.push(stage);
    pipeline.schema = schema;
    Some(pipeline)
}

fn stage(plan: &Arc<dyn ExecutionPlan>) -> Option<Stage> {
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let plain = filter.projection().is_none() && filter.fetch().is_none();
        return (plain && is_cheap(filter.predicate())).then(|| Stage::Filter(filter.predicate().clone()));
    }
    if let Some(project) = plan.downcast_ref::<ProjectionExec>() {
        let exprs: Vec<_> = project.expr().iter().map(|e| e.expr.clone()).collect();
        return exprs.iter().all(is_cheap).then(|| Stage::Project { exprs, schema: plan.schema() });
    }
    if let Some(limit) = plan.downcast_ref::<GlobalLimitExec>() {
        return Some(Stage::Limit { skip: limit.skip(), fetch: limit.fetch() });
    }
    if let Some(limit) = plan.downcast_ref::<LocalLimitExec>() {
        return Some(Stage::Limit { skip: 0, fetch: Some(limit.fetch()) });
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        return aggregation(aggregate).map(|a| Stage::Aggregate(Arc::new(a)));
    }
    let sort = plan.downcast_ref::<SortExec>()?;
    let fetch = sort.fetch().filter(|&n| n <= TOP_N_ROWS_MAX)?;
    sort.expr().iter().all(|e| is_cheap(&e.expr)).then(|| Stage::TopN { order: sort.expr().clone(), fetch })
}

/// The fast lane's form of an aggregation, when all of its functions have small states and its groups small keys.
fn aggregation(node: &AggregateExec) -> Option<Aggregation> {
    let half = match node.mode() {
        AggregateMode::Partial => Half::Partial,
        AggregateMode::Final | AggregateMode::FinalPartitioned => Half::Final,
        AggregateMode::Single | AggregateMode::SinglePartitioned => Half::Whole,
        _ => return None,
    };
    let group = node.group_expr();
    let groups: Vec<_> = group.expr().iter().map(|(expr, _)| expr.clone()).collect();
    let fits = |f: &Arc<AggregateFunctionExpr>| {
        let plain = !f.is_distinct() && f.order_bys().is_empty() && SMALL_STATES.contains(&f.fun().name());
        let cheap = half == Half::Final || f.expressions().iter().all(is_cheap);
        plain && cheap && (groups.is_empty() || f.groups_accumulator_supported())
    };
    let schema = node.schema();
    let keyed = schema.fields().iter().take(groups.len()).all(|f| HashClass::of(f.data_type()).is_some());
    let cheap = groups.iter().all(is_cheap) && node.filter_expr().iter().flatten().all(is_cheap);
    let simple = !group.has_grouping_set() && node.limit_options().is_none() && keyed && cheap;
    (simple && node.aggr_expr().iter().all(fits)).then(|| Aggregation {
        half,
        groups,
        functions: node.aggr_expr().to_vec(),
        filters: node.filter_expr().to_vec(),
        schema,
    })
}

/// Leaves that hold their rows.
pub fn is_constant(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<EmptyExec>() || plan.is::<PlaceholderRowExec>() || plan.is::<DataSourceExec>()
}

fn constant_rows(plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<RecordBatch>> {
    let stream = plan.execute(0, Arc::new(TaskContext::default()))?;
    // Rows in memory are there at once; a source that is not is left to the slow lane.
    stream.try_collect().now_or_never().unwrap_or_else(|| datafusion::common::internal_err!("a constant source waits"))
}

/// Whether an expression may run on the reactor, 1,024 rows a call.
pub fn is_cheap(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let mut cheap = true;
    let visited = expr.apply(|e| {
        cheap &= node_is_cheap(e);
        Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
    });
    visited.is_ok() && cheap
}

fn node_is_cheap(e: &Arc<dyn PhysicalExpr>) -> bool {
    if let Some(function) = e.downcast_ref::<ScalarFunctionExpr>() {
        return CHEAP_FUNCTIONS.contains(&function.fun().name());
    }
    if let Some(binary) = e.downcast_ref::<BinaryExpr>() {
        use datafusion::logical_expr::Operator as Op;
        return !matches!(binary.op(), Op::RegexMatch | Op::RegexIMatch | Op::RegexNotMatch | Op::RegexNotIMatch);
    }
    e.is::<Column>()
        || e.is::<Literal>()
        || e.is::<CastExpr>()
        || e.is::<TryCastExpr>()
        || e.is::<IsNullExpr>()
        || e.is::<IsNotNullExpr>()
        || e.is::<NotExpr>()
        || e.is::<NegativeExpr>()
        || e.is::<InListExpr>()
        || e.is::<CaseExpr>()
        || e.is::<LikeExpr>()
}
