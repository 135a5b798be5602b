//! Starting a query: its subqueries run first, then the channels of all exchanges are made and every fragment is sent to its cores.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::TaskContext;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::scalar_subquery::ScalarSubqueryExpr;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use starling_storage::ids::CoreId;

use super::channel::{Bell, Inlet, Sender, channel};
use super::fragment::{Body, FragmentWork};
use super::outlet::Outlet;
use super::profile::Profile;
use super::query::{QueryHandle, Shared, SlowQuery};
use super::request::{FragmentRequest, Work};
use super::result::ResultStream;
use super::site::SiteRef;
use crate::error::{EngineError, Result};
use crate::plan::fragment::{At, DistributedPlan, ExchangeId, Fragment, Route, Subquery};
use crate::plan::lanes::{Aggregation, Input, Pipeline, Stage};
use crate::plan::session_config;
use crate::plan::source::{SourceExec, SourceKind};

/// Bytes on their way through all channels of one exchange.
const EXCHANGE_BYTES: usize = 16 << 20;
/// The least a channel holds, so that it can carry a batch while another is being made.
const CHANNEL_BYTES_MIN: usize = 256 << 10;

/// Runs a plan at the handle's snapshot. Rows come as they are made; dropping the stream ends the query.
///
/// Errors: 1317 when it is cancelled, 5024 when its time is over, 5609 when its memory is, and whatever the operators report.
pub(super) async fn run(site: &SiteRef, plan: Arc<DistributedPlan>, query: QueryHandle) -> Result<ResultStream> {
    for subquery in &plan.subqueries {
        let value = scalar(site, subquery, &query).await?;
        subquery.results.set(subquery.index, value).map_err(EngineError::from)?;
    }
    launch(site, &plan, query, None).await
}

/// Runs a plan to its end and tells what each operator did: EXPLAIN ANALYZE.
pub(super) async fn analyze(site: &SiteRef, plan: Arc<DistributedPlan>, query: QueryHandle) -> Result<Vec<String>> {
    for subquery in &plan.subqueries {
        let value = scalar(site, subquery, &query).await?;
        subquery.results.set(subquery.index, value).map_err(EngineError::from)?;
    }
    let started = std::time::Instant::now();
    let mut stream = launch(site, &plan, query, Some(Profile::default())).await?;
    let mut rows = 0;
    while let Some(batch) = stream.next().await {
        rows += batch?.num_rows();
    }
    let elapsed = started.elapsed();
    let profiles = stream.profiles().await;
    Ok(crate::plan::explain::explain_analyze(&plan, &profiles, rows, elapsed))
}

/// The value of a scalar subquery: NULL when it has no row.
async fn scalar(site: &SiteRef, subquery: &Subquery, query: &QueryHandle) -> Result<ScalarValue> {
    let mut stream = Box::pin(run(site, subquery.plan.clone(), query.clone())).await?;
    let schema = subquery.plan.schema().clone();
    let mut value = None;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            if value.is_some() {
                return Err(EngineError::analyze("Subquery must return at most one row"));
            }
            value = Some(ScalarValue::try_from_array(batch.column(0), row).map_err(EngineError::from)?);
        }
    }
    match value {
        Some(value) => Ok(value),
        None => ScalarValue::try_from(schema.field(0).data_type()).map_err(EngineError::from),
    }
}

async fn launch(
    site: &SiteRef,
    plan: &Arc<DistributedPlan>,
    query: QueryHandle,
    profile: Option<Profile>,
) -> Result<ResultStream> {
    let budget = site.budget();
    let shared = Shared::new(&query, &budget, profile);
    let (told, at) = (Arc::downgrade(&shared), query.pin.seq());
    query.pin.on_expiry(move || {
        if let Some(shared) = told.upgrade() {
            shared.fail(EngineError::snapshot_too_old(at));
        }
    });
    let slow_fragments = plan.fragments.iter().filter(|f| f.pipeline.is_none()).count();
    let admission = budget.admit(slow_fragments).await;
    shared.check()?;
    let mut wiring = Wiring::new(plan, site.id().0);
    let bodies = plan.fragments.iter().map(|fragment| instance(fragment, plan)).collect::<Result<Vec<_>>>()?;
    let mut slow = SlowQuery::new(shared.clone());
    for (fragment, body) in plan.fragments.iter().zip(&bodies) {
        if let Instance::Slow(plan) = body {
            wiring.connect_sources(plan, fragment, &mut slow);
        }
    }
    let context = task_context(plan.cores, &shared, slow)?;
    let result = wiring.inlet(plan.result, 0);
    let mut requests = Vec::new();
    for (fragment, body) in plan.fragments.iter().zip(bodies) {
        for core in wiring.cores_of(fragment) {
            let partition = fragment.partition(core);
            let body = match &body {
                Instance::Fast(pipeline) => {
                    let inlet = match &pipeline.input {
                        Input::Exchange(id, _) => Some(wiring.inlet(*id, partition)),
                        _ => None,
                    };
                    Body::Fast(pipeline.clone(), inlet)
                }
                Instance::Slow(plan) => Body::Slow(plan.clone(), context.clone()),
            };
            let exchange = &plan.exchanges[fragment.output.0];
            let outlet = Outlet::new(
                wiring.senders(fragment.output, core),
                exchange.route.clone(),
                &exchange.schema,
                shared.clone(),
            );
            let (shared, at, number) = (shared.clone(), query.pin.seq(), fragment.output.0);
            let work = FragmentWork { shared, at, number, partition, body, outlet };
            requests.push((core, FragmentRequest(Work::Fragment(Box::new(work)))));
        }
    }
    let started = requests.len();
    let stream = ResultStream::new(site.clone(), plan.schema().clone(), result, shared, query, admission, started);
    // From here on an error drops the stream, which stops what has been started.
    for (core, request) in requests {
        site.send(CoreId(core), request).await?;
    }
    Ok(stream)
}

/// A fragment with the state of one run.
enum Instance {
    Fast(Arc<Pipeline>),
    Slow(Arc<dyn ExecutionPlan>),
}

fn instance(fragment: &Fragment, plan: &DistributedPlan) -> Result<Instance> {
    Ok(match &fragment.pipeline {
        Some(pipeline) if plan.subqueries.is_empty() => Instance::Fast(Arc::new(pipeline.clone())),
        Some(pipeline) => Instance::Fast(Arc::new(with_values(pipeline)?)),
        None => Instance::Slow(reset_plan_states(fragment.plan.clone()).map_err(EngineError::from)?),
    })
}

/// The pipeline with the values of scalar subqueries as literals.
fn with_values(pipeline: &Pipeline) -> Result<Pipeline> {
    let no_rows = RecordBatch::new_empty(Arc::new(Schema::empty()));
    let literal = |expr: Arc<dyn PhysicalExpr>| {
        if !expr.is::<ScalarSubqueryExpr>() {
            return Ok(Transformed::no(expr));
        }
        // Its value does not depend on the row.
        Ok(match expr.evaluate(&no_rows)? {
            ColumnarValue::Scalar(value) => Transformed::yes(Arc::new(Literal::new(value)) as Arc<dyn PhysicalExpr>),
            ColumnarValue::Array(_) => Transformed::no(expr),
        })
    };
    let bound = |expr: &Arc<dyn PhysicalExpr>| -> Result<Arc<dyn PhysicalExpr>> {
        Ok(expr.clone().transform_up(literal).map_err(EngineError::from)?.data)
    };
    let mut pipeline = pipeline.clone();
    for stage in &mut pipeline.stages {
        match stage {
            Stage::Filter(expr) => *expr = bound(expr)?,
            Stage::Project { exprs, .. } => *exprs = exprs.iter().map(bound).collect::<Result<_>>()?,
            Stage::Aggregate(plan) => {
                let groups = plan.groups.iter().map(bound).collect::<Result<_>>()?;
                let filters = plan.filters.iter().map(|f| f.as_ref().map(bound).transpose()).collect::<Result<_>>()?;
                let functions = plan.functions.iter().map(|f| with_arguments(f, &bound)).collect::<Result<_>>()?;
                *plan =
                    Arc::new(Aggregation { half: plan.half, groups, filters, functions, schema: plan.schema.clone() });
            }
            Stage::TopN { order, .. } => {
                let bound = order.iter().map(|e| Ok(PhysicalSortExpr::new(bound(&e.expr)?, e.options)));
                if let Some(bound) = LexOrdering::new(bound.collect::<Result<Vec<_>>>()?) {
                    *order = bound;
                }
            }
            Stage::Limit { .. } => (),
        }
    }
    Ok(pipeline)
}

/// An aggregate function over rewritten arguments.
fn with_arguments(
    function: &Arc<AggregateFunctionExpr>,
    bound: &impl Fn(&Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>>,
) -> Result<Arc<AggregateFunctionExpr>> {
    let arguments = function.expressions().iter().map(bound).collect::<Result<Vec<_>>>()?;
    Ok(function.with_new_expressions(arguments, Vec::new()).map_or_else(|| function.clone(), Arc::new))
}

/// The context of the operators in the slow lane, one for the query.
fn task_context(cores: u16, shared: &Arc<Shared>, slow: SlowQuery) -> Result<Arc<TaskContext>> {
    let runtime =
        RuntimeEnvBuilder::new().with_memory_pool(shared.pool().clone()).build_arc().map_err(EngineError::from)?;
    let config = session_config(cores).with_extension(Arc::new(slow));
    Ok(Arc::new(TaskContext::default().with_session_config(config).with_runtime(runtime)))
}

/// The channels of a query, until they have been handed out.
struct Wiring<'a> {
    plan: &'a DistributedPlan,
    coordinator: u16,
    /// By exchange and sending core, in the order of the receivers.
    senders: HashMap<(ExchangeId, u16), Vec<Sender>>,
    /// By exchange and receiving partition.
    inlets: HashMap<(ExchangeId, usize), Inlet>,
}

impl<'a> Wiring<'a> {
    fn new(plan: &'a DistributedPlan, coordinator: u16) -> Wiring<'a> {
        let mut wiring = Wiring { plan, coordinator, senders: HashMap::new(), inlets: HashMap::new() };
        for fragment in &plan.fragments {
            wiring.connect(fragment);
        }
        wiring
    }

    fn cores_of(&self, fragment: &Fragment) -> Vec<u16> {
        fragment.cores(self.plan.cores, self.coordinator)
    }

    fn connect(&mut self, fragment: &Fragment) {
        let (id, senders) = (fragment.output, self.cores_of(fragment));
        let route = &self.plan.exchanges[id.0].route;
        let partitions = match route {
            Route::Gather | Route::Broadcast => 1,
            Route::Hash { .. } | Route::Merge | Route::Local => usize::from(self.plan.cores),
        };
        let bytes_max = (EXCHANGE_BYTES / (partitions * senders.len().max(1))).max(CHANNEL_BYTES_MIN);
        for partition in 0..partitions {
            let bell = Arc::new(Bell::default());
            let mut receivers = Vec::new();
            for &core in &senders {
                // Merge and local exchanges keep senders apart; the others bring them together.
                let apart = matches!(route, Route::Merge | Route::Local);
                if !apart || usize::from(core) == partition {
                    let (sender, receiver) = channel(bytes_max, &bell);
                    self.senders.entry((id, core)).or_default().push(sender);
                    receivers.push(receiver);
                }
            }
            self.inlets.insert((id, partition), Inlet::new(receivers, bell));
        }
    }

    fn senders(&mut self, id: ExchangeId, core: u16) -> Vec<Sender> {
        self.senders.remove(&(id, core)).unwrap_or_default()
    }

    /// A receiving end; one that nobody sends to is at its end.
    fn inlet(&mut self, id: ExchangeId, partition: usize) -> Inlet {
        self.inlets.remove(&(id, partition)).unwrap_or_else(|| Inlet::new(Vec::new(), Arc::new(Bell::default())))
    }

    /// Gives the receiving ends of a slow fragment's sources to the query's task context.
    fn connect_sources(&mut self, node: &Arc<dyn ExecutionPlan>, fragment: &Fragment, slow: &mut SlowQuery) {
        if let Some(source) = node.downcast_ref::<SourceExec>() {
            let (id, kind) = (source.exchange(), source.kind());
            let partitions = match (kind, fragment.at) {
                (SourceKind::PerCore, At::EveryCore) | (SourceKind::PerSender, _) => usize::from(self.plan.cores),
                _ => 1,
            };
            for partition in 0..partitions {
                let inlet = self.inlet(id, partition);
                slow.add(id, partition, kind, inlet);
            }
        }
        node.children().into_iter().for_each(|child| self.connect_sources(child, fragment, slow));
    }
}
