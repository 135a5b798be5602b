//! The pass over DataFusion's initial physical plan. Bottom-up it decides where the rows of each node lie, puts exchanges, sorts and
//! merges where a node needs its input otherwise, splits aggregations, resolves join modes, and cuts the plan into fragments.
//!
//! What a node may assume of its inputs is decided here and nowhere else: scans tell DataFusion nothing of their buckets.

use std::sync::Arc;

use datafusion::common::{Result, not_impl_err};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::PlanContext;
use super::fragment::{At, DistributedPlan, Exchange, ExchangeId, Fragment, Route, Subquery};
use super::lanes::{self, Pipeline, TOP_N_ROWS_MAX};
use super::placement::{Bucketed, Distribution, HashClass, Routing, hashed_column};
use super::scan::ScanExec;
use super::source::{SourceExec, SourceKind};
use super::union::UnionAllExec;
use super::watch::WatchExec;

/// Groups of an input with at most this many rows are brought together on one core rather than spread by hash.
const GATHER_GROUPS_ROWS: f64 = 20_000.0;

/// A subtree with what is known of its rows.
#[derive(Clone)]
pub(super) struct Node {
    pub plan: Arc<dyn ExecutionPlan>,
    pub at: Distribution,
    /// Rows in all, roughly.
    pub rows: Option<f64>,
}

/// The state of the pass.
pub(super) struct Pass<'a> {
    pub context: &'a PlanContext,
    fragments: Vec<Fragment>,
    exchanges: Vec<Exchange>,
    /// Inside a recursive query everything is on one core, and scans are read through this kind of source.
    gathered: Option<SourceKind>,
}

/// Distributes a plan over the cores.
pub(super) fn distribute(
    plan: Arc<dyn ExecutionPlan>,
    subqueries: Vec<Subquery>,
    context: &PlanContext,
) -> Result<DistributedPlan> {
    let mut pass = Pass { context, fragments: Vec::new(), exchanges: Vec::new(), gathered: None };
    let root = pass.visit(plan)?;
    let result = match root.plan.downcast_ref::<SourceExec>() {
        Some(source) if source.kind() == SourceKind::Single => source.exchange(),
        _ => pass.cut(root, Route::Gather)?,
    };
    let Pass { fragments, exchanges, .. } = pass;
    Ok(DistributedPlan { cores: context.cores, fragments, exchanges, result, subqueries })
}

impl Pass<'_> {
    pub(super) fn cores(&self) -> usize {
        usize::from(self.context.cores)
    }

    pub(super) fn visit(&mut self, plan: Arc<dyn ExecutionPlan>) -> Result<Node> {
        if let Some(scan) = plan.downcast_ref::<ScanExec>() {
            let node = Node { at: Distribution::Spread(scan.bucketed()), rows: scan.estimate(), plan: plan.clone() };
            return match self.gathered {
                None => Ok(node),
                Some(kind) => self.gather_as(node, kind),
            };
        }
        if plan.is::<RecursiveQueryExec>() {
            return self.recursive(plan);
        }
        let children: Vec<_> = plan.children().into_iter().cloned().collect();
        if plan.is::<RepartitionExec>() || plan.is::<CoalescePartitionsExec>() {
            return self.visit(children[0].clone());
        }
        if let Some(last) = plan.downcast_ref::<AggregateExec>()
            && let Some(first) = last.input().downcast_ref::<AggregateExec>()
            && matches!(last.mode(), AggregateMode::Final | AggregateMode::FinalPartitioned)
        {
            let input = self.visit(first.input().clone())?;
            return self.aggregate(first, last, input);
        }
        let nodes = children.into_iter().map(|child| self.visit(child)).collect::<Result<Vec<_>>>()?;
        if plan.is::<UnionExec>() {
            return self.union(&plan, nodes);
        }
        match <[Node; 2]>::try_from(nodes) {
            Ok([left, right]) => self.binary(plan, left, right),
            Err(mut nodes) => match (nodes.pop(), nodes.is_empty()) {
                (None, _) => Ok(Node { plan: plan.clone(), at: Distribution::One, rows: Some(1.0) }),
                (Some(input), true) => self.unary(plan, input),
                (Some(_), false) => not_impl_err!("{} with more than two inputs", plan.name()),
            },
        }
    }

    fn unary(&mut self, plan: Arc<dyn ExecutionPlan>, input: Node) -> Result<Node> {
        if let Some(project) = plan.downcast_ref::<ProjectionExec>() {
            return self.project(&plan, project, input);
        }
        if plan.is::<FilterExec>() {
            let (at, rows) = (input.at.clone(), input.rows.map(|rows| rows * 0.3));
            return Ok(Node { plan: replace_children_if_necessary(plan, vec![input.plan])?, at, rows });
        }
        if let Some(sort) = plan.downcast_ref::<SortExec>() {
            return self.sort(sort, input);
        }
        if let Some(limit) = plan.downcast_ref::<GlobalLimitExec>() {
            return self.limit(limit.skip(), limit.fetch(), input);
        }
        if let Some(limit) = plan.downcast_ref::<LocalLimitExec>() {
            return Ok(local_limit(input, limit.fetch()));
        }
        let keys = match (plan.downcast_ref::<WindowAggExec>(), plan.downcast_ref::<BoundedWindowAggExec>()) {
            (Some(window), _) => Some(window.partition_keys_of_all()),
            (_, Some(window)) => Some(window.partition_keys_of_all()),
            _ => None,
        };
        match keys {
            Some(keys) => self.window(plan, &keys, input),
            None => self.other(plan, input),
        }
    }

    fn binary(&mut self, plan: Arc<dyn ExecutionPlan>, left: Node, right: Node) -> Result<Node> {
        if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
            return self.hash_join(join, left, right);
        }
        if plan.is::<NestedLoopJoinExec>() || plan.is::<CrossJoinExec>() {
            return self.loop_join(plan, left, right);
        }
        // Nothing is known of this node: one core, inputs in the order it asks for.
        let (left, right) = (self.gather(left)?, self.gather(right)?);
        let plan = with_sorted_children(plan, vec![left.plan, right.plan])?;
        Ok(Node { plan, at: Distribution::One, rows: None })
    }

    fn project(&mut self, plan: &Arc<dyn ExecutionPlan>, project: &ProjectionExec, input: Node) -> Result<Node> {
        let schema = input.plan.schema();
        let sources: Vec<_> = project.expr().iter().map(|e| hashed_column(&e.expr, &schema)).collect();
        let at = match &input.at {
            Distribution::One => Distribution::One,
            Distribution::Spread(b) => {
                Distribution::Spread(b.as_ref().and_then(|b| b.through(sources.len(), |i| sources[i])))
            }
        };
        Ok(Node { plan: replace_children_if_necessary(plan.clone(), vec![input.plan])?, at, rows: input.rows })
    }

    fn sort(&mut self, sort: &SortExec, input: Node) -> Result<Node> {
        let (order, fetch) = (sort.expr().clone(), sort.fetch());
        let rows = fetch.map_or(input.rows, |n| Some(input.rows.map_or(n as f64, |r| r.min(n as f64))));
        let sorted = |plan| SortExec::new(order.clone(), plan).with_fetch(fetch).with_preserve_partitioning(true);
        let spread = !input.at.is_one();
        let local = Node { plan: Arc::new(sorted(input.plan)), at: input.at, rows };
        let plan: Arc<dyn ExecutionPlan> = match fetch {
            _ if !spread => local.plan,
            // The first n of each core, then the first n of those.
            Some(n) if n <= TOP_N_ROWS_MAX => Arc::new(sorted(self.gather(local)?.plan)),
            _ => {
                let schema = local.plan.schema();
                let exchange = self.cut(local, Route::Merge)?;
                let kind = SourceKind::PerSender;
                let source = Arc::new(SourceExec::ordered(exchange, kind, order.clone(), schema, self.cores()));
                Arc::new(SortPreservingMergeExec::new(order.clone(), source).with_fetch(fetch))
            }
        };
        Ok(Node { plan, at: Distribution::One, rows })
    }

    fn limit(&mut self, skip: usize, fetch: Option<usize>, input: Node) -> Result<Node> {
        let input = match (input.at.is_one(), fetch) {
            (false, Some(fetch)) => local_limit(input, skip + fetch),
            _ => input,
        };
        let input = self.gather(input)?;
        let rows = fetch.map_or(input.rows, |n| Some(input.rows.map_or(n as f64, |r| r.min(n as f64))));
        Ok(Node { plan: Arc::new(GlobalLimitExec::new(input.plan, skip, fetch)), at: Distribution::One, rows })
    }

    /// `first` is the partial, `last` the final half of one aggregation.
    fn aggregate(&mut self, first: &AggregateExec, last: &AggregateExec, input: Node) -> Result<Node> {
        let group = first.group_expr();
        let rows = if group.is_empty() { Some(1.0) } else { input.rows.map(|rows| rows * 0.2) };
        let make = |mode, group, plan| -> Result<Arc<dyn ExecutionPlan>> {
            let (aggregates, filters) = (last.aggr_expr().to_vec(), first.filter_expr().to_vec());
            let node = AggregateExec::try_new(mode, group, aggregates, filters, plan, first.input_schema())?;
            with_order(Arc::new(node))
        };
        if input.at.is_one() {
            return Ok(Node {
                plan: make(AggregateMode::Single, group.clone(), input.plan)?,
                at: Distribution::One,
                rows,
            });
        }
        let schema = input.plan.schema();
        let keys: Vec<_> = group.expr().iter().map(|(e, _)| hashed_column(e, &schema)).collect();
        if group.is_single()
            && let Some(bucketed) = input.at.bucketed().filter(|b| b.covers(&keys)).cloned()
        {
            // All rows of a group are on one core already.
            let at = bucketed.through(keys.len(), |i| keys[i]);
            let plan = make(AggregateMode::SinglePartitioned, group.clone(), input.plan)?;
            return Ok(Node { plan, at: Distribution::Spread(at), rows });
        }
        let small = input.rows.is_some_and(|rows| rows <= GATHER_GROUPS_ROWS);
        let plan = make(AggregateMode::Partial, group.clone(), input.plan)?;
        let partial = Node { plan, at: Distribution::Spread(None), rows };
        let exprs = hashable_columns(&partial.plan, group.num_group_exprs());
        if exprs.is_empty() || small {
            let gathered = self.gather(partial)?;
            let plan = make(AggregateMode::Final, group.as_final(), gathered.plan)?;
            return Ok(Node { plan, at: Distribution::One, rows });
        }
        let hashed = self.hash(partial, exprs, Routing::by_core(self.context.cores), false)?;
        // Group columns come first on both sides of the final half.
        let plan = make(AggregateMode::FinalPartitioned, group.as_final(), hashed.plan)?;
        Ok(Node { plan, at: if group.is_single() { hashed.at } else { Distribution::Spread(None) }, rows })
    }

    fn window(&mut self, plan: Arc<dyn ExecutionPlan>, keys: &[Arc<dyn PhysicalExpr>], input: Node) -> Result<Node> {
        let schema = input.plan.schema();
        let columns: Vec<_> = keys.iter().map(|key| hashed_column(key, &schema)).collect();
        let hashable: Vec<_> = keys.iter().filter(|key| class_of(key, &input.plan).is_some()).cloned().collect();
        let input = match &input.at {
            Distribution::One => input,
            Distribution::Spread(Some(bucketed)) if bucketed.covers(&columns) => input,
            _ if hashable.is_empty() => self.gather(input)?,
            _ => self.hash(input, hashable, Routing::by_core(self.context.cores), false)?,
        };
        // A window adds columns after those of its input.
        let (at, rows) = (input.at, input.rows);
        Ok(Node { plan: with_sorted_children(plan, vec![input.plan])?, at, rows })
    }

    fn union(&mut self, plan: &Arc<dyn ExecutionPlan>, nodes: Vec<Node>) -> Result<Node> {
        let one = nodes.iter().any(|node| node.at.is_one());
        let nodes =
            if one { nodes.into_iter().map(|node| self.gather(node)).collect::<Result<Vec<_>>>()? } else { nodes };
        let rows = nodes.iter().map(|node| node.rows).sum();
        let plan = UnionAllExec::new(nodes.into_iter().map(|node| node.plan).collect(), plan.schema());
        let at = if one { Distribution::One } else { Distribution::Spread(None) };
        Ok(Node { plan: Arc::new(plan), at, rows })
    }

    /// A node that keeps rows where they are, or asks for a single partition.
    fn other(&mut self, plan: Arc<dyn ExecutionPlan>, input: Node) -> Result<Node> {
        use datafusion::physical_plan::Distribution as Required;
        let anywhere = matches!(
            plan.input_distribution_requirements().child_distribution(0),
            Some(Required::UnspecifiedDistribution)
        );
        let input = if anywhere { input } else { self.gather(input)? };
        let at = if input.at.is_one() { Distribution::One } else { Distribution::Spread(None) };
        Ok(Node { plan: with_sorted_children(plan, vec![input.plan])?, at, rows: input.rows })
    }

    /// A recursive query runs whole on one core, over inputs gathered there. The recursive term is run many times, so what it reads of
    /// tables is kept.
    fn recursive(&mut self, plan: Arc<dyn ExecutionPlan>) -> Result<Node> {
        let children: Vec<_> = plan.children().into_iter().cloned().collect();
        let outer = self.gathered;
        self.gathered = outer.or(Some(SourceKind::Single));
        let fixed = self.visit(children[0].clone())?;
        self.gathered = Some(SourceKind::Replayed);
        let recursive = self.visit(children[1].clone())?;
        self.gathered = outer;
        let plan = replace_children_if_necessary(plan, vec![fixed.plan, recursive.plan])?;
        Ok(Node { plan, at: Distribution::One, rows: None })
    }

    /// Brings all rows to the session's core.
    pub(super) fn gather(&mut self, node: Node) -> Result<Node> {
        self.gather_as(node, SourceKind::Single)
    }

    fn gather_as(&mut self, node: Node, kind: SourceKind) -> Result<Node> {
        if node.at.is_one() {
            return Ok(node);
        }
        let (schema, rows) = (node.plan.schema(), node.rows);
        let exchange = self.cut(node, Route::Gather)?;
        Ok(Node { plan: Arc::new(SourceExec::new(exchange, kind, schema, 1)), at: Distribution::One, rows })
    }

    /// Brings all rows to one table that every core can read.
    pub(super) fn broadcast(&mut self, node: Node) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = node.plan.schema();
        let exchange = self.cut(node, Route::Broadcast)?;
        Ok(Arc::new(SourceExec::new(exchange, SourceKind::Single, schema, 1)))
    }

    /// Brings each row to the core of its hash.
    pub(super) fn hash(
        &mut self,
        node: Node,
        keys: Vec<Arc<dyn PhysicalExpr>>,
        routing: Routing,
        towards_buckets: bool,
    ) -> Result<Node> {
        let (schema, rows) = (node.plan.schema(), node.rows);
        let columns: Option<Vec<_>> = keys.iter().map(|key| hashed_column(key, &schema).map(|c| vec![c])).collect();
        let classes: Option<Vec<_>> = keys.iter().map(|key| class_of(key, &node.plan)).collect();
        let bucketed = match (columns, classes) {
            (Some(columns), Some(classes)) => Some(Bucketed { columns, classes, routing: routing.clone() }),
            _ => None,
        };
        let exchange = self.cut(node, Route::Hash { keys, routing, towards_buckets })?;
        let plan = Arc::new(SourceExec::new(exchange, SourceKind::PerCore, schema, self.cores()));
        Ok(Node { plan, at: Distribution::Spread(bucketed), rows })
    }

    /// Ends a fragment: its rows leave through a new exchange.
    pub(super) fn cut(&mut self, node: Node, route: Route) -> Result<ExchangeId> {
        let at = if node.at.is_one() { At::Coordinator } else { At::EveryCore };
        let whole = if self.context.fast_lane || is_scan(&node.plan) { lanes::compile(&node.plan) } else { None };
        let (plan, pipeline) = match whole {
            Some(pipeline) => (node.plan, Some(pipeline)),
            None => (self.cut_scans(node.plan)?, None),
        };
        Ok(self.fragment(at, plan, pipeline, route))
    }

    fn fragment(
        &mut self,
        at: At,
        plan: Arc<dyn ExecutionPlan>,
        pipeline: Option<Pipeline>,
        route: Route,
    ) -> ExchangeId {
        let output = ExchangeId(self.exchanges.len());
        self.exchanges.push(Exchange { route, schema: plan.schema() });
        self.fragments.push(Fragment { at, plan, pipeline, output });
        output
    }

    /// Cuts the scans of a fragment of the slow lane off, each with the operators above it that the fast lane has.
    fn cut_scans(&mut self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted = if self.context.fast_lane { reads_table(&plan) } else { is_scan(&plan) };
        if wanted && let Some(pipeline) = lanes::compile(&plan) {
            let schema = plan.schema();
            let exchange = self.fragment(At::EveryCore, plan, Some(pipeline), Route::Local);
            return Ok(Arc::new(SourceExec::new(exchange, SourceKind::PerCore, schema, self.cores())));
        }
        let children: Vec<_> = plan.children().into_iter().cloned().collect();
        let children = children.into_iter().map(|child| self.cut_scans(child)).collect::<Result<Vec<_>>>()?;
        Ok(WatchExec::over(replace_children_if_necessary(plan, children)?))
    }
}

fn is_scan(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<ScanExec>()
}

/// Whether a chain of unary nodes ends in a scan.
fn reads_table(plan: &Arc<dyn ExecutionPlan>) -> bool {
    match plan.children().as_slice() {
        [] => is_scan(plan),
        [only] => reads_table(only),
        _ => false,
    }
}

fn local_limit(input: Node, fetch: usize) -> Node {
    let plan = Arc::new(LocalLimitExec::new(input.plan, fetch));
    Node { plan, at: input.at, rows: input.rows }
}

pub(super) fn class_of(expr: &Arc<dyn PhysicalExpr>, input: &Arc<dyn ExecutionPlan>) -> Option<HashClass> {
    HashClass::of(&expr.data_type(&input.schema()).ok()?)
}

/// Those of the first `count` output columns that the bucket hash takes.
fn hashable_columns(plan: &Arc<dyn ExecutionPlan>, count: usize) -> Vec<Arc<dyn PhysicalExpr>> {
    let schema = plan.schema();
    let columns = schema.fields().iter().enumerate().take(count);
    columns
        .filter(|(_, field)| HashClass::of(field.data_type()).is_some())
        .map(|(i, field)| Arc::new(Column::new(field.name(), i)) as Arc<dyn PhysicalExpr>)
        .collect()
}

/// The node over new inputs, each sorted as the node asks for.
pub(super) fn with_sorted_children(
    plan: Arc<dyn ExecutionPlan>,
    children: Vec<Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    with_order(replace_children_if_necessary(plan, children)?)
}

/// Puts sorts below a node whose inputs are not in the order that it asks for.
fn with_order(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let required = plan.required_input_ordering();
    let children: Vec<_> = plan.children().into_iter().cloned().collect();
    let mut sorted = Vec::with_capacity(children.len());
    for (child, required) in children.into_iter().zip(required) {
        let Some(required) = required.map(|r| r.into_single()) else {
            sorted.push(child);
            continue;
        };
        if child.equivalence_properties().ordering_satisfy_requirement(required.iter().cloned())? {
            sorted.push(child);
        } else {
            let order = LexOrdering::from(required);
            sorted.push(Arc::new(SortExec::new(order, child).with_preserve_partitioning(true)));
        }
    }
    replace_children_if_necessary(plan, sorted)
}

/// The PARTITION BY expressions shared by all functions of a window node.
trait PartitionKeys {
    fn partition_keys_of_all(&self) -> Vec<Arc<dyn PhysicalExpr>>;
}

macro_rules! partition_keys {
    ($node:ty) => {
        impl PartitionKeys for $node {
            fn partition_keys_of_all(&self) -> Vec<Arc<dyn PhysicalExpr>> {
                let lists = self.window_expr().iter().map(|e| e.partition_by());
                lists.min_by_key(|list| list.len()).map(<[_]>::to_vec).unwrap_or_default()
            }
        }
    };
}

partition_keys!(WindowAggExec);
partition_keys!(BoundedWindowAggExec);
