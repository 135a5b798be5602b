//! A thread that rings a core's bell when it may have parked with work to do, against a lost wake-up of glommio 0.9.
//!
//! `LocalExecutor::run` arms the preempt timer, runs the task queues, and parks when none ran. If the thread is off its CPU between
//! the first two for longer than the timer, the timer has fired before any task ran, `run_task_queues` reports that nothing ran, and
//! the executor parks although tasks are runnable: until the next event, for ever if there is none. Seen at starts on a loaded machine (replay
//! yields often and nothing else is going on). A timer of the executor's own does not help: the task that would set it again is among those
//! that do not run. A wake from another thread does: it ends the park, also when the task it is meant for is runnable already. A longer
//! preempt timer would make this rare, and make disk completions wait that long on a busy core.
//!
//! A ring costs an idle core a whole turn of its executor, so it is rung only for a reason: to lose a wake-up a core has to wake, and its
//! CPU clock tells that it did. A core that polls tasks needs no bell. One that polls none is rung until it answers; what its clock shows
//! then is its rest, and while the clock stands still nothing can have been lost. What is lost in the moment between the answer and that look, or
//! without the clock (a machine that stands still whole), waits for the ring that comes now and then whatever the clock says.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::thread::CpuClock;
use crate::error::{EngineError, Result};

/// How often cores are looked at while one runs tasks or has not answered: what a lost wake-up may cost.
const BUSY: Duration = Duration::from_millis(2);
/// While all are at rest.
const IDLE: Duration = Duration::from_millis(20);
/// A core at rest is rung this often all the same.
const REST_MAX: Duration = Duration::from_millis(250);

/// One core's bell.
#[derive(Default)]
pub(crate) struct Bell {
    /// Kept for as long as the executor runs and woken by reference: a ring must not depend on the one before having been answered. The lock is
    /// the heartbeat's alone but for start and end.
    waker: Mutex<BellWaker>,
    /// Rings that the core has answered.
    answers: AtomicU64,
    /// Task polls of the core: while they go on it needs no bell.
    polls: AtomicU64,
}

#[derive(Default)]
enum BellWaker {
    #[default]
    None,
    Some(Waker, Option<CpuClock>),
    Closed,
}

impl Bell {
    /// Answers the bell: a task of the calling executor that does nothing but being woken. Until its first poll the calling task is woken in its
    /// place, so that there is no moment without somebody to wake.
    pub async fn listen(self: &Arc<Bell>) {
        poll_fn(|cx| {
            *self.lock() = BellWaker::Some(cx.waker().clone(), CpuClock::of_this_thread());
            Poll::Ready(())
        })
        .await;
        let (bell, mut is_first) = (self.clone(), true);
        let answer = poll_fn(move |cx| {
            if std::mem::take(&mut is_first)
                && let BellWaker::Some(waker, _) = &mut *bell.lock()
            {
                *waker = cx.waker().clone();
            }
            bell.answers.fetch_add(1, Ordering::Relaxed);
            Poll::<()>::Pending
        });
        glommio::spawn_local(answer).detach();
    }

    /// The executor ends: nobody may wake its tasks any more. Called on its thread.
    pub fn close(&self) {
        *self.lock() = BellWaker::Closed;
    }

    fn ring(&self) {
        if let BellWaker::Some(waker, _) = &*self.lock() {
            waker.wake_by_ref();
        }
    }

    /// What the core's thread has used of its CPU; `None` when that cannot be said.
    fn cpu_time(&self) -> Option<Duration> {
        match &*self.lock() {
            BellWaker::Some(_, clock) => clock.and_then(CpuClock::read),
            BellWaker::None | BellWaker::Closed => None,
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
    let mut watches: Vec<Watch> = bells.iter().map(|bell| Watch::new(bell.clone())).collect();
    let mut every = BUSY;
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(every);
        let now = Instant::now();
        // All are looked at: `any` would stop at the first.
        let busy = watches.iter_mut().filter_map(|watch| (!watch.is_at_rest(now)).then_some(())).count();
        every = if busy > 0 { BUSY } else { IDLE };
    }
}

/// What the heartbeat knows of one core.
struct Watch {
    bell: Arc<Bell>,
    polls: u64,
    state: State,
}

enum State {
    /// It ran tasks when last looked at.
    Running,
    /// It was rung when it had answered this often, and has not been seen at rest since.
    Rung { answers: u64 },
    /// It has answered and then used so much CPU; nothing more since.
    Rest { cpu_time: Duration, since: Instant },
}

impl Watch {
    fn new(bell: Arc<Bell>) -> Watch {
        Watch { bell, polls: 0, state: State::Running }
    }

    /// Looks at the core and rings if need be. Says whether it rests.
    fn is_at_rest(&mut self, now: Instant) -> bool {
        let polls = self.bell.polls.load(Ordering::Relaxed);
        if polls != self.polls {
            self.polls = polls;
            self.state = State::Running;
            return false;
        }
        let cpu_time = self.bell.cpu_time();
        let answers = self.bell.answers.load(Ordering::Relaxed);
        match (&self.state, cpu_time) {
            (State::Rest { cpu_time: then, since }, Some(now_used))
                if *then == now_used && now.saturating_duration_since(*since) < REST_MAX =>
            {
                return true;
            }
            (State::Rung { answers: before }, Some(cpu_time)) if answers != *before => {
                self.state = State::Rest { cpu_time, since: now };
                return true;
            }
            _ => (),
        }
        self.state = State::Rung { answers };
        self.bell.ring();
        false
    }
}

#[cfg(test)]
mod tests {
    use glommio::{LocalExecutorBuilder, Placement};

    use super::*;

    /// Rings answered within `time` by an executor that does nothing else.
    fn idle_executor(time: Duration) -> u64 {
        let bell: Arc<Bell> = Arc::default();
        let (heard, end) = (bell.clone(), flume::bounded::<()>(1));
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .spawn(move || async move {
                heard.listen().await;
                end.1.recv_async().await.unwrap_err();
                heard.close();
            })
            .unwrap();
        let heartbeat = Heartbeat::start(vec![bell.clone()]).unwrap();
        thread::sleep(time);
        let answers = bell.answers.load(Ordering::Relaxed);
        drop(heartbeat);
        drop(end.0);
        executor.join().unwrap();
        answers
    }

    #[test]
    fn a_core_at_rest_is_rung_now_and_then_only() {
        let time = Duration::from_secs(2);
        let answers = idle_executor(time);
        let most = 3 * (time.as_millis() / REST_MAX.as_millis()) as u64;
        assert!((2..=most).contains(&answers), "{answers} rings answered in {time:?}");
    }

    #[test]
    fn a_core_that_woke_without_running_a_task_is_rung_at_the_next_look() {
        let bell: Arc<Bell> = Arc::default();
        let waker = futures::task::noop_waker();
        // The clock of this thread stands for the core's: it moves whenever this test runs.
        *bell.lock() = BellWaker::Some(waker, CpuClock::of_this_thread());
        let mut watch = Watch::new(bell.clone());
        let now = Instant::now();
        assert!(!watch.is_at_rest(now), "never answered: rung");
        assert!(!watch.is_at_rest(now), "not yet answered: rung again");
        bell.answers.fetch_add(1, Ordering::Relaxed);
        assert!(watch.is_at_rest(now), "answered");
        assert!(!watch.is_at_rest(now), "its clock has moved: rung");
        assert!(matches!(watch.state, State::Rung { answers: 1 }));
        bell.polled(1);
        assert!(!watch.is_at_rest(now) && matches!(watch.state, State::Running), "it runs tasks: no bell");
    }
}
