//! A running query: what its fragments share, and what the slow lane finds in the task context.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result as PlanResult, internal_err};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use futures::stream::{poll_fn, unfold};

use super::budget::Budget;
use super::channel::Inlet;
use super::profile::Profile;
use crate::error::{EngineError, Result};
use crate::plan::ExchangeId;
use crate::plan::source::SourceKind;
use crate::txn::Pin;

/// Default of [`QueryHandle::memory`].
pub const QUERY_MEMORY: usize = 2 << 30;

/// A statement's permission to run: its snapshot, its limits and the flag that stops it.
#[derive(Clone)]
pub struct QueryHandle {
    /// For messages.
    pub id: u64,
    /// The snapshot; held until the rows have been read.
    pub pin: Pin,
    /// Set by KILL, by the end of the connection, by anyone who wants it to stop.
    pub cancel: Arc<AtomicBool>,
    /// `query_timeout`; `None`: no limit.
    pub timeout: Option<Duration>,
    /// When the statement began.
    pub started: Instant,
    /// Bytes its operators may hold, on all cores together.
    pub memory: usize,
}

impl QueryHandle {
    /// A handle with the default limits.
    pub fn new(id: u64, pin: Pin) -> QueryHandle {
        let cancel = Arc::new(AtomicBool::new(false));
        QueryHandle { id, pin, cancel, timeout: None, started: Instant::now(), memory: QUERY_MEMORY }
    }

    /// Time left; `None`: no limit.
    pub(super) fn left(&self) -> Option<Duration> {
        self.timeout.map(|timeout| timeout.saturating_sub(self.started.elapsed()))
    }
}

/// What all fragments of a query share.
pub struct Shared {
    /// Shared memory between cores, one flag per query (protocol.md, last section).
    cancel: Arc<AtomicBool>,
    /// Set when the query ends for another reason: an error, or nobody reads it any more.
    stopped: AtomicBool,
    error: OnceLock<EngineError>,
    pool: Arc<dyn MemoryPool>,
    pub(super) profile: Option<Profile>,
}

impl Shared {
    pub(super) fn new(query: &QueryHandle, budget: &Budget, profile: Option<Profile>) -> Arc<Shared> {
        Arc::new(Shared {
            cancel: query.cancel.clone(),
            stopped: AtomicBool::new(false),
            error: OnceLock::new(),
            pool: budget.pool(query.memory),
            profile,
        })
    }

    pub(super) fn pool(&self) -> &Arc<dyn MemoryPool> {
        &self.pool
    }

    /// An account of the query's memory.
    pub(super) fn account(&self, name: &'static str) -> MemoryReservation {
        MemoryConsumer::new(name).register(&self.pool)
    }

    /// Ends the query with an error. The first one counts.
    pub fn fail(&self, error: EngineError) {
        self.error.get_or_init(|| error);
        self.stop();
    }

    /// Ends the query: fragments stop at their next batch.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// Whether there is nothing more to do.
    pub fn is_over(&self) -> bool {
        self.stopped.load(Ordering::SeqCst) || self.cancel.load(Ordering::SeqCst)
    }

    /// An error when the query is over.
    pub fn check(&self) -> Result<()> {
        match self.is_over() {
            true => Err(self.reason().unwrap_or_else(EngineError::cancelled)),
            false => Ok(()),
        }
    }

    /// Why the query ended: the first error, or that it was cancelled.
    pub fn reason(&self) -> Option<EngineError> {
        let cancelled = || self.cancel.load(Ordering::SeqCst).then(EngineError::cancelled);
        self.error.get().cloned().or_else(cancelled)
    }

    /// What DataFusion reports, as the client is told.
    pub(super) fn error_of(&self, error: DataFusionError) -> EngineError {
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => {
                let limit = match self.pool.memory_limit() {
                    MemoryLimit::Finite(bytes) => bytes.to_string(),
                    _ => "none".to_string(),
                };
                EngineError::memory_limit("query", self.pool.reserved(), limit)
            }
            _ => EngineError::from(error),
        }
    }
}

/// What operators of the slow lane find in their task context: the receiving ends of exchanges.
pub struct SlowQuery {
    shared: Arc<Shared>,
    inlets: HashMap<(ExchangeId, usize), Mutex<Option<Inlet>>>,
    replays: HashMap<ExchangeId, Arc<Mutex<Replay>>>,
}

/// What has been received of an exchange that is read many times.
struct Replay {
    inlet: Option<Inlet>,
    batches: Vec<RecordBatch>,
    account: MemoryReservation,
}

impl SlowQuery {
    pub(super) fn new(shared: Arc<Shared>) -> SlowQuery {
        SlowQuery { shared, inlets: HashMap::new(), replays: HashMap::new() }
    }

    pub(super) fn add(&mut self, exchange: ExchangeId, partition: usize, kind: SourceKind, inlet: Inlet) {
        if kind == SourceKind::Replayed {
            let account = self.shared.account("recursive query input");
            let replay = Replay { inlet: Some(inlet), batches: Vec::new(), account };
            self.replays.insert(exchange, Arc::new(Mutex::new(replay)));
        } else {
            self.inlets.insert((exchange, partition), Mutex::new(Some(inlet)));
        }
    }

    /// An error when the query is over.
    pub(crate) fn check(&self) -> PlanResult<()> {
        self.shared.check().map_err(external)
    }

    /// The stream of one partition of a source.
    pub(crate) fn open(
        &self,
        exchange: ExchangeId,
        kind: SourceKind,
        partition: usize,
        schema: SchemaRef,
    ) -> PlanResult<SendableRecordBatchStream> {
        if kind == SourceKind::Replayed {
            return self.replay(exchange, schema);
        }
        let slot = self.inlets.get(&(exchange, partition));
        let inlet = slot.and_then(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner).take());
        let Some(mut inlet) = inlet else {
            return internal_err!("exchange {} is read twice", exchange.0);
        };
        let shared = self.shared.clone();
        let mut over = false;
        let stream = poll_fn(move |cx| {
            if over {
                return Poll::Ready(None);
            }
            let next = futures::ready!(inlet.poll_next(cx));
            // Senders of a query that failed go away too: their silence must not look like the end of the rows.
            over = next.is_none() || shared.is_over();
            Poll::Ready(match shared.check() {
                Err(error) => Some(Err(external(error))),
                Ok(()) => next.map(Ok),
            })
        });
        Ok(Box::pin(cooperative(RecordBatchStreamAdapter::new(schema, stream))))
    }

    fn replay(&self, exchange: ExchangeId, schema: SchemaRef) -> PlanResult<SendableRecordBatchStream> {
        let Some(replay) = self.replays.get(&exchange).cloned() else {
            return internal_err!("exchange {} is not kept", exchange.0);
        };
        let shared = self.shared.clone();
        let stream = unfold((replay, shared, 0usize), |(replay, shared, at)| async move {
            let next = std::future::poll_fn(|cx| {
                let mut state = replay.lock().unwrap_or_else(PoisonError::into_inner);
                state.poll_batch(at, cx)
            });
            let batch = match next.await {
                Ok(None) if !shared.is_over() => return None,
                Ok(Some(batch)) => Ok(batch),
                Ok(None) => Err(external(shared.reason().unwrap_or_else(EngineError::cancelled))),
                Err(error) => Err(error),
            };
            Some((batch, (replay, shared, at + 1)))
        });
        Ok(Box::pin(cooperative(RecordBatchStreamAdapter::new(schema, stream.boxed()))))
    }
}

impl Replay {
    /// Batch number `at`, received now when it was not before.
    fn poll_batch(&mut self, at: usize, cx: &mut std::task::Context<'_>) -> Poll<PlanResult<Option<RecordBatch>>> {
        while self.batches.len() <= at {
            let Some(inlet) = &mut self.inlet else { return Poll::Ready(Ok(None)) };
            match futures::ready!(inlet.poll_next(cx)) {
                None => self.inlet = None,
                Some(batch) => {
                    self.account.try_grow(super::channel::bytes_of(&batch))?;
                    self.batches.push(batch);
                }
            }
        }
        Poll::Ready(Ok(Some(self.batches[at].clone())))
    }
}

fn external(error: EngineError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
