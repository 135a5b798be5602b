//! The sending end of an exchange: cuts the rows of a fragment by their route and sends them, gathered to batches of a useful size.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{BatchCoalescer, take_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use starling_storage::key::bucket_hash;

use super::channel::{Closed, Sender};
use super::query::Shared;
use crate::error::{EngineError, Result};
use crate::plan::BATCH_ROWS;
use crate::plan::fragment::Route;
use crate::plan::placement::Routing;

/// Whether anybody still wants rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    More,
    /// All receivers are gone.
    Done,
}

/// Sends the rows of one partition of a fragment.
pub struct Outlet {
    /// One a receiver; `None` once it has closed.
    senders: Vec<Option<Sender>>,
    coalescers: Vec<BatchCoalescer>,
    route: Route,
    shared: Arc<Shared>,
    finished: bool,
}

impl Outlet {
    /// `senders` in the order of the receivers.
    pub fn new(senders: Vec<Sender>, route: Route, schema: &SchemaRef, shared: Arc<Shared>) -> Outlet {
        let coalescers = senders.iter().map(|_| BatchCoalescer::new(schema.clone(), BATCH_ROWS)).collect();
        Outlet { senders: senders.into_iter().map(Some).collect(), coalescers, route, shared, finished: false }
    }

    /// Sends a batch; may keep rows back until there are enough or `finish` is called.
    pub async fn send(&mut self, batch: RecordBatch) -> Result<Flow> {
        let schema = &batch.schema();
        match &self.route {
            Route::Hash { keys, routing, .. } => {
                let parts = cut(&batch, keys, routing, self.senders.len())?;
                for (target, rows) in parts.into_iter().enumerate() {
                    if !rows.is_empty() && self.senders[target].is_some() {
                        let part = take_record_batch(&batch, &UInt32Array::from(rows)).map_err(internal)?;
                        self.gather(target, part).await?;
                    }
                }
            }
            Route::Gather | Route::Broadcast | Route::Merge | Route::Local => {
                // Without columns there is nothing to copy together.
                if schema.fields().is_empty() || batch.num_rows() >= BATCH_ROWS / 2 {
                    self.flush(0).await?;
                    self.put(0, batch).await;
                } else {
                    self.gather(0, batch).await?;
                }
            }
        }
        Ok(if self.senders.iter().all(Option::is_none) { Flow::Done } else { Flow::More })
    }

    /// Sends what was kept back.
    pub async fn finish(mut self) -> Result<()> {
        for target in 0..self.senders.len() {
            self.flush(target).await?;
        }
        self.finished = true;
        Ok(())
    }

    async fn gather(&mut self, target: usize, batch: RecordBatch) -> Result<()> {
        self.coalescers[target].push_batch(batch).map_err(internal)?;
        self.drain(target).await;
        Ok(())
    }

    async fn flush(&mut self, target: usize) -> Result<()> {
        self.coalescers[target].finish_buffered_batch().map_err(internal)?;
        self.drain(target).await;
        Ok(())
    }

    async fn drain(&mut self, target: usize) {
        while let Some(batch) = self.coalescers[target].next_completed_batch() {
            self.put(target, batch).await;
        }
    }

    async fn put(&mut self, target: usize, batch: RecordBatch) {
        if let Some(sender) = &mut self.senders[target]
            && sender.send(batch).await == Err(Closed)
        {
            self.senders[target] = None;
        }
    }
}

impl Drop for Outlet {
    /// The senders go after this: a receiver that sees them gone must find the query's error, or it would take what it has for all.
    fn drop(&mut self) {
        if !self.finished && !self.shared.is_over() {
            self.shared.fail(EngineError::internal("a fragment ended before its rows were out"));
        }
    }
}

fn internal(error: arrow::error::ArrowError) -> EngineError {
    EngineError::internal(error)
}

/// The rows of each target core.
fn cut(
    batch: &RecordBatch,
    keys: &[Arc<dyn PhysicalExpr>],
    routing: &Routing,
    targets: usize,
) -> Result<Vec<Vec<u32>>> {
    let rows = batch.num_rows();
    let column = |key: &Arc<dyn PhysicalExpr>| -> Result<ArrayRef> {
        let value = key.evaluate(batch).and_then(|value| value.into_array(rows)).map_err(EngineError::from)?;
        plain(value)
    };
    let columns = keys.iter().map(column).collect::<Result<Vec<_>>>()?;
    let hashes = bucket_hash(&columns, rows)?;
    let mut parts = vec![Vec::with_capacity(rows / targets.max(1) + 16); targets];
    for (row, hash) in (0u32..).zip(hashes) {
        parts[routing.core(hash)].push(row);
    }
    Ok(parts)
}

/// Dictionary-encoded keys as plain values: the bucket hash takes those.
fn plain(array: ArrayRef) -> Result<ArrayRef> {
    match array.data_type() {
        arrow::datatypes::DataType::Dictionary(_, values) => {
            arrow::compute::cast(&array, values).map_err(EngineError::internal)
        }
        _ => Ok(array),
    }
}

impl std::fmt::Debug for Outlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outlet to {} receivers", self.senders.len())
    }
}
