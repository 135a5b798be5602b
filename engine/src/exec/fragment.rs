//! A fragment on its core: started by a message, it runs in one of the two lanes until its rows are out, its receivers are gone, or the
//! query is over. Whatever goes wrong in it, a panic included, becomes the query's error.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use futures::{FutureExt, StreamExt};
use starling_storage::ids::Seq;

use super::channel::Inlet;
use super::fast::{self, Clock};
use super::outlet::{Flow, Outlet};
use super::profile::{FragmentProfile, OperatorProfile};
use super::query::Shared;
use super::site::SiteRef;
use crate::error::{EngineError, Result};
use crate::plan::lanes::Pipeline;
use crate::runtime::task::panic_text;

/// What a core is asked to run of a query.
pub(super) struct FragmentWork {
    pub(super) shared: Arc<Shared>,
    /// The snapshot.
    pub(super) at: Seq,
    /// Number of the output exchange, for profiles.
    pub(super) number: usize,
    pub(super) partition: usize,
    pub(super) body: Body,
    pub(super) outlet: Outlet,
}

/// The operators.
pub(super) enum Body {
    /// A pipeline on the reactor; with the receiving end of its input, when that is an exchange.
    Fast(Arc<Pipeline>, Option<Inlet>),
    /// DataFusion's operators in the slow lane.
    Slow(Arc<dyn ExecutionPlan>, Arc<TaskContext>),
}

/// Starts a fragment on this core; does not wait.
pub(super) fn start(site: &SiteRef, request: FragmentWork) {
    let here = site.clone();
    site.spawn(Box::pin(async move {
        let shared = request.shared.clone();
        // A query that is over takes no snapshot: its pin may be gone.
        if shared.is_over() {
            return;
        }
        let work = AssertUnwindSafe(run(&here, request)).catch_unwind();
        if let Err(panic) = work.await {
            shared.fail(EngineError::internal(panic_text(&*panic)));
        }
    }));
}

async fn run(site: &SiteRef, request: FragmentWork) {
    let FragmentWork { shared, at, number, partition, body, mut outlet } = request;
    let (core, start) = (site.id().0, Instant::now());
    match body {
        Body::Fast(pipeline, inlet) => {
            let mut clock = Clock::new(site.clone(), shared.clone());
            let mut run = match fast::Run::new(&pipeline, inlet, at, usize::from(core), &shared) {
                Ok(run) => run,
                Err(error) => return shared.fail(error),
            };
            let result = AssertUnwindSafe(run.drive(&mut clock, &mut outlet)).catch_unwind().await;
            ended(result, outlet, &shared).await;
            if let Some(profile) = &shared.profile {
                let operators = run.profile();
                profile.add(FragmentProfile { fragment: number, core, wall: start.elapsed(), operators });
            }
        }
        Body::Slow(plan, context) => {
            let inside = shared.clone();
            let work = async move {
                let run = AssertUnwindSafe(run_slow(&plan, &context, partition, &inside, &mut outlet)).catch_unwind();
                ended(run.await, outlet, &inside).await;
                if let Some(profile) = &inside.profile {
                    let operators = slow_operators(&plan, partition);
                    profile.add(FragmentProfile { fragment: number, core, wall: start.elapsed(), operators });
                }
                // Hash tables and sort buffers die here, in the slow lane, with the plan.
            };
            if let Err(error) = site.slow(Box::pin(work)).await {
                shared.fail(error);
            }
        }
    }
}

/// Sends the last rows, or sets the query's error before the senders drop.
async fn ended(result: std::thread::Result<Result<()>>, outlet: Outlet, shared: &Shared) {
    let failed = match result {
        Ok(Ok(())) => {
            if let Err(error) = outlet.finish().await {
                shared.fail(error);
            }
            return;
        }
        Ok(Err(error)) => error,
        Err(panic) => EngineError::internal(panic_text(&*panic)),
    };
    shared.fail(failed);
    drop(outlet);
}

async fn run_slow(
    plan: &Arc<dyn ExecutionPlan>,
    context: &Arc<TaskContext>,
    partition: usize,
    shared: &Shared,
    outlet: &mut Outlet,
) -> Result<()> {
    let mut stream = plan.execute(partition, context.clone()).map_err(|e| shared.error_of(e))?;
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|e| shared.error_of(e))?;
        shared.check()?;
        if batch.num_rows() > 0 && outlet.send(batch).await? == Flow::Done {
            break;
        }
    }
    Ok(())
}

/// The profiles of DataFusion's operators, leaves first.
fn slow_operators(plan: &Arc<dyn ExecutionPlan>, partition: usize) -> Vec<OperatorProfile> {
    let mut operators: Vec<_> =
        plan.children().into_iter().flat_map(|child| slow_operators(child, partition)).collect();
    if let Some(metrics) = plan.metrics() {
        let (mut rows, mut nanos) = (0, 0);
        for metric in metrics.iter().filter(|m| m.partition().is_none_or(|p| p == partition)) {
            match metric.value() {
                datafusion::physical_plan::metrics::MetricValue::OutputRows(count) => rows += count.value(),
                datafusion::physical_plan::metrics::MetricValue::ElapsedCompute(time) => nanos += time.value(),
                _ => (),
            }
        }
        operators.push(OperatorProfile {
            name: plan.name().to_string(),
            rows: rows as u64,
            busy: std::time::Duration::from_nanos(nanos as u64),
            ..OperatorProfile::default()
        });
    }
    operators
}
