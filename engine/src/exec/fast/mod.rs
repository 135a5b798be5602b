//! The fast lane: pipelines of our own operators on the reactor. Rows flow in slices of at most 1,024, and between slices a pipeline
//! yields when its time slice is over, so that no poll holds the reactor (P7).
//!
//! | file | part |
//! |---|---|
//! | `input` | where rows come from: tablets, an exchange, the plan |
//! | `aggregate` | hash aggregation |
//! | `groups` | group keys and their numbering |
//! | `top` | top-n |

mod aggregate;
mod groups;
mod input;
pub(super) use input::wide_column;
mod top;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use starling_storage::ids::Seq;

use super::channel::{Inlet, bytes_of};
use super::outlet::{Flow, Outlet};
use super::profile::OperatorProfile;
use super::query::Shared;
use super::site::SiteRef;
use crate::error::{EngineError, Result};
use crate::limits::TIME_SLICE;
use crate::plan::lanes::{Pipeline, Stage};
use aggregate::Aggregate;
use input::Source;
use top::Top;

/// Rows that an operator works on in one call.
pub const SLICE_ROWS: usize = 1024;

/// The time slice of a task on the reactor.
pub struct Clock {
    site: SiteRef,
    shared: Arc<Shared>,
    since: Instant,
}

impl Clock {
    pub(super) fn new(site: SiteRef, shared: Arc<Shared>) -> Clock {
        Clock { site, shared, since: Instant::now() }
    }

    /// Yields when the slice is over. Errors when the query is.
    pub async fn tick(&mut self) -> Result<()> {
        if self.since.elapsed() >= TIME_SLICE {
            self.site.yield_now().await;
            self.since = Instant::now();
            self.shared.check()?;
        }
        Ok(())
    }
}

/// An operator at work.
enum Operator {
    Filter(Arc<dyn PhysicalExpr>),
    Project { exprs: Vec<Arc<dyn PhysicalExpr>>, schema: SchemaRef },
    Limit { skip: usize, left: Option<usize> },
    Top(Top),
    Aggregate(Box<Aggregate>),
}

/// What an operator makes of a slice.
enum Made {
    /// Nothing yet.
    Nothing,
    /// Rows for the next one.
    Rows(RecordBatch),
    /// Rows for the next one, and no more are needed.
    Last(RecordBatch),
}

impl Operator {
    fn new(stage: &Stage, input: &SchemaRef, shared: &Shared) -> Result<Operator> {
        Ok(match stage {
            Stage::Filter(expr) => Operator::Filter(expr.clone()),
            Stage::Project { exprs, schema } => Operator::Project { exprs: exprs.clone(), schema: schema.clone() },
            Stage::Limit { skip, fetch } => Operator::Limit { skip: *skip, left: *fetch },
            Stage::TopN { order, fetch } => Operator::Top(Top::new(order, *fetch, input.clone())),
            Stage::Aggregate(plan) => Operator::Aggregate(Box::new(Aggregate::new(plan, shared)?)),
        })
    }

    fn push(&mut self, batch: RecordBatch, shared: &Shared) -> Result<Made> {
        match self {
            Operator::Filter(expr) => filter(expr, &batch, shared).map(Made::Rows),
            Operator::Project { exprs, schema } => project(exprs, schema, &batch, shared).map(Made::Rows),
            Operator::Limit { skip, left } => Ok(limit(skip, left, batch)),
            Operator::Top(top) => top.push(&batch, shared).map(|()| Made::Nothing),
            Operator::Aggregate(aggregate) => Ok(aggregate.push(&batch, shared)?.map_or(Made::Nothing, Made::Rows)),
        }
    }

    /// Rows kept back, once there are no more to push.
    fn drain(&mut self) -> Result<Option<RecordBatch>> {
        match self {
            Operator::Top(top) => top.drain(),
            Operator::Aggregate(aggregate) => aggregate.drain(),
            _ => Ok(None),
        }
    }
}

fn filter(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch, shared: &Shared) -> Result<RecordBatch> {
    let array = evaluate(expr, batch, shared)?;
    let mask = array.as_any().downcast_ref::<BooleanArray>();
    let mask =
        mask.ok_or_else(|| EngineError::internal(format!("a filter gives {} instead of BOOLEAN", array.data_type())))?;
    filter_record_batch(batch, mask).map_err(EngineError::internal)
}

fn project(
    exprs: &[Arc<dyn PhysicalExpr>],
    schema: &SchemaRef,
    batch: &RecordBatch,
    shared: &Shared,
) -> Result<RecordBatch> {
    let columns = exprs.iter().map(|expr| evaluate(expr, batch, shared)).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(EngineError::internal)
}

fn limit(skip: &mut usize, left: &mut Option<usize>, batch: RecordBatch) -> Made {
    let skipped = batch.num_rows().min(*skip);
    *skip -= skipped;
    let rows = batch.num_rows() - skipped;
    let batch = batch.slice(skipped, rows);
    let Some(left) = left else { return Made::Rows(batch) };
    let taken = rows.min(*left);
    *left -= taken;
    let batch = batch.slice(0, taken);
    if *left == 0 { Made::Last(batch) } else { Made::Rows(batch) }
}

/// The value of an expression for each row.
fn evaluate(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch, shared: &Shared) -> Result<ArrayRef> {
    let value = expr.evaluate(batch).and_then(|value| value.into_array(batch.num_rows()));
    value.map_err(|error| shared.error_of(error))
}

/// What an operator has done.
#[derive(Default)]
struct Count {
    rows: u64,
    bytes: u64,
    busy: Duration,
}

/// A pipeline at work.
pub struct Run {
    source: Source,
    operators: Vec<(Operator, &'static str)>,
    /// Of the source, then of each operator.
    counts: Vec<Count>,
}

impl Run {
    pub(super) fn new(pipeline: &Pipeline, inlet: Option<Inlet>, at: Seq, core: usize, shared: &Shared) -> Result<Run> {
        let mut schema = input::schema(pipeline);
        let mut operators = Vec::with_capacity(pipeline.stages.len());
        for stage in &pipeline.stages {
            operators.push((Operator::new(stage, &schema, shared)?, stage.name()));
            match stage {
                Stage::Project { schema: made, .. } => schema = made.clone(),
                Stage::Aggregate(plan) => schema = plan.schema.clone(),
                Stage::Filter(_) | Stage::Limit { .. } | Stage::TopN { .. } => (),
            }
        }
        let counts = (0..=operators.len()).map(|_| Count::default()).collect();
        Ok(Run { source: Source::new(pipeline, inlet, at, core), operators, counts })
    }

    /// Runs the pipeline to its end.
    pub(super) async fn drive(&mut self, clock: &mut Clock, outlet: &mut Outlet) -> Result<()> {
        'rows: loop {
            let start = Instant::now();
            let next = self.source.next(clock).await?;
            let Some(batch) = next else { break };
            self.count(0, &batch, start.elapsed());
            clock.shared.check()?;
            if self.operators.is_empty() {
                if outlet.send(batch).await? == Flow::Done {
                    return Ok(());
                }
                clock.tick().await?;
                continue;
            }
            for slice in slices(&batch, false) {
                match self.push(0, slice, clock, outlet).await? {
                    Pushed::More => (),
                    Pushed::Enough => break 'rows,
                    Pushed::Closed => return Ok(()),
                }
            }
        }
        for at in 0..self.operators.len() {
            'kept: loop {
                let start = Instant::now();
                let Some(batch) = self.operators[at].0.drain()? else { break };
                self.count(at + 1, &batch, start.elapsed());
                for slice in slices(&batch, at + 1 == self.operators.len()) {
                    match self.push(at + 1, slice, clock, outlet).await? {
                        Pushed::More => (),
                        Pushed::Enough => break 'kept,
                        Pushed::Closed => return Ok(()),
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes a slice through the operators from `from` on, and out.
    async fn push(
        &mut self,
        from: usize,
        slice: RecordBatch,
        clock: &mut Clock,
        outlet: &mut Outlet,
    ) -> Result<Pushed> {
        let (mut batch, mut enough) = (slice, false);
        for at in from..self.operators.len() {
            let start = Instant::now();
            let made = self.operators[at].0.push(batch, &clock.shared)?;
            batch = match made {
                Made::Nothing => return self.after(clock, enough).await,
                Made::Rows(rows) => rows,
                Made::Last(rows) => {
                    enough = true;
                    rows
                }
            };
            self.count(at + 1, &batch, start.elapsed());
            if batch.num_rows() == 0 {
                return self.after(clock, enough).await;
            }
        }
        if outlet.send(batch).await? == Flow::Done {
            return Ok(Pushed::Closed);
        }
        self.after(clock, enough).await
    }

    async fn after(&self, clock: &mut Clock, enough: bool) -> Result<Pushed> {
        clock.tick().await?;
        Ok(if enough { Pushed::Enough } else { Pushed::More })
    }

    fn count(&mut self, at: usize, batch: &RecordBatch, busy: Duration) {
        let count = &mut self.counts[at];
        count.rows += batch.num_rows() as u64;
        count.busy += busy;
        if at == 0 {
            count.bytes += bytes_of(batch) as u64;
        }
    }

    /// What each operator has done.
    pub(super) fn profile(&self) -> Vec<OperatorProfile> {
        let names = std::iter::once(self.source.name()).chain(self.operators.iter().map(|(_, name)| *name));
        let profile = |(name, count): (&str, &Count)| OperatorProfile {
            name: name.to_string(),
            rows: count.rows,
            bytes: count.bytes,
            busy: count.busy,
            note: String::new(),
        };
        let mut operators: Vec<_> = names.zip(&self.counts).map(profile).collect();
        operators[0].note = self.source.note();
        operators
    }
}

/// The rows of a batch, a slice at a time; whole when no operator works on them any more.
fn slices(batch: &RecordBatch, whole: bool) -> impl Iterator<Item = RecordBatch> {
    let step = if whole { batch.num_rows().max(1) } else { SLICE_ROWS };
    (0..batch.num_rows()).step_by(step).map(move |offset| batch.slice(offset, step.min(batch.num_rows() - offset)))
}

/// What became of a slice.
enum Pushed {
    More,
    /// An operator needs no more.
    Enough,
    /// Nobody wants the rows.
    Closed,
}
