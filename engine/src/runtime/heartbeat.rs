//! A thread that rings every core's bell now and then, against a lost wake-up of glommio 0.9.
//!
//! `LocalExecutor::run` arms the preempt timer, runs the task queues, and parks when none ran. If the thread is off its CPU between
//! the first two for longer than the timer, the timer has fired before any task ran, `run_task_queues` reports that nothing ran, and
//! the executor parks although tasks are runnable: until the next event, for ever if there is none. Seen at starts on a loaded machine (replay
//! yields often and nothing else is going on). A timer of the executor's own does not help: the task that would set it again is among those
//! that do not run. A wake from another thread does: it ends the park. A longer preempt timer would make this rare, and make disk completions
//! wait that long on a busy core.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
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
    /// Kept, not taken: a core may park wrongly again before it has run the task that answers.
    waker: OnceLock<Waker>,
    /// Task polls of the core: while they go on it needs no bell.
    polls: AtomicU64,
}

impl Bell {
    /// Answers the bell: a task of the calling executor that does nothing but being woken.
    pub fn listen(self: &Arc<Bell>) {
        let bell = self.clone();
        let answer = poll_fn(move |cx| {
            bell.waker.get_or_init(|| cx.waker().clone());
            Poll::<()>::Pending
        });
        glommio::spawn_local(answer).detach();
    }

    /// A task was polled.
    pub fn polled(&self, count: u64) {
        self.polls.store(count, Ordering::Relaxed);
    }
}

/// The thread. It must end before the executors do.
pub(crate) struct Heartbeat {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    pub(crate) fn start(bells: Vec<Arc<Bell>>) -> Result<Heartbeat> {
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
                if let Some(waker) = bell.waker.get() {
                    waker.wake_by_ref();
                }
            } else {
                *seen = polls;
                every = BUSY;
            }
        }
    }
}
