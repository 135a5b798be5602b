//! The planner of a core: a thread with 64 MiB of stack, nice 19, on the reactor's CPU (design 2). It runs plain closures, one at a time;
//! the answer comes back through a reply slot. Jobs go in by `try_send` and a doorbell (unpark) after it has returned, so that the
//! reactor never waits behind a thread that gets no CPU.
//!
//! Nothing interrupts a closure, and DataFusion's time for some statements grows exponentially with their depth. A caller that gives up drops its
//! future: a job that has not begun is skipped then; one that has is left to its thread, which ends with it, and another thread takes over.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use starling_storage::ids::CoreId;

use super::event::Permits;
use super::mailbox::reply;
use super::pause::{Busy, Sibling};
use super::task::panic_text;
use super::thread::lower_beside;
use crate::error::{EngineError, Result};
use crate::limits::{PLANNER_JOBS_MAX, PLANNER_STACK_BYTES, PLANNERS_LEFT_MAX};

/// How long a job waits for room in the lane before it looks again.
const FULL_WAIT: Duration = Duration::from_millis(1);

type Job = Box<dyn FnOnce() + Send>;

/// Handle of a core's planner.
pub struct Planner {
    core: CoreId,
    cpu: usize,
    jobs: flume::Sender<Job>,
    inbox: flume::Receiver<Job>,
    permits: Rc<Permits>,
    busy: Rc<Busy>,
    /// The thread that takes jobs.
    worker: RefCell<Worker>,
    /// Threads that were left to a job nobody waits for, so far.
    left: Cell<usize>,
}

struct Worker {
    doorbell: Thread,
    sibling: Arc<Sibling>,
    /// It takes no further job.
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// How far a job is; shared with the thread.
#[derive(Default)]
struct Progress(AtomicU8);

impl Progress {
    const BEGUN: u8 = 1;
    const DONE: u8 = 2;
    const GIVEN_UP: u8 = 3;

    /// On the thread; false when nobody waits for the job any more.
    fn begin(&self) -> bool {
        self.0.compare_exchange(0, Self::BEGUN, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    fn done(&self) {
        self.0.store(Self::DONE, Ordering::SeqCst);
    }

    /// On the reactor; whether the thread is in the middle of it.
    fn give_up(&self) -> bool {
        self.0.swap(Self::GIVEN_UP, Ordering::SeqCst) == Self::BEGUN
    }
}

/// A job that is waited for. Dropped before its end, it gives the job up.
struct Waited<'a> {
    planner: &'a Planner,
    progress: Arc<Progress>,
}

impl Drop for Waited<'_> {
    fn drop(&mut self) {
        if self.progress.give_up() {
            self.planner.leave();
        }
    }
}

impl Planner {
    pub(crate) fn start(core: CoreId, cpu: usize, busy: &Rc<Busy>) -> Result<Planner> {
        let (jobs, inbox) = flume::bounded::<Job>(PLANNER_JOBS_MAX);
        let worker = Worker::start(core, cpu, busy, inbox.clone())?;
        let permits = Permits::new(PLANNER_JOBS_MAX);
        let (busy, worker) = (busy.clone(), RefCell::new(worker));
        Ok(Planner { core, cpu, jobs, inbox, permits, busy, worker, left: Cell::new(0) })
    }

    /// Runs `work` on the planner thread. A panic in it is an error of this call and of nothing else. May be dropped: nobody waits for `work` then.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let _permit = self.permits.take().await;
        let _awake = self.busy.enter();
        let (answer, slot) = reply();
        let progress = Arc::new(Progress::default());
        let seen = progress.clone();
        let job = Box::new(move || {
            if seen.begin() {
                let result = catch_unwind(AssertUnwindSafe(work));
                seen.done();
                answer.send(result.map_err(|panic| EngineError::internal(panic_text(&*panic))));
            }
        });
        let _waited = Waited { planner: self, progress };
        self.hand_over(job).await?;
        slot.recv().await?
    }

    async fn hand_over(&self, mut job: Job) -> Result<()> {
        // Jobs that were given up may still lie in the lane, beside those that have a permit.
        while let Err(error) = self.jobs.try_send(job) {
            job = match error {
                flume::TrySendError::Full(job) => job,
                flume::TrySendError::Disconnected(_) => return Err(EngineError::shutting_down()),
            };
            super::timer::sleep(FULL_WAIT).await;
        }
        let worker = self.worker.borrow();
        worker.sibling.wants_cpu();
        worker.doorbell.unpark();
        Ok(())
    }

    /// The thread is in a job that nobody waits for: another one takes over.
    fn leave(&self) {
        if self.left.get() >= PLANNERS_LEFT_MAX {
            return;
        }
        match Worker::start(self.core, self.cpu, &self.busy, self.inbox.clone()) {
            Ok(worker) => {
                tracing::warn!(
                    core = self.core.0,
                    "a statement was given up while it was planned; its thread is left to it"
                );
                self.left.set(self.left.get() + 1);
                let old = self.worker.replace(worker);
                old.ends.store(true, Ordering::Release);
                self.busy.forget(&old.sibling);
            }
            Err(error) => {
                tracing::warn!(core = self.core.0, %error, "the planner goes on with a statement that was given up")
            }
        }
    }

    /// Ends the thread after the job it is at; jobs that wait are dropped.
    pub(crate) fn stop(&self) {
        let mut worker = self.worker.borrow_mut();
        worker.ends.store(true, Ordering::Release);
        worker.doorbell.unpark();
        if let Some(thread) = worker.thread.take() {
            drop(thread.join());
        }
    }
}

impl Worker {
    fn start(core: CoreId, cpu: usize, busy: &Rc<Busy>, inbox: flume::Receiver<Job>) -> Result<Worker> {
        let (ends, sibling) = (Arc::new(AtomicBool::new(false)), busy.sibling());
        let (seen, own) = (ends.clone(), sibling.clone());
        let thread = thread::Builder::new()
            .name(format!("planner-{core}"))
            .stack_size(PLANNER_STACK_BYTES)
            .spawn(move || {
                lower_beside(cpu);
                own.started();
                run(&inbox, &seen, &own);
            })
            .map_err(|e| EngineError::environment(format!("no thread for the planner of core {core}: {e}")))?;
        Ok(Worker { doorbell: thread.thread().clone(), sibling, ends, thread: Some(thread) })
    }
}

fn run(inbox: &flume::Receiver<Job>, ends: &AtomicBool, sibling: &Sibling) {
    while !ends.load(Ordering::Acquire) {
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
