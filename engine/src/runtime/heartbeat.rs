//! A thread that rings every core's bell now and then, against a lost wake-up of glommio 0.9.
//!
//! `LocalExecutor::run` arms the preempt timer, runs the task queues, and parks when none ran. If the thread is off its CPU between
//! the first two for longer than the timer, the timer has fired before any task ran, `run_task_queues` reports that nothing ran, and
//! the executor parks although tasks are runnable: until the next event, for ever if there is none. Seen at starts on a loaded machine (replay
//! yields often and nothing else is going on). A timer of the executor's own does not help: the task that would set it again is among those
//! that do not run. A wake from another thread does: it ends the park, also when the task it is meant for is runnable already. A longer
//! preempt timer would make this rare, and make disk completions wait that long on a busy core.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::error::{EngineError, Result};

/// While cores run tasks: what a lost wake-up may cost.
const BUSY: Duration = Duration::from_millis(2);
/// While no core does.
const IDLE: Duration = Duration::from_millis(10);

/// One core's bell.
#[derive(Default)]
pub(crate) struct Bell {
    /// Kept for as long as the executor runs and woken by reference: a ring must not depend on the one before having been answered. The lock is
    /// the heartbeat's alone but for start and end.
    waker: Mutex<BellWaker>,
    /// Task polls of the core: while they go on it needs no bell.
    polls: AtomicU64,
}

#[derive(Default)]
enum BellWaker {
    #[default]
    None,
    Some(Waker),
    Closed,
}

impl Bell {
    /// Answers the bell: a task of the calling executor that does nothing but being woken.
    pub fn listen(self: &Arc<Bell>) {
        let bell = self.clone();
        let answer = poll_fn(move |cx| {
            let mut waker = bell.lock();
            if let BellWaker::None = *waker {
                *waker = BellWaker::Some(cx.waker().clone());
            }
            Poll::<()>::Pending
        });
        glommio::spawn_local(answer).detach();
    }

    /// The executor ends: nobody may wake its tasks any more. Called on its thread.
    pub fn close(&self) {
        *self.lock() = BellWaker::Closed;
    }

    fn ring(&self) {
        if let BellWaker::Some(waker) = &*self.lock() {
            waker.wake_by_ref();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BellWaker> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task was polled.
    pub fn polled(&self, count: u64) {
        self.polls.store(count, Ordering::Relaxed);
    }
}

/// The thread.
pub(crate) struct Heartbeat {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    pub fn start(bells: Vec<Arc<Bell>>) -> Result<Heartbeat> {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = thread::Builder::new()
            .name("heartbeat".to_string())
            .spawn(move || run(&bells, &seen))
            .map_err(|e| EngineError::environment(format!("no thread for the heartbeat: {e}")))?;
        Ok(Heartbeat { stop, thread: Some(thread) })
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn run(bells: &[Arc<Bell>], stop: &AtomicBool) {
    let mut seen = vec![0; bells.len()];
    let mut every = BUSY;
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(every);
        every = IDLE;
        for (bell, seen) in bells.iter().zip(&mut seen) {
            let polls = bell.polls.load(Ordering::Relaxed);
            if polls == *seen {
                bell.ring();
            } else {
                *seen = polls;
                every = BUSY;
            }
        }
    }
}
