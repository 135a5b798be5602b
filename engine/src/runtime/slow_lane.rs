//! The slow lane of a core: a sibling thread, pinned to the same CPU at nice 19, that drives a tokio current-thread runtime. DataFusion's
//! own operators run there; they hold a thread for 0.1 to 0.6 s at a time, which a reactor must not (design 2).

use std::cell::Cell;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread::{self, JoinHandle};

use futures::FutureExt;
use futures::future::AbortHandle;
use futures::task::AtomicWaker;
use starling_storage::ids::CoreId;

use super::event::{Permit, Permits};
use super::mailbox::{ReplySlot, reply};
use super::pause::{Awake, Busy, Sibling};
use super::task::panic_text;
use super::thread::lower_beside;
use crate::error::{EngineError, Result};
use crate::limits::SLOW_LANE_TASKS_MAX;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Handle of a core's slow lane.
pub struct SlowLane {
    work: flume::Sender<Work>,
    shared: Arc<Shared>,
    permits: Rc<Permits>,
    busy: Rc<Busy>,
    sibling: Arc<Sibling>,
    thread: Cell<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    doorbell: AtomicWaker,
    stop: AtomicBool,
}

/// A future that runs in the slow lane. Dropping it aborts the future at its next poll.
pub struct SlowTask<T> {
    slot: Option<ReplySlot<Result<T>>>,
    abort: AbortHandle,
    _permit: Permit,
    _awake: Awake,
}

impl<T> SlowTask<T> {
    /// The result; error 1317 when it was aborted.
    pub async fn join(mut self) -> Result<T> {
        match self.slot.take() {
            Some(slot) => slot.recv().await?,
            None => Err(EngineError::cancelled()),
        }
    }

    /// Stops the future at its next poll.
    pub fn abort(&self) {
        self.abort.abort();
    }
}

impl<T> Drop for SlowTask<T> {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

impl SlowLane {
    pub(crate) fn start(core: CoreId, cpu: usize, busy: &Rc<Busy>) -> Result<SlowLane> {
        let (work, inbox) = flume::bounded(SLOW_LANE_TASKS_MAX);
        let shared = Arc::new(Shared::default());
        let (lane, sibling) = (shared.clone(), busy.sibling());
        let own = sibling.clone();
        let thread = thread::Builder::new()
            .name(format!("slow-{core}"))
            .stack_size(crate::limits::STACK_BYTES)
            .spawn(move || {
                lower_beside(cpu);
                own.started();
                run(inbox, &lane, own);
            })
            .map_err(|e| EngineError::environment(format!("no thread for the slow lane of core {core}: {e}")))?;
        Ok(SlowLane {
            work,
            shared,
            permits: Permits::new(SLOW_LANE_TASKS_MAX),
            busy: busy.clone(),
            sibling,
            thread: Cell::new(Some(thread)),
        })
    }

    /// Starts a future in the slow lane, inside its tokio runtime. Waits while the lane has as many as it may.
    pub async fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<SlowTask<T>> {
        let (permit, awake) = (self.permits.take().await, self.busy.enter());
        let (answer, slot) = reply();
        let (future, abort) = futures::future::abortable(AssertUnwindSafe(future).catch_unwind());
        let work = async move {
            answer.send(match future.await {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(panic)) => Err(EngineError::internal(panic_text(&*panic))),
                Err(_aborted) => Err(EngineError::cancelled()),
            });
        };
        if self.work.try_send(Box::pin(work)).is_err() {
            return Err(EngineError::shutting_down());
        }
        self.sibling.wants_cpu();
        self.shared.doorbell.wake();
        Ok(SlowTask { slot: Some(slot), abort, _permit: permit, _awake: awake })
    }

    /// Runs a future in the slow lane to its end.
    pub async fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Result<T> {
        self.spawn(future).await?.join().await
    }
}

impl SlowLane {
    /// Ends the thread at the next await of what it is at; futures that are left are dropped.
    pub(crate) fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.doorbell.wake();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// The thread: takes futures in, lets tokio drive them, says when it parks.
fn run(inbox: flume::Receiver<Work>, lane: &Shared, sibling: Arc<Sibling>) {
    let (parks, unparks) = (sibling.clone(), sibling);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .on_thread_park(move || parks.rests())
        .on_thread_unpark(move || unparks.wants_cpu())
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => super::fatal::fatal(format!("no tokio runtime for the slow lane: {error}")),
    };
    runtime.block_on(std::future::poll_fn(|cx| {
        lane.doorbell.register(cx.waker());
        if lane.stop.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        while let Ok(work) = inbox.try_recv() {
            drop(tokio::spawn(work));
        }
        Poll::Pending
    }));
    // Futures still there are dropped with the runtime; blocking threads of theirs are not waited for.
    runtime.shutdown_background();
}
