//! The planner thread of a core: 64 MiB of stack, nice 19, same CPU as the reactor (design 2). It runs plain closures, one at a time;
//! the answer comes back through a reply slot. Jobs go in by `try_send` and a doorbell (unpark) after it has returned, so that the
//! reactor never waits behind a thread that gets no CPU.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, Thread};

use starling_storage::ids::CoreId;

use super::event::Permits;
use super::mailbox::reply;
use super::pause::{Busy, Sibling};
use super::task::panic_text;
use super::thread::lower_beside;
use crate::error::{EngineError, Result};
use crate::limits::{PLANNER_JOBS_MAX, PLANNER_STACK_BYTES};

type Job = Box<dyn FnOnce() + Send>;

/// Handle of a core's planner thread.
pub struct Planner {
    jobs: flume::Sender<Job>,
    doorbell: Thread,
    permits: Rc<Permits>,
    busy: Rc<Busy>,
    sibling: Arc<Sibling>,
    stop: Arc<AtomicBool>,
    thread: Cell<Option<JoinHandle<()>>>,
}

impl Planner {
    pub(crate) fn start(core: CoreId, cpu: usize, busy: &Rc<Busy>) -> Result<Planner> {
        let (jobs, inbox) = flume::bounded::<Job>(PLANNER_JOBS_MAX);
        let (stop, sibling) = (Arc::new(AtomicBool::new(false)), busy.sibling());
        let (seen, own) = (stop.clone(), sibling.clone());
        let thread = thread::Builder::new()
            .name(format!("planner-{core}"))
            .stack_size(PLANNER_STACK_BYTES)
            .spawn(move || {
                lower_beside(cpu);
                own.started();
                run(&inbox, &seen, &own);
            })
            .map_err(|e| EngineError::environment(format!("no thread for the planner of core {core}: {e}")))?;
        let doorbell = thread.thread().clone();
        let permits = Permits::new(PLANNER_JOBS_MAX);
        Ok(Planner { jobs, doorbell, permits, busy: busy.clone(), sibling, stop, thread: Cell::new(Some(thread)) })
    }

    /// Runs `work` on the planner thread. A panic in it is an error of this call and of nothing else.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let permit = self.permits.take().await;
        let _awake = self.busy.enter();
        let (answer, slot) = reply();
        let job = Box::new(move || {
            let result = catch_unwind(AssertUnwindSafe(work));
            answer.send(result.map_err(|panic| EngineError::internal(panic_text(&*panic))));
        });
        if self.jobs.try_send(job).is_err() {
            return Err(EngineError::shutting_down());
        }
        self.sibling.wants_cpu();
        self.doorbell.unpark();
        let result = slot.recv().await?;
        drop(permit);
        result
    }
}

impl Planner {
    /// Ends the thread after the job it is at; jobs that wait are dropped.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.doorbell.unpark();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn run(inbox: &flume::Receiver<Job>, stop: &AtomicBool, sibling: &Sibling) {
    while !stop.load(Ordering::Acquire) {
        match inbox.try_recv() {
            Ok(job) => {
                sibling.wants_cpu();
                job();
            }
            Err(_) => {
                sibling.rests();
                thread::park();
            }
        }
    }
}
